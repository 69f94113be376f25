#!/usr/bin/env python3
"""Does Glia read an edited configuration as Transformers reads it?

    walk_configs.py [--glia build/glia] [--walk 400] [--seed 1] [--all] [--only TEXT] [--verbose]

Makes small random models, edits config.json or the stored tensors, and gives each to
Transformers and to `glia score` in float32 and `glia inspect`. The edits are every
single edit of tools/config_edits.py on one architecture, and a seeded random walk of
one to three edits on all four. For each one of these must hold:

  same      both run it; logits are equal within float32 rounding, parsed values too
  refused   both refuse it, Glia with one sentence
  strict    Transformers runs it, and Glia refuses it with a reason of the table STRICT
  lenient   Transformers refuses it, and Glia reads it as the table LENIENT says

Anything else is printed and makes the exit status 1. A model whose weights
Transformers would draw at random counts as refused by it.

Needs torch, transformers and safetensors.
"""
import argparse
import collections
import contextlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

import config_edits as edits

# A reason with which Glia refuses what Transformers runs, and why it should.
STRICT = {
    r"expected 1 to \d+, found (0|-\d+)|expected more than 0, found 0|expected 0 to .*, found -": "no such length or factor",
    r"max_position_embeddings: expected 2 to|head_dim: expected .* found 1$": "a model of one position or one dimension",
    r"the model takes at most": "more positions than the model has",
    r"num_hidden_layers: expected 1": "no layers",
    r"rope_theta: expected .* found (1e-40|9.99\S*e-41)": "theta is not a normal number in float32",
    r"expected an integer, found a real number": "a length that is no integer",
    r"expected a number, found a (boolean|string)": "a number of another type",
    r"architectures: expected": "a list",
    r"is_causal is false": "Glia's attention is causal",
    r"hidden_act is gelu": "Glia has silu",
    r"attention_factor|short_factor\[0\]: expected a number above 0": "a rotation backwards",
    r"dtype is (auto|int8|float8_e4m3fn)|dtype: expected a string": "a dtype in which Transformers runs no model, either",
    r"model_type is gemma": "another model",
    r"sliding_window: expected 1 or more": "a window in which a query does not see itself",
    r"is I64; Glia reads": "weights that are integers",
    r"frequency \d+ is (inf|-inf|nan|-nan)": "logits that are not finite",
}

# An error with which Transformers refuses what Glia reads, and how Glia reads it.
LENIENT = {
    r"expected (float|int|bool|str|list), got|doesn't match any type": "an integer for a real number, 64.0 for 64, null for a default",
    r"unsupported operand type\(s\) for \*\* or pow\(\): 'NoneType' and 'float'": "head_dim null is hidden_size / heads",
    r"Unrecognized model in": "architectures decides",
    r"no attribute 'torch\.float16'": "torch.float16 is float16",
    r"must be equal to the number of `layer_types`|entries must be in|'LlamaConfig' object has no attribute 'sliding_window'":
        "LlamaForCausalLM has no layer types",
    r"hidden size .* is not a multiple": "head_dim says what a head is",
}


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


def weights_of(config, base):
    """Random tensors for `config`, or for its base if Transformers builds no model of `config`."""
    with tempfile.TemporaryDirectory() as folder:
        for c in (config, edits.BASES[base]):
            pathlib.Path(folder, "config.json").write_text(json.dumps(c))
            try:
                model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
                if all(t.numel() for t in model.state_dict().values()):
                    break
            except Exception:  # whatever stops Transformers here stops theirs(), which reports it
                continue
    g = torch.Generator().manual_seed(edits.seed_of(base))
    tied, tensors = model.config.tie_word_embeddings, {}
    for name, old in sorted(model.state_dict().items()):
        draw = torch.randn(old.shape, generator=g)
        if name.endswith("norm.weight"):
            draw = 1 + 0.2 * draw
        elif name.endswith(("q_proj.weight", "k_proj.weight")):
            draw *= 2.0 / old.shape[-1] ** 0.5
        elif old.ndim == 2 and "embed" not in name:
            draw *= 1.5 / old.shape[-1] ** 0.5
        if not (tied and name == "lm_head.weight"):
            tensors[name] = draw
    return tensors


# ---- edits of the stored tensors: name, function of (tensors, config) ------------------------------------------


def only_head(t, c):
    t["lm_head.weight"] = t.pop("model.embed_tokens.weight")
    c["tie_word_embeddings"] = True


def with_head(scale):
    def edit(t, c):
        t["lm_head.weight"] = t["model.embed_tokens.weight"] * scale + (scale - 1)
        c["tie_word_embeddings"] = True
    return edit


