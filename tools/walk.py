"""What walk_adapters.py and walk_quantized.py share: a seeded walk over random cases, each compared with Glia."""
import argparse
import collections
import json
import pathlib
import random
import re
import subprocess
import tempfile
import warnings

import torch
import transformers
from safetensors.torch import load_file


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double()


def glia_logits(glia, model, ids, at, flags):
    """Returns float32 logits by `glia score`, or None, and what it says on standard error."""
    (at / "ids.json").write_text(json.dumps(ids))
    run = subprocess.run([glia, "score", model, "--dtype", "float32", "--ids", at / "ids.json", "--out", at / "out.safetensors", *flags],
                         capture_output=True, text=True, check=False)
    return None if run.returncode else load_file(at / "out.safetensors")["logits"].double(), run.stderr.strip()


def refusal(said, strict):
    """The verdict on a refusal: "refused" if a pattern of `strict` has its reason."""
    return "refused" if any(re.search(pattern, said) for pattern in strict) else "REFUSED"


def walk(doc, one, bases=False):
    """Call one(rng, glia, directory, number, bases) for each case, and print the verdicts: those in capitals are
    defects. Returns True if there are any."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if bases:
        p.add_argument("base", nargs="+", metavar="BASE")
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--only", type=int, help="this number alone")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    verdicts = collections.Counter()
    for i in [args.only] if args.only is not None else range(args.count):
        with tempfile.TemporaryDirectory(prefix="glia-walk-") as at:
            verdict, words = one(random.Random(f"{args.seed}/{i}"), args.glia, pathlib.Path(at), i, getattr(args, "base", []))
        verdicts[verdict] += 1
        if args.verbose or verdict.isupper():
            print(f"{i} {verdict}: {words}", flush=True)
    print(", ".join(f"{n} {v}" for v, n in sorted(verdicts.items())))
    return any(v.isupper() for v in verdicts)
