#!/usr/bin/env python3
"""Does Glia propose what the published code of a draft head proposes?

    walk_drafts.py [--glia build/glia] [--count 200] [--seed 1] [--only N] [--verbose] [--goldens DIR]

Each case draws a small random target (Qwen3, Llama, Qwen2 or SmolLM3) and a random head in a published
format: EAGLE-1/2, EAGLE-3 (SafeAILab, SpecForge, AngelSlim, DeepSpec, speculators), Medusa (original, NxDI,
vLLM), DFlash and DSpark (z-lab, DeepSpec, speculators). `glia generate --trace-drafts` in float32 must

  same      propose the tokens, parents and log-probabilities of the formulas below, and give the answer that
            it gives without a draft
  refused   for a case with a hostile edit: refuse it with one sentence

Anything else is printed and makes the exit status 1. With --goldens DIR, the formulas are first compared with
the figures of published code in DIR (shared/data/drafts).

Formulas: SafeAILab/EAGLE cnets.py and cnets1.py, speculators 0.9.0 models/{eagle3,dflash,dspark},
FasterDecoding/Medusa, z-lab dflash 0.1.0, deepseek-ai/DeepSpec.
Needs torch, transformers and safetensors.
"""
import json
import math
import pathlib
import subprocess
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import walk

NEAR, TOLERANCE = 1e-3, 5e-4
silu, log_softmax = torch.nn.functional.silu, torch.log_softmax


# ---- the formulas ---------------------------------------------------------------------------------------------

class Block:
    """Decoder layers of a head. `t` [name] are its tensors as float32, `c` the configuration of the layers."""

    def __init__(self, c, t):
        self.c, self.t = c, t
        self.eps = c.get("rms_norm_eps", 1e-6)
        self.heads = c["num_attention_heads"]
        self.kv_heads = c.get("num_key_value_heads") or self.heads
        self.dim = c.get("head_dim") or c["hidden_size"] // self.heads
        rope = dict(c.get("rope_scaling") or c.get("rope_parameters") or {})
        rope.setdefault("rope_theta", c.get("rope_theta", 10000.0))
        rope.setdefault("rope_type", rope.pop("type", "default"))
        config = transformers.LlamaConfig(hidden_size=c["hidden_size"], num_attention_heads=self.heads, head_dim=self.dim,
                                          max_position_embeddings=c.get("max_position_embeddings", 2048), rope_parameters=rope)
        self.rotary = LlamaRotaryEmbedding(config)

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.t[name]

    def linear(self, x, name):
        y = x @ self.t[name + ".weight"].T
        return y + self.t[name + ".bias"] if name + ".bias" in self.t else y

    def rotate(self, x, positions):
        cos, sin = self.rotary(x[None], torch.tensor([positions]))
        half = x.shape[-1] // 2
        return x * cos[0][:, None] + torch.cat((-x[..., half:], x[..., :half]), -1) * sin[0][:, None]

    def q(self, x, i, positions):
        q = self.linear(x, f"layers.{i}.self_attn.q_proj").view(len(x), self.heads, self.dim)
        return self.rotate(self.norm(q, f"layers.{i}.self_attn.q_norm.weight") if f"layers.{i}.self_attn.q_norm.weight" in self.t else q, positions)

    def kv(self, x, i, positions):
        k = self.linear(x, f"layers.{i}.self_attn.k_proj").view(len(x), self.kv_heads, self.dim)
        k = self.norm(k, f"layers.{i}.self_attn.k_norm.weight") if f"layers.{i}.self_attn.k_norm.weight" in self.t else k
        return self.rotate(k, positions), self.linear(x, f"layers.{i}.self_attn.v_proj").view(len(x), self.kv_heads, self.dim)

    def attend(self, q, k, v, i, mask):
        group = self.heads // self.kv_heads
        scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(group, 1)) / math.sqrt(self.dim)
        weights = torch.softmax(scores.masked_fill(~mask, -math.inf), -1)
        return self.linear(torch.einsum("hqk,khd->qhd", weights, v.repeat_interleave(group, 1)).flatten(1), f"layers.{i}.self_attn.o_proj")

    def feed_forward(self, x, i):
        y = self.norm(x, f"layers.{i}.post_attention_layernorm.weight")
        return x + self.linear(silu(self.linear(y, f"layers.{i}.mlp.gate_proj")) * self.linear(y, f"layers.{i}.mlp.up_proj"), f"layers.{i}.mlp.down_proj")


