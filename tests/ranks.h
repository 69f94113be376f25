/* ranks.h - runs one model on several thread ranks, step by step, for tests of
 * parallel layers.
 *
 * A script is a list of batches over sequences of tokens. Each rank loads its shards,
 * runs every step with its own team, and writes its shard of the vocabulary into the
 * logits of each row's position. */
#ifndef GLIA_TEST_RANKS_H
#define GLIA_TEST_RANKS_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "check.h"
#include "model/weights.h"

enum { RANKS_SEQS = 3, RANKS_FLASH_UNIT = 64, RANKS_AREA_OFFSET = 192 };

typedef struct {
    const char *dir; /* NULL: a dummy model of `config` */
    const glia_model_config *config;
    glia_dtype dtype, kv_dtype;
    glia_quantization scheme;
    unsigned cpu_flags;
    glia_parallel parallel; /* `rank` is ignored */
    int threads;            /* per rank */
    int block_size;
    const int32_t *tokens[RANKS_SEQS];
    int length[RANKS_SEQS];    /* 0: no such sequence */
    float *logits[RANKS_SEQS]; /* [length, vocab] output */
    /* More outputs, or NULL; every rank fills its own. `residual` is filled at odd positions. */
    float *hidden[RANKS_SEQS];   /* [tp, length, hidden] */
    float *residual[RANKS_SEQS]; /* [tp, layers, length, hidden] */
    int n_residual_layers, residual_layer[GLIA_RESIDUAL_LAYERS_MAX];
} ranks_model;

/* One step: the number of next tokens of each sequence. */
typedef struct {
    int n[RANKS_SEQS];
} ranks_step;

typedef struct {
    const ranks_model *m;
    const ranks_step *step;
    int n_steps, max_rows, max_blocks, n_blocks;
    int32_t *table; /* [RANKS_SEQS, max_blocks] */
    pthread_barrier_t ready;
} ranks_run;

typedef struct {
    ranks_run *run;
    glia_comm *world;
    int rank;
    glia_err err;
} ranks_rank;

/* The number of ranks in a flash decoding group; a block's number says which of them
 * holds the block (model/decoder.h). */
static inline int ranks_flash_group(const ranks_model *m) {
    return glia_local_of(m->config, &m->parallel).members;
}

static inline void ranks_fill_table(ranks_run *r) {
    const int group = ranks_flash_group(r->m);
    int next[GLIA_RANKS_MAX] = {0};
    for (int s = 0; s < RANKS_SEQS; s++)
        for (int b = 0; b < r->max_blocks; b++) {
            const int member = glia_stripe_owner((size_t)(b * r->m->block_size), RANKS_FLASH_UNIT, group);
            r->table[s * r->max_blocks + b] = next[member]++ * group + member;
        }
    for (int i = 0; i < group; i++)
        if (next[i] * group > r->n_blocks) r->n_blocks = next[i] * group;
}

/* Copy the outputs that the last step kept for the batch's rows. */
static inline void ranks_keep(const ranks_rank *k, const glia_decoder *d, const glia_batch *b) {
    const ranks_model *m = k->run->m;
    const size_t hidden = (size_t)m->config->hidden, rank = (size_t)k->rank;
    for (int i = 0; i < b->n_hidden; i++) {
        const int row = b->hidden_row[i], seq = b->seq[row];
        const size_t at = rank * (size_t)m->length[seq] + (size_t)b->position[row];
        memcpy(m->hidden[seq] + at * hidden, glia_decoder_hidden(d, i), hidden * sizeof(float));
    }
    for (int i = 0; i < b->n_residual; i++)
        for (int l = 0; l < m->n_residual_layers; l++) {
            const int row = b->residual_row[i], seq = b->seq[row];
            const size_t at = (rank * (size_t)m->n_residual_layers + (size_t)l) * (size_t)m->length[seq] +
                              (size_t)b->position[row];
            memcpy(m->residual[seq] + at * hidden, glia_decoder_residual(d, l, i), hidden * sizeof(float));
        }
}

static inline void ranks_take_steps(ranks_rank *k, glia_decoder *d) {
    const ranks_run *r = k->run;
    const ranks_model *m = r->m;
    const size_t rows = (size_t)r->max_rows;
    int32_t *row = malloc(5 * rows * sizeof *row);
    int32_t *token = row, *seq = row + rows, *position = row + 2 * rows, *all = row + 3 * rows;
    int32_t *odd = row + 4 * rows;
    int computed[RANKS_SEQS] = {0};
    size_t from = 0, to = (size_t)m->config->vocab;
    if (m->parallel.tp > 1) glia_even_shard(to, m->parallel.tp, k->rank, &from, &to);
    for (int s = 0; s < r->n_steps; s++) {
        int n = 0, n_odd = 0;
        for (int q = 0; q < RANKS_SEQS; q++)
            for (int i = 0; i < r->step[s].n[q]; i++, n++) {
                all[n] = n;
                seq[n] = q;
                position[n] = computed[q]++;
                token[n] = m->tokens[q][position[n]];
                if (position[n] % 2) odd[n_odd++] = n;
            }
        const glia_batch batch = {.n_rows = n,
                                  .token = token,
                                  .seq = seq,
                                  .position = position,
                                  .slot = position,
                                  .n_seqs = RANKS_SEQS,
                                  .max_blocks = r->max_blocks,
                                  .block_table = r->table,
                                  .n_logits = n,
                                  .logit_row = all,
                                  .n_hidden = m->hidden[0] ? n : 0,
                                  .hidden_row = all,
                                  .n_residual = m->residual[0] ? n_odd : 0,
                                  .residual_row = odd};
        glia_guard_enter();
        glia_decoder_step(d, &batch);
        glia_guard_leave();
        for (int i = 0; i < n; i++)
            memcpy(m->logits[seq[i]] + (size_t)position[i] * (size_t)m->config->vocab + from,
                   glia_decoder_logits(d, i), (to - from) * sizeof(float));
        ranks_keep(k, d, &batch);
    }
    free(row);
}

