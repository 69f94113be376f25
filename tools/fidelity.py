#!/usr/bin/env python3
"""Who is closer to the model in float64: Glia or Transformers?

    fidelity.py MODEL_DIR... [--glia build/glia] [--positions 512] [--markdown FILE]
    fidelity.py MODEL_DIR... --text FILE... [--windows 6] [--formats NAME...] [--greedy N] [--markdown FILE]
    fidelity.py MODEL_DIR... --greedy N [--markdown FILE]

Needs torch, transformers and safetensors. Works on any model directory. Exits with 1
when a model fails.

Without --text and --greedy: random ids, every logit
----------------------------------------------------
Runs Transformers (eager attention) in float64, float32 and bfloat16, and
`glia score` in float32 and bfloat16, on the same random ids, and compares every
logit with float64. PASS: our mean error is at most theirs and our largest error
at most 1.25 times theirs, in both number formats.

What "the model in float64" is has two readings, and both are held:

  stock   Transformers' own float64 run. It keeps float32 islands: the angles of
          RoPE, the norms and the softmax, so it shares their rounding with
          Transformers' float32 run.
  exact   the same modules with those islands, the RoPE frequencies included, in
          float64: no float32 anywhere.

`dynamic` and `longrope` choose their frequencies by the sequence length; Glia
plans that length beforehand, and `score` plans the number of ids, which is what
a full forward of Transformers sees.

--text: what each number format costs on real text
--------------------------------------------------
Cuts --windows pieces of --positions tokens, evenly spaced, from each text, and compares
the distribution of the next token with that of Transformers in float64 (stock):

  KL          mean of KL(float64 || format), in nats a position
  agree       share of positions whose likeliest token is that of float64
  error       mean absolute error of a logit
  perplexity  exp(- mean log-likelihood of the text's tokens), and its change from float64
  top-k       share of positions that pass NxDI's logit validation with its default
              tolerances, and the largest error for each k. At each position, the constant
              part of the linear regression of our logits on theirs is subtracted; the
              error for k is (largest |ours - theirs| over their k likeliest tokens - 1e-5) /
              the largest |theirs| among these. It may be 0.01, 0.02, 0.03 and 0.05 for k of 5,
              50, 1000 and all. If another token is the likeliest, its logit must exceed that
              of their likeliest token by less than 0.001.

--formats takes names of the table FORMATS, and NAME="FLAGS OF GLIA" for another one.
PASS: where Transformers has the number format, our KL and our error are at most theirs;
where TARGETS has the model (by the name of its directory) and the number format, KL and the
change of the perplexity are at most the targets.

--greedy N: equal answers
-------------------------
N prompts, 128 tokens each, end of sequence ignored. Glia's float32 tokens are passed to
Transformers in float32, which must find each of them the likeliest (so its own greedy search
would generate the same). PASS: all do, or the token of the first difference is within 1e-5 of
the likeliest one; such ties are shown. Beside it: how many bfloat16 answers are equal to the
float32 answer to their end, Glia's and Transformers'.
"""
import argparse
import contextlib
import ctypes
import importlib
import itertools
import json
import math
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import modeling_rope_utils as rope_utils

MAX_RATIO = 1.25

# A number format: Glia's flags, and Transformers' dtype beside it (None: Transformers lacks it).
BFLOAT16 = "--dtype bfloat16"
PER_TENSOR = "--quantization-type per_tensor_symmetric"
PER_CHANNEL = "--quantization-type per_channel_symmetric"
FORMATS = {
    "float32": ("--dtype float32", torch.float32),
    "float16": ("--dtype float16", torch.float16),
    "bfloat16": (BFLOAT16, torch.bfloat16),
    "int8": (f"{BFLOAT16} --quantization int8", None),
    "int8-per-channel": (f"{BFLOAT16} --quantization int8 {PER_CHANNEL}", None),
    "int8-per-tensor": (f"{BFLOAT16} --quantization int8 {PER_TENSOR}", None),
    "w8a8": (f"{BFLOAT16} --quantization w8a8", None),
    "w8a8-per-channel": (f"{BFLOAT16} --quantization w8a8 {PER_CHANNEL}", None),
    "w8a8-per-tensor": (f"{BFLOAT16} --quantization w8a8 {PER_TENSOR}", None),
    "int8-kv": (f"{BFLOAT16} --kv-cache-dtype int8", None),
    "w8a8-int8-kv": (f"{BFLOAT16} --quantization w8a8 --kv-cache-dtype int8", None),
}
# Most KL and most change of the perplexity, of a model and a number format.
TARGETS = {("qwen2.5-coder-0.5b", "int8"): (1e-3, 0.001), ("qwen2.5-coder-0.5b", "w8a8"): (2e-3, 0.002),
           ("qwen2.5-coder-0.5b", "int8-kv"): (1e-3, 0.001)}