def head_of_dtype(dtype):
    def edit(t, c):
        t["model.embed_tokens.weight"] = t["model.embed_tokens.weight"].bfloat16().float()
        t["lm_head.weight"] = t["model.embed_tokens.weight"].to(dtype)
        c["tie_word_embeddings"] = True
    return edit


def cast(pattern, dtype):
    def edit(t, _):
        for name in t:
            if re.search(pattern, name):
                t[name] = t[name].to(dtype)
    return edit


def add(name, like="model.norm.weight"):
    def edit(t, _):
        t[name] = t[like].clone()
    return edit


def layers_too_many(t, _):
    for name in [n for n in t if ".layers.1." in n]:
        t[name.replace(".layers.1.", ".layers.2.")] = t[name].clone()


def bare(t, c):
    c["tie_word_embeddings"] = True
    t.pop("lm_head.weight", None)
    for name in list(t):
        t[name.removeprefix("model.")] = t.pop(name)


def drop(pattern):
    def edit(t, _):
        for name in [n for n in t if re.search(pattern, n)]:
            del t[name]
    return edit


F64, F16, BF16 = torch.float64, torch.float16, torch.bfloat16
TENSOR_EDITS = {
    "as stored": lambda t, c: None,
    "float64": cast(".", F64), "float16": cast(".", F16), "bfloat16": cast(".", BF16),
    "norms float64": cast("norm", F64), "q bfloat16": cast("q_proj", BF16), "k float16": cast("k_proj", F16),
    "v float64": cast("v_proj", F64), "gate bfloat16": cast("gate_proj", BF16), "up float16": cast("up_proj", F16),
    "down float64": cast("down_proj", F64), "embedding bfloat16": cast("embed", BF16), "head float64": cast("lm_head", F64),
    "layer 1 bfloat16": cast("layers.1", BF16), "norm int64": cast("model.norm", torch.int64),
    "tied, other head stored": with_head(1.25), "tied, same head stored": with_head(1.0), "tied, only the head stored": only_head,
    "tied, same head in bfloat16": head_of_dtype(BF16), "tied, same head in float64": head_of_dtype(F64),
    "surplus tensor": add("model.extra.weight"), "surplus bias": add("model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_proj.weight"),
    "inv_freq": add("model.layers.0.self_attn.rotary_emb.inv_freq"), "surplus layer": layers_too_many, "bare names": bare,
    "no head": drop("lm_head"), "no norm": drop("model.norm"), "no layer 1": drop("layers.1"), "no embedding": drop("embed_tokens"),
}


# ---- both readers -----------------------------------------------------------------------------------------------


def theirs(folder):
    """Logits in float64 and float32, and what was read; or the reason why not."""
    try:
        with quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
            if report["missing_keys"] or report["mismatched_keys"]:
                return None, f"drawn at random: {sorted(report['missing_keys'])[:3]}"
            ids = torch.arange(edits.POSITIONS)[None] % model.config.vocab_size
            with torch.no_grad():
                single = model(ids, use_cache=False).logits[0].double()
                rotary = model.model.rotary_emb
                values = values_of(model, rotary)
                double = model.double()(ids, use_cache=False).logits[0]
        if not torch.isfinite(single).all():
            return None, "logits that are not finite"
        return {"single": single, "double": double, **values}, None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}".replace("\n", " ")


def values_of(model, rotary):
    c = model.config
    types = getattr(c, "layer_types", None) if c.model_type != "llama" else None
    return {
        "theta": float(c.rope_parameters["rope_theta"]), "type": rotary.rope_type,
        "attention_factor": float(rotary.attention_scaling), "inv_freq": rotary.inv_freq.tolist(),
        "window": [c.sliding_window if types and types[i] == edits.SLIDING else None for i in range(c.num_hidden_layers)],
        "rotates": [bool(r) for r in (getattr(c, "no_rope_layers", None) if c.model_type == "smollm3" else None)
                    or [1] * c.num_hidden_layers][:c.num_hidden_layers],
        "tied": model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr(),
        "heads": c.num_key_value_heads, "eps": c.rms_norm_eps,
    }


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def ours(glia, folder, out):
    """The same of Glia, whose logits go to `out`. The reason begins with "!" if it is not one sentence with exit status 1 or 2."""
    ids = pathlib.Path(folder, "ids")
    ids.write_text(json.dumps([i % 48 for i in range(edits.POSITIONS)]))
    args = ("--dtype", "float32", "--threads", "1")
    done = run(glia, "score", folder, "--ids", str(ids), "--out", str(out), *args)
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        errors = [line for line in lines if "warning" not in line.split(": ")[:2]]
        proper = done.returncode in (1, 2) and len(errors) == 1
        return None, ("" if proper else f"!exit {done.returncode}: ") + " / ".join(errors)
    logits = load_file(out)["logits"].double()
    c = json.loads(run(glia, "inspect", folder, "--json", *args).stdout)["config"]
    rope = c["rope"]
    return {"logits": logits, "theta": rope["theta"], "type": rope["type"],
            "attention_factor": rope.get("attention_factor", 1.0), "window": c["sliding_window"], "rotates": c["rotates"],
            "tied": c["tie_word_embeddings"], "heads": c["num_key_value_heads"], "eps": c["rms_norm_eps"],
            "warnings": lines}, None


