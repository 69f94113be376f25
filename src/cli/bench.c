/* bench.c - `glia bench`: speed, absolute and as a share of this machine's ceilings.
 *
 * Machines are shared and their speed drifts. Therefore the ceilings are measured
 * before and after every run, and a run is divided by the mean of the two.
 *   decode: bytes of a step (matrix weights + batch * KV cache of the mean length)
 *           * steps/s / read bandwidth
 *   prefill: 2 * (matrix parameters without the head) * tokens/s / matrix peak of the
 *           rows' format (int8, bfloat16 or float32)
 *   attention in prefill: flop per token and position * positions that a token sees
 *           (itself and all before it) * tokens/s / matrix peak of activations
 *   collectives, in prefill and in decode: share of the time that thread 0 spends in
 *           them, waiting included, and bytes that one rank gets from others
 * Prefill ends when every prompt has its first token; then decode begins. tokens/s
 * counts all sequences. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/speculation.h"

/* What collectives cost. */
typedef struct {
    double share, bytes_per_token; /* share of the time; bytes of one rank */
} moved;

typedef struct {
    double ttft_s, prefill, decode; /* ttft_s is the mean over the batch; the others are tokens/s */
    double prefill_share, attention_share, decode_share;
    moved prefill_moved, decode_moved;
} result;

typedef struct {
    const cli_args *args;
    char *adapters; /* of cli_adapters() */
    glia_model *model;
    glia_engine *engine;
    glia_model_info info;
    size_t prompt, output, batch, runs;
    result *results;                 /* [runs] */
    glia_ceilings *ceiling;          /* [runs + 1] */
    double peak_bytes;               /* largest resident set */
    glia_buf gaps;                   /* doubles: seconds between two tokens of a sequence, over all runs */
    size_t tokens, begun;            /* of this run: tokens so far, sequences that have their first token */
    size_t early;                    /* tokens of this run before decode began */
    glia_engine_stats start, middle; /* at the begin of this run, and of its decode */
} bench;

/* One request of a run. */
typedef struct {
    bench *b;
    size_t tokens;
    double first, last;
} probe;

static void on_event(void *user, const glia_event *e) {
    probe *p = user;
    if (e->token < 0) return;
    const double now = glia_seconds(), gap = now - p->last;
    p->b->tokens++;
    if (p->tokens++ == 0) {
        p->first = now;
        if (++p->b->begun == p->b->batch) {
            p->b->early = p->b->tokens;
            glia_engine_get_stats(p->b->engine, &p->b->middle);
        }
    } else
        glia_buf_add(&p->b->gaps, (const char *)&gap, sizeof gap);
    p->last = now;
}

/* The next number of SplitMix64. */
static uint64_t draw(uint64_t *state) { return glia_mix64(*state += 0x9e3779b97f4a7c15u); }

/* Take steps until no request is left. On a terminal, show the progress of a run that takes seconds. */
static glia_status finish(bench *b, size_t prompt, size_t output, glia_err *err) {
    glia_engine_stats s, start;
    glia_status status = GLIA_OK;
    double shown = glia_seconds() + 1;
    const bool show = isatty(STDERR_FILENO);
    bool told = false;
    glia_engine_get_stats(b->engine, &start);
    for (size_t left = 1; left > 0 && !status;) {
        status = glia_engine_step(b->engine, &left, err);
        if (!show || glia_seconds() < shown) continue;
        glia_engine_get_stats(b->engine, &s);
        fprintf(stderr, "\r%llu of %zu prompt tokens, %zu of %zu output tokens\033[K",
                (unsigned long long)(s.prompt_tokens - start.prompt_tokens), b->batch * prompt, b->tokens,
                b->batch * output);
        shown = glia_seconds() + 0.1;
        told = true;
    }
    if (told) fputs("\r\033[K", stderr);
    return status;
}

