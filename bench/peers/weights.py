"""Make random weights of published shapes, and the same weights in each peer's format.

    python weights.py hf MODEL DIR          config.json and model.safetensors (bfloat16)
    python weights.py gguf DIR LLAMA FILE   bfloat16
    python weights.py quantize GGUF LLAMA TYPE FILE
    python weights.py lora DIR SEED OUT     a LoRA adapter of rank 16, as PEFT writes it
    python weights.py lora-gguf DIR LORA FILE   the adapter for llama.cpp
    python weights.py openvino DIR OUT      bfloat16 IR by optimum-intel
    python weights.py openvino-int8 IR OUT  its linear layers as int8 by NNCF
    python weights.py openvino-int4 IR OUT  as int4 in symmetric groups of 128, the head as int8, by NNCF

Matrices have a normal distribution with standard deviation 0.02; norms are 1. This
program writes their GGUF itself, since llama.cpp's converter needs a published tokenizer. That
converter, in the directory LLAMA, writes the GGUF of a published model.
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

COMMON = {"attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02,
          "rms_norm_eps": 1e-06, "rope_scaling": None, "sliding_window": None, "use_sliding_window": False,
          "max_window_layers": 28, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 128, "vocab_size": 151936,
         "max_position_embeddings": 40960, "rope_theta": 1000000, "num_attention_heads": 16,
         "num_key_value_heads": 8, "num_hidden_layers": 28, "bos_token_id": 151643, "eos_token_id": 151645}
# From the published config.json of each model.
MODELS = {
    "qwen3-0.6b": {**COMMON, **QWEN3, "hidden_size": 1024, "intermediate_size": 3072},
    "qwen3-1.7b": {**COMMON, **QWEN3, "hidden_size": 2048, "intermediate_size": 6144},
    "smollm3-3b": {**COMMON, "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3",
                   "hidden_size": 2048, "intermediate_size": 11008, "vocab_size": 128256,
                   "max_position_embeddings": 65536, "rope_theta": 5000000.0, "num_attention_heads": 16,
                   "num_key_value_heads": 4, "num_hidden_layers": 36, "bos_token_id": 128000,
                   "eos_token_id": 128012, "pad_token_id": 128004, "mlp_bias": False, "pretraining_tp": 2,
                   "no_rope_layer_interval": 4, "no_rope_layers": [int(i % 4 != 3) for i in range(36)],
                   "layer_types": ["full_attention"] * 36},
}

LORA_RANK = 16


def shapes(c):
    """Name and shape of every tensor, in the order of computation."""
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    head = c.get("head_dim", hidden // c["num_attention_heads"])
    q, kv = head * c["num_attention_heads"], head * c["num_key_value_heads"]
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", (hidden,)
        yield at + "self_attn.q_proj.weight", (q, hidden)
        yield at + "self_attn.k_proj.weight", (kv, hidden)
        yield at + "self_attn.v_proj.weight", (kv, hidden)
        if c["model_type"] == "qwen3":
            yield at + "self_attn.q_norm.weight", (head,)
            yield at + "self_attn.k_norm.weight", (head,)
        yield at + "self_attn.o_proj.weight", (hidden, q)
        yield at + "post_attention_layernorm.weight", (hidden,)
        yield at + "mlp.gate_proj.weight", (inner, hidden)
        yield at + "mlp.up_proj.weight", (inner, hidden)
        yield at + "mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)


def to_bf16(x):
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def write_random(path, tensors, seed):
    """A safetensors file of random matrices, and vectors of ones; tensors: names and shapes."""
    rng = np.random.Generator(np.random.SFC64(seed))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors:
            if len(shape) == 1:
                f.write(to_bf16(np.ones(shape, np.float32)).tobytes())
                continue
            for _ in range(0, shape[0], 2048):  # in pieces, to save memory
                rows = min(2048, shape[0] - _)
                f.write(to_bf16(rng.standard_normal((rows, shape[1]), np.float32) * np.float32(0.02)).tobytes())


def make_hf(model, out):
    config = MODELS[model]
    write_random(out / "model.safetensors", list(shapes(config)), 20250708)
    (out / "config.json").write_text(json.dumps(config, indent=1))


def make_lora(base, seed, out):
    """An adapter of rank LORA_RANK in every linear layer of the blocks."""
    config, tensors = json.loads((base / "config.json").read_text()), []
    for name, shape in shapes(config):
        if name.endswith("_proj.weight"):
            at = "base_model.model." + name.removesuffix("weight")
            tensors += [(at + "lora_A.weight", (LORA_RANK, shape[1])), (at + "lora_B.weight", (shape[0], LORA_RANK))]
    write_random(out / "adapter_model.safetensors", tensors, int(seed) + 1)
    (out / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": LORA_RANK,
         "lora_alpha": LORA_RANK, "bias": "none",
         "target_modules": sorted({name.split(".")[-3] for name, _ in tensors})}, indent=1))


def read_hf(directory, file="model.safetensors"):
    """Name and mapped bfloat16 bits of every tensor."""
    path = directory / file
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(length))
    data = np.memmap(path, np.uint16, "r", 8 + length)
    for name, entry in header.items():
        if name != "__metadata__":
            a, b = entry["data_offsets"]
            yield name, data[a // 2:b // 2].reshape(entry["shape"])


GGUF_NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
              "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
              "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[rest.removesuffix('.weight')]}.weight"


def paired(rows, heads):
    """Reorder the rows of each head: llama.cpp rotates neighbours in SmolLM3, Transformers rotates halves."""
    n, k = rows.shape
    return rows.reshape(heads, 2, n // heads // 2, k).swapaxes(1, 2).reshape(n, k)


def make_random_gguf(directory, out):
    import gguf
    c = json.loads((directory / "config.json").read_text())
    head = c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    w = gguf.GGUFWriter(out, c["model_type"])
    w.add_name("random weights")
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_dimension_count(head)
    w.add_rope_freq_base(c["rope_theta"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("none")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, bits in read_hf(directory):
        if bits.ndim == 1:
            w.add_tensor(gguf_name(name), from_bf16(bits))
            continue
        if c["model_type"] == "smollm3" and ("q_proj" in name or "k_proj" in name):
            bits = paired(bits, c["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
        w.add_tensor(gguf_name(name), np.ascontiguousarray(bits).view(np.uint8),
                     raw_dtype=gguf.GGMLQuantizationType.BF16)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make_lora_gguf(base, adapter, out):
    import gguf
    c = json.loads((base / "config.json").read_text())
    w = gguf.GGUFWriter(out, c["model_type"])
    w.add_type("adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", LORA_RANK)
    for name, bits in read_hf(adapter, "adapter_model.safetensors"):
        module, kind, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
        if c["model_type"] == "smollm3" and kind == "lora_B" and module.endswith(("q_proj", "k_proj")):
            bits = paired(bits, c["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
        w.add_tensor(f"{gguf_name(module + '.weight')}.{kind.lower()}", from_bf16(np.ascontiguousarray(bits)))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make_gguf(directory, llama, out):
    if not (directory / "tokenizer.json").exists():
        make_random_gguf(directory, out)
        return
    paths = [llama / "gguf-py", *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    subprocess.run([sys.executable, llama / "convert_hf_to_gguf.py", directory, "--outtype", "bf16", "--outfile", out],
                   env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}, check=True)


def quantize(source, llama, kind, out):
    subprocess.run([llama / "build/bin/llama-quantize", source, out, kind], check=True)


def make_tokenizer(vocabulary, directory):
    """OpenVINO GenAI needs a tokenizer, although prompts are ids: this one has 256 bytes and invented words."""
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: i for i, token in enumerate(alphabet + [f"t{i}" for i in range(256, vocabulary)])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="t300")
    there, back = convert_tokenizer(fast, with_detokenizer=True)
    save_model(there, directory / "openvino_tokenizer.xml")
    save_model(back, directory / "openvino_detokenizer.xml")


def make_openvino(directory, out):
    from optimum.exporters.openvino import main_export
    main_export(str(directory), str(out), task="text-generation-with-past", library_name="transformers",
                convert_tokenizer=False)
    make_tokenizer(json.loads((directory / "config.json").read_text())["vocab_size"], out)


def make_openvino_compressed(ir, out, what):
    import nncf
    import openvino
    import shutil
    model = openvino.Core().read_model(ir / "openvino_model.xml")
    modes = nncf.CompressWeightsMode
    how = {"openvino-int8": {"mode": modes.INT8_ASYM},
           "openvino-int4": {"mode": modes.INT4_SYM, "group_size": 128, "ratio": 1.0}}
    model = nncf.compress_weights(model, **how[what])
    openvino.save_model(model, out / "openvino_model.xml", compress_to_fp16=False)
    for file in ir.iterdir():
        if not file.name.startswith("openvino_model"):
            shutil.copy(file, out)


def main():
    what, source, *rest = sys.argv[1:]
    out = pathlib.Path(rest[-1])
    if what == "hf":
        make_hf(source, out)
    elif what == "gguf":
        make_gguf(pathlib.Path(source), pathlib.Path(rest[0]), out)
    elif what == "lora":
        make_lora(pathlib.Path(source), rest[0], out)
    elif what == "lora-gguf":
        make_lora_gguf(pathlib.Path(source), pathlib.Path(rest[0]), out)
    elif what == "quantize":
        quantize(source, pathlib.Path(rest[0]), rest[1], out)
    elif what == "openvino":
        make_openvino(pathlib.Path(source), out)
    else:
        make_openvino_compressed(pathlib.Path(source), out, what)


if __name__ == "__main__":
    main()
