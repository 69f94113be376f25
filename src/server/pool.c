/* pool.c - embeddings, reranking and scores: requests whose sequences give a vector or a number. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/app.h"

/* One sequence: a text, or a query and a document. */
typedef struct {
    server_listener listener; /* first */
    server_pool *of;
    uint64_t id; /* of the engine's request; 0: not submitted */
    bool ended;
    int32_t *ids; /* [n] from the library */
    size_t n;
    int32_t no_yes[2];
    const char *document; /* [document_len] of the body */
    size_t document_len;
    float *embedding; /* [hidden] */
    float score;
} item;

struct server_pool {
    server_app *app;
    server_exchange *x; /* NULL: nobody waits for the answer any more */
    server_pool *next, **before;
    unsigned kind;
    glia_sampling schedule; /* only what server_schedule_read() reads */
    uint64_t client;
    json_t *body;        /* the documents and the name belong to it */
    const char *adapter; /* NULL: the model alone */
    item *items;
    size_t n, left, cached; /* cached: prompt tokens */
    bool base64, normalise, failed;
    int dimensions;
    size_t top_n; /* 0: all */
};

static void no_memory(server_problem *problem) {
    server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory for the request");
}

static void free_pool(server_pool *p) {
    if (p->before) *p->before = p->next;
    if (p->before && p->next) p->next->before = p->before;
    for (size_t i = 0; p->items && i < p->n; i++) {
        glia_free(p->items[i].ids);
        free(p->items[i].embedding);
    }
    json_decref(p->body);
    free(p->items);
    free(p);
}

static void abandon(server_pool *p) {
    p->x = NULL;
    for (size_t i = 0; i < p->n; i++)
        if (p->items[i].id && !p->items[i].ended) glia_request_abort(p->app->engine, p->items[i].id);
}

static void on_gone(void *user) { abandon(user); }

void server_pool_abort_all(server_app *app) {
    for (server_pool *p = app->pools; p; p = p->next)
        for (size_t i = 0; i < p->n; i++)
            if (!p->items[i].ended) glia_request_abort(app->engine, p->items[i].id);
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static void add_base64(server_text *out, const unsigned char *bytes, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        const unsigned left = n - i > 3 ? 3 : (unsigned)(n - i);
        const unsigned word = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                              (left > 2 ? (unsigned)bytes[i + 2] : 0);
        const char four[4] = {digits[word >> 18], digits[word >> 12 & 63],
                              left > 1 ? digits[word >> 6 & 63] : '=', left > 2 ? digits[word & 63] : '='};
        server_add(out, four, sizeof four);
    }
}

/* Little-endian float32 in base64, or numbers. */
static void add_embedding(server_text *out, const server_pool *p, item *i) {
    float *x = i->embedding;
    glia_embedding(x, x, p->dimensions, p->normalise);
    server_puts(out, p->base64 ? "\"" : "[");
    if (p->base64) add_base64(out, (const unsigned char *)x, (size_t)p->dimensions * sizeof *x);
    for (int k = 0; k < p->dimensions && !p->base64; k++)
        server_printf(out, k ? ",%.9g" : "%.9g", (double)x[k]);
    server_puts(out, p->base64 ? "\"" : "]");
}

static int by_score(const void *a, const void *b) {
    const item *i = *(const item *const *)a, *k = *(const item *const *)b;
    if (i->score != k->score) return i->score > k->score ? -1 : 1;
    return i < k ? -1 : 1;
}

static void add_ranking(server_text *out, const server_pool *p) {
    const item **order = malloc((p->n + 1) * sizeof *order);
    out->oom |= !order;
    for (size_t i = 0; order && i < p->n; i++) order[i] = &p->items[i];
    if (order) qsort(order, p->n, sizeof *order, by_score);
    server_puts(out, "\"results\":[");
    for (size_t i = 0; order && i < p->n && (!p->top_n || i < p->top_n); i++) {
        server_printf(out, "%s{\"index\":%zu,\"document\":{\"text\":", i ? "," : "",
                      (size_t)(order[i] - p->items));
        server_json(out, order[i]->document, order[i]->document_len);
        server_printf(out, "},\"relevance_score\":%.9g}", (double)order[i]->score);
    }
    free(order);
}