# NxDI's logit validation: largest relative error of the k likeliest logits ("all": of every logit).
NXDI_TOLERANCES = {"5": 0.01, "50": 0.02, "1000": 0.03, "all": 0.05}
NXDI_ABSOLUTE, NXDI_GAP = 1e-5, 0.001

ANSWER, TIE = 128, 1e-5
TASKS = ("Explain to a child what {} is.", "Write a short story about {}.", "Write a Python function about {}, with a test.",
         "List five facts about {}, one a line.", "Что такое {}? Ответь по-русски.", "用中文介绍一下 {}。",
         "Write a C function that prints a table about {}.", "Translate to French: I know nothing about {}.",
         "Is {} useful? Answer yes or no, then give reasons.", "Write a JSON object that describes {}.")
TOPICS = ("a prime number", "the sea", "a binary tree", "bread", "time zones")


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


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].double()


def theirs(folder, ids, dtype, exact=False):
    model = load(folder, dtype)
    with no_float32(model) if exact else contextlib.nullcontext():
        return logits_of(model, ids)


def run_glia(args, command, folder, ids, *flags):
    done = subprocess.run([args.glia, command, str(folder), "--ids", "-", *flags, *args.glia_option],
                          input=json.dumps(ids), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"glia {command} exits {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def ours(args, folder, ids, flags):
    with tempfile.TemporaryDirectory() as temp:
        out = pathlib.Path(temp, "logits.safetensors")
        run_glia(args, "score", folder, ids, "--out", str(out), *shlex.split(flags))
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
        our = None if args.oracle_only else ours(args, folder, ids, FORMATS[name][0])
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


def cut(texts, tokenizer, args):
    """{kind: [(ids, the ids that follow each of them), ...]}: evenly spaced windows of each text."""
    windows = {}
    for path in texts:
        ids = tokenizer(path.read_text(encoding="utf-8"), add_special_tokens=False).input_ids
        room = len(ids) - args.positions - 1
        if room < 0:
            raise RuntimeError(f"{path}: expected at least {args.positions + 1} tokens, found {len(ids)}")
        starts = sorted({room * i // max(args.windows - 1, 1) for i in range(args.windows)})
        windows[path.stem] = [(ids[s:s + args.positions], ids[s + 1:s + args.positions + 1]) for s in starts]
    return windows


def top_k_errors(logits, truth):
    """NxDI's logit validation of each position: {k: relative error}, and whether the position passes."""
    mean, true_mean = logits.mean(-1, keepdim=True), truth.mean(-1, keepdim=True)
    around = truth - true_mean
    slope = (around * (logits - mean)).sum(-1, keepdim=True) / around.square().sum(-1, keepdim=True)
    shifted = logits - (mean - slope * true_mean)
    true, at = truth.topk(min(1000, truth.shape[-1]))  # sorted: the first k are the k likeliest
    off, of_all = (shifted.gather(-1, at) - true).abs(), (shifted - truth).abs()
    errors, passed = {}, torch.ones(len(truth), dtype=torch.bool)
    for k, most in NXDI_TOLERANCES.items():
        a, b = (of_all, truth) if k == "all" else (off[:, :int(k)], true[:, :int(k)])
        errors[k] = (a.amax(-1) - NXDI_ABSOLUTE) / b.abs().amax(-1)
        passed &= errors[k] <= most
    gap = shifted.amax(-1) - shifted.gather(-1, truth.argmax(-1, keepdim=True))[:, 0]
    return errors, passed & ((logits.argmax(-1) == truth.argmax(-1)) | (gap < NXDI_GAP))


def joined(tables):
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]}


def per_position(logits, truth, following):
    """{name: tensor [positions]}, computed in pieces, because vocabularies are large."""
    if logits.shape != truth.shape or not torch.isfinite(logits).all():
        raise RuntimeError(f"logits of shape {list(logits.shape)}, expected {list(truth.shape)}, all finite")
    pieces = []
    for a, b, next_ids in zip(logits.split(64), truth.split(64), torch.tensor(following)[:, None].split(64)):
        q, p = a.log_softmax(-1), b.log_softmax(-1)
        errors, passed = top_k_errors(a, b)
        pieces.append({"kl": (p.exp() * (p - q)).sum(-1), "agree": (a.argmax(-1) == b.argmax(-1)).double(),
                       "error": (a - b).abs().mean(-1), "passed": passed.double(), **errors,
                       "logprob": q.gather(-1, next_ids)[:, 0], "true_logprob": p.gather(-1, next_ids)[:, 0]})
    return joined(pieces)


def summary(kinds):
    """One row of the report, of {kind: per_position()}."""
    every = joined(list(kinds.values()))
    mean = {name: values.mean().item() for name, values in every.items()}
    return {"kl": mean["kl"], "kinds": [kind["kl"].mean().item() for kind in kinds.values()], "agree": mean["agree"],
            "error": mean["error"], "perplexity": math.exp(-mean["logprob"]),
            "change": math.expm1(mean["true_logprob"] - mean["logprob"]), "passed": mean["passed"],
            "worst": [every[k].max().item() for k in NXDI_TOLERANCES]}


def formats_of(names):
    """The chosen rows of FORMATS; NAME=FLAGS makes a row."""
    chosen = {}
    for name in names:
        name, equals, flags = name.partition("=")
        if not equals and name not in FORMATS:
            raise SystemExit(f"--formats: no number format {name}; there are {', '.join(FORMATS)}, and NAME=FLAGS")
        chosen[name] = (flags, None) if equals else FORMATS[name]
    return chosen


def measure_text(folder, args):
    """One model: rows (format, "Transformers" or "Glia", its summary())."""
    windows = cut(args.text, AutoTokenizer.from_pretrained(folder), args)
    rows = []
    with tempfile.TemporaryDirectory() as temp:
        def compared(run):
            """{kind: per_position()} of the logits that run(ids) returns."""
            return {kind: joined([per_position(run(ids), torch.load(f"{temp}/{kind}-{i}", mmap=True), following)
                                  for i, (ids, following) in enumerate(pairs)]) for kind, pairs in windows.items()}

        model = load(folder, torch.float64)
        for kind, pairs in windows.items():
            for i, (ids, _) in enumerate(pairs):
                torch.save(logits_of(model, ids), f"{temp}/{kind}-{i}")
        for name, (flags, dtype) in args.formats.items():
            if dtype:
                model = load(folder, dtype)
                rows.append((name, "Transformers", summary(compared(lambda ids: logits_of(model, ids)))))
                print(text_line(folder.name, rows[-1]), flush=True)
            if not args.oracle_only:
                rows.append((name, "Glia", summary(compared(lambda ids: ours(args, folder, ids, flags)))))
                print(text_line(folder.name, rows[-1]), flush=True)
    return rows, {kind: sum(len(ids) for ids, _ in pairs) for kind, pairs in windows.items()}


def text_passes(model, name, rows):
    """Whether Glia's row of this format is as good as Transformers' row, and reaches the model's target."""
    of = {who: row for number, who, row in rows if number == name}
    our, their = of.get("Glia"), of.get("Transformers")
    most_kl, most_change = TARGETS.get((model, name), (math.inf, math.inf))
    return not our or ((not their or (our["kl"] <= their["kl"] and our["error"] <= their["error"])) and
                       our["kl"] <= most_kl and our["change"] <= most_change)


def text_cells(row):
    name, who, r = row
    return [name, who, f"{r['kl']:.1e}", *(f"{kl:.1e}" for kl in r["kinds"]), f"{r['agree']:.2%}", f"{r['error']:.1e}",
            f"{r['perplexity']:.4f}", f"{r['change']:+.3%}", f"{r['passed']:.2%}", " ".join(f"{w:.1e}" for w in r["worst"])]


def text_line(model, row):
    name, who, r = row
    return (f"{model:20} {name:16} {who:12} KL {r['kl']:.2e}  agree {r['agree']:7.2%}  error {r['error']:.1e}  perplexity "
            f"{r['perplexity']:.4f} ({r['change']:+.3%})  top-k {r['passed']:7.2%} " + " ".join(f"{w:.1e}" for w in r["worst"]))


def prompts(tokenizer, n):
    """Ids of n prompts, by the model's chat template if it has one."""
    texts = [task.format(topic) for topic in TOPICS for task in TASKS][:n]
    if len(texts) < n:
        raise SystemExit(f"--greedy takes at most {len(texts)} prompts")
    if not tokenizer.chat_template:
        return [tokenizer(text).input_ids for text in texts]
    return [tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True,
                                          return_dict=False) for text in texts]


