/* flags.h - every command and every flag of `glia`, each stated once.
 *
 * The parser, the help texts and the suggestions read the same table. An id finds a
 * flag's value: args->integer[F_SEED]. A mistake in a command line ends with one
 * sentence on stderr and exit status 2. */
#ifndef GLIA_CLI_FLAGS_H
#define GLIA_CLI_FLAGS_H

#include <glia.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

typedef enum {
    F_PROMPT,
    F_RAW,
    F_SYSTEM,
    F_NO_THINK,
    F_CHAT_TEMPLATE,
    F_NOW,
    F_IDS,
    F_TEXT,
    F_OUT,
    F_STATES,
    F_HOST,
    F_PORT,
    F_API_KEY,
    F_ALLOWED_ORIGINS,
    F_SERVED_MODEL_NAME,
    F_DEFAULT_TEMPLATE_KWARGS,
    F_MAX_NUM_QUEUED_REQS,
    F_SHUTDOWN_TIMEOUT,
    F_MAX_CONNECTIONS,
    F_MAX_BODY_SIZE,
    F_HTTP_TIMEOUT,
    F_LOG_JSON,
    F_SSL_CERTFILE,
    F_SSL_KEYFILE,
    F_SCHEDULING_POLICY,
    F_MAX_STEP_MS,
    F_PREFIX_CACHE_DIR,
    F_PREFIX_CACHE_SIZE,
    F_INSTRUCT,
    F_DIMENSIONS,
    F_NO_NORMALIZE,
    F_TOP_N,
    F_SPECIAL,
    F_SKIP_SPECIAL,
    F_PROMPT_TOKENS,
    F_OUTPUT_TOKENS,
    F_RUNS,
    F_JSON,
    F_CONFIG,
    F_VERBOSE,
    F_GREEDY,
    F_TEMPERATURE,
    F_TOP_K,
    F_TOP_P,
    F_MIN_P,
    F_TYPICAL_P,
    F_REPETITION_PENALTY,
    F_PRESENCE_PENALTY,
    F_FREQUENCY_PENALTY,
    F_MAX_TOKENS,
    F_MIN_TOKENS,
    F_THINKING_BUDGET,
    F_STOP,
    F_STOP_TOKEN_IDS,
    F_INCLUDE_STOP,
    F_LOGIT_BIAS,
    F_IGNORE_EOS,
    F_LOGPROBS,
    F_ENABLE_LORA,
    F_LORA_MODULES,
    F_LORA,
    F_MAX_LORAS,
    F_MAX_LORA_RANK,
    F_MAX_CPU_LORAS,
    F_LORA_EVICTION,
    F_JSON_SCHEMA,
    F_REGEX,
    F_GRAMMAR,
    F_CHOICE,
    F_WHITESPACE,
    F_STRICT,
    F_SEED,
    F_DTYPE,
    F_KV_CACHE_DTYPE,
    F_QUANTIZATION,
    F_QUANTIZATION_TYPE,
    F_QUANTIZATION_GROUP_SIZE,
    F_HEAD_QUANTIZATION,
    F_IMPORTANCE,
    F_MODULES_TO_NOT_CONVERT,
    F_BATCH_SIZE,
    F_SEQUENCE_LENGTH,
    F_PREFILL_CHUNK_SIZE,
    F_BLOCK_SIZE,
    F_KV_CACHE_BLOCKS,
    F_NO_PREFIX_CACHE,
    F_TENSOR_PARALLEL_SIZE,
    F_VOCAB_PARALLEL,
    F_SEQUENCE_PARALLEL,
    F_FLASH_DECODING,
    F_CONTEXT_PARALLEL_SIZE,
    F_STRIDED_CONTEXT_PARALLEL,
    F_THREADS,
    F_CPU_FEATURES,
    F_LOAD_FORMAT,
    F_SPECULATIVE_CONFIG,
    F_MODEL_DRAFT,
    F_DRAFT_MAX,
    F_SPEC_TYPE,
    F_SPEC_NGRAM_SIZE,
    F_DRAFT_TP,
    F_TRACE_DRAFTS,
    N_FLAGS
} cli_flag_id;

typedef struct cli_command cli_command;

/* A parsed command line. Strings belong to argv or to the table. */
typedef struct {
    const cli_command *command;
    const char *model;
    const char *adapter; /* the second word, of merge */
    bool given[N_FLAGS];
    const char *text[N_FLAGS];  /* as typed, else the preset, else NULL */
    long long integer[N_FLAGS]; /* of KIND_INT; 0 if neither typed nor preset */
    double real[N_FLAGS];       /* of KIND_REAL */
    const char **stop;          /* every --stop or --api-key, in order; owned, as are the next two arrays */
    size_t n_stop;
    int32_t *stop_ids;
    size_t n_stop_ids;
    const char **choice; /* every --choice, in order */
    size_t n_choice;
    glia_logit_bias *bias;
    size_t n_bias;
    glia_lora_module *lora; /* [n_lora] every NAME=PATH of --lora-modules; names and paths are owned */
    size_t n_lora;
} cli_args;

struct cli_command {
    const char *name, *usage, *about, *examples;
    unsigned bit;
    int (*run)(const cli_args *args); /* returns the exit status */
};

extern const cli_command cli_commands[];
extern const size_t cli_n_commands;

/* Parse the words after the command's name. Returns -1 to go on, or the exit status
 * after help or a usage error was printed. Release *args with cli_args_free(). */
int cli_parse(cli_args *args, const cli_command *command, int argc, char **argv);
void cli_args_free(cli_args *args);

void cli_help_all(void);
const cli_command *cli_find_command(const char *name);
/* The command most similar to `name`; NULL if none is. */
const char *cli_nearest_command(const char *name);

/* Print "glia: ..." on stderr. Returns EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int cli_usage(const char *fmt, ...);

#endif
