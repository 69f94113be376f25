#!/usr/bin/env python3
"""Does Glia read random checkpoints of GPTQModel, AutoAWQ, bitsandbytes, AutoRound, FP8 and FBGEMM as these tools mean them?

    PYTHONPATH=gptqmodel-7.7.0:autoawq-0.2.9 walk_published.py [--count 200] [--seed 1] [--glia build/glia] [--only N] [--verbose]

Makes a small random model, draws the settings of one tool (bits, groups, zero points, orders of columns, blocks, modules that
stay as they are, spellings of the configuration), and lets the tool's own code pack and dequantise every weight. The expected
logits are those of Transformers in float64 with the dequantised weights. Glia computes them in float32 with `glia score` on one
to three ranks. In a third of the cases one tensor or one setting is damaged afterwards. For each case one of these must hold:

  same      logits are equal within float32 rounding
  refused   the case is damaged, or the tool packs what Glia does not read (STRICT), and Glia says so in one line

"not made" counts what the tool refuses. Anything else is printed and makes the exit status 1. tools/walk_quantized.py does the
same for compressed-tensors. Needs torch, transformers, bitsandbytes, safetensors, and the sources of GPTQModel and AutoAWQ, whose
packing runs on a CPU without their installation (pip download --no-deps).
"""
import importlib.util
import json
import re
import sys
import types

import torch
import transformers
from safetensors.torch import load_file, save_file

from walk import glia_logits, logits_of, refusal, walk

TOKENS, ROUNDING = 24, 1e-3  # of the spread of the logits
STRICT = {r"bits is [23]; Glia reads gptq with 4 or 8 bits": "fewer bits"}


def without_init(*names):
    """Let modules of a package be imported without its __init__, which needs what packing does not."""
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = importlib.util.find_spec(name).submodule_search_locations
        sys.modules[name] = module


# ---- models --------------------------------------------------------------------------------------------------------------

def make_model(rng):
    torch.manual_seed(rng.randrange(1 << 30))
    kind = rng.choice(["Qwen3", "Qwen3", "Qwen2", "Llama", "SmolLM3"])
    heads, kv, dim = rng.choice([(4, 2, 32), (4, 4, 32), (8, 2, 16), (4, 2, 64)])
    shape = dict(hidden_size=rng.choice([128, 128, 256]) if dim * heads == 128 or kind == "Qwen3" else dim * heads,
                 num_hidden_layers=2, num_attention_heads=heads, num_key_value_heads=kv, head_dim=dim,
                 intermediate_size=rng.choice([128, 256, 384, 192, 160]), vocab_size=rng.choice([160, 256]),
                 max_position_embeddings=256, tie_word_embeddings=rng.random() < 0.5, initializer_range=0.08,
                 pad_token_id=0, bos_token_id=1, eos_token_id=2)
    if kind in ("Qwen2", "SmolLM3"):
        shape["hidden_size"] = heads * dim
        del shape["head_dim"]
    config = getattr(transformers, f"{kind}Config")(**shape)
    return getattr(transformers, f"{kind}ForCausalLM")(config).to(rng.choice([torch.bfloat16, torch.float16, torch.float32])).eval()


def linears(model, head):
    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and (n != "lm_head" or head)]


def skipped(rng, model):
    """Names that stay as they are, as lists spell them, and a test of a module's name."""
    names = rng.choice([[], ["lm_head"], ["lm_head", "down_proj"], ["lm_head", "model.layers.1.mlp.down_proj"],
                        ["lm_head", "model.layers.0"], ["self_attn", "lm_head"], ["lm_head", "q_proj", "k_proj", "v_proj"]])
    parts = lambda module: {module, *module.split("."), ".".join(module.split(".")[:3])}
    return names, lambda module: module == "lm_head" or bool(parts(module) & set(names))


# ---- tools ---------------------------------------------------------------------------------------------------------------

