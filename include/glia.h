/* glia.h - run Qwen3, SmolLM3, Qwen2 and Llama from C: an immutable model, a mutable engine,
 * requests with callbacks. The only header that an installed copy has.
 *
 *   glia_model_load -> glia_engine_create -> glia_engine_submit -> glia_engine_step
 *
 * Every fallible function returns glia_status and takes `glia_err *err` last
 * (NULL: the caller wants only the status). The library never prints and never
 * exits. Strings are UTF-8 and NUL-terminated unless a length stands beside
 * them. What the library returns by `char **` or `int32_t **` is released with
 * glia_free().
 *
 * Threads. Each function says who may call it:
 *   any thread      at any time, several threads at once.
 *   engine thread   one thread at a time for each engine, usually the one that
 *                   steps; not from a callback unless the function says so.
 * Different engines may be used by different threads at once. With
 * glia_options.mpi, only the thread that called glia_model_load() may create, use and
 * free engines and free the model; it may still submit and abort from other threads. Only
 * glia_remove_unfinished() may be called from a signal handler. */
#ifndef GLIA_H
#define GLIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GLIA_API __attribute__((visibility("default")))

/* ---- errors --------------------------------------------------------------- */

typedef enum {
    GLIA_OK = 0,
    GLIA_ERR_IO = -1,          /* the operating system refused; msg has strerror */
    GLIA_ERR_FORMAT = -2,      /* the bytes break their format's rules */
    GLIA_ERR_SHAPE = -3,       /* well-formed, but not the shape, dtype or tensor needed */
    GLIA_ERR_NOMEM = -4,       /* memory: not enough, or an allocation failed */
    GLIA_ERR_UNSUPPORTED = -5, /* well-formed, and Glia cannot do it (yet) */
    GLIA_ERR_ARGUMENT = -6,    /* an option or a request is out of its range */
    GLIA_ERR_LIMIT = -7,       /* a stated limit was reached (length, steps, depth) */
    GLIA_ERR_TEMPLATE = -8,    /* a chat template raised an error */
} glia_status;

typedef struct {
    glia_status status;
    char msg[508]; /* one line, no trailing newline, never empty on failure */
} glia_err;

/* Release what the library returned by pointer-to-pointer. NULL is fine. Any thread. */
GLIA_API void glia_free(void *p);

/* "0.1.0". Any thread. */
GLIA_API const char *glia_version(void);

/* ---- model ---------------------------------------------------------------- */

typedef enum {
    GLIA_DTYPE_AUTO = 0,
    GLIA_DTYPE_F32,
    GLIA_DTYPE_BF16,
    GLIA_DTYPE_F16,
    GLIA_DTYPE_I8, /* quantised weights, keys and values; not a choice for glia_options.dtype */
} glia_dtype;

/* Linear layers quantised while loading. Embedding lookups, norms and biases never are. */
typedef enum {
    GLIA_QUANTIZATION_NONE = 0,
    GLIA_QUANTIZATION_INT8, /* weights */
    GLIA_QUANTIZATION_W8A8, /* weights, and the rows that they multiply except the head's; rows are quantised
                             * per token while running */
    GLIA_QUANTIZATION_INT4, /* weights, 4 bits, with a scale for each group of columns */
    GLIA_QUANTIZATION_FP8,  /* weights, float8 E4M3 */
    GLIA_QUANTIZATION_W4A8, /* weights as INT4, rows as W8A8 */
} glia_quantization;
/* The head's own choice with INT4, W4A8 and FP8; others quantise the head like any linear layer. */
typedef enum {
    GLIA_HEAD_DEFAULT = 0, /* INT8 */
    GLIA_HEAD_NONE,
    GLIA_HEAD_INT8, /* a scale for each group of 64 columns */
    GLIA_HEAD_INT4, /* as quantization_group_size and quantization_type say */
    GLIA_HEAD_FP8,
} glia_head_quantization;
/* Which weights share one scale. A scale is the largest absolute value / 127. Rotated: weights, and the rows
 * that they multiply, are rotated in blocks along K before they are quantised, which loses less. */
typedef enum {
    GLIA_QUANTIZATION_TYPE_DEFAULT = 0, /* int8 and w8a8: rotated, per channel; int4: groups, asymmetric;
                                         * w4a8: the same, rotated; fp8: per channel */
    GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC,
    GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC,
    GLIA_QUANTIZATION_ROTATED_PER_CHANNEL_SYMMETRIC,
    GLIA_QUANTIZATION_GROUP_SYMMETRIC,
    GLIA_QUANTIZATION_GROUP_ASYMMETRIC, /* groups have zero points */
    GLIA_QUANTIZATION_ROTATED_GROUP_SYMMETRIC,
    GLIA_QUANTIZATION_ROTATED_GROUP_ASYMMETRIC,
} glia_quantization_type;

typedef enum { GLIA_SWITCH_DEFAULT = 0, GLIA_SWITCH_ON, GLIA_SWITCH_OFF } glia_switch;

typedef struct glia_model glia_model;

/* A LoRA adapter: a directory as PEFT writes it, and the name under which requests use it. */
typedef struct {
    const char *name, *path;
} glia_lora_module;

/* Called during long work: `done` of `total` bytes of `what` ("loading weights"). On the caller's thread. */
typedef void glia_progress_fn(void *user, const char *what, uint64_t done, uint64_t total);
/* Called with one sentence about something odd but harmless. */
typedef void glia_warning_fn(void *user, const char *sentence);

