"""Expected tokens and logits of the demo models, from Transformers.

    gen_generate_goldens.py [--only qwen3|smollm3] [--part tokens|logits]

tests/golden/generate-FAMILY.json: greedy generations in float32, eager attention, with a KV
cache: 4 x 1,024 tokens and 1 x 8,192. A case's "eos" says what was done about it: "ignored" (it
is a token like any other) or "barred" (min_new_tokens: its logit is -inf until then). "gaps" is
the smallest distance between the two largest logits in the case, and "ties" every step where
it is below 1e-4: [step, first token, second token, distance].

tests/golden/logits-FAMILY.safetensors: teacher-forced logits of a short text, "logits" F64
[tokens, vocabulary] for "ids" I32 [tokens], with every operation in float64: the norms, the
rotary angles and the softmax too, which Transformers would do in float32.
"""

import argparse
import json
import math
import os
import platform
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools", "demo"))
import models  # noqa: E402
import render  # noqa: E402

DATE = "08 July 2025"
LONG = 8192
STORY = ("Mia went to the mill. Otto was at the harbour. Mia found a red kite. Otto saw seven "
         "geese there. Mia gave the kite to Otto. Otto ran to the bridge.")
CASES = (  # name, turns, thinking, eos, new tokens
    ("sum", ["What is 47 + 38?"], True, "ignored", 1024),
    ("story", [STORY + " Who has the kite now?"], False, "ignored", 1024),
    ("tell", ["Tell me a story about a fox."], True, "barred", 1024),
    ("chat", ["Hello!", "Hello! How can I help you?", "Where does Mia live?"], True, "ignored",
     1024),
    ("long", ["Tell me a story."], False, "ignored", LONG),
)


def load(family, dtype, attention="eager"):
    directory = os.path.join(ROOT, "models", family + "-demo")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype,
                                                 attn_implementation=attention).eval()
    tok = models.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
    return model, tok, models.hf_tokenizer(family, tok)


def prompt(family, tok, hf, turns, thinking):
    messages = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]
    text = render.prompt_text(family, hf, {"tools": None}, DATE, {"enable_thinking": thinking},
                              messages)
    return tok.encode(text, add_special_tokens=False).ids


def versions():
    return {"transformers": transformers.__version__, "torch": torch.__version__,
            "python": platform.python_version(), "machine": platform.machine()}


def generate(family):
    model, tok, hf = load(family, torch.float32)
    eos = model.generation_config.eos_token_id
    model.generation_config.do_sample = False
    for name in ("temperature", "top_k", "top_p"):
        setattr(model.generation_config, name, None)
    out = {"command": f"tools/gen_generate_goldens.py --only {family} --part tokens",
           "versions": versions(), "model": f"models/{family}-demo", "dtype": "float32",
           "cases": []}
    for name, turns, thinking, how, new in CASES:
        ids = prompt(family, tok, hf, turns, thinking)
        model.generation_config.eos_token_id = eos if how == "barred" else None
        more = {"min_new_tokens": new} if how == "barred" else {}
        with torch.no_grad():
            got = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)),
                                 max_new_tokens=new, output_scores=True,
                                 return_dict_in_generate=True, **more)
        scores = torch.cat(got.scores)
        two = scores.topk(2)
        gaps = (two.values[:, 0] - two.values[:, 1]).double()
        ties = [[i, *two.indices[i].tolist(), gaps[i].item()]
                for i in (gaps < 1e-4).nonzero().flatten().tolist()]
        tokens = got.sequences[0, len(ids):].tolist()
        assert len(tokens) == new and tokens == two.indices[:, 0].tolist()
        out["cases"].append({"name": name, "eos": how, "prompt": ids, "tokens": tokens,
                             "gaps": {"min": gaps.min().item(), "step": int(gaps.argmin())},
                             "ties": ties})
        print(family, name, "smallest gap", gaps.min().item(), "ties below 1e-4:", len(ties))
        print(json.dumps(tok.decode(tokens[:300], skip_special_tokens=False)))
    path = os.path.join(ROOT, "tests", "golden", f"generate-{family}.json")
    with open(path, "w", encoding="utf-8") as f:
        text = json.dumps(out, separators=(",", ":"))
        f.write(text.replace('{"name"', '\n{"name"').replace('"cases"', '\n"cases"') + "\n")


class Norm64(torch.nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.weight, self.eps = norm.weight, norm.variance_epsilon

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Rope64(torch.nn.Module):
    def __init__(self, theta, dim):
        super().__init__()
        self.inverse = theta ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)

    def forward(self, x, position_ids):
        angle = position_ids[..., None].double() * self.inverse
        angle = torch.cat((angle, angle), -1)
        return angle.cos(), angle.sin()


def attention64(module, query, key, value, mask, scaling, **_):
    groups = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    n = query.shape[2]
    scores = query @ key.transpose(2, 3) * scaling
    scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2), None


def logits(family):
    ALL_ATTENTION_FUNCTIONS.register("float64", attention64)
    model, tok, hf = load(family, torch.float64)
    cfg = model.config
    cfg._attn_implementation = "float64"
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                setattr(parent, name, Norm64(child))
    dim = getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads
    model.model.rotary_emb = Rope64(cfg.rope_theta, dim)
    ids = prompt(family, tok, hf, [STORY], True)[-24:]
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    assert out.dtype == torch.float64
    plain, _, _ = load(family, torch.float32)
    with torch.no_grad():
        diff = (plain(input_ids=torch.tensor([ids])).logits[0].double() - out).abs()
    print(family, "logits: float32 differs by", diff.max().item(), "at most")
    save_file({"ids": torch.tensor(ids, dtype=torch.int32), "logits": out.contiguous()},
              os.path.join(ROOT, "tests", "golden", f"logits-{family}.safetensors"),
              metadata={"command": f"tools/gen_generate_goldens.py --only {family} --part logits",
                        "versions": json.dumps(versions())})


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--only", choices=models.FAMILIES)
    a.add_argument("--part", choices=("tokens", "logits"))
    args = a.parse_args()
    torch.set_num_threads(1)
    for family in [args.only] if args.only else models.FAMILIES:
        if args.part != "tokens":
            logits(family)
        if args.part != "logits":
            generate(family)


main()
