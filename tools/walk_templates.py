#!/usr/bin/env python3
"""Do random chat templates render in Glia as in the environment that Transformers gives them?

    walk_templates.py [--glia build/glia] [--count 2000] [--seed 1] [--only N] [--verbose]

Each template is built from the statements, filters, tests and methods that published templates use, and
their neighbours. It is rendered by Transformers' Jinja2 and by `glia template`, with the variables of
tools/gen_template_goldens.py. The text must be equal, or both must fail. A difference is printed and makes
the exit status 1, unless Glia's error has a reason of the table STRICT. Needs transformers and jinja2.
"""
import argparse
import collections
import json
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile

import gen_template_goldens as goldens
import gen_tokenizer_goldens as small

# What docs/TEMPLATES.md says that Glia refuses.
STRICT = r"is refused|64 bits|overflow|too large|limit|lipsum|complex|surrogate|not support"

NAMES = ["yes", "no", "zero", "i", "neg", "f", "name", "text", "uni", "empty", "nums", "words", "mixed", "user", "people", "tree",
         "messages", "none_value", "missing", "user.name", "user.tags", "user['nested'].a.b", "messages[0].content", "messages[-1]['role']",
         "html", "nums[1:]", "text[::-1]", "messages[::-1]", "words[0]", "user.missing", "people[0]"]
LITERALS = ["1", "0", "-3", "2.5", "1e3", "'a'", "'%s %d'", "\"it's\\n\"", "none", "true", "[]", "[1, 'b']", "{'k': 1, 'z': [2]}", "('x', 2)",
            "''", "' <think>\\n x </think> '", "'a,b,,c'", "'\\u00e9\\t'", "1_000", "0x1F", "range(4)", "namespace(a=1)", "dict(b=2)"]
FILTERS = ["upper", "lower", "trim", "length", "list", "join", "join(', ')", "first", "last", "reverse", "sort", "sort(reverse=true)", "unique",
           "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))", "tojson(sort_keys=true)", "string", "int",
           "float", "abs", "round", "round(1)", "round(2, 'floor')", "default('d')", "default('d', true)", "d", "capitalize", "title",
           "replace('a', 'b')", "replace('\\n', '', 1)", "map('upper')", "map(attribute='name')", "map(attribute='content') | list",
           "selectattr('role', 'equalto', 'user') | list", "rejectattr('age') | list", "select('string') | list", "reject('none') | list",
           "groupby('age')", "batch(2) | list", "slice(2) | list", "sum", "min", "max", "items", "dictsort", "indent", "indent(2, true)", "wordcount",
           "truncate(9)", "center(12)", "escape", "safe", "striptags", "urlencode", "xmlattr", "pprint", "format(1, 2)", "attr('name')", "filesizeformat",
           "wordwrap(6)", "count", "e", "nosuch", "sort(attribute='age')", "map('int') | list", "select | list", "map('length') | list", "forceescape"]
TESTS = ["defined", "undefined", "none", "string", "number", "mapping", "iterable", "sequence", "boolean", "integer", "float", "true", "false", "odd",
         "even", "divisibleby 3", "eq 1", "equalto('a')", "in nums", "in 'abc'", "callable", "lower", "upper", "sameas none", "gt 2", "ne 'x'",
         "filter", "test", "nosuch", "lt 'z'"]
METHODS = ["strip()", "strip('a ')", "lstrip('\\n')", "rstrip()", "split()", "split('a')", "split(',', 1)", "rsplit('n', 1)", "splitlines()", "startswith('<')",
           "endswith(('a', 'b'))", "find('a')", "index('a')", "count('a')", "upper()", "title()", "swapcase()", "isdigit()", "isalpha()", "zfill(5)",
           "replace('a', 'é')", "join(words)", "format(1, x=2)", "items()", "keys()", "values()", "get('name')", "get('q', 3)", "append(1)", "copy()",
           "partition('a')", "center(9, '*')", "removeprefix('T')", "removesuffix('x')", "casefold()", "isspace()", "ljust(6)", "expandtabs(2)",
           "update({})", "pop()", "index(3)", "is_integer()", "bit_length()", "hex()", "encode()", "__class__", "islower()", "capitalize()", "nosuch()"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "and", "or", "==", "!=", "<", ">=", "in", "not in", "<", "~"]


def expression(rng, depth=0):
    kind = rng.random() + depth * 0.12
    if kind > 0.75:
        return rng.choice(NAMES) if rng.random() < 0.7 else rng.choice(LITERALS)
    inner = expression(rng, depth + 1)
    if kind < 0.25:
        return f"{inner} | {rng.choice(FILTERS)}"
    if kind < 0.38:
        return f"({inner}).{rng.choice(METHODS)}"
    if kind < 0.48:
        return f"({inner}) is {rng.choice(['', '', 'not '])}{rng.choice(TESTS)}"
    if kind < 0.62:
        return f"({inner}) {rng.choice(OPERATORS)} ({expression(rng, depth + 1)})"
    if kind < 0.67:
        return f"{inner} if {expression(rng, depth + 1)}" + rng.choice(["", f" else {expression(rng, depth + 1)}"])
    if kind < 0.71:
        return f"({inner})[{rng.choice(['0', '-1', '1:', ':2', '::2', repr('name'), '9', '-1:', expression(rng, depth + 1)])}]"
    return rng.choice([f"not ({inner})", f"-({inner})", f"[{inner}, {rng.choice(NAMES)}]", f"{{'a': {inner}}}", "loop.index", "loop.last", "loop.previtem",
                       "loop.cycle('a', 'b')", "ns.x", "m(1)", "caller()", "strftime_now('%d %b %Y')", "x", "self", "loop.nextitem.role"])