/* One proposal of a draft: a tree of tokens. Node 0 is the last known token, parent -1; the parent of every
 * other node has a lower number. Pointers are valid during the callback. */
typedef struct {
    uint64_t request;
    int n; /* nodes */
    const int32_t *tokens;
    const int16_t *parents;
    const float
        *logprobs; /* of the path to the node, by the draft; 0 for node 0, and if the draft has none */
    int accepted;  /* nodes besides node 0 that became part of the answer */
} glia_draft_proposal;
/* `round` counts the steps that verified proposals, from 0 on; of each step, all its proposals come at once.
 */
typedef void glia_draft_trace_fn(void *user, uint64_t round, const glia_draft_proposal *proposals, size_t n);

/* What fixes the memory of an engine. Zero-initialise, then set what differs. Zero
 * always means: as the model's neuron_config.json says (docs/CONFIG.md), else the default. */
typedef struct {
    glia_dtype
        kv_cache_dtype;  /* AUTO: BF16 for a BF16 model, else F32; I8: with a scale per position and head */
    int batch_size;      /* sequences at once; 0: 1 */
    int sequence_length; /* prompt and output of one sequence; 0: 8192, or the model's own limit if less */
    int prefill_chunk_size; /* prompt rows of one step; 0: 512 */
    int block_size;         /* positions in a KV cache block, a multiple of 32; 0: 64 */
    int kv_cache_blocks;    /* of all sequences together; fewer than all need at once: sequences wait, and may
                             * be preempted and computed anew. 0: enough for batch_size sequences */
    int max_step_ms; /* a step in which sequences generate computes as many prompt rows as are expected to fit
                      * into so many milliseconds, but at least 32. 0: no limit. No answer depends on it */
    /* Keep the blocks of cached prefixes in this directory, at most so many bytes (0: 4 GiB), for engines of
     * later processes with the same weights and number formats. The directory is created. Entries that are
     * damaged are dropped, and a write that fails loses an entry, never an answer. NULL: do not */
    const char *prefix_cache_dir;
    uint64_t prefix_cache_dir_bytes;
    bool no_prefix_cache; /* do not reuse blocks of equal prefixes */
    /* Adapters (docs/LORA.md). Any number can be loaded; max_loras different ones take part in a step, and
     * requests of others wait. */
    bool enable_lora;                     /* also if lora_modules are given or max_loras is not 0 */
    const glia_lora_module *lora_modules; /* [n_lora_modules] loaded when the engine is created */
    size_t n_lora_modules;
    int max_loras;     /* 0: as many as lora_modules, 1 to 8 */
    int max_lora_rank; /* 0: 16, or the largest rank of lora_modules if that is more */
    int max_cpu_loras; /* adapters kept in memory outside the places; 0: 100, at least max_loras */
    bool lora_lfu;     /* the least frequently used adapter leaves its place, else the least recently used */
    int lfu_decay_period;                          /* uses are halved every so many requests; 0: 128 */
    int batch_size_needed, sequence_length_needed; /* what the task needs. Not 0: replaces the default */
    /* Called with every proposal of the model's draft and what became of it, in the step that verified it.
     * With it the draft proposes as much as the configuration says, whether that pays or not. May be NULL. */
    glia_draft_trace_fn *trace_drafts;
    void *trace_user;
} glia_engine_options;

/* What weights depend on. Zero-initialise, then set what differs; zero as above. */
typedef struct {
    glia_dtype dtype; /* of weights; AUTO: as config.json says, but F16 as F32. F16 takes half the memory and
                       * gives the same bits where the checkpoint's weights are F16 */
    glia_quantization quantization;
    glia_quantization_type quantization_type;
    int quantization_group_size; /* of int4 and w4a8: 32, 64 or 128 columns share a scale; 0: 32 */
    glia_head_quantization head_quantization;
    const char *importance; /* a file of glia_calibrate(), by which int4 and w4a8 weigh errors; NULL: none */
    const char *modules_to_not_convert; /* "lm_head,self_attn,layers.0.mlp": modules that stay as dtype says,
                                         * each named by one or more consecutive parts of its dotted
                                         * name; NULL: every linear layer is quantised, the head too */
    bool dummy;                         /* random weights; the directory needs only config.json */
    bool spare_core;                    /* with `threads` 0 and more than two cores: leave one to others */
    int threads;                        /* of each rank; 0: the rank's share of the cores that this process
                                         * may use, by affinity and CPU quota */
    const char
        *cpu_features; /* NULL: all the machine has; else "ref", "avx2", "avx512", "avx512_bf16", "amx" */
    int tensor_parallel_size;      /* ranks that share each layer; 0: 1, or the number of MPI processes */
    glia_switch vocab_parallel;    /* ON: each rank has the embedding of some tokens; OFF: some of its
                                    * dimensions; DEFAULT: ON where the embedding is the head too */
    glia_switch sequence_parallel; /* between blocks each rank keeps some of many rows; DEFAULT: ON */
    glia_switch flash_decoding;    /* ranks with the same KV head keep different positions; DEFAULT: OFF */
    int context_parallel_size;     /* ranks that share the rows of a prompt in attention; 0: 1 */
    glia_switch
        strided_context_parallel; /* rank r of n takes every n-th row; DEFAULT: OFF, a contiguous range */
    bool mpi;      /* each process that mpirun started is one rank; else all ranks are of this process */
    uint64_t seed; /* of the dummy weights */
    /* Speculation: a JSON object with vLLM's keys (docs/SPECULATION.md), such as {"method": "ngram",
     * "num_speculative_tokens": 8}. No answer depends on it. NULL: as neuron_config.json says, else none.
     * {"method": "none"}: none, whatever the file says. */
    const char *speculative_config;
    /* The options of an engine that will be created, or NULL. glia_model_load() checks these options and
     * counts the engine's memory before it reads weights. glia_inspect(), glia_inspect_config() and
     * glia_compile() describe this engine, or the default one. */
    const glia_engine_options *engine;
    glia_progress_fn *progress;
    glia_warning_fn *warning;
    void *user; /* argument of `progress` and `warning` */
    /* The library calls this function on a thread of its own when another process has ended and this
     * process is inside MPI, which may never return. The function must print the sentence and end the
     * process. May be NULL. */
    void (*last_words)(const char *sentence);
} glia_options;

