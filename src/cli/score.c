/* score.c - `glia score`: teacher-forced logits, to a file or as a perplexity; or hidden states, to a file.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/path.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "format/hub.h"
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

static int check_inputs(const cli_args *args) {
    if (args->given[F_IDS] == args->given[F_TEXT])
        return cli_usage("score needs either --ids FILE or --text FILE");
    if (!args->given[F_OUT] && !args->given[F_JSON]) return cli_usage("score needs --out FILE or --json");
    if (args->given[F_STATES] && (!args->given[F_OUT] || args->given[F_JSON]))
        return cli_usage("score with --states needs --out FILE, and no --json");
    return EXIT_OK;
}

/* Read --ids, or tokenize --text. Returns the exit status. */
static int read_prompt(cli_prompts *p, const cli_args *args, const glia_options *o) {
    glia_err err = {0};
    char *text = NULL;
    size_t len = 0;
    if (args->given[F_IDS]) {
        if (cli_read_ids(p, args->text[F_IDS], &err)) return cli_failed(&err);
        return p->n == 1 || args->given[F_STATES]
                   ? EXIT_OK
                   : cli_usage("score takes one array of ids, found %zu", p->n);
    }
    if (cli_read_all(&text, &len, args->text[F_TEXT], &err)) return cli_failed(&err);
    const int status = cli_tokenize_prompt(p, args, o, text, len);
    free(text);
    return status;
}

/* Is the open file `fd`, or the file at `path`, the file `out`? */
static bool same_file(int fd, const char *path, const struct stat *out) {
    struct stat info;
    return (path ? stat(path, &info) : fstat(fd, &info)) == 0 && S_ISREG(info.st_mode) &&
           info.st_dev == out->st_dev && info.st_ino == out->st_ino;
}

/* Fail if `out` exists and is an input or another output of this command. */
static int check_pairs(const cli_args *args, const char *out) {
    static const char *const streams[] = {"standard input", "standard output", "standard error"};
    const char *input = args->text[args->given[F_IDS] ? F_IDS : F_TEXT];
    struct stat info;
    if (stat(out, &info) != 0) return EXIT_OK;
    if (strcmp(input, "-") != 0 && same_file(-1, input, &info))
        return cli_usage("%s is the input; give --out another file", input);
    for (int fd = 0; fd <= 2; fd++)
        if (same_file(fd, NULL, &info))
            return cli_usage("%s is %s; give --out another file", args->text[F_OUT], streams[fd]);
    return EXIT_OK;
}

/* Fail if `out` holds anything but what an earlier --out wrote. */
static glia_status check_old(const char *out, glia_err *err) {
    struct stat info;
    glia_safetensors old;
    if (stat(out, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) return GLIA_OK;
    const bool opens = !glia_safetensors_open(&old, out, NULL);
    const bool ours = opens && json_object_get(old.metadata, GLIA_SAFETENSORS_OURS);
    if (opens) glia_safetensors_close(&old);
    return ours ? GLIA_OK
                : glia_fail(err, GLIA_ERR_IO,
                            "%s: exists, and glia score did not write it; give another file or remove it",
                            out);
}

/* Find the file that --out names, and fail if writing it would lose anything. Returns the exit status. */
static int check_out(char **out, const cli_args *args) {
    glia_err err = {0};
    char *cache = cli_cache_dir(), *dir = NULL;
    glia_status status = glia_path_real(out, args->text[F_OUT], &err);
    const int pairs = status ? EXIT_OK : check_pairs(args, *out);
    if (!status && !pairs) status = glia_hub_resolve(&dir, args->model, cache, &err);
    if (!status && !pairs) status = glia_hub_check_output(dir, *out, &err);
    if (!status && !pairs) status = check_old(*out, &err);
    free(dir);
    free(cache);
    return status ? cli_failed(&err) : pairs;
}

/* Score the prompt and, with --out, write its logits. The file appears only when it is complete. */
static glia_status score(const char *out, const glia_model *m, const glia_engine_options *o,
                         const char *adapter, scores *s, glia_err *err) {
    glia_engine *e = NULL;
    glia_status status = glia_engine_create(&e, m, o, err);
    const glia_tensor_spec spec = {"logits", GLIA_TENSOR_F32, 2, {(int64_t)s->prompt->n, (int64_t)s->vocab}};
    if (!status && out) status = glia_safetensors_create(&s->writer, out, &spec, 1, err);
    if (!status)
        status = glia_engine_score_adapted(e, adapter, s->prompt->ids, s->prompt->n, on_logits, s, err);
    if (!status && s->status) {
        *err = s->err;
        status = s->status;
    }
    if (!status && out) status = check_old(out, err); /* again: scoring took its time */
    if (!status && s->writer)
        status = glia_safetensors_finish(s->writer, err);
    else
        glia_safetensors_abandon(s->writer);
    glia_engine_free(e);
    return status;
}

/* ---- hidden states ---------------------------------------------------------- */

typedef struct {
    glia_safetensors_writer *writer;
    size_t hidden;
    int32_t layer[GLIA_STATE_LAYERS_MAX];
    int n_layers;
    glia_status status; /* first failure of the writer */
    glia_err err;
} states;

/* Read the list of layers, such as 1,3,5. Returns the exit status. */
static int read_layers(states *s, const char *text) {
    while (*text) {
        char *end;
        const long layer = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || layer < 0 || layer > INT32_MAX ||
            s->n_layers == GLIA_STATE_LAYERS_MAX)
            return cli_usage("--states: expected up to %d numbers of layers, such as 1,3,5, found %.60s",
                             GLIA_STATE_LAYERS_MAX, text);
        s->layer[s->n_layers++] = (int32_t)layer;
        text = *end ? end + 1 : end;
    }
    return EXIT_OK;
}

