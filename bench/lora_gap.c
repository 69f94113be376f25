/* lora_gap.c - how much the longest gap between tokens grows while an adapter is loaded.
 *     bench/lora_gap        # builds it and makes an adapter of SmolLM3-3B
 *     lora_gap MODEL ADAPTER [SEQUENCES 8] [STEPS 24] [THREADS: all cores]
 * MODEL is a directory; without weight files, weights are random. SEQUENCES decode; a step is
 * the gap between two tokens of each. STEPS steps run undisturbed. As many run while another thread loads
 * ADAPTER under a new name every EVERY steps, and a request with it begins. Prints both distributions. */
#include <glia.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS_MAX = 4096, PROMPT = 16, EVERY = 8 };

typedef struct {
    glia_engine *engine;
    const char *adapter;
    atomic_int stop, wanted, loads;
    double longest; /* load, seconds */
} loader;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(glia_status status, const glia_err *err) {
    if (!status) return;
    fprintf(stderr, "lora_gap: %s\n", err->msg);
    exit(1);
}

static void *load(void *arg) {
    loader *l = arg;
    glia_err err = {0};
    while (!atomic_load(&l->stop)) {
        char name[32];
        const double start = seconds();
        if (atomic_load(&l->loads) == atomic_load(&l->wanted)) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            continue;
        }
        snprintf(name, sizeof name, "x%d", atomic_load(&l->loads));
        check(glia_engine_load_adapter(l->engine, name, l->adapter, false, &err), &err);
        if (seconds() - start > l->longest) l->longest = seconds() - start;
        atomic_fetch_add(&l->loads, 1);
    }
    return NULL;
}

static void ignore(void *user, const glia_event *event) { (void)user, (void)event; }

static void submit(glia_engine *e, glia_sampling *s, size_t prompt, int tokens, const char *adapter) {
    int32_t ids[PROMPT];
    glia_err err = {0};
    for (size_t i = 0; i < prompt; i++) ids[i] = rand() % 1000;
    s->max_tokens = s->min_tokens = tokens;
    s->adapter = adapter;
    check(glia_engine_submit(e, ids, prompt, s, ignore, NULL, NULL, &err), &err);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the steps. */
static void print(const char *what, double *step, int n) {
    qsort(step, (size_t)n, sizeof *step, ascending);
    printf("%s: %d steps, median %.1f ms, longest %.1f ms\n", what, n, step[n / 2] * 1e3, step[n - 1] * 1e3);
}

int main(int argc, char **argv) {
    static double quiet[STEPS_MAX], loud[STEPS_MAX];
    char pattern[4096];
    glob_t found;
    glia_err err = {0};
    glia_model *model;
    glia_sampling s;
    loader l = {.adapter = argc > 2 ? argv[2] : NULL};
    size_t left;
    if (argc < 3 || argc > 6) return 2;
    const int n = argc > 3 ? atoi(argv[3]) : 8, steps = argc > 4 ? atoi(argv[4]) : 24;
    if (steps > STEPS_MAX || steps < 2 || n < 1) return 2;
    snprintf(pattern, sizeof pattern, "%s/*.safetensors", argv[1]);
    const glia_engine_options options = {.batch_size = n + 1,
                                         .sequence_length = 2 * steps + 128,
                                         .no_prefix_cache = true,
                                         .enable_lora = true,
                                         .max_loras = 2,
                                         .max_cpu_loras = 2};
    const glia_options o = {.dummy = glob(pattern, 0, NULL, &found) != 0,
                            .dtype = GLIA_DTYPE_BF16,
                            .threads = argc > 5 ? atoi(argv[5]) : 0,
                            .engine = &options};
    check(glia_model_load(&model, argv[1], NULL, &o, &err), &err);
    check(glia_engine_create(&l.engine, model, &options, &err), &err);
    glia_sampling_defaults(model, &s);
    s.do_sample = false;
    s.ignore_eos = true;
    for (int i = 0; i < n; i++) submit(l.engine, &s, PROMPT, 2 * steps + 32, NULL);
    for (int i = 0; i < 16; i++) check(glia_engine_step(l.engine, &left, &err), &err); /* prompts, and caches */
    for (int i = 0; i < steps; i++) {
        const double start = seconds();
        check(glia_engine_step(l.engine, &left, &err), &err);
        quiet[i] = seconds() - start;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, load, &l);
    for (int i = 0, used = 0; i < steps; i++) {
        char name[32];
        const double start = seconds();
        if (i % EVERY == 0 && atomic_load(&l.loads) == atomic_load(&l.wanted)) atomic_fetch_add(&l.wanted, 1);
        check(glia_engine_step(l.engine, &left, &err), &err);
        loud[i] = seconds() - start;
        if (atomic_load(&l.loads) > used) { /* use the new adapter: a step copies it to its place */
            snprintf(name, sizeof name, "x%d", used++);
            submit(l.engine, &s, 1, 1, name);
        }
    }
    atomic_store(&l.stop, 1);
    pthread_join(thread, NULL);
    print("undisturbed", quiet, steps);
    print("while adapters are loaded", loud, steps);
    printf("%d loads, the longest %.0f ms; the longest gap grows by %.2f steps (limit 1)\n", atomic_load(&l.loads),
           l.longest * 1e3, (loud[steps - 1] - quiet[steps - 1]) / quiet[steps / 2]);
    glia_engine_free(l.engine);
    glia_model_free(model);
    return loud[steps - 1] - quiet[steps - 1] > quiet[steps / 2];
}