class Eagle(Block):
    """EAGLE-1 (three False) and EAGLE-3. `target`: embed, lm_head and states of the target."""

    def __init__(self, c, top, t, three, features):
        super().__init__(c, t)
        self.top, self.three, self.features = top, three, features
        self.layers = c.get("num_hidden_layers", 1)

    def first_hidden(self, states):
        if not self.three or not self.features:
            return states["normed"]
        parts = [states[i] for i in self.features]
        if self.top.get("fc_norm"):
            parts = [self.norm(p, f"fc_norm.{i}.weight") for i, p in enumerate(parts)]
        x = torch.cat(parts, -1)
        if "input_norm.weight" in self.t:
            x = self.norm(x, "input_norm.weight")
        return self.linear(x, "fc")

    def rows(self, tokens, hidden, positions, past):
        """Returns hidden states for the next rows, logits, and the cache, of rows that see all of `past`, and
        each other in order."""
        e = self.t["embed_tokens.weight"][torch.tensor(tokens)]
        x = hidden if self.three else self.linear(torch.cat((e, hidden), -1), "fc")
        cache = []
        for i in range(self.layers):
            if self.three and i == 0:
                normed = self.norm(x, "layers.0.hidden_norm.weight")
                y = torch.cat((self.norm(e, "layers.0.input_layernorm.weight"), normed), -1)
                x = normed if self.top.get("norm_before_residual") else x
            else:
                y = x if i == 0 else self.norm(x, f"layers.{i}.input_layernorm.weight")
            k, v = self.kv(y, i, positions)
            at = list(past[i][2]) + positions if past else positions
            if past:
                k, v = torch.cat((past[i][0], k)), torch.cat((past[i][1], v))
            cache.append((k, v, at))
            n, m = len(tokens), len(k)
            mask = torch.ones(n, m, dtype=torch.bool).tril(m - n)
            if self.c.get("layer_types", [""])[i:i + 1] == ["sliding_attention"]:
                mask &= torch.tensor(positions)[:, None] - torch.tensor(at)[None] < self.c["sliding_window"]
            x = self.feed_forward(x + self.attend(self.q(y, i, positions), k, v, i, mask), i)
        normed = self.norm(x, "norm.weight") if self.three else x
        logits = normed @ self.t["lm_head.weight"].T
        return normed if self.top.get("norm_output") else x, logits, cache

    def propose(self, prefix, states, shape):
        n = len(prefix) - 1
        hidden, logits, cache = self.rows(prefix[1:], self.first_hidden(states), list(range(n)), None)
        root = (hidden[-1:], logits[-1], cache)

        def expand(node):  # a node: its row
            h, logit, _ = self.rows([node["token"]], node["from"][0], [n + node["depth"] - 1], node["from"][2])
            return h, logit[0], _
        return grow(root, expand, self.t.get("map"), shape)


def picks(logits, k, mapping):
    lp, i = log_softmax(logits, -1).topk(min(k + 1, len(logits)))
    gap = float(lp[k - 1] - lp[k]) if len(lp) > k else math.inf
    return [(int(mapping[j]) if mapping is not None else int(j), float(p)) for p, j in zip(lp[:k], i[:k])], gap


def grow(root, expand, mapping, shape):
    """Returns {path: log-probability} and the smallest margin of a decision."""
    first = {"from": root, "path": (), "score": 0.0, "depth": 0}
    nodes, margin = {}, math.inf

    def children(node, row, k):
        found, gap = picks(row[1], k, mapping)
        return [{"token": t, "from": row, "path": node["path"] + (t,), "score": node["score"] + p, "depth": node["depth"] + 1}
                for t, p in found], gap

    if shape["kind"] == "chain":
        node, row = first, root
        for _ in range(shape["n"]):
            (node,), gap = children(node, row, 1)
            margin = min(margin, gap)
            nodes[node["path"]] = node["score"]
            row = expand(node)
        return nodes, margin
    if shape["kind"] == "static":
        by_path, rows = {(): first}, {(): root}
        for path in sorted(shape["paths"], key=lambda p: (len(p), p)):
            parent = by_path[tuple(path[:-1])]
            key = tuple(path[:-1])
            if key not in rows:
                rows[key] = expand(parent)
            found, gap = children(parent, rows[key], path[-1] + 1)
            order, _ = picks(rows[key][1], path[-1] + 1, mapping)
            margin = min([margin, gap] + [a[1] - b[1] for a, b in zip(order, order[1:])])
            by_path[tuple(path)] = found[-1]
            nodes[found[-1]["path"]] = found[-1]["score"]
        return nodes, margin
    k = shape["top_k"]
    beam, gap = children(first, root, k)
    everything, margin = list(beam), gap
    for _ in range(shape["depth"]):
        level = []
        for node in beam:
            more, gap = children(node, expand(node), k)
            level += more
            margin = min(margin, gap)
        level.sort(key=lambda c: -c["score"])
        everything += level
        if len(level) > k:
            margin = min(margin, level[k - 1]["score"] - level[k]["score"])
        beam = level[:k]
    everything.sort(key=lambda c: -c["score"])
    keep = shape["total_token"] - 1
    if len(everything) > keep:
        margin = min(margin, everything[keep - 1]["score"] - everything[keep]["score"])
    return {c["path"]: c["score"] for c in everything[:keep]}, margin


class Medusa:
    def __init__(self, heads, mapping):
        self.heads, self.map = heads, mapping  # heads: ([(weight, bias), ...], lm_head)

    def propose(self, prefix, states, shape):
        rows = []
        for layers, lm_head in self.heads:
            x = states["normed"][-1]
            for w, b in layers:
                x = x + silu(x @ w.T + (0 if b is None else b))
            rows.append(lm_head @ x)
        return grow((None, rows[0], None), lambda node: (None, rows[min(node["depth"], len(rows) - 1)], None), self.map, shape)


