/* sampling.c - from the fields of a request to glia_sampling. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/app.h"

enum { COMPLETION_TOKENS = 16 }; /* OpenAI's default of max_tokens for completions */

static void no_memory(server_problem *problem) {
    server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory for the request");
}

/* A random seed of 63 bits. */
static uint64_t random_seed(void) {
    uint64_t seed = 0;
    while (getrandom(&seed, sizeof seed, 0) < 0 && errno == EINTR) {
    }
    return seed >> 1;
}

static void read_numbers(server_sampling *out, const server_app *app, const server_params *p) {
    glia_sampling *s = &out->s;
    const struct {
        server_param id;
        float *to;
    } reals[] = {{P_TEMPERATURE, &s->temperature},
                 {P_TOP_P, &s->top_p},
                 {P_MIN_P, &s->min_p},
                 {P_TYPICAL_P, &s->typical_p},
                 {P_PRESENCE_PENALTY, &s->presence_penalty},
                 {P_FREQUENCY_PENALTY, &s->frequency_penalty},
                 {P_REPETITION_PENALTY, &s->repetition_penalty}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (p->at[reals[i].id]) *reals[i].to = (float)p->real[reals[i].id];
    if (p->at[P_TOP_K]) s->top_k = p->integer[P_TOP_K] > 0 ? (int)p->integer[P_TOP_K] : 0;
    static const server_param drawing[] = {P_TEMPERATURE, P_TOP_P, P_TOP_K, P_MIN_P, P_TYPICAL_P};
    for (size_t i = 0; i < sizeof drawing / sizeof *drawing; i++)
        if (p->at[drawing[i]]) s->do_sample = true;
    if (s->temperature <= 0) s->do_sample = false;
    if (s->temperature > 0 && s->temperature < 0.01f) s->temperature = 0.01f; /* as vLLM */
    out->seeded = (p->at[P_SEED] && p->integer[P_SEED] != -1) || app->options->has_seed;
    s->seed = p->at[P_SEED] && p->integer[P_SEED] != -1 ? (uint64_t)p->integer[P_SEED]
              : app->options->has_seed                  ? app->options->seed
                                                        : random_seed();
    if (p->at[P_MIN_TOKENS]) s->min_tokens = (int)p->integer[P_MIN_TOKENS];
    s->thinking_budget = p->at[P_THINKING_BUDGET] ? (int)(p->integer[P_THINKING_BUDGET] + 1) : 0;
    s->ignore_eos = p->integer[P_IGNORE_EOS] != 0;
    s->include_stop_str_in_output = p->integer[P_INCLUDE_STOP] != 0;
    s->keep_special_tokens = p->at[P_SKIP_SPECIAL] && !p->integer[P_SKIP_SPECIAL];
}

/* max_tokens of the request; 0: the model's default. */
static void read_length(glia_sampling *s, const server_app *app, const server_params *p, unsigned kind,
                        server_problem *problem) {
    const bool newer = p->at[P_MAX_COMPLETION_TOKENS] != NULL;
    const server_param id = newer ? P_MAX_COMPLETION_TOKENS : P_MAX_TOKENS;
    const char *name = newer ? "max_completion_tokens" : "max_tokens";
    if (!p->at[id]) {
        if (kind == FOR_COMPLETION) s->max_tokens = COMPLETION_TOKENS;
        return;
    }
    const json_int_t n = p->integer[id];
    if (n == 0 && !(kind == FOR_COMPLETION && p->integer[P_ECHO]))
        server_bad_value(problem, name, "%s must be at least 1, got 0. (parameter=%s, value=0)", name, name);
    else if (n > app->sequence_length)
        server_bad_value(problem, name,
                         "%s is %lld, more than this model's maximum context length of %d tokens. "
                         "(parameter=%s, value=%lld)",
                         name, (long long)n, app->sequence_length, name, (long long)n);
    s->max_tokens = (int)n;
    if (n > 0 && s->min_tokens > n)
        server_bad_value(problem, NULL,
                         "min_tokens must be at most max_tokens=%lld, got %d. (parameter=min_tokens)",
                         (long long)n, s->min_tokens);
}

static void read_logprobs(glia_sampling *s, const server_params *p, server_problem *problem) {
    if (p->at[P_LOGPROBS]) s->logprobs = (int)p->integer[P_LOGPROBS];
    const json_int_t top = p->integer[P_TOP_LOGPROBS];
    if (top && !p->integer[P_LOGPROBS_FLAG])
        server_bad_value(problem, "top_logprobs",
                         "when using `top_logprobs`, `logprobs` must be set to true. "
                         "(parameter=top_logprobs)");
    else if (top < 0 || top > GLIA_TOP_LOGPROBS_MAX)
        server_bad_value(problem, "logprobs",
                         "Requested sample logprobs of %lld, which is not within 0 and the maximum of %d. "
                         "(parameter=logprobs, value=%lld)",
                         (long long)top, GLIA_TOP_LOGPROBS_MAX, (long long)top);
    if (p->integer[P_LOGPROBS_FLAG]) s->logprobs = (int)top;
    if (p->at[P_PROMPT_LOGPROBS])
        s->prompt_logprobs = 1 + (int)p->integer[P_PROMPT_LOGPROBS];
    else if (p->integer[P_ECHO] && p->at[P_LOGPROBS])
        s->prompt_logprobs = 1 + s->logprobs;
}

/* Token ids of the vocabulary. Returns how many; *to is the caller's. */
static size_t read_ids(int32_t **to, const server_app *app, const json_t *list, const char *name,
                       server_problem *problem) {
    const size_t n = json_array_size(list);
    if (n == 0) return 0;
    *to = malloc(n * sizeof **to);
    if (!*to) return no_memory(problem), 0;
    for (size_t i = 0; i < n; i++) {
        json_int_t id;
        if (!server_whole(json_array_get(list, i), &id))
            server_bad_form(problem, name, "Input should be a valid integer");
        else if (id < 0 || id >= app->info.vocab_size)
            server_bad_value(problem, name,
                             "%s contains the token %lld, which is out of the vocabulary of %d tokens. "
                             "(parameter=%s, value=%lld)",
                             name, (long long)id, app->info.vocab_size, name, (long long)id);
        (*to)[i] = (int32_t)id;
    }
    return n;
}

/* The tokens whose log-probabilities a request wants instead of the most likely ones. */
static void read_logprob_ids(server_sampling *out, const server_app *app, const server_params *p,
                             server_problem *problem) {
    const json_t *list = p->at[P_LOGPROB_TOKEN_IDS];
    const size_t n = json_array_size(list);
    if (!list) return;
    if (n < 1 || n > GLIA_TOP_LOGPROBS_MAX)
        return server_bad_value(problem, "logprob_token_ids",
                                "logprob_token_ids must have 1 to %d token ids, got %zu. "
                                "(parameter=logprob_token_ids)",
                                GLIA_TOP_LOGPROBS_MAX, n);
    if (!p->integer[P_LOGPROBS_FLAG] && !p->at[P_LOGPROBS])
        return server_bad_value(problem, "logprob_token_ids",
                                "when using `logprob_token_ids`, `logprobs` must be set. "
                                "(parameter=logprob_token_ids)");
    out->s.n_logprob_token_ids = read_ids(&out->logprob_ids, app, list, "logprob_token_ids", problem);
    out->s.logprobs = 0;
    out->s.logprob_token_ids = out->logprob_ids;
}

static void read_allowed_ids(server_sampling *out, const server_app *app, const json_t *list,
                             server_problem *problem) {
    if (list && !json_array_size(list))
        server_bad_value(problem, "allowed_token_ids",
                         "allowed_token_ids must not be an empty list. (parameter=allowed_token_ids)");
    out->s.n_allowed_token_ids = read_ids(&out->allowed_ids, app, list, "allowed_token_ids", problem);
    out->s.allowed_token_ids = out->allowed_ids;
}

/* Add the tokens of one bad word behind `blank`: a word begins a text or follows a blank. */
static void add_bad_word(server_sampling *out, const server_app *app, const char *word, size_t len,
                         const char *blank, server_problem *problem) {
    server_text text = {0};
    glia_err err = {.status = GLIA_ERR_NOMEM, .msg = "no memory for bad_words"};
    int32_t *ids = NULL;
    size_t n = 0;
    server_puts(&text, blank);
    server_add(&text, word, len);
    if (text.oom || glia_tokenize(app->model, text.data, text.len, false, &ids, &n, &err))
        server_library_problem(problem, &err);
    server_text_free(&text);
    if (n)
        out->bad_words[out->n_bad_words++] = (glia_token_list){ids, n};
    else
        glia_free(ids);
}

static void read_bad_words(server_sampling *out, const server_app *app, const json_t *list,
                           server_problem *problem) {
    const size_t n = json_array_size(list);
    if (n == 0) return;
    out->bad_words = malloc(2 * n * sizeof *out->bad_words);
    if (!out->bad_words) return no_memory(problem);
    for (size_t i = 0; i < n && !problem->status; i++) {
        const json_t *one = json_array_get(list, i);
        const char *word = json_is_string(one) ? json_string_value(one) : "";
        const size_t skip = strspn(word, " "), len = json_string_length(one) - skip,
                     before = out->n_bad_words;
        if (!json_is_string(one))
            server_bad_form(problem, "bad_words", "Input should be a list of strings");
        else if (!len)
            server_bad_value(problem, NULL,
                             "bad_words cannot contain an empty string. (parameter=bad_words)");
        else
            add_bad_word(out, app, word + skip, len, "", problem);
        if (out->n_bad_words > before) add_bad_word(out, app, word + skip, len, " ", problem);
    }
    out->s.bad_words = out->bad_words;
    out->s.n_bad_words = out->n_bad_words;
}

/* "stop" is a string or a list of strings. */
static void read_stop(server_sampling *out, const json_t *stop, server_problem *problem) {
    if (!stop) return;
    const bool list = json_is_array(stop);
    const size_t n = list ? json_array_size(stop) : 1;
    if (n == 0) return;
    out->stop = malloc(n * sizeof *out->stop);
    if (!out->stop) return no_memory(problem);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = list ? json_array_get(stop, i) : stop;
        out->stop[i] = json_is_string(one) ? json_string_value(one) : "";
        if (!json_is_string(one))
            server_bad_form(problem, "stop", "Input should be a valid string or a list of strings");
        else if (json_string_length(one) == 0)
            server_bad_value(problem, NULL, "stop cannot contain an empty string. (parameter=stop)");
        else if (strlen(out->stop[i]) != json_string_length(one))
            server_bad_value(problem, "stop", "stop cannot contain a zero byte. (parameter=stop)");
    }
    out->s.stop = out->stop;
    out->s.n_stop = n;
}

