/* table.c - a table of flags, a table of commands, and the help text made from both. */
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "cli/commands.h"

enum {
    C_DRAWS = C_RUN | C_GENERATE,
    C_ENGINE = C_RUN | C_GENERATE | C_SCORE | C_INSPECT | C_BENCH,
    C_LOADS = C_ENGINE | C_COMPILE | C_SERVE | C_EMBED | C_RERANK,
    C_ADAPTERS = C_ENGINE | C_SERVE,
    C_LINES = C_TOKENIZE | C_DETOKENIZE | C_TEMPLATE,
};

/* clang-format off */
const cli_flag cli_flags[N_FLAGS] = {
    [F_PROMPT] = {"prompt", "-p", KIND_TEXT, GROUP_TASK, C_DRAWS, 0, 0, "TEXT", NULL,
        "the prompt; run without a prompt is interactive, generate continues the prompt verbatim"},
    [F_RAW] = {"raw", NULL, KIND_SWITCH, GROUP_TASK, C_RUN, 0, 0, NULL, NULL,
        "continue the prompt verbatim, without the chat template"},
    [F_SYSTEM] = {"system", NULL, KIND_TEXT, GROUP_TASK, C_RUN, 0, 0, "TEXT", NULL,
        "the system message (default: none)"},
    [F_NO_THINK] = {"no-think", NULL, KIND_SWITCH, GROUP_TASK, C_RUN, 0, 0, NULL, NULL,
        "ask the template for an answer without thinking (enable_thinking = false)"},
    [F_CHAT_TEMPLATE] = {"chat-template", NULL, KIND_TEXT, GROUP_TASK, C_RUN | C_TEMPLATE | C_SERVE, 0, 0, "FILE", NULL,
        "a Jinja template (default: the model's own)"},
    [F_NOW] = {"now", NULL, KIND_TEXT, GROUP_TASK, C_RUN | C_TEMPLATE, 0, 0, "TIME", NULL,
        "the time that strftime_now returns, such as 2025-07-08T12:00:00 (default: the clock)"},
    [F_IDS] = {"ids", NULL, KIND_TEXT, GROUP_TASK, C_GENERATE | C_SCORE, 0, 0, "FILE", NULL,
        "token ids: a JSON array; generate also takes an array of arrays, a batch; - is standard input"},
    [F_TEXT] = {"text", NULL, KIND_TEXT, GROUP_TASK, C_SCORE | C_CALIBRATE, 0, 0, "FILE", NULL,
        "score: this text instead of --ids; calibrate: the text to measure on; - is standard input"},
    [F_OUT] = {"out", "-o", KIND_TEXT, GROUP_TASK, C_SCORE | C_COMPILE | C_MERGE | C_CALIBRATE, 0, 0, "PATH", NULL,
        "score: the safetensors file for the tensor logits, float32 [tokens, vocabulary]; calibrate: the file to write; compile, merge: the directory to write"},
    [F_STATES] = {"states", NULL, KIND_TEXT, GROUP_TASK, C_SCORE, 0, 0, "LAYER,...", NULL,
        "write the tensor states instead, float32 [tokens, layers + 1, hidden size]: the residual stream after these layers, then the last hidden state; --ids may be a batch"},
    [F_HOST] = {"host", NULL, KIND_TEXT, GROUP_TASK, C_SERVE, 0, 0, "HOST", "127.0.0.1",
        "the name or address to listen at; 0.0.0.0 is every IPv4 address of this machine"},
    [F_PORT] = {"port", NULL, KIND_INT, GROUP_TASK, C_SERVE, 0, 65535, "N", "8000",
        "the port to listen at; 0: any free port, which the first line names"},
    [F_API_KEY] = {"api-key", NULL, KIND_STOPS, GROUP_TASK, C_SERVE, 0, 0, "KEY", NULL,
        "refuse requests without this bearer key, except health, ping, load and version; may be given several times"},
    [F_ALLOWED_ORIGINS] = {"allowed-origins", NULL, KIND_TEXT, GROUP_TASK, C_SERVE, 0, 0, "ORIGIN,...", "*",
        "origins whose pages may read answers (CORS), such as https://chat.example; *: every origin"},
    [F_SERVED_MODEL_NAME] = {"served-model-name", NULL, KIND_TEXT, GROUP_TASK, C_SERVE, 0, 0, "NAME", NULL,
        "the model's name in requests and answers (default: MODEL)"},
    [F_DEFAULT_TEMPLATE_KWARGS] = {"default-chat-template-kwargs", NULL, KIND_TEXT, GROUP_TASK, C_SERVE, 0, 0, "JSON", NULL,
        "chat_template_kwargs of requests that do not say them, such as '{\"enable_thinking\": false}'"},
    [F_MAX_NUM_QUEUED_REQS] = {"max-num-queued-reqs", NULL, KIND_INT, GROUP_TASK, C_SERVE, 1, 1e6, "N", "4096",
        "maximum number of sequences that wait or run; more are refused with status 503"},
    [F_SHUTDOWN_TIMEOUT] = {"shutdown-timeout", NULL, KIND_REAL, GROUP_TASK, C_SERVE, 0, 86400, "SECONDS", "30",
        "after SIGTERM or SIGINT, the time for requests that run; then they are aborted"},
    [F_MAX_CONNECTIONS] = {"max-connections", NULL, KIND_INT, GROUP_TASK, C_SERVE, 1, 1e6, "N", "8192",
        "connections that are open at once; more wait until one closes"},
    [F_MAX_BODY_SIZE] = {"max-body-size", NULL, KIND_INT, GROUP_TASK, C_SERVE, 1, 1024, "MIB", "32",
        "the longest body of a request, in MiB; a longer one gets status 413"},
    [F_HTTP_TIMEOUT] = {"http-timeout", NULL, KIND_REAL, GROUP_TASK, C_SERVE, 1, 86400, "SECONDS", "120",
        "close a connection that neither sends nor takes a byte so long while it owes a request or a reply is ready"},
    [F_LOG_JSON] = {"log-json", NULL, KIND_SWITCH, GROUP_TASK, C_SERVE, 0, 0, NULL, NULL,
        "log each request as a JSON object on a line"},
    [F_SSL_CERTFILE] = {"ssl-certfile", NULL, KIND_TEXT, GROUP_TASK, C_SERVE, 0, 0, "FILE", NULL,
        "serve HTTPS with this certificate, or chain of certificates, in PEM form; needs --ssl-keyfile"},
    [F_SSL_KEYFILE] = {"ssl-keyfile", NULL, KIND_TEXT, GROUP_TASK, C_SERVE, 0, 0, "FILE", NULL,
        "the certificate's private key in PEM form"},
    [F_SCHEDULING_POLICY] = {"scheduling-policy", NULL, KIND_CHOICE, GROUP_TASK, C_SERVE, 0, 0, "fcfs|priority|fair", "fcfs",
        "which waiting request is next: the oldest; the lowest number in its field priority; or the one of the client (an API key, else an address) with the fewest running"},
    [F_MAX_STEP_MS] = {"max-step-ms", NULL, KIND_INT, GROUP_TASK, C_SERVE, 0, 600000, "N", "100",
        "while answers are generated, a step computes as many tokens of prompts as fit into so many milliseconds, but at least 32; 0: as many as fit --prefill-chunk-size"},
    [F_PREFIX_CACHE_DIR] = {"prefix-cache-dir", NULL, KIND_TEXT, GROUP_TASK, C_SERVE, 0, 0, "DIR", NULL,
        "keep cached prefixes in this directory, for the next start"},
    [F_PREFIX_CACHE_SIZE] = {"prefix-cache-size", NULL, KIND_REAL, GROUP_TASK, C_SERVE, 0.001, 1e6, "GIB", "4",
        "the most that --prefix-cache-dir may hold"},
    [F_INSTRUCT] = {"instruct", NULL, KIND_TEXT, GROUP_TASK, C_EMBED | C_RERANK, 0, 0, "TASK", NULL,
        "the task: embed then frames each text as a query of it; rerank has Qwen3-Reranker's default, a web search"},
    [F_DIMENSIONS] = {"dimensions", NULL, KIND_INT, GROUP_TASK, C_EMBED, 1, 1e6, "N", NULL,
        "keep the first N numbers of an embedding, before it is normalised (default: all)"},
    [F_NO_NORMALIZE] = {"no-normalize", NULL, KIND_SWITCH, GROUP_TASK, C_EMBED, 0, 0, NULL, NULL,
        "do not divide embeddings by their Euclidean norm"},
    [F_TOP_N] = {"top-n", NULL, KIND_INT, GROUP_TASK, C_RERANK, 0, 1e6, "N", "0",
        "print only the N best documents; 0: all"},
    [F_SPECIAL] = {"special", NULL, KIND_SWITCH, GROUP_TASK, C_TOKENIZE, 0, 0, NULL, NULL,
        "add the special tokens that the tokenizer's post-processor adds"},
    [F_SKIP_SPECIAL] = {"skip-special-tokens", NULL, KIND_SWITCH, GROUP_TASK, C_DETOKENIZE, 0, 0, NULL, NULL,
        "leave out added tokens that are marked special"},
    [F_PROMPT_TOKENS] = {"prompt-tokens", "--input-len", KIND_INT, GROUP_TASK, C_BENCH, 1, 1e7, "N", "512",
        "tokens of each prompt, drawn at random"},
    [F_OUTPUT_TOKENS] = {"output-tokens", "--output-len", KIND_INT, GROUP_TASK, C_BENCH, 1, 1e7, "N", "128",
        "tokens generated for each prompt"},
    [F_RUNS] = {"runs", NULL, KIND_INT, GROUP_TASK, C_BENCH, 1, 1000, "N", "3",
        "number of runs; the report has the median and the range"},
    [F_JSON] = {"json", NULL, KIND_SWITCH, GROUP_TASK, C_ENGINE, 0, 0, NULL, NULL,
        "print one JSON object"},
    [F_CONFIG] = {"config", NULL, KIND_SWITCH, GROUP_TASK, C_INSPECT, 0, 0, NULL, NULL,
        "print every setting in effect and its source: flag, file or default"},
    [F_VERBOSE] = {"verbose", "-v", KIND_SWITCH, GROUP_TASK, C_DRAWS, 0, 0, NULL, NULL,
        "print the model, the instruction set and the seed on standard error"},

    [F_GREEDY] = {"greedy", NULL, KIND_SWITCH, GROUP_SAMPLING, C_DRAWS, 0, 0, NULL, NULL,
        "always take the most likely token; the same as --temperature 0"},
    [F_TEMPERATURE] = {"temperature", "--temp", KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 100, "T", NULL,
        "divide logits by T before drawing; 0 is greedy"},
    [F_TOP_K] = {"top-k", NULL, KIND_INT, GROUP_SAMPLING, C_DRAWS, -1, 1e9, "K", NULL,
        "draw from the K most likely tokens; 0 or -1: all"},
    [F_TOP_P] = {"top-p", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 1, "P", NULL,
        "draw from the smallest set of likeliest tokens whose probabilities sum to P; 1: all"},
    [F_MIN_P] = {"min-p", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 1, "P", NULL,
        "draw from the tokens that are at least P times as likely as the likeliest; 0: all"},
    [F_TYPICAL_P] = {"typical-p", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 1, "P", NULL,
        "draw from the most typical tokens whose probabilities sum to P; 1: all"},
    [F_REPETITION_PENALTY] = {"repetition-penalty", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0.01, 100, "R", NULL,
        "weaken the tokens of prompt and output by this factor; 1: off"},
    [F_PRESENCE_PENALTY] = {"presence-penalty", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, -2, 2, "X", NULL,
        "subtract X from the logits of tokens already generated; 0: off"},
    [F_FREQUENCY_PENALTY] = {"frequency-penalty", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, -2, 2, "X", NULL,
        "subtract X for each time a token was generated; 0: off"},
    [F_MAX_TOKENS] = {"max-tokens", "-n --max-new-tokens", KIND_INT, GROUP_SAMPLING, C_DRAWS, 1, 1e9, "N", NULL,
        "maximum number of tokens of an answer (default: run, up to the sequence length; generate, 128)"},
    [F_MIN_TOKENS] = {"min-tokens", "--min-new-tokens", KIND_INT, GROUP_SAMPLING, C_DRAWS, 0, 1e9, "N", "0",
        "minimum number of tokens before the answer may stop"},
    [F_THINKING_BUDGET] = {"thinking-budget", "--reasoning-budget", KIND_INT, GROUP_SAMPLING, C_DRAWS, -1, 1e9, "N", "-1",
        "after N tokens of thinking, a newline and </think> follow; -1: no budget"},
    [F_STOP] = {"stop", NULL, KIND_STOPS, GROUP_SAMPLING, C_DRAWS, 0, 0, "TEXT", NULL,
        "end the answer before this text; may be given several times"},
    [F_STOP_TOKEN_IDS] = {"stop-token-ids", NULL, KIND_IDS, GROUP_SAMPLING, C_DRAWS, 0, 0, "ID,...", NULL,
        "also end the answer after one of these tokens"},
    [F_INCLUDE_STOP] = {"include-stop-str-in-output", NULL, KIND_SWITCH, GROUP_SAMPLING, C_DRAWS, 0, 0, NULL, NULL,
        "keep the stop text in the answer"},
    [F_LOGIT_BIAS] = {"logit-bias", NULL, KIND_BIASES, GROUP_SAMPLING, C_DRAWS, -100, 100, "ID:X,...", NULL,
        "add X to the logit of token ID, for each pair"},
    [F_IGNORE_EOS] = {"ignore-eos", NULL, KIND_SWITCH, GROUP_SAMPLING, C_DRAWS, 0, 0, NULL, NULL,
        "continue after the end-of-sequence token"},
    [F_LOGPROBS] = {"logprobs", NULL, KIND_INT, GROUP_SAMPLING, C_DRAWS, 0, 20, "N", NULL,
        "with --json: log-probability of each token, and of the N most likely tokens"},
    [F_JSON_SCHEMA] = {"json-schema", NULL, KIND_TEXT, GROUP_SAMPLING, C_DRAWS, 0, 0, "FILE|TEXT", NULL,
        "the answer is JSON of this JSON Schema: a file, or the schema itself if it begins with {"},
    [F_REGEX] = {"regex", NULL, KIND_TEXT, GROUP_SAMPLING, C_DRAWS, 0, 0, "PATTERN", NULL,
        "the answer matches this regular expression"},
    [F_GRAMMAR] = {"grammar", NULL, KIND_TEXT, GROUP_SAMPLING, C_DRAWS, 0, 0, "FILE", NULL,
        "the answer is of this grammar, in GBNF, EBNF or Lark"},
    [F_CHOICE] = {"choice", NULL, KIND_CHOICES, GROUP_SAMPLING, C_DRAWS, 0, 0, "TEXT", NULL,
        "the answer is this text, or that of another --choice; or a JSON array of the texts"},
    [F_WHITESPACE] = {"whitespace", NULL, KIND_TEXT, GROUP_SAMPLING, C_DRAWS, 0, 0, "STYLE", NULL,
        "blanks between tokens of JSON: flexible (the default), compact, single, or a regular expression"},
    [F_STRICT] = {"strict", NULL, KIND_SWITCH, GROUP_SAMPLING, C_DRAWS, 0, 0, NULL, NULL,
        "refuse a constraint of which a part cannot be enforced, instead of a warning"},

    [F_ENABLE_LORA] = {"enable-lora", NULL, KIND_SWITCH, GROUP_ENGINE, C_ADAPTERS, 0, 0, NULL, NULL,
        "reserve places for LoRA adapters; --lora-modules does so too"},
    [F_LORA_MODULES] = {"lora-modules", NULL, KIND_MODULES, GROUP_ENGINE, C_ADAPTERS, 0, 0, "NAME=PATH ...", NULL,
        "LoRA adapters, directories as PEFT writes them, and their names; may be given several times"},
    [F_LORA] = {"lora", NULL, KIND_TEXT, GROUP_TASK, C_DRAWS | C_SCORE | C_BENCH, 0, 0, "NAME", NULL,
        "answer with this adapter; generate and bench: NAME,NAME,... is one for each prompt, an empty name the model alone"},
    [F_MAX_LORAS] = {"max-loras", NULL, KIND_INT, GROUP_ENGINE, C_ADAPTERS, 1, 256, "N", NULL,
        "different adapters in one step; requests of others wait (default: as many as --lora-modules, at most 8)"},
    [F_MAX_LORA_RANK] = {"max-lora-rank", NULL, KIND_INT, GROUP_ENGINE, C_ADAPTERS, 1, 4096, "N", NULL,
        "the largest rank of an adapter (default: 16, or the largest rank of --lora-modules)"},
    [F_MAX_CPU_LORAS] = {"max-cpu-loras", NULL, KIND_INT, GROUP_ENGINE, C_ADAPTERS, 1, 1 << 20, "N", NULL,
        "adapters that are kept in memory; others are read again when they are used (default: 100)"},
    [F_LORA_EVICTION] = {"lora-eviction-policy", NULL, KIND_CHOICE, GROUP_ENGINE, C_ADAPTERS, 0, 0, "lru|lfu", "lru",
        "which adapter leaves its place for another: the least recently or the least frequently used"},

    [F_SEED] = {"seed", NULL, KIND_INT, GROUP_ENGINE, C_LOADS, 0, 9e18, "N", NULL,
        "seed of sampling (default: random) and of dummy weights (default: 0)"},
    [F_DTYPE] = {"dtype", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS | C_MERGE | C_CALIBRATE, 0, 0, "auto|float32|bfloat16|float16", "auto",
        "number format of weights and activations; auto: as config.json says"},
    [F_KV_CACHE_DTYPE] = {"kv-cache-dtype", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "auto|float32|bfloat16|int8", "auto",
        "number format of keys and values; auto: as --dtype"},
    [F_QUANTIZATION] = {"quantization", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "int8|w8a8|int4|w4a8|fp8", NULL,
        "quantise linear layers while loading: int8, int4 and fp8, the weights; w8a8 and w4a8, also the rows they multiply, per token (default: none; a checkpoint that is quantised stays as it is)"},
    [F_QUANTIZATION_TYPE] = {"quantization-type", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0,
        "rotated_per_channel_symmetric|per_channel_symmetric|per_tensor_symmetric|group_symmetric|group_asymmetric|rotated_group_symmetric|rotated_group_asymmetric", NULL,
        "which weights share a scale, and whether blocks are rotated first (default: int8 and w8a8, rotated_per_channel_symmetric; int4, group_asymmetric; w4a8, rotated_group_asymmetric; fp8, per_channel_symmetric)"},
    [F_QUANTIZATION_GROUP_SIZE] = {"quantization-group-size", "--group-size", KIND_INT, GROUP_ENGINE, C_LOADS, 32, 128, "N", NULL,
        "with --quantization int4 or w4a8: 32, 64 or 128 columns share a scale; fewer cost memory and lose less (default: 32)"},
    [F_HEAD_QUANTIZATION] = {"head-quantization", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "none|int8|int4|fp8", NULL,
        "with --quantization int4, w4a8 or fp8: the head's own format; embedding lookups are never quantised (default: int8, in groups of 64)"},
    [F_IMPORTANCE] = {"importance", NULL, KIND_TEXT, GROUP_ENGINE, C_LOADS, 0, 0, "FILE", NULL,
        "with --quantization int4 or w4a8: weigh errors by this file of glia calibrate, which loses less (default: all columns are alike)"},
    [F_MODULES_TO_NOT_CONVERT] = {"modules-to-not-convert", NULL, KIND_TEXT, GROUP_ENGINE, C_LOADS, 0, 0, "NAME,...", NULL,
        "modules that --quantization does not quantise, such as lm_head, self_attn, layers.0.mlp (default: none)"},
    [F_BATCH_SIZE] = {"batch-size", "--max-num-seqs", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 4096, "N", NULL,
        "maximum number of sequences that run at once (default: 1; generate, the number of prompts, at most 64)"},
    [F_SEQUENCE_LENGTH] = {"sequence-length", "--max-model-len", KIND_INT, GROUP_ENGINE, C_LOADS | C_CALIBRATE, 2, 1e8, "N", NULL,
        "maximum length of prompt and output together (default: what the task needs; run and inspect, the model's own, limited; calibrate, windows of 512)"},
    [F_PREFILL_CHUNK_SIZE] = {"prefill-chunk-size", "--max-num-batched-tokens", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 65536, "N", NULL,
        "maximum number of tokens of one step (default: 512)"},
    [F_BLOCK_SIZE] = {"block-size", NULL, KIND_INT, GROUP_ENGINE, C_LOADS, 32, 4096, "N", NULL,
        "positions in a block of the KV cache, a multiple of 32 (default: 64)"},
    [F_KV_CACHE_BLOCKS] = {"kv-cache-blocks", "--num-gpu-blocks-override", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 268435456, "N", NULL,
        "blocks of the KV cache; with fewer than --batch-size sequences need, some wait, or are preempted and computed anew (default: enough for all)"},
    [F_NO_PREFIX_CACHE] = {"no-prefix-cache", "--no-enable-prefix-caching", KIND_SWITCH, GROUP_ENGINE, C_LOADS, 0, 0, NULL, NULL,
        "compute equal prefixes of prompts again instead of reusing their KV cache"},
    [F_TENSOR_PARALLEL_SIZE] = {"tensor-parallel-size", "-tp", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 64, "N", NULL,
        "ranks that share each layer. Under mpirun each process is a rank (default: all of them); else ranks are threads of this process (default: 1)"},
    [F_VOCAB_PARALLEL] = {"vocab-parallel", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "shard the embedding by tokens instead of by its dimension (default: on if it is the head too)"},
    [F_SEQUENCE_PARALLEL] = {"sequence-parallel", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "shard the rows of a step between layers if they are many; the result is the same (default: on)"},
    [F_FLASH_DECODING] = {"flash-decoding", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "ranks that would hold copies of a key-value head shard its positions instead (default: off)"},
    [F_CONTEXT_PARALLEL_SIZE] = {"context-parallel-size", "-cp", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 8, "N", NULL,
        "ranks that shard the rows of a prompt in attention; divides --tensor-parallel-size (default: 1)"},
    [F_STRIDED_CONTEXT_PARALLEL] = {"strided-context-parallel", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "with --context-parallel-size N: a rank gets every N-th row, which balances work, instead of contiguous rows (default: off)"},
    [F_THREADS] = {"threads", "-t", KIND_INT, GROUP_ENGINE, C_LOADS | C_CALIBRATE, 1, 1024, "N", NULL,
        "threads of a rank (default: the rank's share of the cores that this process may use, by affinity and CPU quota)"},
    [F_CPU_FEATURES] = {"cpu-features", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS | C_CALIBRATE, 0, 0, GLIA_RUNG_NAMES, NULL,
        "use instruction sets up to this one (default: all that the machine has)"},
    [F_LOAD_FORMAT] = {"load-format", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "auto|dummy", "auto",
        "dummy: random weights of the real shapes; MODEL needs only a config.json"},
    [F_SPECULATIVE_CONFIG] = {"speculative-config", "-sc", KIND_TEXT, GROUP_ENGINE, C_LOADS, 0, 0, "JSON", NULL,
        "speculation, with vLLM's keys: '{\"method\": \"ngram\", \"num_speculative_tokens\": 8}'; the answers are the same with it and without (default: none)"},
    [F_MODEL_DRAFT] = {"model-draft", "-md --spec-draft-model --spec-model --speculative-model --draft-model-path", KIND_TEXT, GROUP_ENGINE, C_LOADS, 0, 0, "MODEL", NULL,
        "a draft for speculation: the key model of --speculative-config"},
    [F_DRAFT_MAX] = {"draft-max", "--draft --draft-n --spec-draft-n-max --spec-ngram-size-m --spec-tokens --num-speculative-tokens", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 255, "N", NULL,
        "maximum number of tokens that a draft proposes: the key num_speculative_tokens"},
    [F_SPEC_TYPE] = {"spec-type", "--spec-method", KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0,
        "none|ngram|suffix|draft_model|eagle|eagle3|medusa|dflash|dspark|draft-simple|draft-eagle3|draft-dflash|draft-dspark|ngram-simple|ngram-cache|ngram-map-k|ngram-map-k4v|ngram-mod", NULL,
        "the key method of --speculative-config, with its names or llama.cpp's"},
    [F_SPEC_NGRAM_SIZE] = {"spec-ngram-size-n", "--spec-ngram-simple-size-n", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 1024, "N", NULL,
        "tokens that method ngram looks up: the keys prompt_lookup_min and prompt_lookup_max"},
    [F_DRAFT_TP] = {"draft-tensor-parallel-size", "--speculative-draft-tensor-parallel-size --draft-model-tp-degree", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 64, "N", NULL,
        "ranks that share a draft model: 1, it is whole on rank 0, or as many as the target has; other drafts are always whole (default: 1)"},
    [F_TRACE_DRAFTS] = {"trace-drafts", NULL, KIND_TEXT, GROUP_TASK, C_GENERATE, 0, 0, "FILE", NULL,
        "write every proposal of the draft, one JSON object for each round; the draft then always proposes all that it may"},
};

