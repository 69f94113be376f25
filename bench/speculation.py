#!/usr/bin/env python3
"""Measure speculation in turns with runs without it, over HTTP, on one machine.

Each contender is a server. For every prompt the servers of a phase answer one after the other, so that
they meet the same machine. Answers of one program with a draft and without must be equal.

    bench/speculation.py --model DIR --draft DIR --prompts 20 --tokens 128 --out table.json
    bench/speculation.py --model DIR --draft DIR --prompts 4 --tokens 64 --phases greedy,ngram
    bench/speculation.py ... --phases vllm --vllm DIR/vllm/bin/python
    bench/speculation.py ... --phases llama --llama llama-server --gguf FILE --gguf-draft FILE

Phases: greedy and sampled (one sequence), eight (8 sequences at once), ngram (rewriting, and the prompts of
greedy), demo (the demo models and their heads), vllm, llama. Python's standard library only."""
import argparse
import concurrent.futures
import functools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

CODING = [
    "Write a C function that reverses a singly linked list.",
    "Write a Python class for a binary search tree with insert and find.",
    "Write a SQL query for the three best-paid employees of each department.",
    "Write a JavaScript function that debounces another function.",
    "Implement quicksort in Go.",
    "Write a Rust function that counts the words of a string.",
    "Write a Python decorator that caches results.",
    "Write a C program that copies a file with read and write.",
    "Implement Dijkstra's algorithm in Python with heapq.",
    "Write a bash script that renames all .txt files to .md.",
    "Write a Java class for a thread-safe counter.",
    "Write a Python function that parses a CSV line with quotes.",
    "Write a regular expression for IPv4 addresses and explain it in code comments.",
    "Implement a ring buffer in C.",
    "Write a TypeScript interface and a function that validates a user object.",
    "Write a Python generator of prime numbers.",
    "Write unit tests in Python for a function that adds two numbers.",
    "Implement a stack with push, pop and min in constant time in C++.",
    "Write an HTML page with a form of three fields and a button.",
    "Write a Python function that merges two sorted lists.",
]
OTHER = [
    "Describe a morning in a fishing village.",
    "Explain why the sky is blue to a child.",
    "Write a short letter that apologises for a late reply.",
    "What are the causes of the French Revolution?",
    "Tell a story about a fox and a clock.",
    "Compare tea and coffee.",
    "Give advice to someone who moves to a new city.",
    "Summarise the idea of supply and demand.",
    "Write a poem about rain.",
    "How does a refrigerator work?",
    "Describe the character of an old lighthouse keeper.",
    "What should a beginner know about growing tomatoes?",
    "Explain the difference between weather and climate.",
    "Write a dialogue between a cat and a dog.",
    "What makes a good teacher?",
    "Describe the taste of an orange without naming it.",
    "Plan a weekend in Lisbon.",
    "Why do people dream?",
    "Write the opening of a detective novel.",
    "Explain compound interest with an example.",
]
CODE = """def total_price(items, tax):
    total = 0
    for item in items:
        price = item["price"] * item["count"]
        if item["discount"] > 0:
            price = price * (1 - item["discount"])
        total = total + price
    return total * (1 + tax)


def cheapest(items):
    best = None
    for item in items:
        if best is None or item["price"] < best["price"]:
            best = item
    return best
"""
REWRITE = [
    "Repeat this code and rename `item` to `product`:\n\n" + CODE,
    "Repeat this code and add a docstring to each function:\n\n" + CODE,
    "Repeat this code with type hints:\n\n" + CODE,
    "Repeat this text and correct its spelling: The quick brwon fox jumps over the lazy dog. It does so evry "
    "morning before the sun rises over the hills, and nobody in the village has ever asked it why.",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=2):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return reply.read().decode()


