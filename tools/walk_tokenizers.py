#!/usr/bin/env python3
"""Do random tokenizers give Glia the ids and the text that they give Hugging Face's tokenizers?

    walk_tokenizers.py [--glia build/glia] [--count 500] [--seed 1] [--only N] [--verbose]

Each case is a small byte-level BPE with random components of every kind that tokenizer.json
has: normalizers, pre-tokenizers, added tokens, post-processors, decoders, options of the
model, vocabularies without some bytes, ids with holes, merges in another order. It
encodes random text and decodes random ids with and without special tokens. For each case
one of these must hold:

  same      ids and texts are equal
  refused   both refuse the file, Glia with one sentence
  strict    tokenizers reads the file, and Glia refuses it with a reason of the table STRICT
  lenient   tokenizers refuses the file, and Glia reads it with a reason of the table LENIENT

Anything else is printed and makes the exit status 1. Needs tokenizers.
"""
import argparse
import collections
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unicodedata

import tokenizers

import compare_tokenizer
import gen_tokenizer_goldens as small

# A reason with which Glia refuses what tokenizers reads.
STRICT = {
    r"continuing_subword_prefix is|end_of_word_suffix is": "pieces of words that are spelled otherwise",
    r"dropout is": "ids that depend on chance",
    r"type is \"(Lowercase|Strip|StripAccents|Replace|Prepend|Nmt|ByteLevel)\"": "a normalizer that no byte-level BPE of these models has",
    r"type is \"(Whitespace|WhitespaceSplit|Punctuation|Metaspace|BertPreTokenizer|CharDelimiterSplit)\"": "a pre-tokenizer of other models",
    r"type is \"(Fuse|Replace|Strip|ByteFallback|Metaspace|WordPiece)\"": "a decoder of other models",
    r"(decoder|pre_tokenizer): expected an object, found null|no ByteLevel; only": "no byte-level BPE",
    r"after ByteLevel, which has to be the last": "bytes that are split again",
    r"byte_fallback is true, and vocab": "two ways to spell a byte",
    r"String is empty": "a pattern that matches everywhere",
    r"a TemplateProcessing after another": "a Sequence of two templates",
    r"none for unk_token": "a text with such a byte has no ids",
    r"has id \d+, expected \d+|has the id \d+ of another token": "an added token whose id tokenizers ignores",
}

# A reason with which tokenizers refuses what Glia reads.
LENIENT = {
    r"AddedVocabulary bad split": "an added token that takes the blanks of another",
}

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
REGEXES = [GPT2, LLAMA3, small.QWEN, QWEN35] * 3 + small.REGEXES
STRINGS = [" ", "a", ".", "é", "<|", "'s", "\n", "  ", "\u0120", "e\u0301", "(", "\\", "\U0001F600"]
CONTENTS = small.ADDED + ["<|endoftext|>", "<|im_start|>", "</think>", "\n\n", "    ", "\u0120the", "Straße", "\ufb01", "½", "\u0301",
                          "a", "\U0001F600", "\u200d", "<tool_call>\n", "\x04", "TOKEN", "\u0130x", "\u1e9e", "\ud55c", "\u0344"]
BLANKS = [" ", "  ", "\n", "\t", "\u3000", "\u00a0", "\u200b", "\x85", "\x1c", ""]


def sometimes(rng, p, value, other=None):
    return value if rng.random() < p else other


# ---- components -------------------------------------------------------------------------------------------------


def normalizer(rng):
    forms = [{"type": t} for t in ("NFC", "NFD", "NFKC", "NFKD")]
    odd = [{"type": "Lowercase"}, {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5},
           {"type": "StripAccents"}, {"type": "Prepend", "prepend": "\u2581"}, {"type": "Nmt"}, {"type": "ByteLevel"},
           {"type": "Replace", "pattern": {"String": rng.choice(STRINGS)}, "content": rng.choice(["", "x", "é"])}]
    def one():
        return rng.choice(forms) if rng.random() < 0.97 else rng.choice(odd)
    kind = rng.random()
    if kind < 0.4:
        return None
    return one() if kind < 0.8 else {"type": "Sequence", "normalizers": [one() for _ in range(rng.randrange(4))]}


