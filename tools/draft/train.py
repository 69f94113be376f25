"""Train a draft head: train.py MODEL_DIR --method eagle3|medusa --text FILE ... --out DIR

FILE has one prompt a line: a JSON object with "messages" (and "tools") is a conversation, whose last
answer is left out; a JSON string, or any other line, is text to go on from. Glia itself answers the
prompts, greedily and sampled in turn, and computes the hidden states, so the head learns from what it
will see. The head is written as it is published: EAGLE-3 as SafeAILab and SGLang do (config.json,
model.safetensors; the target's embedding is shared), Medusa as vLLM reads it (one head of logits for
all, and a token_map). Both keep the --vocab tokens that the answers use most.

Needs torch and safetensors. Everything else is `glia`: tokenize, template, generate, score --states.
"""

import argparse
import collections
import json
import math
import os
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("--method", choices=("eagle3", "medusa"), required=True)
    a.add_argument("--text", nargs="+", required=True, help="files of prompts")
    a.add_argument("--out", required=True, help="the directory to write")
    a.add_argument("--glia", default="build/glia", help="the program")
    a.add_argument("--tokens", type=int, default=160, help="tokens of an answer at most")
    a.add_argument("--vocab", type=int, default=32000, help="tokens that the head can propose")
    a.add_argument("--layers", help="EAGLE-3: the target's layers whose outputs are read, such as 1,13,24")
    a.add_argument("--ffn", type=int, help="EAGLE-3: intermediate size (default: the target's)")
    a.add_argument("--heads", type=int, default=4, help="Medusa: number of heads")
    a.add_argument("--depth", type=int, default=4, help="EAGLE-3: steps that are trained one after the other")
    a.add_argument("--length", type=int, default=512, help="tokens of a sequence at most; the rest is cut off")
    a.add_argument("--batch", type=int, default=16, help="sequences of a training step")
    a.add_argument("--epochs", type=float, default=6)
    a.add_argument("--lr", type=float, default=1e-3)
    a.add_argument("--device", default="cpu")
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--seed", type=int, default=0)
    return a.parse_args()


# ---- data: Glia's answers and hidden states -------------------------------------------------


def glia(o, words, text):
    p = subprocess.run([o.glia, *words], input=text, capture_output=True, text=True, check=False)
    if p.returncode:
        raise SystemExit(p.stderr.strip())
    return p.stdout


def read_prompts(o):
    """The token ids of every prompt."""
    chats, texts = [], []
    for path in o.text:
        for line in open(path, encoding="utf-8"):
            line = line.strip()
            try:
                value = json.loads(line) if line else None
            except ValueError:
                value = line
            if isinstance(value, dict):
                messages = value["messages"]
                if messages[-1]["role"] == "assistant":
                    messages = messages[:-1]
                chat = {"messages": messages, "add_generation_prompt": True,
                        "enable_thinking": len(chats) % 2 == 0}
                chats.append(json.dumps({**chat, **({"tools": value["tools"]} if value.get("tools") else {})}))
            elif isinstance(value, str):
                texts.append(json.dumps(value))
    lines = glia(o, ["template", o.model], "\n".join(chats)).splitlines() if chats else []
    return [json.loads(s) for s in glia(o, ["tokenize", o.model], "\n".join(lines + texts)).splitlines()]


def answer(o, prompts):
    """prompt + answer for each prompt, and where the answers begin."""
    out = []
    for i in range(0, len(prompts), 512):
        part = [p for p in prompts[i:i + 512] if p]
        how = ["--greedy"] if i // 512 % 2 == 0 else ["--temperature", "0.8", "--seed", str(o.seed + i)]
        words = ["generate", o.model, "--ids", "-", "--max-tokens", str(o.tokens), "--batch-size", "32",
                 "--threads", str(o.threads), *how]
        lines = glia(o, words, json.dumps(part)).splitlines()
        out += [(p + json.loads(a), len(p)) for p, a in zip(part, lines)]
        print(f"answers: {len(out)} of {len(prompts)}", flush=True)
    return [(ids[:o.length], min(at, o.length)) for ids, at in out if len(ids) > 8]


