#!/usr/bin/env python3
"""Does Glia read a random adapter as PEFT means it?

    walk_adapters.py BASE... [--count 200] [--seed 1] [--glia build/glia] [--only N] [--verbose]

Draws options of PEFT's LoraConfig, lets PEFT make the adapter for a base model, draws all its trained
numbers, saves it, and sometimes edits the saved files as older versions and other tools write them. PEFT's
logits in float64 are those of the saved adapter as PEFT loads it again, before any edit. (PEFT sorts the
keys of patterns when it saves, so the model that was saved may have been another one.) Glia computes them
in float32 with `glia score --lora`, from the directory. For each adapter one of these must hold:

  same      logits are equal within float32 rounding
  both      PEFT cannot load or run what it saved, and Glia refuses it

"not made" counts the options that PEFT refuses together. Anything else is printed and makes the exit status
1. BASE is a directory of ../shared/data/lora/bases, or another small model. Needs torch, transformers, peft and safetensors.
"""
import json
import pathlib
import re
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from walk import glia_logits, logits_of, walk

TOKENS = 24
TOLERANCE = 1e-3  # of the spread of the logits, which float32 rounding of a few layers stays far below

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def module_names(model):
    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "lm_head" not in n]


def draw_targets(rng, model):
    """target_modules, in one of the spellings of PEFT."""
    names = module_names(model)
    kind = rng.randrange(7)
    if kind == 0:
        return "all-linear"
    if kind == 1:
        return rng.sample(LINEAR, rng.randint(1, 7))
    if kind == 2:
        return r".*\.(" + "|".join(rng.sample(LINEAR, rng.randint(1, 4))) + ")"
    if kind == 3:
        return rng.sample(names, rng.randint(1, len(names)))
    if kind == 4:
        return r"model\.layers\.[0-9]+\.(self_attn|mlp)\.(%s)" % "|".join(rng.sample(LINEAR, 3) + ["q_proj"])
    if kind == 5:
        return [f"self_attn.{n}" for n in rng.sample(LINEAR[:4], rng.randint(1, 4))] + ["mlp.down_proj"]
    return rng.sample(LINEAR, rng.randint(1, 5)) + rng.choice([["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"]])


def draw_pattern(rng, model, values):
    """A dictionary of patterns of modules."""
    names, keys = module_names(model), []
    for _ in range(rng.randint(1, 3)):
        keys.append(rng.choice([rng.choice(LINEAR), rng.choice(names), f"self_attn.{rng.choice(LINEAR[:4])}",
                                rf"^model\.layers\.0\.self_attn\.{rng.choice(LINEAR[:4])}$",
                                rf"layers\.[01]\..*{rng.choice(LINEAR)}"]))
    return {k: rng.choice(values) for k in keys}


def draw_config(rng, model):
    """Options of LoraConfig. Each is drawn apart, so some combinations are refused by PEFT."""
    c = model.config
    layers = c.num_hidden_layers
    options = {"r": rng.choice([1, 2, 3, 4, 8, 16, 20]), "lora_alpha": rng.choice([1, 4, 16, 32, 7]),
               "target_modules": draw_targets(rng, model), "task_type": rng.choice(["CAUSAL_LM", None]),
               "lora_dropout": rng.choice([0, 0.1]), "init_lora_weights": rng.choice([True, False, "gaussian"])}
    if rng.random() < 0.3:
        options["use_rslora"] = True
    if rng.random() < 0.2:
        options["use_dora"] = True
    if rng.random() < 0.25:
        options["rank_pattern"] = draw_pattern(rng, model, [1, 2, 5, 12])
    if rng.random() < 0.25:
        options["alpha_pattern"] = draw_pattern(rng, model, [1, 3, 64])
    if rng.random() < 0.15:
        options["bias"] = rng.choice(["all", "lora_only"])
    if rng.random() < 0.1:
        options["lora_bias"] = True
    if rng.random() < 0.2 and options["target_modules"] != "all-linear" and not isinstance(options["target_modules"], str):
        options["layers_to_transform"] = rng.choice([0, layers - 1, [0], list(range(0, layers, 2)), [layers - 1]])
        if rng.random() < 0.5:
            options["layers_pattern"] = rng.choice(["layers", ["layers"], ["layers", "h"]])
    if rng.random() < 0.2:
        options["exclude_modules"] = rng.choice([rng.sample(LINEAR, 2), r".*\.0\..*", r".*(gate|up)_proj",
                                                 [rng.choice(module_names(model))]])
    if rng.random() < 0.2:
        options["modules_to_save"] = rng.choice([["lm_head"], ["embed_tokens"], ["norm"], ["input_layernorm"],
                                                 ["post_attention_layernorm", "norm"], ["lm_head", "embed_tokens"],
                                                 ["layers.0.mlp.down_proj"], ["k_proj"], ["q_norm"], ["layernorm"]])
    if rng.random() < 0.15:
        ids = rng.sample(range(c.vocab_size), 5)
        options["trainable_token_indices"] = rng.choice(
            [ids, {"embed_tokens": ids}, {"model.embed_tokens": ids}, {"embed_tokens": ids, "lm_head": ids},
             {"lm_head": ids}, {"embed_tokens": ids, "lm_head": ids[:2] + [ids[2] - 1 if ids[2] else 1]}])
    if rng.random() < 0.1:
        options["ensure_weight_tying"] = True
    if rng.random() < 0.1:
        options["target_parameters"] = [f"{rng.choice(LINEAR[4:])}.weight"]
    if rng.random() < 0.1:
        options["fan_in_fan_out"] = True
    return options


