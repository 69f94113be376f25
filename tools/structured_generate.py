#!/usr/bin/env python3
"""Answers of a model under random constraints at temperature 1, judged by jsonschema (PyPI).

usage: tools/structured_generate.py MODEL [--count 1000] [--kind schemas|tools] [--seed 1] [--max-tokens 120]
                                    [--glia build/glia] [--parallel 8] [-- flags of glia serve]

Starts `glia serve MODEL` and asks for an answer to each of `count` random schemas (those of tools/schema_diff.py
that some text satisfies), or for calls of random tools with tool_choice "required".

- A finished answer must be a value that the judge accepts, unless a warning of the constraint says that something
  is not enforced. Calls must parse, name a tool, and have arguments that the judge accepts.
- An answer that max_tokens cut is asked for again with the same seed and 4 and 16 times the tokens: the longer
  answer must begin with the shorter one, and if it is finished, the judge decides on it.

Exit status 1 if an answer is wrong.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import random
import subprocess
import sys
import threading
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import schema_diff  # noqa: E402


class Refused(Exception):
    pass


def post(base, path, body):
    """The reply's object, and the warning of its constraint."""
    request = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as reply:
            return json.load(reply), reply.headers.get("X-Constraint-Warning")
    except urllib.error.HTTPError as e:
        if e.code != 400:
            raise
        raise Refused(e.read().decode()) from None


def ask_schema(args, r, i):
    """(what became of the case, what is wrong)"""
    schema = schema_diff.schema(r)
    body = {"messages": [{"role": "user", "content": "Give me an example as JSON."}], "temperature": 1, "seed": i,
            "top_p": 1, "top_k": 0, "chat_template_kwargs": {"enable_thinking": False},
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    before, outcome = "", "truncated"
    for times in (1, 4, 16):
        try:
            reply, warning = post(args.base, "/v1/chat/completions", body | {"max_tokens": times * args.max_tokens})
        except Refused as e:
            return ("no text satisfies it" if "no text satisfies" in str(e) else "refused"), None
        choice = reply["choices"][0]
        text = choice["message"]["content"] or ""
        if not text.startswith(before):
            return "wrong", f"{json.dumps(schema)}: {text!r} does not begin with {before!r}"
        if choice["finish_reason"] == "stop":
            outcome = "finished" if times == 1 else "a prefix of a finished one"
            break
        before = text.rstrip("\ufffd")  # of a character that was cut
    if outcome == "truncated":
        return outcome, None
    try:
        valid = schema_diff.judge(schema_diff.validator(schema), json.loads(text))
    except ValueError:
        valid = False
    if valid:
        return outcome, None
    if warning:
        return "wider, with a warning", None
    return "wrong", f"{json.dumps(schema)}: {text!r}"


def tool(r, k):
    parameters = {"type": "object", "properties": {n: schema_diff.schema(r, 1) for n in r.sample(schema_diff.KEYS, 2)},
                  "additionalProperties": False}
    parameters["required"] = [n for n in parameters["properties"] if r.random() < .7]
    return {"type": "function", "function": {"name": f"tool_{k}", "description": "a tool", "parameters": parameters}}


def ask_tools(args, r, i):
    tools = [tool(r, k) for k in range(r.randrange(1, 4))]
    named = r.random() < .3
    body = {"messages": [{"role": "user", "content": "Call a tool."}], "temperature": 1, "seed": i, "tools": tools,
            "tool_choice": {"type": "function", "function": {"name": "tool_0"}} if named else "required",
            "parallel_tool_calls": r.random() < .5, "max_tokens": 4 * args.max_tokens,
            "chat_template_kwargs": {"enable_thinking": False}}
    try:
        reply, warning = post(args.base, "/v1/chat/completions", body)
    except Refused as e:
        return ("no text satisfies it" if "no text satisfies" in str(e) else "refused"), None
    choice = reply["choices"][0]
    calls = choice["message"].get("tool_calls") or []
    if choice["finish_reason"] == "length":
        return "truncated", None
    wrong = [] if calls else ["no call"]
    if len(calls) > 1 and not body["parallel_tool_calls"]:
        wrong.append("several calls")
    for call in calls:
        f = call["function"]
        schema = next((t["function"]["parameters"] for t in tools if t["function"]["name"] == f["name"]), None)
        if schema is None or (named and f["name"] != "tool_0"):
            wrong.append(f"a call of {f['name']}")
            continue
        try:
            if not schema_diff.judge(schema_diff.validator(schema), json.loads(f["arguments"])) and not warning:
                wrong.append(f"arguments {f['arguments']}")
        except ValueError:
            wrong.append(f"arguments {f['arguments']} do not parse")
    return ("wrong", f"{wrong}: {json.dumps(body)[:600]} {json.dumps(choice)[:600]}") if wrong else ("finished", None)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--kind", choices=["schemas", "tools"], default="schemas")
    p.add_argument("--glia", default="build/glia")
    for name, default in (("count", 1000), ("seed", 1), ("max-tokens", 120), ("parallel", 8), ("show", 10)):
        p.add_argument("--" + name, type=int, default=default)
    args, flags = p.parse_known_args()
    server = subprocess.Popen([args.glia, "serve", args.model, "--port", "0", "--batch-size", str(args.parallel),
                               "--sequence-length", str(16 * args.max_tokens + 1000), *(f for f in flags if f != "--")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    count, shown = collections.Counter(), 0
    try:
        line = next(line for line in server.stdout if "http://" in line)
        args.base = line[line.index("http"):].split()[0]
        threading.Thread(target=server.stdout.read, daemon=True).start()
        ask = ask_schema if args.kind == "schemas" else ask_tools
        with concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
            jobs = [pool.submit(ask, args, random.Random(args.seed * 10**6 + i), i) for i in range(args.count)]
            for job in concurrent.futures.as_completed(jobs):
                outcome, why = job.result()
                count[outcome] += 1
                if why and shown < args.show:
                    shown += 1
                    print(f"{outcome}: {why}")
    finally:
        server.terminate()
        server.wait()
    print(f"{args.model}, {args.count} random {args.kind}: " + ", ".join(f"{n} {k}" for k, n in count.most_common()))
    sys.exit(1 if count["wrong"] else 0)


if __name__ == "__main__":
    main()
