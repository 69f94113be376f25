/* table.c - every flag, as a row; every command, as a row; the help from both. */
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "cli/commands.h"

enum {
    C_DRAWS = C_RUN | C_GENERATE,
    C_ENGINE = C_RUN | C_GENERATE | C_SCORE | C_INSPECT | C_BENCH,
    C_LOADS = C_ENGINE | C_COMPILE,
    C_LINES = C_TOKENIZE | C_DETOKENIZE | C_TEMPLATE,
};

/* clang-format off */
const cli_flag cli_flags[N_FLAGS] = {
    [F_PROMPT] = {"prompt", "-p", KIND_TEXT, GROUP_TASK, C_DRAWS, 0, 0, "TEXT", NULL,
        "the prompt; run without it is interactive, generate continues it as it stands"},
    [F_RAW] = {"raw", NULL, KIND_SWITCH, GROUP_TASK, C_RUN, 0, 0, NULL, NULL,
        "continue the prompt as it stands, without the chat template"},
    [F_SYSTEM] = {"system", NULL, KIND_TEXT, GROUP_TASK, C_RUN, 0, 0, "TEXT", NULL,
        "the system message (default: none)"},
    [F_NO_THINK] = {"no-think", NULL, KIND_SWITCH, GROUP_TASK, C_RUN, 0, 0, NULL, NULL,
        "ask the template for an answer without thinking (enable_thinking = false)"},
    [F_CHAT_TEMPLATE] = {"chat-template", NULL, KIND_TEXT, GROUP_TASK, C_RUN | C_TEMPLATE, 0, 0, "FILE", NULL,
        "a Jinja template (default: the model's own)"},
    [F_NOW] = {"now", NULL, KIND_TEXT, GROUP_TASK, C_RUN | C_TEMPLATE, 0, 0, "TIME", NULL,
        "what strftime_now sees, as 2025-07-08T12:00:00 (default: the clock)"},
    [F_IDS] = {"ids", NULL, KIND_TEXT, GROUP_TASK, C_GENERATE | C_SCORE, 0, 0, "FILE", NULL,
        "token ids: a JSON array; of generate also an array of arrays, a batch; - is standard input"},
    [F_TEXT] = {"text", NULL, KIND_TEXT, GROUP_TASK, C_SCORE, 0, 0, "FILE", NULL,
        "score this text instead of --ids; - is standard input"},
    [F_OUT] = {"out", "-o", KIND_TEXT, GROUP_TASK, C_SCORE | C_COMPILE, 0, 0, "PATH", NULL,
        "of score: the file for the tensor logits, float32 [tokens, vocabulary], as safetensors; of compile: the directory"},
    [F_SPECIAL] = {"special", NULL, KIND_SWITCH, GROUP_TASK, C_TOKENIZE, 0, 0, NULL, NULL,
        "add what the tokenizer's post-processor adds"},
    [F_SKIP_SPECIAL] = {"skip-special-tokens", NULL, KIND_SWITCH, GROUP_TASK, C_DETOKENIZE, 0, 0, NULL, NULL,
        "leave out added tokens that are marked special"},
    [F_PROMPT_TOKENS] = {"prompt-tokens", "--input-len", KIND_INT, GROUP_TASK, C_BENCH, 1, 1e7, "N", "512",
        "tokens of each prompt, drawn at random"},
    [F_OUTPUT_TOKENS] = {"output-tokens", "--output-len", KIND_INT, GROUP_TASK, C_BENCH, 1, 1e7, "N", "128",
        "tokens generated for each prompt"},
    [F_RUNS] = {"runs", NULL, KIND_INT, GROUP_TASK, C_BENCH, 1, 1000, "N", "3",
        "how often; the median and the spread are told"},
    [F_JSON] = {"json", NULL, KIND_SWITCH, GROUP_TASK, C_ENGINE, 0, 0, NULL, NULL,
        "print one JSON object"},
    [F_CONFIG] = {"config", NULL, KIND_SWITCH, GROUP_TASK, C_INSPECT, 0, 0, NULL, NULL,
        "every effective setting, and where it came from: flag, file or default"},
    [F_VERBOSE] = {"verbose", "-v", KIND_SWITCH, GROUP_TASK, C_DRAWS, 0, 0, NULL, NULL,
        "tell the model, the instruction set and the seed on standard error"},

    [F_GREEDY] = {"greedy", NULL, KIND_SWITCH, GROUP_SAMPLING, C_DRAWS, 0, 0, NULL, NULL,
        "always take the most likely token; the same as --temperature 0"},
    [F_TEMPERATURE] = {"temperature", "--temp", KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 100, "T", NULL,
        "divide logits by T before drawing; 0 is greedy"},
    [F_TOP_K] = {"top-k", NULL, KIND_INT, GROUP_SAMPLING, C_DRAWS, -1, 1e9, "K", NULL,
        "draw from the K most likely; 0 or -1: all"},
    [F_TOP_P] = {"top-p", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 1, "P", NULL,
        "draw from the fewest whose probabilities reach P; 1: all"},
    [F_MIN_P] = {"min-p", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 1, "P", NULL,
        "draw from those at least P times as likely as the likeliest; 0: all"},
    [F_TYPICAL_P] = {"typical-p", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0, 1, "P", NULL,
        "draw from the most typical whose probabilities reach P; 1: all"},
    [F_REPETITION_PENALTY] = {"repetition-penalty", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, 0.01, 100, "R", NULL,
        "weaken tokens of prompt and output by this factor; 1: off"},
    [F_PRESENCE_PENALTY] = {"presence-penalty", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, -2, 2, "X", NULL,
        "subtract X from the logits of tokens already generated; 0: off"},
    [F_FREQUENCY_PENALTY] = {"frequency-penalty", NULL, KIND_REAL, GROUP_SAMPLING, C_DRAWS, -2, 2, "X", NULL,
        "subtract X for each time a token was generated; 0: off"},
    [F_MAX_TOKENS] = {"max-tokens", "-n --max-new-tokens", KIND_INT, GROUP_SAMPLING, C_DRAWS, 1, 1e9, "N", NULL,
        "tokens of an answer at most (default: of run up to the sequence length, of generate 128)"},
    [F_MIN_TOKENS] = {"min-tokens", "--min-new-tokens", KIND_INT, GROUP_SAMPLING, C_DRAWS, 0, 1e9, "N", "0",
        "no stop before so many tokens"},
    [F_STOP] = {"stop", NULL, KIND_STOPS, GROUP_SAMPLING, C_DRAWS, 0, 0, "TEXT", NULL,
        "end the answer before this text; may be given several times"},
    [F_STOP_TOKEN_IDS] = {"stop-token-ids", NULL, KIND_IDS, GROUP_SAMPLING, C_DRAWS, 0, 0, "ID,...", NULL,
        "end the answer after one of these tokens, besides the model's own"},
    [F_INCLUDE_STOP] = {"include-stop-str-in-output", NULL, KIND_SWITCH, GROUP_SAMPLING, C_DRAWS, 0, 0, NULL, NULL,
        "keep the stop text in the answer"},
    [F_LOGIT_BIAS] = {"logit-bias", NULL, KIND_BIASES, GROUP_SAMPLING, C_DRAWS, -100, 100, "ID:X,...", NULL,
        "add X to the logit of token ID, for each pair"},
    [F_IGNORE_EOS] = {"ignore-eos", NULL, KIND_SWITCH, GROUP_SAMPLING, C_DRAWS, 0, 0, NULL, NULL,
        "go on past the end-of-sequence token"},
    [F_LOGPROBS] = {"logprobs", NULL, KIND_INT, GROUP_SAMPLING, C_DRAWS, 0, 20, "N", NULL,
        "with --json: log-probability of each token, and of the N most likely"},

    [F_SEED] = {"seed", NULL, KIND_INT, GROUP_ENGINE, C_LOADS, 0, 9e18, "N", NULL,
        "seed of the draws (default: random) and of dummy weights (default: 0)"},
    [F_DTYPE] = {"dtype", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "auto|float32|bfloat16", "auto",
        "weights and activations; auto: as config.json says"},
    [F_KV_CACHE_DTYPE] = {"kv-cache-dtype", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "auto|float32|bfloat16|int8", "auto",
        "keys and values; auto: as --dtype"},
    [F_QUANTIZATION] = {"quantization", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "int8|w8a8", NULL,
        "quantise linear layers while loading: int8 the weights, w8a8 also what they multiply, per token (default: neither)"},
    [F_QUANTIZATION_TYPE] = {"quantization-type", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0,
        "per_channel_symmetric|per_tensor_symmetric", NULL,
        "weights that share a scale (default: per_channel_symmetric)"},
    [F_MODULES_TO_NOT_CONVERT] = {"modules-to-not-convert", NULL, KIND_TEXT, GROUP_ENGINE, C_LOADS, 0, 0, "NAME,...", NULL,
        "modules that --quantization leaves alone, such as lm_head, self_attn, layers.0.mlp (default: none)"},
    [F_BATCH_SIZE] = {"batch-size", "--max-num-seqs", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 4096, "N", NULL,
        "sequences at once (default: 1; of generate the number of prompts, at most 64)"},
    [F_SEQUENCE_LENGTH] = {"sequence-length", "--max-model-len", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 1e8, "N", NULL,
        "prompt and output of one sequence at most (default: what the task needs; of run and inspect the model's, limited)"},
    [F_PREFILL_CHUNK_SIZE] = {"prefill-chunk-size", "--max-num-batched-tokens", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 65536, "N", NULL,
        "tokens of one step at most (default: 512)"},
    [F_BLOCK_SIZE] = {"block-size", NULL, KIND_INT, GROUP_ENGINE, C_LOADS, 32, 65536, "N", NULL,
        "positions of a block of the KV cache, a multiple of 32 (default: 64)"},
    [F_NO_PREFIX_CACHE] = {"no-prefix-cache", "--no-enable-prefix-caching", KIND_SWITCH, GROUP_ENGINE, C_LOADS, 0, 0, NULL, NULL,
        "compute equal beginnings of prompts again instead of reusing them"},
    [F_TENSOR_PARALLEL_SIZE] = {"tensor-parallel-size", "-tp", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 64, "N", NULL,
        "ranks that share each layer: under mpirun its processes (default: all of them), else of this process (default: 1)"},
    [F_VOCAB_PARALLEL] = {"vocab-parallel", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "ranks cut the embedding by tokens, else by its dimension (default: on where it is the head too)"},
    [F_SEQUENCE_PARALLEL] = {"sequence-parallel", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "ranks part the rows between blocks where they are many; the result is the same (default: on)"},
    [F_FLASH_DECODING] = {"flash-decoding", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "ranks that would hold copies of a key-value head part its positions instead (default: off)"},
    [F_CONTEXT_PARALLEL_SIZE] = {"context-parallel-size", "-cp", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 8, "N", NULL,
        "ranks that part the rows of a prompt in attention; divides --tensor-parallel-size (default: 1)"},
    [F_STRIDED_CONTEXT_PARALLEL] = {"strided-context-parallel", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "on|off", NULL,
        "with --context-parallel-size: each takes every N-th row, which balances their work, else one part (default: off)"},
    [F_THREADS] = {"threads", "-t", KIND_INT, GROUP_ENGINE, C_LOADS, 1, 1024, "N", NULL,
        "threads of a rank (default: its share of the cores this process may use)"},
    [F_CPU_FEATURES] = {"cpu-features", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, GLIA_RUNG_NAMES, NULL,
        "instruction sets up to this one (default: all the machine has)"},
    [F_LOAD_FORMAT] = {"load-format", NULL, KIND_CHOICE, GROUP_ENGINE, C_LOADS, 0, 0, "auto|dummy", "auto",
        "dummy: random weights of the real shapes; MODEL needs only a config.json"},
};

