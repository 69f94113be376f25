#!/usr/bin/env python3
"""What int8 costs: perplexity and answers of the demo models, KL divergence of small models.

    quantization.py [--glia build/glia] [--limit N] [--markdown docs/QUANTIZATION.md]

Needs no packages. For each of none, int8, w8a8 and, where small models are asked, each type of quantisation:
  answers   every question of models/heldout.jsonl (at most N of a kind) as docs/DEMO.md asks it, with
            thinking, greedy; right as tools/demo/evaluate.py counts, and how many texts are
            the same as without quantisation
  KL        mean over positions of KL(float64 || ours) on the models of tests/golden/forward, whose
            logits.f64 are Transformers' in float64, in nats
Perplexity is held by tests/check_quantize.c, which prints it.
"""
import argparse
import array
import collections
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

NOW = "2025-07-08T12:00:00"
SCHEMES = {"bfloat16": [], "int8": ["--quantization", "int8"], "w8a8": ["--quantization", "w8a8"]}
TYPES = {"": [], " per channel": ["--quantization-type", "per_channel_symmetric"],
         " per tensor": ["--quantization-type", "per_tensor_symmetric"]}


def run(args, *command, text=None):
    done = subprocess.run([args.glia, *map(str, command)], input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()[-300:]}")
    return done.stdout


def lines(args, command, model, values):
    out = run(args, command, model, *(["--now", NOW] if command == "template" else []),
              text="".join(json.dumps(v) + "\n" for v in values))
    return [json.loads(line) for line in out.splitlines()]


def right(text, expect):
    text = text.split("</think>")[-1]
    at = text.find(expect)
    end = at + len(expect)
    return at >= 0 and not (end < len(text) and expect[-1].isdigit() and text[end].isdigit())


def questions(limit):
    used, cases = collections.Counter(), []
    with open("models/heldout.jsonl", encoding="utf-8") as f:
        for line in f:
            case = json.loads(line)
            used[case["kind"]] += 1
            if used[case["kind"]] <= limit:
                cases.append(case)
    return cases


def answers(args, model, cases, flags):
    prompts = lines(args, "template", model, [
        {"messages": c["messages"][:-1], "tools": c["tools"], "add_generation_prompt": True, "enable_thinking": True}
        for c in cases])
    ids = lines(args, "tokenize", model, prompts)
    out = run(args, "generate", model, "--ids", "-", "--greedy", "--max-tokens", 220, "--batch-size", 32,
              "--threads", args.threads, *flags, text=json.dumps(ids))
    return lines(args, "detokenize", model, [json.loads(line) for line in out.splitlines()])


def logits(path):
    data = path.read_bytes()
    head, = struct.unpack("<Q", data[:8])
    info = json.loads(data[8:8 + head])["logits"]
    values = array.array("f")
    begin, end = info["data_offsets"]
    values.frombytes(data[8 + head + begin:8 + head + end])
    return info["shape"], values


def log_softmax(row):
    most = max(row)
    total = math.log(sum(math.exp(x - most) for x in row)) + most
    return [x - total for x in row]


def divergence(args, folder, dtype, flags):
    ids = json.loads((folder / "golden.json").read_text())["ids"]
    truth = array.array("d")
    truth.frombytes((folder / "logits.f64").read_bytes())
    with tempfile.TemporaryDirectory() as temp:
        out = pathlib.Path(temp, "logits.safetensors")
        run(args, "score", folder, "--ids", "-", "--out", out, "--dtype", dtype, "--threads", 1, *flags,
            text=json.dumps(ids))
        (rows, vocab), ours = logits(out)
    total = 0.0
    for i in range(rows):
        p = log_softmax(truth[i * vocab:(i + 1) * vocab])
        q = log_softmax(ours[i * vocab:(i + 1) * vocab])
        total += sum(math.exp(a) * (a - b) for a, b in zip(p, q))
    return total / rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glia", default="build/glia")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--limit", type=int, default=10**9)
    parser.add_argument("--markdown", metavar="FILE", help="rewrite the tables of this document")
    args = parser.parse_args()
    out = ["### Answers", "", "| model | scheme | right | same text as bfloat16 |", "|---|---|---|---|"]
    cases = questions(args.limit)
    for model in ("models/qwen3-demo", "models/smollm3-demo"):
        plain = None
        for scheme, flags in SCHEMES.items():
            texts = answers(args, model, cases, flags)
            plain = plain or texts
            good = sum(right(t, c["expect"]) for t, c in zip(texts, cases))
            same = sum(a == b for a, b in zip(texts, plain))
            out.append(f"| {model} | {scheme} | {good} of {len(cases)} | {same} |")
            print(out[-1], flush=True)
    out += ["", "### KL divergence from float64", "", "Nats a position: mean over the models, largest of a model.", "",
            "| scheme | float32 beside it | bfloat16 beside it |", "|---|---|---|"]
    folders = sorted(p for p in pathlib.Path("tests/golden/forward").iterdir() if p.is_dir())
    formats = [("none", [])] + [(scheme + kind, SCHEMES[scheme] + flags) for scheme in ("int8", "w8a8")
                                for kind, flags in TYPES.items()]
    for name, flags in formats:
        cells = []
        for dtype in ("float32", "bfloat16"):
            kl = [divergence(args, folder, dtype, flags) for folder in folders]
            cells.append(f"{sum(kl) / len(kl):.1e} ({max(kl):.1e})")
        out.append(f"| {name} | {cells[0]} | {cells[1]} |")
        print(out[-1], flush=True)
    if args.markdown:
        path = pathlib.Path(args.markdown)
        head = path.read_text().split("<!-- table")[0].rstrip()
        path.write_text(head + "\n\n<!-- table: everything below is written by tools/quantization.py --markdown -->\n\n"
                        f"`tools/quantization.py`; {run(args, '--version').strip()}; {len(folders)} small models.\n\n" +
                        "\n".join(out) + "\n")


if __name__ == "__main__":
    main()
