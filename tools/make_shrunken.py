#!/usr/bin/env python3
"""Make small random models of every configuration that Glia claims to run.

    make_shrunken.py DIR [--configs ../shared/data/configs] [--only NAME ...] [--list]

Each is a real config.json with fewer and smaller layers, plus the keys that the
variant is about; the weights are random with a realistic spread (logits of a
standard deviation of two to three, norm weights around one, a few outlier
channels in the residual stream), rounded to bfloat16 and saved by Transformers'
own save_pretrained. The same NAME gives the same bytes every time.

Needs torch and transformers. Nothing here is needed to build, run or test Glia.
"""
import argparse
import json
import math
import pathlib
import zlib

# Facts of published config.json files that ../shared/data/configs does not have.
LLAMA3 = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False,
          "hidden_act": "silu", "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
          "pretraining_tp": 1, "torch_dtype": "bfloat16"}
QWEN25 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "rms_norm_eps": 1e-6,
          "rope_theta": 1000000.0, "use_mrope": False, "use_sliding_window": False, "torch_dtype": "bfloat16"}
LLAMA3_ROPE = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192}
PUBLISHED = {
    "Llama-3.2-1B": {**LLAMA3, "head_dim": 64, "tie_word_embeddings": True,
                     "rope_scaling": {**LLAMA3_ROPE, "factor": 32.0}},
    "Llama-3.1-8B": {**LLAMA3, "tie_word_embeddings": False, "rope_scaling": {**LLAMA3_ROPE, "factor": 8.0}},
    "Qwen2.5-0.5B": {**QWEN25, "max_position_embeddings": 32768, "max_window_layers": 24, "sliding_window": 32768,
                     "tie_word_embeddings": True},
    "Qwen2.5-7B": {**QWEN25, "max_position_embeddings": 131072, "max_window_layers": 28, "sliding_window": 131072,
                   "tie_word_embeddings": False},
}

WINDOW = 48  # not a multiple of 64: windows end inside a piece of keys


def qwen3(base="Qwen3-0.6B", **keys):
    return base, {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "vocab_size": 640,
                  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_window_layers": 4,
                  "bos_token_id": 1, "eos_token_id": 2, **keys}


def smollm3(**keys):
    return "SmolLM3-3B", {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 5,
                          "vocab_size": 640, "num_attention_heads": 4, "num_key_value_heads": 1,
                          "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
                          "no_rope_layers": [1, 1, 1, 0, 1], "layer_types": None, **keys}


def llama(base="Llama-3.2-1B", **keys):
    return base, {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "vocab_size": 640,
                  "num_attention_heads": 4, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2, **keys}


def qwen2(base="Qwen2.5-0.5B", **keys):
    return base, {"hidden_size": 448, "intermediate_size": 704, "num_hidden_layers": 4, "vocab_size": 640,
                  "num_attention_heads": 7, "num_key_value_heads": 1, "max_window_layers": 4, "bos_token_id": 1,
                  "eos_token_id": 1, **keys}


def rope(kind, **keys):
    return {"rope_scaling": {"rope_type": kind, **keys}}


def longrope(head_dim):
    n = head_dim // 2
    return rope("longrope", short_factor=[1 + 0.01 * i for i in range(n)],
                long_factor=[1 + 7 * (i / n) ** 2 for i in range(n)], factor=8.0)


FULL, SLIDING = "full_attention", "sliding_attention"

