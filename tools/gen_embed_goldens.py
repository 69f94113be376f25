#!/usr/bin/env python3
"""Embeddings and reranking scores of a demo model by Transformers, as the README files of Qwen3-Embedding and
Qwen3-Reranker compute them.

    gen_embed_goldens.py MODEL > tests/golden/embed-qwen3.json

Needs torch and transformers.
"""
import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

TASK = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = ('<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct '
          'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n')
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
QUERIES = ["What is the capital of China?", "Explain gravity"]
DOCUMENTS = ["The capital of China is Beijing.",
             "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and "
             "is responsible for the movement of planets around the sun."]


def main():
    directory = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    texts = [f"Instruct: {TASK}\nQuery:{q}" for q in QUERIES] + DOCUMENTS
    embeddings, scores = [], []
    with torch.no_grad():
        for text in texts:
            hidden = model.model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1]
            embeddings.append([float(f"{x:.7g}") for x in torch.nn.functional.normalize(hidden, dim=0).tolist()])
        no, yes = (tokenizer.encode(w, add_special_tokens=False) for w in ("no", "yes"))
        for query in QUERIES if len(no) == len(yes) == 1 else []:
            row = []
            for document in DOCUMENTS:
                middle = f"<Instruct>: {TASK}\n<Query>: {query}\n<Document>: {document}"
                ids = (tokenizer.encode(PREFIX, add_special_tokens=False) + tokenizer(middle)["input_ids"] +
                       tokenizer.encode(SUFFIX, add_special_tokens=False))
                logits = model(torch.tensor([ids])).logits[0, -1]
                pair = torch.log_softmax(torch.stack([logits[no[0]], logits[yes[0]]]), 0)
                row.append(float(f"{pair[1].exp().item():.7g}"))
            scores.append(row)
    print(json.dumps({"command": "tools/gen_embed_goldens.py " + directory, "model": directory, "dtype": "float32",
                      "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
                      "task": TASK, "queries": QUERIES, "documents": DOCUMENTS, "embeddings": embeddings,
                      "scores": scores}))


main()
