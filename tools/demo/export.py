"""Write a trained model as a Hugging Face directory: export.py FAMILY TOKENIZER.json WORK DIR"""

import os
import sys

import torch
from tokenizers import Tokenizer

import models


def main():
    family, tokenizer, work, directory = sys.argv[1:]
    tok = Tokenizer.from_file(tokenizer)
    model = models.build(family, models.config(family, tok))
    state = torch.load(os.path.join(work, "last.pt"), weights_only=False)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(state["mean"][name])
    models.export(family, model, tok, directory)
    print(family, "after", state["step"], "steps")


main()
