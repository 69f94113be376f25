#!/usr/bin/env python3
"""Write tests/golden/configs.jsonl: what Transformers reads in edited configurations.

    gen_config_goldens.py [--out tests/golden/configs.jsonl] [--walk 200]

The first line has the command, the versions and the base configurations. Each other line has
a base, its edits (tools/config_edits.py; "-" takes a key away), and either `theirs`, the
values that Transformers reads and the RoPE frequencies of a forward pass over `positions` ids, or
`error`, the first words with which it refuses. tests/check_config.c reads them.
"""
import argparse
import json
import pathlib
import tempfile

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import config_edits as edits
from walk_configs import quiet, values_of


def ids_of(value):
    return [] if value is None else value if isinstance(value, list) else [value]


def read(config):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(config))
        with quiet():
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager")
            c, dtype = model.config, str(model.config.dtype).removeprefix("torch.")
            model = model.float()
            ids = torch.arange(edits.POSITIONS)[None] % c.vocab_size
            model(ids, use_cache=False)
        values = values_of(model, model.model.rotary_emb)
    if not all(abs(f) < float("inf") for f in values["inv_freq"]):
        raise ValueError("frequencies that are not finite")
    del values["tied"]
    return {**values, "dtype": dtype, "inv_freq": [float(f"{f:.9g}") for f in values["inv_freq"]],
            "tie_word_embeddings": c.tie_word_embeddings, "eos": ids_of(c.eos_token_id), "bos": ids_of(c.bos_token_id),
            "pad": ids_of(c.pad_token_id)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default="tests/golden/configs.jsonl")
    parser.add_argument("--walk", type=int, default=200, help="configurations of the random walk")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    cases = [(edits.ALL[i % len(edits.ALL)], [e]) for i, e in enumerate(edits.EDITS)]
    cases += edits.walk(args.walk, seed=11)
    lines = [{"command": f"gen_config_goldens.py --walk {args.walk}", "transformers": transformers.__version__,
              "torch": torch.__version__, "positions": edits.POSITIONS, "bases": edits.BASES}]
    for base, changes in cases:
        row = {"base": base, "edits": changes}
        try:
            row["theirs"] = read(edits.apply(base, *changes))
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}".replace("\n", " ")[:240]
        lines.append(row)
    args.out.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    print(f"{args.out}: {len(cases)} configurations, {sum('error' in line for line in lines)} refused")


if __name__ == "__main__":
    main()
