#!/usr/bin/env python3
"""Write tests/golden/rope.json: RoPE frequencies of real sizes, by Transformers.

    gen_rope_goldens.py [--out tests/golden/rope.json] [--configs ../shared/data/configs]

Each case is a config.json, a sequence length, and the inverse frequencies and the
factor on cos and sin that a forward call of that length uses.
tests/check_rope.c reads them.
"""
import argparse
import json
import pathlib

import torch
import transformers
from transformers import AutoConfig
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from make_shrunken import rope

LONG = {"short_factor": [1 + i / 64 for i in range(64)], "long_factor": [1 + (i / 9) ** 2 for i in range(64)]}

# real config, changed keys, sequence lengths
CASES = [
    ("Qwen3-0.6B", {}, [512]),
    ("Qwen3-4B-Instruct-2507", {}, [512]),
    ("SmolLM3-3B", {}, [512]),
    ("Qwen3-0.6B", {"head_dim": 80, "rope_theta": 10000.0}, [512]),
    ("Qwen3-0.6B", rope("linear", factor=2.5), [512]),
    ("SmolLM3-3B", rope("dynamic", factor=2.0), [4096, 65536, 65537, 100000]),
    ("Qwen3-8B", rope("yarn", factor=4.0, original_max_position_embeddings=32768), [512]),
    ("Qwen3-8B", rope("yarn", factor=4.0, attention_factor=1.25, beta_fast=24.0, beta_slow=2.0), [512]),
    ("Qwen3-8B", rope("yarn", factor=40.0, original_max_position_embeddings=4096, mscale=1.0, mscale_all_dim=0.8,
                      truncate=False), [512]),
    ("Qwen3-8B", {**rope("longrope", **LONG), "original_max_position_embeddings": 8192}, [8192, 8193]),
    ("Qwen3-8B", rope("longrope", factor=16.0, **LONG), [40960, 40961]),
    ("Qwen3-8B", rope("longrope", factor=16.0, attention_factor=1.5, **LONG), [512]),
    ("SmolLM3-3B", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                        original_max_position_embeddings=8192), [512]),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/rope.json")
    parser.add_argument("--configs", type=pathlib.Path, default="../shared/data/configs")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    cases = []
    for base, keys, lengths in CASES:
        config = json.loads((args.configs / base / "config.json").read_text())
        config.update(keys)
        for length in lengths:
            module = Qwen3RotaryEmbedding(AutoConfig.for_model(**json.loads(json.dumps(config))))
            module(torch.zeros(1), torch.tensor([[length - 1]]))
            cases.append({"name": f"{base} {config['rope_scaling'] and config['rope_scaling']['rope_type']} {length}",
                          "config": config, "sequence_length": length, "scaling": float(module.attention_scaling),
                          "inv_freq": [float(f) for f in module.inv_freq]})
    args.out.write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


if __name__ == "__main__":
    main()
