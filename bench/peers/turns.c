/* turns.c - Glia as an engine of bench/peers/run. Loads a model, then reads commands
 * from standard input, one a line, and answers each with one line of JSON.
 *     turns DIR none|int8|w8a8 THREADS BATCH SEQUENCE_LENGTH
 *     prefill IDS N FROM              seconds for the prompt's tokens FROM..N; FROM a multiple of 512
 *     decode IDS BATCH PROMPT STEPS   seconds for STEPS more tokens of each sequence
 *     logits IDS N OUT                writes the last position's logits, float32, to OUT
 *     ceilings                        the machine's ceilings, measured now
 * IDS is a file of int32 token ids; sequence i begins at i * PROMPT. */
#include <glia.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum { CHUNK = 512, BATCH_MAX = 64 };

typedef struct {
    glia_model *model;
    glia_engine *engine;
    glia_sampling sampling;
    size_t tokens[BATCH_MAX]; /* so far, by sequence */
    float *row;               /* the last logits seen */
    size_t vocabulary;
} turns;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_event(void *user, const glia_event *e) {
    if (e->token >= 0) ++*(size_t *)user;
}

static void on_logits(void *user, size_t position, const float *logits) {
    turns *t = user;
    (void)position;
    memcpy(t->row, logits, t->vocabulary * sizeof *logits);
}

/* `n` ids of FILE; NULL when it has fewer. */
static int32_t *read_ids(const char *file, size_t n, glia_err *err) {
    int32_t *ids = malloc(n * sizeof *ids);
    FILE *f = fopen(file, "rb");
    const size_t got = f && ids ? fread(ids, sizeof *ids, n, f) : 0;
    if (f) fclose(f);
    if (ids && got == n) return ids;
    err->status = GLIA_ERR_IO;
    snprintf(err->msg, sizeof err->msg, "%.200s: expected %zu ids, found %zu", file, n, got);
    free(ids);
    return NULL;
}

static glia_status submit(turns *t, const int32_t *ids, size_t n, size_t sequence, int output,
                          glia_err *err) {
    t->sampling.max_tokens = t->sampling.min_tokens = output;
    t->tokens[sequence] = 0;
    return glia_engine_submit(t->engine, ids, n, &t->sampling, on_event, &t->tokens[sequence], NULL, err);
}

static glia_status finish(turns *t, glia_err *err) {
    size_t left = 1;
    while (left)
        if (glia_engine_step(t->engine, &left, err)) break;
    return err->status;
}

static void prefill(turns *t, const char *file, size_t n, size_t from, glia_err *err) {
    size_t left;
    int32_t *ids = read_ids(file, n, err);
    if (!ids || submit(t, ids, n, 0, 1, err)) return free(ids);
    for (size_t done = 0; done < from && !err->status; done += CHUNK) glia_engine_step(t->engine, &left, err);
    const double start = seconds();
    if (!err->status && !finish(t, err))
        printf("{\"seconds\": %.9f, \"tokens\": %zu}\n", seconds() - start, n - from);
    free(ids);
}

static void decode(turns *t, const char *file, size_t batch, size_t prompt, int steps, glia_err *err) {
    int32_t *ids = read_ids(file, batch * prompt, err);
    for (size_t i = 0; ids && i < batch && !err->status; i++)
        submit(t, ids + i * prompt, prompt, i, steps + 1, err);
    free(ids);
    size_t begun = 0, before = 0, left;
    while (begun < batch && !err->status) {
        glia_engine_step(t->engine, &left, err);
        begun = before = 0;
        for (size_t i = 0; i < batch; i++) {
            begun += t->tokens[i] > 0;
            before += t->tokens[i];
        }
    }
    const double start = seconds();
    if (!err->status && !finish(t, err))
        printf("{\"seconds\": %.9f, \"tokens\": %zu}\n", seconds() - start,
               batch * (size_t)(steps + 1) - before);
}

