/* score.c - `glia score`: teacher-forced logits, to a file or as a perplexity. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "format/safetensors.h"

typedef struct {
    const cli_prompt *prompt;
    size_t vocab;
    double sum;                      /* sum of the log-probabilities of tokens 1, 2, ... given those before */
    glia_safetensors_writer *writer; /* NULL: no --out */
    glia_status status;              /* first failure of the writer */
    glia_err err;
} scores;

/* log softmax(logits)[token] in float64: x - max - log sum exp(x - max). */
static double log_probability(const float *logits, size_t vocab, int32_t token) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < vocab; i++)
        if ((double)logits[i] > max) max = (double)logits[i];
    for (size_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - max);
    return (double)logits[token] - max - log(sum);
}

static void on_logits(void *user, size_t position, const float *logits) {
    scores *s = user;
    if (position + 1 < s->prompt->n)
        s->sum += log_probability(logits, s->vocab, s->prompt->ids[position + 1]);
    if (s->writer && !s->status)
        s->status = glia_safetensors_append(s->writer, logits, s->vocab * sizeof *logits, &s->err);
}

/* Read --ids, or tokenize --text. Returns the exit status. */
static int read_prompt(cli_prompts *p, const cli_args *args, const glia_options *o) {
    glia_err err = {0};
    char *text = NULL;
    size_t len = 0;
    if (args->given[F_IDS] == args->given[F_TEXT])
        return cli_usage("score needs either --ids FILE or --text FILE");
    if (!args->given[F_OUT] && !args->given[F_JSON]) return cli_usage("score needs --out FILE or --json");
    if (args->given[F_IDS]) {
        if (cli_read_ids(p, args->text[F_IDS], &err)) return cli_failed(&err);
        return p->n == 1 ? EXIT_OK : cli_usage("score takes one array of ids, found %zu", p->n);
    }
    if (cli_read_all(&text, &len, args->text[F_TEXT], &err)) return cli_failed(&err);
    const int status = cli_tokenize_prompt(p, args, o, text, len);
    free(text);
    return status;
}

/* Score the prompt and, with --out, write its logits. The file appears only when it is complete. */
static glia_status score(const cli_args *args, const glia_model *m, const glia_engine_options *o, scores *s,
                         glia_err *err) {
    glia_engine *e = NULL;
    glia_status status = glia_engine_create(&e, m, o, err);
    const glia_tensor_spec spec = {"logits", GLIA_TENSOR_F32, 2, {(int64_t)s->prompt->n, (int64_t)s->vocab}};
    if (!status && args->given[F_OUT])
        status = glia_safetensors_create(&s->writer, args->text[F_OUT], &spec, 1, err);
    if (!status) status = glia_engine_score(e, s->prompt->ids, s->prompt->n, on_logits, s, err);
    if (!status && s->status) {
        *err = s->err;
        status = s->status;
    }
    if (!status && s->writer)
        status = glia_safetensors_finish(s->writer, err);
    else
        glia_safetensors_abandon(s->writer);
    glia_engine_free(e);
    return status;
}

int cli_score(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_model_info info;
    glia_model *m = NULL;
    glia_err err = {0};
    cli_prompts p = {0};
    cli_options(args, &o, &engine);
    if (cli_follows()) return cli_follow(args, &o);
    int status = read_prompt(&p, args, &o);
    if (p.longest < INT32_MAX)
        engine.sequence_length_needed =
            p.longest < 2 ? 2 : (int)p.longest; /* the shortest length of an engine */
    if (!status) status = cli_load(&m, args, &o, false);
    if (!status) {
        glia_model_get_info(m, &info);
        scores s = {.prompt = &p.prompt[0], .vocab = (size_t)info.vocab_size};
        status = score(args, m, &engine, &s, &err) ? cli_failed(&err) : EXIT_OK;
        const size_t predicted = p.longest - 1;
        if (!status && args->given[F_JSON])
            cli_print_json(json_pack("{s:I, s:I, s:o, s:o}", "tokens", (json_int_t)p.longest, "predicted",
                                     (json_int_t)predicted, "sum_logprob", cli_json_real(s.sum), "perplexity",
                                     cli_json_real(exp(-s.sum / (double)predicted))));
    }
    glia_model_free(m);
    cli_prompts_free(&p);
    return status;
}