/* Load `model`: a directory, or a Hub id ("Qwen/Qwen3-0.6B") present in the HF
 * cache under `cache_dir` (NULL: the caller has none). On success the caller
 * owns *out. On failure *out is NULL and nothing is held. The model is immutable;
 * any number of engines and threads may use it. `options` may be NULL. Any thread.
 * Errors: GLIA_ERR_IO, GLIA_ERR_FORMAT, GLIA_ERR_SHAPE and GLIA_ERR_UNSUPPORTED (a file; the message names
 * it), GLIA_ERR_ARGUMENT (an option, or ranks that differ), GLIA_ERR_NOMEM, what another rank says. */
GLIA_API glia_status glia_model_load(glia_model **out, const char *model, const char *cache_dir,
                                     const glia_options *options, glia_err *err);
/* Tokenizer and chat template only, no weights: what glia_tokenize(), glia_detokenize() and
 * glia_render_chat() need. No engine can be created. Any thread. */
GLIA_API glia_status glia_model_load_text(glia_model **out, const char *model, const char *cache_dir,
                                          const glia_options *options, glia_err *err);
/* After every engine of the model. NULL is fine. Any thread. */
GLIA_API void glia_model_free(glia_model *m);

/* What `glia inspect` prints, as one JSON object: architecture, config, tensors
 * with shape, cut and format, the memory plan, the kernel per operation. Reads
 * headers only; loads and allocates no weights. Any thread. */
GLIA_API glia_status glia_inspect(char **json, const char *model, const char *cache_dir,
                                  const glia_options *options, glia_err *err);

/* Every effective setting as one JSON object, {"model", "settings": [{"name",
 * "value", "source", "key"}, ...], "neuron_config"}: source is "flag" (options),
 * "file" (key: which, of which file) or "default"; neuron_config is the file that
 * says the same. Reads no weights. Any thread. */
GLIA_API glia_status glia_inspect_config(char **json, const char *model, const char *cache_dir,
                                         const glia_options *options, glia_err *err);

/* Pack the weights as `options` say and write them with all else that a model
 * needs to `dir`, which every function here then takes as `model`: loading it maps
 * files and compares their hashes. `dir` must be absent, empty or an artifact that holds nothing but what
 * Glia wrote, which is then replaced; it is complete or is not there. A `dir` that is, holds or lies in the
 * model's directory is refused before anything is written. docs/PARALLEL.md says what it holds and when it is
 * refused. Any thread. */
GLIA_API glia_status glia_compile(const char *model, const char *cache_dir, const char *dir,
                                  const glia_options *options, glia_err *err);

typedef struct {
    const char *architecture;
    int vocab_size, hidden_size, layers, max_position_embeddings;
    glia_dtype dtype;
    glia_quantization quantization;
    int ranks;                  /* the numbers below count all ranks together */
    uint64_t weight_bytes;      /* as allocated, panels included */
    uint64_t matrix_parameters; /* weights that multiply for each token, the head's included: half
                                 * the flop of a token */
    uint64_t matrix_bytes;      /* of those, with their scales: what a decoding step reads */
    uint64_t attention_flop;    /* of one token and one position it sees, all layers: scores and values */
    bool has_tokenizer, has_chat_template;
} glia_model_info;
/* After glia_model_load_text() only the last two fields are set. Any thread. */
GLIA_API void glia_model_get_info(const glia_model *m, glia_model_info *info);

/* ---- text ----------------------------------------------------------------- */

/* Text to ids. `special` adds what the post-processor adds; added tokens inside
 * the text are recognised either way. Invalid UTF-8 is GLIA_ERR_FORMAT with the byte. Any thread. */
GLIA_API glia_status glia_tokenize(const glia_model *m, const char *text, size_t len, bool special,
                                   int32_t **ids, size_t *n, glia_err *err);
/* Ids to text; `skip_special` leaves out added tokens marked special. Any thread. */
GLIA_API glia_status glia_detokenize(const glia_model *m, const int32_t *ids, size_t n, bool skip_special,
                                     char **text, size_t *len, glia_err *err);

/* The bytes of one token, [*len] without a NUL; they may be a fraction of a character. They belong to the
 * model. NULL and *len 0: no token has this id, or the model has no tokenizer. Any thread. */
GLIA_API const char *glia_token_bytes(const glia_model *m, int32_t id, size_t *len);

/* Render a conversation. `conversation` is a JSON object: "messages", optional
 * "tools", "add_generation_prompt" and any template variable (as
 * "enable_thinking"). `chat_template` NULL: the model's own. `now`: what
 * strftime_now sees, "2025-07-08T12:00:00", NULL: the clock. Any thread. */
GLIA_API glia_status glia_render_chat(const glia_model *m, const char *conversation,
                                      const char *chat_template, const char *now, char **text, glia_err *err);
