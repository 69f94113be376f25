#!/usr/bin/env python3
"""Write tests/golden/published: tiny checkpoints in spellings that ../shared/data/quantized lacks.

  tools/gen_published_goldens.py [NAME ...]

Each directory has config.json and model.safetensors as the tool that the format belongs to lays them
out, and golden.safetensors as in ../shared/data/quantized: the values of each linear layer,
dequantised here by the format's definition, and the logits of Transformers in float64 with these
values. Weights are rounded to the nearest code. The directories bnb-* are written by bitsandbytes
itself and dequantised by it. tests/check_published.c reads them. Needs numpy, torch, safetensors and
transformers; for bnb-* also bitsandbytes and accelerate.
Sources of the layouts: GPTQModel qlinear/torch.py and quantization/config.py 7; AutoAWQ
modules/linear/gemv.py and gemm.py 0.2.9; compressed_tensors
compressors/pack_quantized 0.20.1; auto_round export_to_autoround/export.py and its
triton/qlinear_tritonv2.py 0.5; transformers integrations/fbgemm_fp8.py and finegrained_fp8.py 5.24.
"""
import json
import pathlib
import re
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

OUT = pathlib.Path("tests/golden/published")
IDS, SAMPLES = 48, 48
SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64, "max_position_embeddings": 128,
         "tie_word_embeddings": False}


