#!/usr/bin/env python3
"""Write tests/golden/forward and tests/golden/ranks: small models with the logits they must give.

    gen_forward_goldens.py [--out tests/golden] [--configs ../shared/data/configs] [--only ranks]
                           [--models NAME...]

Each folder holds config.json, model.safetensors (bfloat16 weights), golden.json
(the ids, Transformers' own error against float64, the versions that made it) and logits.f64: little-endian float64 [ids, vocab] by Transformers
in float64 with eager attention. tests/check_forward.c reads the first, models of every kind,
tests/check_parallel.c the second, which have as many heads as ranks can share. The same script
gives the same models; the last bits of logits.f64 may differ with another torch.
"""
import argparse
import json
import pathlib
import shutil

import torch
import transformers

import fidelity
import make_shrunken
from make_shrunken import FULL, SLIDING, rope

POSITIONS = 72  # beyond the first piece of 64 keys, every window and original length below


def small(family, **keys):
    base, shrunk = family
    shrunk.update({"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "vocab_size": 48,
                   "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, **keys})
    return base, shrunk


def qwen3(base="Qwen3-0.6B", **keys):
    return small(make_shrunken.qwen3(base), **{"max_window_layers": 2, **keys})


def smollm3(**keys):
    return small(make_shrunken.smollm3(), **{"no_rope_layers": [1, 0], **keys})


def llama(base="Llama-3.2-1B", **keys):
    return small(make_shrunken.llama(base), **keys)


def qwen2(base="Qwen2.5-0.5B", **keys):
    return small(make_shrunken.qwen2(base), **{"max_window_layers": 2, **keys})


def longrope(original):
    return {"max_position_embeddings": 512, "original_max_position_embeddings": original,
            **rope("longrope", short_factor=[1 + i / 16 for i in range(8)],
                   long_factor=[1.0 + i * i / 4 for i in range(8)], factor=4.0)}


VARIANTS = {
    "qwen3": qwen3(),
    "qwen3-lm-head-stored": (*qwen3(num_key_value_heads=4), {"lm_head"}),
    "qwen3-bare-names": (*qwen3("Qwen3-Embedding-0.6B", vocab_size=45, num_key_value_heads=1), {"bare"}),
    "qwen3-untied-bias-odd": qwen3("Qwen3-8B", attention_bias=True, hidden_size=38, intermediate_size=57,
                                   num_attention_heads=5, num_key_value_heads=1, head_dim=10, vocab_size=51),
    "qwen3-window-layers": (*qwen3(use_sliding_window=True, sliding_window=20, max_window_layers=1,
                                   layer_types=None), {"without layer_types"}),
    "qwen3-linear": qwen3(**rope("linear", factor=3.0)),
    "qwen3-dynamic": qwen3(max_position_embeddings=32, **rope("dynamic", factor=2.0)),
    "qwen3-yarn": qwen3(rope_theta=10000.0, **rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "qwen3-yarn-mscale": qwen3(rope_theta=10000.0, **rope(
        "yarn", factor=8.0, original_max_position_embeddings=48, mscale=1.0, mscale_all_dim=0.5, beta_fast=8.0,
        truncate=False)),
    "qwen3-longrope-long": qwen3(**longrope(32)),
    "qwen3-longrope-short": qwen3(**longrope(128)),
    "qwen3-llama3": qwen3(rope_theta=10000.0, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                     original_max_position_embeddings=64)),
    "smollm3": smollm3(),
    "smollm3-interval": (*smollm3(no_rope_layers=None, no_rope_layer_interval=2),
                         {"without no_rope_layers", "without layer_types"}),
    "smollm3-bias-window-types": smollm3(attention_bias=True, mlp_bias=True, use_sliding_window=True, sliding_window=17,
                                         layer_types=[SLIDING, FULL], tie_word_embeddings=False),
    "smollm3-window-nope": (*smollm3(use_sliding_window=True, sliding_window=33), {"without layer_types"}),
    "llama-3.2": llama(**rope("llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                              original_max_position_embeddings=48)),
    "llama-proportional": llama(**rope("proportional", partial_rotary_factor=0.5, factor=2.0)),
    "llama-yarn-original-twice": llama(rope_theta=10000.0, max_position_embeddings=256, original_max_position_embeddings=32,
                                       **rope("yarn", factor=None, truncate=None, original_max_position_embeddings=64)),
    "llama-tied-other-head": (*llama(), {"other lm_head"}),
    "llama-untied-bias": (*llama("Llama-3.1-8B", attention_bias=True, mlp_bias=True, num_key_value_heads=1,
                                 head_dim=None, **rope("linear", factor=2.0)), {"without head_dim"}),
    "qwen2": qwen2(),
    "qwen2-mixed-dtypes": (*qwen2(), {"mixed"}),
    "qwen2-untied-window-odd": (*qwen2("Qwen2.5-7B", use_sliding_window=True, sliding_window=20, max_window_layers=1,
                                       hidden_size=38, intermediate_size=57, num_attention_heads=7,
                                       num_key_value_heads=1, head_dim=10, vocab_size=51), {"without layer_types"}),
}


HEADS = ((16, 8), (16, 4), (32, 8), (40, 8), (9, 3), (15, 5), (24, 8))
RANKS = {f"{name}-{heads}-{kv_heads}": make(num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=8,
                                            **(rest if heads != 16 else {}))
         for name, make, rest in (
             ("qwen3", qwen3, {"attention_bias": True, "tie_word_embeddings": False}),
             ("smollm3", smollm3, {"use_sliding_window": True, "sliding_window": 21, "mlp_bias": True,
                                   "layer_types": [SLIDING, FULL]}))
         for heads, kv_heads in HEADS}


def write(out, variants, configs, names):
    for name in names:
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        make_shrunken.build(name, folder, configs, variants)
        ids = fidelity.random_ids(folder, POSITIONS, 1)
        truth = fidelity.theirs(folder, ids, torch.float64)
        theirs = {kind: dict(zip(("mean", "max"), fidelity.errors(fidelity.theirs(folder, ids, dtype), truth)))
                  for kind, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))}
        (folder / "logits.f64").write_bytes(truth.numpy().astype("<f8").tobytes())
        (folder / "golden.json").write_text(json.dumps({
            "made_by": "tools/gen_forward_goldens.py", "transformers": transformers.__version__,
            "torch": torch.__version__, "error_of_theirs": theirs, "ids": ids}) + "\n")
        size = sum(p.stat().st_size for p in folder.iterdir())
        print(f"{name:28} {size:7} bytes, logits std {truth.std().item():.2f}, error of theirs {theirs}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden")
    parser.add_argument("--configs", default="../shared/data/configs")
    parser.add_argument("--only", choices=("forward", "ranks"))
    parser.add_argument("--models", nargs="*", help="names of models; all if not given")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for folder, variants in (("forward", VARIANTS), ("ranks", RANKS)):
        if args.only in (None, folder):
            write(args.out / folder, variants, args.configs, [n for n in args.models or variants if n in variants])


if __name__ == "__main__":
    main()
