"""An engine of bench/peers/run other than Glia. Loads a model, then reads the
commands of turns.c from standard input, one a line, and answers each with one
line of JSON.

    python peer.py llama|openvino|transformers MODEL THREADS BATCH SEQUENCE_LENGTH OPTION
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


class Llama:
    """llama.cpp by its C interface: one context for each kind of command; the KV cache of prompts is kept."""

    def __init__(self, path, threads, batch, length, _):
        import llama_cpp
        self.c, self.threads, self.length = llama_cpp, threads, length
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.contexts = {}
        self.version = llama_cpp.__version__
        self.note = llama_cpp.llama_print_system_info().decode().strip()

    def context(self, batch, length):
        """The context for `batch` sequences, and the ids that the cache of each holds."""
        if batch not in self.contexts:
            params = self.c.llama_context_default_params()
            params.n_ctx = batch * (length + 255 & -256)
            params.n_batch = params.n_ubatch = CHUNK
            params.n_seq_max = batch
            params.n_threads = params.n_threads_batch = self.threads
            self.contexts[batch] = (self.c.llama_init_from_model(self.model, params), [[] for _ in range(batch)])
        return self.contexts[batch]

    def hold(self, context, held, wanted):
        """Make the cache hold exactly the ids `wanted` of each sequence; keep the prefix that it already has."""
        memory, rows = self.c.llama_get_memory(context), []
        for s, ids in enumerate(wanted):
            n = 0
            while n < min(len(held[s]), len(ids)) and held[s][n] == ids[n]:
                n += 1
            self.c.llama_memory_seq_rm(memory, s, n, -1)
            rows += [(ids[i], i, s) for i in range(n, len(ids))]
            held[s] = list(ids)
        self.feed(context, rows, set())

    def feed(self, context, rows, wanted):
        """Compute rows (id, position, sequence), and keep the logits of those whose index is in `wanted`."""
        for at in range(0, len(rows), CHUNK):
            piece = rows[at:at + CHUNK]
            batch = self.c.llama_batch_init(len(piece), 0, 1)
            batch.n_tokens = len(piece)
            for i, (token, position, sequence) in enumerate(piece):
                batch.token[i], batch.pos[i] = int(token), position
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
                batch.logits[i] = at + i in wanted
            status = self.c.llama_decode(context, batch)
            self.c.llama_batch_free(batch)
            if status:
                raise RuntimeError(f"llama_decode: {status}")
            self.c.llama_synchronize(context)

    def row(self, context, i):
        import numpy
        return numpy.ctypeslib.as_array(self.c.llama_get_logits_ith(context, i), (self.vocabulary,))

    def prefill(self, file, n, start):
        n, start = int(n), int(start)
        ids = read_ids(file, n).tolist()
        context, held = self.context(1, self.length)
        self.hold(context, held, [ids[:start]])
        rows = [(ids[i], i, 0) for i in range(start, n)]
        begin = time.perf_counter()
        self.feed(context, rows, {len(rows) - 1})
        seconds = time.perf_counter() - begin
        held[0] = ids
        return {"seconds": seconds, "tokens": n - start}

    def decode(self, file, batch, prompt, steps):
        batch, prompt, steps = int(batch), int(prompt), int(steps)
        ids = read_ids(file, batch * prompt).reshape(batch, prompt).tolist()
        context, held = self.context(batch, max(self.length, prompt + steps) if batch == 1 else prompt + steps)
        self.hold(context, held, [row[:-1] for row in ids])
        every = set(range(batch))
        self.feed(context, [(row[-1], prompt - 1, s) for s, row in enumerate(ids)], every)
        begin = time.perf_counter()
        for step in range(steps):
            tokens = [int(self.row(context, s).argmax()) for s in every]
            self.feed(context, [(tokens[s], prompt + step, s) for s in every], every)
        return {"seconds": time.perf_counter() - begin, "tokens": batch * steps}

    def logits(self, file, n, out):
        context, held = self.context(1, self.length)
        ids = read_ids(file, int(n)).tolist()
        self.hold(context, held, [ids[:-1]])
        self.feed(context, [(ids[-1], len(ids) - 1, 0)], {0})
        held[0] = ids
        self.row(context, 0).tofile(out)
        return {"logits": self.vocabulary}


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
    kind, path, threads, batch, length, option = sys.argv[1:]

    def answer(thing):
        answers.write(json.dumps(thing) + "\n")

    try:
        engine = {"llama": Llama, "openvino": OpenVINO, "transformers": Transformers}[kind](
            path, int(threads), int(batch), int(length), option)
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