static void on_states(void *user, size_t position, const float *const *rows) {
    states *s = user;
    (void)position;
    for (int i = 0; i <= s->n_layers && !s->status; i++)
        s->status = glia_safetensors_append(s->writer, rows[i], s->hidden * sizeof **rows, &s->err);
}

/* Write the states of all prompts, one behind the other. */
static glia_status write_states(states *s, const char *out, const glia_model *m, const cli_prompts *p,
                                glia_err *err) {
    size_t tokens = 0;
    for (size_t i = 0; i < p->n; i++) tokens += p->prompt[i].n;
    const glia_tensor_spec spec = {
        "states", GLIA_TENSOR_F32, 3, {(int64_t)tokens, s->n_layers + 1, (int64_t)s->hidden}};
    glia_status status = glia_safetensors_create(&s->writer, out, &spec, 1, err);
    for (size_t i = 0; i < p->n && !status; i++) {
        status =
            glia_model_states(m, p->prompt[i].ids, p->prompt[i].n, s->layer, s->n_layers, on_states, s, err);
        if (!status && s->status) {
            *err = s->err;
            status = s->status;
        }
    }
    if (!status) status = check_old(out, err); /* again: the states took their time */
    if (!status) return glia_safetensors_finish(s->writer, err);
    glia_safetensors_abandon(s->writer);
    return status;
}

int cli_score(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_model_info info;
    glia_model *m = NULL;
    glia_err err = {0};
    cli_prompts p = {0};
    char *out = NULL;
    cli_options(args, &o, &engine);
    if (cli_follows()) return cli_follow(args, &o);
    int status = check_inputs(args);
    if (!status && args->given[F_OUT]) status = check_out(&out, args);
    if (!status) status = read_prompt(&p, args, &o);
    if (p.longest < INT32_MAX)
        engine.sequence_length_needed =
            p.longest < 2 ? 2 : (int)p.longest; /* the shortest length of an engine */
    if (!status) status = cli_load(&m, args, &o, false);
    if (!status && args->given[F_STATES]) {
        glia_model_get_info(m, &info);
        states s = {.hidden = (size_t)info.hidden_size};
        status = read_layers(&s, args->text[F_STATES]);
        if (!status) status = write_states(&s, out, m, &p, &err) ? cli_failed(&err) : EXIT_OK;
    } else if (!status) {
        glia_model_get_info(m, &info);
        scores s = {.prompt = &p.prompt[0], .vocab = (size_t)info.vocab_size};
        status = score(out, m, &engine, args->text[F_LORA], &s, &err) ? cli_failed(&err) : EXIT_OK;
        const size_t predicted = p.longest - 1;
        if (!status && args->given[F_JSON])
            cli_print_json(json_pack("{s:I, s:I, s:o, s:o}", "tokens", (json_int_t)p.longest, "predicted",
                                     (json_int_t)predicted, "sum_logprob", cli_json_real(s.sum), "perplexity",
                                     cli_json_real(exp(-s.sum / (double)predicted))));
    }
    glia_model_free(m);
    cli_prompts_free(&p);
    free(out);
    return status;
}