def blocks(rng, depth=0):
    return "".join(block(rng, depth) for _ in range(rng.choice([1, 1, 2, 3])))


def tag(rng, body):
    return "{%" + rng.choice(["", "", "-", "-", "+"]) + f" {body} " + rng.choice(["", "", "-", "-"]) + "%}" + rng.choice(["", "\n", "\n  ", " "])


def block(rng, depth):
    def t(body):
        return tag(rng, body)
    e = expression(rng)
    kind = rng.randrange(16 if depth < 3 else 3)
    if kind < 2:
        return "{{" + rng.choice(["", "-"]) + f" {e} " + rng.choice(["", "-"]) + "}}"
    if kind == 2:
        return rng.choice([" text\n", "\n\n", "<|im_start|>", "  ", "{# note #}", "{#- note -#}\n", "{{ '\\n' }}", "\t{{ 'x' }}\n", "{% raw %}{{ x }}{% endraw %}"])
    inside = blocks(rng, depth + 1)
    if kind in (3, 4):
        return t(f"if {e}") + inside + rng.choice(["", t(f"elif {expression(rng)}") + blocks(rng, depth + 1)]) + \
            rng.choice(["", t("else") + blocks(rng, depth + 1)]) + t("endif")
    if kind in (5, 6, 7):
        what = rng.choice(["message in messages", "x in nums", f"x in {e}", "k, v in user.items()", "k, v in user | items", "x in people if x.age > 5",
                           "x in tree recursive", "x in range(3)", "message in messages[1:]", "(a, b) in [(1, 2)]", "x in words | reverse"])
        body = inside + rng.choice(["", "", t("if loop.first") + t(rng.choice(["break", "continue"])) + t("endif"), "{{ loop(x.kids) }}", "{{ loop.index0 }}"])
        return t(f"for {what}") + body + rng.choice(["", "", t("else") + "none"]) + t("endfor")
    if kind in (8, 9):
        return t(rng.choice([f"set x = {e}", f"set ns = namespace(x={e})", f"set ns.x = {e}", f"set x, y = {e}", f"set ns = namespace(_x={e})", f"set ns['x'] = {e}"]))
    if kind == 10:
        return t(rng.choice(["set x", "set x | upper", "set x | trim"])) + inside + t("endset") + "{{ x }}"
    if kind == 11:
        return t(rng.choice(["macro m(a, b=2)", "macro m(x)", "macro m()"])) + inside + t("endmacro") + \
            rng.choice(["{{ m(1) }}", "{{ m(1, b=3) }}", "{{ m(x=1) }}", "", t("call m(1)") + "in" + t("endcall"), "{{ m.name }}{{ m.arguments }}"])
    if kind == 12:
        return t(rng.choice(["filter upper", "filter indent", "filter trim", "filter replace('a', 'b')"])) + inside + t("endfilter")
    if kind == 13:
        return t(rng.choice([f"with y = {e}", "with"])) + inside + t("endwith")
    if kind == 14:
        return t("generation") + inside + t("endgeneration")
    return rng.choice(["{{ raise_exception('no ' ~ i) }}", t(f"if {e}") + "{{ raise_exception('x') }}" + t("endif"), inside])


def ours(glia, folder, template):
    path = pathlib.Path(folder, "t.jinja")
    path.write_text(template, encoding="utf-8", newline="")
    line = json.dumps(goldens.CONTEXT) + "\n"
    done = subprocess.run([glia, "template", folder, "--chat-template", str(path), "--now", "2025-07-08T12:00:00"], input=line.encode(),
                          capture_output=True, timeout=60)
    if done.returncode not in (0, 1) or done.stderr:
        return {"broken": f"exit {done.returncode}: {done.stderr.decode(errors='replace')}"}
    out = json.loads(done.stdout)
    return {"error": out["error"]} if isinstance(out, dict) else {"rendered": out}


def theirs(template):
    signal.alarm(10)  # 9 ** 9 ** 9
    want = goldens.render(template)
    signal.alarm(0)
    return {k: v for k, v in want.items() if k in ("rendered", "error")}


def without_addresses(text):
    return re.sub(r"<generator object [^>]*>|<[^<>]*0x[0-9a-f]+>", "<object>", text)


def judge(us, them):
    if "broken" in us:
        return "BROKEN"
    if "error" in us and "error" in them:
        return "both fail"
    if "rendered" in us and "rendered" in them:
        same = without_addresses(us["rendered"]) == without_addresses(them["rendered"])
        return "same" if same else "DIFFERENT"
    if "TIMEOUT" in them.get("error", ""):
        return "theirs takes too long"
    return "strict" if "error" in us and re.search(STRICT, us["error"]) else "ONE FAILS"


def too_long(*_):
    raise ValueError("TIMEOUT")


def main():
    signal.signal(signal.SIGALRM, too_long)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--count", type=int, default=2000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", type=int, help="this number alone")
    p.add_argument("--verbose", action="store_true")
    args = p.parse_args()
    goldens.CONTEXT.update(tools=None, documents=None, add_generation_prompt=False)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="glia-walk-") as folder:
        source = {**small.train(), "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}
        pathlib.Path(folder, "tokenizer.json").write_text(json.dumps(source))
        for i in [args.only] if args.only is not None else range(args.count):
            rng = random.Random(f"{args.seed}/{i}")
            template = blocks(rng)
            us, them = ours(args.glia, folder, template), theirs(template)
            verdict = judge(us, them)
            counts[verdict] += 1
            if args.verbose or verdict.isupper():
                print(f"{i} {verdict}: {template!r}\n    {us!r:.400}\n    {them!r:.400}", flush=True)
    print(", ".join(f"{n} {v}" for v, n in sorted(counts.items())))
    sys.exit(1 if any(v.isupper() for v in counts) else 0)


if __name__ == "__main__":
    main()