/* The same with lengths, for texts that may hold zero bytes: glia_render_chat() refuses a prompt that does.
 * conversation [conversation_len], chat_template [template_len]; *text has *len bytes and then a zero. */
GLIA_API glia_status glia_render_chat_bytes(const glia_model *m, const char *conversation,
                                            size_t conversation_len, const char *chat_template,
                                            size_t template_len, const char *now, char **text, size_t *len,
                                            glia_err *err);

/* ---- answers: thinking and tool calls ---------------------------------------- */

/* True if the rendered prompt [len] ends inside an open <think>: the answer begins with thinking. Any thread.
 */
GLIA_API bool glia_prompt_opens_thinking(const char *prompt, size_t len);

typedef enum {
    GLIA_TOOLS_NONE = 0, /* tool calls are content */
    GLIA_TOOLS_AUTO,
    GLIA_TOOLS_REQUIRED, /* the content may also be a JSON list of calls without tags */
    GLIA_TOOLS_NAMED,    /* the content may also be the arguments of the function `name` */
} glia_tools;

typedef struct {
    bool opened;         /* glia_prompt_opens_thinking() */
    bool may_lack_think; /* text before a </think> that no <think> precedes is thinking; the parser then holds
                          * back all content until it knows */
    glia_tools tools;
    const char *name; /* of GLIA_TOOLS_NAMED; copied */
} glia_parser_options;

typedef enum {
    GLIA_PART_CONTENT,
    GLIA_PART_REASONING,
    GLIA_PART_CALL,      /* a call begins: the text is the whole name of its function */
    GLIA_PART_ARGUMENTS, /* the arguments of that call: JSON, usually an object, as the model wrote it */
} glia_part;
/* `text` [len] is valid during the call. len > 0. */
typedef void glia_part_fn(void *user, glia_part part, const char *text, size_t len);

/* Splits an answer into thinking, content and tool calls, as Qwen3 and SmolLM3 write them. The parts do not
 * depend on how the text is cut into pieces. Thinking is <think>...</think>, without the tags and the
 * newlines around them; a tool call ends it too. A call is <tool_call>{"name": ..., "arguments":
 * {...}}</tool_call>, also with "parameters", or a list of such objects; the end of the JSON value ends it,
 * and the last tag may be absent. A call becomes a part when it is complete; one that the end of the answer
 * cuts is dropped if the length ended the answer. Anything else between the tags is content, as is what
 * SmolLM3 writes in <code>. docs/SERVING.md has the rules. Each parser is used by one thread at a time;
 * different parsers by any. */
typedef struct glia_parser glia_parser;
/* The caller owns *out. On failure (GLIA_ERR_NOMEM) *out is NULL. */
GLIA_API glia_status glia_parser_create(glia_parser **out, const glia_parser_options *options,
                                        glia_part_fn *on_part, void *user, glia_err *err);
/* Parse the next piece of the answer. Error: GLIA_ERR_NOMEM, after which every call fails alike. */
GLIA_API glia_status glia_parser_push(glia_parser *p, const char *text, size_t len, glia_err *err);
/* The answer has ended, `by_length` by max_tokens or the sequence length. */
GLIA_API glia_status glia_parser_end(glia_parser *p, bool by_length, glia_err *err);
/* The text that comes next is thinking, as far as the parser knows. */
GLIA_API bool glia_parser_thinking(const glia_parser *p);
/* NULL is fine. */
GLIA_API void glia_parser_free(glia_parser *p);
/* ---- constraints ------------------------------------------------------------ */

/* What an answer may be: the texts of a JSON Schema, a regular expression, a grammar. Compiled once, outside
 * of the engine, and used by any number of requests of the model's engines (glia_sampling.constraint).
 * docs/STRUCTURED.md says what is supported. */
typedef struct glia_constraint glia_constraint;

typedef enum {
    GLIA_CONSTRAINT_JSON_SCHEMA = 0, /* a JSON Schema; `{}`: any JSON; {"type": "object"}: any object */
    GLIA_CONSTRAINT_REGEX,           /* a regular expression of the whole answer */
    GLIA_CONSTRAINT_GRAMMAR,         /* GBNF, EBNF or Lark */
    GLIA_CONSTRAINT_CHOICE,          /* a JSON array of strings, one of which is the answer */
    GLIA_CONSTRAINT_STRUCTURAL_TAG,  /* free text with tagged regions: XGrammar's structural tags, as JSON */
    GLIA_CONSTRAINT_TOOLS,           /* tool calls in the model's wire format: a JSON object with OpenAI's
                                      * "tools", "tool_choice" and "parallel_tool_calls" */
} glia_constraint_kind;

typedef struct {
    glia_constraint_kind kind;
    const char *text;
    size_t len;
    bool strict; /* refuse what cannot be enforced; else a warning names it */
    const char
        *whitespace; /* between tokens of JSON: "flexible" (NULL; at most a line break and indentation),
                      * "compact" (none), "single" (a blank or none), or a regular expression */
} glia_constraint_source;

/* Compile a constraint for the tokens of a model. The same source is compiled once: later calls get the same
 * constraint while it is in use, or among the last 64. On success the caller owns *out, which must not
 * outlive the model; on failure *out is NULL. Any thread: a server calls it before it submits the request.
 * Errors: GLIA_ERR_FORMAT (the source), GLIA_ERR_UNSUPPORTED (the message names what), GLIA_ERR_LIMIT (time
 * or memory), GLIA_ERR_ARGUMENT (whitespace), GLIA_ERR_IO (no tokenizer), GLIA_ERR_NOMEM. */
