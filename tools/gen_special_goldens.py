#!/usr/bin/env python3
"""Write tests/golden/special_tokens.json: what Transformers makes of the files beside tokenizer.json.

    python tools/gen_special_goldens.py > tests/golden/special_tokens.json

needs torch-free `pip install transformers==5.24.0 tokenizers==0.23.3 jinja2`, the oracle. One small
byte-level BPE has the added tokens <a> (special), <b> (not special) and "the" (of the vocabulary).
Each case writes other tokenizer_config.json, special_tokens_map.json and added_tokens.json files, and
holds the ids of a text, the text without special tokens, and the names that chat templates see.
A case that Transformers refuses holds its exception.
"""
import json
import os
import pathlib
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import transformers  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from gen_tokenizer_goldens import train  # noqa: E402

TEXT = "one<a> <b> the<x> ab<y>\n<x>the <z> 1234.\n\n \u095f 56"


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **flags}


def typed(content, **flags):
    return {"__type": "AddedToken", **token(content, **flags)}


# Each row: tokenizer_config.json, other files by name, model_type of config.json (llama).
CASES = [
    ({},), (None,), ({"tokenizer_class": "PreTrainedTokenizerFast"},), ({"tokenizer_class": "NoSuchTokenizer"},),
    ({"tokenizer_class": None},), ({"tokenizer_class": "LlamaTokenizerFast"},),
    # what Transformers 5 saves
    ({"backend": "tokenizers", "bos_token": "<a>", "eos_token": "<b>", "is_local": True, "local_files_only": False,
      "model_max_length": 1000000000000000019884624838656, "pad_token": "<b>", "tokenizer_class": "TokenizersBackend",
      "unk_token": "<a>", "padding_side": "left", "truncation_side": "right", "clean_up_tokenization_spaces": False,
      "model_input_names": ["input_ids"], "processor_class": "X", "response_template": {"a": 1},
      "chat_control_tokens": ["<b>"], "errors": "replace", "max_length": 3, "stride": 0,
      "truncation_strategy": "longest_first", "pad_to_multiple_of": None, "extra_special_tokens": ["<x>"],
      "auto_map": {"AutoTokenizer": ["x.Y", None]}, "response_schema": {}, "legacy": True, "some_key": [1]},),
    # named tokens
    ({"pad_token": "<x>"},), ({"pad_token": "<x>", "eos_token": "<y>", "bos_token": "<z>"},), ({"eos_token": "the"},),
    ({"eos_token": "ab"},), ({"eos_token": "<b>"},), ({"eos_token": ""},), ({"eos_token": None},), ({"eos_token": 3},),
    ({"eos_token": typed("<x>", lstrip=True)},), ({"eos_token": typed("<b>", rstrip=True)},),
    ({"eos_token": typed("<x>", special=False, normalized=True)},), ({"image_token": "<x>"},),
    ({"image_token": typed("<x>")},), ({"add_bos_token": True, "add_eos_token": True, "bos_token": "<a>"},),
    ({"mask_token": "<x>", "cls_token": "<y>", "sep_token": "<z>", "unk_token": "<w>", "image_token": "<v>"},),
    # extra tokens
    ({"extra_special_tokens": ["<x>", "<y>"]},), ({"extra_special_tokens": [typed("<x>", lstrip=True), "<b>"]},),
    ({"extra_special_tokens": {"x_token": "<x>", "image": "<y>"}},),
    ({"extra_special_tokens": {"x_token": typed("<x>", rstrip=True)}},), ({"additional_special_tokens": ["<x>", "ab"]},),
    ({"additional_special_tokens": ["<x>"], "extra_special_tokens": ["<y>"]},),
    ({"additional_special_tokens": ["<x>"], "extra_special_tokens": []},),
    ({"additional_special_tokens": ["<x>"], "extra_special_tokens": {"y_token": "<y>"}},),
    ({"additional_special_tokens": None},), ({"extra_special_tokens": None},), ({"extra_special_tokens": "<x>"},),
    # added_tokens_decoder
    ({"added_tokens_decoder": {}},), ({"added_tokens_decoder": {"900": token("<x>")}},),
    ({"added_tokens_decoder": {"421": token("<y>"), "420": token("<x>"), "1000": token("<z>", special=False)}},),
    ({"added_tokens_decoder": {"420": token("<a>", lstrip=True, rstrip=True)}},),
    ({"added_tokens_decoder": {"420": token("<a>", special=False)}},),
    ({"added_tokens_decoder": {"421": token("<b>", special=True)}},),
    ({"added_tokens_decoder": {"420": token("<x>")}},), ({"added_tokens_decoder": {"5": token("ab", single_word=True)}},),
    ({"added_tokens_decoder": {"421": token("<b>", special=False)}, "eos_token": "<b>"},),
    ({"added_tokens_decoder": {"900": {"content": "<x>"}}},), ({"added_tokens_decoder": {"900": "<x>"}},),
    ({"added_tokens_decoder": {"900": token("<x>", special=False, normalized=True)}, "extra_special_tokens": ["<x>"]},),
    ({"added_tokens_decoder": {}, "eos_token": "<y>"}, {"special_tokens_map.json": {"eos_token": "<x>"}}),
    ({"added_tokens_decoder": {}}, {"added_tokens.json": {"<x>": 423}}),
    # special_tokens_map.json, added_tokens.json
    ({}, {"special_tokens_map.json": {"eos_token": token("<x>", lstrip=True), "bos_token": "<a>"}}),
    ({"eos_token": "<y>"}, {"special_tokens_map.json": {"eos_token": "<x>"}}),
    ({}, {"special_tokens_map.json": {"additional_special_tokens": ["<x>", "<b>"]}}),
    ({"additional_special_tokens": ["<y>"]}, {"special_tokens_map.json": {"additional_special_tokens": ["<x>"]}}),
    ({"extra_special_tokens": ["<y>"]}, {"special_tokens_map.json": {"extra_special_tokens": ["<x>"]}}),
    ({}, {"special_tokens_map.json": {"image_token": "<x>"}}), (None, {"special_tokens_map.json": {"pad_token": "<x>"}}),
    ({}, {"added_tokens.json": {"<x>": 424, "<y>": 423}}), ({"pad_token": "<x>"}, {"added_tokens.json": {"<x>": 423}}),
    ({}, {"added_tokens.json": {"<x>": 420}}), ({}, {"added_tokens.json": {"<a>": 420, "ab": 3}}),
    # the rest
    ({"split_special_tokens": True},), ({"split_special_tokens": False},), ({"split_special_tokens": True, "eos_token": "<b>"},),
    ({"add_prefix_space": True},), ({"tokenizer_class": "Qwen2Tokenizer"},), ({"tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<a>", "unk_token": None, "pad_token": None},),
    ({"tokenizer_class": "GPT2Tokenizer"},), ({"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": True},),
    ({"clean_up_tokenization_spaces": True},), ({"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True},),
    ({}, {}, "qwen2"), ({"tokenizer_class": "PreTrainedTokenizerFast"}, {}, "qwen2"),
    ({"tokenizer_class": "LlamaTokenizerFast", "add_prefix_space": True}, {}, "qwen2"), ({}, {}, "qwen3"),
    ({"tokenizer_class": "PreTrainedTokenizerFast"}, {}, "qwen3"), ({"tokenizer_class": "Qwen2Tokenizer"}, {}, "qwen3"),
    ({"tokenizer_class": "GPT2Tokenizer"}, {}, "qwen3"), ({}, {}, "smollm3"),
    ({"tokenizer_class": "PreTrainedTokenizerFast"}, {}, "smollm3"),
    # a class that is built from the vocabulary has the tokens of added_tokens_decoder alone, and plain special tokens
    ({"added_tokens_decoder": {"5": token("ab", single_word=True)}}, {}, "qwen2"),
    ({"added_tokens_decoder": {"900": token("<x>"), "421": token("<b>", special=False, rstrip=True)}, "eos_token": "<b>"}, {}, "qwen2"),
    ({"eos_token": typed("<x>", lstrip=True), "extra_special_tokens": [typed("<b>", rstrip=True)]}, {}, "qwen2"),
    ({"extra_special_tokens": {"x_token": typed("<x>", rstrip=True)}, "tokenizer_class": "Qwen2Tokenizer"}, {}, "qwen3"),
    # a token that is named twice
    ({"eos_token": typed("<x>", lstrip=True), "pad_token": "<x>"},), ({"eos_token": "<x>", "pad_token": typed("<x>", lstrip=True)},),
    ({"extra_special_tokens": {"x_token": "<x>"}}, {"special_tokens_map.json": {"extra_special_tokens": ["<y>"]}}),
]


def run(base, case):
    with tempfile.TemporaryDirectory() as d:
        files = {"tokenizer.json": base, "config.json": {"model_type": case[2] if len(case) > 2 else "llama"},
                 **(case[1] if len(case) > 1 else {})}
        if case[0] is not None:
            files["tokenizer_config.json"] = case[0]
        for name, value in files.items():
            (pathlib.Path(d) / name).write_text(json.dumps(value))
        row = {"files": {k: json.dumps(v) for k, v in files.items() if k != "tokenizer.json"}}
        try:
            t = transformers.AutoTokenizer.from_pretrained(d)
        except Exception as e:
            return {**row, "refused": type(e).__name__}
        ids = t(TEXT, add_special_tokens=False)["input_ids"]
        return {**row, "ids": ids, "plain": t.decode(ids, skip_special_tokens=True), "named": t.special_tokens_map,
                "extra": t.extra_special_tokens, "special": [t.bos_token_id, t.eos_token_id, t.pad_token_id]}


def make_base():
    """The tokenizer.json of all cases."""
    base = train()
    base["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    base["normalizer"] = None
    base["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, base["pre_tokenizer"]]}
    n = len(base["model"]["vocab"])
    base["added_tokens"] = [{"id": base["model"]["vocab"]["the"], **token("the", special=False, normalized=True)},
                            {"id": n, **token("<a>")}, {"id": n + 1, **token("<b>", special=False)}]
    base["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    return base


def main():
    base = make_base()
    print('{"about": "tools/gen_special_goldens.py, transformers %s, tokenizers %s",' %
          (transformers.__version__, transformers.utils.import_utils.importlib.metadata.version("tokenizers")))
    print('"text": %s,\n"tokenizer": %s,\n"cases": [' % (json.dumps(TEXT), json.dumps(base, separators=(",", ":"))))
    print(",\n".join(json.dumps(run(base, case), separators=(",", ":")) for case in CASES) + "\n]}")


if __name__ == "__main__":
    sys.exit(main())
