/* turns.h - what the engines of bench/peers/run that are written in C share: they read commands
 * from standard input, one a line, and answer each with one line of JSON.
 *     prefill IDS N FROM [ADAPTERS]   seconds for the prompt's tokens FROM..N; FROM a multiple of CHUNK
 *     decode IDS BATCH PROMPT STEPS [ADAPTERS [ADAPTED]]   seconds for STEPS more tokens of each sequence
 *     logits IDS N OUT [ADAPTERS]     writes the last position's logits, float32, to OUT
 *     ceilings                        the machine's ceilings, measured now
 * IDS is a file of int32 token ids; sequence i begins at i * PROMPT. The first ADAPTED sequences (default:
 * all) use the first ADAPTERS adapters (default: none) in rotation. */
#ifndef TURNS_H
#define TURNS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum { CHUNK = 512, BATCH_MAX = 64 };

typedef struct {
    double seconds;
    size_t tokens;
} turn_time;

/* An engine. The functions return false on failure; `error` is the reason. */
typedef struct engine engine;
struct engine {
    bool (*prefill)(engine *, const int32_t *ids, size_t n, size_t from, turn_time *);
    bool (*decode)(engine *, const int32_t *ids, size_t batch, size_t prompt, size_t steps, turn_time *);
    const float *(*logits)(engine *, const int32_t *ids, size_t n); /* NULL on failure */
    void (*ceilings)(engine *);                                     /* prints the line; NULL: it has none */
    size_t vocabulary, adapters; /* how many adapters are loaded */
    size_t used, adapted;        /* of this command: adapters, and sequences that use one */
    char error[600];
    void *self;
};

static inline double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* `n` ids of FILE, which the caller frees; NULL if it has fewer. */
static inline int32_t *read_ids(engine *e, const char *file, size_t n) {
    int32_t *ids = malloc(n * sizeof *ids);
    FILE *f = fopen(file, "rb");
    const size_t got = f && ids ? fread(ids, sizeof *ids, n, f) : 0;
    if (f) fclose(f);
    if (ids && got == n) return ids;
    snprintf(e->error, sizeof e->error, "%.200s: expected %zu ids, found %zu", file, n, got);
    free(ids);
    return NULL;
}

/* The adapter of a sequence, or -1. */
static inline int adapter_of(const engine *e, size_t sequence) {
    return e->used && sequence < e->adapted ? (int)(sequence % e->used) : -1;
}

/* Keep the numbers at the end of a command; false: there are fewer adapters. */
static inline bool use(engine *e, size_t used, size_t adapted) {
    e->used = used;
    e->adapted = adapted;
    if (used <= e->adapters) return true;
    snprintf(e->error, sizeof e->error, "%zu adapters, expected at most %zu", used, e->adapters);
    return false;
}

static inline bool write_logits(engine *e, const float *row, const char *out) {
    FILE *f = fopen(out, "wb");
    const size_t wrote = f ? fwrite(row, sizeof *row, e->vocabulary, f) : 0;
    if (f && fclose(f) == 0 && wrote == e->vocabulary) return true;
    snprintf(e->error, sizeof e->error, "%.200s: not written", out);
    return false;
}

static inline void obey(engine *e, const char *line) {
    char what[16], file[512], out[512];
    size_t a, b, c, used = 0, adapted = BATCH_MAX;
    int32_t *ids = NULL;
    turn_time took;
    bool timed = false;
    snprintf(e->error, sizeof e->error, "not a command");
    use(e, 0, 0);
    if (sscanf(line, "prefill %511s %zu %zu %zu", file, &a, &b, &used) >= 3 && b < a) {
        timed = use(e, used, adapted) && (ids = read_ids(e, file, a)) && e->prefill(e, ids, a, b, &took);
    } else if (sscanf(line, "decode %511s %zu %zu %zu %zu %zu", file, &a, &b, &c, &used, &adapted) >= 4 && a &&
               a <= BATCH_MAX && b) {
        timed = use(e, used, adapted) && (ids = read_ids(e, file, a * b)) && e->decode(e, ids, a, b, c, &took);
    } else if (sscanf(line, "logits %511s %zu %511s %zu", file, &a, out, &used) >= 3 && a) {
        ids = use(e, used, adapted) ? read_ids(e, file, a) : NULL;
        const float *row = ids ? e->logits(e, ids, a) : NULL;
        if (row && write_logits(e, row, out)) {
            e->error[0] = 0;
            printf("{\"logits\": %zu}\n", e->vocabulary);
        }
    } else if (sscanf(line, "%15s", what) == 1 && strcmp(what, "ceilings") == 0 && e->ceilings) {
        e->error[0] = 0;
        e->ceilings(e);
    }
    if (timed)
        printf("{\"seconds\": %.9f, \"tokens\": %zu}\n", took.seconds, took.tokens);
    else if (e->error[0])
        printf("{\"error\": \"%s\"}\n", e->error);
    fflush(stdout);
    free(ids);
}

/* Obey the commands of standard input until it ends. The first line has been printed. The process
 * is renamed after loading: tools that stop jobs by name must not stop it. */
static inline void take_turns(engine *e, const char *name) {
    static char line[2048];
    prctl(PR_SET_NAME, name);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) obey(e, line);
}

#endif
