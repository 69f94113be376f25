#!/usr/bin/env python3
"""What tests/check_lora.c compares with, by PEFT.

  tools/gen_lora_goldens.py errors DATA > tests/golden/lora_errors.json
  tools/gen_lora_goldens.py adapters DATA tests/golden/lora [NAME ...]
  tools/gen_lora_goldens.py quantized QUANTIZED tests/golden/lora

DATA is the directory of ../shared/data/lora. `adapters` makes random adapters of kinds that
DATA lacks, on its bases, and their logits in float64. `quantized` makes one on a checkpoint of
../shared/data/quantized whose groups are not in the order of the columns; the logits are those
of its dequantised weights with the product of B and A added. `errors`: for each adapter that PEFT reads and each
number format: the mean and the largest absolute difference of PEFT's logits, computed in
that format with eager attention, from the float64 golden. Adapters that PEFT ignores or
does not read are left out. Needs torch, transformers, peft and safetensors.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import peft
import torch
import transformers
from peft import BdLoraConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

TOLERANCE = 1e-3  # of float32; PEFT is farther from the golden where it ignores the adapter


def errors(adapter, base, dtype):
    golden = load_file(adapter / "golden.safetensors")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        logits = model(input_ids=golden["ids"].long()[None]).logits[0].double()
    error = (logits - golden["logits_f64"].double()).abs()
    return float(error.mean()), float(error.max())


INVOCATION = [7, 11]  # tokens of "activated"; they occur twice
ADAPTERS = {
    "dora-embed": ("qwen3-tied", {"use_dora": True, "target_modules": ["embed_tokens", "down_proj"]}),
    "dora-embed-untied": ("qwen3-untied", {"use_dora": True, "target_modules": ["embed_tokens", "lm_head", "v_proj"],
                                           "use_rslora": True}),
    "activated": ("qwen3-tied", {"target_modules": "all-linear", "alora_invocation_tokens": INVOCATION}),
    "norms": ("qwen3-tied", {"target_modules": ["k_proj"], "modules_to_save": ["norm"]}),  # PEFT saves q_norm, too
    "tokens-of-head": ("qwen3-untied", {"target_modules": ["o_proj"],
                                        "trainable_token_indices": {"embed_tokens": [2, 9], "lm_head": [1, 9, 30]}}),
    "block-diagonal": ("qwen3-tied", {"r": 4, "target_modules": ["q_proj", "o_proj", "up_proj"], "use_bdlora": BdLoraConfig(
        target_modules_bd_a=["o_proj"], target_modules_bd_b=["q_proj"], nblocks=2, match_strict=False)}),
}


def finish(out, base, ids, logits):
    save_file({"ids": ids.int(), "logits_f64": logits.float()}, out / "golden.safetensors")
    (out / "README.md").unlink()
    config = json.loads((out / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"bases/{base.name}"
    (out / "adapter_config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}, indent=1))


def make_adapter(base, out, options):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(**({"r": 3, "lora_alpha": 5, "task_type": "CAUSAL_LM"} | options)))
    for name, p in model.named_parameters():
        if "lora_magnitude" in name or "modules_to_save" in name:
            p.data *= 1 + 0.2 * torch.randn_like(p)
        elif "lora_" in name or "trainable_tokens" in name:
            p.data = 0.2 * torch.randn_like(p)
    model.save_pretrained(out, save_embedding_layers=False)
    ids = torch.randint(0, model.config.vocab_size, (48,))
    if "alora_invocation_tokens" in options:
        ids[[9, 10]] = ids[[23, 24]] = torch.tensor(INVOCATION)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64, attn_implementation="eager")
    with torch.no_grad():
        before = model(input_ids=ids[None]).logits[0]
        logits = PeftModel.from_pretrained(model, out).double()(input_ids=ids[None]).logits[0]
    print(f"{out.name}: the largest change of a logit is {float((logits - before).abs().max()):.3g}")
    finish(out, base, ids, logits)


def make_headless(base, out):
    """Of the model without its head, as embedding models are trained; the head is the base's."""
    torch.manual_seed(3)
    model = AutoModel.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, task_type="FEATURE_EXTRACTION",
                                             target_modules=r"layers\.\d+\.(self_attn\.q_proj|mlp\.up_proj)"))
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = 0.2 * torch.randn_like(p)
    model.save_pretrained(out)
    ids = torch.randint(0, model.config.vocab_size, (48,))
    head = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).lm_head.weight
    model = AutoModel.from_pretrained(base, dtype=torch.float64, attn_implementation="eager")
    with torch.no_grad():
        logits = PeftModel.from_pretrained(model, out).double()(input_ids=ids[None]).last_hidden_state[0] @ head.T
    finish(out, base, ids, logits)