/* Generate `output` tokens for each of b->batch random prompts of `prompt` tokens. */
static glia_status run_batch(bench *b, size_t prompt, size_t output, uint64_t seed, probe *probes,
                             double *began, glia_err *err) {
    int32_t *ids = malloc(prompt * sizeof *ids);
    if (!ids) return glia_fail_nomem(err, prompt * sizeof *ids, "a prompt");
    glia_sampling s = {.temperature = 1,
                       .top_p = 1,
                       .typical_p = 1,
                       .repetition_penalty = 1,
                       .max_tokens = (int)output,
                       .logprobs = -1,
                       .ignore_eos = true};
    glia_status status = GLIA_OK;
    b->tokens = b->begun = b->early = 0;
    glia_engine_get_stats(b->engine, &b->start);
    *began = glia_seconds();
    for (size_t i = 0; i < b->batch && !status; i++) {
        for (size_t k = 0; k < prompt; k++) ids[k] = (int32_t)(draw(&seed) % (uint64_t)b->info.vocab_size);
        probes[i] = (probe){.b = b};
        s.adapter = cli_adapter(b->adapters, b->args, i);
        status = glia_engine_submit(b->engine, ids, prompt, &s, on_event, &probes[i], NULL, err);
    }
    if (!status) status = finish(b, prompt, output, err);
    free(ids);
    return status;
}

static double mean(double x, double y) { return (x + y) / 2; }

/* The cost of collectives between two statistics that lie `s` seconds and `tokens` tokens apart. */
static moved moved_between(const glia_engine_stats *from, const glia_engine_stats *to, double s,
                           size_t tokens) {
    if (!tokens) return (moved){0};
    return (moved){(to->comm_seconds - from->comm_seconds) / s,
                   (double)(to->comm_bytes - from->comm_bytes) / (double)tokens};
}

static void judge(const bench *b, size_t run, const probe *probes, double began,
                  const glia_engine_stats *end) {
    result *r = &b->results[run];
    double first = began, last = began;
    *r = (result){0};
    for (size_t i = 0; i < b->batch; i++) {
        r->ttft_s += (probes[i].first - began) / (double)b->batch;
        if (probes[i].first > first) first = probes[i].first;
        if (probes[i].last > last) last = probes[i].last;
    }
    r->prefill = (double)(b->batch * b->prompt) / (first - began);
    if (last > first) r->decode = (double)(b->tokens - b->early) / (last - first);
    r->prefill_moved = moved_between(&b->start, &b->middle, first - began, b->batch * b->prompt);
    if (last > first) r->decode_moved = moved_between(&b->middle, end, last - first, b->tokens - b->early);

    const glia_ceilings *c = &b->ceiling[run];
    const bool bf16 = b->info.dtype == GLIA_DTYPE_BF16 && c[0].bf16_flop_per_s > 0;
    const bool i8 = b->info.quantization == GLIA_QUANTIZATION_W8A8 && c[0].i8_op_per_s > 0;
    const double real = bf16 ? mean(c[0].bf16_flop_per_s, c[1].bf16_flop_per_s)
                             : mean(c[0].f32_flop_per_s, c[1].f32_flop_per_s);
    const double flop = i8 ? mean(c[0].i8_op_per_s, c[1].i8_op_per_s) : real;
    const double head = (double)b->info.vocab_size * (double)b->info.hidden_size;
    const double weights = (double)b->info.matrix_parameters;
    const double length = (double)b->prompt + (double)b->output / 2;
    const double step =
        (double)b->info.matrix_bytes + (double)b->batch * length * (double)end->kv_bytes_per_token;
    r->prefill_share = 2 * (weights - head) * r->prefill / flop;
    r->attention_share = (double)b->info.attention_flop * ((double)b->prompt + 1) / 2 * r->prefill / real;
    r->decode_share =
        step * r->decode / (double)b->batch / mean(c[0].read_bytes_per_s, c[1].read_bytes_per_s);
}