class BlockHead(Block):
    """DFlash and DSpark."""

    def __init__(self, c, own, t, features, block, mask_token, anchor, causal, two_way):
        super().__init__(c, t)
        self.own, self.features, self.block, self.mask_token, self.anchor = own, features, block, mask_token, anchor
        sliding = [kind == "sliding_attention" for kind in c.get("layer_types", ["full_attention"] * c["num_hidden_layers"])]
        self.window = [c["sliding_window"] if s else 1 << 30 for s in sliding]
        self.causal = [causal if causal is not None else s and not two_way for s in sliding]

    def propose(self, prefix, states, shape):
        n, rows = len(prefix) - 1, self.block if self.anchor else shape["n"] + 1
        context = self.norm(self.linear(torch.cat([states[i] for i in self.features], -1), "fc"), "hidden_norm.weight")
        x = self.t["embed_tokens.weight"][torch.tensor([prefix[-1]] + [self.mask_token] * (rows - 1))]
        for i in range(self.c["num_hidden_layers"]):
            y, here, before = self.norm(x, f"layers.{i}.input_layernorm.weight"), list(range(n, n + rows)), list(range(n))
            k0, v0 = self.kv(context, i, before)
            k1, v1 = self.kv(y, i, here)
            mask = torch.tensor(here)[:, None] - torch.arange(n + rows)[None] < self.window[i]
            if self.causal[i]:
                mask = mask.tril(n)
            x = self.feed_forward(x + self.attend(self.q(y, i, here), torch.cat((k0, k1)), torch.cat((v0, v1)), i, mask), i)
        x = self.norm(x, "norm.weight")
        logits = x @ self.t["lm_head.weight"].T
        nodes, margin, path, score = {}, math.inf, (), 0.0
        for d in range(shape["n"]):
            row = logits[d + (not self.anchor)]
            if "markov_head.markov_w1.weight" in self.t:
                last = path[-1] if path else prefix[-1]
                row = row + self.t["markov_head.markov_w2.weight"] @ self.t["markov_head.markov_w1.weight"][last]
            ((token, p),), gap = picks(row, 1, self.t.get("map"))
            path, score, margin = path + (token,), score + p, min(margin, gap)
            nodes[path] = score
        return nodes, margin


# ---- random targets --------------------------------------------------------------------------------------------

def draw_target(rng, at):
    kind = rng.choice(["qwen3", "llama", "qwen2", "smollm3"])
    dim, kv = rng.choice([16, 32]), rng.choice([1, 2])
    heads = kv * rng.choice([1, 2])
    size = {"hidden_size": rng.choice([32, 48, 64]), "num_hidden_layers": rng.choice([7, 8, 9]), "num_attention_heads": heads,
            "num_key_value_heads": kv, "intermediate_size": 64, "vocab_size": rng.choice([16, 40, 100]), "max_position_embeddings": 256,
            "tie_word_embeddings": rng.random() < 0.5, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if kind in ("qwen2", "smollm3"):
        size["hidden_size"] = heads * dim
    else:
        size["head_dim"] = dim
    name = {"qwen3": "Qwen3", "llama": "Llama", "qwen2": "Qwen2", "smollm3": "SmolLM3"}[kind]
    torch.manual_seed(rng.randrange(1 << 30))
    model = getattr(transformers, name + "ForCausalLM")(getattr(transformers, name + "Config")(**size)).float().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * 0.4 / math.sqrt(p.shape[-1]) * 3 if p.dim() > 1 else 1 + 0.2 * torch.randn_like(p))
    model.save_pretrained(at / "target")
    return model


def states_of(model, ids):
    """The hidden state after the last norm, and the outputs of the layers, by position."""
    out, hooks = {}, []
    for i, layer in enumerate(model.model.layers):
        hooks.append(layer.register_forward_hook(lambda m, a, y, i=i: out.__setitem__(i, (y[0] if isinstance(y, tuple) else y)[0])))
    with torch.no_grad():
        out["normed"] = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    for h in hooks:
        h.remove()
    return out


# ---- random heads ------------------------------------------------------------------------------------------------

def matrix(*shape):
    return torch.randn(*shape) / math.sqrt(shape[-1]) * 1.3


def vector(n):
    return 1 + 0.3 * torch.randn(n)


def draw_layer(t, i, c, width, biases, qk_norm, in_norm=True, o_bias=False):
    h, heads, dim, f = c["hidden_size"], c["num_attention_heads"], c["_dim"], c["intermediate_size"]
    kv = c["num_key_value_heads"]
    p = f"layers.{i}."
    for name, rows in (("q", heads * dim), ("k", kv * dim), ("v", kv * dim)):
        t[p + f"self_attn.{name}_proj.weight"] = matrix(rows, width)
        if biases:
            t[p + f"self_attn.{name}_proj.bias"] = 0.3 * torch.randn(rows)
    t[p + "self_attn.o_proj.weight"] = matrix(h, heads * dim)
    if o_bias:
        t[p + "self_attn.o_proj.bias"] = 0.3 * torch.randn(h)
    if qk_norm:
        t[p + "self_attn.q_norm.weight"], t[p + "self_attn.k_norm.weight"] = vector(dim), vector(dim)
    if in_norm:
        t[p + "input_layernorm.weight"] = vector(h)
    t[p + "post_attention_layernorm.weight"] = vector(h)
    t[p + "mlp.gate_proj.weight"], t[p + "mlp.up_proj.weight"] = matrix(f, h), matrix(f, h)
    t[p + "mlp.down_proj.weight"] = matrix(h, f)