const cli_command cli_commands[] = {
    {"run", "MODEL [-p TEXT]", "Chat in the terminal, streamed. Without -p it is interactive and keeps the history.",
        "  glia run models/qwen3-demo\n"
        "  glia run Qwen/Qwen3-0.6B -p \"Why is the sky blue?\" --no-think --temperature 0.7\n", C_RUN, cli_run},
    {"generate", "MODEL (--ids FILE | -p TEXT)", "Token ids in, token ids out: one JSON array for each prompt, or with --json all that is known.",
        "  echo '[[1, 2, 3], [4, 5]]' | glia generate models/qwen3-demo --ids - --greedy --json\n", C_GENERATE, cli_generate},
    {"score", "MODEL (--ids FILE | --text FILE) (--out FILE | --json)", "Teacher-forced logits of given tokens: as a safetensors file, or as sum of log-probabilities and perplexity.",
        "  glia score models/qwen3-demo --ids ids.json --out logits.safetensors\n"
        "  glia score models/qwen3-demo --text story.txt --json\n", C_SCORE, cli_score},
    {"tokenize", "MODEL", "A JSON string a line in, a JSON array of token ids a line out.",
        "  echo '\"Hello world\"' | glia tokenize models/qwen3-demo\n", C_TOKENIZE, cli_tokenize},
    {"detokenize", "MODEL", "A JSON array of token ids a line in, a JSON string a line out.",
        "  echo '[1, 2, 3]' | glia detokenize models/qwen3-demo\n", C_DETOKENIZE, cli_detokenize},
    {"template", "MODEL", "A conversation as a JSON object a line in, the rendered prompt as a JSON string a line out.",
        "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}' |\n"
        "      glia template models/qwen3-demo\n", C_TEMPLATE, cli_template},
    {"inspect", "MODEL", "What a model is made of: architecture, tensors, the memory plan, the kernel of each operation.",
        "  glia inspect models/qwen3-demo --batch-size 8 --sequence-length 4096\n", C_INSPECT, cli_inspect},
    {"compile", "MODEL -o DIR", "An artifact: the weights packed as the flags say and written, so that DIR as MODEL loads at once.",
        "  glia compile Qwen/Qwen3-0.6B -o qwen3-0.6b-w8a8 --quantization w8a8\n"
        "  glia run qwen3-0.6b-w8a8 -p \"Why is the sky blue?\"\n", C_COMPILE, cli_compile},
    {"bench", "MODEL", "Time to first token, inter-token latency, prefill and decode speed, and the share of this machine's ceilings.",
        "  glia bench Qwen/Qwen3-0.6B --prompt-tokens 512 --output-tokens 128 --runs 5\n"
        "  glia bench DIR --load-format dummy --json   # DIR holds only a config.json\n", C_BENCH, cli_bench},
};
/* clang-format on */
const size_t cli_n_commands = sizeof cli_commands / sizeof *cli_commands;

static const char *const group_titles[N_GROUPS] = {
    "task:", "sampling (defaults: generation_config.json of the model):",
    "model and machine (defaults: neuron_config.json of the model):"};

/* Print `text` after `column` blanks, broken between words before column 100. */
static void print_wrapped(const char *text, int column) {
    int at = column;
    while (*text) {
        const int n = (int)strcspn(text, " ");
        if (at > column && at + 1 + n > 100)
            at = printf("\n%*s", column, "") - 1;
        else if (at > column)
            at += printf(" ");
        at += printf("%.*s", n, text);
        text += n + (text[n] == ' ');
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
        printf("  %-12s", cli_commands[i].name);
        print_wrapped(cli_commands[i].about, 14);
    }
    printf("\n'glia COMMAND --help' lists the flags of a command, with an example.\n"
           "'glia --version' tells the version and the instruction set that is used.\n"
           "MODEL is a directory, or a Hub id found in the Hugging Face cache (HF_HUB_CACHE, HF_HOME).\n"
           "Exit status: 0 success, 1 failure, 2 a wrong command line.\n");
}