static glia_status measure(bench *b, glia_err *err) {
    double began;
    probe *probes = calloc(b->batch, sizeof *probes);
    if (!probes) return glia_fail_nomem(err, b->batch * sizeof *probes, "probes");
    const size_t few = b->output < 2 ? b->output : 2; /* touch every page before the first run */
    glia_status status = run_batch(b, b->prompt, few, 1, probes, &began, err);
    b->gaps.len = 0;
    glia_engine_ceilings(b->engine, &b->ceiling[0]);
    for (size_t i = 0; i < b->runs && !status; i++) {
        status = run_batch(b, b->prompt, b->output, 1000 * (uint64_t)(i + 2), probes, &began, err);
        glia_engine_stats end;
        glia_engine_get_stats(b->engine, &end);
        glia_engine_ceilings(b->engine, &b->ceiling[i + 1]);
        if (!status) judge(b, i, probes, began, &end);
    }
    if (!status && b->gaps.oom) status = glia_fail_nomem(err, b->gaps.len, "times");
    free(probes);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    b->peak_bytes = (double)usage.ru_maxrss * 1024;
    return status;
}

typedef struct {
    double median, min, max;
} spread;

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The spread of n doubles that lie `stride` bytes apart. */
static spread spread_of(const void *first, size_t n, size_t stride) {
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted) return (spread){0};
    for (size_t i = 0; i < n; i++) memcpy(&sorted[i], (const char *)first + i * stride, sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    const spread s = {mean(sorted[(n - 1) / 2], sorted[n / 2]), sorted[0], sorted[n - 1]};
    free(sorted);
    return s;
}

static json_t *spread_json(spread s) {
    return json_pack("{s:o, s:o, s:o}", "median", cli_json_real(s.median), "min", cli_json_real(s.min), "max",
                     cli_json_real(s.max));
}

typedef struct {
    spread ttft, prefill, decode, prefill_share, attention_share, decode_share, read, f32, bf16, i8;
    spread prefill_moved, decode_moved; /* shares */
    double gap_mean, gap[3];            /* 50th, 90th, 99th percentile by nearest rank */
    glia_engine_stats stats;
} report;

static void sum_up(const bench *b, report *r) {
    static const double percent[3] = {0.5, 0.9, 0.99};
    const result *x = b->results;
    const glia_ceilings *c = b->ceiling;
    *r = (report){.ttft = spread_of(&x->ttft_s, b->runs, sizeof *x),
                  .prefill = spread_of(&x->prefill, b->runs, sizeof *x),
                  .decode = spread_of(&x->decode, b->runs, sizeof *x),
                  .prefill_share = spread_of(&x->prefill_share, b->runs, sizeof *x),
                  .attention_share = spread_of(&x->attention_share, b->runs, sizeof *x),
                  .decode_share = spread_of(&x->decode_share, b->runs, sizeof *x),
                  .prefill_moved = spread_of(&x->prefill_moved.share, b->runs, sizeof *x),
                  .decode_moved = spread_of(&x->decode_moved.share, b->runs, sizeof *x),
                  .read = spread_of(&c->read_bytes_per_s, b->runs + 1, sizeof *c),
                  .f32 = spread_of(&c->f32_flop_per_s, b->runs + 1, sizeof *c),
                  .bf16 = spread_of(&c->bf16_flop_per_s, b->runs + 1, sizeof *c),
                  .i8 = spread_of(&c->i8_op_per_s, b->runs + 1, sizeof *c)};
    double *gap = (double *)(void *)b->gaps.data;
    const size_t n = b->gaps.len / sizeof *gap;
    if (n > 0) qsort(gap, n, sizeof *gap, compare);
    for (size_t i = 0; i < n; i++) r->gap_mean += gap[i] / (double)n;
    for (size_t i = 0; i < 3 && n > 0; i++) {
        const size_t rank = (size_t)(percent[i] * (double)n);
        r->gap[i] = gap[rank < n ? rank : n - 1];
    }
    glia_engine_get_stats(b->engine, &r->stats);
}