def draw_rope(rng, c, new):
    """Keys of RoPE, as Transformers 4 or 5 writes them."""
    theta = rng.choice([None, 10000.0, 1000000, 500000.0])
    scaling = rng.choice([None, None, {"rope_type": "linear", "factor": 2.0}, {"type": "linear", "factor": 4.0},
                          {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
                          {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}])
    if new:
        c["rope_parameters"] = {**{k if k != "type" else "rope_type": v for k, v in (scaling or {"rope_type": "default"}).items()},
                                "rope_theta": theta or 10000.0}
        return
    if theta:
        c["rope_theta"] = theta
    if scaling or rng.random() < 0.5:
        c["rope_scaling"] = scaling


def draw_sizes(rng, model, hidden):
    kv = rng.choice([1, 2])
    c = {"hidden_size": hidden, "intermediate_size": rng.choice([48, 96]), "num_attention_heads": kv * rng.choice([1, 2]),
         "num_key_value_heads": kv, "vocab_size": model.config.vocab_size, "rms_norm_eps": rng.choice([1e-6, 1e-5]), "hidden_act": "silu",
         "max_position_embeddings": rng.choice([256, 2048]), "tie_word_embeddings": rng.random() < 0.2, "num_hidden_layers": 1}
    c["_dim"] = rng.choice([16, 32])
    if hidden == c["num_attention_heads"] * c["_dim"] and rng.random() < 0.5:
        return c
    c["head_dim"] = c["_dim"]
    return c


def draw_vocab(rng, t, model, hidden, chance):
    """lm_head and d2t, or a part of them; returns draft_vocab_size or None."""
    vocab = model.config.vocab_size
    own = hidden != model.config.hidden_size
    if rng.random() < chance:
        n = rng.randrange(8, vocab)
        kept = sorted(rng.sample(range(vocab), n))
        t["lm_head.weight"] = matrix(n, hidden)
        t["d2t"] = torch.tensor([k - i for i, k in enumerate(kept)], dtype=rng.choice([torch.int64, torch.int64, torch.int32]))
        if rng.random() < 0.8:
            t["t2d"] = torch.tensor([i in kept for i in range(vocab)])
        return n
    if own or rng.random() < 0.3:
        t["lm_head.weight"] = matrix(vocab, hidden)
    return rng.choice([None, vocab])


def finish(t, model):
    """The tensors as the formulas read them: float32, with the target's where the head has none."""
    full = {k: v.float() if v.is_floating_point() else v for k, v in t.items()}
    full.setdefault("embed_tokens.weight", model.get_input_embeddings().weight.detach())
    full.setdefault("lm_head.weight", model.get_output_embeddings().weight.detach())
    if "d2t" in full:
        full["map"] = full["d2t"] + torch.arange(len(full["d2t"]))
    return full


def store(rng, at, t, config, bare, names=lambda n: n):
    """Write the head; `bare`: names have no prefix."""
    prefix = "" if bare else "model."
    named = {n if n.startswith(("lm_head", "d2t", "t2d")) else prefix + names(n): v.contiguous() for n, v in t.items()}
    at = at / "head"
    at.mkdir()
    (at / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "_dim"}))
    if rng.random() < 0.3:
        torch.save(named, at / "pytorch_model.bin")
    else:
        save_file(named, at / "model.safetensors")


def narrow(rng, t):
    dtype = rng.choice([torch.float32, torch.bfloat16, torch.float16])
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in t.items()}


def draw_eagle1(rng, model, at):
    h = model.config.hidden_size
    c, t = draw_sizes(rng, model, h), {}
    c.update(architectures=[rng.choice(["LlamaForCausalLM", "EagleLlamaForCausalLM"])], model_type=rng.choice(["llama", "llama", "qwen2", "eagle"]),
             num_hidden_layers=rng.choice([1, 1, 2]))
    draw_rope(rng, c, False)
    bias, qkv = rng.choice([True, False, None]), rng.random() < 0.3 or c["model_type"] == "qwen2"
    if bias is not None:
        c["bias"] = bias
    if qkv and c["model_type"] != "qwen2":
        c[rng.choice(["qkv_bias", "attention_bias"])] = True
    t["fc.weight"] = matrix(h, 2 * h)
    if bias or (bias is None and rng.random() < 0.5):
        t["fc.bias"] = 0.3 * torch.randn(h)
    for i in range(c["num_hidden_layers"]):
        draw_layer(t, i, c, h, qkv, False, in_norm=i > 0, o_bias=qkv and rng.random() < 0.3)
    if rng.random() < 0.4:
        t["embed_tokens.weight"] = matrix(model.config.vocab_size, h) * 4
    if rng.random() < 0.2:
        t["lm_head.weight"] = matrix(model.config.vocab_size, h)
    t = narrow(rng, t)
    config = c if rng.random() < 0.8 else {"model_type": "eagle", "architectures": ["EAGLEModel"], "model": {k: v for k, v in c.items() if k != "_dim"}}
    store(rng, at, t, config, rng.random() < 0.7)
    return "eagle", Eagle(c, c, finish(t, model), False, None)


