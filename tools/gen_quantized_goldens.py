#!/usr/bin/env python3
"""Write tests/golden/quantized: the logits that models of tests/golden/forward must give as int8.

    gen_quantized_goldens.py [--forward tests/golden/forward] [--out tests/golden/quantized]

For each model and each scheme of SCHEMES a file NAME.SCHEME.f64:
little-endian float64 [ids, vocab] by Transformers in float64 with eager attention, each linear
layer replaced by the quantised one that docs/QUANTIZATION.md defines. golden.json tells the ids'
source, the versions, and the distance of each scheme from the model that is not quantised.
tests/check_quantize.c reads them.
"""
import argparse
import json
import math
import pathlib

import numpy as np
import torch
import transformers

import fidelity

# name: per tensor, int8 rows, rotated
SCHEMES = {"int8-channel": (False, False, False), "int8-tensor": (True, False, False), "w8a8-channel": (False, True, False),
           "int8-rotated": (False, False, True), "w8a8-rotated": (False, True, True)}
MODELS = ["qwen3", "qwen3-untied-bias-odd", "smollm3", "smollm3-bias-window-types"]


def scale_of(most):
    """float32: the largest / 127, 0 where that is no normal number."""
    scale = most.astype(np.float32) / np.float32(127)
    return np.where(scale >= np.float32(2.0 ** -126), scale, np.float32(0))


def quantize_weight(w, per_tensor):
    """w float32 [out, in] -> integers, scales [out]."""
    most = np.abs(w).max(axis=1)
    if per_tensor:
        most = np.full_like(most, most.max())
    scale = scale_of(most)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(scale > 0, np.rint(w / scale), 0)
    return q.astype(np.float64), scale.astype(np.float64)


def quantize_rows(x):
    """x float64 [..., k], rounded to float32 first, as Glia has it there."""
    x = x.astype(np.float32)
    most = np.abs(x).max(axis=-1, keepdims=True)
    steps = np.where(most >= np.float32(2.0 ** -120), np.float32(127) / np.maximum(most, np.float32(2.0 ** -120)), 0)
    scale = np.where(steps > 0, most / np.float32(127), 0)
    return np.rint(x * steps.astype(np.float32)).astype(np.float64), scale.astype(np.float64)


def rotate(x):
    """Blocks of the last dimension times the Hadamard matrix over the root of its size, in x's number format."""
    block, distance, y = math.gcd(x.shape[-1], 64), 1, x
    while distance < block:
        pairs = y.reshape(-1, 2, distance)
        y = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        distance *= 2
    return (y * (1 / np.sqrt(block)).astype(x.dtype)).reshape(x.shape)


class Quantized(torch.nn.Module):
    def __init__(self, linear, per_tensor, rows, rotated):
        super().__init__()
        w = linear.weight.detach().float().numpy()
        q, scale = quantize_weight(rotate(w) if rotated else w, per_tensor)
        self.q, self.scale, self.bias = torch.tensor(q), torch.tensor(scale[:, 0]), linear.bias
        self.rows, self.rotated = rows, rotated

    def forward(self, x):
        row_scale = 1.0
        if self.rotated:
            x = x.detach().numpy()
            x = torch.tensor(rotate(x.astype(np.float32)).astype(np.float64) if self.rows else rotate(x))
        if self.rows:
            x, row_scale = map(torch.tensor, quantize_rows(x.detach().numpy()))
        y = x @ self.q.T * (row_scale * self.scale)
        return y if self.bias is None else y + self.bias


def replace(model, per_tensor, rows, rotated):
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear):
            continue
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], Quantized(module, per_tensor, rows and name != "lm_head", rotated))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forward", type=pathlib.Path, default="tests/golden/forward")
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/quantized")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    report = {"made_by": "tools/gen_quantized_goldens.py", "transformers": transformers.__version__,
              "torch": torch.__version__, "numpy": np.__version__, "mean_distance": {}}
    for name in MODELS:
        ids = json.loads((args.forward / name / "golden.json").read_text())["ids"]
        plain = fidelity.theirs(args.forward / name, ids, torch.float64)
        for scheme, how in SCHEMES.items():
            model = fidelity.load(args.forward / name, torch.float64)
            replace(model, *how)
            with torch.no_grad():
                logits = model(torch.tensor([ids]), use_cache=False).logits[0]
            (args.out / f"{name}.{scheme}.f64").write_bytes(logits.numpy().astype("<f8").tobytes())
            report["mean_distance"][f"{name}.{scheme}"] = (logits - plain).abs().mean().item()
            print(name, scheme, report["mean_distance"][f"{name}.{scheme}"], flush=True)
    (args.out / "golden.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