def make_pooled(base, out, group=16):
    """QALoRA, which PEFT has for GPTQ models alone: A multiplies the means of `group` inputs, times their number.
    Here PEFT runs the LoRA adapter that does the same."""
    options = {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"]}
    make_adapter(base, out, options)
    file = out / "adapter_model.safetensors"
    tensors = load_file(file)
    for name, a in tensors.items():
        if "lora_A" in name:
            tensors[name] = a[:, ::group].contiguous()
    whole = {k: v.repeat_interleave(group, 1) * (v.shape[1] / group) if "lora_A" in k else v for k, v in tensors.items()}
    save_file(whole, file)
    config = json.loads((out / "adapter_config.json").read_text())
    ids = torch.randint(0, 100, (48,))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64, attn_implementation="eager")
    with torch.no_grad():
        logits = PeftModel.from_pretrained(model, out).double()(input_ids=ids[None]).logits[0]
    save_file(tensors, file)
    save_file({"ids": ids.int(), "logits_f64": logits.float()}, out / "golden.safetensors")
    (out / "adapter_config.json").write_text(json.dumps(config | {"use_qalora": True, "qalora_group_size": group}, indent=1))


def make_quantized(base, out):
    torch.manual_seed(2)
    c = json.loads((base / "config.json").read_text())
    head, hidden = c["head_dim"] * c["num_attention_heads"], c["hidden_size"]
    shapes = {"self_attn.q_proj": (head, hidden), "mlp.down_proj": (hidden, c["intermediate_size"])}
    tensors = {}
    for module in (f"model.layers.{i}.{m}" for i in range(c["num_hidden_layers"]) for m in shapes):
        rows, columns = shapes[module.split(".", 3)[3]]
        tensors[f"base_model.model.{module}.lora_A.weight"] = 0.2 * torch.randn(2, columns)
        tensors[f"base_model.model.{module}.lora_B.weight"] = 0.2 * torch.randn(rows, 2)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"],
         "base_model_name_or_path": f"quantized/{base.name}"}, indent=1))
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([sys.executable, base.parent / "refdequant.py", base, f"{work}/plain.safetensors"], check=True,
                       stdout=subprocess.DEVNULL)
        weights = load_file(base / "model.safetensors") | load_file(f"{work}/plain.safetensors")
    config = transformers.AutoConfig.for_model(**{k: v for k, v in c.items() if k != "quantization_config"})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    state = model.state_dict()
    for name in state:
        state[name] = weights.get(name, weights.get(name.removesuffix(".weight"), state[name])).double()
    for name, a in tensors.items():
        if "lora_A" in name:
            weight = name.removeprefix("base_model.model.").replace("lora_A.", "")
            state[weight] = state[weight] + 2 * tensors[name.replace("lora_A", "lora_B")].double() @ a.double()
    model.load_state_dict(state)
    ids = torch.randint(0, c["vocab_size"], (48,))
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0]
    save_file({"ids": ids.int(), "logits_f64": logits.float()}, out / "golden.safetensors")


def main():
    what, data = sys.argv[1], pathlib.Path(sys.argv[2])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if what == "adapters":
        for name in sys.argv[4:] or [*ADAPTERS, "headless", "pooled"]:
            if name in ("headless", "pooled"):
                make = {"headless": make_headless, "pooled": make_pooled}[name]
                make(data / "bases/qwen3-tied", pathlib.Path(sys.argv[3]) / name)
                continue
            base, options = ADAPTERS[name]
            make_adapter(data / "bases" / base, pathlib.Path(sys.argv[3]) / name, options)
        return
    if what == "quantized":
        make_quantized(data / "ct-w4a16-actorder", pathlib.Path(sys.argv[3]) / "reordered-columns")
        return
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