def draw_features(rng, n, config, speculators):
    """Keys that name the layers; returns the layers whose outputs are read."""
    how = rng.choice(["none", "inputs", "eagle_config", "target_layer_ids"]) if not speculators else rng.choice(["none", "inputs"])
    if how == "none":
        if rng.random() < 0.3 and not speculators:
            config["eagle_config"] = {"use_aux_hidden_state": True}
        return [1, n // 2 - 1, n - 4]
    outputs = sorted(rng.sample(range(n), rng.choice([1, 2, 3, 3, 5])))
    if how == "inputs":
        config["eagle_aux_hidden_state_layer_ids"] = [i + 1 for i in outputs]
    elif how == "eagle_config":
        config["eagle_config"] = {"eagle_aux_hidden_state_layer_ids": outputs, "use_aux_hidden_state": True}
    else:
        config["target_layer_ids"] = outputs
    return outputs


def draw_eagle3(rng, model, at):
    speculators, target = rng.random() < 0.4, model.config.hidden_size
    h = target if speculators or rng.random() < 0.7 else rng.choice([32, 80])
    c, t, qk = draw_sizes(rng, model, h), {}, rng.random() < 0.3
    c.update(model_type="qwen3" if qk else "llama", num_hidden_layers=rng.choice([1, 1, 1, 2]))
    if qk:
        c["head_dim"] = c["_dim"]  # 128 in Qwen3's configuration if it is absent
    top = {} if speculators else c
    draw_rope(rng, c, speculators and rng.random() < 0.6)
    if qk and rng.random() < 0.4:
        c.update(use_sliding_window=True, sliding_window=rng.choice([2, 5, 16]), max_window_layers=0,
                 layer_types=[rng.choice(["sliding_attention", "full_attention"]) for _ in range(c["num_hidden_layers"])])
    features = draw_features(rng, model.config.num_hidden_layers, top, speculators)
    if h == target and not speculators and rng.random() < 0.1:
        top["eagle_config"], features = {"use_aux_hidden_state": False}, []
    biases = rng.random() < 0.3
    c["attention_bias"] = biases
    if features:
        t["fc.weight"] = matrix(h, len(features) * target)
    for i in range(c["num_hidden_layers"]):
        draw_layer(t, i, c, 2 * h if i == 0 else h, biases, qk, o_bias=biases and rng.random() < 0.5)
    t["layers.0.hidden_norm.weight"], t["norm.weight"] = vector(h), vector(h)
    if h != target or rng.random() < 0.4:
        t["embed_tokens.weight"] = matrix(model.config.vocab_size, h) * 4
    n = draw_vocab(rng, t, model, h, 0.6)
    if n or speculators:
        top["draft_vocab_size"] = n or model.config.vocab_size
    for key in ("norm_before_residual", "norm_output"):
        if rng.random() < 0.5:
            top[key] = rng.random() < 0.6
    norm = rng.choice(["", "", "fc_norm", "norm_before_fc"]) if features else ""
    if norm == "fc_norm":
        top["fc_norm"] = True
        t.update({f"fc_norm.{i}.weight": vector(target) for i in range(len(features))})
    if norm == "norm_before_fc":
        (top.setdefault("eagle_config", {}) if rng.random() < 0.3 and not speculators and "eagle_aux_hidden_state_layer_ids" not in top else top)["norm_before_fc"] = True
        t["input_norm.weight"] = vector(target * len(features))
    if h != target or rng.random() < 0.3:
        top["target_hidden_size"] = target if h != target else rng.choice([None, target])
    t = narrow(rng, t)
    if speculators:
        config = {**top, "architectures": [rng.choice(["Eagle3Speculator", "Eagle3DraftModel"])], "speculators_model_type": "eagle3", "speculators_version": "0.9.0",
                  "transformer_layer_config": {k: v for k, v in c.items() if k != "_dim"}, "embed_requires_grad": False,
                  "speculators_config": {"algorithm": "eagle3", "default_proposal_method": "greedy", "verifier": {"name_or_path": "x", "architectures": ["Y"]},
                                         "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": 3}]}}
    else:
        config = {**c, "architectures": [rng.choice(["LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM", "LlamaForCausalLM"])]}
    midlayer = rng.random() < (0.2 if speculators else 0.7)
    store(rng, at, t, config, rng.random() < 0.8, lambda n: n.replace("layers.0.", "midlayer.") if midlayer else n)
    return "eagle3", Eagle(c, top, finish(t, model), True, features)


def draw_medusa(rng, model, at):
    form, h, vocab = rng.choice(["original", "nxdi", "vllm"]), model.config.hidden_size, model.config.vocab_size
    heads, layers, t, mapping = rng.choice([2, 3, 5]), rng.choice([1, 1, 2]), {}, None
    bias, one, n = form != "vllm" or rng.random() < 0.6, form == "vllm" and rng.random() < 0.3, vocab
    prefix = "medusa_heads." if form == "vllm" and rng.random() < 0.5 else "medusa_head_" if form == "nxdi" else ""
    if form == "vllm" and rng.random() < 0.5:
        n = rng.randrange(8, vocab)
        mapping = t["token_map"] = torch.tensor(rng.sample(range(vocab), n))
    parts = []
    for i in range(heads):
        lins = []
        for k in range(layers):
            name = f"{prefix}blocks.{i}.layers.{k}" if form == "vllm" else f"{prefix}{i}.{k}.linear"
            t[name + ".weight"] = matrix(h, h)
            if bias:
                t[name + ".bias"] = 0.3 * torch.randn(h)
            lins.append(name)
        name = f"{prefix}lm_heads.{0 if one else i}.weight" if form == "vllm" else f"{prefix}{i}.{layers}.weight"
        if name not in t:
            t[name] = matrix(n, h)
        parts.append((lins, name))
    t = narrow(rng, t)
    full = {k: v.float() for k, v in t.items()}
    (at / "head").mkdir()
    if form == "vllm":
        config = {"architectures": ["MedusaModel"], "model_type": "medusa", "hidden_size": h, "num_heads": heads, "num_hidden_layers": layers, "vocab_size": vocab,
                  "truncated_vocab_size": n, "original_lm_head": one, "medusa_fc_bias": bias}
        save_file(t, at / "head/model.safetensors")
    else:
        config = {"medusa_num_heads": rng.choice([2, heads]), "medusa_num_layers": layers, "base_model_name_or_path": "x"}
        if form == "nxdi":
            torch.save(t, at / "head/medusa_heads.pt")
        elif rng.random() < 0.5:
            torch.save(t, at / "head/medusa_lm_head.pt")
        else:
            save_file(t, at / "head/medusa_lm_head.safetensors")
    if form != "nxdi" or rng.random() < 0.5:
        (at / "head/config.json").write_text(json.dumps(config))
    return "medusa", Medusa([([(full[x + ".weight"], full.get(x + ".bias")) for x in lins], full[name]) for lins, name in parts], mapping), heads