GLIA_API glia_status glia_constraint_create(glia_constraint **out, const glia_model *m,
                                            const glia_constraint_source *source, glia_err *err);
/* Requests that use the constraint go on. NULL is fine. Any thread. */
GLIA_API void glia_constraint_free(glia_constraint *c);
/* The i-th sentence about what is not enforced; NULL after the last. Any thread. */
GLIA_API const char *glia_constraint_warning(const glia_constraint *c, size_t i);
/* No answer satisfies the constraint; a request with it is refused. Any thread. */
GLIA_API bool glia_constraint_is_empty(const glia_constraint *c);
/* Write a JSON value [json_len] as the constraint wants it: keys in the schema's order, its blanks. A string
 * is written without quotes if the constraint is no JSON Schema. Any thread. */
GLIA_API glia_status glia_constraint_write(const glia_constraint *c, const char *json, size_t json_len,
                                           char **text, size_t *len, glia_err *err);
/* Is the text an answer? Its tokens are followed one by one through the masks that sampling would get.
 * Any thread. Errors: GLIA_ERR_FORMAT (not UTF-8), GLIA_ERR_LIMIT, GLIA_ERR_NOMEM. */
GLIA_API glia_status glia_constraint_accepts(const glia_constraint *c, const char *text, size_t len,
                                             bool *accepts, glia_err *err);
/* The same, and the seconds that each mask took: *seconds [*n], one for each token that was followed. */
GLIA_API glia_status glia_constraint_time(const glia_constraint *c, const char *text, size_t len,
                                          bool *accepts, double **seconds, size_t *n, glia_err *err);
/* What the constraint means, for people, in lines. Any thread. Errors: GLIA_ERR_NOMEM. */
GLIA_API glia_status glia_constraint_describe(const glia_constraint *c, char **text, glia_err *err);
/* The same for a JSON Schema, without a model. Any thread. Errors: as glia_constraint_create(). */
GLIA_API glia_status glia_schema_explain(const char *schema, size_t len, char **text, glia_err *err);

/* ---- embeddings and reranking --------------------------------------------------- */

/* Ids of a text to embed, with the tokens that the post-processor adds: Qwen3-Embedding pools the last of
 * them. At most `most` ids: the text is cut, these tokens are not. most 0: no limit. *cut (may be NULL) says
 * whether the text was cut. The caller frees *ids. Any thread. */
GLIA_API glia_status glia_embed_prompt(const glia_model *m, const char *text, size_t len, size_t most,
                                       int32_t **ids, size_t *n, bool *cut, glia_err *err);
/* The query of a task as Qwen3-Embedding expects it: "Instruct: TASK\nQuery:QUERY". Documents have no such
 * frame. The caller frees *text. Any thread. */
GLIA_API glia_status glia_embed_query(const char *task, const char *query, size_t query_len, char **text,
                                      size_t *len, glia_err *err);
/* out [dimensions] = the first dimensions of a hidden state (glia_sampling.embed), then divided by their
 * Euclidean norm if `normalise`. out may be hidden. Any thread. */
GLIA_API void glia_embedding(float *out, const float *hidden, int dimensions, bool normalise);

/* The question of Qwen3-Reranker whether a document answers a query. */
typedef struct {
    const char
        *instruct; /* NULL: "Given a web search query, retrieve relevant passages that answer the query" */
    const char *query, *document; /* [query_len], [document_len] */
    size_t query_len, document_len;
} glia_rerank_pair;
/* Ids of the question, at most `most` (0: no limit): what is between the fixed beginning and end is cut.
 * no_yes gets the ids of "no" and "yes", for glia_sampling.logprob_token_ids. The caller frees *ids. Any
 * thread. Errors: GLIA_ERR_UNSUPPORTED if "no" or "yes" is not one token; of glia_tokenize(). */
GLIA_API glia_status glia_rerank_prompt(const glia_model *m, const glia_rerank_pair *pair, size_t most,
                                        int32_t **ids, size_t *n, int32_t no_yes[2], glia_err *err);
/* The score, 0 to 1, from the log-probabilities of "no" and "yes" as the answer's first token. Any thread. */
GLIA_API float glia_rerank_score(const float no_yes_logprobs[2]);

/* ---- signals -------------------------------------------------------------- */

/* Remove the temporary files and directories that this process has not finished (of glia_compile()). For the
 * handler of a signal that ends the process: another thread that is about to make one waits for the end. Any
 * thread, and the only function that a signal handler may call. The library installs no handler itself. */
GLIA_API void glia_remove_unfinished(void);

/* Install a handler of SIGBUS, which Linux sends to who reads a mapped file that another program has cut
 * short, or whose disk fails. Weights are mapped: a checkpoint while it is loaded, an artifact until its
 * model is freed. With the handler the bytes read as zeros, and the function that loads, or the next step,
 * fails with GLIA_ERR_IO; without it SIGBUS ends the process. A SIGBUS of anything else goes on to the
 * handler that was there before. A call while the handler is
 * installed does nothing. Call it at the beginning, on one thread. */
GLIA_API void glia_catch_sigbus(void);

/* ---- engine --------------------------------------------------------------- */

typedef struct glia_engine glia_engine;

