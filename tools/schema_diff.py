#!/usr/bin/env python3
"""Compare `glia grammar check` with the judge jsonschema (PyPI): does a schema's constraint accept what the schema
accepts?

usage: tools/schema_diff.py suite DIR             the JSON-Schema-Test-Suite's tests/ (jsonschema's sdist has it)
       tools/schema_diff.py mutate CASES.jsonl    schemas and instances of json_schema.jsonl, instances changed at random
       tools/schema_diff.py random                random schemas, random instances
       tools/schema_diff.py regex                 random patterns, random texts; the judge is re

options: --glia build/glia, --model models/qwen3-demo, --seed 1, --count 1000, --show 20

An instance is WIDER if the constraint accepts it, the judge refuses it, and no warning says what is not enforced;
NARROWER if the judge accepts it and the constraint does not. What docs/STRUCTURED.md states as narrower (the spelling
of numbers, the ASCII part of formats) is not generated. Exit status 1 if an instance is WIDER.
"""
import argparse
import collections
import copy
import json
import pathlib
import random
import re
import subprocess
import sys

import jsonschema
import referencing

DRAFTS = {"draft2020-12": jsonschema.Draft202012Validator, "draft2019-09": jsonschema.Draft201909Validator,
          "draft7": jsonschema.Draft7Validator, "draft6": jsonschema.Draft6Validator,
          "draft4": jsonschema.Draft4Validator}
# Instances whose verdict JSON texts cannot carry, or that need the network or a dialect of its own.
SUITE_SKIP = {"refRemote", "vocabulary", "format", "cross-draft", "dependencies-compatibility", "content"}