def follows(model, prompt, answer):
    """Number of tokens until `answer` leaves the model's own greedy answer; there, how much less likely
    the token is than the likeliest, in logits; and the least distance of two likeliest logits before."""
    logits = logits_of(model, prompt + answer)[len(prompt) - 1:-1]
    wrong = (logits.argmax(-1) != torch.tensor(answer)).nonzero().flatten().tolist()
    same = wrong[0] if wrong else len(answer)
    two = logits[:same].topk(2).values
    near = (two[:, 0] - two[:, 1]).min().item() if same else math.inf
    return same, (logits[same].max() - logits[same, answer[same]]).item() if wrong else 0.0, near


def continued(model, prompt, n):
    """The model's greedy answer, by Transformers' generate."""
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=n,
                         repetition_penalty=1.0, eos_token_id=-1)
    return out[0, len(prompt):].tolist()


def answers(args, folder, asked, dtype):
    """Glia's greedy answers in this number format."""
    flags = ["--greedy", "--repetition-penalty", "1", "--ignore-eos", "--max-tokens", str(ANSWER)]
    lines = run_glia(args, "generate", folder, asked, *flags, *shlex.split(FORMATS[dtype][0])).splitlines()
    return [json.loads(line) for line in lines]


def shared_start(a, b):
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b)))


