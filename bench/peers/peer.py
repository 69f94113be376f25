"""An engine of bench/peers/run other than Glia. Loads a model, then reads the
commands of turns.h from standard input, one a line, and answers each with one
line of JSON.

    python peer.py openvino|transformers|vllm MODEL OPTION THREADS BATCH SEQUENCE_LENGTH [ADAPTER ...]

Only vLLM takes adapters.
"""
import ctypes
import json
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
CHUNK = 512


def read_ids(path, n):
    import numpy
    ids = numpy.fromfile(path, numpy.int32, n)
    if len(ids) != n:
        raise ValueError(f"{path}: expected {n} ids, found {len(ids)}")
    return ids


class OpenVINO:
    """OpenVINO GenAI's continuous batching (paged attention), stepped by us."""

    def __init__(self, path, threads, batch, length, option):
        import openvino
        import openvino_genai
        self.genai, self.ov = openvino_genai, openvino
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = CHUNK
        scheduler.max_num_seqs = batch
        scheduler.enable_prefix_caching = False
        scheduler.cache_size = 3
        precision, kv, group = option.split(",")
        properties = {"INFERENCE_PRECISION_HINT": precision, "KV_CACHE_PRECISION": kv,
                      "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if int(group):
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = int(group)
        self.pipe = openvino_genai.ContinuousBatchingPipeline(path, scheduler, "CPU", properties)
        self.version = openvino_genai.__version__
        self.note = f"arithmetic {precision}, KV cache {kv}, groups of dynamic quantisation {group}"
        self.next = 0

    def submit(self, ids, output):
        config = self.genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = output
        config.ignore_eos = True
        config.do_sample = False
        self.next += 1
        tensor = self.ov.Tensor(ids.astype("int64").reshape(1, -1))
        return self.pipe.add_request(self.next, tensor, config)

    def finish(self):
        while self.pipe.has_non_finished_requests():
            self.pipe.step()

    def prefill(self, file, n, start):
        n, start = int(n), int(start)
        handle = self.submit(read_ids(file, n), 1)
        for _ in range(0, start, CHUNK):
            self.pipe.step()
        begin = time.perf_counter()
        self.finish()
        seconds = time.perf_counter() - begin
        del handle
        return {"seconds": seconds, "tokens": n - start}

    def decode(self, file, batch, prompt, steps):
        batch, prompt, steps = int(batch), int(prompt), int(steps)
        ids = read_ids(file, batch * prompt).reshape(batch, prompt)
        handles = [self.submit(row, steps + 1) for row in ids]
        for _ in range(0, batch * prompt, CHUNK):
            self.pipe.step()
        begin = time.perf_counter()
        count = 0
        while self.pipe.has_non_finished_requests():
            self.pipe.step()
            count += 1
        seconds = time.perf_counter() - begin
        if count != steps:
            raise RuntimeError(f"expected {steps} steps, found {count}")
        del handles
        return {"seconds": seconds, "tokens": batch * steps}

    def logits(self, file, n, _):
        handle = self.submit(read_ids(file, int(n)), 1)
        self.finish()
        return {"token": handle.read_all()[0].generated_ids[0]}


class VLLM:
    """vLLM's engine in this process, stepped by us."""

    def __init__(self, path, threads, batch, length, _, *adapters):
        os.environ.update(VLLM_CPU_KVCACHE_SPACE="3", VLLM_CPU_OMP_THREADS_BIND=f"0-{threads - 1}", OMP_NUM_THREADS=str(threads),
                          VLLM_NO_USAGE_STATS="1", VLLM_ENABLE_V1_MULTIPROCESSING="0")
        import vllm
        self.sampling = vllm.SamplingParams
        lora = {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": 16} if adapters else {}
        self.engine = vllm.LLM(path, **lora, skip_tokenizer_init=True, dtype="bfloat16", max_model_len=length + 64,
                               max_num_seqs=batch, max_num_batched_tokens=CHUNK, enable_prefix_caching=False,
                               async_scheduling=False, disable_log_stats=True).llm_engine
        self.version = vllm.__version__
        self.note = "compiled, V1 engine in one process"
        self.next = 0
        if adapters:
            from vllm.lora.request import LoRARequest
            self.adapters = [LoRARequest(str(i), i + 1, path) for i, path in enumerate(adapters)]

    def submit(self, ids, output, adapter=None):
        self.next += 1
        params = self.sampling(temperature=0, max_tokens=output, min_tokens=output, ignore_eos=True, detokenize=False)
        self.engine.add_request(str(self.next), {"prompt_token_ids": ids.tolist()}, params,
                                lora_request=None if adapter is None else self.adapters[adapter])

    def finish(self):
        """The tokens of the requests that ended, and the number of steps."""
        tokens, steps = [], 0
        while self.engine.has_unfinished_requests():
            tokens += [o.outputs[0].token_ids for o in self.engine.step() if o.finished]
            steps += 1
        return tokens, steps

    def prefill(self, file, n, start, used=0):
        n, start = int(n), int(start)
        self.submit(read_ids(file, n), 1, 0 if int(used) else None)
        for _ in range(0, start, CHUNK):
            self.engine.step()
        begin = time.perf_counter()
        self.finish()
        return {"seconds": time.perf_counter() - begin, "tokens": n - start}

    def decode(self, file, batch, prompt, steps, used=0, adapted=1 << 20):
        batch, prompt, steps, used, adapted = int(batch), int(prompt), int(steps), int(used), int(adapted)
        for i, row in enumerate(read_ids(file, batch * prompt).reshape(batch, prompt)):
            self.submit(row, steps + 1, i % used if used and i < adapted else None)
        for _ in range(0, batch * prompt, CHUNK):
            self.engine.step()
        begin = time.perf_counter()
        _, count = self.finish()
        seconds = time.perf_counter() - begin
        if count != steps:
            raise RuntimeError(f"expected {steps} steps, found {count}")
        return {"seconds": seconds, "tokens": batch * steps}

    def logits(self, file, n, _, used=0):
        self.submit(read_ids(file, int(n)), 1, 0 if int(used) else None)
        return {"token": self.finish()[0][0][0]}


class Transformers:
    def __init__(self, path, threads, *_):
        import torch
        import transformers
        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16,
                                                                       attn_implementation="sdpa").eval()
        self.cache = transformers.DynamicCache
        self.version = f"{transformers.__version__}, torch {torch.__version__}"
        self.note = "SDPA"

    def run(self, ids, cache):
        tensor = self.torch.tensor(ids, dtype=self.torch.long)
        return self.model(tensor, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]

    def prefill(self, file, n, start):
        n, start = int(n), int(start)
        ids, cache = read_ids(file, n).reshape(1, -1), self.cache()
        for at in range(0, start, CHUNK):
            self.run(ids[:, at:at + CHUNK], cache)
        begin = time.perf_counter()
        self.run(ids[:, start:], cache)
        return {"seconds": time.perf_counter() - begin, "tokens": n - start}

    def decode(self, file, batch, prompt, steps):
        batch, prompt, steps = int(batch), int(prompt), int(steps)
        cache = self.cache()
        logits = self.run(read_ids(file, batch * prompt).reshape(batch, prompt), cache)
        begin = time.perf_counter()
        for _ in range(steps):
            logits = self.run(logits.argmax(-1, keepdim=True), cache)
        return {"seconds": time.perf_counter() - begin, "tokens": batch * steps}

    def logits(self, file, n, out):
        row = self.run(read_ids(file, int(n)).reshape(1, -1), self.cache())[0].float().numpy()
        row.tofile(out)
        return {"logits": len(row)}


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with answers
    kind, path, option, threads, batch, length, *adapters = sys.argv[1:]

    def answer(thing):
        answers.write(json.dumps(thing) + "\n")

    try:
        engine = {"openvino": OpenVINO, "transformers": Transformers, "vllm": VLLM}[kind](
            path, int(threads), int(batch), int(length), option, *adapters)
    except Exception as e:  # any exception of a library becomes the answer
        answer({"error": f"{type(e).__name__}: {e}"})
        raise
    # Rename the process after loading: tools that stop jobs by name must not stop it.
    ctypes.CDLL(None).prctl(15, b"peer-" + kind.encode(), 0, 0, 0)
    answer({"version": engine.version, "note": engine.note})
    for line in sys.stdin:
        what, *rest = line.split()
        try:
            answer(getattr(engine, what)(*rest))
        except Exception as e:
            answer({"error": f"{type(e).__name__}: {e}"})


if __name__ == "__main__":
    main()