class Server:
    """A program that serves the model; `name` is the row of the table."""

    def __init__(self, name, command, port, env=None):
        self.name, self.port = name, port
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False)
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={**os.environ, **(env or {})})
        end = time.time() + 600
        while True:
            if self.process.poll() is not None or time.time() > end:
                self.close()
                sys.exit(f"{name} did not start; its output is in {self.log.name}: {' '.join(command)}")
            try:
                get(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                time.sleep(0.5)

    def ask(self, prompt, tokens, temperature, seed):
        """Returns seconds, tokens and the texts."""
        body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "temperature": temperature,
                "seed": seed, "model": "m"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/chat/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        begin = time.perf_counter()
        with urllib.request.urlopen(request, timeout=600) as reply:
            answer = json.load(reply)
        seconds = time.perf_counter() - begin
        message = answer["choices"][0]["message"]
        return seconds, answer["usage"]["completion_tokens"], [message.get("reasoning_content"), message["content"]]

    def counters(self):
        """Drafted and accepted tokens and drafts so far, if /metrics has them."""
        try:
            text = get(f"http://127.0.0.1:{self.port}/metrics")
        except OSError:
            return None
        found = [re.search(rf"^\w+:spec_decode_num_{what}(?:_total)?(?:{{.*}})? (\S+)", text, re.M)
                 for what in ("draft_tokens", "accepted_tokens", "drafts")]
        return tuple(float(f[1]) for f in found) if all(found) else None

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def ask_group(server, prompts, args, temperature):
    """All prompts at once. Returns tokens, seconds and the texts."""
    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
        answers = list(pool.map(lambda p: server.ask(p, args.tokens, temperature, args.seed), prompts))
    return sum(a[1] for a in answers), time.perf_counter() - begin, [a[2] for a in answers]


def compare(plain, drafted, groups, args, temperature, case, rows):
    """Ask both servers every group of prompts in turns, the first one changing with every round."""
    for i, (kind, prompts) in enumerate(groups):
        tokens, seconds, texts = {plain: 0, drafted: 0}, {plain: 0, drafted: 0}, {}
        before = drafted.counters()
        for turn in range(i, i + args.rounds):
            for server in (plain, drafted) if turn % 2 else (drafted, plain):
                n, time_of, texts[server] = ask_group(server, prompts, args, temperature)
                tokens[server] += n
                seconds[server] += time_of
        speed = {s: tokens[s] / seconds[s] for s in (plain, drafted)}
        after = drafted.counters()
        row = {"case": case, "kind": kind, "draft": drafted.name, "without": speed[plain], "with": speed[drafted],
               "ratio": speed[drafted] / speed[plain], "same": texts[plain] == texts[drafted]}
        if before and after:
            row["drafted"], row["accepted"], row["drafts"] = (b - a for a, b in zip(before, after))
        rows.append(row)
        print(f"{case:8} {kind:7} {i + 1:3}/{len(groups)}  {row['without']:6.1f} -> {row['with']:6.1f} tokens/s  "
              f"x {row['ratio']:.2f}  {'same' if row['same'] else 'DIFFERENT'}", flush=True)


def singles(kinds, n):
    return [(kind, [p]) for kind, prompts in kinds for p in prompts[:n]]


def eights(kinds, n):
    groups = []
    for kind, prompts in kinds:
        for i in range(0, min(n, len(prompts)), 8):
            groups.append((kind, (prompts + prompts)[i:i + 8]))
    return groups


def summary(rows):
    print("\n| case | prompts | draft | tokens/s without, with | ratio: mean, least | accepted | accepted a proposal "
          "| same answers |")
    print("|---|---|---|---|---|---|---|---|")
    for key in dict.fromkeys((r["case"], r["kind"], r["draft"]) for r in rows):
        mine = [r for r in rows if (r["case"], r["kind"], r["draft"]) == key]
        drafted = sum(r.get("drafted", 0) for r in mine)
        taken, drafts = (sum(r.get(k, 0) for r in mine) for k in ("accepted", "drafts"))
        accepted = f"{100 * taken / drafted:.0f} % | {taken / drafts:.1f}" if drafted else "- | -"
        mean = {k: statistics.mean(r[k] for r in mine) for k in ("without", "with", "ratio")}
        print(f"| {key[0]} | {key[1]}, {len(mine)} | {key[2]} | {mean['without']:.1f}, {mean['with']:.1f} | "
              f"{mean['ratio']:.2f}, {min(r['ratio'] for r in mine):.2f} | {accepted} | "
              f"{sum(r['same'] for r in mine)} of {len(mine)} |")


def glia(args, name, config, port, model=None):
    command = [args.glia, "serve", model or args.model, "--port", str(port), "--threads", str(args.threads), "--batch-size",
               "8", "--sequence-length", "1024", "--no-prefix-cache", "--served-model-name", "m"]
    return Server(name, command + (["--speculative-config", json.dumps(config)] if config else []), port)


def demo(model, n):
    """The heads of a demo model, with held-out prompts."""
    with open("models/heldout.jsonl") as file:
        prompts = [json.loads(line)["messages"][0]["content"] for line in file][:n]
    start = functools.partial(glia, model=f"models/{model}")
    return [("demo", start, {"method": method, "model": f"models/{model}-{method}"}, singles([(model, prompts)], n), 0)
            for method in ("eagle3", "medusa")]


def vllm(args, name, config, port):
    command = [args.vllm, "-m", "vllm.entrypoints.openai.api_server", "--model", args.model, "--served-model-name", "m",
               "--port", str(port), "--dtype", "bfloat16", "--max-model-len", "1024", "--max-num-seqs", "8",
               "--no-enable-prefix-caching"]
    return Server(name, command + (["--speculative-config", json.dumps(config)] if config else []), port,
                  {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": str(args.threads)})


def llama(args, name, config, port):
    command = [args.llama, "-m", args.gguf, "--port", str(port), "-t", str(args.threads), "-np", "1", "-c", "2048"]
    more = ["-md", args.gguf_draft, "--draft-max", str(config["num_speculative_tokens"])] if config else []
    return Server(name, command + more, port)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model")
    p.add_argument("--draft")
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--vllm", default="python3", help="the Python that has vLLM, e.g. of bench/peers/run")
    p.add_argument("--llama", default="llama-server")
    p.add_argument("--gguf")
    p.add_argument("--gguf-draft")
    p.add_argument("--phases", default="greedy,sampled,eight,ngram")
    p.add_argument("--prompts", type=int, default=20, help="of each kind, at most 20")
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--rounds", type=int, default=1, help="times that each prompt is asked")
    p.add_argument("--depth", type=int, default=8, help="num_speculative_tokens of the draft model")
    p.add_argument("--quantization", default="w8a8", help="of the draft model of Glia")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out")
    args = p.parse_args()
    phases, rows, kinds = args.phases.split(","), [], [("coding", CODING), ("other", OTHER)]
    draft = {"method": "draft_model", "model": args.draft, "num_speculative_tokens": args.depth}
    small, ngram = {**draft, "quantization": args.quantization}, {"method": "ngram", "num_speculative_tokens": 10}
    one, eight = singles(kinds, args.prompts), eights(kinds, args.prompts)
    rewriting = singles([("rewrite", REWRITE)], args.prompts)
    plan = [("greedy", glia, small, one, 0), ("sampled", glia, small, one, 0.7), ("eight", glia, small, eight, 0),
            ("ngram", glia, ngram, rewriting + one, 0), ("vllm", vllm, draft, one, 0), ("llama", llama, draft, one, 0)]
    if "demo" in phases:
        plan += demo("qwen3-demo", args.prompts) + demo("smollm3-demo", args.prompts)
    servers = {}
    try:
        for case, start, config, groups, temperature in plan:
            if case not in phases:
                continue
            pair = []
            for name, c in (("none", None), (config["method"], config)):
                key = (str(start), json.dumps(c))
                if key not in servers:
                    servers[key] = start(args, name, c, free_port())
                    servers[key].ask("Hello", 8, 0, 1)
                pair.append(servers[key])
            compare(*pair, groups, args, temperature, case, rows)
    finally:
        for server in servers.values():
            server.close()
        if args.out:
            with open(args.out, "w") as file:
                json.dump(rows, file, indent=1)
    summary(rows)


if __name__ == "__main__":
    main()
