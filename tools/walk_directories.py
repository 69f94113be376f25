#!/usr/bin/env python3
"""Does Glia read the files of a model's directory as Transformers reads them?

    walk_directories.py [--glia build/glia] [--count 400] [--seed 1] [--only TEXT] [--verbose]

Two kinds of cases. Layouts of weights: shards, indices, names with other prefixes, mixed number
formats, surplus tensors; logits are compared as in tools/walk_configs.py. Tokenizer files: a seeded
walk over tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja,
additional_chat_templates/ and config.json around one small tokenizer.json; ids, decoded text and a
rendered conversation are compared. The verdicts are those of tools/walk_configs.py; anything in
capitals makes the exit status 1.

Needs torch, transformers and safetensors.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import config_edits as edits  # noqa: E402
import gen_special_goldens as special  # noqa: E402
import walk_configs as configs  # noqa: E402
from gen_tokenizer_goldens import train  # noqa: E402
from walk_tokenizers import lines_of  # noqa: E402

# A reason with which Glia refuses what Transformers reads, and why it should.
STRICT = {
    r"is in another shard, too|without the prefix model., too": "two values of one weight",
    r"is not a file name in the model's directory": "a shard in another directory",
    r"tensor model.embed_tokens.weight is missing": "names with a prefix twice",
    r"which Glia does not read|transformers_weights is": "weights that are not model.safetensors",
    r"corrupt_output is true": "text that is not the text of the tokens",
    r"\"chat_template\": expected a string": "a template that is no template",
}

# A reason with which Transformers refuses what Glia reads.
LENIENT = {
    r"KeyError: 'metadata'": "an index without metadata",
    r"UnpicklingError": "shards whose names do not end in .safetensors",
    r"'NoneType' object has no attribute 'from_pretrained'": "a class that this Python lacks",
    r"'None' is not an instance of 'bool'": "add_prefix_space null is false",
    r"Cannot use chat template functions|is not set": "a template that is chosen by name",
}

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


# ---- layouts of weights: name, function of (directory, tensors, config) -----------------------------------------


def put(at, name, tensors, metadata=None):
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, str(at / name), metadata=metadata or {"format": "pt"})


def index(at, weight_map, **keys):
    (at / "model.safetensors.index.json").write_text(json.dumps({**{"metadata": {"total_size": 1}, "weight_map": weight_map}, **keys}))


def renamed(change):
    return lambda at, t, c: put(at, "model.safetensors", {change(k): v for k, v in t.items()})


def added(name, tensor):
    return lambda at, t, c: put(at, "model.safetensors", {**t, name: tensor})


def beside(name):
    def layout(at, t, c):
        put(at, "model.safetensors", t)
        put(at, name, {"x": torch.ones(2)})
    return layout


def sharded(names=SHARDS, twice=0, swap=False, extra=(), leave_out=0, metadata=True, missing=False, single=False):
    def layout(at, t, c):
        order = sorted(t)
        halves = [{k: t[k] for k in order[i::2]} for i in (0, 1)]
        for k in order[:2 * twice:2]:
            halves[1][k] = t[k] * 2
        where = {k: name for name, half in zip(reversed(names) if swap else names, halves) for k in half}
        for k in order[:leave_out]:
            del where[k]
        for name, half in list(zip(names, halves))[:1 if missing else 2]:
            (at / name).parent.mkdir(exist_ok=True)
            put(at, name, half)
        if single:
            put(at, "model.safetensors", {k: v * 1.5 for k, v in t.items()})
        index(at, {**where, **{k: names[0] for k in extra}}, **({} if metadata else {"metadata": None}))
        if not metadata:
            tree = json.loads((at / "model.safetensors.index.json").read_text())
            del tree["metadata"]
            (at / "model.safetensors.index.json").write_text(json.dumps(tree))
    return layout


def pickled(at, t, c):
    torch.save(t, at / "pytorch_model.bin")


def elsewhere(at, t, c):
    put(at, "other.safetensors", t)
    (at / "config.json").write_text(json.dumps({**c, "transformers_weights": "other.safetensors"}))


def mixed(at, t, c):
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.float32]
    put(at, "model.safetensors", {k: v.to(kinds[i % 4]) for i, (k, v) in enumerate(sorted(t.items()))})


def two_names(at, t, c):
    put(at, "model.safetensors", {**t, **{k.removeprefix("model."): v * 2 for k, v in t.items() if k.startswith("model.")}})


def misshapen(at, t, c):
    put(at, "model.safetensors", {k: v[None] if k == "model.norm.weight" else v for k, v in t.items()})


def bare(k):
    return k.removeprefix("model.")


LAYOUTS = {
    "one file": renamed(str), "no metadata": lambda at, t, c: save_file(t, str(at / "model.safetensors")), "mixed formats": mixed,
    "format tf": lambda at, t, c: put(at, "model.safetensors", t, {"format": "tf"}), "shards": sharded(),
    "odd names of shards": sharded(("a.safetensors", "z weights.safetensors")), "shards without suffix": sharded(("a", "b")),
    "one file and shards": sharded(single=True), "index swaps shards": sharded(swap=True), "a tensor in both shards": sharded(twice=1),
    "index has a name too many": sharded(extra=["model.extra.weight"]), "index lacks a name": sharded(leave_out=1),
    "a shard is missing": sharded(missing=True), "index without metadata": sharded(metadata=False),
    "shards below": sharded(("sub/a.safetensors", "sub/b.safetensors")), "pickle": pickled, "transformers_weights": elsewhere,
    "other name": lambda at, t, c: put(at, "model.fp16.safetensors", t), "adapter beside": beside("adapter_model.safetensors"),
    "consolidated beside": beside("consolidated.safetensors"), "two names": two_names, "norm of two dimensions": misshapen,
    **{f"prefix {p}": renamed(lambda k, p=p: p + k) for p in ("module.", "_orig_mod.", "base_model.model.", "model.", "language_model.",
                                                             "_fsdp_wrapped_module.")},
    "prefix transformer.": renamed(lambda k: "transformer." + bare(k) if k != bare(k) else k), "bare names": renamed(bare),
    "bare names in layer 1": renamed(lambda k: bare(k) if "layers.1." in k else k),
    "wrapped modules": renamed(lambda k: k.replace("self_attn.", "_checkpoint_wrapped_module.self_attn.")),
    "norm.gamma": renamed(lambda k: k.replace("norm.weight", "norm.gamma")), "an empty tensor": added("model.empty", torch.zeros(0)),
    "a scalar": added("model.scalar", torch.tensor(1.0)), "integers": added("model.ids", torch.arange(3)),
    "rotary buffer": added("model.rotary_emb.inv_freq", torch.ones(3)), "bias of the head": added("lm_head.bias", torch.ones(48)),
}


def try_layout(glia, base, name):
    config = edits.apply(base)
    tensors = configs.weights_of(config, base)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        at = pathlib.Path(folder)
        (at / "config.json").write_text(json.dumps(config))
        LAYOUTS[name](at, dict(tensors), config)
        us, ours = configs.ours(glia, folder, pathlib.Path(other, "logits.safetensors"))
        return judge(us, ours, *configs.theirs(folder), configs.difference)


# ---- tokenizer files ----------------------------------------------------------------------------------------------

SHOW = ("{{ '|'.join([bos_token, eos_token, pad_token, unk_token, image_token, x_token] | map('string')) }}%s"
        "{%% for m in messages %%}[{{ m.role }}]{{ m.content }}{%% endfor %%}{{ tools is none }}{{ add_generation_prompt }}")
TEMPLATE_FORMS = [None, None, SHOW % "1", [{"name": "default", "template": SHOW % "2"}, {"name": "tool_use", "template": SHOW % "3"}],
                  [{"name": "tool_use", "template": SHOW % "4"}], [{"name": "default", "template": SHOW % "5"}], [], "", 3,
                  [{"name": "rag", "template": SHOW % "7"}, {"name": "default", "template": SHOW % "8"}]]
ODD_KEYS = [{"model_max_length": 10 ** 30}, {"clean_up_tokenization_spaces": True}, {"add_bos_token": True}, {"add_eos_token": True},
            {"tokenizer_class": None}, {"use_default_system_prompt": False}, {"legacy": False}, {"sp_model_kwargs": {}}, {"split_special_tokens": True},
            {"padding_side": "left"}, {"some_key": {"a": [1]}}, {"errors": "ignore"},
            {"name_or_path": "x"}, {"special_tokens_map_file": "/x"}, {"tokenizer_file": None}, {"add_prefix_space": True}, {"add_prefix_space": None},
            {"bos_token": None}, {"from_slow": True}, {"backend": "tokenizers"}, {"max_length": 2, "truncation_side": "left"}]
CLASSES = ["PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer", "Qwen2TokenizerFast",
           "GPT2Tokenizer", "GPT2TokenizerFast", "NoSuchTokenizer", "Qwen3Tokenizer", "SmolLM3Tokenizer"]


def tokenizer_files(rng):
    config = {}
    for case in rng.sample(special.CASES, rng.choice([0, 1, 1, 2, 3])):
        config.update(case[0] or {})
    for key in ("tokenizer_class", "auto_map"):  # auto_map asks for code of its own
        config.pop(key, None)
    for keys in rng.sample(ODD_KEYS, rng.randrange(3)):
        config.update(keys)
    if rng.random() < 0.6:
        config["tokenizer_class"] = rng.choice(CLASSES)
    template = rng.choice(TEMPLATE_FORMS)
    if template is not None:
        config["chat_template"] = template
    files = {"config.json": {"model_type": rng.choice(["llama", "qwen2", "qwen3", "smollm3"])}}
    for case in rng.sample(special.CASES, 3):
        files.update(case[1] if len(case) > 1 and rng.random() < 0.5 else {})
    files.pop("added_tokens.json", None)  # in combinations it depends on how a token is spelled; the goldens have it alone
    if rng.random() < 0.95:
        files["tokenizer_config.json"] = config
    if rng.random() < 0.1:
        files["config.json"]["tokenizer_class"] = rng.choice(CLASSES)
    if rng.random() < 0.25:
        files["chat_template.jinja"] = SHOW % "a"
    for name in ("tool_use", "rag", "default"):
        if rng.random() < 0.07:
            files[f"additional_chat_templates/{name}.jinja"] = SHOW % name
    return files


CONVERSATIONS = [{"messages": [{"role": "user", "content": "Hi <x> there"}], "add_generation_prompt": True},
                 {"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function", "function": {"name": "f"}}]}]


def their_text(t, c):
    try:
        return t.apply_chat_template(c["messages"], tools=c.get("tools"), tokenize=False, add_generation_prompt=c.get("add_generation_prompt", False))
    except Exception:  # Glia has its own words
        return None


def their_tokenizer(folder):
    try:
        with configs.quiet():
            t = transformers.AutoTokenizer.from_pretrained(folder)
            plain, full = (t(special.TEXT, add_special_tokens=s)["input_ids"] for s in (False, True))
            return [plain, full, t.decode(plain, skip_special_tokens=True), t.decode(plain), *(their_text(t, c) for c in CONVERSATIONS)], None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}".replace("\n", " ")


def our_tokenizer(glia, folder):
    out = []
    for command, values, flags in (("tokenize", [special.TEXT], ()), ("tokenize", [special.TEXT], ("--special",))):
        lines, reason = lines_of(glia, command, folder, values, *flags)
        if reason:
            return None, reason
        out += lines
    for flags in (("--skip-special-tokens",), ()):
        out += lines_of(glia, "detokenize", folder, out[:1], *flags)[0]
    for c in CONVERSATIONS:
        lines, reason = lines_of(glia, "template", folder, [c])
        out.append(None if reason or isinstance(lines[0], dict) else lines[0])
    return out, None


def unequal(us, them):
    return next((f"part {i} is {a!r:.200}, theirs is {b!r:.200}" for i, (a, b) in enumerate(zip(us, them, strict=True)) if a != b), None)


def try_files(glia, source, files):
    with tempfile.TemporaryDirectory() as folder:
        for name, value in {"tokenizer.json": source, **files}.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(value if name.endswith(".jinja") else json.dumps(value))
        return judge(*our_tokenizer(glia, folder), *their_tokenizer(folder), unequal)


# ---- both ---------------------------------------------------------------------------------------------------------


def judge(us, our_reason, them, their_reason, difference):
    if our_reason and our_reason.startswith("!"):
        return "BROKEN", our_reason
    if us and them:
        what = difference(us, them)
        return ("DIFFERENT", what) if what else ("same", "")
    if not us and not them:
        return "refused", our_reason
    reason, table, kind = (our_reason, STRICT, "strict") if them else (their_reason, LENIENT, "lenient")
    known = configs.listed(table, reason)
    return (kind, known) if known else (kind.upper(), reason)


def cases(args):
    for i, name in enumerate(LAYOUTS):
        base = edits.ALL[i % len(edits.ALL)]
        yield f"{base}: {name}", lambda base=base, name=name: try_layout(args.glia, base, name)
    source = special.make_base()
    for i in range(args.count):
        files = tokenizer_files(random.Random(f"{args.seed}/{i}"))
        yield f"{i}: {json.dumps(files)}", lambda files=files: try_files(args.glia, source, files)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--count", type=int, default=400, help="directories of the random walk")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", default="", help="run the cases whose name contains TEXT")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    counts, reasons = collections.Counter(), collections.Counter()
    for name, one in cases(args):
        if args.only not in name:
            continue
        verdict, detail = one()
        counts[verdict] += 1
        if verdict in ("strict", "lenient"):
            reasons[verdict, detail] += 1
        if args.verbose or verdict.isupper():
            print(f"{verdict}: {name}: {detail}", flush=True)
    for (verdict, why), n in sorted(reasons.items()):
        print(f"{n:5} {verdict}: {why}")
    print(f"Transformers {transformers.__version__}: " + ", ".join(f"{n} {v}" for v, n in sorted(counts.items())))
    sys.exit(1 if any(v.isupper() for v in counts) else 0)


if __name__ == "__main__":
    main()
