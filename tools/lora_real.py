#!/usr/bin/env python3
"""Train a LoRA adapter with PEFT on a real model, and compare Glia with PEFT on it.

  tools/lora_real.py train MODEL ADAPTER [--steps 300]
  tools/lora_real.py compare MODEL ADAPTER [--glia build/glia]

The task is small and made up: answer with a calculation spelled backwards, as in
"Q: 12 + 7 = A: 91". `compare` generates greedily in float32 with PEFT and with Glia,
with the adapter and without it, for prompts of the task and for other text. It fails if a
token is not the likeliest one for PEFT, or TIE below it, after the same tokens. Needs torch,
transformers, peft and safetensors. MODEL is a directory of ../shared/tools/real_models.
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


def compare_answers(what, model, prompts, answers):
    """Is each token of an answer the likeliest one for PEFT, after the prompt and the tokens before? Then
    PEFT would generate the same answer. Prints what differs. Returns whether all that differs is a tie."""
    equal, ties, fine, near = 0, 0, True, float("inf")
    for number, (ids, answer) in enumerate(zip(prompts, answers)):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids + answer]), use_cache=False).logits[0, len(ids) - 1 : -1]
        top = logits.topk(2)
        for at, token in enumerate(answer):
            gap = float(top.values[at, 0] - logits[at, token])
            if gap == 0:
                equal += 1
                near = min(near, float(top.values[at, 0] - top.values[at, 1]))
                continue
            ties += gap <= TIE
            fine &= gap <= TIE
            print(f"{what}: prompt {number}, token {at}: PEFT's likeliest token is {gap:.2g} above it"
                  f"{', a tie' if gap <= TIE else ''}")
        print(f"\r{what}: prompt {number + 1} of {len(prompts)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{what}: {equal} tokens equal, {ties} ties; the closest decision is {near:.2g}")
    return fine


def compare(args):
    rng = random.Random(1)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    texts = [example(rng) for _ in range(args.prompts - args.prompts // 2)]
    prompts = [tokenizer(q)["input_ids"] for q in [q for q, _ in texts] + TEXTS[: args.prompts // 2]]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    names = ",".join(["", "x"] * len(prompts))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump([p for p in prompts for _ in range(2)], f)
        f.flush()
        out = subprocess.run([args.glia, "generate", args.model, "--ids", f.name, "--greedy", "--ignore-eos",
                              "--max-tokens", str(args.tokens), "--dtype", "float32", "--lora-modules",
                              f"x={args.adapter}", "--lora", names], check=True, capture_output=True, text=True)
    ours = [json.loads(line) for line in out.stdout.splitlines()]
    base, adapted = ours[0::2], ours[1::2]
    fine = compare_answers("base", model, prompts, base)
    fine &= compare_answers("adapter", PeftModel.from_pretrained(model, args.adapter), prompts, adapted)
    right = sum(tokenizer.decode(a).startswith(t) for a, (_, t) in zip(adapted, texts))
    changed = sum(a != b for a, b in zip(adapted, base))
    print(f"{len(prompts)} prompts of {args.tokens} tokens: {'equal' if fine else 'DIFFERENT'}; the adapter changes "
          f"{changed} answers, {right} of {len(texts)} of the task are right")
    return 0 if fine else 1


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
