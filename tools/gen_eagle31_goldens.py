"""EAGLE-3.1's variants of a head: gen_eagle31_goldens.py ../shared/data/drafts > tests/golden/eagle31.json

The head eagle3-b-trained with norms of features added (fc_norm, or input_norm before fc) and with norm_output,
whose weights are a formula that tests/check_heads.c has, too. The figures are by this script's own float32
forward pass, written from speculators 0.9.0 (Eagle3DraftModel.forward); the target's states are by transformers.
"""

import json
import sys

import torch
import transformers
from safetensors.torch import load_file

VARIANTS = ({}, {"fc_norm": True}, {"norm_before_fc": True}, {"norm_output": True},
            {"fc_norm": True, "norm_output": True, "norm_before_residual": False})


def norm_weight(n, at):
    """The same numbers in C: exact in bfloat16."""
    return torch.tensor([0.5 + (i + at) % 7 / 8 for i in range(n)])


def rms(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w


class Head:
    def __init__(self, weights, config):
        self.w = {k: v.float() for k, v in weights.items() if v.dtype == torch.bfloat16}
        self.c, self.keys, self.values = config, [], []
        t = config["transformer_layer_config"]
        self.heads, self.kv, self.dim = t["num_attention_heads"], t["num_key_value_heads"], t["head_dim"]
        self.inv = 1.0 / (t["rope_parameters"]["rope_theta"] ** (torch.arange(0, self.dim, 2).float() / self.dim))

    def rotate(self, x, position):
        angle = float(position) * self.inv
        cos, sin = torch.cat([angle.cos()] * 2), torch.cat([angle.sin()] * 2)
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat([-right, left], -1) * sin

    def fuse(self, states):
        if self.c.get("fc_norm"):
            states = [rms(x, norm_weight(x.shape[-1], i)) for i, x in enumerate(states)]
        x = torch.cat(states, -1)
        if self.c.get("norm_before_fc"):
            x = rms(x, norm_weight(x.shape[-1], 3))
        return x @ self.w["fc.weight"].T

    def row(self, token, hidden, position):
        w = {k.removeprefix("layers.0."): v for k, v in self.w.items()}
        normed = rms(hidden, w["hidden_norm.weight"])
        x = torch.cat([rms(w["embed_tokens.weight"][token], w["input_layernorm.weight"]), normed])
        q, k, v = ((w[f"self_attn.{n}_proj.weight"] @ x).view(-1, self.dim) for n in "qkv")
        many = lambda y: y.repeat_interleave(self.heads // self.kv, 0)
        self.keys.append(many(self.rotate(k, position)))
        self.values.append(many(v))
        p = torch.softmax((self.rotate(q, position)[:, None] * torch.stack(self.keys, 1)).sum(-1) / self.dim ** 0.5, -1)
        hidden = normed if self.c["norm_before_residual"] else hidden
        hidden = hidden + w["self_attn.o_proj.weight"] @ (p[..., None] * torch.stack(self.values, 1)).sum(1).reshape(-1)
        x = rms(hidden, w["post_attention_layernorm.weight"])
        gate, up = w["mlp.gate_proj.weight"] @ x, w["mlp.up_proj.weight"] @ x
        return hidden + w["mlp.down_proj.weight"] @ (torch.nn.functional.silu(gate) * up)


def main():
    data = sys.argv[1]
    golden, config = (json.load(open(f"{data}/eagle3-b-trained/{n}.json")) for n in ("golden", "config"))
    weights, out = load_file(f"{data}/eagle3-b-trained/model.safetensors"), []
    model = transformers.AutoModelForCausalLM.from_pretrained(f"{data}/{golden['target']}", dtype=torch.float32,
                                                              attn_implementation="eager")
    prompt = golden["prompt"]
    with torch.no_grad():
        result = model(torch.tensor([prompt]), output_hidden_states=True)
        tokens = prompt + [result.logits[0, -1].argmax().item()]
        for keys in VARIANTS:
            head = Head(weights, {**config, **keys})
            hidden = head.fuse([result.hidden_states[i][0] for i in config["eagle_aux_hidden_state_layer_ids"]])
            for j in range(len(prompt)):
                state = head.row(tokens[j + 1], hidden[j], j)
            drafts, score = [], 0.0
            for k in range(4):
                normed = rms(state, head.w["norm.weight"])
                logprobs = (head.w["lm_head.weight"] @ normed).log_softmax(-1)
                best = logprobs.argmax().item()
                score += logprobs[best].item()
                drafts.append([best + weights["d2t"][best].item(), round(score, 6)])
                state = head.row(drafts[-1][0], normed if keys.get("norm_output") else state, len(prompt) + k)
            out.append({"keys": keys, "drafts": drafts})
    made_by = f"tools/gen_eagle31_goldens.py; torch {torch.__version__}, transformers {transformers.__version__}, float32"
    print(json.dumps({"made_by": made_by, "variants": out}, indent=1))


main()
