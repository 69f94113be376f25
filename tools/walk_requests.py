#!/usr/bin/env python3
"""Walk `glia serve` with random requests and check every answer.

    tools/walk_requests.py [--glia build/glia] [--model models/qwen3-demo] [--seed 1] [--n 500] [--workers 6]
                           [--only chat,completions,...] [--vllm-python PYTHON] [--log FILE]

Requests are drawn from tables of values, right and wrong, for the fields of OpenAI, Anthropic and vLLM. Each
one is sent whole and, where there is a stream, streamed. Checked: no status of 500 and above; an error has
the body of its interface; answers and events parse as the SDK's own types; a stream concatenates to the whole
answer; ids, usage, finish reasons, token ids and log-probabilities are consistent.

With --vllm-python (a Python that has vLLM) each request is also read by vLLM's request classes, and requests
that one of the two refuses and the other does not are listed by field; docs/SERVING.md says which differences
are meant. Needs the packages openai and anthropic. The exit status is 1 if a check failed.
"""
import argparse
import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import threading

import anthropic.types
import openai.types
import openai.types.chat
import openai.types.responses
import pydantic

TEXT = ["Hi", "What is 3 + 4?", "", " ", "Grüße \U0001f600 漢字", "<think>", "</think>", "<tool_call>", "a\nb", "x" * 300,
        "<|im_start|>user", "\x00", "é", "```json\n{}\n```", "Once upon a time"]
FUNCTION = {"name": "calculator", "description": "Evaluate", "parameters": {
    "type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a"]}
WRONG = [None, True, -1, 0, 1.5, 1e99, "x", "", [], {}, [1], ["x"], {"a": 1}, [None], [[]], -(2**70), 2**70, "1"]
ABSENT = object()


class Draw(random.Random):
    def text(self):
        return self.choice(TEXT)

    def some(self, table, most):
        """Some fields of a table {name: draw}."""
        names = self.sample(sorted(table), min(len(table), self.randrange(most + 1)))
        return {n: table[n](self) for n in names}


def one(*values):
    return lambda r: r.choice(values)


def ids(r):
    return [r.randrange(1000) for _ in range(r.randrange(1, 9))]


# ---- fields ------------------------------------------------------------------------------------------------

SAMPLING = {
    "temperature": one(0, 0, 0.5, 1, 2, 0.001, 2.5, -1, None),
    "top_p": one(1, 0.9, 0.01, 0, 1.1, None),
    "top_k": one(0, -1, 1, 20, 1 << 20, -2, None),
    "min_p": one(0, 0.1, 1, 1.1, -0.1, None),
    "seed": one(1, 7, 0, 2**62, 2**63, None),
    "presence_penalty": one(0, 1, -2, 2, 2.1, None),
    "frequency_penalty": one(0, 1, -2, 2, -2.1, None),
    "repetition_penalty": one(1, 1.2, 0.5, 0, -1, None),
    "stop": one("e", ["a", " the"], [], "", [""], ["\n", "\u00e9"], "zzz", None),
    "stop_token_ids": one([], [5], [10, 11, 12], [-1], [10**7], None),
    "include_stop_str_in_output": one(True, False),
    "ignore_eos": one(True, False),
    "logit_bias": one({}, {"5": 3}, {"5": -200, "6": 100}, {"x": 1}, {"99999999": 1}, {"-1": 1}, {"5": "x"}, None),
    "skip_special_tokens": one(True, False),
    "allowed_token_ids": one([5, 6, 7], [], [10**7], None),
    "bad_words": one([], ["the"], ["a b"], [""], ["\U0001f600"]),
    "min_tokens": one(0, 1, 3, 100, -1),
    "thinking_token_budget": one(0, 1, 5, -1, -2, None),
    "cache_salt": one("a", "tenant 7", "", "x" * 129, None),
    "priority": one(0, 0, 0, 1),
    "structured_outputs": one({"choice": ["yes", "no"]}, {"regex": "[a-c]{2,4}"}, {"json": SCHEMA}, {"json_object": True},
                              {"grammar": 'root ::= "a" | "b"'}, {}, {"choice": []}, {"regex": "("}, {"json": SCHEMA, "regex": "a"}, None),
}
SHARED = SAMPLING | {
    "n": one(1, 2, 3, 0, None),
    "max_tokens": one(1, 2, 8, 20, 0, -1, 10**6, None),
    "prompt_logprobs": one(0, 1, 3, -1, -2, 99, None),
    "return_token_ids": one(True, False, None),
    "return_tokens_as_token_ids": one(True, False, None),
    "truncate_prompt_tokens": one(1, 5, -1, 0, -2, None),
    "truncation_side": one("left", "right", "up", None),
    "stream_options": one({}, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}, {"include_usage": False}, None),
    "stream_interval": one(1, 3, 0, None),
    "user": one("u", None),
    "unknown_field": one(1, "x"),
    "response_format": one({"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
                           {"type": "json_schema"}, {"type": "xml"}, {}, None),
    "echo": one(True, False),
}
CHAT = SHARED | {
    "max_completion_tokens": one(1, 4, 16, 0, -1, None),
    "logprobs": one(True, False, None),
    "top_logprobs": one(0, 1, 5, 20, 21, -1, None),
    "logprob_token_ids": one([5, 6], [], [10**7], None),
    "reasoning_effort": one("none", "low", "medium", "high", "huge", None),
    "include_reasoning": one(True, False),
    "chat_template_kwargs": one({"enable_thinking": False}, {"enable_thinking": True}, {}, {"x": 1}, None),
    "add_generation_prompt": one(True, False),
    "continue_final_message": one(True, False),
    "parallel_tool_calls": one(True, False, None),
    "documents": one([], [{"title": "t", "text": "x"}], None),
    "tools": lambda r: r.choice([[{"type": "function", "function": FUNCTION}], [{"type": "function", "function": {"name": "f"}}],
                                 [], [{"type": "function"}], [{"type": "function", "function": {"name": ""}}], None]),
    "tool_choice": one("auto", "none", "required", {"type": "function", "function": {"name": "calculator"}},
                       {"type": "function", "function": {"name": "nobody"}}, "sometimes", None),
}
COMPLETIONS = SHARED | {"logprobs": one(0, 1, 5, 20, 21, -1, None), "suffix": one("x", "", None), "logprob_token_ids": one([5], None),
                        "add_special_tokens": one(True, False)}