static void add_data(server_text *out, const server_pool *p) {
    server_puts(out, "\"data\":[");
    for (size_t i = 0; i < p->n; i++) {
        server_printf(out, "%s{\"index\":%zu,\"object\":", i ? "," : "", i);
        if (p->kind == FOR_EMBED) {
            server_puts(out, "\"embedding\",\"embedding\":");
            add_embedding(out, p, &p->items[i]);
            server_puts(out, "}");
        } else {
            server_printf(out, "\"score\",\"score\":%.9g}", (double)p->items[i].score);
        }
    }
}

static const char *prefix_of(unsigned kind) {
    return kind == FOR_EMBED ? "embd" : kind == FOR_RERANK ? "rerank" : "score";
}

static void reply(server_pool *p) {
    server_text body = {0};
    uint64_t random[2] = {0, 0};
    size_t tokens = 0;
    server_problem problem = {0};
    for (size_t i = 0; i < p->n; i++) tokens += p->items[i].n;
    while (getrandom(random, sizeof random, 0) < 0 && errno == EINTR) {
    }
    server_printf(&body, "{\"id\":\"%s-%016llx%016llx\",", prefix_of(p->kind), (unsigned long long)random[0],
                  (unsigned long long)random[1]);
    if (p->kind != FOR_RERANK)
        server_printf(&body, "\"object\":\"list\",\"created\":%lld,", (long long)time(NULL));
    server_puts(&body, "\"model\":");
    server_json_puts(&body, p->adapter ? p->adapter : p->app->options->name);
    server_printf(&body, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu,\"completion_tokens\":0},",
                  tokens, tokens);
    if (p->kind == FOR_RERANK)
        add_ranking(&body, p);
    else
        add_data(&body, p);
    server_puts(&body, "]}");
    server_count_tokens(p->x, tokens, 0, p->cached);
    if (!body.oom && !p->failed) {
        server_reply(p->x, 200, "application/json", body.data, body.len);
    } else {
        if (p->failed && p->app->cut)
            server_refuse(&problem, 503, "ServiceUnavailableError", NULL, "the server is shutting down");
        else if (p->failed)
            server_refuse(&problem, 500, "InternalServerError", NULL, "Internal server error");
        no_memory(&problem);
        server_reply_problem(p->x, &problem);
    }
    server_text_free(&body);
}

/* ---- events ---------------------------------------------------------------------------------------- */

static void on_event(server_listener *listener, const glia_event *e) {
    item *i = (item *)listener;
    server_pool *p = i->of;
    if (e->hidden) memcpy(i->embedding, e->hidden, (size_t)e->n_hidden * sizeof *e->hidden);
    if (e->token >= 0 && e->n_top == 2) i->score = glia_rerank_score(e->top_logprobs);
    if (!e->finish) return;
    p->failed |= e->finish == GLIA_FINISH_ABORT;
    i->ended = true;
    p->app->n_sequences--;
    p->app->metrics.waiting--;
    p->app->metrics.prompt_tokens += i->n;
    p->app->metrics.cached_tokens += (size_t)e->cached_tokens;
    p->cached += (size_t)e->cached_tokens;
    p->app->metrics.ended[e->finish]++;
    if (--p->left) return;
    if (p->x) reply(p);
    free_pool(p);
}

/* ---- the request ------------------------------------------------------------------------------------- */

static item *add_item(server_pool *p, server_problem *problem) {
    item *more = realloc(p->items, (p->n + 1) * sizeof *more);
    if (!more) return no_memory(problem), NULL;
    p->items = more;
    more[p->n] = (item){0};
    return &more[p->n++];
}

static void bad_input(server_problem *problem) {
    server_bad_form(problem, "input",
                    "Input should be a string, a list of strings, a list of token ids or a list "
                    "of such lists");
}