def codes_of(w, bits, group, symmetric):
    """w [out, in] -> codes [out, in], scales float16 [out, groups], zero points [out, groups]."""
    top = (1 << bits) - 1
    x = w.reshape(w.shape[0], -1, group)
    if symmetric:
        scale, zero = np.abs(x).max(-1) / (top // 2), np.full(x.shape[:2], 1 << (bits - 1))
    else:
        low, high = np.minimum(x.min(-1), 0), np.maximum(x.max(-1), 0)
        scale = (high - low) / top
        zero = np.clip(np.rint(-low / scale), 0, top).astype(int)
    scale = scale.astype(np.float16)
    code = np.clip(np.rint(x / scale.astype(np.float32)[..., None]) + zero[..., None], 0, top).astype(int)
    return code.reshape(w.shape), scale, zero.astype(int)


def value(code, scale, zero, group):
    zero, scale = np.repeat(zero, group, 1), np.repeat(scale.astype(np.float32), group, 1)
    return (code - zero).astype(np.float32) * scale


def words(codes, bits, order=None):
    """Codes [..., n] -> int32 [..., n * bits / 32], the first of a word in its lowest bits."""
    each = 32 // bits
    x = codes.astype(np.uint64).reshape(*codes.shape[:-1], -1, each)
    if order:
        x = x[..., order]
    return torch.from_numpy((x << (np.arange(each, dtype=np.uint64) * np.uint64(bits))).sum(-1).astype(np.uint32).view(np.int32))


def pack_gptq(name, w, bits, group, symmetric, stored_zero, g_idx):
    code, scale, zero = codes_of(w, bits, group, symmetric)
    mask = (1 << bits) - 1
    out = {"qweight": words(code, bits).T.contiguous(), "qzeros": words(((zero - (not stored_zero)) & mask).T, bits),
           "scales": torch.from_numpy(scale.T.copy())}
    if g_idx:
        out["g_idx"] = torch.arange(w.shape[1], dtype=torch.int32) // group
    return {f"{name}.{k}": v for k, v in out.items()}, value(code, scale, zero, group)


def gptq_borrow(name, w):
    """GPTQModel's checkpoint_format gptq: 1 is subtracted from the fields of a whole word at once, so that a zero
    point of 0 (of a group without negative weights) borrows from the next. Every fifth row has only such groups."""
    w = np.where(np.arange(w.shape[0])[:, None] % 5 == 0, np.abs(w), w)
    bits = 8 if name.endswith("o_proj") else 4
    out, values = pack_gptq(name, w, bits, 32, False, True, True)
    ones = 0xffffffff // ((1 << bits) - 1)
    stored = out[f"{name}.qzeros"].numpy().view(np.uint32) - np.uint32(ones)
    return out | {f"{name}.qzeros": torch.from_numpy(stored.view(np.int32))}, values


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def pack_gemm(name, w, group):
    code, scale, zero = codes_of(w, 4, group, False)
    return {f"{name}.qweight": words(code.T, 4, AWQ_ORDER), f"{name}.qzeros": words(zero.T, 4, AWQ_ORDER),
            f"{name}.scales": torch.from_numpy(scale.T.copy())}, value(code, scale, zero, group)


def pack_gemv(name, w, group):
    code, scale, zero = codes_of(w, 4, group, False)
    unit = {32: 4, 64: 2}.get(group, 1)
    n = -(-(-(-zero.shape[1] // 8)) // unit) * unit * 8
    wide = lambda x: np.concatenate([x, np.zeros((x.shape[0], n - x.shape[1]), x.dtype)], 1)
    return {f"{name}.qweight": words(code, 4), f"{name}.qzeros": words(wide(zero), 4),
            f"{name}.scales": torch.from_numpy(wide(scale))}, value(code, scale, zero, group)


def float8(x):
    return torch.from_numpy(x).clamp(-448, 448).to(torch.float8_e4m3fn)


def pack_fbgemm(name, w):
    scale = np.abs(w).max(1, keepdims=True) / np.float32(448)
    q = float8(w / scale)
    return {f"{name}.weight": q, f"{name}.weight_scale": torch.from_numpy(scale)}, q.float().numpy() * scale


def pack_powers(name, w, rows, cols, dtype):
    """Blocks of rows x cols with a power of two each."""
    blocks = np.abs(w).reshape(w.shape[0] // rows, rows, w.shape[1] // cols, cols).max((1, 3))
    exponent = np.ceil(np.log2(blocks / 448)).astype(int)
    scale = np.exp2(exponent).astype(np.float32)
    wide = np.repeat(np.repeat(scale, rows, 0), cols, 1)
    q = float8(w / wide)
    stored = torch.from_numpy((exponent + 127).astype(np.uint8)).view(dtype)
    return {f"{name}.weight": q, f"{name}.weight_scale_inv": stored}, q.float().numpy() * wide



def pack_blocks(name, w, bits, rows, cols):
    """compressed-tensors' packed integers, blocks of rows x cols with a scale and a zero point each, which is not packed."""
    blocks = w.reshape(w.shape[0] // rows, rows, w.shape[1] // cols, cols).transpose(0, 2, 1, 3)
    code, scale, zero = codes_of(blocks.reshape(-1, rows * cols), bits, rows * cols, False)
    code = code.reshape(blocks.shape).transpose(0, 2, 1, 3).reshape(w.shape)
    shape = [1] if blocks.shape[:2] == (1, 1) else blocks.shape[:2]
    scale, zero = scale.reshape(blocks.shape[:2]), zero.reshape(blocks.shape[:2])
    wide = [np.repeat(np.repeat(x, rows, 0), cols, 1) for x in (scale.astype(np.float32), zero)]
    out = {"weight_packed": words(code, bits), "weight_scale": torch.from_numpy(scale).reshape(shape),
           "weight_zero_point": torch.from_numpy((zero - (1 << (bits - 1))).astype(np.int8)).reshape(shape),
           "weight_shape": torch.tensor(w.shape)}
    return {f"{name}.{k}": v for k, v in out.items()}, (code - wide[1]).astype(np.float32) * wide[0]


def ct_zeros(name, w):
    return pack_blocks(name, w, 8, *w.shape) if "self_attn" in name else pack_blocks(name, w, 4, 16, 32)


def gptq_dynamic(name, w):
    if name.endswith("down_proj"):
        return None
    bits, group = (8, 16) if name.endswith("o_proj") else (4, 16) if re.search("gate_proj|up_proj", name) else (4, 32)
    return pack_gptq(name, w, bits, group, False, True, True)


def pack_bytes(name, w, group, symmetric, tensor=False):
    """compressed-tensors' int-quantized, 8 bits."""
    code, scale, zero = codes_of(w.reshape(1, -1) if tensor else w, 8, w.size if tensor else group, symmetric)
    if tensor:
        return {f"{name}.weight": torch.from_numpy((code - 128).astype(np.int8).reshape(w.shape)),
                f"{name}.weight_scale": torch.from_numpy(scale.reshape(1))}, value(code, scale, zero, w.size).reshape(w.shape)
    out = {f"{name}.weight": torch.from_numpy((code - 128).astype(np.int8)), f"{name}.weight_scale": torch.from_numpy(scale)}
    if not symmetric:
        out[f"{name}.weight_zero_point"] = torch.from_numpy((zero - 128).astype(np.int8))
    return out, value(code, scale, zero, group)


TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
STATIC = TOKEN | {"strategy": "tensor", "dynamic": False}
ROWS = {"w8a8-asymmetric": TOKEN | {"symmetric": False}, "w8a8-static": STATIC, "w8a8-static-zeros": STATIC | {"symmetric": False}}


def int_config(strategy, group, symmetric, rows=TOKEN):
    weights = {"num_bits": 8, "type": "int", "symmetric": symmetric, "strategy": strategy, "group_size": group, "dynamic": False}
    return {"quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
            "ignore": ["lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": rows}}}


def of_layers(pack):
    """Pack all linear layers but the head."""
    return lambda name, w: None if name == "lm_head" else pack(name, w)


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False, "pack_dtype": "int32",
        "meta": {"quantizer": ["gptqmodel:7.7.0"], "damp_percent": 0.05, "true_sequential": True}}
ROUND = {"bits": 4, "group_size": 32, "sym": True, "data_type": "int", "iters": 0, "autoround_version": "0.14.2"}
DYNAMIC = {"-:.*\\.down_proj": {}, "+:.*\\.o_proj$": {"bits": 8, "group_size": 16},
           "model\\.layers\\.\\d+\\.mlp\\.(gate|up)_proj": {"group_size": 16}}
CT_ZEROS = {"config_groups": {
    "group_0": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "tensor"}},
    "group_1": {"targets": ["re:.*mlp.*"], "weights": {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "block",
                                                        "block_structure": [16, 32]}}},
    "format": "pack-quantized", "ignore": ["lm_head"], "quant_method": "compressed-tensors", "quantization_status": "compressed"}
VARIANTS = {
    "ct-zeros": (CT_ZEROS, of_layers(ct_zeros)),
    "gptq-dynamic": (GPTQ | {"checkpoint_format": "gptq_v2", "format": "gptq_v2", "lm_head": True, "dynamic": DYNAMIC},
                     gptq_dynamic),
    "gptq-borrow": (GPTQ | {"checkpoint_format": "gptq", "dynamic": {"+:.*\\.o_proj$": {"bits": 8}}}, of_layers(gptq_borrow)),
    "awq-gemv": ({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv", "zero_point": True,
                  "modules_to_not_convert": None}, of_layers(lambda n, w: pack_gemv(n, w, 32))),
    "auto-round": (ROUND | {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq",
                            "extra_config": {"model.layers.0.self_attn.o_proj": {"bits": 8, "group_size": 64},
                                             "lm_head": {"bits": 16, "data_type": "float"}}},
                   of_layers(lambda n, w: pack_gptq(n, w, *((8, 64) if n.endswith("o_proj") else (4, 32)), True, False, False))),
    "auto-round-zeros": (ROUND | {"quant_method": "intel/auto-round", "backend": "auto_round:exllamav2", "sym": False},
                         of_layers(lambda n, w: pack_gptq(n, w, 4, 32, False, True, False))),
    "auto-round-awq": (ROUND | {"quant_method": "auto-round", "packing_format": "auto_round:auto_awq", "sym": False},
                       of_layers(lambda n, w: pack_gemm(n, w, 32))),
    "fbgemm": ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]},
               of_layers(pack_fbgemm)),
    "mxfp8": ({"quant_method": "mxfp8", "activation_scheme": "dynamic", "weight_block_size": [1, 32]},
              of_layers(lambda n, w: pack_powers(n, w, 1, 32, torch.uint8))),
    "fp8-powers": ({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [16, 32],
                    "scale_fmt": "ue8m0"}, of_layers(lambda n, w: pack_powers(n, w, 16, 32, torch.float8_e8m0fnu))),
    **{name: (int_config("tensor" if "zeros" in name else "channel", None, True, rows),
              of_layers(lambda n, w, tensor="zeros" in name: pack_bytes(n, w, w.shape[1], True, tensor))) for name, rows in ROWS.items()},
    "w8a8-groups": (int_config("group", 32, True), of_layers(lambda n, w: pack_bytes(n, w, 32, True))),
    "w8a8-zeros": (int_config("channel", None, False), of_layers(lambda n, w: pack_bytes(n, w, w.shape[1], False))),
}
BNB = {
    "bnb-int8": {"load_in_8bit": True},
    "bnb-nf4-bfloat16": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
                         "bnb_4bit_quant_storage": "bfloat16", "bnb_4bit_compute_dtype": "bfloat16"},
}


