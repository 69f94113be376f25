#!/usr/bin/env python3
"""Write tests/golden/vllm_fields.json: the fields of vLLM's requests, for tests/check_server_fields.c.

    tools/gen_vllm_fields.py VLLM [-o tests/golden/vllm_fields.json]

VLLM is the directory of the installed package (site-packages/vllm). Its source is parsed, not imported.
"""
import argparse
import ast
import json
import pathlib
import re
import sys

REQUESTS = {  # kind of request: classes
    "chat": ["ChatCompletionRequest"],
    "completions": ["CompletionRequest"],
    "responses": ["ResponsesRequest"],
    "messages": ["AnthropicMessagesRequest"],
    "count": ["AnthropicCountTokensRequest"],
    "embeddings": ["EmbeddingCompletionRequest", "EmbeddingChatRequest"],
    "rerank": ["RerankRequest"],
    "score": ["ScoreTextRequest", "ScoreQueriesDocumentsRequest", "ScoreQueriesItemsRequest", "ScoreDataRequest"],
    "tokenize": ["TokenizeCompletionRequest", "TokenizeChatRequest"],
    "detokenize": ["DetokenizeRequest"],
}


def classes_of(vllm):
    found = {}
    for path in sorted(vllm.glob("entrypoints/**/protocol.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = node
    return found


def fields_of(name, classes):
    node = classes.get(name)
    if node is None:  # a class of pydantic or of Python
        return set()
    own = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and not n.target.id.startswith("_")
           and "ClassVar" not in ast.unparse(n.annotation)}
    return own.union(*[fields_of(b.id, classes) for b in node.bases if isinstance(b, ast.Name)])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("vllm", type=pathlib.Path)
    p.add_argument("-o", default="tests/golden/vllm_fields.json", type=pathlib.Path)
    options = p.parse_args()
    version = re.search(r"-(\d[^-]*)\.dist-info", " ".join(d.name for d in options.vllm.parent.glob("vllm*.dist-info")))
    classes = classes_of(options.vllm)
    fields = {kind: sorted(set().union(*[fields_of(n, classes) for n in names])) for kind, names in REQUESTS.items()}
    if not version or not all(fields.values()):
        sys.exit(f"{options.vllm} is no vLLM that this program knows")
    root = {"generated_by": f"tools/gen_vllm_fields.py, vLLM {version[1]}", "fields": fields}
    options.o.write_text(json.dumps(root, indent=1) + "\n")


if __name__ == "__main__":
    main()
