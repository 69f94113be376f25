#!/usr/bin/env python3
"""Who is closer to the model in float64: Glia or Transformers?

    fidelity.py MODEL_DIR... [--glia build/glia] [--positions 512] [--markdown FILE]

Runs Transformers (eager attention) in float64, float32 and bfloat16, and
`glia score` in float32 and bfloat16, on the same random ids, and compares every
logit with float64. PASS: our mean error is at most theirs and our largest error
at most 1.25 times theirs, in both number formats. Fails when a model does not.

What "the model in float64" is has two readings, and both are held:

  stock   Transformers' own float64 run. It keeps float32 islands: the angles of
          RoPE, the norms and the softmax, so it shares their rounding with
          Transformers' float32 run.
  exact   the same modules with those islands, the RoPE frequencies included, in
          float64: no float32 anywhere.

`dynamic` and `longrope` choose their frequencies by the sequence length; Glia
plans that length beforehand, and `score` plans the number of ids, which is what
a full forward of Transformers sees.

Needs torch, transformers and safetensors. Works on any model directory.
"""
import argparse
import contextlib
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import modeling_rope_utils as rope_utils

MAX_RATIO = 1.25


class Float64Torch:
    """Stands for the module `torch` in code that asks for float32 by name."""
    float = float32 = torch.float64

    class Tensor64(torch.Tensor):
        def float(self, *_args, **_more):
            return self.as_subclass(torch.Tensor).double()

    def __getattr__(self, name):
        return getattr(torch, name)

    def arange(self, *args, **keys):
        return torch.arange(*args, **keys).as_subclass(self.Tensor64)


def exact_rope(module, x, position_ids):
    """cos and sin of position x frequency, all in float64."""
    config, length = module.config, int(position_ids.max()) + 1
    kind = module.rope_type
    seq_len = length if kind == "longrope" or (kind == "dynamic" and length > config.max_position_embeddings) else None
    with in_place_of(rope_utils, "torch", Float64Torch()):
        inv_freq, scaling = rope_utils.ROPE_INIT_FUNCTIONS[kind](config, None, seq_len=seq_len)
    angles = position_ids[..., None].double() * inv_freq.as_subclass(torch.Tensor).double()
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * scaling, angles.sin() * scaling


def exact_norm(module, x):
    return module.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon))


def exact_attention(module, query, key, value, attention_mask, scaling, **_):
    groups = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = query @ key.transpose(2, 3) * scaling + attention_mask[..., :key.shape[-2]]
    weights = weights.softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@contextlib.contextmanager
def in_place_of(owner, name, value):
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)


@contextlib.contextmanager
def no_float32(model):
    """Within: the model's norms, softmax and angles are computed in its own dtype."""
    home = importlib.import_module(type(model).__module__)
    prefix = type(model).__name__.removesuffix("ForCausalLM")
    with in_place_of(getattr(home, prefix + "RMSNorm"), "forward", exact_norm), \
            in_place_of(getattr(home, prefix + "RotaryEmbedding"), "forward", exact_rope), \
            in_place_of(home, "eager_attention_forward", exact_attention):
        yield


def load(folder, dtype):
    """from_pretrained in `dtype`, with every weight of the file found and used."""
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    for what in ("missing_keys", "mismatched_keys"):
        if report[what]:
            raise SystemExit(f"{folder}: {what} {sorted(report[what])[:3]}")
    return model.eval()


def theirs(folder, ids, dtype, exact=False):
    model = load(folder, dtype)
    with torch.no_grad(), no_float32(model) if exact else contextlib.nullcontext():
        return model(torch.tensor([ids]), use_cache=False).logits[0].double()


def ours(glia, folder, ids, dtype, extra):
    with tempfile.TemporaryDirectory() as temp:
        path, out = pathlib.Path(temp, "ids.json"), pathlib.Path(temp, "logits.safetensors")
        path.write_text(json.dumps(ids))
        done = subprocess.run([glia, "score", str(folder), "--ids", str(path), "--out", str(out), "--dtype", dtype,
                               *extra], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"glia score exits {done.returncode}: {done.stderr.strip()[-300:]}")
        return load_file(out)["logits"].double()


