#!/usr/bin/env python3
"""Does Glia read a random checkpoint of compressed-tensors as that library means it?

    walk_quantized.py [--count 200] [--seed 1] [--glia build/glia] [--only N] [--verbose]

Makes a small random Qwen3 or SmolLM3, draws config_groups of compressed-tensors (number formats, strategies,
groups, zero points, targets, what is ignored), and lets the library compress the model and save it. The
expected logits are those of Transformers in float64 with the weights as the library quantises and
dequantises them. Glia computes them in float32 with `glia score`. For each model one of these must hold:

  same      logits are equal within float32 rounding; where rows are quantised too, within the error of that
  refused   Glia refuses it with a reason of the table STRICT

"not made" counts what the library refuses. Anything else is printed and makes the exit status 1.
Needs torch, transformers, compressed-tensors and safetensors.
"""
import json
import sys

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config, dequantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams
from transformers import Qwen3Config, Qwen3ForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

from walk import glia_logits, logits_of, refusal, walk

TOKENS = 24
ROUNDING, ROWS = 1e-3, 0.25  # of the spread of the logits; rows in 8 bits change them visibly

# A reason with which Glia refuses what the library writes, and why it should.
STRICT = {
    r"activations?\b.*(static|num_bits|strategy|symmetric|dynamic)": "activations that are quantised in another way",
}

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_model(rng):
    torch.manual_seed(rng.randrange(1 << 30))
    smol = rng.random() < 0.3
    heads, kv, dim = rng.choice([(4, 2, 32), (2, 1, 64), (4, 4, 32)])
    shape = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=heads, num_key_value_heads=kv,
                 intermediate_size=rng.choice([128, 256, 384, 192, 136]), vocab_size=rng.choice([160, 256]), head_dim=dim,
                 max_position_embeddings=256, tie_word_embeddings=rng.random() < 0.5, initializer_range=0.08,
                 pad_token_id=0, bos_token_id=1, eos_token_id=2)
    config = (SmolLM3Config if smol else Qwen3Config)(**shape)
    model = (SmolLM3ForCausalLM if smol else Qwen3ForCausalLM)(config)
    return model.to(rng.choice([torch.bfloat16, torch.bfloat16, torch.float16, torch.float32])).eval()


def draw_weights(rng):
    """QuantizationArgs of weights, or None where a combination makes no sense."""
    kind = rng.choice(["int4", "int4", "int8", "int8", "fp8", "fp4"])
    if kind == "fp8":
        strategy = rng.choice(["tensor", "channel", "block", "group"])
        args = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy}
    elif kind == "fp4":
        args = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": 32,
                "scale_dtype": "torch.uint8", "zp_dtype": "torch.uint8"}
        strategy = "mx"
    else:
        strategy = rng.choice(["tensor", "channel", "group", "group", "block"])
        args = {"num_bits": int(kind[3:]), "type": "int", "symmetric": rng.random() < 0.6, "strategy": strategy}
    if strategy == "block":
        args["block_structure"] = rng.choice([[128, 128], [64, 128], [32, 32]])
    if strategy == "group":
        args["group_size"] = rng.choice([16, 32, 64, 128])
    return args


def draw_activations(rng, weights):
    if (weights["num_bits"], weights["type"]) == (4, "float") or rng.random() < 0.6:
        return None
    args = {"num_bits": 8, "type": weights["type"], "symmetric": True, "strategy": "token", "dynamic": True}
    if weights["strategy"] == "block" and rng.random() < 0.7:
        args |= {"strategy": "group", "group_size": 128}
    return args


