/* params.c - see params.h. */
#include "server/params.h"

#include <math.h>
#include <string.h>

typedef enum { KIND_BOOL, KIND_INT, KIND_REAL, KIND_STRING, KIND_LIST, KIND_OBJECT, KIND_ANY } value_kind;

enum {
    SAMPLES = FOR_CHAT | FOR_COMPLETION,
    DRAWS = SAMPLES | FOR_RESPONSES | FOR_MESSAGES,
    CALLS = FOR_CHAT | FOR_RESPONSES | FOR_MESSAGES | FOR_COUNT,
    RENDERS = FOR_CHAT | FOR_TOKENIZE,
    SCORES = FOR_RERANK | FOR_SCORE,
    POOLS = FOR_EMBED | SCORES,
    EVERY = DRAWS | FOR_COUNT | FOR_TOKENIZE | FOR_DETOKENIZE | POOLS,
    REQUIRED = 1 << 16,  /* must be present; see is_required() */
    MORE_THAN = 1 << 17, /* `min` itself is too little */
    NAMELESS = 1 << 18,  /* vLLM's error has no param */
    OF_FORM = 1 << 19,   /* a value out of range is an error of form */
};

/* clang-format off */
static const struct row {
    const char *name;
    value_kind kind;
    unsigned flags; /* kinds of request, and the bits above */
    double min, max;
    const char *range; /* "must be ..."; NULL: every value is right */
} rows[N_PARAMS] = {
    [P_MODEL] = {"model", KIND_STRING, EVERY, 0, 0, NULL},
    [P_MESSAGES] = {"messages", KIND_LIST, RENDERS | FOR_MESSAGES | FOR_COUNT | FOR_EMBED | REQUIRED, 0, 0, NULL},
    [P_PROMPT] = {"prompt", KIND_ANY, FOR_COMPLETION | FOR_TOKENIZE | REQUIRED, 0, 0, NULL},
    [P_TOKENS] = {"tokens", KIND_LIST, FOR_DETOKENIZE | REQUIRED, 0, 0, NULL},
    [P_STREAM] = {"stream", KIND_BOOL, DRAWS, 0, 0, NULL},
    [P_STREAM_OPTIONS] = {"stream_options", KIND_OBJECT, SAMPLES, 0, 0, NULL},
    [P_N] = {"n", KIND_INT, SAMPLES, 1, 16384, "between 1 and 16384"},
    [P_TEMPERATURE] = {"temperature", KIND_REAL, DRAWS, 0, 2, "non-negative and at most 2"},
    [P_TOP_P] = {"top_p", KIND_REAL, DRAWS | MORE_THAN, 0, 1, "in (0, 1]"},
    [P_TOP_K] = {"top_k", KIND_INT, DRAWS | NAMELESS, -1, 0x1p31 - 1, "-1 or 0 (off), or at least 1"},
    [P_MIN_P] = {"min_p", KIND_REAL, DRAWS | NAMELESS, 0, 1, "in [0, 1]"},
    [P_TYPICAL_P] = {"typical_p", KIND_REAL, DRAWS | MORE_THAN, 0, 1, "in (0, 1]"},
    [P_PRESENCE_PENALTY] = {"presence_penalty", KIND_REAL, DRAWS | NAMELESS, -2, 2, "in [-2, 2]"},
    [P_FREQUENCY_PENALTY] = {"frequency_penalty", KIND_REAL, DRAWS | NAMELESS, -2, 2, "in [-2, 2]"},
    [P_REPETITION_PENALTY] = {"repetition_penalty", KIND_REAL, DRAWS | MORE_THAN | NAMELESS, 0, 1e6, "more than zero"},
    [P_MAX_TOKENS] = {"max_tokens", KIND_INT, SAMPLES | FOR_MESSAGES, 0, 1e9, "at least 1"},
    [P_MAX_COMPLETION_TOKENS] = {"max_completion_tokens", KIND_INT, FOR_CHAT, 1, 1e9, "at least 1"},
    [P_MIN_TOKENS] = {"min_tokens", KIND_INT, DRAWS | NAMELESS, 0, 1e9, "at least 0"},
    [P_SEED] = {"seed", KIND_INT, DRAWS, 0, 0, NULL},
    [P_STOP] = {"stop", KIND_ANY, DRAWS, 0, 0, NULL},
    [P_STOP_TOKEN_IDS] = {"stop_token_ids", KIND_LIST, DRAWS, 0, 0, NULL},
    [P_INCLUDE_STOP] = {"include_stop_str_in_output", KIND_BOOL, DRAWS, 0, 0, NULL},
    [P_SKIP_SPECIAL] = {"skip_special_tokens", KIND_BOOL, DRAWS, 0, 0, NULL},
    [P_STREAM_INTERVAL] = {"stream_interval", KIND_INT, DRAWS | OF_FORM, 1, 1e9, "at least 1"},
    [P_IGNORE_EOS] = {"ignore_eos", KIND_BOOL, DRAWS, 0, 0, NULL},
    [P_LOGIT_BIAS] = {"logit_bias", KIND_OBJECT, DRAWS, 0, 0, NULL},
    [P_LOGPROBS_FLAG] = {"logprobs", KIND_BOOL, FOR_CHAT, 0, 0, NULL},
    [P_LOGPROBS] = {"logprobs", KIND_INT, FOR_COMPLETION, 0, 20, "between 0 and 20"},
    [P_TOP_LOGPROBS] = {"top_logprobs", KIND_INT, FOR_CHAT | FOR_RESPONSES, 0, 0, NULL},
    [P_ECHO] = {"echo", KIND_BOOL, SAMPLES, 0, 0, NULL},
    [P_ADD_SPECIAL_TOKENS] = {"add_special_tokens", KIND_BOOL, RENDERS | FOR_COMPLETION | FOR_EMBED, 0, 0, NULL},
    [P_RETURN_TOKEN_STRS] = {"return_token_strs", KIND_BOOL, FOR_TOKENIZE, 0, 0, NULL},
    [P_ADD_GENERATION_PROMPT] = {"add_generation_prompt", KIND_BOOL, RENDERS | FOR_EMBED, 0, 0, NULL},
    [P_CONTINUE_FINAL_MESSAGE] = {"continue_final_message", KIND_BOOL, RENDERS | FOR_EMBED, 0, 0, NULL},
    [P_TEMPLATE_KWARGS] = {"chat_template_kwargs", KIND_OBJECT, RENDERS | CALLS | POOLS, 0, 0, NULL},
    [P_DOCUMENTS] = {"documents", KIND_LIST, RENDERS, 0, 0, NULL},
    [P_SCORED] = {"documents", KIND_ANY, SCORES, 0, 0, NULL},
    [P_REASONING_EFFORT] = {"reasoning_effort", KIND_STRING, FOR_CHAT, 0, 0, NULL},
    [P_INCLUDE_REASONING] = {"include_reasoning", KIND_BOOL, FOR_CHAT, 0, 0, NULL},
    [P_THINKING_BUDGET] = {"thinking_token_budget", KIND_INT, DRAWS | OF_FORM, -1, 0x1p31 - 2, "-1 (no budget), or at least 0"},
    [P_TOOLS] = {"tools", KIND_LIST, RENDERS | CALLS, 0, 0, NULL},
    [P_TOOL_CHOICE] = {"tool_choice", KIND_ANY, CALLS, 0, 0, NULL},
    [P_RESPONSE_FORMAT] = {"response_format", KIND_OBJECT, SAMPLES, 0, 0, NULL},
    [P_PARALLEL_TOOL_CALLS] = {"parallel_tool_calls", KIND_BOOL, FOR_CHAT | FOR_RESPONSES, 0, 0, NULL},
    [P_STRUCTURED_OUTPUTS] = {"structured_outputs", KIND_OBJECT, DRAWS, 0, 0, NULL},
    [P_GRAMMAR] = {"grammar", KIND_STRING, SAMPLES, 0, 0, NULL},
    [P_JSON_SCHEMA] = {"json_schema", KIND_ANY, SAMPLES, 0, 0, NULL},
    [P_LORA_NAME] = {"lora_name", KIND_STRING, FOR_LORA_LOAD | FOR_LORA_UNLOAD, 0, 0, NULL},
    [P_LORA_PATH] = {"lora_path", KIND_STRING, FOR_LORA_LOAD, 0, 0, NULL},
    [P_LOAD_INPLACE] = {"load_inplace", KIND_BOOL, FOR_LORA_LOAD, 0, 0, NULL},
    [P_PROMPT_LOGPROBS] = {"prompt_logprobs", KIND_INT, SAMPLES, 0, 20, "between 0 and 20"},
    [P_LOGPROB_TOKEN_IDS] = {"logprob_token_ids", KIND_LIST, SAMPLES, 0, 0, NULL},
    [P_RETURN_TOKEN_IDS] = {"return_token_ids", KIND_BOOL, SAMPLES, 0, 0, NULL},
    [P_TRUNCATE] = {"truncate_prompt_tokens", KIND_INT, SAMPLES | POOLS, -1, 1e9, "-1 (all that fits), or at least 1"},
    [P_CACHE_SALT] = {"cache_salt", KIND_STRING, DRAWS | POOLS, 0, 0, NULL},
    [P_PRIORITY] = {"priority", KIND_INT, DRAWS | POOLS, 0, 0, NULL},
    [P_INPUT] = {"input", KIND_ANY, FOR_EMBED | FOR_RESPONSES | REQUIRED, 0, 0, NULL},
    [P_DIMENSIONS] = {"dimensions", KIND_INT, FOR_EMBED, 1, 1e9, "at least 1"},
    [P_ENCODING_FORMAT] = {"encoding_format", KIND_STRING, FOR_EMBED, 0, 0, NULL},
    [P_NORMALIZE] = {"normalize", KIND_BOOL, FOR_EMBED, 0, 0, NULL},
    [P_INSTRUCT] = {"instruct", KIND_STRING, POOLS, 0, 0, NULL},
    [P_INSTRUCTION] = {"instruction", KIND_STRING, SCORES, 0, 0, NULL},
    [P_USE_ACTIVATION] = {"use_activation", KIND_BOOL, FOR_EMBED, 0, 0, NULL},
    [P_QUERY] = {"query", KIND_ANY, FOR_RERANK | REQUIRED, 0, 0, NULL},
    [P_TOP_N] = {"top_n", KIND_INT, FOR_RERANK | OF_FORM, 0, 1e9, "0 (all), or at least 1"},
    [P_TEXT_1] = {"text_1", KIND_ANY, FOR_SCORE, 0, 0, NULL},
    [P_TEXT_2] = {"text_2", KIND_ANY, FOR_SCORE, 0, 0, NULL},
    [P_QUERIES] = {"queries", KIND_ANY, FOR_SCORE, 0, 0, NULL},
    [P_ITEMS] = {"items", KIND_ANY, FOR_SCORE, 0, 0, NULL},
    [P_DATA_1] = {"data_1", KIND_ANY, FOR_SCORE, 0, 0, NULL},
    [P_DATA_2] = {"data_2", KIND_ANY, FOR_SCORE, 0, 0, NULL},
    [P_INSTRUCTIONS] = {"instructions", KIND_STRING, FOR_RESPONSES, 0, 0, NULL},
    [P_PREVIOUS_RESPONSE] = {"previous_response_id", KIND_STRING, FOR_RESPONSES, 0, 0, NULL},
    [P_CONVERSATION] = {"conversation", KIND_ANY, FOR_RESPONSES, 0, 0, NULL},
    [P_BACKGROUND] = {"background", KIND_BOOL, FOR_RESPONSES, 0, 0, NULL},
    [P_MAX_OUTPUT_TOKENS] = {"max_output_tokens", KIND_INT, FOR_RESPONSES, 1, 1e9, "at least 1"},
    [P_REASONING] = {"reasoning", KIND_OBJECT, FOR_RESPONSES, 0, 0, NULL},
    [P_TEXT_OPTIONS] = {"text", KIND_OBJECT, FOR_RESPONSES, 0, 0, NULL},
    [P_TRUNCATION] = {"truncation", KIND_STRING, FOR_RESPONSES, 0, 0, NULL},
    [P_INCLUDE] = {"include", KIND_LIST, FOR_RESPONSES, 0, 0, NULL},
    [P_SYSTEM] = {"system", KIND_ANY, FOR_MESSAGES | FOR_COUNT, 0, 0, NULL},
    [P_STOP_SEQUENCES] = {"stop_sequences", KIND_LIST, FOR_MESSAGES, 0, 0, NULL},
    [P_THINKING] = {"thinking", KIND_OBJECT, FOR_MESSAGES | FOR_COUNT, 0, 0, NULL},
    [P_ALLOWED_TOKEN_IDS] = {"allowed_token_ids", KIND_LIST, DRAWS, 0, 0, NULL},
    [P_TOKENS_AS_IDS] = {"return_tokens_as_token_ids", KIND_BOOL, SAMPLES, 0, 0, NULL},
    [P_TRUNCATION_SIDE] = {"truncation_side", KIND_STRING, SAMPLES, 0, 0, NULL},
    [P_BAD_WORDS] = {"bad_words", KIND_LIST, DRAWS, 0, 0, NULL},
    [P_METADATA] = {"metadata", KIND_OBJECT, FOR_RESPONSES | FOR_MESSAGES, 0, 0, NULL},
    [P_OUTPUT_CONFIG] = {"output_config", KIND_OBJECT, FOR_MESSAGES | FOR_COUNT, 0, 0, NULL},
};