/* Keys are token ids; values outside of [-100, 100] are clamped. */
static void read_bias(server_sampling *out, const server_app *app, const json_t *object,
                      server_problem *problem) {
    const char *key;
    json_t *value;
    size_t n = 0;
    if (json_object_size(object) == 0) return;
    out->bias = malloc(json_object_size(object) * sizeof *out->bias);
    if (!out->bias) return no_memory(problem);
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        char *end;
        errno = 0;
        const long long id = strtoll(key, &end, 10);
        const double bias = json_number_value(value);
        if (!json_is_number(value))
            server_bad_form(problem, "logit_bias", "Input should be a valid number, for the token %.40s",
                            key);
        else if (end == key || *end || errno || id < 0 || id >= app->info.vocab_size)
            server_bad_value(
                problem, "logit_bias",
                "logit_bias contains the token %.40s, which is out of the vocabulary of %d tokens. "
                "(parameter=logit_bias, value=%.40s)",
                key, app->info.vocab_size, key);
        out->bias[n++] = (glia_logit_bias){(int32_t)id, (float)(bias < -100  ? -100
                                                                : bias > 100 ? 100
                                                                             : bias)};
    }
    out->s.logit_bias = out->bias;
    out->s.n_logit_bias = n;
}

/* A salt that is a path would be a mistake or an attack in servers that keep caches in files; vLLM's rule. */
static void read_salt(glia_sampling *s, const json_t *salt, server_problem *problem) {
    const char *text = json_string_value(salt);
    const size_t n = text ? json_string_length(salt) : 0;
    if (!salt) return;
    if (n < 1 || n > 128 || strlen(text) != n || strpbrk(text, "@/\\"))
        return server_bad_value(problem, NULL,
                                "cache_salt must have 1 to 128 characters, none of them '@', '/', '\\' or "
                                "zero. (parameter=cache_salt)");
    s->cache_salt = text;
}

