/* generate.c - `glia generate`: token ids in, token ids out, a batch at a time. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/speculation.h"

enum { MAX_TOKENS = 128, BATCH_MAX = 64 };

/* Read --ids, or tokenize --prompt. Returns the exit status. */
static int read_prompts(cli_prompts *p, const cli_args *args, const glia_options *o) {
    glia_err err = {0};
    if (args->given[F_IDS] == args->given[F_PROMPT])
        return cli_usage("generate needs either --ids FILE or --prompt TEXT");
    if (args->given[F_IDS]) return cli_read_ids(p, args->text[F_IDS], &err) ? cli_failed(&err) : EXIT_OK;
    return cli_tokenize_prompt(p, args, o, args->text[F_PROMPT], strlen(args->text[F_PROMPT]));
}

static void on_event(void *user, const glia_event *e) { cli_answer_add(user, e); }

static glia_status decode(const glia_model *m, const cli_answer *a, size_t n, char **text, size_t *len) {
    return glia_detokenize(m, (const int32_t *)(const void *)a->ids.data, n, true, text, len, NULL);
}

/* Where the stop string that ended the text begins: the first one that the last token completes. */
static const char *stop_in(const glia_model *m, const cli_answer *a, const char *text, size_t len) {
    const size_t n = strlen(a->stop_reason);
    char *before = NULL;
    size_t n_before = 0, same = 0;
    if (decode(m, a, cli_answer_tokens(a) - 1, &before, &n_before)) return NULL;
    while (same < len && same < n_before && text[same] == before[same]) same++;
    glia_free(before);
    const size_t from = same < n ? 0 : same - n + 1;
    return memmem(text + from, len - from, a->stop_reason, n);
}

/* Decode the ids without special tokens. The text ends before the stop string that ended them, or behind it
 * if the user wants it. */
static json_t *text_json(const glia_model *m, const cli_answer *a, const glia_sampling *s) {
    char *text = NULL;
    size_t len = 0;
    if (decode(m, a, cli_answer_tokens(a), &text, &len)) return json_null();
    const char *stop = a->stop_reason ? stop_in(m, a, text, len) : NULL;
    if (stop) len = (size_t)(stop - text) + (s->include_stop_str_in_output ? strlen(a->stop_reason) : 0);
    json_t *string = json_stringn(text, len);
    glia_free(text);
    return string;
}

static json_t *outputs_json(const glia_model *m, const cli_answer *answers, size_t n,
                            const glia_sampling *s) {
    glia_model_info info;
    glia_model_get_info(m, &info);
    json_t *outputs = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *one = cli_answer_json(&answers[i]);
        if (info.has_tokenizer) json_object_set_new(one, "text", text_json(m, &answers[i], s));
        json_array_append_new(outputs, one);
    }
    return outputs;
}

/* Print one JSON object with everything, or one line of ids per answer. */
static void print_answers(const glia_model *m, const glia_engine *e, const cli_answer *answers, size_t n,
                          const glia_sampling *s, bool json) {
    if (!json) {
        for (size_t i = 0; i < n; i++) {
            json_t *one = cli_answer_json(&answers[i]);
            cli_print_json(json_incref(json_object_get(one, "ids")));
            json_decref(one);
        }
        return;
    }
    glia_engine_stats stats;
    glia_engine_get_stats(e, &stats);
    json_t *ttft = json_array(), *rate = json_array();
    double last = answers[0].submitted;
    for (size_t i = 0; i < n; i++) {
        const cli_answer *a = &answers[i];
        json_array_append_new(ttft, a->ids.len ? cli_json_real(a->first - a->submitted) : json_null());
        json_array_append_new(rate, cli_json_real(cli_answer_rate(a)));
        if (a->last > last) last = a->last;
    }
    json_t *root =
        json_pack("{s:o, s:{s:I, s:I, s:I, s:I}, s:{s:o, s:o, s:f}}", "outputs",
                  outputs_json(m, answers, n, s), "usage", "prompt_tokens", (json_int_t)stats.prompt_tokens,
                  "cached_tokens", (json_int_t)stats.cached_tokens, "output_tokens",
                  (json_int_t)stats.output_tokens, "steps", (json_int_t)stats.steps, "timing", "ttft_s", ttft,
                  "tokens_per_s", rate, "total_s", last - answers[0].submitted);
    cli_add_speculation(root, &stats);
    if (s->do_sample) json_object_set_new(root, "seed", json_integer((json_int_t)s->seed));
    cli_print_json(root);
}