def measure_greedy(folder, args):
    """One model: what the report says, by name; "ties" and "failures" are lists of sentences."""
    asked = prompts(AutoTokenizer.from_pretrained(folder), args.greedy)
    our = answers(args, folder, asked, "float32")
    model = load(folder, torch.float32)
    reference, ties, failures, nearest = [], [], [], math.inf
    for i, (prompt, answer) in enumerate(zip(asked, our)):
        same, distance, near = follows(model, prompt, answer)
        nearest = min(nearest, near)
        reference.append(answer if same == ANSWER else continued(model, prompt, ANSWER))
        if same < ANSWER:
            (ties if distance <= TIE else failures).append(
                f"prompt {i}, token {same}: token {answer[same]} is {distance:.1e} less likely than token "
                f"{reference[i][same]}, in logits")
    model = load(folder, torch.bfloat16)
    their16 = [follows(model, prompt, answer)[0] for prompt, answer in zip(asked, reference)]
    our16 = [shared_start(*pair) for pair in zip(answers(args, folder, asked, "bfloat16"), reference)]
    return {"model": folder.name, "prompts": len(asked), "equal": len(asked) - len(ties) - len(failures), "ties": ties,
            "failures": failures, "nearest": nearest, "their16": their16, "our16": our16}


def greedy_cells(g):
    n = g["prompts"]
    whole = lambda starts: f"{sum(s == ANSWER for s in starts)} of {n} ({sum(starts) / n:.0f} tokens)"
    return [g["model"], f"{g['equal']} of {n}", str(len(g["ties"])), f"{g['nearest']:.1e}", whole(g["our16"]),
            whole(g["their16"])]


def machine(args):
    glia = subprocess.run([args.glia, "--version"], capture_output=True, text=True).stdout.strip()
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    return (f"{' '.join(['', *args.glia_option])}; {glia}; transformers {transformers.__version__}, torch "
            f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), {cpu}.")


def table(heads, rows):
    return ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *("| " + " | ".join(row) + " |" for row in rows)]


def replace_block(path, name, lines):
    """Rewrite what stands between the comments "NAME: ..." and "end of NAME"."""
    text = pathlib.Path(path).read_text()
    found = re.search(rf"(<!-- {name}: [^>]*-->\n)(.*?)(<!-- end of {name} -->)", text, re.S)
    if not found:
        raise SystemExit(f"{path}: expected <!-- {name}: --> and <!-- end of {name} -->")
    body = "\n".join(["", *lines, "", ""])
    pathlib.Path(path).write_text(text[:found.end(1)] + body + text[found.start(3):])


