/* speculation.c - see speculation.h. */
#include "cli/speculation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* ---- flags -------------------------------------------------------------------- */

/* The method that --spec-type names, as the key "method" spells it. */
static const char *method_of(const char *type) {
    static const char *const rows[][2] = {
        {"draft-simple", "draft_model"}, {"draft-eagle3", "eagle3"}, {"draft-dflash", "dflash"},
        {"draft-dspark", "dspark"},      {"ngram-simple", "ngram"},  {"ngram-cache", "ngram"},
        {"ngram-map-k", "ngram"},        {"ngram-map-k4v", "ngram"}, {"ngram-mod", "ngram"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(type, rows[i][0]) == 0) return rows[i][1];
    return type;
}

static void set_integer(json_t *o, const cli_args *args, cli_flag_id id, const char *key) {
    if (args->given[id]) json_object_set_new(o, key, json_integer((json_int_t)args->integer[id]));
}

const char *cli_speculative_config(const cli_args *args) {
    static char *text;
    static const cli_flag_id others[] = {F_MODEL_DRAFT, F_DRAFT_MAX, F_SPEC_TYPE, F_SPEC_NGRAM_SIZE,
                                         F_DRAFT_TP};
    const char *given = args->text[F_SPECULATIVE_CONFIG];
    bool more = false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) more |= args->given[others[i]];
    if (args->given[F_SPEC_TYPE] && strcmp(args->text[F_SPEC_TYPE], "none") == 0)
        return "{\"method\": \"none\"}";
    json_t *o = more && given ? json_loads(given, 0, NULL) : json_object();
    if (!more || !json_is_object(o)) { /* the library says what is wrong with the text */
        json_decref(o);
        return given;
    }
    if (args->given[F_MODEL_DRAFT]) json_object_set_new(o, "model", json_string(args->text[F_MODEL_DRAFT]));
    if (args->given[F_SPEC_TYPE])
        json_object_set_new(o, "method", json_string(method_of(args->text[F_SPEC_TYPE])));
    set_integer(o, args, F_DRAFT_MAX, "num_speculative_tokens");
    set_integer(o, args, F_DRAFT_TP, "draft_tensor_parallel_size");
    set_integer(o, args, F_SPEC_NGRAM_SIZE, "prompt_lookup_min");
    set_integer(o, args, F_SPEC_NGRAM_SIZE, "prompt_lookup_max");
    free(text);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

/* ---- counters ----------------------------------------------------------------- */

void cli_add_speculation(json_t *object, const glia_engine_stats *stats) {
    const glia_draft_counts *c = &stats->speculation;
    if (!stats->draft_method) return;
    json_t *at = json_array();
    for (int i = 0; i < stats->draft_depth && i < GLIA_DRAFT_POSITIONS; i++)
        json_array_append_new(at, json_integer((json_int_t)c->accepted_at[i]));
    json_object_set_new(object, "speculation",
                        json_pack("{s:s, s:I, s:I, s:I, s:o}", "method", stats->draft_method,
                                  "spec_decode_num_drafts", (json_int_t)c->drafts,
                                  "spec_decode_num_draft_tokens", (json_int_t)c->draft_tokens,
                                  "spec_decode_num_accepted_tokens", (json_int_t)c->accepted_tokens,
                                  "spec_decode_num_accepted_tokens_per_pos", at));
}

void cli_tell_speculation(FILE *to, const glia_draft_counts *before, const glia_engine_stats *after) {
    const glia_draft_counts *c = &after->speculation;
    const uint64_t drafts = c->drafts - before->drafts, tokens = c->draft_tokens - before->draft_tokens;
    const uint64_t accepted = c->accepted_tokens - before->accepted_tokens;
    if (!after->draft_method) return;
    fprintf(to, "%s: %llu of %llu draft tokens accepted in %llu drafts", after->draft_method,
            (unsigned long long)accepted, (unsigned long long)tokens, (unsigned long long)drafts);
    for (int i = 0; i < after->draft_depth && i < GLIA_DRAFT_POSITIONS; i++)
        if (c->accepted_at[i] > before->accepted_at[i])
            fprintf(to, "%s%llu", i ? ", " : ", by position ",
                    (unsigned long long)(c->accepted_at[i] - before->accepted_at[i]));
}

/* ---- the trace ------------------------------------------------------------------ */

glia_status cli_trace_open(cli_trace *t, const char *path, size_t n, glia_err *err) {
    *t = (cli_trace){.path = path, .n = n, .request = calloc(n, sizeof *t->request)};
    if (!t->request) return glia_fail_nomem(err, n * sizeof *t->request, "the trace");
    if (!path) return GLIA_OK;
    t->file = fopen(path, "w");
    return t->file ? GLIA_OK : glia_fail(err, GLIA_ERR_IO, "%s: %s", path, strerror(errno));
}

static size_t prompt_of(const cli_trace *t, uint64_t request) {
    size_t i = 0;
    while (i < t->n && t->request[i] != request) i++;
    return i;
}

static json_t *proposal_json(const cli_trace *t, const glia_draft_proposal *p) {
    json_t *nodes = json_array();
    for (int i = 0; i < p->n; i++)
        json_array_append_new(
            nodes, json_pack("[i, i, f]", p->tokens[i], (int)p->parents[i], (double)p->logprobs[i]));
    return json_pack("{s:I, s:o, s:i}", "prompt", (json_int_t)prompt_of(t, p->request), "nodes", nodes,
                     "accepted", p->accepted);
}

void cli_trace_round(void *user, uint64_t round, const glia_draft_proposal *proposals, size_t n) {
    const cli_trace *t = user;
    json_t *sequences = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(sequences, proposal_json(t, &proposals[i]));
    json_t *line = json_pack("{s:I, s:o}", "round", (json_int_t)round, "sequences", sequences);
    json_dumpf(line, t->file, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', t->file);
    json_decref(line);
}

glia_status cli_trace_close(cli_trace *t, glia_err *err) {
    const bool bad = t->file && (ferror(t->file) | fclose(t->file)) != 0;
    t->file = NULL;
    free(t->request);
    t->request = NULL;
    return bad ? glia_fail(err, GLIA_ERR_IO, "%s: the trace could not be written", t->path) : GLIA_OK;
}