static void read_priority(glia_sampling *s, const server_app *app, const server_params *p,
                          server_problem *problem) {
    s->priority = p->integer[P_PRIORITY];
    if (s->priority && app->options->policy != SERVER_PRIORITY)
        server_bad_value(problem, "priority",
                         "priority must be 0 unless the server runs with --scheduling-policy priority. "
                         "(parameter=priority, value=%lld)",
                         (long long)s->priority);
}

void server_schedule_read(glia_sampling *s, const server_app *app, const server_params *p,
                          server_problem *problem) {
    read_salt(s, p->at[P_CACHE_SALT], problem);
    read_priority(s, app, p, problem);
}

void server_sampling_read(server_sampling *out, const server_app *app, const server_params *p, unsigned kind,
                          server_problem *problem) {
    *out = (server_sampling){.s = app->defaults};
    out->s.raw_text = true; /* the network thread parses */
    read_stop(out, p->at[P_STOP], problem);
    out->s.n_stop_token_ids =
        read_ids(&out->stop_ids, app, p->at[P_STOP_TOKEN_IDS], "stop_token_ids", problem);
    out->s.stop_token_ids = out->stop_ids;
    read_allowed_ids(out, app, p->at[P_ALLOWED_TOKEN_IDS], problem);
    read_bad_words(out, app, p->at[P_BAD_WORDS], problem);
    read_bias(out, app, p->at[P_LOGIT_BIAS], problem);
    if (problem->status) return;
    const char *model = json_string_value(p->at[P_MODEL]);
    if (model && strcmp(model, app->options->name) != 0) out->s.adapter = model;
    read_numbers(out, app, p);
    read_length(&out->s, app, p, kind, problem);
    read_logprobs(&out->s, p, problem);
    read_logprob_ids(out, app, p, problem);
    server_schedule_read(&out->s, app, p, problem);
}

void server_sampling_free(server_sampling *s) {
    for (size_t i = 0; i < s->n_bad_words; i++) glia_free((void *)(uintptr_t)s->bad_words[i].ids);
    free(s->bad_words);
    free(s->allowed_ids);
    free(s->stop_ids);
    free(s->stop);
    free(s->bias);
    free(s->logprob_ids);
    *s = (server_sampling){0};
}