def text_markdown(results, args):
    out = [f"`tools/fidelity.py --text ... --positions {args.positions} --windows {args.windows}`{machine(args)}", ""]
    for model, rows, counts in results:
        out += [f"#### {model}", "", f"{sum(counts.values())} positions: "
                f"{', '.join(f'{kind} {n}' for kind, n in counts.items())}.", "",
                *table(["format", "by", "KL", *counts, "agree", "error", "perplexity", "change", "top-k",
                        "largest error for k of " + ", ".join(NXDI_TOLERANCES)], map(text_cells, rows)), ""]
    replace_block(args.markdown, "real text", out[:-1])


def greedy_markdown(results, args):
    replace_block(args.markdown, "greedy", [
        f"`tools/fidelity.py --greedy {args.greedy}`{machine(args)}", "",
        *table(["model", "float32 answers equal", "ties", "nearest two logits", "bfloat16 equal to the end: Glia",
                "Transformers"], map(greedy_cells, results)),
        *(f"\n{g['model']}: {sentence}." for g in results for sentence in g["ties"] + g["failures"])])


def markdown(results, args):
    head = pathlib.Path(args.markdown).read_text().split("<!-- table")[0] if os.path.exists(args.markdown) else ""
    out = [head.rstrip(), "", "<!-- table: everything below is written by tools/fidelity.py --markdown -->", "",
           f"`tools/fidelity.py --positions {args.positions} --seed {args.seed}`{machine(args)}",
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


def random_report(folder, args):
    """Print what one model's random ids show. Returns (its result, whether it passes)."""
    rows, spread = measure(folder, args)
    for row in rows:
        print(line(folder.name, row), f" logits std {spread:.1f}" if row is rows[0] else "", flush=True)
    return (folder.name, rows, spread), args.oracle_only or all(map(passes, rows))


def text_report(folder, args):
    rows, counts = measure_text(folder, args)
    failed = [name for name in args.formats if not text_passes(folder.name, name, rows)]
    print(f"{folder.name:20} text: {'FAIL: ' + ', '.join(failed) if failed else 'PASS'}", flush=True)
    return (folder.name, rows, counts), not failed


def greedy_report(folder, args):
    g = measure_greedy(folder, args)
    _, equal, ties, nearest, our16, their16 = greedy_cells(g)
    for sentence in g["ties"] + g["failures"]:
        print(f"{folder.name:20} {sentence}")
    print(f"{folder.name:20} greedy: float32 equal {equal}, ties {ties}, nearest two logits {nearest}; bfloat16 equal to the "
          f"end {our16}, Transformers {their16}: {'FAIL' if g['failures'] else 'PASS'}", flush=True)
    return g, not g["failures"]


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("--glia", default="build/glia")
    parser.add_argument("--glia-option", action="append", default=[], help="passed on, as --glia-option=--threads=1")
    parser.add_argument("--positions", type=int, default=512, help="number of random ids, or length of a window of text")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text", nargs="+", default=[], type=pathlib.Path, metavar="FILE")
    parser.add_argument("--windows", type=int, default=6, help="windows of each text")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), metavar="NAME")
    parser.add_argument("--greedy", type=int, default=0, metavar="N", help="prompts")
    parser.add_argument("--oracle-only", action="store_true", help="Transformers' errors alone, without Glia")
    parser.add_argument("--markdown", metavar="FILE", help="rewrite the tables of this document")
    args = parser.parse_args()
    args.formats = formats_of(args.formats)
    return args


def keep_freed_memory():
    """Let glibc keep what tensors free. Mapping hundreds of megabytes anew for each takes most of the time."""
    m_trim_threshold, m_mmap_max = -1, -4
    ctypes.CDLL(None).mallopt(m_mmap_max, 0)
    ctypes.CDLL(None).mallopt(m_trim_threshold, 2**31 - 1)


def main():
    args = parsed()
    keep_freed_memory()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    reports = ([(text_report, text_markdown)] if args.text else []) + (
        [(greedy_report, greedy_markdown)] if args.greedy else []) or [(random_report, markdown)]
    passed = failed = 0
    for report, write in reports:
        results = []
        for folder in args.models:
            try:
                result, good = report(folder, args)
            except (RuntimeError, OSError) as why:
                print(f"{folder.name:24} FAIL {why}", flush=True)
                failed += 1
                continue
            results.append(result)
            passed, failed = passed + good, failed + (not good)
        if args.markdown:
            write(results, args)
    print(f"{passed} passed, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
