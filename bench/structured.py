#!/usr/bin/env python3
"""Masks and compiling, one thread: Glia beside llguidance and XGrammar.

    python bench/structured.py [--shared ../shared] [--glia build/glia] [--peers llguidance,xgrammar] [--limit 0]
                               [--slow 0]

Needs `pip install llguidance xgrammar transformers` and a built build/glia. The schemas are those of
json_schema.jsonl's tier `realistic` that llguidance passes, each with its first valid instance; the vocabulary is
Qwen3's. For every token of the instance each program computes a mask and follows the token. Times of a peer
include its Python call. XGrammar has a limit of 10 s for a schema; its schemas are the first --xgrammar of the
others. --slow N lists Glia's N slowest masks: id, number of the token, microseconds.
Prints a table for docs/STRUCTURED.md; microseconds.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def row(name, masks, compiles):
    if not masks:
        return f"| {name} | | | | | | |"
    cells = [statistics.mean(masks), quantile(masks, .5), quantile(masks, .99)]
    cells += [statistics.mean(compiles), quantile(compiles, .5), quantile(compiles, .99)]
    return f"| {name} | " + " | ".join(f"{c:,.1f}" if c < 100 else f"{c:,.0f}" for c in cells) + " |"


def glia(args, cases, tokenizer_dir, slow=None):
    """Masks and compile times; texts are what Glia writes of the instance."""
    lines = "".join(json.dumps({"schema": c["schema"], "instances": c["valid"][:1], "timing": True}) + "\n" for c in cases)
    out = subprocess.run([args.glia, "grammar", "check", tokenizer_dir], input=lines, capture_output=True, text=True,
                         check=True)
    masks, compiles = [], []
    for c, a in zip(cases, map(json.loads, out.stdout.splitlines()), strict=True):
        if a.get("accepts") != [True]:
            sys.exit(f"{c['id']}: {a}")
        masks += a["mask_us"]
        compiles.append(a["compile_us"])
        if slow is not None:
            slow += [(t, c["id"], i) for i, t in enumerate(a["mask_us"])]
    return masks, compiles


def llguidance(cases, tokenizer):
    import llguidance as ll
    import llguidance.hf
    import llguidance.torch
    t = llguidance.hf.from_tokenizer(tokenizer)
    masks, compiles = [], []
    bitmask = llguidance.torch.allocate_token_bitmask(1, t.vocab_size)
    for c in cases:
        text = json.dumps(c["valid"][0], ensure_ascii=False)
        start = time.perf_counter()
        m = ll.LLMatcher(t, ll.LLMatcher.grammar_from_json_schema(json.dumps(c["schema"])))
        llguidance.torch.fill_next_token_bitmask(m, bitmask)
        first = time.perf_counter() - start
        if m.is_error():
            continue
        compiles.append(first * 1e6)
        for i, token in enumerate(t.tokenize_str(text)):
            start = time.perf_counter()
            llguidance.torch.fill_next_token_bitmask(m, bitmask)
            masks.append((time.perf_counter() - start) * 1e6)
            if not m.consume_token(token):
                break
    return masks, compiles


def xgrammar(cases, tokenizer, limit):
    import xgrammar as xgr
    info = xgr.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = xgr.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    masks, compiles = [], []
    bitmask = xgr.allocate_token_bitmask(1, info.vocab_size)
    for c in cases[:limit]:
        try:
            start = time.perf_counter()
            m = xgr.GrammarMatcher(compiler.compile_json_schema(json.dumps(c["schema"]), strict_mode=False))
            m.fill_next_token_bitmask(bitmask)
            compiles.append((time.perf_counter() - start) * 1e6)
        except RuntimeError:
            continue
        for token in tokenizer.encode(json.dumps(c["valid"][0], ensure_ascii=False)):
            start = time.perf_counter()
            m.fill_next_token_bitmask(bitmask)
            masks.append((time.perf_counter() - start) * 1e6)
            if not m.accept_token(token):
                break
    return masks, compiles


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shared", default="../shared")
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--peers", default="llguidance,xgrammar")
    p.add_argument("--limit", type=int, default=0)
    p.add_argument("--xgrammar", type=int, default=20)
    p.add_argument("--slow", type=int, default=0)
    args = p.parse_args()
    shared = pathlib.Path(args.shared)
    cases = [json.loads(line) for line in open(shared / "data/serving/json_schema.jsonl", encoding="utf-8")]
    cases = [c for c in cases if c["tier"] == "realistic" and c["llguidance"] == "pass" and c["valid"]]
    cases = cases[:args.limit or len(cases)]
    tokenizer_dir = str(shared / "data/tokenizers/qwen3")
    slow = []
    rows = [row("Glia", *glia(args, cases, tokenizer_dir, slow))]
    peers = [x for x in args.peers.split(",") if x]
    if peers:
        import transformers
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_dir)
    if "llguidance" in peers:
        rows.append(row("llguidance", *llguidance(cases, tokenizer)))
    if "xgrammar" in peers:
        rows.append(row(f"XGrammar ({min(args.xgrammar, len(cases))} of the schemas)",
                        *xgrammar(cases, tokenizer, args.xgrammar)))
    print(f"{len(cases)} schemas, {len(slow)} masks")
    print("| | mask mean | p50 | p99 | compile and first mask mean | p50 | p99 |\n|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    for t, name, i in sorted(slow, reverse=True)[:args.slow]:
        print(f"{t:9.1f}  {name} token {i}")


main()