def check(args, lines):
    """The answers of the coprocess."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    out = subprocess.run([args.glia, "grammar", "check", args.model], input=text, capture_output=True, text=True,
                         check=False)
    answers = [json.loads(line) for line in out.stdout.splitlines()]
    if len(answers) != len(lines):
        sys.exit(f"{len(answers)} answers to {len(lines)} lines: {out.stderr[-500:]}\n{lines[len(answers)]}")
    return answers


def report(args, cases):
    """cases: (name, line, verdicts of the judge). Prints what differs; returns the number of WIDER instances."""
    count, shown = collections.Counter(), collections.Counter()
    for (name, line, want), answer in zip(cases, check(args, [c[1] for c in cases]), strict=True):
        if "accepts" not in answer:
            kind = "refused" if "refused" in answer else "error"
            count[kind] += 1
            if shown[kind] < args.show:
                shown[kind] += 1
                print(f"{kind}: {name}: {answer.get('refused') or answer}\n    {json.dumps(line)[:400]}")
            continue
        for instance, got, yes in zip(line.get("instances") or line.get("texts"), answer["accepts"], want, strict=True):
            kind = "right" if got == yes else "NARROWER" if yes else "wider, with a warning" if answer["warnings"] else "WIDER"
            count[kind] += 1
            if kind in ("WIDER", "NARROWER") and shown[kind] < args.show:
                shown[kind] += 1
                source = line.get("schema", line.get("regex"))
                print(f"{kind}: {name}: {json.dumps(instance)[:300]}\n    {json.dumps(source)[:600]}")
    print(", ".join(f"{n} {kind}" for kind, n in sorted(count.items())))
    return count["WIDER"]


def suite(args):
    cases = []
    for draft in DRAFTS:
        for path in sorted(pathlib.Path(args.path, draft).rglob("*.json")):
            if path.stem in SUITE_SKIP:
                continue
            for i, group in enumerate(json.loads(path.read_text(encoding="utf-8"))):
                tests = group["tests"]
                if isinstance(group["schema"], dict):
                    group["schema"].setdefault("$schema", DRAFTS[draft].META_SCHEMA["$schema"])
                cases.append((f"{path.relative_to(args.path)}#{i} {group['description']}",
                              {"schema": group["schema"], "instances": [t["data"] for t in tests]},
                              [t["valid"] for t in tests]))
    return report(args, cases)


# ---- the judge ------------------------------------------------------------------------------

def validator(schema):
    cls = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return cls(schema, format_checker=cls.FORMAT_CHECKER)


def judge(v, instance):
    try:
        return v.is_valid(instance)
    except (RecursionError, referencing.exceptions.Unresolvable, re.error):
        return None


# ---- instances ------------------------------------------------------------------------------

STRINGS = ["", "a", "ab", "abc", "foo", "bar", "baz", "A1", "12", "x-y", "\u00e9", "a\nb", "\"", "\\", "\u4e2d\u6587",
           "\U0001f600", "2024-02-29", "12:30:00Z", "2024-02-29T12:30:00Z", "a@b.example", "192.168.0.1", "::1",
           "http://example.com/a?b#c", "/a/b", "P1D", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "aaaaaaaaaaaa", "\t", "/"]
NUMBERS = [0, 1, -1, 2, 3, 5, 7, 10, 100, 0.5, -0.5, 1.5, 2.25, 1e3, 99, 12345678901, -7, 0.1, 0.01, 3.75]
KEYS = ["a", "b", "c", "foo", "bar", "x1", "x-y", "\u00e9", "A"]


def value(r, depth=2):
    kind = r.randrange(8 if depth else 5)
    if kind == 0:
        return r.choice([None, True, False])
    if kind in (1, 2):
        return r.choice(NUMBERS)
    if kind in (3, 4):
        return r.choice(STRINGS)
    if kind == 5:
        return [value(r, depth - 1) for _ in range(r.randrange(4))]
    return {k: value(r, depth - 1) for k in r.sample(KEYS, r.randrange(4))}


def places(x, path=()):
    yield path
    for k in (x if isinstance(x, dict) else range(len(x)) if isinstance(x, list) else ()):
        yield from places(x[k], path + (k,))


def mutate(r, instance):
    """A copy of the instance with a small change."""
    x = {"": copy.deepcopy(instance)}
    path = ("",) + r.choice(list(places(x[""])))
    at = x
    for k in path[:-1]:
        at = at[k]
    k, old = path[-1], at[path[-1]]
    how = r.randrange(7)
    if how == 0 and len(path) > 1:
        del at[k]
    elif how == 1 and isinstance(old, dict):
        old[r.choice(KEYS)] = value(r, 1)
    elif how == 2 and isinstance(old, list):
        old.append(copy.deepcopy(r.choice(old)) if old and r.random() < .7 else value(r, 1))
    elif how == 3 and isinstance(old, str):
        i = r.randrange(len(old) + 1)
        at[k] = old[:i] + r.choice(["", "x", "1", " ", "-", "\u00e9", "/", "\n"]) + old[i + r.randrange(2):]
    elif how == 4 and isinstance(old, (int, float)) and not isinstance(old, bool):
        at[k] = r.choice([old + 1, old - 1, -old, old * 10, old + .5, old * 2])
    elif how == 5 and isinstance(old, str):
        at[k] = old.upper() if r.random() < .5 else old * r.choice([2, 20])
    else:
        at[k] = value(r, 1)
    return x[""]


def changed(args):
    cases, r = [], random.Random(args.seed)
    for line in open(args.path, encoding="utf-8"):
        c = json.loads(line)
        v = validator(c["schema"])
        base = c["valid"] or c["invalid"]
        if not base or c["tier"].startswith("format"):
            continue
        many = []
        for _ in range(max(1, args.count // 500)):
            x = mutate(r, r.choice(base))
            many.append(mutate(r, x) if r.random() < .3 else x)
        want = [judge(v, x) for x in many]
        if None not in want:
            cases.append((c["id"], {"schema": c["schema"], "instances": many}, want))
    return report(args, cases)


# ---- schemas --------------------------------------------------------------------------------

PATTERNS = ["^a", "b$", "^[a-z]+$", "[0-9]{2,}", "^(foo|bar)$", "^x", "^.{2,3}$", "a.c", "^\\S+$", "^\\w*$", "^[^a]*$",
            "\u00e9", "^(?!a)", "^$", "^a?b?c?$", "[A-Z]\\d"]
FORMATS = ["date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "uri", "json-pointer", "duration"]


def scalar_keywords(r):
    s = {}
    kind = r.choice(["integer", "number", "string", "string", "boolean", "null", "enum", "const", None])
    if kind == "enum":
        return {"enum": [value(r, 1) for _ in range(r.randrange(1, 5))]}
    if kind == "const":
        return {"const": value(r, 1)}
    if kind and r.random() < .8:
        s["type"] = kind if r.random() < .8 else [kind, r.choice(["null", "array", "boolean"])]
    if kind in ("integer", "number", None):
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if r.random() < .2:
                s[key] = r.choice(NUMBERS)
        if r.random() < .2:
            s["multipleOf"] = r.choice([1, 2, 3, .5, .1, .01, 7, 2.5, 10])
    if kind in ("string", None):
        if r.random() < .3:
            s["minLength"] = r.randrange(4)
        if r.random() < .3:
            s["maxLength"] = r.randrange(6)
        if r.random() < .3:
            s["pattern"] = r.choice(PATTERNS)
        elif r.random() < .15:
            s["format"] = r.choice(FORMATS)
    return s


def schema(r, depth=3, defs=()):
    if r.random() < .05:
        return r.choice([True, False, {}])
    if defs and r.random() < .1:
        return {"$ref": "#/$defs/" + r.choice(defs)}
    if depth == 0 or r.random() < .35:
        return scalar_keywords(r)
    sub = lambda: schema(r, depth - 1, defs)
    s = {}
    kind = r.choice(["object", "object", "array", "combine", "combine", "mixed"])
    if kind in ("object", "mixed"):
        if kind == "object":
            s["type"] = "object"
        names = r.sample(KEYS, r.randrange(4))
        if names:
            s["properties"] = {k: sub() for k in names}
        if r.random() < .5:
            s["required"] = r.sample(KEYS if r.random() < .2 else names or ["a"], 1)
        for key, p, make in (
                ("additionalProperties", .4, lambda: r.choice([False, sub()])),
                ("patternProperties", .2, lambda: {r.choice(PATTERNS): sub()}),
                ("propertyNames", .1, lambda: r.choice([{"maxLength": 2}, {"pattern": "^[a-z]"}, {"enum": ["a", "foo"]}])),
                ("minProperties", .1, lambda: r.randrange(3)), ("maxProperties", .1, lambda: r.randrange(4)),
                ("dependentRequired", .1, lambda: {r.choice(KEYS): [r.choice(KEYS)]}),
                ("dependentSchemas", .1, lambda: {r.choice(KEYS): sub()}),
                ("unevaluatedProperties", .05, lambda: r.choice([False, sub()]))):
            if r.random() < p:
                s[key] = make()
    if kind in ("array", "mixed"):
        if kind == "array":
            s["type"] = "array"
        for key, p, make in (
                ("items", .6, sub), ("prefixItems", .3, lambda: [sub() for _ in range(r.randrange(1, 3))]),
                ("minItems", .3, lambda: r.randrange(3)), ("maxItems", .3, lambda: r.randrange(4)),
                ("uniqueItems", .1, lambda: True), ("contains", .2, sub), ("minContains", .1, lambda: r.randrange(3)),
                ("maxContains", .1, lambda: r.randrange(3)), ("unevaluatedItems", .05, lambda: r.choice([False, sub()]))):
            if r.random() < p:
                s[key] = make()
    if kind == "combine" or r.random() < .15:
        key = r.choice(["allOf", "anyOf", "oneOf", "not", "if"])
        if key == "not":
            s[key] = sub()
        elif key == "if":
            s["if"], s["then"] = sub(), sub()
            if r.random() < .5:
                s["else"] = sub()
        else:
            s[key] = [sub() for _ in range(r.randrange(1, 4))]
    return s


def randoms(args):
    cases, r = [], random.Random(args.seed)
    while len(cases) < args.count:
        s = schema(r)
        if isinstance(s, dict) and r.random() < .3:
            s["$defs"] = {k: schema(r, 2, ("t", "u")) for k in ("t", "u")}
            s = {"anyOf": [s, {"$ref": "#/$defs/t"}], "$defs": s.pop("$defs")}
        v = validator(s)
        many = [value(r, 3) for _ in range(10)]
        many += [mutate(r, r.choice(many)) for _ in range(10)]
        want = [judge(v, x) for x in many]
        if None not in want:
            cases.append((f"random {args.seed}.{len(cases)}", {"schema": s, "instances": many}, want))
    return report(args, cases)


# ---- regular expressions ----------------------------------------------------------------------

def rx(r, depth=3):
    if depth == 0 or r.random() < .3:
        return r.choice(["a", "b", "1", "\u00e9", ".", "\\d", "\\w", "\\s", "[a-c]", "[^a]", "[^\\d]", "\\.", "-", "[\\w-]",
                         "\\D", "\\S", "\\W", "[b\u00e9]", "\\x61", "\\u0062", "(?:ab)", " ", "\\n"])
    kind = r.randrange(6)
    if kind < 3:
        return "".join(rx(r, depth - 1) for _ in range(r.randrange(1, 4)))
    if kind == 3:
        return "(" + r.choice(["", "?:", "?P<n%d>" % r.randrange(10**9)]) + "|".join(rx(r, depth - 1) for _ in range(r.randrange(1, 4))) + ")"
    inner = rx(r, depth - 1)
    return f"(?:{inner})" + r.choice(["*", "+", "?", "{2}", "{1,2}", "{0,3}", "*?", "+?", "{1,}"])


def regexes(args):
    cases, r = [], random.Random(args.seed)
    while len(cases) < args.count:
        p = rx(r)
        if r.random() < .2:
            p = r.choice(["(?=%s)" % rx(r, 1), "(?!%s)" % rx(r, 1)]) + p
        if r.random() < .2:
            p = "^" + p + "$"
        try: # ECMAScript's \d and \w are ASCII, its \s is not
            judge_of = re.compile(p, re.ASCII)
        except re.error:
            continue
        texts = ["".join(r.choice("aabbc1 -.\u00e9\n") for _ in range(r.randrange(7))) for _ in range(20)]
        if "$" in p: # re's $ also matches before a line break at the end
            judge_of = re.compile(p.replace("$", "\\Z"), re.ASCII)
        cases.append((f"regex {args.seed}.{len(cases)}", {"regex": p, "texts": texts},
                      [judge_of.fullmatch(t) is not None for t in texts]))
        cases.append((f"pattern {args.seed}.{len(cases)}", {"schema": {"type": "string", "pattern": p}, "instances": texts},
                      [judge_of.search(t) is not None for t in texts]))
    return report(args, cases)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mode", choices=["suite", "mutate", "random", "regex"])
    p.add_argument("path", nargs="?")
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--model", default="models/qwen3-demo")
    for name, default in (("seed", 1), ("count", 1000), ("show", 20)):
        p.add_argument("--" + name, type=int, default=default)
    args = p.parse_args()
    wider = {"suite": suite, "mutate": changed, "random": randoms, "regex": regexes}[args.mode](args)
    sys.exit(1 if wider else 0)


if __name__ == "__main__":
    main()