/* Fields that would change an answer and that Glia does not have: accepted with the values that change nothing.
 */
static const struct {
    const char *name;
    unsigned kinds;
    const char *neutral; /* a JSON array of the values that change nothing; NULL: only null */
    bool named;          /* vLLM's error has the field as its param */
    const char *instead; /* what to do instead; NULL: nothing to say */
} missing[] = {
    {"audio", SAMPLES, NULL, true, NULL},
    {"chat_template", SAMPLES | FOR_TOKENIZE | FOR_EMBED, NULL, false, "start the server with --chat-template FILE"},
    {"embed_dtype", FOR_EMBED, "[\"float32\"]", true, NULL},
    {"enable_response_messages", FOR_RESPONSES, "[false]", true, NULL},
    {"endianness", FOR_EMBED, "[\"native\", \"little\"]", true, NULL},
    {"function_call", SAMPLES, NULL, true, "use tool_choice"},
    {"functions", SAMPLES, NULL, true, "use tools"},
    {"guided_choice", SAMPLES, NULL, true, "use structured_outputs.choice"},
    {"guided_grammar", SAMPLES, NULL, true, "use structured_outputs.grammar"},
    {"guided_json", SAMPLES, NULL, true, "use structured_outputs.json"},
    {"guided_regex", SAMPLES, NULL, true, "use structured_outputs.regex"},
    {"max_tokens_per_doc", SCORES, "[0]", true, "use truncate_prompt_tokens"},
    {"max_tokens_per_query", SCORES, "[0]", true, "use truncate_prompt_tokens"},
    {"padding", POOLS, "[\"do_not_pad\"]", true, NULL},
    {"previous_input_messages", FOR_RESPONSES, NULL, true, "use input"},
    {"prompt", FOR_RESPONSES, NULL, true, "use input and instructions"},
    {"prompt_embeds", FOR_COMPLETION, NULL, true, NULL},
    {"repetition_detection", SAMPLES, NULL, true, NULL},
    {"return_prompt_text", SAMPLES, "[false]", true, "use echo, or return_token_ids and /detokenize"},
    {"return_token_offsets", SAMPLES, "[false]", true, NULL},
    {"suffix", SAMPLES, NULL, true, NULL},
    {"truncation_side", POOLS, "[\"right\"]", true, NULL},
    {"use_activation", SCORES, "[true]", true, NULL},
    {"use_beam_search", SAMPLES, "[false]", true, NULL},
    {"watermarking", SAMPLES, "[false]", true, NULL},
};
/* clang-format on */