/* names: of cli_adapters(). `request` [p->n] gets the ids of the requests. */
static glia_status generate(glia_engine *e, const cli_args *args, const char *names, const cli_prompts *p,
                            const glia_sampling *s, cli_answer *answers, uint64_t *request, glia_err *err) {
    glia_status status = GLIA_OK;
    for (size_t i = 0; i < p->n && !status; i++) {
        glia_sampling own = *s;
        own.adapter = cli_adapter(names, args, i);
        cli_answer_begin(&answers[i], s->logprobs);
        status = glia_engine_submit(e, p->prompt[i].ids, p->prompt[i].n, &own, on_event, &answers[i],
                                    &request[i], err);
    }
    if (!status) status = cli_finish_all(e, err);
    for (size_t i = 0; i < p->n && !status; i++)
        if (answers[i].oom) status = glia_fail_nomem(err, answers[i].ids.len, "an answer");
    return status;
}

/* Answer the prompts with a loaded model. Returns the exit status. */
static int answer_all(const cli_args *args, const glia_model *m, glia_engine_options *o, const cli_prompts *p,
                      int max_tokens) {
    glia_err err = {0}, why;
    cli_trace trace;
    glia_engine *e = NULL;
    glia_sampling s;
    char *names;
    const int named = cli_adapters(&names, args, p->n);
    if (named) return named;
    cli_sampling(args, m, &s);
    s.max_tokens = max_tokens;
    glia_constraint *constraint;
    const int refused = cli_constraint(&constraint, args, m);
    if (refused) return refused;
    s.constraint = constraint;
    cli_answer *answers = calloc(p->n, sizeof *answers);
    glia_status status = cli_trace_open(&trace, args->text[F_TRACE_DRAFTS], p->n, &err);
    if (trace.file) {
        o->trace_drafts = cli_trace_round;
        o->trace_user = &trace;
    }
    if (!status && !answers) status = glia_fail_nomem(&err, p->n * sizeof *answers, "answers");
    if (!status) status = glia_engine_create(&e, m, o, &err);
    if (!status && args->given[F_VERBOSE]) cli_tell_model(m, e, &s);
    if (!status) status = generate(e, args, names, p, &s, answers, trace.request, &err);
    if (cli_trace_close(&trace, &why) && !status) {
        status = why.status;
        err = why;
    }
    if (!status) print_answers(m, e, answers, p->n, &s, args->given[F_JSON]);
    glia_engine_free(e);
    glia_constraint_free(constraint);
    for (size_t i = 0; answers && i < p->n; i++) cli_answer_free(&answers[i]);
    free(answers);
    free(names);
    return status ? cli_failed(&err) : EXIT_OK;
}

int cli_generate(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_model *m = NULL;
    cli_prompts p = {0};
    const int max_tokens = args->given[F_MAX_TOKENS] ? (int)args->integer[F_MAX_TOKENS] : MAX_TOKENS;
    if (args->given[F_LOGPROBS] && !args->given[F_JSON]) return cli_usage("--logprobs needs --json");
    cli_options(args, &o, &engine);
    if (cli_follows()) return cli_follow(args, &o);
    int status = read_prompts(&p, args, &o);
    engine.batch_size_needed = p.n < BATCH_MAX ? (int)p.n : BATCH_MAX;
    if (p.longest < INT32_MAX - (size_t)max_tokens)
        engine.sequence_length_needed = (int)p.longest + max_tokens;
    if (!status) status = cli_load(&m, args, &o, false);
    if (!status) status = answer_all(args, m, &engine, &p, max_tokens);
    glia_model_free(m);
    cli_prompts_free(&p);
    return status;
}