static void print_json(const bench *b, const report *r) {
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I}", "version", glia_version(),
                             "model", b->args->model, "architecture", b->info.architecture, "dtype",
                             cli_format_name(&b->info), "rung", r->stats.rung, "threads", r->stats.threads,
                             "prompt_tokens", (json_int_t)b->prompt, "output_tokens", (json_int_t)b->output,
                             "batch_size", (json_int_t)b->batch, "runs", (json_int_t)b->runs);
    json_object_set_new(root, "ttft_s", spread_json(r->ttft));
    json_object_set_new(root, "itl_s",
                        json_pack("{s:f, s:f, s:f, s:f}", "mean", r->gap_mean, "p50", r->gap[0], "p90",
                                  r->gap[1], "p99", r->gap[2]));
    json_object_set_new(root, "prefill_tokens_per_s", spread_json(r->prefill));
    json_object_set_new(root, "decode_tokens_per_s", spread_json(r->decode));
    json_object_set_new(root, "prefill_share", spread_json(r->prefill_share));
    json_object_set_new(root, "prefill_attention_share", spread_json(r->attention_share));
    json_object_set_new(root, "decode_share", spread_json(r->decode_share));
    json_object_set_new(root, "ceilings",
                        json_pack("{s:o, s:o, s:o, s:o}", "read_bytes_per_s", spread_json(r->read),
                                  "f32_flop_per_s", spread_json(r->f32), "bf16_flop_per_s",
                                  spread_json(r->bf16), "i8_op_per_s", spread_json(r->i8)));
    json_object_set_new(root, "step",
                        json_pack("{s:I, s:I, s:I, s:I}", "matrix_parameters",
                                  (json_int_t)b->info.matrix_parameters, "matrix_bytes",
                                  (json_int_t)b->info.matrix_bytes, "kv_bytes_per_token",
                                  (json_int_t)r->stats.kv_bytes_per_token, "attention_flop",
                                  (json_int_t)b->info.attention_flop));
    json_object_set_new(root, "collectives",
                        json_pack("{s:s, s:i, s:o, s:o, s:f, s:f}", "by", r->stats.comm, "ranks",
                                  r->stats.ranks, "prefill_share", spread_json(r->prefill_moved),
                                  "decode_share", spread_json(r->decode_moved), "prefill_bytes_per_token",
                                  b->results[0].prefill_moved.bytes_per_token, "decode_bytes_per_token",
                                  b->results[0].decode_moved.bytes_per_token));
    json_object_set_new(root, "peak_rss_bytes", json_integer((json_int_t)b->peak_bytes));
    json_object_set_new(root, "weight_bytes", json_integer((json_int_t)r->stats.weight_bytes));
    json_object_set_new(root, "plan_bytes", json_integer((json_int_t)r->stats.plan_bytes));
    cli_add_speculation(root, &r->stats);
    cli_print_json(root);
}

