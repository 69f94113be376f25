/* embed.c - `glia embed` and `glia rerank`: texts in, embeddings or scores out, a line at a time. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/lines.h"

enum { BATCH = 16 }; /* sequences at once without --batch-size */

typedef struct {
    const glia_model *model;
    glia_engine *engine;
    const char *instruct; /* NULL: none */
    int dimensions;       /* 0: all */
    bool normalise;
    long long top_n; /* 0: all */
    glia_model_info info;
    int sequence_length;
} job;

/* One text: what is asked, and what came. */
typedef struct {
    int32_t *ids;
    size_t n;
    int32_t no_yes[2];
    float *embedding; /* [hidden] */
    float score;
    bool done;
} item;

static void on_embedding(void *user, const glia_event *e) {
    item *i = user;
    if (e->hidden) memcpy(i->embedding, e->hidden, (size_t)e->n_hidden * sizeof *e->hidden);
    if (e->hidden) i->done = true;
}

static void on_score(void *user, const glia_event *e) {
    item *i = user;
    if (e->token < 0) return;
    i->score = glia_rerank_score(e->top_logprobs);
    i->done = true;
}

/* Submit all items and take steps until they have ended. */
static glia_status compute(const job *j, item *items, size_t n, bool embed, glia_err *err) {
    glia_status status = GLIA_OK;
    for (size_t i = 0; i < n && !status; i++) {
        const glia_sampling s = {
            .temperature = 0,
            .top_p = 1,
            .typical_p = 1,
            .repetition_penalty = 1,
            .max_tokens = 1,
            .logprobs = embed ? -1 : 0,
            .embed = embed,
            .logprob_token_ids = embed ? NULL : items[i].no_yes,
            .n_logprob_token_ids = embed ? 0 : 2,
        };
        if (embed) items[i].embedding = malloc((size_t)j->info.hidden_size * sizeof(float));
        if (embed && !items[i].embedding)
            status = glia_fail_nomem(err, (size_t)j->info.hidden_size * sizeof(float), "an embedding");
        if (!status)
            status = glia_engine_submit(j->engine, items[i].ids, items[i].n, &s,
                                        embed ? on_embedding : on_score, &items[i], NULL, err);
    }
    glia_err why = {0};
    const glia_status steps = cli_finish_all(j->engine, &why); /* also what was submitted before a failure */
    if (!status && steps) status = glia_fail(err, steps, "%s", why.msg);
    return status;
}

static void free_items(item *items, size_t n) {
    for (size_t i = 0; items && i < n; i++) {
        glia_free(items[i].ids);
        free(items[i].embedding);
    }
    free(items);
}

/* ---- embed -------------------------------------------------------------------------------------- */

static glia_status read_text(const job *j, item *to, const json_t *text, const char *instruct,
                             glia_err *err) {
    char *query = NULL;
    size_t len = json_string_length(text);
    glia_status status = GLIA_OK;
    if (instruct) status = glia_embed_query(instruct, json_string_value(text), len, &query, &len, err);
    if (!status)
        status = glia_embed_prompt(j->model, query ? query : json_string_value(text), len, 0, &to->ids,
                                   &to->n, NULL, err);
    glia_free(query);
    return status;
}

/* A string, or an array of ids. */
static glia_status read_item(const job *j, item *to, const json_t *in, const char *instruct, glia_err *err) {
    if (json_is_string(in)) return read_text(j, to, in, instruct, err);
    if (json_is_array(in)) return cli_ids_of(in, &to->ids, &to->n, err);
    return glia_fail(err, GLIA_ERR_FORMAT, "expected a string, ids, or a list of these");
}

static bool is_list(const json_t *in) {
    const json_t *first = json_array_get(in, 0);
    return json_is_array(in) && !json_is_integer(first);
}

static void put_embedding(glia_buf *out, const job *j, item *i, int dimensions) {
    glia_embedding(i->embedding, i->embedding, dimensions, j->normalise);
    glia_buf_putc(out, '[');
    for (int k = 0; k < dimensions; k++) glia_buf_printf(out, k ? ", %.9g" : "%.9g", (double)i->embedding[k]);
    glia_buf_putc(out, ']');
}

static glia_status read_dimensions(const job *j, const json_t *in, int *dimensions, glia_err *err) {
    const json_t *given = json_object_get(in, "dimensions");
    const json_int_t n = given           ? json_integer_value(given)
                         : j->dimensions ? j->dimensions
                                         : j->info.hidden_size;
    *dimensions = (int)n;
    if (n >= 1 && n <= j->info.hidden_size) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT, "dimensions is 1 to %d, not %lld", j->info.hidden_size,
                     (long long)n);
}