/* Allocate all memory that steps need. The model must outlive the engine. One model may have any number
 * of engines, one after the other and at once; with glia_options.mpi one at a time, and every process
 * creates and frees its engine in the same order. Engines of one process use the same cores. On success
 * the caller owns *out. On failure *out is NULL, and with glia_options.mpi no later engine of the model can
 * be created either. `options` may be NULL. Any thread.
 * Errors: GLIA_ERR_ARGUMENT and GLIA_ERR_FORMAT (an option, a key of neuron_config.json), GLIA_ERR_NOMEM,
 * GLIA_ERR_UNSUPPORTED (a second engine at once among processes, which ends nothing), what another rank
 * says. */
GLIA_API glia_status glia_engine_create(glia_engine **out, const glia_model *m,
                                        const glia_engine_options *options, glia_err *err);
/* Requests that are left are dropped without an event. NULL is fine. Engine thread, and no other thread
 * may use the engine any more. */
GLIA_API void glia_engine_free(glia_engine *e);

typedef struct {
    int32_t token;
    float bias;
} glia_logit_bias;

typedef struct {
    const int32_t *ids; /* [n] */
    size_t n;
} glia_token_list;

/* Sampling; names and meanings are Transformers', then vLLM's. Start from
 * glia_sampling_defaults(): neuron_config.json, then generation_config.json. */
typedef struct {
    bool do_sample;           /* false: greedy */
    float temperature;        /* 1; 0 means greedy */
    int top_k;                /* 0: off */
    float top_p;              /* 1: off */
    float min_p;              /* 0: off */
    float typical_p;          /* 1: off */
    float repetition_penalty; /* 1: off; prompt and output, as in Transformers */
    float presence_penalty;   /* 0: off; output only, as in vLLM */
    float frequency_penalty;  /* 0: off; output only */
    uint64_t seed;            /* the draw of a token depends on seed and position only */
    int max_tokens;           /* 0: up to the sequence length */
    int min_tokens;           /* no stop before so many */
    int logprobs;             /* -1: none; n: the chosen token's and the n most likely (at most 20) */
    int prompt_logprobs; /* 0: none; n + 1: of each prompt token and the n most likely ones (n at most 20).
                          * The prompt is computed anew, without the prefix cache */
    const int32_t *logprob_token_ids; /* with `logprobs` 0: of these tokens instead of the most likely ones */
    size_t n_logprob_token_ids;       /* at most 20 */
    bool embed; /* no token is drawn: the only event has the hidden state of the last prompt token */
    bool ignore_eos;
    const int32_t *stop_token_ids;
    size_t n_stop_token_ids; /* besides the model's eos */
    const char *const *stop;
    size_t n_stop; /* strings, not part of the answer */
    bool include_stop_str_in_output;
    bool keep_special_tokens; /* special tokens are part of the text, except one that ends the answer */
    bool raw_text;            /* leave <think>, </think> and what is between them in the text */
    const glia_logit_bias *logit_bias;
    size_t n_logit_bias;
    /* Only these tokens are drawn; none: all. Not with a constraint. */
    const int32_t *allowed_token_ids;
    size_t n_allowed_token_ids;
    /* Sequences of tokens that the output never has. If these and min_tokens leave no token, neither has an
     * effect on that draw. */
    const glia_token_list *bad_words;
    size_t n_bad_words;
    /* 0: none; n + 1: after n tokens inside <think> a newline and </think> follow. Without effect if the
     * tokenizer has no tokens for both tags. */
    int thinking_budget;
    const char *adapter; /* the name of a loaded adapter; NULL: the model alone */
    /* Scheduling. Waiting requests begin in order of priority, lower numbers first; then those whose client
     * has the fewest running; then the oldest. If the cache is full, the last in this order is preempted. */
    int64_t priority;
    uint64_t client; /* any number that names a client; 0: none */
    const char
        *cache_salt; /* requests share cached prefixes only with requests of the same salt; NULL: none */
    /* What the answer may be; NULL: anything. If the prompt ends inside <think>, the constraint begins after
     * </think>. The request keeps the constraint alive. Tokens that it forces are appended without being
     * sampled, unless `logprobs` are wanted. ignore_eos has no effect, and min_tokens none where the
     * constraint must end. */
    const glia_constraint *constraint;
    bool may_think; /* with a constraint: the answer may also begin with <think>...</think> before it */
    /* glia_sampling_defaults() sets these if generation_config.json asks for what Glia does not have; then a
     * request is refused, the second one only with do_sample. NULL: nothing. Owned by the model. */
    const char *unsupported, *unsupported_sampling;
} glia_sampling;
/* Any thread. */
GLIA_API void glia_sampling_defaults(const glia_model *m, glia_sampling *s);
/* The defaults of a server of OpenAI's interface: the same, but where generation_config.json and
 * neuron_config.json do not say, do_sample is on and top_k is off, as OpenAI and vLLM have it. Any thread. */
GLIA_API void glia_sampling_defaults_served(const glia_model *m, glia_sampling *s);

typedef enum {
    GLIA_RUNNING = 0,
    GLIA_FINISH_STOP,   /* eos, stop token or stop string */
    GLIA_FINISH_LENGTH, /* max_tokens or the sequence length */
    GLIA_FINISH_ABORT,  /* glia_request_abort() */
} glia_finish;

enum { GLIA_TOP_LOGPROBS_MAX = 20 };

