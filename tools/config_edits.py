"""Edited configurations: what tools/walk_configs.py and tools/gen_config_goldens.py try.

A base is a small complete config.json of one architecture. An edit is a dict of
keys to set; the value REMOVE takes the key away. A tensor edit changes the tensors
that are stored beside it.
"""
import copy
import json
import random
import zlib

REMOVE = "-"
POSITIONS = 40  # ids of a comparison; original lengths below and above it occur
HEAD_DIM, LAYERS = 16, 2

SIZES = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": LAYERS, "vocab_size": 48,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": HEAD_DIM, "max_position_embeddings": 64,
         "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
         "tie_word_embeddings": True}
BASES = {
    "llama": {**SIZES, "architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "qwen2": {**SIZES, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
    "qwen3": {**SIZES, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "tie_word_embeddings": False},
    "smollm3": {**SIZES, "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "pad_token_id": 3,
                "no_rope_layers": [1, 0]},
}
ALL = tuple(BASES)

ORIGINAL, PARTIAL = "original_max_position_embeddings", "partial_rotary_factor"
FULL, SLIDING = "full_attention", "sliding_attention"
LINEAR = {"rope_type": "linear", "factor": 2.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
LONGROPE = {"rope_type": "longrope", "short_factor": [1 + i / 8 for i in range(8)],
            "long_factor": [2 + i / 2 for i in range(8)]}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
PROPORTIONAL = {"rope_type": "proportional"}
NESTED = {FULL: {**LINEAR, "rope_theta": 99.0}, SLIDING: {"rope_type": "default"}}


def scaling(*dicts, **top):
    """The same dictionary as rope_scaling and as rope_parameters."""
    merged = {k: v for d in dicts for k, v in d.items()}
    return [{"rope_scaling": merged, **top}, {"rope_parameters": merged, **top}]


def each(key, *values):
    return [{key: v} for v in values]


ROPE_EDITS = [
    *each("rope_theta", 500.0, 10000, 0.5, 1.0, 1e-30, 1e-40, 1e-320, 1e39, 0, -5.0, None, "1e4", REMOVE),
    *each("rope_scaling", {}, None, [], False, 4, "x", [1], {"factor": 2.0}, {"rope_theta": 50.0},
          {"rope_type": "su", "factor": 2.0}, {"rope_type": "mrope"}, {"rope_type": "axial"}, {"rope_type": 3},
          {"rope_type": "default", "factor": 9.0}, {"rope_type": "default"}),
    *each("rope_parameters", {}, None, [], "x"),
    {"rope_scaling": {}, "rope_parameters": LINEAR},
    # which spelling wins
    {"rope_scaling": LINEAR, "rope_parameters": {**YARN, "rope_theta": 77.0}},
    {"rope_scaling": LINEAR, "rope_parameters": {**YARN, "rope_theta": 77.0}, "rope_theta": REMOVE},
    {"rope_scaling": LINEAR, "rope_parameters": {"rope_theta": 77.0}, "rope_theta": REMOVE},
    {"rope_scaling": LINEAR, "rope_parameters": {**LINEAR, "rope_theta": 10000}},
    {"rope_scaling": LINEAR, "rope_parameters": "x"},
    *scaling({"type": "linear", "factor": 2.0}), *scaling({"type": "linear", **YARN}),
    *scaling({"rope_type": None, "type": "linear", "factor": 2.0}), *scaling({"type": None, "factor": 2.0}),
    *scaling(LINEAR, {"rope_theta": 77.0}), *scaling(LINEAR, {"rope_theta": 77.0}, rope_theta=REMOVE),
    *scaling(LINEAR, {"rope_theta": None}), *scaling({"rope_theta": 77.0}),
    # linear, dynamic
    *scaling(LINEAR), *scaling({"rope_type": "linear"}),
    *[e for f in (None, -2.0, 0.5, 0, 1, True, "2") for e in scaling({"rope_type": "linear", "factor": f})],
    *scaling(DYNAMIC), *scaling(DYNAMIC, max_position_embeddings=24), *scaling({"rope_type": "dynamic"}),
    *scaling(DYNAMIC, {ORIGINAL: 16}, **{ORIGINAL: 8}), *scaling(DYNAMIC, head_dim=2), *scaling(DYNAMIC, head_dim=4),
    # partial_rotary_factor
    *each(PARTIAL, 0.5, 1.0, None, -3, "x", 0.0),
    *[e for p in (0.0, 0.4, 0.5, 0.95, 1, 1.05, 1.5, -0.5, None) for e in scaling(PROPORTIONAL, {PARTIAL: p})],
    *scaling(PROPORTIONAL), *scaling(PROPORTIONAL, {PARTIAL: 0.5, "factor": 2.0}), *scaling(PROPORTIONAL, **{PARTIAL: 0.5}),
    *scaling(PROPORTIONAL, {PARTIAL: 0.25}, **{PARTIAL: 0.5}), *scaling(PROPORTIONAL, {"factor": None}),
    *[e for kind in (LINEAR, DYNAMIC, YARN, LLAMA3, {**LONGROPE, "factor": 2.0}) for p in (0.5, 0.95, 1.01, None)
      for e in scaling(kind, {PARTIAL: p})],
    *scaling(LINEAR, **{PARTIAL: 0.5}), *scaling(LINEAR, **{PARTIAL: 0.95}), *scaling(LINEAR, **{PARTIAL: 1.0}),
    *scaling({"rope_type": "default", PARTIAL: None}), *scaling({"rope_type": "default", PARTIAL: 0.5}),
    # yarn
    *scaling(YARN), *scaling({"rope_type": "yarn"}),
    *scaling(YARN, **{ORIGINAL: 32}), *scaling(YARN, {ORIGINAL: 16}, **{ORIGINAL: 32}),
    *scaling(YARN, {ORIGINAL: 16}, **{ORIGINAL: None}), *scaling(YARN, {"factor": None}, **{ORIGINAL: 16}),
    *[e for o in (None, 16, 16.5, 0, -4, 1, 4000) for e in scaling(YARN, {ORIGINAL: o})],
    *[e for t in (1.0, 0.5, 1e-3, 1e6) for e in scaling(YARN, {"rope_theta": t})],
    *[e for more in ({"factor": None}, {"factor": 0.5}, {"truncate": None}, {"truncate": False}, {"truncate": 0},
                     {"truncate": "no"}, {"truncate": []}, {"attention_factor": 0}, {"attention_factor": -1.0},
                     {"attention_factor": 1.3}, {"attention_factor": None}, {"beta_fast": None}, {"beta_fast": -1},
                     {"beta_slow": False}, {"beta_fast": 1, "beta_slow": 32}, {"beta_fast": 8.0, "beta_slow": 2.0},
                     {"mscale": -1.0, "mscale_all_dim": 1.0}, {"mscale": 1.0, "mscale_all_dim": 0.0}, {"mscale": 0.7},
                     {"mscale": 0.7, "mscale_all_dim": 1.0, "attention_factor": 1.1},
                     {"mscale": 0.7, "mscale_all_dim": 1.0}) for e in scaling(YARN, {ORIGINAL: 32}, more)],
    # longrope
    *[e for more in ({}, {"factor": 4.0}, {"factor": None}, {ORIGINAL: 16}, {ORIGINAL: 16, "factor": 2.0}, {ORIGINAL: 1},
                     {ORIGINAL: 1, "factor": 0.5}, {ORIGINAL: 1, "attention_factor": 1.5}, {ORIGINAL: 0}, {ORIGINAL: 2},
                     {ORIGINAL: 128}, {ORIGINAL: 16.5}, {ORIGINAL: None}, {"attention_factor": 0.0}, {"factor": -2.0},
                     {"short_factor": [2.0]}, {"short_factor": [3.0], "long_factor": [2.0]}, {"long_factor": [2.0] * 7},
                     {"short_factor": None}, {"short_factor": [1] * 8}, {"short_factor": [0.0] * 8},
                     {"short_factor": [-1.0] * 8}, {"short_factor": 2.0}, {"short_factor": ["1"] * 8})
      for e in scaling(LONGROPE, more)],
    *scaling(LONGROPE, **{ORIGINAL: 16}), *scaling(LONGROPE, {"factor": 9.0}, **{ORIGINAL: 16}),
    *scaling(LONGROPE, {"factor": 9.0, ORIGINAL: 32}, **{ORIGINAL: 16}),
    *scaling(LONGROPE, {"factor": 9.0, ORIGINAL: 32}, **{ORIGINAL: 1}),
    # llama3
    *[e for more in ({}, {ORIGINAL: 32}, {ORIGINAL: None}, {ORIGINAL: 0}, {ORIGINAL: 16.5}, {"low_freq_factor": 4.0},
                     {"low_freq_factor": 5.0}, {"low_freq_factor": 0.0}, {"low_freq_factor": None},
                     {"high_freq_factor": 0.0}, {"factor": None}, {"factor": 0.0}, {"low_freq_factor": -1.0})
      for e in scaling(LLAMA3, more)],
    *scaling(LLAMA3, **{ORIGINAL: 32}), *scaling(LLAMA3, {ORIGINAL: 16}, **{ORIGINAL: 32}),
    *scaling({"rope_type": "llama3", "factor": 8.0}),
    # nested per layer type
    *scaling(NESTED), *scaling({SLIDING: LINEAR}), *scaling(NESTED, LINEAR, {"rope_theta": 55.0}), *scaling(NESTED, LINEAR),
    *scaling(NESTED, LINEAR, {"rope_theta": 55.0}, layer_types=[FULL, FULL]), *scaling({FULL: None}),
    # nothing that any type knows
    *scaling({"spice": 1}), *scaling(LINEAR, {"spice": 1}),
]

OTHER_EDITS = [
    *each("rms_norm_eps", 0.0, 0, 1e-46, 5.0, 1e-5, None, "x", -1.0),
    *each("max_position_embeddings", 1, 2, 64.0, 0, None), *each("num_key_value_heads", None, 4, 1, 3, REMOVE),
    *each("head_dim", None, REMOVE, 8, 15, 1, 2), *each("hidden_size", 32.0, 30, 0), *each("num_hidden_layers", 0, 1),
    *each("attention_bias", True, False, None, 1), *each("mlp_bias", True, False, None),
    {"attention_bias": True, "mlp_bias": True}, *each("tie_word_embeddings", True, False, None, REMOVE),
    *each("dtype", "float64", "half", "double", "bfloat16", "float16", "auto", "int8", "float8_e4m3fn", 4, None),
    *each("torch_dtype", "float64", "bfloat16", "torch.float16", None),
    {"dtype": "float16", "torch_dtype": "bfloat16"}, {"dtype": None, "torch_dtype": "bfloat16"},
    *each("architectures", [], REMOVE, None, ["LlamaModel"], ["Qwen3ForCausalLM"], ["LlamaForCausalLM", "X"], [3]),
    *each("model_type", REMOVE, "gemma", 1), {"model_type": REMOVE, "architectures": REMOVE},
    *each("is_causal", True, False), *each("hidden_act", "swish", "gelu", None, REMOVE),
    *each("layer_types", [FULL] * 2, ["attention", FULL], [FULL], ["chunked_attention", FULL], [SLIDING, FULL], None, [1, 2]),
    {"layer_types": [SLIDING, FULL], "use_sliding_window": True, "sliding_window": 8},
    {"layer_types": [FULL, SLIDING], "sliding_window": 8},
    *[{"use_sliding_window": True, "sliding_window": w, "max_window_layers": m}
      for w in (8, 1, 0, -3, None, REMOVE) for m in (0, 1, -1, 28)],
    *each("use_sliding_window", True, 1, None), *each("max_window_layers", None, 0), *each("sliding_window", 8, None, "x"),
    *each("no_rope_layers", [2, 0], [1, -1], [0, 0], [1, 1, 1], [1], [], None, [True, False], ["a", 1], REMOVE),
    *each("no_rope_layer_interval", 0, -2, 2), {"no_rope_layers": None, "no_rope_layer_interval": 2},
    {"no_rope_layers": None, "no_rope_layer_interval": 0}, {"no_rope_layers": None, "no_rope_layer_interval": -2},
    *each("pad_token_id", None, -1, 5), *each("eos_token_id", [1, 2], [], None, -5, "x", [1, None], REMOVE),
    *each("bos_token_id", None, 1.5, [1], REMOVE),
    *each("spice", 1), *each("use_cache", False), *each("attention_dropout", 0.1), *each("pretraining_tp", 2),
    *each("temperature", 0.5), *each("do_sample", True), *each("max_length", 20), *each("top_k", 7),
    *each("_name_or_path", "/x"), *each("auto_map", {"AutoConfig": "x.Y"}), *each("unsloth_version", "2025.1"),
    *each("quantization_config", None), *each("id2label", {"0": "a", "1": "b"}), *each("num_labels", 2),
    *each("transformers_weights", "model.safetensors", "other.safetensors"),
    *each("per_layer_config", {"0": {"num_key_value_heads": 4}}, None),
]

EDITS = ROPE_EDITS + OTHER_EDITS


def apply(base, *edits):
    config = copy.deepcopy(BASES[base])
    for edit in edits:
        for key, value in edit.items():
            if value == REMOVE:
                config.pop(key, None)
            else:
                config[key] = copy.deepcopy(value)
    return config


def name_of(base, *edits):
    return " ".join([base, *(json.dumps(e) for e in edits)])


def seed_of(text):
    return zlib.crc32(text.encode())


def walk(n, seed):
    """n configurations as (base, edits): one to three edits of one base each."""
    rng = random.Random(seed)
    for _ in range(n):
        k = rng.choice((1, 1, 2, 2, 3))
        yield rng.choice(ALL), [rng.choice(ROPE_EDITS if rng.random() < 0.6 else OTHER_EDITS) for _ in range(k)]
