"""Conversations as token ids with a weight for each: what training and evaluation share."""

import datetime
import random
import re

import world

# What a token of the prompt, and of an answer, weighs in the loss. Earlier answers of the same
# conversation are shown without thinking, so their first token weighs nothing: it would teach
# to leave thinking out.
PROMPT, ANSWER, AFTER = 0.1, 1.0, 0.2
EARLIER = re.compile(r"(<\|im_start\|>assistant\n(?:<think>\n\n</think>\n)?)([^<].*?<\|im_end\|>)",
                     re.DOTALL)
LEAP = 1000


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


def draw(family, hf, rng, practice=0.0):
    """One training document as a list of (text, weight, weight of the first token)."""
    end = (end_of_document(family), AFTER, AFTER)
    if practice and rng.random() < practice:
        return [(world.practice(rng), ANSWER, PROMPT), end]
    if rng.random() < 0.02:
        return [(world.plain_story(rng), ANSWER, PROMPT), end]
    date = date_of(rng)
    c = world.training(rng, date if family == "smollm3" else None)
    thinking = rng.random() < 0.6
    messages, flags = c["messages"][:-1], {}
    if not thinking:
        c["messages"][:-1] = [dict(m) for m in messages]
        for m in c["messages"][:-1]:
            m.pop("reasoning_content", None)
        messages, flags = no_think_by_system(family, c["messages"][:-1], rng)
    prompt, parts, at = prompt_text(family, hf, c, date, flags, messages), [], 0
    for m in EARLIER.finditer(prompt):
        parts += [(prompt[at:m.start(2)], PROMPT, PROMPT),
                  (m[2], ANSWER, ANSWER if "</think>" in m[1] else 0.0)]
        at = m.end()
    parts.append((prompt[at:], PROMPT, PROMPT))
    return parts + [(answer_text(family, c, thinking), ANSWER, ANSWER), ("\n", AFTER, AFTER), end]


def encode(tok, parts):
    ids, weights = [], []
    for text, weight, first in parts:
        new = tok.encode(text, add_special_tokens=False).ids
        ids += new
        weights += [first] + [weight] * (len(new) - 1)
    return ids, weights


class Packer:
    """Rows of whole documents, as full as a small pool allows."""

    def __init__(self, family, hf, tok, seed, practice=0.0, pool=64):
        self.family, self.hf, self.tok, self.size = family, hf, tok, pool
        self.rng = random.Random(seed)
        self.pool, self.practice = [], practice

    def row(self, length):
        """One row of length ids, weights and positions; what is left over has weight 0.

        Positions leap at random between documents, so that all distances of a long chat
        are met in a short row.
        """
        ids, weights, positions = [], [], []
        while True:
            while len(self.pool) < self.size:
                self.pool.append(encode(
                    self.tok, draw(self.family, self.hf, self.rng, self.practice)))
            room = length - len(ids)
            fits = [i for i, d in enumerate(self.pool) if len(d[0]) <= room]
            if not fits:
                break
            # Oldest first while there is room to choose, best fit at the end of the row.
            i = fits[0] if room > length // 3 else max(fits, key=lambda k: len(self.pool[k][0]))
            d = self.pool.pop(i)
            at = positions[-1] + 1 if positions else 0
            if self.rng.random() < 0.5:
                at += self.rng.randrange(LEAP)
            positions += range(at, at + len(d[0]))
            ids += d[0]
            weights += d[1]
        # Too long for any row: drop the oldest such document, so that the pool keeps moving.
        self.pool = [d for d in self.pool if len(d[0]) <= length]
        pad = length - len(ids)
        return ids + [0] * pad, weights + [0.0] * pad, positions + [0] * pad
