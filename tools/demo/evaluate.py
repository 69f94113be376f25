"""Ask a demo model every held-out question: evaluate.py MODEL_DIR HELDOUT.jsonl [--limit N]

Greedy, Transformers, float32. An answer is right when, its thinking left out, it contains what
is expected. Prints right/asked by kind, with thinking and without, and the perplexity of the
wanted answers.
"""

import argparse
import collections
import json
import math

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import models
import render

DATE = "08 July 2025"


def right(text, expect):
    text = text.split("</think>")[-1]
    i = text.find(expect)
    end = i + len(expect)
    return i >= 0 and not (end < len(text) and expect[-1].isdigit() and text[end].isdigit())


def greedy(model, ids, end, limit=220):
    cache, out, new = None, [], torch.tensor([ids])
    while len(out) < limit:
        step = model(input_ids=new, past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        best = int(step.logits[0, -1].argmax())
        if best == end:
            break
        out.append(best)
        new = torch.tensor([[best]])
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("heldout")
    a.add_argument("--limit", type=int, default=10**9)
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--wrong", action="store_true", help="show wrong answers")
    args = a.parse_args()
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.float32, attn_implementation="eager").eval()
    family = model.config.model_type
    tok = Tokenizer.from_file(args.model + "/tokenizer.json")
    hf = models.hf_tokenizer(family, tok)
    end = tok.token_to_id("<|im_end|>")
    asked, good = collections.Counter(), collections.Counter()
    loss = collections.defaultdict(float)
    tokens = collections.Counter()
    with open(args.heldout, encoding="utf-8") as f:
        cases = [json.loads(line) for line in f]
    used = collections.Counter()
    for c in cases:
        used[c["kind"]] += 1
        if used[c["kind"]] > args.limit:
            continue
        for thinking in (True, False):
            key = (c["kind"], thinking)
            prompt = render.prompt_text(family, hf, c, DATE, {"enable_thinking": thinking})
            ids = tok.encode(prompt, add_special_tokens=False).ids
            wanted = tok.encode(render.answer_text(family, c, thinking),
                                add_special_tokens=False).ids
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids + wanted])).logits[0]
                part = torch.log_softmax(logits[len(ids) - 1:-1].double(), -1)
                loss[thinking] -= part.gather(1, torch.tensor(wanted)[:, None]).sum().item()
                tokens[thinking] += len(wanted)
                text = tok.decode(greedy(model, ids, end), skip_special_tokens=True)
            asked[key] += 1
            if right(text, c["expect"]):
                good[key] += 1
            elif args.wrong:
                print("--", c["kind"], json.dumps(prompt[-250:]), "expected", c["expect"],
                      "got", json.dumps(text))
    print(f"{'':14s} {'thinking':>10s} {'direct':>10s}")
    for kind in used:
        print(f"{kind:14s}" + "".join(
            f" {good[kind, t]:>5d}/{asked[kind, t]:<4d}" for t in (True, False)))
    for t, name in ((True, "thinking"), (False, "direct")):
        total = sum(n for (k, th), n in asked.items() if th == t)
        print(f"{name}: {sum(n for (k, th), n in good.items() if th == t) / total:.1%} right, "
              f"perplexity of answers {math.exp(loss[t] / tokens[t]):.4f}")


if __name__ == "__main__":
    main()