const cli_command cli_commands[] = {
    {"run", "MODEL [-p TEXT]", "Chat in the terminal, streamed. Without -p the chat is interactive and keeps the history.",
        "  glia run models/qwen3-demo\n"
        "  glia run Qwen/Qwen3-0.6B -p \"Why is the sky blue?\" --no-think --temperature 0.7\n", C_RUN, cli_run},
    {"generate", "MODEL (--ids FILE | -p TEXT)", "Token ids in, token ids out: one JSON array for each prompt, or one JSON object with all details (--json).",
        "  echo '[[1, 2, 3], [4, 5]]' | glia generate models/qwen3-demo --ids - --greedy --json\n", C_GENERATE, cli_generate},
    {"score", "MODEL (--ids FILE | --text FILE) (--out FILE | --json)", "Teacher-forced logits of given tokens, as a safetensors file, or their sum of log-probabilities and perplexity.",
        "  glia score models/qwen3-demo --ids ids.json --out logits.safetensors\n"
        "  glia score models/qwen3-demo --text story.txt --json\n", C_SCORE, cli_score},
    {"tokenize", "MODEL", "One JSON string per line in, one JSON array of token ids per line out.",
        "  echo '\"Hello world\"' | glia tokenize models/qwen3-demo\n", C_TOKENIZE, cli_tokenize},
    {"detokenize", "MODEL", "One JSON array of token ids per line in, one JSON string per line out.",
        "  echo '[1, 2, 3]' | glia detokenize models/qwen3-demo\n", C_DETOKENIZE, cli_detokenize},
    {"template", "MODEL", "One conversation per line in, as a JSON object; one rendered prompt per line out, as a JSON string.",
        "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}' |\n"
        "      glia template models/qwen3-demo\n", C_TEMPLATE, cli_template},
    {"embed", "MODEL", "One text per line in, as a JSON string, or a list of texts; its embedding per line out, as a JSON array: the hidden state of the last token, normalised.",
        "  echo '[\"Paris is in France.\", \"Gravity is a force.\"]' | glia embed Qwen/Qwen3-Embedding-0.6B\n", C_EMBED, cli_embed},
    {"rerank", "MODEL", "One query with its documents per line in, as a JSON object; their scores per line out, best first, as Qwen3-Reranker judges.",
        "  echo '{\"query\": \"Where is Paris?\", \"documents\": [\"In France.\", \"It rains.\"]}' |\n"
        "      glia rerank Qwen/Qwen3-Reranker-0.6B\n", C_RERANK, cli_rerank},
    {"parse", "MODEL", "One answer of the model per line in, as a JSON object; its thinking, content and tool calls per line out.",
        "  echo '{\"output\": \"<tool_call>\\n{\\\"name\\\": \\\"f\\\"}\\n</tool_call>\"}' | glia parse models/qwen3-demo\n", C_PARSE, cli_parse_answers},
    {"inspect", "MODEL", "Architecture, tensors, memory plan and the kernel of each operation of a model. Of the directory of a LoRA adapter: what it changes.",
        "  glia inspect models/qwen3-demo --batch-size 8 --sequence-length 4096\n", C_INSPECT, cli_inspect},
    {"merge", "MODEL ADAPTER -o DIR", "Merge a LoRA adapter into a model's weights and write a Hugging Face directory. Changed weights are float32, or as --dtype says.",
        "  glia merge Qwen/Qwen3-0.6B my-adapter -o merged --dtype bfloat16\n", C_MERGE, cli_merge},
    {"calibrate", "MODEL --text FILE -o FILE", "Measure on a text how much each column of the linear layers matters. Rows are float32, or as --dtype says. --quantization int4 and w4a8 weigh errors by the file with --importance.",
        "  glia calibrate Qwen/Qwen3-0.6B --text calibration.txt -o qwen3.importance\n"
        "  glia run Qwen/Qwen3-0.6B --quantization int4 --importance qwen3.importance -p \"Why is the sky blue?\"\n", C_CALIBRATE, cli_calibrate},
    {"compile", "MODEL -o DIR", "Pack the weights as the flags say and write them as an artifact: DIR as MODEL then loads at once.",
        "  glia compile Qwen/Qwen3-0.6B -o qwen3-0.6b-w8a8 --quantization w8a8\n"
        "  glia run qwen3-0.6b-w8a8 -p \"Why is the sky blue?\"\n", C_COMPILE, cli_compile},
    {"serve", "MODEL", "Serve the model over HTTP, to clients of OpenAI's interface, until SIGTERM or Ctrl-C.",
        "  glia serve models/qwen3-demo --batch-size 16\n"
        "  curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\\n"
        "      -d '{\"prompt\": \"Once upon a time\", \"max_tokens\": 20}'\n", C_SERVE, cli_serve},
    {"grammar check", "MODEL", "One constraint and texts per line in, as a JSON object (schema, regex, grammar, choice, structural_tag or tools; strict, whitespace; instances: values, texts: strings); which texts it accepts out.",
        "  echo '{\"schema\": {\"type\": \"integer\", \"minimum\": 7}, \"instances\": [7, 6]}' | glia grammar check models/qwen3-demo\n", C_GRAMMAR_CHECK, cli_grammar_check},
    {"grammar show", "SCHEMA", "What a JSON Schema means to a constraint, and what of it is not enforced. SCHEMA is the schema itself, a file, or - for standard input.",
        "  glia grammar show schema.json\n", C_GRAMMAR_SHOW, cli_grammar_show},
    {"bench", "MODEL", "Time to first token, inter-token latency, prefill and decode speed, also as shares of this machine's ceilings.",
        "  glia bench Qwen/Qwen3-0.6B --prompt-tokens 512 --output-tokens 128 --runs 5\n"
        "  glia bench DIR --load-format dummy --json   # DIR holds only a config.json\n", C_BENCH, cli_bench},
};
/* clang-format on */
const size_t cli_n_commands = sizeof cli_commands / sizeof *cli_commands;