def draw_weights(model, seed):
    """Give every trained number a random value of a size that changes the logits visibly and not absurdly."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float32)
        with torch.no_grad():
            if "magnitude" in name:
                p.mul_(1 + 0.2 * noise)
            elif "lora_" in name:
                p.copy_(noise * (0.3 / max(p.shape) ** 0.5))
            else:
                p.add_(noise * 0.1 * p.std() if p.std() > 0 else noise * 0.1)


# ---- edits of what was saved, that do not change its meaning ------------------------------

def rename(tensors, pattern, by):
    return {re.sub(pattern, by, name): t for name, t in tensors.items()}


def edit(rng, at):
    """One edit that another version or tool would have made. Returns its name."""
    config_at, weights_at = at / "adapter_config.json", at / "adapter_model.safetensors"
    config, tensors = json.loads(config_at.read_text()), load_file(weights_at)
    what = rng.choice(["nothing", "nothing", "no nulls", "old keys", "no prefix", "adapter name", "double prefix",
                       "new keys", "no base name", "module prefix"])
    if what == "no nulls":
        config = {k: v for k, v in config.items() if v not in (None, False, [], {})}
    if what == "old keys":
        old = ("base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights",
               "lora_alpha", "lora_dropout", "modules_to_save", "peft_type", "r", "target_modules", "task_type")
        kept = {k: config[k] for k in old}
        if all(not v for k, v in config.items()
               if k not in old and k not in ("peft_version", "auto_mapping", "revision", "megatron_core", "qalora_group_size")):
            config = kept | {"enable_lora": None, "merge_weights": False}
        else:
            what = "nothing"
    if what == "new keys":
        config["some_future_option"], config["another"] = None, False
    if what == "no base name":
        config["base_model_name_or_path"] = ""
    if what == "no prefix":
        tensors = rename(tensors, r"^base_model\.model\.", "")
    if what == "double prefix":
        tensors = rename(tensors, r"^base_model\.model\.", "base_model.model.base_model.model.")
    if what == "module prefix":
        tensors = rename(tensors, r"^base_model\.model\.", "base_model.model._orig_mod.")
    if what == "adapter name":
        tensors = rename(tensors, r"(lora_[AB])\.(weight|bias)$", r"\1.default.\2")
    config_at.write_text(json.dumps(config, indent=2))
    save_file(tensors, weights_at)
    return what


# ---- the comparison -----------------------------------------------------------------------

def load(base):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64, attn_implementation="eager")


def reloaded(base, adapter, ids):
    """Logits of the saved adapter, or None if PEFT does not load it."""
    try:
        return logits_of(PeftModel.from_pretrained(load(base), adapter).eval(), ids)
    except (RuntimeError, ValueError):
        return None


def one(rng, glia, at, number, bases):
    """Returns (verdict, words)."""
    base = bases[number % len(bases)]
    model = load(base)
    options = draw_config(rng, model)
    ids = [rng.randrange(model.config.vocab_size) for _ in range(TOKENS)]
    if "trainable_token_indices" in options:
        chosen = options["trainable_token_indices"]
        ids[::3] = (list(chosen.values())[0] if isinstance(chosen, dict) else chosen)[:1] * len(ids[::3])
    plain = logits_of(model, ids)
    try:
        model = get_peft_model(model, LoraConfig(**options))
        draw_weights(model, number)
        model.save_pretrained(at / "adapter")
    except Exception as e:  # PEFT refuses a combination in many ways
        return "not made", f"{options}: {type(e).__name__}: {str(e)[:100]}"
    want = reloaded(base, at / "adapter", ids)
    edited = edit(rng, at / "adapter")
    words = f"{pathlib.Path(base).name} {options}, edit: {edited}"
    got, said = glia_logits(glia, base, ids, at, ["--enable-lora", "--max-lora-rank", "64", "--lora-modules",
                                                   f"a={at / 'adapter'}", "--lora", "a"])
    if got is None:
        if want is None:
            return "both", words
        return "REFUSED", f"{words}: {said}"
    if want is None:
        return "ACCEPTED", words
    error, spread = float((got - want).abs().max()), float(want.std())
    change = float((want - plain).abs().max())
    verdict = "same" if error <= TOLERANCE * spread else "DIFFERENT"
    return verdict, f"{words}: error {error:.1e}, spread {spread:.2f}, changed by {change:.1e}. {said}"


if __name__ == "__main__":
    sys.exit(walk(__doc__, one, bases=True))