def ranges(w, bits, group, symmetric):
    """Scales and zero points [out, groups] from the extremes of each group."""
    n, k = w.shape
    x = torch.nn.functional.pad(w.float(), (0, -k % group)).reshape(n, -1, group)
    top = (1 << bits) - 1
    low, high = x.amin(2).clamp(max=0), x.amax(2).clamp(min=0)
    if symmetric:
        high = torch.maximum(high, -low)
        scale, zero = high * 2 / top, torch.full_like(high, 1 << bits - 1)
    else:
        scale = (high - low) / top
        zero = (-low / scale).round().clamp(0, top)
    return scale.half().float(), zero


def gptq_linear(w, bits, group, symmetric, ordered, stored_zeros, rng):
    """GPTQModel's TorchLinear packs and dequantises. Returns tensors and values."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    n, k = w.shape
    each = k if group < 0 else group
    g_idx = torch.arange(k, dtype=torch.int32) // each
    if ordered:
        g_idx = g_idx[torch.randperm(k, generator=torch.Generator().manual_seed(rng.randrange(1 << 30)))]
    groups = -(-k // each)
    scale, zero = torch.zeros(n, groups), torch.zeros(n, groups)
    for g in range(groups):
        one, where = ranges(w[:, g_idx == g], bits, int((g_idx == g).sum()), symmetric)
        scale[:, g], zero[:, g] = one[:, 0], where[:, 0]
    layer = TorchLinear(bits=bits, group_size=group, sym=symmetric, desc_act=ordered, in_features=k, out_features=n, bias=False)
    linear = torch.nn.Linear(k, n, bias=False)
    linear.weight.data = w.float()
    layer.pack_original(linear, scale, zero, g_idx)
    layer.scales = layer.scales.float()  # values in float32
    layer.dequant_dtype = torch.int32
    layer.optimize = lambda *_, **__: None  # no compilation
    layer.post_init()
    values = layer.dequantize_weight().float().T.contiguous()
    qzeros = layer.qzeros
    if not stored_zeros:
        fields = sum(1 << bits * i for i in range(32 // bits)) if bits != 3 else 0
        qzeros = (qzeros.long() - fields & 0xffffffff).int() if bits != 3 else qzeros  # as convert_gptq_v2_to_v1_format_module()
    return {"qweight": layer.qweight, "qzeros": qzeros, "scales": layer.scales.half(), "g_idx": layer.g_idx.int()}, values


def draw_gptq(rng, model):
    bits, group = rng.choice([4, 4, 4, 8, 8, 2, 3]), rng.choice([-1, 32, 64, 128, 128])
    symmetric, ordered, v2 = rng.random() < 0.6, rng.random() < 0.3, rng.random() < 0.4
    head = rng.random() < 0.15 and not model.config.tie_word_embeddings and bits != 3
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": symmetric, "desc_act": ordered, "lm_head": head,
              "pack_dtype": "int32", "meta": {"quantizer": ["gptqmodel:7.7.0"], "damp_percent": 0.05, "static_groups": False}}
    key = rng.choice(["checkpoint_format", "format", "both"])
    if v2 or rng.random() < 0.7:
        config |= {k: "gptq_v2" if v2 else "gptq" for k in (["checkpoint_format", "format"] if key == "both" else [key])}
    rules = {}
    if rng.random() < 0.35:
        rules = rng.choice([{r"-:.*down_proj": {}}, {r"+:.*layers\.1\..*": {"bits": 8, "group_size": 32}}, {r".*mlp\..*": {"group_size": 16}},
                            {r"-:model\.layers\.0\..*": {}, r".*self_attn.*": {"bits": 8}}, {r".*\.(q|k|v)_proj": {"bits": 8}, "-:.*o_proj": {}}])
        config["dynamic"] = rules

    def pack(name, w):
        if name == "lm_head" and not head:
            return None
        own, size = bits, group
        for pattern, rule in rules.items():
            if re.match(pattern.removeprefix("-:").removeprefix("+:"), name):
                if pattern.startswith("-:"):
                    return None
                own, size = rule.get("bits", bits), rule.get("group_size", group)
                break
        return gptq_linear(w, own, size, symmetric, ordered, v2, rng)
    return config, pack


def draw_auto_round(rng, model):
    bits, group, symmetric = rng.choice([4, 4, 8]), rng.choice([32, 64, 128]), rng.random() < 0.5
    packing, minus = rng.choice([("auto_round:auto_gptq", True), ("auto_round:gptq", True), ("auto_round", False), ("auto_round:exllamav2", False)])
    _, skips = skipped(rng, model)
    other = {"model.layers.0.self_attn.o_proj": {"bits": 8, "group_size": 32}} if rng.random() < 0.4 else {}
    keys = {n: {"bits": 16, "data_type": "float"} for n in linears(model, True) if skips(n)}
    config = {"quant_method": "auto-round", "packing_format": packing, "bits": bits, "group_size": group, "sym": symmetric, "data_type": "int",
              "iters": 0, "autoround_version": "0.14.2", "extra_config": other | keys}

    def pack(name, w):
        if skips(name):
            return None
        rule = other.get(name, {})
        tensors, values = gptq_linear(w, rule.get("bits", bits), rule.get("group_size", group), symmetric, False, not minus, rng)
        if rng.random() < 0.5:
            del tensors["g_idx"]
        return tensors, values
    return config, pack


def draw_awq(rng, model):
    group, gemv = rng.choice([-1, 32, 64, 128]), rng.random() < 0.3
    names, skips = skipped(rng, model)
    spelling = "gemv" if gemv else "gemm"
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True,
              "version": spelling.upper() if rng.random() < 0.2 else spelling,
              "modules_to_not_convert": names or None}

    def pack(name, w):
        without_init(*[n for n in ("awq", "awq.utils", "awq.modules", "awq.modules.linear") if n not in sys.modules])
        from awq.modules.linear.gemm import WQLinear_GEMM
        from awq.modules.linear.gemv import WQLinear_GEMV
        from awq.utils.packing_utils import dequantize_gemm
        if skips(name):
            return None
        n, k = w.shape
        size = k if group < 0 else group
        scale, zero = ranges(w, 4, size, False)
        linear = torch.nn.Linear(k, n, bias=False)
        linear.weight.data = w.float()
        if gemv:
            layer = WQLinear_GEMV.from_linear(linear, 4, size, scales=scale, zeros=zero)
            code = torch.stack([layer.qweight >> 4 * i & 15 for i in range(8)], -1).reshape(n, k)
            values = (code - zero.repeat_interleave(size, 1)) * scale.repeat_interleave(size, 1)
        else:
            layer = WQLinear_GEMM.from_linear(linear, 4, size, scales=scale.T.contiguous(), zeros=zero.T.contiguous())
            values = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales.float(), 4, size).T.contiguous()
        return {"qweight": layer.qweight, "qzeros": layer.qzeros, "scales": layer.scales}, values
    return config, pack


def draw_bnb(rng, model):
    import bitsandbytes.functional as F
    kind, nested, block = rng.choice(["nf4", "fp4"]), rng.random() < 0.5, rng.choice([64, 64, 128, 256])
    storage = rng.choice(["uint8", "uint8", "bfloat16", "float16", "float32"])
    names, skips = skipped(rng, model)
    config = {"quant_method": "bitsandbytes", "_load_in_4bit": True, "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": kind,
              "bnb_4bit_use_double_quant": nested, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": storage,
              "llm_int8_skip_modules": names or None, "llm_int8_threshold": 6.0}

    def pack(name, w):
        if skips(name):
            return None
        flat = w.reshape(1, -1)  # 0.50.2 on CPUs ends a block at the end of a row
        code, state = F.quantize_4bit(flat, blocksize=block, quant_type=kind, compress_statistics=nested, quant_storage=getattr(torch, storage))
        state.dtype = torch.float32
        values = F.dequantize_4bit(code, state).reshape(w.shape)
        state.shape, state.dtype = w.shape, w.dtype
        return {"weight": code} | {f"weight.{k}": v for k, v in state.as_dict(packed=True).items()}, values
    return config, pack


def draw_bnb8(rng, model):
    import bitsandbytes.functional as F
    names, skips = skipped(rng, model)
    config = {"quant_method": "bitsandbytes", "_load_in_8bit": True, "load_in_4bit": False, "load_in_8bit": True,
              "llm_int8_skip_modules": names or None, "llm_int8_threshold": 6.0, "llm_int8_has_fp16_weight": False}

    def pack(name, w):
        if skips(name):
            return None
        code, scale, _ = F.int8_vectorwise_quant(w.half())
        return {"weight": code, "SCB": scale, "weight_format": torch.tensor(0, dtype=torch.uint8)}, F.int8_vectorwise_dequant(code, scale)
    return config, pack


def draw_fp8(rng, model):
    rows, cols = rng.choice([(128, 128), (128, 128), (64, 128), (32, 32), (48, 80), (1, 32)])
    dtype = rng.choice([torch.float32, torch.bfloat16])
    names, skips = skipped(rng, model)
    static = rng.random() < 0.2
    config = {"quant_method": "fp8", "activation_scheme": "static" if static else "dynamic", "weight_block_size": [rows, cols],
              rng.choice(["modules_to_not_convert", "ignored_layers"]): names or None}
    if rng.random() < 0.7:
        config["fmt"] = "e4m3"
    tensor = rng.random() < 0.25
    if tensor:
        config["weight_block_size"] = None

    def pack(name, w):
        if skips(name):
            return None
        n, k = w.shape
        a, b = (n, k) if tensor else (rows, cols)
        x = torch.nn.functional.pad(w.float(), (0, -k % b, 0, -n % a))
        blocks = x.reshape(x.shape[0] // a, a, -1, b)
        scale = (blocks.abs().amax((1, 3)) / 448).to(dtype)
        wide = scale.float().repeat_interleave(a, 0).repeat_interleave(b, 1)
        code = (x / wide).clamp(-448, 448).to(torch.float8_e4m3fn)
        out = {"weight": code[:n, :k].contiguous(), "weight_scale" if tensor and not static else "weight_scale_inv": scale.reshape([1] if tensor else scale.shape)}
        if static:
            out["input_scale"] = torch.tensor(0.01)
        return out, (code.float() * wide)[:n, :k]
    return config, pack


def draw_fbgemm(rng, model):
    names, skips = skipped(rng, model)
    config = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": names or None}

    def pack(name, w):
        if skips(name):
            return None
        scale = w.float().abs().amax(1, keepdim=True) / 448
        code = (w.float() / scale).to(torch.float8_e4m3fn)
        return {"weight": code, "weight_scale": scale, "input_scale_ub": torch.tensor([1200.0])}, code.float() * scale
    return config, pack


TOOLS = [draw_gptq, draw_gptq, draw_gptq, draw_auto_round, draw_awq, draw_awq, draw_bnb, draw_bnb, draw_bnb8, draw_fp8, draw_fp8, draw_fbgemm]


# ---- cases ---------------------------------------------------------------------------------------------------------------

def quantise(model, config, pack, at, rng):
    """Save the model with packed weights. Returns a copy in float64 with the weights that this means."""
    exact = type(model)(model.config).double().eval()
    exact.load_state_dict(model.state_dict())
    stored = dict(model.state_dict())
    modules = dict(exact.named_modules())
    if model.config.tie_word_embeddings:
        stored.pop("lm_head.weight", None)
    for name in linears(model, not model.config.tie_word_embeddings):
        packed = pack(name, model.get_submodule(name).weight.data)
        if packed:
            del stored[f"{name}.weight"]
            stored |= {f"{name}.{k}": v for k, v in packed[0].items()}
            modules[name].weight.data = packed[1].double().contiguous()
    if rng.random() < 0.15:  # scales of a float8 cache
        stored |= {f"model.layers.{i}.self_attn.{k}_scale": torch.tensor(0.1) for i in range(2) for k in "kv"}
    at.mkdir()
    save_file({k: v.clone().contiguous() for k, v in stored.items()}, at / "model.safetensors", metadata={"format": "pt"})
    settings = model.config.to_dict() | {"architectures": [type(model).__name__], "quantization_config": config}
    settings["dtype"] = str(model.dtype).removeprefix("torch.")
    (at / "config.json").write_text(json.dumps(settings))
    return exact


def damage(rng, at):
    """Change one tensor or one setting of the directory. Returns words."""
    if rng.random() < 0.3:
        path = at / "config.json"
        settings = json.loads(path.read_text())
        q = settings["quantization_config"]
        key = rng.choice([k for k in q if k not in ("meta", "iters", "autoround_version", "llm_int8_threshold", "bnb_4bit_compute_dtype")])
        q[key] = rng.choice([None, -7, 0, 3, "what", [], {}, [0, 0], True, 1e300, ["re:("], {"re:.*": 5}])
        path.write_text(json.dumps(settings))
        return f"{key} = {q[key]}"
    path = at / "model.safetensors"
    stored = load_file(path)
    name = rng.choice([n for n in stored if re.search(r"(proj|lm_head)\.(?!bias|weight_format|input)", n)])
    t = stored[name]
    how = rng.choice(["missing", "transposed", "shorter", "longer", "NaN", "dtype", "flat", "empty", "negative"])
    if how == "missing":
        del stored[name]
    elif how == "transposed":
        stored[name] = t.T
    elif how == "shorter":
        stored[name] = t[:-1] if t.dim() else t.reshape(0)
    elif how == "longer":
        stored[name] = torch.cat([t.reshape(1) if t.dim() == 0 else t, t.reshape(1) if t.dim() == 0 else t[:1]])
    elif how == "NaN" and t.is_floating_point() and t.numel():
        stored[name] = t.float().clone().reshape(-1).index_fill(0, torch.tensor([rng.randrange(t.numel())]), float("nan") if t.dtype == torch.float8_e4m3fn else rng.choice([float("nan"), float("inf")])).reshape(t.shape).to(t.dtype)
    elif how == "dtype":
        stored[name] = t.to(torch.int16) if not t.is_floating_point() or rng.random() < 0.5 else t.double()
    elif how == "flat":
        stored[name] = t.reshape(-1)
    elif how == "empty":
        stored[name] = t.new_zeros((0, *t.shape[1:]))
    elif how == "negative" and "g_idx" in name:
        stored[name] = t - 5
    save_file({k: v.clone().contiguous() for k, v in stored.items()}, path, metadata={"format": "pt"})
    return f"{name} {how}"


def one(rng, glia, at, *_):
    """Returns (verdict, words)."""
    model = make_model(rng)
    ids = [rng.randrange(model.config.vocab_size) for _ in range(TOKENS)]
    draw = rng.choice(TOOLS)
    config, pack = draw(rng, model)
    ranks = rng.choice(["1", "1", "2", "3"])
    words = f"-tp {ranks} {type(model).__name__} {model.dtype} {json.dumps(config)}"
    try:
        exact = quantise(model, config, pack, at / "m", rng)
    except Exception as e:  # the tools refuse in many ways
        return "not made", f"{words}: {type(e).__name__}: {str(e)[:300]}"
    damaged = rng.random() < 0.33 and damage(rng, at / "m")
    want = logits_of(exact, ids)
    got, said = glia_logits(glia, at / "m", ids, at, ["--tensor-parallel-size", ranks])
    words += f" damaged: {damaged}" if damaged else ""
    if got is None:
        last = said.splitlines()[-1] if said else ""
        clear = last.startswith("glia: ") and str(at) in last and len(last) < 700
        return ("refused" if damaged and clear else refusal(said, STRICT)), f"{words}: {said}"
    if got.shape != want.shape:
        return "DIFFERENT", f"{words}: shape {got.shape}"
    error, spread = float((got - want).abs().max()), float(want.std())
    return "same" if error <= ROUNDING * spread else "DIFFERENT", f"{words}: error {error:.1e}, spread {spread:.2f}. {said}"


if __name__ == "__main__":
    sys.exit(walk(__doc__, one))