static const char *const group_titles[N_GROUPS] = {
    "task:", "sampling (defaults: generation_config.json of the model):",
    "model and machine (defaults: neuron_config.json of the model):"};

/* Print `text`, which starts in column `column`, with lines broken between words, or after a |, before column
 * 100. */
static void print_wrapped(const char *text, int column) {
    bool spaced = false;
    int at = column;
    while (*text) {
        int n = (int)strcspn(text, " |");
        n += text[n] == '|';
        if (at > column && at + spaced + n > 100)
            at = printf("\n%*s", column, "") - 1;
        else if (spaced)
            at += printf(" ");
        at += printf("%.*s", n, text);
        text += n;
        spaced = *text == ' ';
        text += spaced;
    }
    putchar('\n');
}

static void print_flag(const cli_flag *f) {
    enum { COLUMN = 34 };
    const bool choice = f->kind == KIND_CHOICE;
    char text[512];
    int n = snprintf(text, sizeof text, "%s", f->help);
    if (choice) n += snprintf(text + n, sizeof text - (size_t)n, "; one of %s", f->value);
    if (f->preset) n += snprintf(text + n, sizeof text - (size_t)n, " (default: %s)", f->preset);
    if (f->aliases) snprintf(text + n, sizeof text - (size_t)n, " [also %s]", f->aliases);
    int at = printf("  --%s", f->name);
    if (f->value) at += printf(" %s", choice ? "NAME" : f->value);
    printf("%*s", COLUMN - at, "");
    print_wrapped(text, COLUMN);
}