/* One token of one request. Pointers are valid during the callback. */
typedef struct {
    uint64_t request; /* the id that glia_engine_submit() gave */
    int32_t token;    /* -1: no token comes with this event, only text or the end */
    int position;     /* of the token, counted from the first prompt token */
    const char *text; /* what may be shown now: whole characters, may be empty */
    size_t text_len;
    bool thinking; /* text is inside <think>...</think>; the tags are in neither */
    float logprob; /* valid when logprobs were asked for */
    int n_top;
    const int32_t *top_tokens; /* most likely first */
    const float *top_logprobs;
    bool of_prompt; /* token, position, logprob and top_* are of a token of the prompt, not of the answer.
                     * These events come before all others, positions 1, 2, ... */
    const float
        *hidden; /* [n_hidden] of glia_sampling.embed: after the last norm, not normalised; else NULL */
    int n_hidden;
    int cached_tokens;       /* of the prompt: their keys and values were in the prefix cache */
    double queue_seconds;    /* from glia_engine_submit() to the request's first step; 0: there was none */
    glia_finish finish;      /* set on the last event of a request, which carries no token */
    const char *stop_reason; /* on GLIA_FINISH_STOP by a string: that string; else NULL */
} glia_event;
/* Called by the engine thread inside glia_engine_step(). It may call every any-thread
 * function and glia_engine_get_stats(), and may not free the engine or its model. */
typedef void glia_event_fn(void *user, const glia_event *event);

/* Check the request and copy it: ids [n], *s and what it points to. `on_event` may be NULL. Nothing is
 * computed until glia_engine_step(). *id (may be NULL) names the request in events and for
 * glia_request_abort(); ids begin at 1 and are not used again. On failure *id is 0, and no event follows.
 * If another thread steps, the first event may come before this function returns; *id is set before. Any
 * thread, also from a callback.
 * Errors: GLIA_ERR_ARGUMENT (a token, a sampling parameter), GLIA_ERR_LIMIT (the prompt is too long),
 * GLIA_ERR_FORMAT (a stop string is not UTF-8), GLIA_ERR_UNSUPPORTED (s->unsupported), GLIA_ERR_NOMEM, the
 * failure of an earlier step. */
GLIA_API glia_status glia_engine_submit(glia_engine *e, const int32_t *ids, size_t n, const glia_sampling *s,
                                        glia_event_fn *on_event, void *user, uint64_t *id, glia_err *err);
/* End a request at the next step, with an event. An id whose request has ended does no harm. Any thread,
 * also from a callback. */
GLIA_API void glia_request_abort(glia_engine *e, uint64_t id);

/* Take one step with the whole batch. *left: requests that have not ended after it. Engine thread.
 * Errors: GLIA_ERR_FORMAT if the logits of a request are not all numbers: the request ends with
 * GLIA_FINISH_ABORT, the others continue. GLIA_ERR_IO if a rank has failed: all requests end with
 * GLIA_FINISH_ABORT, and every later call fails alike. */
GLIA_API glia_status glia_engine_step(glia_engine *e, size_t *left, glia_err *err);
/* Wait until glia_engine_step() has something to do (a request, or the failure of an earlier call to
 * report), until glia_engine_wake(), or for timeout_ms (negative: without limit; 0: do not wait). Returns
 * true if there is something to do. A rank that fails meanwhile is reported by the next step. Engine
 * thread. A server: while (serving) if (glia_engine_wait(e, -1)) glia_engine_step(e, ...). */
GLIA_API bool glia_engine_wait(glia_engine *e, int timeout_ms);
/* End the glia_engine_wait() that waits, or else the next one. Any thread, also from a callback. */
GLIA_API void glia_engine_wake(glia_engine *e);

/* In a process that is not rank 0 of several (glia_options.mpi): take the steps that rank 0 takes, until
 * rank 0 frees its engine or a rank fails, which *err names. Engine thread. */
GLIA_API glia_status glia_engine_follow(glia_engine *e, glia_err *err);

/* Teacher-forced logits of ids [n], in steps of their own beside the requests. `on_logits` gets each position
 * in order: logits [vocab] float32, valid during the call. `on_logits` may call what a glia_event_fn may
 * call. Engine thread. Errors: GLIA_ERR_ARGUMENT (a token, no token), GLIA_ERR_LIMIT (longer than the
 * sequence length, or no room in the KV cache beside the running requests), GLIA_ERR_IO (a rank has failed).
 */
typedef void glia_logits_fn(void *user, size_t position, const float *logits);
GLIA_API glia_status glia_engine_score(glia_engine *e, const int32_t *ids, size_t n,
                                       glia_logits_fn *on_logits, void *user, glia_err *err);

/* The same with an adapter; NULL: without. More errors: GLIA_ERR_ARGUMENT no such adapter, GLIA_ERR_LIMIT
 * running requests hold all places of adapters. */
GLIA_API glia_status glia_engine_score_adapted(glia_engine *e, const char *adapter, const int32_t *ids,
                                               size_t n, glia_logits_fn *on_logits, void *user,
                                               glia_err *err);

/* The hidden states of ids [n], for training a draft head. `on_states` gets each position in order: states
 * [n_layers + 1], each [hidden_size] float32, valid during the call: the residual stream after layer
 * layers[i] (from 0), then the hidden state after the last norm. Needs no engine. A thread of its own for
 * each call. Errors: GLIA_ERR_ARGUMENT (a token, a layer, more than 8 layers), GLIA_ERR_UNSUPPORTED (more
 * than one rank), GLIA_ERR_NOMEM. */
enum { GLIA_STATE_LAYERS_MAX = 8 };
typedef void glia_states_fn(void *user, size_t position, const float *const *states);
GLIA_API glia_status glia_model_states(const glia_model *m, const int32_t *ids, size_t n,
                                       const int32_t *layers, int n_layers, glia_states_fn *on_states,
                                       void *user, glia_err *err);

/* ---- adapters -------------------------------------------------------------- */