def draw_block(rng, model, at):
    spark, target, layers = rng.random() < 0.5, model.config.hidden_size, rng.choice([1, 2, 3])
    speculators = rng.random() < 0.4
    h = target if speculators or rng.random() < 0.8 else rng.choice([32, 80])
    c, t, vocab = draw_sizes(rng, model, h), {}, model.config.vocab_size
    c.update(model_type="qwen3", num_hidden_layers=layers, head_dim=c["_dim"])
    draw_rope(rng, c, rng.random() < 0.3)
    block, n = rng.choice([2, 4, 7]), model.config.num_hidden_layers
    features = sorted(rng.sample(range(n), rng.choice([1, 3, 5])))
    c["attention_bias"] = biases = rng.random() < 0.2
    t["fc.weight"], t["hidden_norm.weight"], t["norm.weight"] = matrix(h, len(features) * target), vector(h), vector(h)
    for i in range(layers):
        draw_layer(t, i, c, h, biases, True, o_bias=biases)
    if rng.random() < 0.4 or (spark and not speculators) or h != target:
        t["embed_tokens.weight"] = matrix(vocab, h) * 4
    if rng.random() < 0.3:
        c.update(use_sliding_window=True, sliding_window=rng.choice([2, 5, 16]), layer_types=[rng.choice(["sliding_attention", "full_attention"]) for _ in range(layers)])
    top, own = {} if speculators else c, {}
    size = draw_vocab(rng, t, model, h, 0.5 if speculators else 0.1)
    if size or speculators:
        top["draft_vocab_size"] = size or vocab
    mask, anchor, two_way = rng.randrange(vocab), spark, False
    own.update(mask_token_id=mask, block_size=block)
    if speculators:
        own["aux_hidden_state_layer_ids"] = [i + 1 for i in features]
        if rng.random() < 0.7:
            own["sample_from_anchor"] = anchor = rng.random() < (0.7 if spark else 0.2)
        own["sliding_window_non_causal"] = two_way = rng.random() < 0.3
    else:
        own["target_layer_ids"] = features
    causal = rng.choice([None, None, True, False]) if not speculators else None
    if causal is not None and rng.random() < 0.5:
        top["is_causal"] = causal
    elif causal is not None:
        own["causal"] = causal
    if spark:
        rank = rng.choice([0, 8, 16])
        confidence = rng.random() < 0.5
        own.update(markov_rank=rank, markov_head_type="vanilla", enable_confidence_head=confidence, confidence_head_with_markov=rng.random() < 0.5)
        if rank:
            t["markov_head.markov_w1.weight"], t["markov_head.markov_w2.weight"] = matrix(vocab, rank) * 3, matrix(size or vocab, rank) * 3
        if confidence:
            t["confidence_head.proj.weight"] = matrix(1, h + (rank if own["confidence_head_with_markov"] else 0))
            t["confidence_head.proj.bias"] = torch.randn(1)
    t = narrow(rng, t)
    if speculators:
        name = "dspark" if spark else "dflash"
        config = {**top, **own, "architectures": ["DSparkDraftModel" if spark else "DFlashDraftModel"], "speculators_model_type": name, "transformer_layer_config": {k: v for k, v in c.items() if k != "_dim"},
                  "target_hidden_size": None}
    else:
        nested = not spark or rng.random() < 0.2
        if nested and rng.random() < 0.5:
            top["block_size"] = own.pop("block_size")
        config = {**c, "architectures": ["Qwen3DSparkModel" if spark else "DFlashDraftModel"], "num_target_layers": n, **({"dflash_config": own} if nested else own)}
    store(rng, at, t, config, rng.random() < 0.9)
    return "dspark" if spark else "dflash", BlockHead(c, own, finish(t, model), features, block, mask, anchor, causal, two_way), block - (not anchor)


# ---- comparing ---------------------------------------------------------------------------------------------------

def draw_shape(rng, method, most):
    if method in ("dflash", "dspark") or rng.random() < 0.4:
        n = rng.randrange(1, (most or 6) + 1)
        return {"kind": "chain", "n": n}, {"num_speculative_tokens": n}
    if method != "medusa" and rng.random() < 0.5:
        k, depth = rng.choice([2, 3, 4]), rng.choice([1, 2, 4])
        keys = {"top_k": k, "depth": depth, "total_token": rng.randrange(3, min(20, k + depth * k * k))}
        return {"kind": "dynamic", **keys}, keys
    paths = [[0], [1], [0, 0], [0, 1], [1, 0], [2], [0, 0, 0]]
    paths = [p for p in paths if len(p) <= (most or 3)][:rng.randrange(1, 8)]
    key = rng.choice(["medusa_tree", "speculative_token_tree"])
    return {"kind": "static", "paths": paths}, {key: paths if key == "medusa_tree" or rng.random() < 0.5 else str([tuple(p) for p in paths])}


def depth_of(shape):
    return {"chain": lambda: shape["n"], "dynamic": lambda: shape["depth"] + 1, "static": lambda: max(map(len, shape["paths"]))}[shape["kind"]]()


def generate(glia, at, flags):
    run = subprocess.run([glia, "generate", at / "target", "--dtype", "float32", "--threads", "2", "--ids", at / "ids.json", "--max-tokens", str(LENGTH), "--ignore-eos",
                          "--json", *flags], capture_output=True, text=True, check=False)
    if run.returncode:
        return None, run.stderr.strip()
    return [o["ids"] for o in json.loads(run.stdout)["outputs"]], run.stderr.strip()