static void copy_ids(const server_app *app, item *to, const json_t *list, server_problem *problem) {
    const size_t n = json_array_size(list);
    to->ids = malloc((n + 1) * sizeof *to->ids);
    if (!to->ids) return no_memory(problem);
    to->n = n;
    for (size_t i = 0; i < n; i++) {
        json_int_t id;
        if (!server_whole(json_array_get(list, i), &id))
            bad_input(problem);
        else if (id < 0 || id >= app->info.vocab_size)
            server_bad_value(problem, NULL, "Token id %lld is out of vocabulary", (long long)id);
        to->ids[i] = (int32_t)id;
    }
}

/* How the texts of "input" become tokens. */
typedef struct {
    const char *instruct; /* NULL: texts are documents */
    bool special;         /* add the tokens of the post-processor */
    size_t most;          /* tokens of a text; 0: no limit */
} framing;

static void cut(item *i, size_t most) {
    if (most && i->n > most) i->n = most;
}

/* One text of "input". */
static void add_text(server_pool *p, const server_app *app, const json_t *text, const framing *f,
                     server_problem *problem) {
    item *to = add_item(p, problem);
    glia_err err = {0};
    char *query = NULL;
    size_t len = json_string_length(text);
    if (!to) return;
    if (json_is_array(text)) return copy_ids(app, to, text, problem), cut(to, f->most);
    if (!json_is_string(text)) return bad_input(problem);
    const char *said = json_string_value(text);
    glia_status status = GLIA_OK;
    if (f->instruct) status = glia_embed_query(f->instruct, said, len, &query, &len, &err);
    if (query) said = query;
    if (!status && f->special)
        status = glia_embed_prompt(app->model, said, len, f->most, &to->ids, &to->n, NULL, &err);
    else if (!status)
        status = glia_tokenize(app->model, said, len, false, &to->ids, &to->n, &err);
    if (status) server_library_problem(problem, &err);
    cut(to, f->most);
    glia_free(query);
}

/* "messages" instead of "input": the embedding of a conversation, without the beginning of an answer. */
static void add_chat(server_pool *p, const server_app *app, const server_params *params, size_t most,
                     server_problem *problem) {
    server_params chat = *params;
    server_prompt prompt = {0};
    item *to = add_item(p, problem);
    if (!to) return;
    if (!chat.at[P_ADD_GENERATION_PROMPT]) chat.at[P_ADD_GENERATION_PROMPT] = json_false();
    server_chat_prompt(&prompt, app, &chat, problem);
    to->ids = prompt.ids;
    to->n = prompt.n;
    cut(to, most);
}

static void read_input(server_pool *p, const server_app *app, const server_params *params, size_t most,
                       server_problem *problem) {
    const json_t *input = params->at[P_INPUT], *first = json_array_get(input, 0);
    const framing f = {.instruct = json_string_value(params->at[P_INSTRUCT]),
                       .special = !params->at[P_ADD_SPECIAL_TOKENS] || params->integer[P_ADD_SPECIAL_TOKENS],
                       .most = most};
    const char *format = json_string_value(params->at[P_ENCODING_FORMAT]);
    const bool list = json_is_string(first) || json_is_array(first);
    const int hidden = app->info.hidden_size;
    p->base64 = format && strcmp(format, "base64") == 0;
    if (format && !p->base64 && strcmp(format, "float") != 0)
        server_bad_form(problem, "encoding_format", "Input should be 'float' or 'base64'");
    const server_param normalize = params->at[P_NORMALIZE] ? P_NORMALIZE : P_USE_ACTIVATION;
    p->normalise = !params->at[normalize] || params->integer[normalize];
    p->dimensions = params->at[P_DIMENSIONS] ? (int)params->integer[P_DIMENSIONS] : hidden;
    if (p->dimensions > hidden)
        server_bad_value(problem, "dimensions",
                         "dimensions must be at most %d, the size of this model's embeddings, got %d. "
                         "(parameter=dimensions, value=%d)",
                         hidden, p->dimensions, p->dimensions);
    if (!input && params->at[P_MESSAGES]) return add_chat(p, app, params, most, problem);
    if (!input) return server_bad_form(problem, "input", "Field required");
    if (json_is_array(input) && !json_array_size(input))
        server_bad_value(problem, "input", "input must not be an empty list. (parameter=input)");
    for (size_t i = 0; i < (list ? json_array_size(input) : 1) && !problem->status; i++)
        add_text(p, app, list ? json_array_get(input, i) : input, &f, problem);
}

