#!/usr/bin/env python3
"""Write tests/golden/generation_keys.json: every key that Transformers writes into generation_config.json.

    python tools/gen_generation_goldens.py > tests/golden/generation_keys.json

needs `pip install transformers==5.24.0`. "keys" has each attribute of GenerationConfig with the value that
generate() uses if the file does not set it. "v4" has the keys of version 4.57 that version 5 dropped, from
its source.
"""
import json
import sys

import transformers

V4 = {"return_legacy_cache": None, "generation_kwargs": {}, "cache_config": None, "is_assistant": False,
      "min_p": None, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "num_beam_groups": 1,
      "diversity_penalty": 0.0, "penalty_alpha": None, "dola_layers": None, "low_memory": None,
      "constraints": None, "force_words_ids": None, "renormalize_logits": False, "token_healing": False,
      "output_attentions": False, "output_hidden_states": False, "output_logits": None, "disable_compile": False,
      "max_length": 20, "_from_model_config": True, "_commit_hash": "0123"}


def main():
    keys = {k: v for k, v in transformers.GenerationConfig().to_dict().items() if k != "transformers_version"}
    keys.update(transformers.GenerationConfig._get_default_generation_params())
    json.dump({"about": "tools/gen_generation_goldens.py, transformers " + transformers.__version__, "keys": keys,
               "v4": V4}, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    sys.exit(main())
