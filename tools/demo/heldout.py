"""Write the held-out conversations: heldout.py OUT.jsonl

One JSON object a line: kind, messages (the last is the wanted answer), tools, the thinking
that belongs to it, and expect, which a right answer contains. Nothing of it is ever trained on:
see world.held_out.
"""

import json
import random
import sys

import world

SEED, EACH = 99, 36
KINDS = ("sum", "difference", "word problem", "story", "unknown", "told", "fact", "call",
         "response", "compare", "colour")


def main():
    rng = random.Random(SEED)
    left = {k: EACH for k in KINDS}
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        while any(left.values()):
            c = world.held(rng)
            if left.get(c["kind"], 0) == 0:
                continue
            left[c["kind"]] -= 1
            line = {k: c[k] for k in ("kind", "messages", "tools", "thought", "expect")}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


main()