# name: (real config, changed keys[, how it is stored]). Stored: "lm_head": the
# tied head's copy is in the file; "bare": names without "model."; "other lm_head": a tied model with
# another head; "mixed": neighbours of different dtypes, float64 too; "sharded": by
# index; "f32": float32 file; "without": keys left out of config.json, so that a
# reader must derive them.
VARIANTS = {
    # Layouts of the real checkpoints. Groups 2, 4, 4, 5, 8, 1.
    "qwen3-0.6b": (*qwen3(num_attention_heads=4, num_key_value_heads=2, head_dim=128), {"lm_head"}),
    "qwen3-4b": (*qwen3("Qwen3-4B", hidden_size=320, num_attention_heads=8, num_key_value_heads=2), {"sharded"}),
    "qwen3-8b": qwen3("Qwen3-8B", num_attention_heads=8, num_key_value_heads=2, head_dim=32),
    "qwen3-14b": (*qwen3("Qwen3-14B", hidden_size=320, num_attention_heads=5, num_key_value_heads=1), {"sharded"}),
    "qwen3-32b": qwen3("Qwen3-32B", hidden_size=160, num_attention_heads=16, num_key_value_heads=2, head_dim=32,
                       num_hidden_layers=6),
    "qwen3-4b-2507": qwen3("Qwen3-4B-Instruct-2507", num_attention_heads=4, num_key_value_heads=4),
    "qwen3-embedding": (*qwen3("Qwen3-Embedding-0.6B", vocab_size=669), {"bare"}),
    "qwen3-reranker": qwen3("Qwen3-Reranker-0.6B", vocab_size=669),
    "qwen3-f32": (*qwen3(), {"f32"}),
    "qwen3-odd-sizes": qwen3(hidden_size=138, intermediate_size=203, vocab_size=777, head_dim=26,
                             num_attention_heads=3, num_key_value_heads=3, num_hidden_layers=3),
    "qwen3-wide": qwen3(hidden_size=1024, intermediate_size=3072, num_hidden_layers=3, num_attention_heads=16,
                        num_key_value_heads=8, head_dim=128, vocab_size=1024),
    "qwen3-bias": qwen3(attention_bias=True),
    # All of the real layers, fewer words: made only when --only names it (1 GB).
    "full-qwen3-0.6b": qwen3(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
                             num_key_value_heads=8, head_dim=128, vocab_size=4096, max_window_layers=28),
    # Sliding windows of Qwen3.
    "qwen3-window-layers": (*qwen3(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2,
                                   layer_types=None), {"without layer_types"}),
    "qwen3-window-types": qwen3(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=4,
                                layer_types=[SLIDING, FULL, SLIDING, FULL]),
    "qwen3-window-off": (*qwen3(use_sliding_window=False, sliding_window=WINDOW, max_window_layers=1),
                         {"without layer_types"}),
    # Every rope type. dynamic and longrope switch at max / original positions.
    "qwen3-linear": qwen3(**rope("linear", factor=4.0)),
    "qwen3-dynamic-short": qwen3(max_position_embeddings=1024, **rope("dynamic", factor=2.0)),
    "qwen3-dynamic-long": qwen3(max_position_embeddings=128, **rope("dynamic", factor=2.0)),
    "qwen3-yarn": qwen3(**rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    "qwen3-yarn-factor": qwen3(**rope("yarn", factor=8.0, original_max_position_embeddings=64,
                                      attention_factor=1.3, beta_fast=16.0, beta_slow=2.0)),
    "qwen3-yarn-mscale": qwen3(**rope("yarn", factor=40.0, original_max_position_embeddings=256, mscale=1.0,
                                      mscale_all_dim=0.707, truncate=False)),
    "qwen3-longrope-short": qwen3(max_position_embeddings=4096, original_max_position_embeddings=1024,
                                  **longrope(64)),
    "qwen3-longrope-long": qwen3(max_position_embeddings=4096, original_max_position_embeddings=128,
                                 **longrope(64)),
    "qwen3-llama3": qwen3(**rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                 original_max_position_embeddings=128)),
    "qwen3-all": qwen3(attention_bias=True, tie_word_embeddings=False, use_sliding_window=True,
                       sliding_window=WINDOW, layer_types=[FULL, SLIDING, SLIDING, FULL], head_dim=48,
                       num_attention_heads=10, num_key_value_heads=2,
                       **rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    # SmolLM3: NoPE by list and by interval, tied and untied, groups 4, 4, 2, 1, 8.
    "smollm3-3b": smollm3(),
    "smollm3-interval": (*smollm3(no_rope_layers=None, no_rope_layer_interval=2),
                         {"without no_rope_layers", "without layer_types"}),
    "smollm3-untied": (*smollm3(tie_word_embeddings=False, num_key_value_heads=2), {"sharded"}),
    "smollm3-rope-everywhere": smollm3(no_rope_layers=[1] * 5, num_key_value_heads=4),
    "smollm3-head-dim": smollm3(head_dim=40, num_attention_heads=8, num_key_value_heads=1),
    "smollm3-bias": smollm3(attention_bias=True, mlp_bias=True),
    "smollm3-window-nope": (*smollm3(use_sliding_window=True, sliding_window=WINDOW), {"without layer_types"}),
    "smollm3-window-types": smollm3(use_sliding_window=True, sliding_window=WINDOW,
                                    layer_types=[SLIDING, FULL, SLIDING, SLIDING, FULL]),
    "smollm3-window-unflagged": smollm3(use_sliding_window=False, sliding_window=WINDOW,
                                        layer_types=[FULL, SLIDING, FULL, SLIDING, FULL]),
    "smollm3-linear": smollm3(**rope("linear", factor=2.5)),
    "smollm3-dynamic": smollm3(max_position_embeddings=200, **rope("dynamic", factor=4.0)),
    "smollm3-yarn": smollm3(**rope("yarn", factor=2.0, original_max_position_embeddings=256)),
    "smollm3-longrope": smollm3(max_position_embeddings=2048, original_max_position_embeddings=256, **longrope(64)),
    "smollm3-llama3": smollm3(**rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=2.0,
                                     original_max_position_embeddings=64)),
    # Llama: as published (with original positions that the test reaches), other biases, other rope.
    "llama-3.2-1b": llama(**rope("llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                 original_max_position_embeddings=128)),
    "llama-3.2-1b-plain": llama(),
    "llama-3.1-8b": (*llama("Llama-3.1-8B", num_attention_heads=8, num_key_value_heads=2,
                            **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=256)), {"sharded"}),
    "llama-2": (*llama("Llama-3.1-8B", num_key_value_heads=4, rope_theta=10000.0, rope_scaling=None,
                       max_position_embeddings=4096), {"without head_dim"}),
    "llama-attention-bias": llama(attention_bias=True),
    "llama-mlp-bias": llama(mlp_bias=True, tie_word_embeddings=False),
    "llama-all": llama(attention_bias=True, mlp_bias=True, head_dim=48, num_attention_heads=10,
                       num_key_value_heads=2, **rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    # Qwen2: biases on q, k and v always; groups 7, 7, 4, 1.
    "qwen2.5-0.5b": qwen2(),
    "qwen2.5-7b": (*qwen2("Qwen2.5-7B", num_attention_heads=14, num_key_value_heads=2, head_dim=32), {"sharded"}),
    "qwen2-window-layers": (*qwen2(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2),
                            {"without layer_types"}),
    "qwen2-window-types": qwen2(use_sliding_window=True, sliding_window=WINDOW,
                                layer_types=[SLIDING, FULL, FULL, SLIDING]),
    "qwen2-yarn": qwen2("Qwen2.5-7B", hidden_size=256, num_attention_heads=8, num_key_value_heads=2,
                        **rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    "qwen2-odd-sizes": qwen2(hidden_size=138, intermediate_size=203, vocab_size=777, num_attention_heads=3,
                             num_key_value_heads=3),
}


def fill(model, seed):
    """Random weights: what a trained model's look like from a distance."""
    import torch
    rng = torch.Generator().manual_seed(seed)
    hidden = model.config.hidden_size
    outliers = torch.randperm(hidden, generator=rng)[:3]

    def normal(p, std, mean=0.0):
        return mean + std * torch.randn(p.shape, generator=rng, dtype=torch.float64)

    for name, p in model.named_parameters():
        if name.endswith("bias"):
            value = normal(p, 0.2)
        elif p.dim() == 1:
            value = normal(p, 0.2, 1.4 if "q_norm" in name or "k_norm" in name else 1.0).clamp(min=0.1)
            if p.shape[0] == hidden and "head" not in name:
                value[outliers] *= 0.3
        elif "embed" in name or "lm_head" in name:
            value = normal(p, 2.5 / math.sqrt(hidden))
        else:
            gain = {"q_proj": 1.5, "k_proj": 1.5, "o_proj": 0.7, "down_proj": 1.0}.get(name.split(".")[-2], 1.0)
            value = normal(p, gain / math.sqrt(p.shape[1]))
            if name.split(".")[-2] in ("o_proj", "down_proj"):
                value[outliers] *= 8
        p.data.copy_(value.to(torch.bfloat16))


def store(model, folder, how):
    """save_pretrained, then what published checkpoints do and it does not."""
    import torch
    from safetensors.torch import load_file, save_file
    model.to(torch.float32 if "f32" in how else torch.bfloat16).save_pretrained(
        folder, max_shard_size="3MB" if "sharded" in how else "5GB")
    weights = folder / "model.safetensors"
    if how & {"lm_head", "bare", "other lm_head", "mixed"}:
        tensors = load_file(weights)
        if "other lm_head" in how:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].flip(0).clone()
        if "mixed" in how:
            dtypes = (torch.float64, torch.bfloat16, torch.float32, torch.float16)
            tensors = {name: t.to(dtypes[i % 4]) for i, (name, t) in enumerate(sorted(tensors.items()))}
        if "lm_head" in how:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        if "bare" in how:
            tensors = {name.removeprefix("model."): t for name, t in tensors.items()}
        save_file(tensors, weights, {"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    for rule in how:
        if rule.startswith("without "):
            config.pop(rule.removeprefix("without "), None)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def build(name, folder, configs, variants=VARIANTS):
    from transformers import AutoConfig, AutoModelForCausalLM
    base, keys, *how = variants[name]
    config = dict(PUBLISHED.get(base) or json.loads((pathlib.Path(configs) / base / "config.json").read_text()))
    config.update(keys)
    if base.startswith("Qwen3") and "layer_types" not in keys:
        config.pop("layer_types", None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    fill(model, zlib.crc32(name.encode()))
    store(model.eval(), pathlib.Path(folder), how[0] if how else set())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", nargs="?", type=pathlib.Path)
    parser.add_argument("--configs", default="../shared/data/configs", help="folders of real config.json files")
    parser.add_argument("--only", nargs="*", help="names of variants",
                        default=[name for name in VARIANTS if not name.startswith("full-")])
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list or not args.dir:
        print("\n".join(VARIANTS))
        return
    for name in args.only:
        build(name, args.dir / name, args.configs)
        print(args.dir / name)


if __name__ == "__main__":
    main()
