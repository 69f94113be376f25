#!/usr/bin/env python3
"""Loading and single-thread encoding, Glia against Hugging Face tokenizers (Rust).

    python bench/tokenizer.py [--runs 7] [--mb 10] [--shared ../shared]

Needs `pip install tokenizers==0.22.2` and a built build/tests/check_tokenizer.
The text is made with a fixed seed: golden texts with shuffled words, Python's
standard library, JSON records, prose of vocabulary words by Zipf's law. Its hash
is printed, since the library's sources vary with the Python version. The two
programs alternate. Prints medians and the ratio of medians. Compares all ids.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sysconfig
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402

FAMILIES = ("smollm3", "qwen3")


def golden_document(rng, texts):
    words = " ".join(rng.sample(texts, 40)).split(" ")
    rng.shuffle(words)
    return " ".join(words)


def json_document(rng, words):
    rows = [{"id": rng.randrange(10**9), "name": rng.choice(words), "score": round(rng.random(), 4),
             "tags": rng.sample(words, 3), "note": " ".join(rng.choices(words, k=12))} for _ in range(20)]
    return json.dumps(rows, ensure_ascii=rng.random() < 0.3, indent=rng.choice((None, 2)))


def prose_document(rng, words, weights):
    out = []
    for word in rng.choices(words, cum_weights=weights, k=600):
        out.append(word + rng.choice(("", "", "", "", ",", ".", "!\n", ";", ".\n\n")))
    return " ".join(out)


def make_documents(size, shared):
    rng = random.Random(20250708)
    texts = [json.loads(line)["text"].replace("\0", "") for line in
             open(shared / "data/golden/tokenizer-qwen3.jsonl", encoding="utf-8")]
    tokenizer = tokenizers.Tokenizer.from_file(str(shared / "data/tokenizers/qwen3/tokenizer.json"))
    words = []
    for i in range(tokenizer.get_vocab_size(with_added_tokens=False)):
        word = tokenizer.decode([i]).strip()
        if len(word) > 1 and word.isalpha() and "\ufffd" not in word:
            words.append(word)
    rng.shuffle(words)
    weights, total = [], 0.0
    for rank in range(len(words)):
        total += 1 / (rank + 10)
        weights.append(total)
    sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    documents, bytes_made = [], 0
    while bytes_made < size:
        kind = rng.randrange(4)
        if kind == 0:
            document = golden_document(rng, texts)
        elif kind == 1:
            source = rng.choice(sources).read_text(encoding="utf-8", errors="ignore").replace("\0", "")
            start = rng.randrange(max(1, len(source) - 6000))
            document = source[start:start + 6000]
        elif kind == 2:
            document = json_document(rng, words)
        else:
            document = prose_document(rng, words, weights)
        documents.append(document)
        bytes_made += len(document.encode())
    return documents


def fnv(ids):
    value = 14695981039346656037
    for i in ids:
        value = (value ^ i) * 1099511628211 % 2**64
    return f"{value:016x}"


def run_hf(directory, documents):
    start = time.perf_counter()
    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    loaded = time.perf_counter()
    encodings = [tokenizer.encode(document, add_special_tokens=False) for document in documents]
    done = time.perf_counter()
    return {"load_s": loaded - start, "encode_s": done - loaded, "encodings": encodings}


def run_glia(program, directory, path):
    return json.loads(subprocess.run([program, "--bench", directory, path], check=True,
                                     capture_output=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--mb", type=float, default=10)
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"))
    parser.add_argument("--program", default="build/tests/check_tokenizer")
    args = parser.parse_args()
    documents = make_documents(int(args.mb * 1e6), args.shared)
    whole = "\n".join(documents)
    size = len(whole.encode())
    print(f"tokenizers {tokenizers.__version__}; {len(documents)} documents, {size} bytes, sha256 "
          f"{hashlib.sha256(whole.encode()).hexdigest()[:16]}; medians of {args.runs} runs in turns")
    print(f"{'':28}{'HF':>12}{'Glia':>12}{'ratio':>8}")
    for family in FAMILIES:
        directory = args.shared / "data/tokenizers" / family
        loads, rows = ([], []), {}
        for label, texts in (("documents", documents), ("one text", [whole])):
            with tempfile.NamedTemporaryFile() as file:
                file.write(b"".join(text.encode() + b"\0" for text in texts))
                file.flush()
                rates = ([], [])
                for _ in range(args.runs):
                    hf, glia = run_hf(directory, texts), run_glia(args.program, directory, file.name)
                    ids = [i for encoding in hf.pop("encodings") for i in encoding.ids]
                    if (len(ids), fnv(ids)) != (glia["ids"], glia["hash"]):
                        raise SystemExit(f"{family}, {label}: the ids differ")
                    for side, result in enumerate((hf, glia)):
                        loads[side].append(result["load_s"])
                        rates[side].append(size / 1e6 / result["encode_s"])
                rows[label] = rates
        a, b = (statistics.median(side) for side in loads)
        print(f"{family + ': load, s':28}{a:12.3f}{b:12.3f}{a / b:8.1f}")
        for label, rates in rows.items():
            a, b = (statistics.median(side) for side in rates)
            print(f"{family + ': ' + label + ', MB/s':28}{a:12.2f}{b:12.2f}{b / a:8.1f}")


if __name__ == "__main__":
    main()