def new_model(name):
    torch.manual_seed(3)
    config = transformers.Qwen3Config(**SHAPE, dtype="float32")
    model = transformers.Qwen3ForCausalLM._from_config(config, attn_implementation="eager")
    for part, p in model.named_parameters():
        p.data = torch.ones_like(p) if "norm" in part else torch.randn_like(p) * (0.3 if "embed" in part else 0.15)
        if not name.startswith("w8a8"):  # numbers of 8 bits would often be in the middle between two integers
            p.data = p.data.bfloat16().float()  # the parameters alone: RoPE's frequencies stay float32
    return model.eval()


def stored_range(model, ids, symmetric):
    """A scale and a zero point of the rows of each linear layer of the decoder. Rows exceed the range now and then."""
    seen = {}
    hooks = [m.register_forward_hook(lambda m, x, _, n=n: seen.update({n: x[0]})) for n, m in model.named_modules()
             if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    model(ids[None].long())
    for hook in hooks:
        hook.remove()
    found = {}
    for i, (name, x) in enumerate(seen.items()):
        low, high = x.min().item() * (0.8 - 0.05 * (i % 3)), x.max().item() * (0.6 + 0.1 * (i % 3))
        scale = np.float32(max(-low, high) / 127 if symmetric else (high - low) / 255)
        found[name] = scale, 0 if symmetric else int(np.clip(np.rint(-128 - low / scale), -128, 127))
    return found


def of_product(stored):
    """vLLM's scale and zero point where the modules of one product have different ones: CPUInt8ScaledMMLinearKernel 0.32."""
    if all(zero == 0 for _, zero in stored):
        return max(scale for scale, _ in stored), 0
    high = max(scale * np.float32(127 - zero) for scale, zero in stored)
    low = min(scale * np.float32(-128 - zero) for scale, zero in stored)
    scale = (high - low) / np.float32(255)
    return scale, int(np.rint(np.float32(-128) - low / scale))


class IntegerRows(torch.nn.Module):
    """A linear layer whose rows are int8 as vLLM has them: by amax / 127 for each token, by the token's range and a zero
    point, or by a scale and a zero point that are stored. `closest` is the least distance of a number from the middle
    between two integers."""
    closest = 1.0

    def __init__(self, linear, asymmetric, stored):
        super().__init__()
        self.linear, self.asymmetric, self.stored = linear, asymmetric, stored

    def range(self, rows):
        if self.stored:
            return torch.tensor(self.stored[0]), torch.tensor(float(self.stored[1]))
        if not self.asymmetric:
            return rows.abs().amax(-1, keepdim=True) / 127, torch.tensor(0.0)
        low, high = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)
        return (high - low) / 255, self.round(-128 - low / ((high - low) / 255))

    @staticmethod
    def round(x):
        IntegerRows.closest = min(IntegerRows.closest, float(((x - x.floor()) - 0.5).abs().min()))
        return x.round()

    def forward(self, x):
        rows = x.float()
        scale, zero = self.range(rows)
        integers = self.round((rows / scale + zero).clamp(-128, 127)) - zero
        return self.linear(integers.double() * scale.double())