static void logits(turns *t, const char *file, size_t n, const char *out, glia_err *err) {
    int32_t *ids = read_ids(file, n, err);
    if (!ids) return;
    const glia_status status = glia_engine_score(t->engine, ids, n, on_logits, t, err);
    free(ids);
    if (status) return;
    FILE *f = fopen(out, "wb");
    const size_t wrote = f ? fwrite(t->row, sizeof *t->row, t->vocabulary, f) : 0;
    if (f && fclose(f) == 0 && wrote == t->vocabulary) {
        printf("{\"logits\": %zu}\n", wrote);
        return;
    }
    err->status = GLIA_ERR_IO;
    snprintf(err->msg, sizeof err->msg, "%.200s: not written", out);
}

static void ceilings(turns *t) {
    glia_ceilings c;
    glia_engine_ceilings(t->engine, &c);
    printf("{\"read_bytes_per_s\": %.6g, \"f32_flop_per_s\": %.6g, \"bf16_flop_per_s\": %.6g, "
           "\"i8_op_per_s\": %.6g}\n",
           c.read_bytes_per_s, c.f32_flop_per_s, c.bf16_flop_per_s, c.i8_op_per_s);
}

static void obey(turns *t, const char *line, glia_err *err) {
    char what[16], file[512], out[512];
    size_t a, b;
    int c;
    *err = (glia_err){0};
    if (sscanf(line, "prefill %511s %zu %zu", file, &a, &b) == 3 && b < a)
        prefill(t, file, a, b, err);
    else if (sscanf(line, "decode %511s %zu %zu %d", file, &a, &b, &c) == 4 && a && a <= BATCH_MAX)
        decode(t, file, a, b, c, err);
    else if (sscanf(line, "logits %511s %zu %511s", file, &a, out) == 3 && a)
        logits(t, file, a, out, err);
    else if (sscanf(line, "%15s", what) == 1 && strcmp(what, "ceilings") == 0)
        ceilings(t);
    else
        printf("{\"error\": \"not a command\"}\n");
    if (err->status) printf("{\"error\": \"%s\"}\n", err->msg);
    fflush(stdout);
}

static void tell_ready(turns *t) {
    glia_model_info info;
    glia_engine_stats stats;
    glia_model_get_info(t->model, &info);
    glia_engine_get_stats(t->engine, &stats);
    t->vocabulary = (size_t)info.vocab_size;
    printf("{\"version\": \"%s\", \"rung\": \"%s\", \"threads\": %d, \"matrix_parameters\": %llu, "
           "\"head_parameters\": %llu, \"matrix_bytes\": %llu, \"kv_bytes_per_token\": %llu}\n",
           glia_version(), stats.rung, stats.threads, (unsigned long long)info.matrix_parameters,
           (unsigned long long)info.vocab_size * (unsigned long long)info.hidden_size,
           (unsigned long long)info.matrix_bytes, (unsigned long long)stats.kv_bytes_per_token);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static char line[2048];
    turns t = {0};
    glia_err err = {0};
    if (argc != 6) return 2;
    const glia_engine_options engine = {.batch_size = atoi(argv[4]),
                                        .sequence_length = atoi(argv[5]),
                                        .prefill_chunk_size = CHUNK,
                                        .no_prefix_cache = true};
    glia_options o = {.dtype = GLIA_DTYPE_BF16, .threads = atoi(argv[3]), .engine = &engine};
    if (strcmp(argv[2], "int8") == 0) o.quantization = GLIA_QUANTIZATION_INT8;
    if (strcmp(argv[2], "w8a8") == 0) o.quantization = GLIA_QUANTIZATION_W8A8;
    if (glia_model_load(&t.model, argv[1], NULL, &o, &err) == GLIA_OK &&
        glia_engine_create(&t.engine, t.model, &engine, &err) == GLIA_OK) {
        glia_sampling_defaults(t.model, &t.sampling);
        t.sampling.do_sample = false;
        t.sampling.ignore_eos = true;
        prctl(PR_SET_NAME, "peer-glia"); /* as peer.py: tools that stop jobs by name must not stop it */
        tell_ready(&t);
        t.row = calloc(t.vocabulary, sizeof *t.row);
        while (t.row && fgets(line, sizeof line, stdin)) obey(&t, line, &err);
    } else {
        printf("{\"error\": \"%s\"}\n", err.msg);
    }
    free(t.row);
    glia_engine_free(t.engine);
    glia_model_free(t.model);
    return 0;
}