def states_of(o, sequences, layers):
    """[tokens, layers + 1, hidden] of each sequence."""
    out = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "states.safetensors")
        for i in range(0, len(sequences), 256):
            part = sequences[i:i + 256]
            glia(o, ["score", o.model, "--ids", "-", "--states", ",".join(map(str, layers)), "--out", path,
                     "--threads", str(o.threads)], json.dumps([ids for ids, _ in part]))
            states = load_file(path)["states"].to(torch.bfloat16)
            out += states.split([len(ids) for ids, _ in part])
    return out


def read_target(o):
    """config.json, the embedding, the head."""
    config = json.load(open(os.path.join(o.model, "config.json")))
    tensors = {}
    for name in sorted(os.listdir(o.model)):
        if name.endswith(".safetensors"):
            tensors.update(load_file(os.path.join(o.model, name)))
    embed = tensors["model.embed_tokens.weight"].float()
    return config, embed, tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"]).float()


# ---- EAGLE-3 --------------------------------------------------------------------------------


def rms(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


class Eagle3(nn.Module):
    def __init__(self, config, n_features, vocab, ffn):
        super().__init__()
        hidden = config["hidden_size"]
        self.heads, self.kv = config["num_attention_heads"], config["num_key_value_heads"]
        self.dim, self.eps = config.get("head_dim") or hidden // self.heads, config["rms_norm_eps"]
        self.theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
        rows = {"fc": (hidden, n_features * hidden), "lm_head": (vocab, hidden),
                "midlayer.self_attn.q_proj": (self.heads * self.dim, 2 * hidden),
                "midlayer.self_attn.k_proj": (self.kv * self.dim, 2 * hidden),
                "midlayer.self_attn.v_proj": (self.kv * self.dim, 2 * hidden),
                "midlayer.self_attn.o_proj": (hidden, self.heads * self.dim),
                "midlayer.mlp.gate_proj": (ffn, hidden), "midlayer.mlp.up_proj": (ffn, hidden),
                "midlayer.mlp.down_proj": (hidden, ffn)}
        norms = ("norm", "midlayer.input_layernorm", "midlayer.hidden_norm", "midlayer.post_attention_layernorm")
        self.names = [*rows, *norms]
        self.weight = nn.ParameterList([nn.Parameter(torch.randn(s) / math.sqrt(s[1])) for s in rows.values()] +
                                       [nn.Parameter(torch.ones(hidden)) for _ in norms])

    def w(self, name):
        return self.weight[self.names.index(name)]

    def rotate(self, x, position):
        inv = 1.0 / self.theta ** (torch.arange(0, self.dim, 2, device=x.device).float() / self.dim)
        angle = position[:, None].float() * inv
        cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat([-right, left], -1) * sin

    def attend(self, x, position, keys, values):
        """Row t sees rows 0 to t of the first step, and itself in each later one."""
        b, n, _ = x.shape
        split = lambda name, heads: F.linear(x, self.w(name)).view(b, n, heads, self.dim).transpose(1, 2)
        many = lambda y: y.repeat_interleave(self.heads // self.kv, 1)
        q = self.rotate(split("midlayer.self_attn.q_proj", self.heads), position)
        keys.append(many(self.rotate(split("midlayer.self_attn.k_proj", self.kv), position)))
        values.append(many(split("midlayer.self_attn.v_proj", self.kv)))
        scale = self.dim ** -0.5
        future = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        scores = [(q @ keys[0].transpose(2, 3) * scale).masked_fill(future, -1e30)]
        scores += [(q * k).sum(-1, keepdim=True) * scale for k in keys[1:]]
        p = torch.cat(scores, -1).softmax(-1)
        out = p[..., :n] @ values[0]
        for i, v in enumerate(values[1:]):
            out = out + p[..., n + i:n + i + 1] * v
        return F.linear(out.transpose(1, 2).reshape(b, n, -1), self.w("midlayer.self_attn.o_proj"))

    def step(self, embedded, hidden, position, keys, values):
        m = "midlayer."
        x = torch.cat([rms(embedded, self.w(m + "input_layernorm"), self.eps),
                       rms(hidden, self.w(m + "hidden_norm"), self.eps)], -1)
        hidden = hidden + self.attend(x, position, keys, values)
        x = rms(hidden, self.w(m + "post_attention_layernorm"), self.eps)
        x = F.silu(F.linear(x, self.w(m + "mlp.gate_proj"))) * F.linear(x, self.w(m + "mlp.up_proj"))
        hidden = hidden + F.linear(x, self.w(m + "mlp.down_proj"))
        return hidden, F.linear(rms(hidden, self.w("norm"), self.eps), self.w("lm_head"))

    def loss(self, batch, o, data):
        """Cross-entropy with the target's distribution over the head's tokens, step by step."""
        ids, states, mask = batch["ids"], batch["states"], batch["answer"]
        n = ids.shape[1] - 2
        hidden = F.linear(states[:, :n, :-1].flatten(2), self.w("fc"))
        target = F.linear(states[:, :, -1], data["head"][data["kept"]]).log_softmax(-1)
        keys, values, total, right = [], [], 0, []
        for k in range(o.depth):
            m = n - k  # row t of this step is at position t + k
            shift = lambda x, by: F.pad(x[:, by:by + n], (0, 0) * (x.dim() - 2) + (0, n - x[:, by:by + n].shape[1]))
            position = torch.arange(n, device=ids.device) + k
            hidden, logits = self.step(data["embed"][shift(ids, 1 + k)], hidden, position, keys, values)
            want, counts = shift(target, 1 + k)[:, :m], shift(mask, 2 + k)[:, :m].float()
            got = logits[:, :m].log_softmax(-1)
            total = total + 0.8 ** k * (-(want.exp() * got).sum(-1) * counts).sum() / counts.sum().clamp(min=1)
            right.append(((got.argmax(-1) == want.argmax(-1)) * counts).sum().item() / max(counts.sum().item(), 1))
        return total, right

    def save(self, o, config, layers, data):
        tensors = {n + ".weight": p.detach().to(torch.bfloat16).cpu().contiguous() for n, p in zip(self.names, self.weight)}
        kept = data["kept"].cpu()
        tensors["d2t"] = kept - torch.arange(len(kept))
        tensors["t2d"] = torch.zeros(config["vocab_size"], dtype=torch.bool).index_fill_(0, kept, True)
        keys = ("hidden_size", "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "vocab_size",
                "max_position_embeddings", "bos_token_id", "eos_token_id")
        write(o, tensors, {
            "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_act": "silu",
            **{k: config[k] for k in keys if k in config}, "head_dim": self.dim,
            "intermediate_size": self.w("midlayer.mlp.up_proj").shape[0], "num_hidden_layers": 1,
            "rope_theta": self.theta, "rope_scaling": None, "tie_word_embeddings": False,
            "torch_dtype": "bfloat16", "draft_vocab_size": len(kept),
            "eagle_config": {"use_aux_hidden_state": True, "eagle_aux_hidden_state_layer_ids": layers}})


# ---- Medusa ---------------------------------------------------------------------------------


class Medusa(nn.Module):
    def __init__(self, config, heads, head):
        super().__init__()
        hidden = config["hidden_size"]
        self.linear = nn.ParameterList([nn.Parameter(torch.zeros(hidden, hidden)) for _ in range(heads)])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(hidden)) for _ in range(heads)])
        self.lm_head = nn.Parameter(head.clone())

    def loss(self, batch, o, data):
        """Cross-entropy of head h at position p with the token at p + 2 + h."""
        ids, hidden, mask = data["small"][batch["ids"]], batch["states"][:, :, -1], batch["answer"]
        total, right = 0, []
        for h, (w, b) in enumerate(zip(self.linear, self.bias)):
            x, want = hidden[:, :-2 - h], ids[:, 2 + h:]
            counts = (mask[:, 2 + h:] & (want >= 0)).float()
            logits = F.linear(x + F.silu(F.linear(x, w, b)), self.lm_head)
            each = F.cross_entropy(logits.flatten(0, 1), want.clamp(min=0).flatten(), reduction="none").view_as(want)
            total = total + 0.8 ** h * (each * counts).sum() / counts.sum().clamp(min=1)
            right.append(((logits.argmax(-1) == want) * counts).sum().item() / max(counts.sum().item(), 1))
        return total, right

    def save(self, o, config, layers, data):
        bf16 = lambda p: p.detach().to(torch.bfloat16).cpu().contiguous()
        tensors = {f"blocks.{h}.layers.0.{n}": bf16(p) for n, list_ in (("weight", self.linear), ("bias", self.bias))
                   for h, p in enumerate(list_)}
        tensors["lm_heads.0.weight"] = bf16(self.lm_head)
        tensors["token_map"] = data["kept"].cpu().clone()
        write(o, tensors, {
            "architectures": ["MedusaModel"], "model_type": "medusa", "hidden_size": config["hidden_size"],
            "num_heads": len(self.linear), "num_hidden_layers": 1, "vocab_size": config["vocab_size"],
            "truncated_vocab_size": len(data["kept"]), "original_lm_head": True, "medusa_fc_bias": True,
            "max_paths": 64, "topk": 10, "torch_dtype": "bfloat16"})


