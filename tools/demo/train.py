"""Train a demo model: train.py FAMILY TOKENIZER.json WORK_DIR [--steps N] [--cooldown N]

Runs on the CPU in bfloat16 where the processor has it. The learning rate is constant after a
short warm-up and falls linearly over the last --cooldown steps. WORK_DIR/last.pt is written
every --save steps with everything needed to go on from there (--resume). The exported weights
are an exponential mean of those trained, rounded to bfloat16.
"""

import argparse
import os
import time

import torch
from tokenizers import Tokenizer

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import models
import render

SEED = 7
ROWS, LENGTH = 8, 256
LR_MUON, LR_ADAM, WARMUP, EMA = 4e-3, 4e-3, 40, 0.99


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("family", choices=models.FAMILIES)
    a.add_argument("tokenizer")
    a.add_argument("work")
    a.add_argument("--steps", type=int, default=5000)
    a.add_argument("--cooldown", type=int, default=1000)
    a.add_argument("--save", type=int, default=100)
    a.add_argument("--practice", type=float, default=0.0, help="share of plain practice texts")
    a.add_argument("--resume", action="store_true")
    a.add_argument("--threads", type=int, default=1)
    return a.parse_args()


def attention(module, query, key, value, mask, scaling, **_):
    """Causal attention without copies of the shared key and value heads."""
    b, heads, n, d = query.shape
    groups = query.reshape(b, heads // module.num_key_value_groups, -1, d)
    scores = (groups @ key.transpose(2, 3)).float() * scaling
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    scores = scores.view(b, -1, n, n).masked_fill(future, -1e30)
    share = scores.softmax(-1).to(value.dtype).view(b, groups.shape[1], -1, n)
    return (share @ value).view(b, heads, n, d).transpose(1, 2), None


def optimizers(model):
    """Muon for the matrices inside the layers, AdamW for embedding and norms."""
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    outer = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    return [torch.optim.Muon(inner, lr=LR_MUON, weight_decay=0.05, momentum=0.95,
                             adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, lr=LR_ADAM, betas=(0.9, 0.98), weight_decay=0.0,
                              fused=True)]


def rate(step, args):
    """The share of the full learning rate at a step."""
    up = min(1.0, (step + 1) / WARMUP)
    down = min(1.0, (args.steps - step) / max(1, args.cooldown))
    return min(up, down)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    os.makedirs(args.work, exist_ok=True)
    last = os.path.join(args.work, "last.pt")
    tok = Tokenizer.from_file(args.tokenizer)
    cfg = models.config(args.family, tok)
    ALL_ATTENTION_FUNCTIONS.register("train", attention)
    cfg._attn_implementation = "train"
    cfg.use_cache = False
    model = models.build(args.family, cfg).float().train()
    mean = {n: p.detach().clone() for n, p in model.named_parameters()}
    opts = optimizers(model)
    full = [g["lr"] for o in opts for g in o.param_groups]
    packer = render.Packer(args.family, models.hf_tokenizer(args.family, tok), tok, SEED,
                           args.practice)
    start = 0
    if args.resume:
        state = torch.load(last, weights_only=False)
        model.load_state_dict(state["model"])
        mean = state["mean"]
        for o, s in zip(opts, state["opts"]):
            o.load_state_dict(s)
        packer.rng.setstate(state["rng"])
        packer.pool, start = state["pool"], state["step"]

    def loss_of(ids, weights, positions):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model.model(input_ids=ids, position_ids=positions).last_hidden_state
            logits = model.lm_head(hidden[:, :-1])
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        w = weights[:, 1:].flatten()
        answers = w * (w == render.ANSWER)
        return (each * w).sum() / w.sum(), (each.detach() * answers).sum() / answers.sum()

    loss_fn = torch.compile(loss_of, dynamic=False)
    shown, begun = [], time.time()
    for step in range(start, args.steps):
        rows = [packer.row(LENGTH) for _ in range(ROWS)]
        loss, answer = loss_fn(*(torch.tensor(part) for part in zip(*rows)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        share, i = rate(step, args), 0
        for o in opts:
            for g in o.param_groups:
                g["lr"] = full[i] * share
                i += 1
            o.step()
            o.zero_grad(set_to_none=False)
        with torch.no_grad():
            keep = min(EMA, (step + 1) / (step + 10))
            names = [n for n, _ in model.named_parameters()]
            torch._foreach_lerp_([mean[n] for n in names],
                                 [p for _, p in model.named_parameters()], 1 - keep)
        shown.append((loss.item(), answer.item()))
        done = step + 1
        if done % 20 == 0 or done == args.steps:
            a = [sum(x) / len(shown) for x in zip(*shown)]
            print(f"{args.family} step {done} loss {a[0]:.4f} answers {a[1]:.4f} "
                  f"{(done - start) * ROWS * LENGTH / (time.time() - begun):.0f} tokens/s, "
                  f"{time.process_time():.0f} s of CPU", flush=True)
            shown = []
        if done % args.save == 0 or done == args.steps:
            state = dict(model=model.state_dict(), mean=mean, step=done,
                         opts=[o.state_dict() for o in opts], rng=packer.rng.getstate(),
                         pool=packer.pool)
            torch.save(state, last + ".new")
            os.replace(last + ".new", last)


main()