void cli_help(const cli_command *command) {
    printf("usage: glia %s %s [flags]\n\n", command->name, command->usage);
    print_wrapped(command->about, 0);
    printf("MODEL is a directory, or a Hub id found in the Hugging Face cache.\n");
    for (int group = 0; group < N_GROUPS; group++) {
        bool titled = false;
        for (int i = 0; i < N_FLAGS; i++) {
            if (cli_flags[i].group != (cli_group)group || !(cli_flags[i].commands & command->bit)) continue;
            if (!titled) printf("\n%s\n", group_titles[group]);
            titled = true;
            print_flag(&cli_flags[i]);
        }
    }
    printf("\nexamples:\n%s", command->examples);
}

void cli_help_all(void) {
    printf("usage: glia COMMAND MODEL [flags]\n\ncommands:\n");
    for (size_t i = 0; i < cli_n_commands; i++) {
        printf("  %-15s", cli_commands[i].name);
        print_wrapped(cli_commands[i].about, 17);
    }
    printf("\n'glia COMMAND --help' lists the flags of a command, with an example.\n"
           "'glia --version' prints the version and the instruction set in use.\n"
           "MODEL is a directory, or a Hub id found in the Hugging Face cache (HF_HUB_CACHE, HF_HOME).\n"
           "Exit status: 0 success, 1 failure, 2 wrong command line.\n");
}