/* Fields of OpenAI, Anthropic and vLLM that change no answer of Glia; docs/SERVING.md says why. */
static const char *const without_effect[] = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prediction",
    "request_id",
    "session_id",
    "length_penalty",
    "early_stopping",
    "best_of",
    "prompt_cache_key",
    "modalities",
    "verbosity",
    "vllm_xargs",
    "kv_transfer_params",
    "ec_transfer_params",
    "spaces_between_special_tokens",
    "prompt_cache_retention",
    "max_tool_calls",
    "context_management",
    "container",
    "mcp_servers",
    "betas",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "mm_payload",
    "return_mm_kwargs",
    "routed_experts_prompt_start",
};

bool server_whole(const json_t *value, json_int_t *out) {
    const double x = json_real_value(value);
    *out = json_is_integer(value) ? json_integer_value(value) : 0;
    if (json_is_integer(value)) return true;
    if (!json_is_real(value) || x != floor(x) || fabs(x) > 0x1p53) return false;
    *out = (json_int_t)x;
    return true;
}

/* Take the value of a field. Returns what the value should be, or NULL if it is right. */
static const char *take(server_params *p, server_param id, const json_t *value) {
    p->at[id] = value;
    switch (rows[id].kind) {
    case KIND_BOOL: p->integer[id] = json_is_true(value); return json_is_boolean(value) ? NULL : "boolean";
    case KIND_INT: return server_whole(value, &p->integer[id]) ? NULL : "integer";
    case KIND_REAL: p->real[id] = json_number_value(value); return json_is_number(value) ? NULL : "number";
    case KIND_STRING: return json_is_string(value) ? NULL : "string";
    case KIND_LIST: return json_is_array(value) ? NULL : "list";
    case KIND_OBJECT: return json_is_object(value) ? NULL : "dictionary";
    case KIND_ANY: break;
    }
    return NULL;
}

