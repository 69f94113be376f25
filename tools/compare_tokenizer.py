#!/usr/bin/env python3
"""Compare the token ids of `glia tokenize` with Hugging Face's on mixed text.

    python tools/compare_tokenizer.py [--mb 10] [--glia build/glia] DIR...

needs `pip install transformers`. Each DIR is a model's or a tokenizer's directory. The text is made with a
fixed seed: English and code of Python's standard library, runs of characters of many scripts, emoji with
joiners and modifiers, odd white space, every control character, special tokens in the text, and random
code points. The ids must be equal; the first difference is shown. Exits with 1 if there is one.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import sysconfig

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
from transformers import AutoTokenizer, TokenizersBackend  # noqa: E402

SCRIPTS = [(0x41, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x5D0, 0x5EA), (0x620, 0x6D3), (0x905, 0x96F),
           (0xE01, 0xE5B), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x3041, 0x30FF), (0x4E00, 0x9FFF),
           (0xAC00, 0xD7A3), (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x20000, 0x2A6DF)]
EMOJI = ["\U0001F600", "\U0001F44D\U0001F3FD", "\U0001F468\u200D\U0001F469\u200D\U0001F467", "\u2764\uFE0F", "\U0001F1E9\U0001F1EA"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\n\n\n", "\u00A0", "\u2003", "\u3000", "\u2028", "\u0085", "\u200B", "\uFEFF", "\x0b", "\x0c"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "<|begin_of_text|>", "<|im_", "<|"]


def word(rng):
    low, high = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9)))


def code_point(rng):
    while True:
        c = rng.choice((rng.randrange(0x20), rng.randrange(0x300), rng.randrange(0x3000), rng.randrange(0x110000)))
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def mixed(rng):
    kinds = [lambda: word(rng), lambda: rng.choice(EMOJI), lambda: rng.choice(SPACES), lambda: str(rng.randrange(10 ** rng.randint(1, 12))),
             lambda: code_point(rng), lambda: rng.choice(SPECIAL), lambda: rng.choice(("'s", "'LL", "don't", "...", "!?", "=>", "\\n", "  }")),
             lambda: rng.choice("aeiou") * rng.randint(1, 200), lambda: word(rng) + rng.choice(("\u0301", "\u0323\u0307", "\u200D", ""))]
    return "".join(rng.choice(kinds)() + rng.choice(("", "", " ")) for _ in range(200))


def documents(size):
    """Texts of `size` bytes in all: half is the standard library, half is mixed."""
    rng, out, n = random.Random(11), [], 0
    sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py")) + sorted(
        pathlib.Path(sysconfig.get_path("stdlib")).glob("[a-i]*/*.py"))
    for path in sources:
        if n > size // 2:
            break
        out.append(path.read_text(encoding="utf-8", errors="ignore"))
        n += len(out[-1].encode())
    while n < size:
        out.append(mixed(rng))
        n += len(out[-1].encode())
    return out


def compare(glia, folder, texts):
    lines = "".join(json.dumps(t) + "\n" for t in texts)
    got = subprocess.run([glia, "tokenize", folder], input=lines.encode(), capture_output=True)
    if got.stderr or got.returncode:
        print(f"{folder}: exit status {got.returncode}: {got.stderr.decode()[:500]}")
        return False
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError):  # no config.json
        tokenizer = TokenizersBackend.from_pretrained(folder)
    tokens = different = 0
    for text, line in zip(texts, got.stdout.splitlines(), strict=True):
        ids, want = json.loads(line), tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens += len(want)
        if ids == want:
            continue
        if not different:
            at = next((i for i, pair in enumerate(zip(ids, want)) if pair[0] != pair[1]), min(len(ids), len(want)))
            print(f"{folder}: token {at} after {tokenizer.decode(want[max(0, at - 5):at])!r}: "
                  f"{ids[at:at + 5]}, want {want[at:at + 5]} {tokenizer.decode(want[at:at + 5])!r}")
        different += 1
    size = sum(len(t.encode()) for t in texts)
    print(f"{folder}: {size / 1e6:.1f} MB, {len(texts)} texts, {tokens} tokens, {different} texts differ")
    return not different


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", metavar="DIR")
    p.add_argument("--mb", type=float, default=10)
    p.add_argument("--glia", default="build/glia")
    a = p.parse_args()
    texts = documents(int(a.mb * 1e6))
    return 0 if all([compare(a.glia, folder, texts) for folder in a.folders]) else 1


if __name__ == "__main__":
    sys.exit(main())