def quantise_rows(model, name, modules, ranges, golden):
    """Add the logits with int8 rows, for tokens where float32 and float64 round all numbers alike."""
    for module in modules:
        parent, _, last = module.rpartition(".")
        fused = next((f for f in (["q_proj", "k_proj", "v_proj"], ["gate_proj", "up_proj"]) if last in f), [last])
        stored = of_product([ranges[f"{parent}.{one}"] for one in fused]) if ranges else None
        setattr(model.get_submodule(parent), last, IntegerRows(model.get_submodule(module), name == "w8a8-asymmetric", stored))
    golden["logits_int8_f64"] = model(golden["ids"][None].long()).logits[0].float()
    return IntegerRows.closest > 2e-5


def write(name, config, stored, values, model, seed=4):
    out = OUT / name
    out.mkdir(parents=True, exist_ok=True)
    ids = torch.randint(0, SHAPE["vocab_size"], (IDS,), generator=torch.Generator().manual_seed(seed))
    model = model.double()
    golden = {"ids": ids.int()}
    for module, w in values.items():
        model.get_submodule(module).weight.data = torch.from_numpy(w).double()
        at = np.random.default_rng(5).integers(0, w.size, SAMPLES).astype(np.int32)
        golden[f"deq_idx.{module}.weight"] = torch.from_numpy(at)
        golden[f"deq_val.{module}.weight"] = torch.from_numpy(w.reshape(-1)[at])
        golden[f"deq_rowsum.{module}.weight"] = torch.from_numpy(w.astype(np.float64).sum(1).astype(np.float32))
    with torch.no_grad():
        golden["logits_wo_f64"] = model(ids[None].long()).logits[0].float()
        ranges = stored_range(model, ids, name == "w8a8-static") if name.startswith("w8a8-static") else {}
        stored = stored | {f"{m}.input_scale": torch.from_numpy(np.array([s])) for m, (s, _) in ranges.items()}
        if name == "w8a8-static-zeros":
            stored |= {f"{m}.input_zero_point": torch.tensor([z], dtype=torch.int8) for m, (_, z) in ranges.items()}
        if name.startswith("w8a8") and not quantise_rows(model, name, values, ranges, golden):
            IntegerRows.closest = 1.0
            return write(name, config, stored, values, new_model(name), seed + 1)
    save_file(golden, out / "golden.safetensors")
    save_file({k: v.contiguous() for k, v in stored.items()}, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    print(name, sum(f.stat().st_size for f in out.iterdir()), "bytes")


def make(name):
    quantization, pack = VARIANTS[name]
    model = new_model(name)
    stored = {k: v if name.startswith("w8a8") else v.bfloat16() for k, v in model.state_dict().items()}
    values = {}
    for module, layer in model.named_modules():
        packed = pack(module, layer.weight.detach().numpy()) if isinstance(layer, torch.nn.Linear) else None
        if packed:
            del stored[f"{module}.weight"]
            stored |= packed[0]
            values[module] = packed[1]
    config = model.config.to_dict() | {"architectures": ["Qwen3ForCausalLM"], "dtype": "bfloat16",
                                       "quantization_config": quantization}
    write(name, config, stored, values, model)


def make_bnb(name):
    import bitsandbytes
    with tempfile.TemporaryDirectory() as work:
        new_model(name).bfloat16().save_pretrained(f"{work}/plain")
        quantized = transformers.AutoModelForCausalLM.from_pretrained(
            f"{work}/plain", quantization_config=transformers.BitsAndBytesConfig(**BNB[name]), device_map="cpu")
        quantized.save_pretrained(f"{work}/out")
        values = {}
        for module, layer in quantized.named_modules():
            if isinstance(layer, bitsandbytes.nn.Linear4bit):
                state = layer.weight.quant_state
                shape, state.dtype = state.shape, torch.float32
                state.shape = torch.Size([1, shape.numel()])  # 0.50.2 on CPUs ends a block at the end of a row
                flat = bitsandbytes.functional.dequantize_4bit(layer.weight.data, state)
                values[module] = flat.float().reshape(shape).numpy()
            elif isinstance(layer, bitsandbytes.nn.Linear8bitLt):
                scale = layer.weight.SCB.float().numpy()[:, None] / np.float32(127)
                values[module] = layer.weight.data.float().numpy() * scale
        config = json.loads(pathlib.Path(f"{work}/out/config.json").read_text())
        write(name, config, load_file(f"{work}/out/model.safetensors"), values, new_model(name))


def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for name in sys.argv[1:] or [*VARIANTS, *BNB]:
        make_bnb(name) if name in BNB else make(name)


if __name__ == "__main__":
    main()
