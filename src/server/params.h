/* params.h - the fields of requests, each stated once, and the check of a body against them.
 *
 * A null field is an absent field. An unknown field is accepted and named in the log. A field that would
 * change the answer and that Glia does not have yet is refused unless it has the value that changes nothing.
 */
#ifndef GLIA_SERVER_PARAMS_H
#define GLIA_SERVER_PARAMS_H

#include <jansson.h>

#include "server/problem.h"

/* Kinds of request, as bits. */
enum {
    FOR_CHAT = 1,
    FOR_COMPLETION = 2,
    FOR_TOKENIZE = 4,
    FOR_DETOKENIZE = 8,
    FOR_EMBED = 16,
    FOR_RERANK = 32,
    FOR_SCORE = 64,
    FOR_LORA_LOAD = 128,
    FOR_LORA_UNLOAD = 256,
    FOR_RESPONSES = 512,
    FOR_MESSAGES = 1024, /* Anthropic's */
    FOR_COUNT = 2048,    /* /v1/messages/count_tokens */
};

typedef enum {
    P_MODEL,
    P_MESSAGES,
    P_PROMPT,
    P_TOKENS,
    P_STREAM,
    P_STREAM_OPTIONS,
    P_N,
    P_TEMPERATURE,
    P_TOP_P,
    P_TOP_K,
    P_MIN_P,
    P_TYPICAL_P,
    P_PRESENCE_PENALTY,
    P_FREQUENCY_PENALTY,
    P_REPETITION_PENALTY,
    P_MAX_TOKENS,
    P_MAX_COMPLETION_TOKENS,
    P_MIN_TOKENS,
    P_SEED,
    P_STOP,
    P_STOP_TOKEN_IDS,
    P_INCLUDE_STOP,
    P_SKIP_SPECIAL,
    P_STREAM_INTERVAL,
    P_IGNORE_EOS,
    P_LOGIT_BIAS,
    P_LOGPROBS_FLAG, /* "logprobs" of a chat */
    P_LOGPROBS,      /* "logprobs" of a completion */
    P_TOP_LOGPROBS,
    P_ECHO,
    P_ADD_SPECIAL_TOKENS,
    P_RETURN_TOKEN_STRS,
    P_ADD_GENERATION_PROMPT,
    P_CONTINUE_FINAL_MESSAGE,
    P_TEMPLATE_KWARGS,
    P_DOCUMENTS, /* of a chat */
    P_SCORED,    /* "documents" of scores */
    P_REASONING_EFFORT,
    P_INCLUDE_REASONING,
    P_THINKING_BUDGET,
    P_TOOLS,
    P_TOOL_CHOICE,
    P_RESPONSE_FORMAT,
    P_PARALLEL_TOOL_CALLS,
    P_STRUCTURED_OUTPUTS,
    P_GRAMMAR,
    P_JSON_SCHEMA,
    P_LORA_NAME,
    P_LORA_PATH,
    P_LOAD_INPLACE,
    P_PROMPT_LOGPROBS,
    P_LOGPROB_TOKEN_IDS,
    P_RETURN_TOKEN_IDS,
    P_TRUNCATE,
    P_CACHE_SALT,
    P_PRIORITY,
    P_INPUT,
    P_DIMENSIONS,
    P_ENCODING_FORMAT,
    P_NORMALIZE,
    P_INSTRUCT,
    P_INSTRUCTION,    /* vLLM's name of `instruct` */
    P_USE_ACTIVATION, /* vLLM's name of `normalize` */
    P_QUERY,
    P_TOP_N,
    P_TEXT_1,
    P_TEXT_2,
    P_QUERIES,
    P_ITEMS,
    P_DATA_1,
    P_DATA_2,
    P_INSTRUCTIONS, /* of /v1/responses */
    P_PREVIOUS_RESPONSE,
    P_CONVERSATION,
    P_BACKGROUND,
    P_MAX_OUTPUT_TOKENS,
    P_REASONING,
    P_TEXT_OPTIONS,
    P_TRUNCATION,
    P_INCLUDE,
    P_SYSTEM, /* of /v1/messages */
    P_STOP_SEQUENCES,
    P_THINKING,
    P_METADATA,
    P_OUTPUT_CONFIG,
    P_ALLOWED_TOKEN_IDS,
    P_BAD_WORDS,
    P_TOKENS_AS_IDS,
    P_TRUNCATION_SIDE,
    N_PARAMS
} server_param;

typedef struct {
    json_t *body;               /* all of it */
    json_t *asked;              /* the body as it came; `body` may be one of a chat that asks for the same */
    const char *request_id;     /* not of the body */
    const json_t *at[N_PARAMS]; /* NULL: absent; owned by the body */
    json_int_t integer[N_PARAMS]; /* of integers; of booleans 0 or 1 */
    double real[N_PARAMS];
} server_params;

/* Check `body` as a request of one kind and fill *params. Problems of form come before problems of values.
 * `unknown` gets the names of unknown fields, at most about 150 bytes. */
void server_params_read(server_params *params, json_t *body, unsigned kind, server_problem *problem,
                        server_text *unknown);

/* A field of a kind of request, for a description. */
typedef struct {
    const char *name, *type; /* of JSON Schema; NULL: any */
    bool required, has_range, more_than_min;
    double min, max;
    json_t *only; /* a list of the only values besides null; the caller owns it; NULL: others too */
} server_field;
/* The i-th field of a kind; false behind the last. */
bool server_field_at(size_t i, unsigned kind, server_field *out);

/* The integer of a number that is whole: 4 or 4.0. Returns false for anything else. */
bool server_whole(const json_t *value, json_int_t *out);

/* Delete a "tool_choice" that needs no tool. A chat without tools may not have it, other interfaces may. */
void server_drop_idle_choice(json_t *chat);

#endif