/* A string, or {"text": ...} of a document. */
static const json_t *text_of(const json_t *value) {
    const json_t *text = json_is_object(value) ? json_object_get(value, "text") : value;
    return json_is_string(text) ? text : NULL;
}

/* What all pairs of a request have in common. */
typedef struct {
    const server_app *app;
    const char *instruct;
    size_t most;
    const char *fields[2]; /* names of query and document in the body */
} pairing;

static void add_pair(server_pool *p, const pairing *all, const json_t *query, const json_t *document,
                     server_problem *problem) {
    item *to = add_item(p, problem);
    glia_err err = {0};
    query = text_of(query);
    document = text_of(document);
    if (!to) return;
    if (!query || !document)
        return server_bad_form(problem, all->fields[query != NULL], "Input should be a valid string");
    to->document = json_string_value(document);
    to->document_len = json_string_length(document);
    const glia_rerank_pair pair = {.instruct = all->instruct,
                                   .query = json_string_value(query),
                                   .query_len = json_string_length(query),
                                   .document = to->document,
                                   .document_len = to->document_len};
    if (glia_rerank_prompt(all->app->model, &pair, all->most, &to->ids, &to->n, to->no_yes, &err))
        server_library_problem(problem, &err);
}

/* What a score asks, under Glia's name or vLLM's; NULL: the default. */
static const char *instruct_of(const server_params *params) {
    return json_string_value(params->at[params->at[P_INSTRUCT] ? P_INSTRUCT : P_INSTRUCTION]);
}

static void read_documents(server_pool *p, const server_app *app, const server_params *params, size_t most,
                           server_problem *problem) {
    const json_t *list = params->at[P_SCORED];
    const pairing all = {app, instruct_of(params), most, {"query", "documents"}};
    if (!list) return server_bad_form(problem, "documents", "Field required");
    const bool many = json_is_array(list);
    if (many && !json_array_size(list)) server_bad_value(problem, "documents", "documents must not be empty");
    p->top_n = (size_t)params->integer[P_TOP_N];
    for (size_t i = 0; i < (many ? json_array_size(list) : 1) && !problem->status; i++)
        add_pair(p, &all, params->at[P_QUERY], many ? json_array_get(list, i) : list, problem);
}

/* The two sides of /score under any of their names, 1:1, 1:N or N:N. */
static void read_sides(server_pool *p, const server_app *app, const server_params *params, size_t most,
                       server_problem *problem) {
    pairing all = {app, instruct_of(params), most, {"text_1", "text_2"}};
    static const struct {
        server_param id;
        int side;
        const char *name;
    } names[] = {{P_TEXT_1, 0, "text_1"}, {P_QUERIES, 0, "queries"},  {P_DATA_1, 0, "data_1"},
                 {P_TEXT_2, 1, "text_2"}, {P_SCORED, 1, "documents"}, {P_ITEMS, 1, "items"},
                 {P_DATA_2, 1, "data_2"}};
    const json_t *side[2] = {NULL, NULL};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!params->at[names[i].id]) continue;
        side[names[i].side] = params->at[names[i].id];
        all.fields[names[i].side] = names[i].name;
    }
    const json_t *a = side[0], *b = side[1];
    if (!a) return server_bad_form(problem, "text_1", "Field required");
    if (!b) return server_bad_form(problem, "text_2", "Field required");
    const size_t na = json_is_array(a) ? json_array_size(a) : 1,
                 nb = json_is_array(b) ? json_array_size(b) : 1;
    if (!na || !nb || (na != nb && na != 1))
        return server_bad_value(problem, NULL, "Input lengths must be either 1:1, 1:N or N:N, got %zu:%zu",
                                na, nb);
    for (size_t i = 0; i < nb && !problem->status; i++)
        add_pair(p, &all, json_is_array(a) ? json_array_get(a, na == 1 ? 0 : i) : a,
                 json_is_array(b) ? json_array_get(b, i) : b, problem);
}