def difference(us, them):
    """What differs, or None. Rounding may move a logit as far as Transformers' own rounding does, twice."""
    for key in ("theta", "type", "window", "rotates", "heads", "eps", "attention_factor"):
        a, b = us[key], them[key]
        same = abs(a - b) <= 1e-12 * abs(b) if isinstance(b, float) else a == b
        if not same:
            return f"{key} is {a}, theirs is {b}"
    scale = float(them["double"].abs().max())
    bound = 2 * float((them["single"] - them["double"]).abs().max()) + 4e-6 * scale
    error = float((us["logits"] - them["double"]).abs().max())
    return None if error <= bound else f"logits differ by {error:.3g}, bound {bound:.3g}, largest logit {scale:.3g}"


def listed(table, reason):
    return next((why for pattern, why in table.items() if re.search(pattern, reason)), None)


def judge(us, our_reason, them, their_reason):
    """One of the verdicts above, and what to say about it."""
    if our_reason and our_reason.startswith("!"):
        return "BROKEN", our_reason
    if us and them:
        what = difference(us, them)
        return ("DIFFERENT", f"{what}; {us['warnings']}") if what else ("same", "")
    if not us and not them:
        return "refused", our_reason
    reason, table = (our_reason, STRICT) if them else (their_reason, LENIENT)
    kind, why = ("strict", "refused") if them else ("lenient", "read")
    known = listed(table, reason)
    if not them and us is not None and not torch.isfinite(us["logits"]).all():
        return "BROKEN", f"logits that are not finite, exit 0; theirs: {their_reason}"
    return (kind, known) if known else (kind.upper(), f"{why} by Glia alone: {reason}")


def try_one(glia, base, changes, tensor_edit):
    config = edits.apply(base, *changes)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        tensors = weights_of(config, base)
        TENSOR_EDITS[tensor_edit](tensors, config)
        pathlib.Path(folder, "config.json").write_text(json.dumps(config))
        save_file(tensors, pathlib.Path(folder, "model.safetensors"), metadata={"format": "pt"})
        return judge(*ours(glia, folder, pathlib.Path(other, "logits.safetensors")), *theirs(folder))


def cases(args):
    for i, edit in enumerate(edits.EDITS):
        for base in edits.ALL if args.all else [edits.ALL[i % len(edits.ALL)]]:
            yield base, [edit], "as stored"
    for base in edits.ALL:
        for name in TENSOR_EDITS:
            yield base, [], name
    for base, changes in edits.walk(args.walk, args.seed):
        yield base, changes, "as stored"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glia", default="build/glia")
    parser.add_argument("--walk", type=int, default=400, help="configurations of the random walk")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="try every single edit on every architecture")
    parser.add_argument("--only", default="", help="run the cases whose name contains TEXT")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    counts, reasons = collections.Counter(), collections.Counter()
    for base, changes, tensor_edit in cases(args):
        name = edits.name_of(base, *changes) + ("" if tensor_edit == "as stored" else f" [{tensor_edit}]")
        if args.only not in name:
            continue
        verdict, detail = try_one(args.glia, base, changes, tensor_edit)
        counts[verdict] += 1
        if verdict in ("strict", "lenient"):
            reasons[verdict, detail] += 1
        if args.verbose or verdict.isupper():
            print(f"{verdict}: {name}: {detail}", flush=True)
    for (verdict, why), n in sorted(reasons.items()):
        print(f"{n:5} {verdict}: {why}")
    bad = sum(n for verdict, n in counts.items() if verdict.isupper())
    print(f"Transformers {transformers.__version__}: {sum(counts.values())} configurations: "
          + ", ".join(f"{n} {v}" for v, n in sorted(counts.items())))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