def draw_config(rng, model):
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    targets = [["Linear"], [f"re:.*{rng.choice(['self_attn', 'mlp'])}.*"], [r"re:.*(q|k|v)_proj$", r"re:.*o_proj$"],
               rng.sample(names, rng.randint(1, len(names))), [r"re:model\.layers\.0\..*"]]
    groups = {}
    for i, target in enumerate([rng.choice(targets)] if rng.random() < 0.6 else [targets[1], [r"re:.*"]]):
        weights = draw_weights(rng)
        groups[f"group_{i}"] = {"targets": target, "weights": weights, "input_activations": draw_activations(rng, weights)}
    if len(groups) == 2:  # what the first one leaves
        other = "mlp" if "self_attn" in groups["group_0"]["targets"][0] else "self_attn"
        groups["group_1"]["targets"] = [f"re:.*{other}.*"]
    ignore = rng.choice([["lm_head"], ["lm_head", "re:.*down_proj"], ["lm_head", rng.choice(names)], ["re:.*lm_head", "re:model.layers.1.*"]])
    return {"config_groups": groups, "ignore": ignore, "quant_method": "compressed-tensors"}


def set_scales(module, args):
    """Scales and zero points of a weight from its extremes, as the simplest observer has them."""
    w = module.weight.data
    n, k = w.shape
    strategy = getattr(args.strategy, "value", args.strategy)
    if strategy == "tensor":
        low, high = w.min().reshape(1), w.max().reshape(1)
    elif strategy == "channel":
        low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    elif strategy == "block":
        a, b = args.block_structure
        padded = torch.nn.functional.pad(w, (0, -k % b, 0, -n % a))
        blocks = padded.reshape(padded.shape[0] // a, a, -1, b)
        low, high = blocks.amin((1, 3)), blocks.amax((1, 3))
    else:
        parts = w.reshape(n, -1, args.group_size)
        low, high = parts.amin(2), parts.amax(2)
    scale, zero = calculate_qparams(low.float(), high.float(), args)
    module.weight_scale.data = scale.to(module.weight_scale.dtype).reshape(module.weight_scale.shape)
    if hasattr(module, "weight_zero_point") and module.weight_zero_point is not None:
        module.weight_zero_point.data = zero.to(module.weight_zero_point.dtype).reshape(module.weight_zero_point.shape)


def quantise(model, config, at):
    """Compress and save the model. Returns a copy in float64 with the weights that this means."""
    exact = type(model)(model.config).double().eval()  # a copy would have RoPE's frequencies in the model's number format
    exact.load_state_dict(model.state_dict())
    apply_quantization_config(model, QuantizationConfig(**config))
    modules, rows = dict(exact.named_modules()), False
    for name, module in model.named_modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is None or not hasattr(module, "weight_scale"):
            continue
        set_scales(module, scheme.weights)
        scale, zero = module.weight_scale.data, getattr(module, "weight_zero_point", None)
        codes = quantize(module.weight.data, scale, zero, scheme.weights)  # in the model's number format, as it compresses
        modules[name].weight.data = dequantize(codes.float(), scale.float(), zero, scheme.weights, torch.float32).double()
        rows |= scheme.input_activations is not None
        module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(at)
    compressor.update_config(at)
    return exact, rows


def one(rng, glia, at, *_):
    """Returns (verdict, words)."""
    model = make_model(rng)
    ids = [rng.randrange(model.config.vocab_size) for _ in range(TOKENS)]
    config = draw_config(rng, model)
    words = f"{type(model).__name__} {model.dtype} {json.dumps(config)}"
    try:
        exact, rows = quantise(model, config, at / "m")
    except Exception as e:  # the library refuses in many ways
        return "not made", f"{words}: {type(e).__name__}: {str(e)[:160]}"
    want = logits_of(exact, ids)
    ranks = rng.choice(["1", "1", "2"])
    words = f"-tp {ranks} {words}"
    got, said = glia_logits(glia, at / "m", ids, at, ["--tensor-parallel-size", ranks])
    if got is None:
        return refusal(said, STRICT), f"{words}: {said}"
    error, spread = float((got - want).abs().max()), float(want.std())
    allowed = ROWS if rows else ROUNDING
    return "same" if error <= allowed * spread else "DIFFERENT", f"{words}: error {error:.1e}, spread {spread:.2f}. {said}"


if __name__ == "__main__":
    sys.exit(walk(__doc__, one))
