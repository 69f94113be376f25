#!/usr/bin/env python3
"""Make tests/golden/sampling.json: what Transformers' processors leave of a row of logits.

    python tools/gen_sampling_goldens.py > tests/golden/sampling.json

Each case is a row of logits (multiples of 1/64, so that equal ones occur), a
prompt and an output, settings, and the expected tokens with their
probabilities. The processors are Transformers' own, built by
GenerationMixin._get_logits_processor in its own order, in float64; a case whose
surviving set differs in float32 sits on a rounding edge and is drawn again, and
so is one where top-p parts equal logits.
Presence and frequency penalties are vLLM's formula, applied after the
repetition penalty as vLLM does.
"""
import json
import random
import sys

import torch
import transformers
from transformers import GenerationConfig, GenerationMixin
from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList

VOCAB, EOS = 89, [3, 7]


class OutputPenalties(LogitsProcessor):
    """vllm/model_executor/layers/utils.py apply_penalties, its second half."""

    def __init__(self, prompt_len, frequency, presence):
        self.prompt_len, self.frequency, self.presence = prompt_len, frequency, presence

    def __call__(self, input_ids, scores):
        counts = torch.bincount(input_ids[0, self.prompt_len:], minlength=VOCAB)
        scores = scores - self.frequency * counts
        return scores - self.presence * (counts > 0)


class Owner(GenerationMixin):
    """_get_logits_processor asks its self only for the merge method."""


def processors(case, sample):
    bias = {(t,): b for t, b in case["logit_bias"]} or None
    config = GenerationConfig(
        do_sample=sample, temperature=case["temperature"], top_k=case["top_k"], top_p=case["top_p"],
        min_p=case["min_p"] or None, typical_p=case["typical_p"], sequence_bias=bias,
        repetition_penalty=case["repetition_penalty"], min_new_tokens=case["min_tokens"] or None)
    config._eos_token_tensor = torch.tensor(EOS)
    own = LogitsProcessorList()
    if case["frequency_penalty"] or case["presence_penalty"]:
        own.append(OutputPenalties(len(case["prompt"]), case["frequency_penalty"],
                                   case["presence_penalty"]))
    return Owner()._get_logits_processor(config, len(case["prompt"]), logits_processor=own)


def run(case, dtype):
    scores = torch.tensor([case["logits"]], dtype=dtype)
    ids = torch.tensor([case["prompt"] + case["output"]])
    probs = processors(case, True)(ids, scores).softmax(-1)[0]
    return {i: p for i, p in enumerate(probs.tolist()) if p > 0}


def splits_equals(case, kept):
    """Top-p may part equal logits, and Transformers' sort, not a stable one, chooses which stay."""
    ids = torch.tensor([case["prompt"] + case["output"]])
    scores = processors(case, False)(ids, torch.tensor([case["logits"]], dtype=torch.float64))[0].tolist()
    return bool({scores[i] for i in kept} & {x for i, x in enumerate(scores) if i not in kept})


def draw(rng, index):
    spread = rng.choice([0.5, 2, 6])
    case = {
        "logits": [round(rng.gauss(0, spread) * 64) / 64 for _ in range(VOCAB)],
        "prompt": [rng.randrange(VOCAB) for _ in range(rng.randrange(1, 20))],
        "output": [rng.randrange(VOCAB) for _ in range(rng.randrange(0, 20))],
        "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0,
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "min_tokens": 0, "logit_bias": [],
    }
    choices = {
        "temperature": [0.25, 0.6, 1.5], "top_k": [1, 2, 20, 88, 500], "top_p": [0.125, 0.5, 0.8, 0.95],
        "min_p": [0.0625, 0.25, 1.0], "typical_p": [0.2, 0.9], "repetition_penalty": [0.5, 1.125],
        "presence_penalty": [-0.5, 1.5], "frequency_penalty": [0.25, -1.0], "min_tokens": [1, 12],
    }
    names = list(choices) + ["logit_bias"]
    # One setting alone first, each in turn; then mixtures.
    wanted = [names[index]] if index < len(names) else [n for n in names if rng.random() < 0.45]
    for name in wanted:
        case[name] = (rng.choice(choices[name]) if name != "logit_bias" else
                      [[t, rng.choice([-100.0, -1.5, 2.0])] for t in rng.sample(range(VOCAB), 3)])
    return case


def main():
    rng, cases = random.Random(20250708), []
    while len(cases) < 60:
        case = draw(rng, len(cases))
        exact, rounded = run(case, torch.float64), run(case, torch.float32)
        if exact.keys() != rounded.keys() or splits_equals(case, exact):
            continue
        case["ids"] = list(exact)
        case["probs"] = [float(f"{p:.9g}") for p in exact.values()]
        cases.append(case)
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print('{"made_by": "tools/gen_sampling_goldens.py, ' + versions + '", "eos": ' + json.dumps(EOS)
          + ', "cases": [')
    print(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
    print("]}")


sys.exit(main())