# ---- training -------------------------------------------------------------------------------


def write(o, tensors, config):
    os.makedirs(o.out, exist_ok=True)
    save_file(tensors, os.path.join(o.out, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(o.out, "config.json"), "w") as f:
        f.write(json.dumps(config, indent=2) + "\n")


def batches(o, sequences, states, rng):
    """Sequences of like length together, padded with token 0 behind the end."""
    order = sorted(torch.randperm(len(sequences), generator=rng).tolist(), key=lambda i: len(sequences[i][0]) // 16)
    parts = [order[i:i + o.batch] for i in range(0, len(order), o.batch)]
    for p in torch.randperm(len(parts), generator=rng).tolist():
        longest = max(len(sequences[i][0]) for i in parts[p])
        fill = lambda x: F.pad(x, (0, 0) * (x.dim() - 1) + (0, longest - x.shape[0]))
        ids = [torch.tensor(sequences[i][0]) for i in parts[p]]
        answer = [torch.arange(len(x)) >= sequences[i][1] for i, x in zip(parts[p], ids)]
        batch = {"ids": torch.stack([fill(x) for x in ids]), "answer": torch.stack([fill(x) for x in answer]),
                 "states": torch.stack([fill(states[i]) for i in parts[p]]).float()}
        yield {k: v.to(o.device) for k, v in batch.items()}


def train(o, head, data, sequences, states):
    rng = torch.Generator().manual_seed(o.seed)
    steps = max(1, int(o.epochs * math.ceil(len(sequences) / o.batch)))
    optimizer = torch.optim.AdamW(head.parameters(), lr=o.lr, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, o.lr, total_steps=steps, pct_start=0.1)
    done, seen = 0, collections.deque(maxlen=50)
    while done < steps:
        for batch in batches(o, sequences, states, rng):
            loss, right = head.loss(batch, o, data)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seen.append(torch.tensor([loss.item(), *right]))
            done += 1
            if done % 50 == 0 or done == steps:
                mean = torch.stack(list(seen)).mean(0).tolist()
                print(f"step {done} of {steps}: loss {mean[0]:.3f}, right by depth "
                      + " ".join(f"{100 * r:.0f}%" for r in mean[1:]), flush=True)
            if done == steps:
                break


def choose_layers(o, config):
    """The outputs of layers 1, n/2 - 1 and n - 4, as EAGLE-3 reads them, or three others in few layers."""
    n = config["num_hidden_layers"]
    if o.method == "medusa":
        return []
    if o.layers:
        return sorted(int(x) for x in o.layers.split(","))
    return [1, n // 2 - 1, n - 4] if n >= 7 else [0, n // 2 - 1, n - 2]


def main():
    o = arguments()
    torch.manual_seed(o.seed)
    torch.set_num_threads(o.threads)
    config, embed, head = read_target(o)
    layers = choose_layers(o, config)
    sequences = answer(o, read_prompts(o))
    if not sequences:
        raise SystemExit("train.py: the files of --text hold no prompt that is answered")
    states = states_of(o, sequences, layers)
    used = collections.Counter(t for ids, at in sequences for t in ids[at:])
    kept = torch.tensor(sorted(t for t, _ in used.most_common(o.vocab)))
    small = torch.full((config["vocab_size"],), -1).index_copy_(0, kept, torch.arange(len(kept)))
    data = {k: v.to(o.device) for k, v in {"embed": embed, "head": head, "kept": kept, "small": small}.items()}
    if o.method == "eagle3":
        module = Eagle3(config, len(layers), len(kept), o.ffn or config["intermediate_size"])
    else:
        module = Medusa(config, o.heads, head[kept])
    module = module.to(o.device)
    train(o, module, data, sequences, states)
    module.save(o, config, layers, data)
    print(f"{o.out}: {o.method}, {len(kept)} tokens, {sum(p.numel() for p in module.parameters())} parameters")


if __name__ == "__main__":
    main()
