#!/usr/bin/env python3
"""PEFT's own errors on the adapters of the reference data, for tests/check_lora.c.

  tools/gen_lora_goldens.py [DATA] > tests/golden/lora_errors.json

DATA is the directory of ../shared/data/lora. For each adapter that PEFT reads and each
number format: the mean and the largest absolute difference of PEFT's logits, computed in
that format with eager attention, from the float64 golden. Adapters that PEFT ignores or
does not read are left out. Needs torch, transformers, peft and safetensors.
"""
import json
import pathlib
import sys
import warnings

import peft
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-3  # of float32; PEFT is farther from the golden where it ignores the adapter


def errors(adapter, base, dtype):
    golden = load_file(adapter / "golden.safetensors")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        logits = model(input_ids=golden["ids"].long()[None]).logits[0].double()
    error = (logits - golden["logits_f64"].double()).abs()
    return float(error.mean()), float(error.max())


def main():
    data = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/lora")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for adapter in sorted((data / "adapters").iterdir()):
        if not (adapter / "adapter_model.safetensors").exists():
            continue
        config = json.loads((adapter / "adapter_config.json").read_text())
        base = data / "bases" / pathlib.Path(config["base_model_name_or_path"]).name
        row = {"adapter": adapter.name}
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            try:
                row[str(dtype).removeprefix("torch.")] = dict(zip(("mean", "max"), errors(adapter, base, dtype)))
            except Exception as e:  # any exception of a library: PEFT does not have it
                print(f"{adapter.name}, {dtype}: {type(e).__name__}: {e}", file=sys.stderr)
        if row.get("float32", {"max": 1})["max"] < TOLERANCE:
            rows.append(row)
    made = f"tools/gen_lora_goldens.py; peft {peft.__version__}, torch {torch.__version__}, " \
           f"transformers {transformers.__version__}"
    print('{"made": ' + json.dumps(made) + ',\n "errors": [\n  ' + ",\n  ".join(map(json.dumps, rows)) + "\n ]}")


if __name__ == "__main__":
    main()