static void print_report(const bench *b, const report *r) {
    const double needed = (double)(r->stats.weight_bytes + r->stats.plan_bytes);
    const int ranks = r->stats.ranks;
    printf("model           %s, %d layers, %s, %s rung, %d threads", b->info.architecture, b->info.layers,
           cli_format_name(&b->info), r->stats.rung, r->stats.threads);
    if (ranks > 1) printf(" on each of %d ranks", ranks);
    putchar('\n');
    printf("task            %zu prompt and %zu output tokens, batch %zu, %zu runs: median (min to max)\n",
           b->prompt, b->output, b->batch, b->runs);
    printf("first token     %.3f s (%.3f to %.3f)\n", r->ttft.median, r->ttft.min, r->ttft.max);
    printf("between tokens  mean %.2f ms, p50 %.2f, p90 %.2f, p99 %.2f\n", r->gap_mean * 1e3, r->gap[0] * 1e3,
           r->gap[1] * 1e3, r->gap[2] * 1e3);
    printf("prefill         %.1f tokens/s (%.1f to %.1f), %.1f%% of the matrix peak (%.1f to %.1f), "
           "attention %.1f%% "
           "more\n",
           r->prefill.median, r->prefill.min, r->prefill.max, r->prefill_share.median * 100,
           r->prefill_share.min * 100, r->prefill_share.max * 100, r->attention_share.median * 100);
    printf("decode          %.1f tokens/s (%.1f to %.1f), %.1f%% of the read bandwidth (%.1f to %.1f)\n",
           r->decode.median, r->decode.min, r->decode.max, r->decode_share.median * 100,
           r->decode_share.min * 100, r->decode_share.max * 100);
    if (r->stats.draft_method) {
        printf("speculation     ");
        cli_tell_speculation(stdout, &(glia_draft_counts){0}, &r->stats);
        putchar('\n');
    }
    if (ranks > 1)
        printf("collectives     by %s: %.1f%% of prefill, %.0f bytes a token and rank; %.1f%% of decode "
               "(%.1f to "
               "%.1f), %.0f bytes\n",
               r->stats.comm, r->prefill_moved.median * 100, b->results[0].prefill_moved.bytes_per_token,
               r->decode_moved.median * 100, r->decode_moved.min * 100, r->decode_moved.max * 100,
               b->results[0].decode_moved.bytes_per_token);
    printf("ceilings        read %.1f GB/s (%.1f to %.1f), float32 %.2f TFLOP/s (%.2f to %.2f)",
           r->read.median * 1e-9, r->read.min * 1e-9, r->read.max * 1e-9, r->f32.median * 1e-12,
           r->f32.min * 1e-12, r->f32.max * 1e-12);
    if (r->bf16.max > 0)
        printf(", bfloat16 %.2f (%.2f to %.2f)", r->bf16.median * 1e-12, r->bf16.min * 1e-12,
               r->bf16.max * 1e-12);
    if (r->i8.max > 0)
        printf(", int8 %.2f (%.2f to %.2f)", r->i8.median * 1e-12, r->i8.min * 1e-12, r->i8.max * 1e-12);
    printf("\npeak memory     %.3f GB resident, %.3f x (weights %.3f + plan %.3f GB)\n", b->peak_bytes * 1e-9,
           b->peak_bytes / needed, (double)r->stats.weight_bytes * 1e-9, (double)r->stats.plan_bytes * 1e-9);
}

/* Run the benchmark on a loaded model. Returns the exit status. */
static int measure_and_tell(bench *b, const glia_engine_options *o) {
    glia_err err = {0};
    report r;
    glia_model_get_info(b->model, &b->info);
    b->results = calloc(b->runs, sizeof *b->results);
    b->ceiling = calloc(b->runs + 1, sizeof *b->ceiling);
    glia_status status = b->results && b->ceiling ? glia_engine_create(&b->engine, b->model, o, &err)
                                                  : glia_fail_nomem(&err, b->runs, "results");
    if (!status) status = measure(b, &err);
    if (!status) {
        sum_up(b, &r);
        if (b->args->given[F_JSON])
            print_json(b, &r);
        else
            print_report(b, &r);
    }
    glia_engine_free(b->engine);
    glia_buf_free(&b->gaps);
    free(b->results);
    free(b->ceiling);
    return status ? cli_failed(&err) : EXIT_OK;
}

int cli_bench(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    cli_options(args, &o, &engine);
    bench b = {.args = args,
               .prompt = (size_t)args->integer[F_PROMPT_TOKENS],
               .output = (size_t)args->integer[F_OUTPUT_TOKENS],
               .runs = (size_t)args->integer[F_RUNS]};
    engine.sequence_length_needed = (int)(b.prompt + b.output);
    b.batch = engine.batch_size ? (size_t)engine.batch_size : 1;
    if (cli_follows()) return cli_follow(args, &o);
    int status = cli_adapters(&b.adapters, args, b.batch);
    if (!status) status = cli_load(&b.model, args, &o, false);
    if (!status) status = measure_and_tell(&b, &engine);
    glia_model_free(b.model);
    free(b.adapters);
    return status;
}