def step(rng):
    split = {"type": "Split", "behavior": rng.choice(small.BEHAVIORS), "invert": rng.random() < 0.3}
    kind = rng.random()
    if kind < 0.25:
        return {"type": "Digits", "individual_digits": rng.random() < 0.5}
    if kind < 0.4:
        return {**split, "pattern": {"String": rng.choice(STRINGS)}}
    if kind < 0.97:
        return {**split, "pattern": {"Regex": rng.choice(REGEXES)}}
    return rng.choice([{"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"},
                       {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
                       {**split, "pattern": {"String": ""}}, {"type": "BertPreTokenizer"}])


def byte_level(rng, use_regex):
    out = {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.3, "trim_offsets": rng.random() < 0.5, "use_regex": use_regex}
    if use_regex and rng.random() < 0.3:
        del out["use_regex"]
    return out


def pre_tokenizer(rng):
    kind = rng.random()
    if kind < 0.15:
        return byte_level(rng, rng.random() < 0.8)
    if kind < 0.3:  # SmolLM2
        steps = [{"type": "Digits", "individual_digits": rng.random() < 0.8}, byte_level(rng, True)]
    elif kind < 0.45:  # Qwen2, Qwen3, Llama 3
        steps = [{"type": "Split", "pattern": {"Regex": rng.choice(REGEXES[:4])}, "behavior": rng.choice(["Isolated", "Isolated", "Removed"]),
                  "invert": rng.random() < 0.2}, byte_level(rng, False)]
    else:
        steps = [step(rng) for _ in range(rng.randrange(4))] + [byte_level(rng, rng.random() < 0.4)]
    if rng.random() < 0.02:
        rng.shuffle(steps)
    if rng.random() < 0.1:
        steps = [{"type": "Sequence", "pretokenizers": steps[:1]}] + steps[1:]
    return {"type": "Sequence", "pretokenizers": steps}


def post_processor(rng, added):
    def one():
        kind = rng.random()
        return {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.5, "trim_offsets": rng.random() < 0.5,
                "use_regex": rng.random() < 0.5} if kind < 0.4 else small.make_template(rng, added)
    kind = rng.random()
    if kind < 0.3:
        return None
    return one() if kind < 0.7 else {"type": "Sequence", "processors": [one() for _ in range(rng.randrange(3))]}


def decoder(rng):
    own = {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.5, "trim_offsets": rng.random() < 0.5, "use_regex": rng.random() < 0.5}
    kind = rng.random()
    if kind < 0.96:
        return own
    return rng.choice([None, {"type": "Sequence", "decoders": [own]}, {"type": "Fuse"}, {"type": "ByteFallback"},
                       {"type": "Sequence", "decoders": [own, {"type": "Fuse"}]}])


# ---- the model and its vocabulary ---------------------------------------------------------------------------------


def spread(rng, vocab):
    """The vocabulary with other ids: shuffled, or with holes, whose tokens have ids above those of added tokens."""
    names, ids = list(vocab), list(range(len(vocab)))
    for i in rng.sample(ids, rng.choice([0, 0, 0, 1, 40])):
        ids[i] += len(ids) + 20
    if rng.random() < 0.5:
        rng.shuffle(names)
    return dict(zip(names, ids))


def model(rng, base):
    vocab, merges = dict(base["vocab"]), [m if isinstance(m, list) else m.split(" ") for m in base["merges"]]
    if rng.random() < 0.25:  # bytes without a token
        letters = [t for t in vocab if len(t) == 1]
        gone = set(rng.sample(letters, rng.choice([1, 3, 30])))
        merges = [m for m in merges if not gone & set("".join(m))]
        vocab = {t: i for i, t in enumerate(t for t in vocab if not gone & set(t))}
    if rng.random() < 0.2:  # merges whose order is not that of their making
        rng.shuffle(merges)
    if rng.random() < 0.2:  # fewer merges than tokens, as with ignore_merges
        merges = rng.sample(merges, len(merges) // 2)
    if rng.random() < 0.1 and merges:
        merges.insert(rng.randrange(len(merges)), rng.choice(merges))
    if rng.random() < 0.2:
        for t in rng.sample(["<unk>", "\u0120\u0120\u0120", "日本", "a b", "the the", "\u2581x", ""], 3):
            vocab.setdefault(t, max(vocab.values()) + 1)
    if rng.random() < 0.3:
        vocab = spread(rng, vocab)
    if rng.random() < 0.03:
        merges.append(["zq", "zq"])
    out = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
           "fuse_unk": rng.random() < 0.2, "byte_fallback": rng.random() < 0.1, "ignore_merges": rng.random() < 0.3, "vocab": vocab,
           "merges": [" ".join(m) for m in merges] if rng.random() < 0.5 else merges}
    if rng.random() < 0.2:
        out["unk_token"] = rng.choice(["<unk>", "a", "\u0120the", "no such token"])
    if rng.random() < 0.04:
        out.update(rng.choice([{"dropout": 0.0}, {"dropout": 0.5}, {"continuing_subword_prefix": ""}, {"continuing_subword_prefix": "##"},
                               {"end_of_word_suffix": "</w>"}, {"end_of_word_suffix": ""}]))
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"):
        if not out[key] and rng.random() < 0.1:
            del out[key]
    return out


def added_tokens(rng, vocab):
    """Added tokens whose ids are those that tokenizers gives them. Of contents that normalize to the same one, tokenizers
    finds any, by the order of its hash table; such a pair is left out. So is a token of the vocabulary that normalization
    changes: Glia decodes to the new content, as tokenizers does, but ignore_merges no longer finds the old one."""
    added, new = [], len(vocab)
    unlike = {unicodedata.normalize("NFKD", content): content for content in rng.sample(CONTENTS, rng.choice([0, 1, 3, 9]))}
    for normal, content in unlike.items():
        if content in vocab and normal != content:
            continue
        flags = {key: rng.random() < 0.35 for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        ident = vocab.get(content, new)
        if rng.random() < 0.01:
            ident = rng.randrange(len(vocab) + 9)
        added.append({"id": ident, "content": content, **flags})
        new = max([new, *(t["id"] + 1 for t in added if t["id"] >= len(vocab))])
    return added


def tokenizer(rng, base):
    m = model(rng, base["model"])
    added = added_tokens(rng, m["vocab"])
    out = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer(rng),
           "pre_tokenizer": pre_tokenizer(rng), "post_processor": post_processor(rng, added), "decoder": decoder(rng), "model": m}
    keys = list(out)
    if rng.random() < 0.2:
        rng.shuffle(keys)
    return {k: out[k] for k in keys}


# ---- texts ------------------------------------------------------------------------------------------------------


def text(rng, added):
    def token():
        return rng.choice(BLANKS) + rng.choice(added)["content"] + rng.choice(BLANKS) if added else ""
    kinds = [lambda: compare_tokenizer.word(rng), lambda: rng.choice(compare_tokenizer.EMOJI), lambda: rng.choice(compare_tokenizer.SPACES),
             lambda: str(rng.randrange(10 ** rng.randint(1, 9))), lambda: compare_tokenizer.code_point(rng), token, token,
             lambda: rng.choice(CONTENTS), lambda: rng.choice(small.CORPUS), lambda: rng.choice(small.ALPHABET) * rng.choice([1, 2, 70]),
             lambda: rng.choice(" \n\t") * rng.choice([3, 130]), lambda: chr(rng.randrange(32)),
             lambda: "".join(rng.choice(small.ALPHABET) for _ in range(rng.randrange(12)))]
    return "".join(rng.choice(kinds)() + rng.choice(("", "", " ")) for _ in range(rng.choice([1, 4, 12])))


# ---- both readers -----------------------------------------------------------------------------------------------


def theirs(source, texts, lists):
    try:
        t = tokenizers.Tokenizer.from_str(json.dumps(source))
    except BaseException as error:  # whatever stops tokenizers is the verdict, a panic too
        return None, str(error)
    out = []
    try:
        for special in (False, True):
            out += [t.encode(one, add_special_tokens=special).ids for one in texts]
    except BaseException as error:  # no id for unk_token; a panic
        return None, str(error)
    for skip in (False, True):
        out += [t.decode(ids, skip_special_tokens=skip) for ids in lists]
    return out, None


def lines_of(glia, command, folder, values, *flags):
    given = "".join(json.dumps(v) + "\n" for v in values)
    done = subprocess.run([glia, command, folder, *flags], input=given.encode(), capture_output=True, timeout=120)
    if done.returncode or done.stderr:
        said = done.stderr.decode(errors="replace").strip()
        wrong = "" if done.returncode in (1, 2) and said.startswith("glia: ") and "\n" not in said else f"!exit {done.returncode}: "
        return None, wrong + (said or done.stdout.decode()[:300])
    return [json.loads(line) for line in done.stdout.splitlines()], None


def ours(glia, folder, texts, lists):
    out = []
    for command, values, flag in (("tokenize", texts, "--special"), ("detokenize", lists, "--skip-special-tokens")):
        for flags in ((), (flag,)):
            lines, reason = lines_of(glia, command, folder, values, *flags)
            if reason:
                return None, reason
            out += lines
    return out, None


def listed(table, reason):
    return next((why for pattern, why in table.items() if re.search(pattern, reason)), None)


def judge(us, our_reason, them, their_reason, inputs):
    if our_reason and our_reason.startswith("!"):
        return "BROKEN", our_reason
    if us and them:
        for given, a, b in zip(inputs, us, them, strict=True):
            if a != b:
                return "DIFFERENT", f"{given!r:.300}: {a!r:.300}, want {b!r:.300}"
        return "same", ""
    if not us and not them:
        return "refused", our_reason
    reason, table = (our_reason, STRICT) if them else (their_reason, LENIENT)
    known, kind = listed(table, reason), "strict" if them else "lenient"
    return (kind, known) if known else (kind.upper(), reason)


def one(glia, rng, base):
    source = tokenizer(rng, base)
    texts = [text(rng, source["added_tokens"]) for _ in range(25)]
    top = max([*source["model"]["vocab"].values(), *(t["id"] for t in source["added_tokens"])])
    lists = [[rng.randrange(top + 1) for _ in range(rng.randrange(12))] for _ in range(15)]
    with tempfile.TemporaryDirectory(prefix="glia-walk-") as folder:
        pathlib.Path(folder, "tokenizer.json").write_text(json.dumps(source, ensure_ascii=rng.random() < 0.5), encoding="utf-8")
        verdict, detail = judge(*ours(glia, folder, texts, lists), *theirs(source, texts, lists), 2 * texts + 2 * lists)
    parts = {k: v for k, v in source.items() if k not in ("model", "version", "truncation", "padding")}
    options = {k: v for k, v in source["model"].items() if k not in ("vocab", "merges")}
    return verdict, detail, json.dumps({**parts, "model": options}, ensure_ascii=False)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--count", type=int, default=500)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", type=int, help="this number alone")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    base, counts, reasons = small.train(), collections.Counter(), collections.Counter()
    for i in [args.only] if args.only is not None else range(args.count):
        verdict, detail, source = one(args.glia, random.Random(f"{args.seed}/{i}"), base)
        counts[verdict] += 1
        if verdict in ("strict", "lenient"):
            reasons[verdict, detail] += 1
        if args.verbose or verdict.isupper():
            print(f"{i} {verdict}: {detail}\n    {source}", flush=True)
    for (verdict, why), n in sorted(reasons.items()):
        print(f"{n:5} {verdict}: {why}")
    print(f"tokenizers {tokenizers.__version__}: " + ", ".join(f"{n} {v}" for v, n in sorted(counts.items())))
    sys.exit(1 if any(v.isupper() for v in counts) else 0)


if __name__ == "__main__":
    main()
