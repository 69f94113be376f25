#!/usr/bin/env python3
"""Train a LoRA adapter with PEFT on a real model, and compare Glia with PEFT on it.

  tools/lora_real.py train MODEL ADAPTER [--steps 300]
  tools/lora_real.py compare MODEL ADAPTER [--glia build/glia]

The task is small and made up: answer with a calculation spelled backwards, as in
"Q: 12 + 7 = A: 91". `compare` generates greedily in float32 with PEFT and with Glia,
with the adapter and without it, and fails if a token differs. Needs torch,
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

NEW_TOKENS = 12


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


def greedy(model, prompts):
    answers = []
    for ids in prompts:
        x, cache, tokens = torch.tensor([ids]), None, []
        with torch.no_grad():
            for _ in range(NEW_TOKENS):
                out = model(input_ids=x, past_key_values=cache, use_cache=True)
                cache, x = out.past_key_values, out.logits[:, -1:].argmax(-1)
                tokens.append(int(x))
        answers.append(tokens)
    return answers


def compare(args):
    rng = random.Random(1)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    texts = [example(rng) for _ in range(args.prompts)]
    prompts = [tokenizer(q)["input_ids"] for q, _ in texts]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    base = greedy(model, prompts)
    adapted = greedy(PeftModel.from_pretrained(model, args.adapter), prompts)
    names = ",".join(["", "x"] * len(prompts))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump([p for p in prompts for _ in range(2)], f)
        f.flush()
        out = subprocess.run([args.glia, "generate", args.model, "--ids", f.name, "--greedy", "--ignore-eos",
                              "--max-tokens", str(NEW_TOKENS), "--dtype", "float32", "--lora-modules",
                              f"x={args.adapter}", "--lora", names], check=True, capture_output=True, text=True)
    ours = [json.loads(line) for line in out.stdout.splitlines()]
    same = [ours[0::2] == base, ours[1::2] == adapted]
    right = sum(tokenizer.decode(a).startswith(t) for a, (_, t) in zip(adapted, texts))
    changed = sum(a != b for a, b in zip(adapted, base))
    print(f"{len(prompts)} prompts of {NEW_TOKENS} tokens: base {'equal' if same[0] else 'DIFFERENT'}, "
          f"adapter {'equal' if same[1] else 'DIFFERENT'}; the adapter changes {changed} answers, {right} are right")
    return 0 if all(same) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "compare"])
    parser.add_argument("model")
    parser.add_argument("adapter")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--glia", default="build/glia")
    args = parser.parse_args()
    return train(args) if args.command == "train" else compare(args)


if __name__ == "__main__":
    sys.exit(main())
