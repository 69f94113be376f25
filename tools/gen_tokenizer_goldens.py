#!/usr/bin/env python3
"""Write tests/golden/tokenizer_cases.json: odd tokenizers with what they must give.

    python tools/gen_tokenizer_goldens.py > tests/golden/tokenizer_cases.json
    python tools/gen_tokenizer_goldens.py incomplete > tests/golden/tokenizer_incomplete.json

needs `pip install tokenizers==0.23.3`, the oracle. One small byte-level BPE is trained
on the words below. Each case of the first file sets other normalizers, pre-tokenizers,
added tokens and post-processors on it, and holds texts with their ids, and ids with
their decoding. Each case of the second file takes tokens of single bytes out of the
vocabulary. Seeded: the same file every time.
"""
import copy
import json
import random
import sys

from tokenizers import Tokenizer, __version__, models, pre_tokenizers, trainers

CORPUS = ["The quick brown fox doesn't jump; the lazy dog's asleep.", "1234567890 3.14159 2025-07-08",
          "  int main(void) {\n\treturn 0;\n}\n", "Größe, Straße, été, naïve, Ångström", "中文字符和标点。ひらがなカタカナ",
          "한국어 조합형 가각", "नमस्ते क्षत्रिय", "<|im_start|>user\n\n", "don't we'll I'm they've HE'S"] * 3
ALPHABET = ("aAbBsStTkK1230 \t\n\r'’.,-_<>|éßÉſK\u0301\u0323\u0344가각ᄀ\u1161\u11a8\u212b\u2126\u3000\u00a0\u180e\u200b"
            "\u200d\ufeff中文あがか\u3099😀👍🏽\u0915\u093c\u0958\u0e33ﬁ²½①\u2028\x85\x0b\u1c89\U00010d41\U000323ad_٣")
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
REGEXES = [QWEN, QWEN, r"\p{N}{1,3}", r"\s+", r"\w+|[^\w\s]+", r"\b", r"\d+", r"[\r\n]+", r"^", r"$", r"a*",
           r"(?=\p{Lu})", r"(?<=\p{L})\p{N}", r"[\p{P}\p{S}]", r"\W", r"\B", r"[一-龥ぁ-ん]+", r".", r"[^a-z]{2,}?",
           r"\p{Han}+", r"(?i:'K|s)", r"[A-Z]?+[a-z]++", r"\p{^L}+", r"\x{4e2d}|\u0301", r"\D+", r"(?>a+)b", r"\S+\s?"]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
ADDED = ["<|a|>", "<|a", "<|a|>b", "ab", "é", "e\u0301", " x", "K", "中文", "s", "\u3000q", "<think>", "ſ", "가", "the"]


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return json.loads(tokenizer.to_str())


def make_pre_tokenizer(rng):
    steps = []
    for _ in range(rng.randrange(0, 3)):
        kind = rng.randrange(4)
        split = {"type": "Split", "behavior": rng.choice(BEHAVIORS), "invert": rng.random() < 0.3}
        if kind == 0:
            steps.append({"type": "Digits", "individual_digits": rng.random() < 0.5})
        elif kind == 1:
            steps.append({**split, "pattern": {"String": rng.choice([" ", "a", ".", "é", "<|", "'s"])}})
        else:
            steps.append({**split, "pattern": {"Regex": rng.choice(REGEXES)}})
    steps.append({"type": "ByteLevel", "add_prefix_space": rng.random() < 0.4, "trim_offsets": True,
                  "use_regex": rng.random() < 0.4})
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}


def make_added(rng, vocab):
    added = []
    for content in rng.sample(ADDED, rng.randrange(0, 8)):
        new = len(vocab) + sum(token["id"] >= len(vocab) for token in added)
        flags = {key: rng.random() < 0.35 for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        added.append({"id": vocab.get(content, new), "content": content, **flags})
    return added


def make_template(rng, added):
    tokens = rng.sample(added, min(2, len(added)))
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    for token in tokens:
        single.insert(rng.randrange(len(single) + 1), {"SpecialToken": {"id": token["content"], "type_id": 0}})
    return {"type": "TemplateProcessing", "single": single,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token["content"]: {"id": token["content"], "ids": [token["id"]],
                                                  "tokens": [token["content"]]} for token in tokens}}


def make_case(rng, base):
    added = make_added(rng, base["model"]["vocab"])
    forms = [None, {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"},
             {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "NFC"}]}]
    change = {"normalizer": rng.choice(forms), "pre_tokenizer": make_pre_tokenizer(rng), "added_tokens": added,
              "post_processor": make_template(rng, added) if rng.random() < 0.5 else None}
    ignore_merges = rng.random() < 0.2
    full = {**copy.deepcopy(base), **change}
    full["model"]["ignore_merges"] = ignore_merges
    oracle = Tokenizer.from_str(json.dumps(full))
    rows = []
    for _ in range(5):
        pieces = list(ALPHABET) + [token["content"] for token in added] * 3
        text = "".join(rng.choices(pieces, k=rng.randrange(30)))
        special, skip = rng.random() < 0.5, rng.random() < 0.5
        ids = oracle.encode(text, add_special_tokens=special).ids
        noise = [rng.randrange(len(base["model"]["vocab"]) + 9) for _ in range(8)] + ids[:4]
        rows.append({"text": text, "special": special, "ids": ids, "noise": noise, "skip_special": skip,
                     "decoded": oracle.decode(noise, skip_special_tokens=skip)})
    return {"set": change, "ignore_merges": ignore_merges, "rows": rows}


def spelled(text):
    """The text in GPT-2's spelling of bytes."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)[0][0]


def make_incomplete_case(rng, base):
    """A vocabulary without tokens for some bytes; no merge has these bytes."""
    merged = {token for pair in base["model"]["merges"] for token in pair}
    alone = [c for c in ALPHABET + "\x04\x00\x1f~" if not merged & set(spelled(c))]
    drop = sorted({byte for c in rng.sample(alone, 8) for byte in spelled(c)} - {"t"})
    model = {"unk_token": rng.choice([None, "t", "~~~"]), "fuse_unk": rng.random() < 0.5}
    change = {"normalizer": None, "added_tokens": [], "post_processor": None,
              "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}}
    full = {**copy.deepcopy(base), **change}
    full["model"].update(model)
    for byte in drop:
        del full["model"]["vocab"][byte]
    full["model"]["vocab"]["~~~"] = 500
    oracle = Tokenizer.from_str(json.dumps(full))
    rows = []
    for k in range(5):
        text = "".join(rng.choices(alone + ["th", "the", " ", "a"] * 4, k=rng.randrange(12) if k else 90))
        rows.append({"text": text, "ids": oracle.encode(text).ids})
    return {"set": change, "model": model, "drop": drop, "rows": rows}


def main():
    rng = random.Random(7)
    base = train()
    base["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    make, n = (make_incomplete_case, 12) if sys.argv[1:] == ["incomplete"] else (make_case, 60)
    print('{"about": "%s, tokenizers %s",' % (" ".join(["tools/gen_tokenizer_goldens.py"] + sys.argv[1:]), __version__))
    print('"base": ' + json.dumps(base, separators=(",", ":")) + ',\n"cases": [')
    print(",\n".join(json.dumps(make(rng, base), separators=(",", ":")) for _ in range(n)) + "\n]}")


if __name__ == "__main__":
    sys.exit(main())