/* Read the LoRA adapter in directory `path`; requests name it by glia_sampling.adapter. Other requests run
 * meanwhile. With `replace`, an adapter of that name is replaced: requests that are submitted already end
 * with the old one. A failure changes nothing. Any thread; reading takes its time.
 * Errors: GLIA_ERR_IO, GLIA_ERR_FORMAT, GLIA_ERR_SHAPE and GLIA_ERR_UNSUPPORTED (the adapter; the message
 * names the file and what is wrong), GLIA_ERR_ARGUMENT (the name is taken, or the engine has no places),
 * GLIA_ERR_LIMIT (it does not fit in a place), GLIA_ERR_NOMEM. */
GLIA_API glia_status glia_engine_load_adapter(glia_engine *e, const char *name, const char *path,
                                              bool replace, glia_err *err);
/* Forget the adapter. Its requests that are submitted already still end with it. Any thread, also from a
 * callback. Errors: GLIA_ERR_ARGUMENT there is no such adapter. */
GLIA_API glia_status glia_engine_drop_adapter(glia_engine *e, const char *name, glia_err *err);
/* The adapters as a JSON array in the order in which they were loaded: [{"name", "path", "rank", "alpha",
 * "base_model" (or null), "bytes", "requests" (that are not ended), "in_memory"}]. Any thread, also from a
 * callback. */
GLIA_API glia_status glia_engine_list_adapters(glia_engine *e, char **json, glia_err *err);

/* What an adapter is and changes, as one JSON object: rank, scale, and each module with what is changed.
 * Needs no model. Any thread. */
GLIA_API glia_status glia_inspect_adapter(char **json, const char *path, glia_err *err);

/* Measure how much each column of the linear layers matters on `text` [len], and write the result to the file
 * `path`, for glia_options.importance. Rows are computed in float32, or as options->dtype says, in windows of
 * options->engine->sequence_length tokens (0: 512); the result depends on nothing else. options->progress
 * counts tokens. `path` is the old file or the complete new one. Any thread. Errors: as of glia_model_load();
 * GLIA_ERR_ARGUMENT no text, or options that have no meaning here; GLIA_ERR_UNSUPPORTED a checkpoint that is
 * quantised; GLIA_ERR_IO `path` exists and is no such file. */
GLIA_API glia_status glia_calibrate(const char *model, const char *cache_dir, const char *text, size_t len,
                                    const char *path, const glia_options *options, glia_err *err);

/* Write `model` with the adapter merged into its weights to `dir`, as a Hugging Face directory. Changed
 * weights are float32, or as options->dtype says; the others stay as they are. `dir` as for glia_compile().
 * Any thread. Errors: as of glia_engine_load_adapter(); GLIA_ERR_UNSUPPORTED a bias that the model cannot
 * store. */
GLIA_API glia_status glia_merge(const char *model, const char *cache_dir, const char *adapter,
                                const char *dir, const glia_options *options, glia_err *err);

enum { GLIA_DRAFT_POSITIONS = 32 };

/* Speculation. Names and meanings are vLLM's, with the prefix spec_decode_. */
typedef struct {
    uint64_t drafts;                            /* proposals: one of a sequence in a step */
    uint64_t draft_tokens;                      /* proposed tokens; of a tree, all its nodes */
    uint64_t accepted_tokens;                   /* of them, those that became part of an answer */
    uint64_t accepted_at[GLIA_DRAFT_POSITIONS]; /* proposals of which at least i + 1 tokens were accepted */
} glia_draft_counts;

typedef struct {
    uint64_t steps, prompt_tokens, cached_tokens, output_tokens;
    const char *draft_method; /* of speculation; NULL: none */
    int draft_depth;          /* the most tokens of a path that the draft may propose */
    glia_draft_counts speculation;
    uint64_t preemptions;
    uint64_t stored_blocks, fetched_blocks, dropped_blocks; /* of prefix_cache_dir; dropped: damaged or not
                                                             * written */
    uint64_t rows;                             /* of all steps: tokens that were computed, drafts included */
    int running, waiting;                      /* sequences now */
    int kv_blocks, kv_blocks_used, block_size; /* of the cache; used: by running sequences */
    uint64_t plan_bytes, weight_bytes;         /* of the ranks of this process */
    int batch_size, sequence_length;
    glia_dtype kv_cache_dtype;
    uint64_t kv_bytes_per_token; /* of all ranks together */
    int threads;                 /* of each rank */
    int ranks;
    const char
        *comm; /* how ranks reach each other: "single", "threads", "mpi shared memory", "mpi messages" */
    /* Collectives of one rank so far: bytes it read or received from others, seconds waiting included. */
    uint64_t comm_calls, comm_bytes;
    double comm_seconds;
    const char *rung; /* "ref", "avx2", "avx512", "avx512_bf16", "amx" */
} glia_engine_stats;
/* Engine thread, also from a callback. */
GLIA_API void glia_engine_get_stats(const glia_engine *e, glia_engine_stats *s);

/* The machine's ceilings, measured now on the threads of all ranks at once. All 0 if a rank has failed. */
typedef struct {
    double read_bytes_per_s; /* of the weights themselves, best over streams and prefetch distances */
    /* Matrix peaks with operands in L1; 0: no such unit. */
    double f32_flop_per_s, bf16_flop_per_s, i8_op_per_s;
} glia_ceilings;
/* Engine thread. */
GLIA_API void glia_engine_ceilings(glia_engine *e, glia_ceilings *c);

#ifdef __cplusplus
}
#endif
#endif