static glia_status embed(void *user, const char *line, size_t len, glia_buf *out, glia_err *err) {
    const job *j = user;
    json_t *in = cli_line_json(line, len, err);
    if (!in) return GLIA_ERR_FORMAT;
    const json_t *input = json_is_object(in) ? json_object_get(in, "input") : in;
    const char *own = json_string_value(json_object_get(in, "instruct"));
    const bool list = is_list(input);
    const size_t n = list ? json_array_size(input) : 1;
    item *items = calloc(n + 1, sizeof *items);
    int dimensions = 0;
    glia_status status = items ? read_dimensions(j, in, &dimensions, err) : glia_fail_nomem(err, n, "texts");
    for (size_t i = 0; i < n && !status; i++)
        status =
            read_item(j, &items[i], list ? json_array_get(input, i) : input, own ? own : j->instruct, err);
    if (!status) status = compute(j, items, n, true, err);
    if (!status && list) glia_buf_putc(out, '[');
    for (size_t i = 0; i < n && !status; i++) {
        if (i) glia_buf_puts(out, ", ");
        put_embedding(out, j, &items[i], dimensions);
    }
    if (!status && list) glia_buf_putc(out, ']');
    free_items(items, n);
    json_decref(in);
    return status;
}

/* ---- rerank -------------------------------------------------------------------------------------- */

static glia_status read_pair(const job *j, item *to, const json_t *query, const json_t *document,
                             const char *instruct, glia_err *err) {
    if (!json_is_string(query) || !json_is_string(document))
        return glia_fail(err, GLIA_ERR_FORMAT,
                         "expected {\"query\": a string, \"documents\": a list of strings}");
    const glia_rerank_pair pair = {
        .instruct = instruct,
        .query = json_string_value(query),
        .query_len = json_string_length(query),
        .document = json_string_value(document),
        .document_len = json_string_length(document),
    };
    return glia_rerank_prompt(j->model, &pair, (size_t)j->sequence_length - 1, &to->ids, &to->n, to->no_yes,
                              err);
}

static int by_score(const void *a, const void *b, void *items) {
    const item *scored = items;
    const size_t i = *(const size_t *)a, k = *(const size_t *)b;
    if (scored[i].score != scored[k].score) return scored[i].score > scored[k].score ? -1 : 1;
    return i < k ? -1 : 1;
}

static glia_status put_scores(glia_buf *out, item *items, size_t n, long long top_n, glia_err *err) {
    size_t *order = malloc((n + 1) * sizeof *order), most = top_n && (size_t)top_n < n ? (size_t)top_n : n;
    if (!order) return glia_fail_nomem(err, n * sizeof *order, "scores");
    for (size_t i = 0; i < n; i++) order[i] = i;
    qsort_r(order, n, sizeof *order, by_score, items);
    glia_buf_puts(out, "{\"results\": [");
    for (size_t i = 0; i < most; i++)
        glia_buf_printf(out, "%s{\"index\": %zu, \"relevance_score\": %.9g}", i ? ", " : "", order[i],
                        (double)items[order[i]].score);
    glia_buf_puts(out, "]}");
    free(order);
    return GLIA_OK;
}

static glia_status rerank(void *user, const char *line, size_t len, glia_buf *out, glia_err *err) {
    const job *j = user;
    json_t *in = cli_line_json(line, len, err);
    if (!in) return GLIA_ERR_FORMAT;
    const json_t *documents = json_object_get(in, "documents"), *top = json_object_get(in, "top_n");
    const char *own = json_string_value(json_object_get(in, "instruct"));
    const size_t n = json_array_size(documents);
    item *items = calloc(n + 1, sizeof *items);
    glia_status status = items ? GLIA_OK : glia_fail_nomem(err, n, "documents");
    if (!status && !json_is_array(documents)) status = read_pair(j, items, NULL, NULL, NULL, err);
    if (!status && top && !(json_is_integer(top) && json_integer_value(top) >= 0))
        status = glia_fail(err, GLIA_ERR_FORMAT, "\"top_n\" is a number, 0 for all");
    for (size_t i = 0; i < n && !status; i++)
        status = read_pair(j, &items[i], json_object_get(in, "query"), json_array_get(documents, i),
                           own ? own : j->instruct, err);
    if (!status) status = compute(j, items, n, false, err);
    if (!status) status = put_scores(out, items, n, top ? json_integer_value(top) : j->top_n, err);
    free_items(items, n);
    json_decref(in);
    return status;
}

/* ---- the commands ---------------------------------------------------------------------------------- */

static int each_line(const cli_args *args, cli_line_fn *fn) {
    glia_options o;
    glia_engine_options engine;
    glia_engine_stats stats;
    glia_model *m = NULL;
    glia_err err = {0};
    job j = {.instruct = args->text[F_INSTRUCT],
             .dimensions = (int)args->integer[F_DIMENSIONS],
             .normalise = !args->given[F_NO_NORMALIZE],
             .top_n = args->integer[F_TOP_N]};
    cli_options(args, &o, &engine);
    engine.batch_size_needed = BATCH;
    if (cli_follows()) return cli_follow(args, &o);
    int status = cli_load(&m, args, &o, false);
    if (!status && glia_engine_create(&j.engine, m, &engine, &err)) status = cli_failed(&err);
    if (!status) {
        j.model = m;
        glia_model_get_info(m, &j.info);
        glia_engine_get_stats(j.engine, &stats);
        j.sequence_length = stats.sequence_length;
        status = cli_each_line(fn, &j);
    }
    glia_engine_free(j.engine);
    glia_model_free(m);
    return status;
}

int cli_embed(const cli_args *args) { return each_line(args, embed); }
int cli_rerank(const cli_args *args) { return each_line(args, rerank); }
