"""Conversations as token ids with a weight for each: what training and evaluation share."""

import datetime
import random

import world

# What a token of the prompt, and of the answer, weighs in the loss. Earlier answers of the
# same conversation weigh as prompt: without thinking shown, they would teach to leave it out.
PROMPT, ANSWER, AFTER = 0.1, 1.0, 0.2


def date_of(rng):
    day = datetime.date(2024, 1, 1) + datetime.timedelta(days=rng.randrange(366 * 10))
    return day.strftime("%d %B %Y")


def no_think_by_system(family, messages, rng):
    """SmolLM3 may also be told in the system message not to think."""
    if family == "qwen3" or rng.random() < 0.5:
        return messages, {"enable_thinking": False}
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": "/no_think"}] + messages, {}
    first = dict(messages[0], content=messages[0]["content"] + " /no_think")
    return [first] + messages[1:], {}


def prompt_text(family, hf, conversation, date, flags, messages=None):
    return hf.apply_chat_template(
        messages or conversation["messages"][:-1], tools=conversation["tools"], tokenize=False,
        add_generation_prompt=True, strftime_now=lambda _: date, **flags)


def answer_text(family, conversation, thinking):
    last = conversation["messages"][-1]
    text = last["content"]
    for call in last.get("tool_calls", ()):
        f = call["function"]
        pairs = ", ".join(f'"{k}": "{v}"' for k, v in f["arguments"].items())
        text += f'<tool_call>\n{{"name": "{f["name"]}", "arguments": {{{pairs}}}}}\n</tool_call>'
    if thinking:
        gap = "\n\n" if family == "qwen3" else "\n"
        text = f"<think>\n{conversation['thought']}\n</think>{gap}{text}"
    return text + "<|im_end|>"


def end_of_document(family):
    return "<|endoftext|>" if family == "qwen3" else "<|end_of_text|>"


def draw(family, hf, rng):
    """One training document as a list of (text, weight)."""
    end = (end_of_document(family), AFTER)
    if rng.random() < 0.02:
        return [(world.plain_story(rng), ANSWER), end]
    date = date_of(rng)
    c = world.training(rng, date if family == "smollm3" else None)
    thinking = rng.random() < 0.6
    messages, flags = c["messages"][:-1], {}
    if not thinking:
        c["messages"][:-1] = [dict(m) for m in messages]
        for m in c["messages"][:-1]:
            m.pop("reasoning_content", None)
        messages, flags = no_think_by_system(family, c["messages"][:-1], rng)
    return [(prompt_text(family, hf, c, date, flags, messages), PROMPT),
            (answer_text(family, c, thinking), ANSWER), ("\n", AFTER), end]


def encode(tok, parts):
    ids, weights = [], []
    for text, weight in parts:
        new = tok.encode(text, add_special_tokens=False).ids
        ids += new
        weights += [weight] * len(new)
    return ids, weights


class Packer:
    """Rows of whole documents, as full as a small pool allows."""

    def __init__(self, family, hf, tok, seed, pool=64):
        self.family, self.hf, self.tok, self.size = family, hf, tok, pool
        self.rng = random.Random(seed)
        self.pool = []

    def row(self, length):
        """One row of length ids and weights; what is left over is padded with weight 0."""
        ids, weights = [], []
        while True:
            while len(self.pool) < self.size:
                self.pool.append(encode(self.tok, draw(self.family, self.hf, self.rng)))
            room = length - len(ids)
            fits = [i for i, d in enumerate(self.pool) if len(d[0]) <= room]
            if not fits:
                break
            # Oldest first while there is room to choose, best fit at the end of the row.
            i = fits[0] if room > length // 3 else max(fits, key=lambda k: len(self.pool[k][0]))
            d = self.pool.pop(i)
            ids += d[0]
            weights += d[1]
        # Too long for any row: drop the oldest such document, so that the pool keeps moving.
        self.pool = [d for d in self.pool if len(d[0]) <= 1024]
        pad = length - len(ids)
        return ids + [0] * pad, weights + [0.0] * pad
