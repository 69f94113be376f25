"""The two demo models: their configurations, tokenizers and file formats.

Shapes are chosen to differ from one another and to hit what is easy to get
wrong: heads x head_dim is not the hidden size (qwen3), there is a single
key/value head and every fourth layer has no rotary embedding (smollm3), one
file against two shards.
"""

import json
import os

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers import Qwen3Config, Qwen3ForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
FAMILIES = ("qwen3", "smollm3")
VOCAB = 3072     # at most; our own text has about 2,100 tokens in it
CONTEXT = 16384

# (content, special) in the order of their ids; the rest of the flags are false.
ADDED = {
    "qwen3": [(f"<|{n}|>", True) for n in (
        "endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start",
        "box_end", "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad",
        "image_pad", "video_pad")]
    + [("<tool_call>", False), ("</tool_call>", False)]
    + [(f"<|{n}|>", False) for n in (
        "fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")]
    + [("<tool_response>", False), ("</tool_response>", False),
       ("<think>", False), ("</think>", False)],
    "smollm3": [
        ("<|begin_of_text|>", True), ("<|end_of_text|>", True), ("<think>", False),
        ("</think>", False), ("<|finetune_right_pad_id|>", True),
        ("<|reserved_special_token_0|>", True), ("<|start_header_id|>", True),
        ("<|end_header_id|>", True), ("<|eom_id|>", True), ("<|eot_id|>", True),
        ("<|python_tag|>", True), ("<|im_start|>", True), ("<|im_end|>", True),
        ("<tool_response>", False), ("</tool_response>", False), ("<tool_call>", False),
        ("</tool_call>", False), ("<code>", False), ("</code>", False)],
}

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def pipeline(family, bpe):
    """The family's tokenizer around the given BPE model."""
    tok = Tokenizer(bpe)
    qwen = family == "qwen3"
    if qwen:
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT % ("" if qwen else "{1,3}")), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=not qwen, use_regex=False)])
    if qwen:
        tok.post_processor = processors.ByteLevel(
            add_prefix_space=False, trim_offsets=False, use_regex=False)
        tok.decoder = decoders.ByteLevel(
            add_prefix_space=False, trim_offsets=False, use_regex=False)
    else:
        tok.post_processor = processors.TemplateProcessing(
            single="$A:0", pair="$A:0 $B:1", special_tokens=[])
        tok.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    return tok


def train_tokenizer(family, texts):
    """Train a BPE of at most VOCAB tokens, added tokens included, on an iterator of texts."""
    added = ADDED[family]
    empty = {"continuing_subword_prefix": "", "end_of_word_suffix": ""} if family == "qwen3" else {}
    tok = pipeline(family, models.BPE(**empty))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(added), min_frequency=2, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(texts, trainer)
    model = json.loads(tok.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    if family == "smollm3":
        merges = drop_merges(merges)
    tok = pipeline(family, models.BPE(vocab=vocab, merges=merges, fuse_unk=False,
                                      ignore_merges=family == "smollm3", **empty))
    tok.add_tokens([AddedToken(text, special=special, normalized=False)
                    for text, special in added])
    return tok


def drop_merges(merges):
    """Leave out every twentieth merge that no other merge needs.

    Those tokens are then found only through ignore_merges, as 588 of the real
    SmolLM3's are.
    """
    parts = {p for m in merges for p in m}
    ends = [m for m in merges if m[0] + m[1] not in parts]
    dropped = set(ends[::20])
    return [m for m in merges if m not in dropped]


def config(family, tok):
    common = dict(
        vocab_size=-(-tok.get_vocab_size() // 64) * 64, hidden_size=128, rms_norm_eps=1e-6,
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, initializer_range=0.02,
        attention_bias=False, torch_dtype=torch.bfloat16)
    if family == "qwen3":
        return Qwen3Config(
            num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=2, head_dim=32,
            intermediate_size=384,             rope_theta=1e6, max_window_layers=6,
            bos_token_id=tok.token_to_id("<|endoftext|>"),
            eos_token_id=tok.token_to_id("<|im_end|>"), **common)
    return SmolLM3Config(
        num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=1,
            intermediate_size=320, rope_theta=5e6,
        no_rope_layer_interval=4, max_window_layers=8, mlp_bias=False, pretraining_tp=2,
        bos_token_id=tok.token_to_id("<|begin_of_text|>"),
        eos_token_id=tok.token_to_id("<|im_end|>"),
        pad_token_id=tok.token_to_id("<|finetune_right_pad_id|>"), **common)


def build(family, cfg):
    return (Qwen3ForCausalLM if family == "qwen3" else SmolLM3ForCausalLM)(cfg)


def template(family):
    with open(os.path.join(HERE, "templates", family + ".jinja"), encoding="utf-8") as f:
        return f.read()


def hf_tokenizer(family, tok):
    """The tokenizer with its template, as training and evaluation use it."""
    t = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|im_end|>",
                                clean_up_tokenization_spaces=False)
    t.chat_template = template(family)
    return t


def tokenizer_config(family, tok):
    """tokenizer_config.json; qwen3's holds the template, smollm3's is a file beside it."""
    decoder = {str(tok.token_to_id(text)): {
        "content": text, "lstrip": False, "normalized": False, "rstrip": False,
        "single_word": False, "special": special} for text, special in ADDED[family]}
    if family == "qwen3":
        return {
            "add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": decoder,
            "additional_special_tokens": [t for t, s in ADDED[family][1:] if s],
            "bos_token": None, "chat_template": template(family),
            "clean_up_tokenization_spaces": False, "eos_token": "<|im_end|>",
            "errors": "replace", "model_max_length": CONTEXT, "pad_token": "<|endoftext|>",
            "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None}
    return {
        "added_tokens_decoder": decoder, "bos_token": None,
        "clean_up_tokenization_spaces": True, "eos_token": "<|im_end|>",
        "extra_special_tokens": {}, "fast": False,
        "model_input_names": ["input_ids", "attention_mask"], "model_max_length": CONTEXT,
        "pad_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}


def export(family, model, tok, directory):
    """Write the whole Hugging Face directory."""
    os.makedirs(directory, exist_ok=True)
    cfg = model.config
    eos = cfg.eos_token_id
    sampling = dict(do_sample=True, temperature=0.6, top_p=0.95)
    if family == "qwen3":
        model.generation_config = GenerationConfig(
            bos_token_id=cfg.bos_token_id, eos_token_id=[eos, cfg.bos_token_id],
            pad_token_id=cfg.bos_token_id, top_k=20, **sampling)
    else:
        model.generation_config = GenerationConfig(
            bos_token_id=cfg.bos_token_id, eos_token_id=eos, pad_token_id=cfg.pad_token_id,
            **sampling)
    model.to(torch.bfloat16).save_pretrained(
        directory, max_shard_size="50MB" if family == "qwen3" else "2MB")
    tok.save(os.path.join(directory, "tokenizer.json"), pretty=False)
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer_config(family, tok), f, indent=2, ensure_ascii=False)
        f.write("\n")
    if family == "smollm3":
        with open(os.path.join(directory, "chat_template.jinja"), "w", encoding="utf-8") as f:
            f.write(template(family))
    for name in os.listdir(directory):
        os.chmod(os.path.join(directory, name), 0o644)