static void check_lengths(const server_pool *p, const server_app *app, server_problem *problem) {
    for (size_t i = 0; i < p->n && !problem->status; i++) {
        const size_t n = p->items[i].n;
        if (n == 0) server_bad_value(problem, "input", "a text has no tokens. (parameter=input)");
        if (n >= (size_t)app->sequence_length)
            server_bad_value(
                problem, "input_tokens",
                "This model's maximum context length is %d tokens. However, your request has %zu input "
                "tokens. Please reduce the length of the input. (parameter=input_tokens, value=%zu)",
                app->sequence_length, n, n);
    }
}

static void submit(server_pool *p, server_problem *problem) {
    const bool embed = p->kind == FOR_EMBED;
    for (size_t i = 0; i < p->n && !problem->status; i++) {
        item *one = &p->items[i];
        glia_err err = {0};
        const glia_sampling s = {
            .top_p = 1,
            .typical_p = 1,
            .repetition_penalty = 1,
            .max_tokens = 1,
            .client = p->client,
            .priority = p->schedule.priority,
            .cache_salt = p->schedule.cache_salt,
            .logprobs = embed ? -1 : 0,
            .embed = embed,
            .adapter = p->adapter,
            .logprob_token_ids = embed ? NULL : one->no_yes,
            .n_logprob_token_ids = embed ? 0 : 2,
        };
        one->of = p;
        one->listener = (server_listener){on_event, p->app};
        one->embedding = embed ? malloc((size_t)p->app->info.hidden_size * sizeof(float)) : NULL;
        if (embed && !one->embedding) {
            no_memory(problem);
        } else if (glia_engine_submit(p->app->engine, one->ids, one->n, &s, server_on_engine_event, one,
                                      &one->id, &err)) {
            server_library_problem(problem, &err);
        } else {
            p->left++;
            p->app->n_sequences++;
            p->app->metrics.waiting++;
        }
    }
}

/* truncate_prompt_tokens: -1 is all that a sequence has room for. */
static size_t most_of(const server_app *app, const server_params *params, server_problem *problem) {
    const json_int_t n = params->integer[P_TRUNCATE];
    if (!params->at[P_TRUNCATE]) return 0;
    if (n > app->sequence_length)
        server_bad_value(problem, "truncate_prompt_tokens",
                         "truncate_prompt_tokens value is %lld, greater than max_model_len %d. "
                         "(parameter=truncate_prompt_tokens, value=%lld)",
                         (long long)n, app->sequence_length, (long long)n);
    return n < 1 || n >= app->sequence_length ? (size_t)app->sequence_length - 1 : (size_t)n;
}

static void *prepare(const server_app *app, const server_params *params, unsigned kind,
                     server_problem *problem) {
    server_pool *p = calloc(1, sizeof *p);
    if (!p) return no_memory(problem), NULL;
    *p = (server_pool){.kind = kind, .body = json_incref(params->body)};
    const char *model = json_string_value(params->at[P_MODEL]);
    if (model && strcmp(model, app->options->name) != 0) p->adapter = model;
    const size_t most = most_of(app, params, problem);
    server_schedule_read(&p->schedule, app, params, problem);
    if (!problem->status && kind == FOR_EMBED) read_input(p, app, params, most, problem);
    if (!problem->status && kind == FOR_RERANK) read_documents(p, app, params, most, problem);
    if (!problem->status && kind == FOR_SCORE) read_sides(p, app, params, most, problem);
    if (!problem->status) check_lengths(p, app, problem);
    return p;
}

static void begin(server_app *app, server_exchange *x, void *prepared, server_problem *problem) {
    server_pool *p = prepared;
    p->app = app;
    p->x = x;
    p->client = server_client(app, x);
    server_check_queue(app, app->n_sequences, p->n, problem);
    if (problem->status) return free_pool(p);
    p->before = &app->pools;
    p->next = app->pools;
    if (p->next) p->next->before = &p->next;
    app->pools = p;
    submit(p, problem);
    if (!problem->status) return server_when_gone(x, on_gone, p);
    abandon(p);
    if (p->left == 0) free_pool(p);
}

static void drop(void *prepared) { free_pool(prepared); }

const server_post server_post_pool = {prepare, begin, drop};
