"""Train a demo tokenizer: build_tokenizer.py FAMILY OUT.json"""

import random
import re
import sys

import models
import render

SEED, DOCUMENTS = 1, 40000


def main():
    family, out = sys.argv[1:]
    # The texts need a template only; any tokenizer will do to carry it.
    from tokenizers import Tokenizer
    blank = Tokenizer(models.models.BPE())
    hf = models.hf_tokenizer(family, blank)
    rng = random.Random(SEED)
    special = [text for text, _ in models.ADDED[family]]

    def texts():
        for _ in range(DOCUMENTS):
            text = "".join(part[0] for part in render.draw(family, hf, rng))
            text = re.sub("[0-9]{3,}", "\0", text)   # no token of three digits: too rare to learn
            for s in special:
                text = text.replace(s, "\0")
            yield from (t for t in text.split("\0") if t)
        for n in range(100):
            yield from [str(n)] * 300

    tok = models.train_tokenizer(family, texts())
    tok.save(out, pretty=False)
    print(family, tok.get_vocab_size())


main()