def random_ids(folder, n, seed):
    vocab = AutoConfig.from_pretrained(folder).vocab_size
    return torch.randint(0, vocab, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def errors(logits, truth):
    if logits.shape != truth.shape or not torch.isfinite(logits).all():
        raise RuntimeError(f"logits of shape {list(logits.shape)}, expected {list(truth.shape)}, all finite")
    error = (logits - truth).abs()
    return error.mean().item(), error.max().item()


def measure(folder, args):
    """One model: rows (format, truth, their mean and max, our mean and max)."""
    ids = random_ids(folder, args.positions, args.seed)
    truths = {"stock": theirs(folder, ids, torch.float64), "exact": theirs(folder, ids, torch.float64, exact=True)}
    rows = []
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        their = theirs(folder, ids, dtype)
        our = None if args.oracle_only else ours(args.glia, folder, ids, name, args.glia_option)
        for truth in truths:
            rows.append((name, truth, *errors(their, truths[truth]),
                         *(errors(our, truths[truth]) if our is not None else (float("nan"),) * 2)))
    return rows, truths["exact"].std().item()


def passes(row):
    _, _, their_mean, their_max, our_mean, our_max = row
    return our_mean <= their_mean and our_max <= MAX_RATIO * their_max


def line(name, row):
    number, truth, their_mean, their_max, our_mean, our_max = row
    return (f"{name:24} {number:9} {truth:6} theirs {their_mean:.2e} {their_max:.2e}  ours {our_mean:.2e} "
            f"{our_max:.2e}  ratio {our_mean / their_mean:5.2f} {our_max / their_max:5.2f}  "
            f"{'PASS' if passes(row) else 'FAIL'}")


def markdown(results, args):
    glia = subprocess.run([args.glia, "--version"], capture_output=True, text=True).stdout.strip()
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    head = pathlib.Path(args.markdown).read_text().split("<!-- table")[0] if os.path.exists(args.markdown) else ""
    out = [head.rstrip(), "", "<!-- table: everything below is written by tools/fidelity.py --markdown -->", "",
           f"`tools/fidelity.py --positions {args.positions} --seed {args.seed}`"
           f"{' ' + ' '.join(args.glia_option) if args.glia_option else ''}; {glia}; transformers "
           f"{transformers.__version__}, torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), {cpu}.",
           f"{sum(all(map(passes, rows)) for _, rows, _ in results)} of {len(results)} models pass.", ""]
    for number in ("float32", "bfloat16"):
        for truth in ("stock", "exact"):
            out += [f"### {number} against {truth} float64", "",
                    "| model | their mean | their max | our mean | our max | mean ratio | max ratio |",
                    "|---|---|---|---|---|---|---|"]
            for name, rows, _ in results:
                for row in rows:
                    if row[:2] == (number, truth):
                        tm, tx, om, ox = row[2:]
                        out.append(f"| {name} | {tm:.2e} | {tx:.2e} | {om:.2e} | {ox:.2e} | {om / tm:.2f} | "
                                   f"{ox / tx:.2f}{'' if passes(row) else ' **FAIL**'} |")
            out.append("")
    pathlib.Path(args.markdown).write_text("\n".join(out).rstrip() + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("--glia", default="build/glia")
    parser.add_argument("--glia-option", action="append", default=[], help="passed on, as --glia-option=--threads=1")
    parser.add_argument("--positions", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--oracle-only", action="store_true", help="Transformers' errors alone, without Glia")
    parser.add_argument("--markdown", metavar="FILE", help="rewrite the table of this document")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    results, failed = [], 0
    for folder in args.models:
        try:
            rows, spread = measure(folder, args)
        except (RuntimeError, OSError) as why:
            print(f"{folder.name:24} FAIL {why}", flush=True)
            failed += 1
            continue
        for row in rows:
            print(line(folder.name, row), f" logits std {spread:.1f}" if row is rows[0] else "", flush=True)
        failed += not (args.oracle_only or all(map(passes, rows)))
        results.append((folder.name, rows, spread))
    if args.markdown:
        markdown(results, args)
    print(f"{len(args.models) - failed} passed, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
