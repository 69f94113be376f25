#!/usr/bin/env python3
"""Train a LoRA adapter with PEFT on a real model, and compare Glia with PEFT on it.

  tools/lora_real.py train MODEL ADAPTER [--steps 300]
  tools/lora_real.py compare MODEL ADAPTER [--glia build/glia]

The task is small and made up: answer with a calculation spelled backwards, as in
"Q: 12 + 7 = A: 91". `compare` generates greedily in float32 with PEFT and with Glia,
with the adapter and without it, for prompts of the task and for other text. It fails if a
token differs where PEFT's two highest logits are more than TIE apart. Answers that differ at
a tie are compared up to there. Needs torch, transformers, peft and safetensors. MODEL is a directory of ../shared/tools/real_models.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

TIE = 1e-5  # float32 logits of either program are this far from the exact ones
TEXTS = ["def fibonacci(n):\n", "The capital of France is", "import json\n\n\ndef read(path):\n", "1, 2, 4, 8, 16,",
         "Once upon a time", "SELECT name FROM users WHERE", "#include <stdio.h>\n\nint main(void) {\n",
         "class Stack:\n    def __init__(self):\n", "Q: What is a prime number?\nA:", "for (let i = 0; i <"]


def example(rng):
    a, b = rng.randrange(100), rng.randrange(100)
    return f"Q: {a} + {b} =\nA:", f" {str(a + b)[::-1]}\n"


def train(args):
    torch.manual_seed(0)
    rng = random.Random(0)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.print_trainable_parameters()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    for step in range(args.steps):
        loss = 0
        for _ in range(args.batch):
            question, answer = example(rng)
            prompt = tokenizer(question)["input_ids"]
            ids = torch.tensor([prompt + tokenizer(answer)["input_ids"]])
            labels = ids.clone()
            labels[:, : len(prompt)] = -100
            part = model(input_ids=ids, labels=labels).loss / args.batch
            part.backward()
            loss += float(part.detach())
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0 or step + 1 == args.steps:
            print(f"step {step}: loss {loss:.3f}", flush=True)
    model.save_pretrained(args.adapter)


def greedy(model, prompts, n):
    """For each prompt n pairs: the likeliest token, and how far its logit is above the next one."""
    answers = []
    for number, ids in enumerate(prompts):
        x, cache, tokens = torch.tensor([ids]), None, []
        with torch.no_grad():
            for _ in range(n):
                out = model(input_ids=x, past_key_values=cache, use_cache=True)
                top = out.logits[0, -1].topk(2)
                cache, x = out.past_key_values, top.indices[:1][None]
                tokens.append((int(x), float(top.values[0] - top.values[1])))
        answers.append(tokens)
        print(f"\rPEFT: prompt {number + 1} of {len(prompts)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return answers


def agree(what, theirs, ours):
    """Print how many tokens agree, and every difference. Returns whether all differences begin at a tie."""
    same, fine = 0, True
    for number, (a, b) in enumerate(zip(theirs, ours)):
        at = next((i for i, ((token, _), other) in enumerate(zip(a, b)) if token != other), len(a))
        same += at
        if at < len(a):
            fine &= a[at][1] <= TIE
            print(f"{what}: prompt {number}: token {at} differs, PEFT's is {a[at][1]:.2g} above its next one"
                  f"{', a tie' if a[at][1] <= TIE else ''}")
    near = min(gap for tokens in theirs for _, gap in tokens)
    print(f"{what}: {same} of {sum(map(len, theirs))} tokens equal; the closest decision is {near:.2g}")
    return fine


def compare(args):
    rng = random.Random(1)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    texts = [example(rng) for _ in range(args.prompts - args.prompts // 2)]
    prompts = [tokenizer(q)["input_ids"] for q in [q for q, _ in texts] + TEXTS[: args.prompts // 2]]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    base = greedy(model, prompts, args.tokens)
    adapted = greedy(PeftModel.from_pretrained(model, args.adapter), prompts, args.tokens)
    names = ",".join(["", "x"] * len(prompts))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump([p for p in prompts for _ in range(2)], f)
        f.flush()
        out = subprocess.run([args.glia, "generate", args.model, "--ids", f.name, "--greedy", "--ignore-eos",
                              "--max-tokens", str(args.tokens), "--dtype", "float32", "--lora-modules",
                              f"x={args.adapter}", "--lora", names], check=True, capture_output=True, text=True)
    ours = [json.loads(line) for line in out.stdout.splitlines()]
    fine = [agree("base", base, ours[0::2]), agree("adapter", adapted, ours[1::2])]
    tokens = lambda answers: [[token for token, _ in answer] for answer in answers]
    right = sum(tokenizer.decode(a).startswith(t) for a, (_, t) in zip(tokens(adapted), texts))
    changed = sum(a != b for a, b in zip(tokens(adapted), tokens(base)))
    print(f"{len(prompts)} prompts of {args.tokens} tokens: {'equal' if all(fine) else 'DIFFERENT'}; the adapter "
          f"changes {changed} answers, {right} of {len(texts)} of the task are right")
    return 0 if all(fine) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "compare"])
    parser.add_argument("model")
    parser.add_argument("adapter")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=20, help="half of the task, half other text (at most 10)")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--glia", default="build/glia")
    args = parser.parse_args()
    return train(args) if args.command == "train" else compare(args)


if __name__ == "__main__":
    sys.exit(main())