/* /tokenize has prompt or messages, /v1/embeddings input or messages. */
static bool is_required(server_param id, unsigned kind) {
    if (id == P_MAX_TOKENS) return kind == FOR_MESSAGES;
    return rows[id].flags & REQUIRED && kind != FOR_TOKENIZE && kind != FOR_EMBED;
}

static void check_range(const server_params *p, server_param id, server_problem *problem) {
    const struct row *r = &rows[id];
    if (!p->at[id] || !r->range) return;
    const double x = r->kind == KIND_INT ? (double)p->integer[id] : p->real[id];
    if (x >= r->min && x <= r->max && !(r->flags & MORE_THAN && x == r->min)) return;
    if (r->flags & OF_FORM)
        return server_bad_form(problem, r->name, "%s must be %s, got %.9g", r->name, r->range, x);
    server_bad_value(problem, r->flags & NAMELESS ? NULL : r->name,
                     "%s must be %s, got %.9g. (parameter=%s, value=%.9g)", r->name, r->range, x, r->name, x);
}

/* The values of missing[i] that change nothing, as a list. The caller owns it. */
static json_t *neutral_values(size_t i) {
    return json_loads(missing[i].neutral ? missing[i].neutral : "[]", 0, NULL);
}

static bool changes_nothing(size_t i, const json_t *value) {
    json_t *list = neutral_values(i);
    bool found = !value || json_is_null(value);
    for (size_t k = 0; k < json_array_size(list); k++) found |= json_equal(json_array_get(list, k), value);
    json_decref(list);
    return found;
}