LENGTH = 14


def paths_of(nodes):
    """{path: log-probability} of the nodes of a trace."""
    paths, out = [()], {}
    for token, parent, logprob in nodes[1:]:
        paths.append(paths[parent] + (token,))
        out[paths[-1]] = logprob
    return out


def compare_round(model, oracle, shape, known, nodes, left):
    """Returns None, "near" or what is wrong."""
    got = paths_of(nodes)
    if len(known) < 2 or left <= depth_of(shape) + 1:
        return None
    if len(got) != len(nodes) - 1:
        return f"a path twice: {nodes}"
    want, margin = oracle.propose(known, states_of(model, known[:-1]), shape)
    if set(got) != set(want):
        return "near" if margin < NEAR else f"behind {len(known)} tokens: proposed {sorted(got.items())}, expected {sorted(want.items())}, margin {margin:.2g}"
    worst = max((abs(got[p] - want[p]) / (1 + abs(want[p])) for p in got), default=0)
    return None if worst <= TOLERANCE else f"log-probabilities differ by {worst:.2g} behind {len(known)} tokens: {sorted(got.items())}, expected {sorted(want.items())}"


def compare(model, oracle, shape, prompts, answers, trace):
    done, near, accepted = [len(p) + 1 for p in prompts], False, 0
    for line in trace.read_text().splitlines():
        for s in json.loads(line)["sequences"]:
            i = s["prompt"]
            whole = prompts[i] + answers[i]
            if done[i] == len(prompts[i]) + 1 and s["nodes"][0][0] == prompts[i][-1]:  # the prompt's last row came alone
                if answers[i][0] == prompts[i][-1]:
                    return "near"
                done[i] -= 1
            known = whole[:done[i]]
            if s["nodes"][0][0] != known[-1]:
                return f"round begins with token {s['nodes'][0][0]}, expected {known[-1]}"
            verdict = compare_round(model, oracle, shape, known, s["nodes"], len(whole) - done[i])
            if verdict and verdict != "near":
                return verdict
            near |= verdict == "near"
            accepted += s["accepted"]
            done[i] += s["accepted"] + 1
    return "near" if near else ""


def layers_of(c):
    return c.get("transformer_layer_config") or c.get("model") or c


def member(key, value):
    """Sets the key wherever the file has it."""
    def edit(_, c, t):
        for o in (c, layers_of(c), c.get("dflash_config") or {}, c.get("eagle_config") or {}):
            if key in o:
                o[key] = value
    return edit


def change(wanted, make):
    def edit(r, c, t):
        names = [k for k in t if wanted(k, t[k])]
        if names:
            name = r.choice(names)
            t[name] = make(t[name])
    return edit


def drop(r, c, t):
    t.pop(r.choice([k for k in t if not k.endswith((".bias", "t2d", "embed_tokens.weight", "lm_head.weight"))]))


HOSTILE = [
    drop,
    member("hidden_size", "64"), member("hidden_size", 0), member("num_hidden_layers", 3.5), member("num_attention_heads", 0),
    member("draft_vocab_size", 0), member("draft_vocab_size", 1 << 40), member("block_size", 0), member("block_size", "7"),
    member("mask_token_id", 1 << 20), member("mask_token_id", None), member("mask_token_id", -1), member("target_layer_ids", [99]),
    member("target_layer_ids", [1.5]), member("target_layer_ids", "1"), member("aux_hidden_state_layer_ids", [0]),
    member("eagle_aux_hidden_state_layer_ids", [99]), member("eagle_aux_hidden_state_layer_ids", [[1]]), member("num_target_layers", 3),
    member("markov_head_type", "rnn"), member("markov_rank", -1), member("norm_before_residual", "yes"), member("fc_norm", 1),
    member("target_hidden_size", 7), member("hidden_act", "gelu"), member("sample_from_anchor", "no"), member("num_heads", 33),
    member("truncated_vocab_size", 1), member("truncated_vocab_size", 0),
    lambda r, c, t: layers_of(c).update(rope_scaling={"rope_type": "spiral", "factor": 2}),
    lambda r, c, t: layers_of(c).update(model_type="mixtral"),
    lambda r, c, t: layers_of(c).update(vocab_size=7),
    lambda r, c, t: t.update({"extra.weight": torch.ones(3)}),
    change(lambda k, v: k != "t2d", lambda v: torch.cat((v, v))),
    change(lambda k, v: v.dim() == 2, lambda v: v[:, :-1].contiguous()),
    change(lambda k, v: v.is_floating_point(), lambda v: v.to(torch.int32)),
    change(lambda k, v: k == "d2t", lambda v: v + 1000), change(lambda k, v: k == "d2t", lambda v: v.float()),
    change(lambda k, v: k == "d2t", lambda v: v * 0 - 5), change(lambda k, v: k == "token_map", lambda v: v + 1000),
]


def spoil(rng, at, method):
    head = at / "head"
    if not (head / "model.safetensors").exists() or (method == "medusa" and "model_type" not in (head / "config.json").read_text()):
        return False
    config, tensors = json.loads((head / "config.json").read_text()), load_file(head / "model.safetensors")
    before = json.dumps(config), {k: (v.shape, v.dtype, v.double().sum()) for k, v in tensors.items()}
    rng.choice(HOSTILE)(rng, config, tensors)
    if method == "medusa" and ("extra.weight" in tensors or json.dumps(config) != before[0] and not {"num_heads", "truncated_vocab_size"} & set(config)):
        return False
    if rng.random() < 0.1:
        (head / "config.json").write_text(rng.choice(["", "[]", "{", "null"]))
        return True
    changed = before != (json.dumps(config), {k: (v.shape, v.dtype, v.double().sum()) for k, v in tensors.items()})
    if changed:
        (head / "config.json").write_text(json.dumps(config))
        save_file(tensors, head / "model.safetensors")
    return changed


