#!/usr/bin/env python3
"""Tokens per second with a constraint and without, in turns, on one model.

    python bench/constrained.py MODEL [--glia build/glia] [--rounds 7] [--tokens 150] [--threads 0]

Needs a built build/glia and a real model. Every run generates `--tokens` tokens greedily: without a constraint; with a
regular expression that allows any text; in an array of strings; and with a schema of many long keys, most of whose
tokens are forced. Prints medians and each one's ratio to the run without a constraint of the same round. The target is
0.97 for the first two constraints and more than 1 for the last.
"""
import argparse
import json
import statistics
import subprocess

LONG = {f"the_{word}_of_the_customer_as_it_was_reported": {"enum": ["yes", "no"]}
        for word in "name address phone order payment delivery complaint answer account balance".split()}
RUNS = {
    "without": [],
    "any text": ["--regex", "[\\s\\S]*"],
    "an array of strings": ["--json-schema", json.dumps({"type": "array", "minItems": 100, "items": {
        "type": "string", "minLength": 20}})],
    "long keys": ["--json-schema", json.dumps({"type": "array", "minItems": 20, "items": {
        "type": "object", "properties": LONG, "required": list(LONG), "additionalProperties": False}})],
}


def speed(args, flags):
    """Tokens per second after the first token."""
    command = [args.glia, "generate", args.model, "-p", "A list of names and of what they mean:", "--json", "--greedy",
               "--ignore-eos", "--max-tokens", str(args.tokens), *flags]
    if args.threads:
        command += ["--threads", str(args.threads)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["timing"]["tokens_per_s"][0]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--glia", default="build/glia")
    for name, default in (("rounds", 7), ("tokens", 150), ("threads", 0)):
        p.add_argument("--" + name, type=int, default=default)
    args = p.parse_args()
    speeds = {name: [] for name in RUNS}
    for _ in range(args.rounds):
        for name, flags in RUNS.items():
            speeds[name].append(speed(args, flags))
    for name, values in speeds.items():
        ratios = [a / b for a, b in zip(values, speeds["without"])]
        print(f"{name:20s} {statistics.median(values):8.1f} tokens/s, ratio {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f} to {max(ratios):.3f})")


main()