RESPONSES = {k: v for k, v in SAMPLING.items() if k not in ("cache_salt",)} | {
    "max_output_tokens": one(1, 8, 20, 0, -1, None),
    "instructions": one("Be brief.", "", None),
    "tools": one([{"type": "function", **FUNCTION}], [], [{"type": "web_search"}], [{"type": "function"}]),
    "tool_choice": one("auto", "none", "required", {"type": "function", "name": "calculator"}, {"type": "function", "name": "nobody"}, "x"),
    "reasoning": one({"effort": "low"}, {"effort": "none"}, {"effort": None}, {}, {"effort": "huge"}, None),
    "text": one({"format": {"type": "text"}}, {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}}, {"format": {"type": "json_object"}}, {}, None),
    "include": one(["message.output_text.logprobs"], [], ["reasoning.encrypted_content"], None),
    "top_logprobs": one(0, 2, 20, 21, -1, None),
    "metadata": one({"a": "b"}, {}, None),
    "store": one(True, False, None),
    "truncation": one("auto", "disabled", "x", None),
    "parallel_tool_calls": one(True, False, None),
    "previous_response_id": one(None, "resp_1"),
    "background": one(False, True, None),
    "include_reasoning": one(True, False),
    "chat_template_kwargs": one({"enable_thinking": False}, None),
}
MESSAGES = {
    "temperature": one(0, 0.5, 1, 2.5, None), "top_p": one(1, 0.5, 0, None), "top_k": one(0, 5, -2, None),
    "stop_sequences": one([], ["e"], ["the", "a"], [""], None),
    "system": one("Be brief.", "", [{"type": "text", "text": "x"}], [{"type": "text", "text": "x-anthropic-billing-header: y"}], [], 5),
    "thinking": one({"type": "enabled", "budget_tokens": 1024}, {"type": "enabled", "budget_tokens": 3}, {"type": "disabled"}, {"type": "adaptive"}, {"type": "x"}, {}),
    "tools": one([{"name": "calculator", "input_schema": FUNCTION["parameters"]}], [], [{"type": "web_search_20250305", "name": "web_search"}],
                 [{"name": "", "input_schema": {}}], [{"input_schema": {}}]),
    "tool_choice": one({"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "calculator"}, {"type": "tool"}, {"type": "x"}),
    "metadata": one({"user_id": "u"}, None),
    "output_config": one({"effort": "low"}, {"format": {"type": "json_schema", "schema": SCHEMA}}, {}, {"effort": "huge"}, None),
    "cache_salt": one("a", None), "seed": one(3, None),
}
EMBED = {
    "dimensions": one(8, 32, 1, 0, -1, 10**6, None), "encoding_format": one("float", "base64", "bytes", "x", None),
    "normalize": one(True, False), "truncate_prompt_tokens": one(3, -1, 0, None), "user": one("u", None), "instruct": one("t", None),
    "add_special_tokens": one(True, False), "use_activation": one(True, False, None), "priority": one(0),
}


def part(r, kind="text"):
    return {"type": kind, "text": r.text()}


def chat_content(r):
    return r.choice([r.text(), r.text(), [part(r)], [part(r), part(r)], [], None, 5, [{"type": "image_url", "image_url": {"url": "x"}}], [{"type": "text"}]]
                    if r.random() < 0.25 else [r.text(), "What is 3 + 4?"])


def chat_message(r, role=None):
    role = role or r.choice(["user", "user", "assistant", "system", "developer", "tool", "nobody" if r.random() < 0.2 else "user"])
    m = {"role": role, "content": chat_content(r)}
    if role == "assistant" and r.random() < 0.5:
        m["tool_calls"] = [{"id": "c1", "type": "function", "function": {"name": "calculator", "arguments": r.choice(['{"expression": "1+1"}', "{}", "", "{", "[]"])}}]
        m["content"] = r.choice([None, "", "x"])
    if role == "assistant" and r.random() < 0.4:
        m[r.choice(["reasoning", "reasoning_content"])] = r.choice([r.text(), None])
    if role == "tool":
        m["tool_call_id"] = r.choice(["c1", "", "c2"])
    if r.random() < 0.1:
        m["name"] = "n"
    return m


def messages(r):
    if r.random() < 0.03:
        return r.choice(WRONG)
    out = [chat_message(r) for _ in range(r.randrange(1, 5) if r.random() < 0.4 else 0)]
    return out + [chat_message(r, "user" if r.random() < 0.9 else None)]


def prompt(r):
    return r.choice([r.text(), r.text(), ids(r), [r.text(), "b"], [ids(r), [5]], [], [[]], "Once", [10**8], [-1], ["a", 5]])


def item(r):
    return r.choice([
        {"role": r.choice(["user", "assistant", "system", "developer", "x"]), "content": r.choice([r.text(), "Hi"])},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": r.text()}]},
        {"type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [{"type": "output_text", "text": r.text(), "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "calculator", "arguments": r.choice(["{}", '{"expression": "1"}', "{"])},
        {"type": "function_call_output", "call_id": "c1", "output": r.choice([r.text(), [{"type": "input_text", "text": "4"}]])},
        {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": r.text()}]},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "x"}]}, {"type": "nonsense"}])


def response_input(r):
    return r.choice([r.text(), "What is 3 + 4?", [item(r) for _ in range(r.randrange(1, 5))], [{"role": "user", "content": "Hi"}], []])


def block(r):
    return r.choice([part(r), part(r), {"type": "tool_use", "id": "t1", "name": "calculator", "input": {"expression": "1"}},
                     {"type": "tool_result", "tool_use_id": "t1", "content": r.choice(["4", [part(r)], [], None])},
                     {"type": "tool_result", "tool_use_id": "t1"}, {"type": "thinking", "thinking": r.text(), "signature": "s"},
                     {"type": "thinking", "thinking": "x"}, {"type": "redacted_thinking", "data": "x"},
                     {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}, {"type": "nonsense"}, {}])


def anthropic_messages(r):
    out = []
    for _ in range(r.randrange(1, 4)):
        out.append({"role": r.choice(["user", "assistant"]), "content": r.choice([r.text(), [part(r)], [block(r), block(r)], [block(r)]])})
    return out + [{"role": "user", "content": r.choice(["Hi", [part(r)]])}]


def text_or_parts(r):
    return r.choice([r.text(), "b", {"text": r.text()}, "c" * 40])


def scored(r):
    return r.choice([text_or_parts(r), [text_or_parts(r) for _ in range(r.randrange(1, 4))], ["a", "b"], []])


KINDS = {  # name: (path, required fields, optional fields, has a stream)
    "chat": ("/v1/chat/completions", {"messages": messages}, CHAT, True),
    "completions": ("/v1/completions", {"prompt": prompt}, COMPLETIONS, True),
    "responses": ("/v1/responses", {"input": response_input}, RESPONSES, True),
    "messages": ("/v1/messages", {"messages": anthropic_messages, "max_tokens": one(1, 4, 16, 16, 0)}, MESSAGES, True),
    "count": ("/v1/messages/count_tokens", {"messages": anthropic_messages}, {k: MESSAGES[k] for k in ("system", "tools", "tool_choice", "thinking")}, False),
    "embeddings": ("/v1/embeddings", {"input": prompt}, EMBED, False),
    "rerank": ("/rerank", {"query": text_or_parts, "documents": scored}, {"top_n": one(0, 1, 2, 99, -1), "truncate_prompt_tokens": one(99, -1, None), "instruct": one("t")}, False),
    "score": ("/score", {"text_1": scored, "text_2": scored}, {"truncate_prompt_tokens": one(99, -1, None), "instruct": one("t")}, False),
    "tokenize": ("/tokenize", {"prompt": lambda r: r.text()}, {"return_token_strs": one(True, False, None), "add_special_tokens": one(True, False)}, False),
    "tokenize-chat": ("/tokenize", {"messages": messages}, {k: CHAT[k] for k in ("add_generation_prompt", "continue_final_message", "tools", "chat_template_kwargs")}, False),
    "detokenize": ("/detokenize", {"tokens": one([5, 6], [], [0], [10**8], [-1], [151643], ["a"])}, {}, False),
}


def request(r, kind):
    _, required, optional, _ = KINDS[kind]
    body = {name: draw(r) for name, draw in required.items()} | r.some(optional, 4 if r.random() < 0.7 else 9)
    if r.random() < 0.5:
        body["model"] = "m" if r.random() < 0.95 else r.choice(["nobody", 5, None, ""])
    if r.random() < 0.15 and body:
        body[r.choice(sorted(body))] = r.choice(WRONG)
    if r.random() < 0.03 and body:
        del body[r.choice(sorted(body))]
    if kind in ("chat", "completions", "responses") and not any(k in body for k in ("max_tokens", "max_completion_tokens", "max_output_tokens")):
        body["max_tokens" if kind != "responses" else "max_output_tokens"] = r.choice([1, 4, 12, 24])
    return seeded(r, kind, body)


def seeded(r, kind, body):
    """With a seed, the whole answer and the stream draw the same tokens."""
    return {"seed": r.randrange(1000), **{k: v for k, v in body.items() if k != "seed" or v not in (None, -1)}} if KINDS[kind][3] else body


PLAIN = {"messages": [{"role": "user", "content": "What is 3 + 4?"}], "prompt": "Once", "input": "Hi", "query": "a", "documents": ["b", "c"],
         "text_1": "a", "text_2": ["b", "c"], "tokens": [5, 6], "max_tokens": 8, "max_output_tokens": 8}


def mend(r, kind, body, refusal):
    """Take out of a body what a refusal names, so that what is left is asked again."""
    body = body or dict.fromkeys(KINDS[kind][1])
    named = [k for k in body if re.search(rf"\b{k}\b", refusal)] or list(body)
    key = r.choice(named)
    if key in PLAIN and (key in KINDS[kind][1] or "tokens" in key):
        return {**body, key: PLAIN[key]}
    return {k: v for k, v in body.items() if k != key}


# ---- the wire ------------------------------------------------------------------------------------------------


def post(port, path, body):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = c.getresponse()
    out = reply.status, reply.getheader("Content-Type") or "", reply.read().decode()
    c.close()
    return out


def events_of(text):
    """[(event, object)] of a stream; the object of [DONE] is None."""
    out = []
    for chunk in text.split("\n\n"):
        if not chunk:
            continue
        fields = dict(line.split(": ", 1) for line in chunk.split("\n"))
        out.append((fields.get("event"), None if fields["data"] == "[DONE]" else json.loads(fields["data"])))
    return out


class Wrong(Exception):
    pass


def expect(good, *what):
    if not good:
        raise Wrong(" ".join(map(str, what)))


PARSE = {
    "chat": openai.types.chat.ChatCompletion, "chat-stream": openai.types.chat.ChatCompletionChunk,
    "completions": openai.types.Completion, "completions-stream": openai.types.Completion,
    "responses": openai.types.responses.Response, "responses-stream": openai.types.responses.ResponseStreamEvent,
    "messages": anthropic.types.Message, "messages-stream": anthropic.types.RawMessageStreamEvent,
    "count": anthropic.types.MessageTokensCount, "embeddings": openai.types.CreateEmbeddingResponse,
}
ADAPTERS = {k: pydantic.TypeAdapter(v) for k, v in PARSE.items()}


def parse(name, value):
    if name == "embeddings" and any(isinstance(d["embedding"], str) for d in value["data"]):
        return
    if name.startswith("completions"):  # the type has no null, which OpenAI sends for the first token and until the end
        value = {**value, "choices": [{**c, "finish_reason": c["finish_reason"] or "stop", "logprobs": None} for c in value["choices"]]}
    if name == "responses-stream":  # vLLM's names, which the reference for this server gives
        value = {**value, "type": value["type"].replace("reasoning_part", "content_part")}
    try:
        ADAPTERS[name].validate_python(value)
    except pydantic.ValidationError as e:
        raise Wrong(f"the SDK's type refuses it: {e.errors(include_url=False)[:3]}") from None


def check_error(kind, status, text, body):
    expect(status < 500 or (status == 503), "status", status, text[:300])
    error = json.loads(text)
    expect(len(text) < 6000, "an error of", len(text), "bytes")
    if kind in ("messages", "count"):
        expect(error["type"] == "error" and {"type", "message"} <= set(error["error"]), text)
        return
    e = error["error"]
    expect(set(e) == {"message", "type", "param", "code"} and e["code"] == status and e["message"], text)
    expect(e["param"] is None or isinstance(e["param"], str), text)
    if status == 400 and e["type"] == "Bad Request":
        expect(e["param"] and (e["param"].startswith("body") or e["param"] in body), "param", e["param"], text)


# ---- whole answers and streams ---------------------------------------------------------------------------------


def usage_adds_up(u, prompt_key="prompt_tokens", output_key="completion_tokens"):
    expect(u["total_tokens"] == u[prompt_key] + u[output_key], "usage", u)


def joined(parts, key):
    found = [p[key] for p in parts if p.get(key) is not None]
    return [x for f in found for x in f] if found else None


def chat_of_stream(body, events):
    """The whole answer that a stream of a chat or a completion tells."""
    expect(events and events[-1] == (None, None), "no [DONE] at the end")
    chunks = [e for _, e in events[:-1]]
    expect(not any("error" in c for c in chunks), "an error in the stream", chunks[-1])
    expect(len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1, "ids differ")
    options = body.get("stream_options") or {}
    usage = chunks.pop()["usage"] if options.get("include_usage") else None
    if options.get("include_usage"):
        expect(usage, "no usage at the end")
    choices = collections.defaultdict(lambda: {"content": "", "reasoning": "", "text": "", "calls": {}, "parts": [], "finish": None, "stop": None})
    for c in chunks:
        expect(c["choices"], "a chunk without choices", c)
        expect(not (c.get("usage") and not options.get("continuous_usage_stats")), "usage in a chunk", c)
        for choice in c["choices"]:
            to = choices[choice["index"]]
            expect(to["finish"] is None, "a delta after the end", c)
            to["finish"], to["stop"] = choice["finish_reason"], choice.get("stop_reason")
            to["parts"].append(choice)
            delta = choice.get("delta", {})
            to["text"] += choice.get("text", "")
            for key in ("content", "reasoning"):
                to[key] += delta.get(key) or ""
            expect((delta.get("reasoning") or "") == (delta.get("reasoning_content") or ""), "two kinds of reasoning", delta)
            for call in delta.get("tool_calls", []):
                known = to["calls"].setdefault(call["index"], {"name": "", "arguments": "", "id": call.get("id")})
                known["name"] += call["function"].get("name") or ""
                known["arguments"] += call["function"].get("arguments") or ""
    return choices, usage, chunks


def check_pair(kind, body, whole, events):
    choices, usage, chunks = chat_of_stream(body, events)
    for c in chunks:
        parse(kind + "-stream", c)
    expect(sorted(choices) == [c["index"] for c in whole["choices"]], "choices", sorted(choices))
    for c in whole["choices"]:
        s = choices[c["index"]]
        expect((s["finish"], s["stop"]) == (c["finish_reason"], c.get("stop_reason")), "finish", s["finish"], s["stop"], c)
        if kind == "completions":
            expect(s["text"] == c["text"], "text", repr(s["text"]), repr(c["text"]))
        else:
            m = c["message"]
            expect(s["content"] == (m["content"] or "") and s["reasoning"] == (m.get("reasoning") or ""), "message", s["content"], s["reasoning"], m)
            calls = [(x["function"]["name"], x["function"]["arguments"]) for x in m.get("tool_calls", [])]
            expect([(s["calls"][i]["name"], s["calls"][i]["arguments"]) for i in sorted(s["calls"])] == calls, "calls", s["calls"], m)
            expect("reasoning" not in s["parts"][0]["delta"] and s["parts"][0]["delta"].get("role") == "assistant", "first delta", s["parts"][0])
        expect(joined(s["parts"], "token_ids") == c.get("token_ids"), "token_ids", joined(s["parts"], "token_ids"), c.get("token_ids"))
        logprobs = [p["logprobs"] for p in s["parts"] if p.get("logprobs")]
        whole_logprobs = c["logprobs"] or {}
        for key in ("content", "tokens", "token_logprobs", "top_logprobs", "text_offset"):
            expect((joined(logprobs, key) or []) == (whole_logprobs.get(key) or []), "logprobs", key, joined(logprobs, key), whole_logprobs.get(key))
    if usage:
        expect({k: v for k, v in usage.items() if not k.endswith("details")} == {k: v for k, v in whole["usage"].items() if not k.endswith("details")},
               "usage", usage, whole["usage"])


def outputs_of(body, whole):
    n = body.get("n") or 1
    most = body.get("max_completion_tokens") if body.get("max_completion_tokens") is not None else body.get("max_tokens")
    return n, most if most is not None else 16 if "prompt" in body else None


def check_whole(kind, body, whole, port):
    parse(kind, whole)
    usage_adds_up(whole["usage"])
    n, most = outputs_of(body, whole)
    prompts = 1
    if kind == "completions" and isinstance(body["prompt"], list) and body["prompt"] and not isinstance(body["prompt"][0], int):
        prompts = len(body["prompt"])
    expect(len(whole["choices"]) == n * prompts, len(whole["choices"]), "choices")
    expect(most is None or whole["usage"]["completion_tokens"] <= n * prompts * max(most, 0), "too many tokens", whole["usage"], most)
    for c in whole["choices"]:
        expect(c["finish_reason"] in ("stop", "length", "tool_calls"), "finish", c)
        message = c.get("message") or {}
        expect((c["finish_reason"] == "tool_calls") <= bool(message.get("tool_calls")), "finish", c)
        text = c.get("text") if kind == "completions" else message["content"] or ""
        stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
        if stops and not body.get("include_stop_str_in_output") and not body.get("echo") and not body.get("min_tokens"):
            expect(not any(s in text for s in stops), "a stop string in the text", repr(text))
        if isinstance(c.get("stop_reason"), str):
            expect(c["stop_reason"] in stops, "stop_reason", c)
    single = len(whole["choices"]) == 1
    if single and whole["choices"][0].get("token_ids") is not None:
        expect(len(whole["choices"][0]["token_ids"]) == whole["usage"]["completion_tokens"], "token_ids", whole)
    if single and kind == "chat" and (whole["choices"][0]["logprobs"] or {}).get("content") is not None and body.get("include_reasoning", True):
        expect(len(whole["choices"][0]["logprobs"]["content"]) == whole["usage"]["completion_tokens"], "logprobs", whole)
    if kind == "chat" and "truncate_prompt_tokens" not in body:
        ask = {k: body[k] for k in ("messages", "tools", "chat_template_kwargs", "add_generation_prompt", "continue_final_message", "documents", "add_special_tokens") if k in body}
        if body.get("reasoning_effort") and "enable_thinking" not in (body.get("chat_template_kwargs") or {}):
            ask["chat_template_kwargs"] = (body.get("chat_template_kwargs") or {}) | {"enable_thinking": body["reasoning_effort"] != "none"}
        if body.get("tool_choice") != "none":
            status, _, text = post(port, "/tokenize", ask)
            expect(status == 200 and json.loads(text)["count"] == whole["usage"]["prompt_tokens"], "/tokenize", text[:200], whole["usage"])


def check_responses(body, whole, events):
    parse("responses", whole)
    usage_adds_up(whole["usage"], "input_tokens", "output_tokens")
    expect((whole["status"] == "incomplete") == bool(whole["incomplete_details"]), whole["status"], whole["incomplete_details"])
    if events is None:
        return
    for _, e in events:
        parse("responses-stream", e)
    expect([e["sequence_number"] for _, e in events] == list(range(len(events))), "sequence numbers")
    expect(all(name == e["type"] for name, e in events), "event names")
    last = events[-1][1]
    expect(last["type"] in ("response.completed", "response.incomplete"), last["type"])
    told = strip_ids(last["response"])
    expect(told == strip_ids(whole), "stream", told, strip_ids(whole))
    items = [e["item"] for _, e in events if e["type"] == "response.output_item.done"]
    expect(items == last["response"]["output"], "items", items)
    texts = collections.defaultdict(str)
    for _, e in events:
        if e["type"].endswith(".delta"):
            texts[e["item_id"], e["type"].rsplit(".", 1)[0]] += e["delta"]
        if e["type"].endswith((".text.done", "output_text.done", "arguments.done")):
            done = e.get("text", e.get("arguments"))
            expect(texts[e["item_id"], e["type"].rsplit(".", 1)[0]] == done, "deltas", e)


def strip_ids(x):
    if isinstance(x, dict):
        return {k: strip_ids(v) for k, v in x.items() if k not in ("id", "created_at", "completed_at", "call_id", "cached_tokens")}
    return [strip_ids(v) for v in x] if isinstance(x, list) else x


def check_messages(body, whole, events):
    parse("messages", whole)
    expect((whole["stop_reason"] == "tool_use") <= any(b["type"] == "tool_use" for b in whole["content"]), whole)
    if events is None:
        return
    blocks, open_block, final = [], None, None
    for name, e in events:
        parse("messages-stream", e) if e["type"] not in ("ping", "error") else None
        expect(name == e["type"] and e["type"] != "error", "event", e)
        if e["type"] == "content_block_start":
            expect(open_block is None and e["index"] == len(blocks), "blocks overlap", e)
            open_block = dict(e["content_block"])
            blocks.append(open_block)
        elif e["type"] == "content_block_delta":
            d = e["delta"]
            expect(open_block is blocks[e["index"]], "a delta outside its block", e)
            key = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature", "input_json_delta": "json"}[d["type"]]
            open_block[key] = open_block.get(key, "") + d.get(key, d.get("partial_json", ""))
        elif e["type"] == "content_block_stop":
            if open_block["type"] == "tool_use":
                open_block["input"] = json.loads(open_block.pop("json", "") or "{}")
            open_block = None
        elif e["type"] == "message_delta":
            final = e
    expect(events[-1][1]["type"] == "message_stop", "the last event", events[-1])
    expect(strip_ids(blocks) == strip_ids(whole["content"]), "blocks", blocks, whole["content"])
    expect((final["delta"]["stop_reason"], final["delta"]["stop_sequence"]) == (whole["stop_reason"], whole["stop_sequence"]), final, whole)
    expect(final["usage"]["output_tokens"] == whole["usage"]["output_tokens"], "usage", final, whole["usage"])


def check_other(kind, body, whole):
    if kind in PARSE:
        parse(kind, whole)
    if kind == "embeddings":
        expect([d["index"] for d in whole["data"]] == list(range(len(whole["data"]))), "indices")
        expect(whole["usage"]["prompt_tokens"] == whole["usage"]["total_tokens"], whole["usage"])
    if kind == "rerank":
        scores = [x["relevance_score"] for x in whole["results"]]
        expect(scores == sorted(scores, reverse=True) and all(0 <= s <= 1 for s in scores), "order", scores)
    if kind.startswith("tokenize"):
        expect(whole["count"] == len(whole["tokens"]), whole)
        expect(not body.get("return_token_strs") or len(whole["token_strs"]) == whole["count"], whole)


def try_request(port, kind, body):
    """Send the request whole, and as a stream. Returns the status of the whole answer."""
    path, _, _, streams = KINDS[kind]
    whole_body = {k: v for k, v in body.items() if k != "stream_options"}
    status, _, text = post(port, path, whole_body)
    if status != 200:
        check_error(kind, status, text, body)
        whole = None
    else:
        whole = json.loads(text)
        if kind in ("chat", "completions"):
            check_whole(kind, whole_body, whole, port)
    events = None
    if streams:
        stream_status, content, stream_text = post(port, path, {**body, "stream": True})
        expect(stream_status < 500, "status", stream_status)
        if stream_status != 200:
            check_error(kind, stream_status, stream_text, body)
            may = status != 200 or body.get("prompt_logprobs") is not None or "stream_options" in body
            expect(may, "only the stream is refused", stream_text)
        else:
            expect(content.startswith("text/event-stream"), content)
            events = events_of(stream_text)
            expect(status == 200 or "stream_options" in body, "only the whole answer is refused", text)
    if whole and events is not None and kind in ("chat", "completions"):
        check_pair(kind, body, whole, events)
    if whole and kind == "responses":
        check_responses(body, whole, events)
    if whole and kind == "messages":
        check_messages(body, whole, events)
    if whole and not streams:
        check_other(kind, body, whole)
    return status, text


# ---- vLLM as oracle ----------------------------------------------------------------------------------------------

ORACLE = r'''
import json, sys
out = sys.stdout
sys.stdout = sys.stderr
from pydantic import TypeAdapter
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest, AnthropicCountTokensRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest
from vllm.entrypoints.pooling.scoring.protocol import RerankRequest, ScoreRequest
from vllm.entrypoints.serve.tokenize.protocol import TokenizeCompletionRequest, TokenizeChatRequest, DetokenizeRequest
kinds = {"chat": ChatCompletionRequest, "completions": CompletionRequest, "responses": ResponsesRequest, "messages": AnthropicMessagesRequest,
         "count": AnthropicCountTokensRequest, "embeddings": EmbeddingRequest, "rerank": RerankRequest, "score": ScoreRequest,
         "tokenize": TokenizeCompletionRequest, "tokenize-chat": TokenizeChatRequest, "detokenize": DetokenizeRequest}
kinds = {k: TypeAdapter(v) for k, v in kinds.items()}
for line in sys.stdin:
    kind, body = json.loads(line)
    try:
        request = kinds[kind].validate_python(body)
        if kind in ("chat", "completions"):
            request.to_sampling_params(request.max_tokens or 16, {})
        answer = None
    except Exception as e:
        errors = e.errors(include_url=False, include_input=False) if hasattr(e, "errors") else []
        answer = "; ".join(sorted({".".join(map(str, x["loc"]))[-60:] + ": " + x["msg"] for x in errors})[:2]) or str(e) or repr(e)
    out.write(json.dumps(answer) + "\n")
    out.flush()
'''


class Oracle:
    def __init__(self, python):
        self.lock = threading.Lock()
        self.process = subprocess.Popen([python, "-c", ORACLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(self, kind, body):
        with self.lock:
            self.process.stdin.write(json.dumps([kind, body]) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


# ---- the walk -----------------------------------------------------------------------------------------------------


def serve(options):
    process = subprocess.Popen([options.glia, "serve", options.model, "--served-model-name", "m", "--port", "0", "--sequence-length", "2048"],
                               stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if found := re.search(r"http://\S+?:(\d+) ", line):
            break
    else:
        sys.exit("no server")
    threading.Thread(target=lambda: collections.deque(process.stderr, 0), daemon=True).start()
    return process, int(found[1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--model", default="models/qwen3-demo")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--n", type=int, default=500)
    p.add_argument("--workers", type=int, default=6)
    p.add_argument("--only", type=lambda s: s.split(","), default=list(KINDS))
    p.add_argument("--vllm-python")
    p.add_argument("--log", type=pathlib.Path, help="write differences from vLLM as JSON lines")
    options = p.parse_args()
    oracle = Oracle(options.vllm_python) if options.vllm_python else None
    process, port = serve(options)
    counts, failures, differences = collections.Counter(), 0, []
    lock = threading.Lock()

    def step(i):
        nonlocal failures
        r = Draw(f"{options.seed} {i}")
        kind = options.only[i % len(options.only)]
        body = request(r, kind)
        try:
            status, text = try_request(port, kind, body)
            for _ in range(0 if i % 4 == 0 else 12):
                if status == 200:
                    break
                body = seeded(r, kind, mend(r, kind, body, text))
                status, text = try_request(port, kind, body)
        except Exception as e:  # also of a wrong body that cannot be read
            with lock:
                failures += 1
                print(f"FAILED {kind} {i}: {type(e).__name__ if not isinstance(e, Wrong) else ''} {str(e)[:1500]}\n    {json.dumps(body)[:1500]}", flush=True)
            return
        refused = oracle.ask(kind, {"model": "m"} | body) if oracle else None
        with lock:
            counts[kind, status] += 1
            if oracle and (status == 400) != (refused is not None):
                differences.append({"kind": kind, "i": i, "glia": text[:400] if status == 400 else status, "vllm": refused, "body": body})

    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(step, range(options.n)))
    process.terminate()
    ended = process.wait(60)
    for key in sorted(counts):
        print(*key, counts[key])
    by_reason = collections.Counter()
    for d in differences:
        why = d["vllm"] if d["vllm"] else json.loads(d["glia"] if d["glia"].endswith("}") else '{"error":{"message":"?"}}')["error"]["message"]
        by_reason["vLLM refuses" if d["vllm"] else "Glia refuses", d["kind"], re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "_", why)[:150]] += 1
    for reason, count in by_reason.most_common():
        print(f"{count:4d} {' | '.join(reason)}".replace("\n", " "))
    if options.log:
        options.log.write_text("".join(json.dumps(d) + "\n" for d in differences))
    print(f"{options.n} requests, {failures} failed, {len(differences)} judged differently by vLLM; the server ended with status {ended}")
    sys.exit(failures > 0 or ended != 0)


if __name__ == "__main__":
    main()