static void check_missing(const json_t *body, unsigned kind, server_problem *problem) {
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        const char *name = missing[i].name, *instead = missing[i].instead;
        if (!(missing[i].kinds & kind) || changes_nothing(i, json_object_get(body, name))) continue;
        server_bad_value(problem, missing[i].named ? name : NULL,
                         "%s is not supported by this server%s%s (parameter=%s)", name, instead ? "; " : "",
                         instead ? instead : "", name);
    }
}

bool server_field_at(size_t i, unsigned kind, server_field *out) {
    static const char *const types[] = {
        [KIND_BOOL] = "boolean", [KIND_INT] = "integer",   [KIND_REAL] = "number", [KIND_STRING] = "string",
        [KIND_LIST] = "array",   [KIND_OBJECT] = "object", [KIND_ANY] = NULL};
    for (int id = 0; id < N_PARAMS; id++) {
        const struct row *r = &rows[id];
        if (!(r->flags & kind) || i--) continue;
        *out = (server_field){.name = r->name,
                              .type = types[r->kind],
                              .required = is_required((server_param)id, kind),
                              .has_range = r->range != NULL,
                              .more_than_min = r->flags & MORE_THAN,
                              .min = r->min,
                              .max = r->max};
        return true;
    }
    for (size_t k = 0; k < sizeof missing / sizeof *missing; k++) {
        if (!(missing[k].kinds & kind) || i--) continue;
        *out = (server_field){.name = missing[k].name, .only = neutral_values(k)};
        return true;
    }
    return false;
}