DRAW = [draw_eagle1, draw_eagle3, draw_eagle3, draw_medusa, draw_block]


def one(rng, glia, at, number, _):
    model = draw_target(rng, at)
    method, oracle, *most = rng.choice(DRAW)(rng, model, at)
    shape, keys = draw_shape(rng, method, most[0] if most else None)
    vocab = model.config.vocab_size
    prompts = [[rng.randrange(vocab) for _ in range(rng.choice([1, 2, 5, 12, 40]))] for _ in range(rng.choice([1, 2, 3]))]
    (at / "ids.json").write_text(json.dumps(prompts))
    hostile = rng.random() < 0.2 and spoil(rng, at, method)
    config = {"model": str(at / "head"), **keys}
    if rng.random() < 0.7 or method == "dspark":
        config["method"] = method
    words = f"{method} {shape} {(at / 'head/config.json').read_text() if (at / 'head/config.json').exists() else ''}"
    flags = rng.choice([[], [], ["--prefill-chunk-size", "8"], ["--batch-size", "1"], ["--block-size", "32", "--kv-cache-dtype", "float32"],
                        ["-tp", "2"] if model.config.num_attention_heads % 2 == 0 and model.config.hidden_size % 64 == 0 else []])
    if "-tp" in flags:
        config["draft_tensor_parallel_size"] = rng.choice([1, 2])
    plain, said = generate(glia, at, flags)
    if plain is None:
        return "TARGET", said
    draft = ["--speculative-config", json.dumps(config)]
    answers, said = generate(glia, at, flags + draft + ["--trace-drafts", at / "trace.jsonl"])
    if answers is None:
        return ("refused" if hostile and said.count("\n") == 0 and said.startswith("glia: ") else "REFUSED"), f"{said}\n    {words}"
    if hostile:
        return "ACCEPTED", f"{said}\n    {words}"
    if said:
        return "WARNED", said
    if answers != plain:
        return "ANSWER", words
    sampling = flags + ["--temperature", "0.9", "--seed", "5", "--repetition-penalty", "1.2"]
    if rng.random() < 0.3 and generate(glia, at, sampling)[0] != generate(glia, at, sampling + draft)[0]:
        return "SAMPLED", words
    with torch.no_grad():
        wrong = compare(model, oracle, shape, prompts, answers, at / "trace.jsonl")
    return ("near", "") if wrong == "near" else ("DIFFERENT", f"{wrong}\n    {words}") if wrong else ("same", words[:60])


# ---- goldens ------------------------------------------------------------------------------------------------------

def check_goldens(data):
    """Compare the formulas with the published code's trees and chains."""
    data, n = pathlib.Path(data), 0
    for name in ("eagle3-a", "eagle3-a-smollm3", "eagle1", "eagle1-bias", "eagle1-trained", "eagle3-a-trained", "eagle3-b", "eagle3-b-trained"):
        golden, c = json.loads((data / name / "golden.json").read_text()), json.loads((data / name / "config.json").read_text())
        target = {"eagle3-a-smollm3": "smollm3"}.get(name, "qwen3-trained" if "trained" in name else "qwen3")
        model = transformers.AutoModelForCausalLM.from_pretrained(data / "targets" / target, dtype=torch.float32)
        t = finish({k.replace("midlayer.", "layers.0."): v for k, v in load_file(data / name / "model.safetensors").items()}, model)
        three = not name.startswith("eagle1")
        layers = model.config.num_hidden_layers
        ids = c.get("eagle_aux_hidden_state_layer_ids")
        features = [i - 1 for i in ids] if ids else [1, layers // 2 - 1, layers - 4]
        head = Eagle(c.get("transformer_layer_config", c), c, t, three, features if three else None)
        known = golden["prompt"] + golden["greedy64"]
        for chain in golden.get("chains", []):
            at = chain["P"]
            got, _ = head.propose(known[:at + 1], states_of(model, known[:at]), {"kind": "chain", "n": 1})
            want = chain["steps"][0] if "steps" in chain else chain
            token = (want.get("top8_target_ids") or want["top8_draft_ids"])[0]
            assert list(got)[0] == (token,), (name, at, got, token)
            n += 1
        at = len(golden["prompt"]) + 1
        for r in golden.get("rounds", [])[:3]:
            want = paths_of(r["nodes"])
            got, margin = head.propose(known[:at], states_of(model, known[:at - 1]), {"kind": "dynamic", "total_token": 12, "depth": 4, "top_k": 4})
            assert set(got) == set(want) or margin < NEAR, (name, at, got, want)
            assert all(abs(got[p] - want[p]) < 1e-3 for p in set(got) & set(want)), name
            at += len(r["accepted_nodes"]) + (0 if r["accepted_nodes"][:1] == [0] else 1)
            n += 1
    print(f"{n} figures of published code agree")


if __name__ == "__main__":
    if "--goldens" in sys.argv:
        where = sys.argv.index("--goldens")
        with torch.no_grad():
            check_goldens(sys.argv[where + 1])
        del sys.argv[where:where + 2]
    sys.exit(walk.walk(__doc__, one))