static inline glia_status ranks_prepare(ranks_rank *k, glia_weights **w, glia_team **team, glia_decoder **d) {
    const ranks_run *r = k->run;
    const ranks_model *m = r->m;
    glia_parallel parallel = m->parallel;
    parallel.rank = k->rank;
    glia_quantize quantize;
    glia_status status = glia_quantize_resolve(
        &quantize,
        &(glia_quantize_choice){.scheme = m->scheme, .type = GLIA_QUANTIZATION_TYPE_DEFAULT, .keep = NULL},
        m->config, &k->err);
    if (!status) status = glia_team_create(team, m->threads, &k->err);
    const glia_weights_options options = {.dtype = m->dtype,
                                          .parallel = &parallel,
                                          .quantize = &quantize,
                                          .dummy = !m->dir,
                                          .seed = 7,
                                          .cpu_flags = m->cpu_flags,
                                          .team = *team};
    if (!status) status = glia_weights_load(w, m->dir, m->config, &options, &k->err);
    glia_quantize_free(&quantize);
    glia_decoder_limits limits = {.kv_dtype = m->kv_dtype,
                                  .max_rows = r->max_rows,
                                  .max_logits = r->max_rows,
                                  .block_size = m->block_size,
                                  .n_blocks = r->n_blocks,
                                  .sequence_length = r->max_blocks * m->block_size,
                                  .quantize_rows = m->scheme == GLIA_QUANTIZATION_W8A8,
                                  .rotate = m->scheme != GLIA_QUANTIZATION_NONE,
                                  .max_hidden = m->hidden[0] ? r->max_rows : 0,
                                  .max_residual = m->residual[0] ? r->max_rows : 0,
                                  .n_residual_layers = m->n_residual_layers};
    memcpy(limits.residual_layer, m->residual_layer, sizeof limits.residual_layer);
    if (!status)
        status = glia_comm_share(
            k->world, RANKS_AREA_OFFSET + glia_decoder_area_bytes(m->config, &parallel, &limits), &k->err);
    pthread_barrier_wait(&k->run->ready); /* the areas of all ranks exist */
    if (!status)
        status =
            glia_decoder_create(d, *w, &limits, m->cpu_flags, *team, k->world, RANKS_AREA_OFFSET, &k->err);
    return status;
}

static inline void *ranks_main(void *arg) {
    ranks_rank *k = arg;
    glia_weights *w = NULL;
    glia_team *team = NULL;
    glia_decoder *d = NULL;
    if (ranks_prepare(k, &w, &team, &d)) glia_comm_fail(k->world, k->err.msg);
    if (d) ranks_take_steps(k, d);
    pthread_barrier_wait(&k->run->ready); /* no rank is in a collective */
    glia_decoder_free(d);
    glia_team_free(team);
    glia_weights_free(w);
    return NULL;
}

/* Run the script. Returns false, with a failed check, if a rank fails. */
static inline bool ranks_play(const ranks_model *m, const ranks_step *step, int n_steps) {
    const int tp = m->parallel.tp;
    ranks_run r = {.m = m, .step = step, .n_steps = n_steps};
    int longest = 0;
    for (int q = 0; q < RANKS_SEQS; q++) longest = m->length[q] > longest ? m->length[q] : longest;
    for (int s = 0; s < n_steps; s++) {
        int n = 0;
        for (int q = 0; q < RANKS_SEQS; q++) n += step[s].n[q];
        r.max_rows = n > r.max_rows ? n : r.max_rows;
    }
    r.max_blocks = (longest + m->block_size - 1) / m->block_size;
    r.table = calloc((size_t)(RANKS_SEQS * r.max_blocks), sizeof *r.table);
    ranks_fill_table(&r);
    glia_comm **world = calloc((size_t)tp, sizeof *world);
    ranks_rank *rank = calloc((size_t)tp, sizeof *rank);
    pthread_t *thread = calloc((size_t)tp, sizeof *thread);
    glia_err err = {0};
    if (glia_comm_threads(world, tp, &err)) fail_msg("%s", err.msg);
    pthread_barrier_init(&r.ready, NULL, (unsigned)tp);
    for (int i = 0; i < tp; i++) {
        rank[i] = (ranks_rank){.run = &r, .world = world[i], .rank = i};
        if (pthread_create(&thread[i], NULL, ranks_main, &rank[i])) fail_msg("no thread for rank %d", i);
    }
    for (int i = 0; i < tp; i++) pthread_join(thread[i], NULL);
    const bool well = glia_comm_check(world[0], &err) == GLIA_OK;
    CHECK(well, "%s", err.msg);
    for (int i = 0; i < tp; i++) glia_comm_free(world[i]);
    pthread_barrier_destroy(&r.ready);
    free(thread);
    free(rank);
    free(world);
    free(r.table);
    return well;
}

#endif