/* Requests that become chats take the fields of a chat too. */
static bool is_known(const char *name, unsigned kind) {
    if (kind & (FOR_RESPONSES | FOR_MESSAGES)) kind |= FOR_CHAT;
    for (int id = 0; id < N_PARAMS; id++)
        if (rows[id].flags & kind && strcmp(rows[id].name, name) == 0) return true;
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (missing[i].kinds & kind && strcmp(missing[i].name, name) == 0) return true;
    for (size_t i = 0; i < sizeof without_effect / sizeof *without_effect; i++)
        if (strcmp(without_effect[i], name) == 0) return true;
    return false;
}

void server_params_read(server_params *params, json_t *body, unsigned kind, server_problem *problem,
                        server_text *unknown) {
    const char *name;
    json_t *value;
    *params = (server_params){.body = body, .asked = body};
    for (int id = 0; id < N_PARAMS; id++) {
        const struct row *r = &rows[id];
        if (!(r->flags & kind)) continue;
        value = json_object_get(body, r->name);
        if (value && json_is_null(value)) value = NULL;
        const char *wanted = value ? take(params, (server_param)id, value) : NULL;
        if (wanted) server_bad_form(problem, r->name, "Input should be a valid %s", wanted);
        if (!value && is_required((server_param)id, kind))
            server_bad_form(problem, r->name, "Field required");
    }
    for (int id = 0; id < N_PARAMS; id++)
        if (rows[id].flags & kind) check_range(params, (server_param)id, problem);
    check_missing(body, kind, problem);
    json_object_foreach(body, name, value) {
        if (is_known(name, kind)) continue;
        if (unknown->len < 100) server_printf(unknown, "%s%.40s", unknown->len ? ", " : "", name);
    }
}

void server_drop_idle_choice(json_t *chat) {
    const json_t *choice = json_object_get(chat, "tool_choice");
    const char *word = json_string_value(choice);
    if (word ? strcmp(word, "required") != 0 : !choice) json_object_del(chat, "tool_choice");
}
