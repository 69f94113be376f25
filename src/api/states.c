/* states.c - glia_model_states(): hidden states of given tokens, from a decoder of their own. */
#include <stdlib.h>

#include "api/model.h"

enum { ROWS = 256, BLOCK = 64 };
_Static_assert((int)GLIA_STATE_LAYERS_MAX == (int)GLIA_RESIDUAL_LAYERS_MAX, "one limit");

/* One call: the decoder, and the arrays that describe a chunk of rows. */
typedef struct {
    const int32_t *ids;
    int n, n_layers;
    glia_decoder *decoder;
    int32_t *table;
    int max_blocks;
    glia_states_fn *on_states;
    void *user;
} states_call;

static glia_status check(const glia_model *m, const int32_t *ids, size_t n, const int32_t *layers,
                         int n_layers, glia_err *err) {
    if (m->parallel.tp > 1)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "hidden states need one rank, found tensor_parallel_size %d", m->parallel.tp);
    if (n == 0 || n > (size_t)INT32_MAX - ROWS)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "no tokens, or too many: %zu", n);
    if (n_layers < 0 || n_layers > GLIA_RESIDUAL_LAYERS_MAX)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "%d layers, limit is %d", n_layers,
                         GLIA_RESIDUAL_LAYERS_MAX);
    for (int i = 0; i < n_layers; i++)
        if (layers[i] < 0 || layers[i] >= m->config.layers)
            return glia_fail(err, GLIA_ERR_ARGUMENT, "layer %d, the model has layers 0 to %d", layers[i],
                             m->config.layers - 1);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->config.vocab)
            return glia_fail(err, GLIA_ERR_ARGUMENT, "token %zu is %d, the vocabulary has %lld", i, ids[i],
                             (long long)m->config.vocab);
    return GLIA_OK;
}

static glia_status open_decoder(states_call *c, const glia_model *m, const int32_t *layers, glia_team *team,
                                glia_err *err) {
    glia_engine_settings settings;
    const glia_engine_options o = {.sequence_length = c->n < 2 ? 2 : c->n};
    glia_status status = glia_engine_resolve(&settings, m, &o, err);
    if (status) return status;
    c->max_blocks = (c->n + BLOCK - 1) / BLOCK;
    glia_decoder_limits l = {.kv_dtype = settings.limits.kv_dtype,
                             .max_rows = ROWS,
                             .max_logits = 1,
                             .block_size = BLOCK,
                             .n_blocks = c->max_blocks,
                             .sequence_length = o.sequence_length,
                             .quantize_rows = settings.limits.quantize_rows,
                             .rotate = settings.limits.rotate,
                             .max_hidden = ROWS,
                             .max_residual = c->n_layers ? ROWS : 0,
                             .n_residual_layers = c->n_layers};
    for (int i = 0; i < c->n_layers; i++) l.residual_layer[i] = layers[i];
    c->table = malloc((size_t)c->max_blocks * sizeof *c->table);
    if (!c->table) return glia_fail_nomem(err, (size_t)c->max_blocks * sizeof *c->table, "a block table");
    for (int i = 0; i < c->max_blocks; i++) c->table[i] = i;
    return glia_decoder_create(&c->decoder, m->weights[0], &l, m->cpu_flags, team, NULL, 0, err);
}

/* Compute positions [from, from + n) and tell them. */
static void run_chunk(const states_call *c, int from, int n) {
    int32_t seq[ROWS], position[ROWS], all[ROWS];
    const float *states[GLIA_RESIDUAL_LAYERS_MAX + 1];
    for (int i = 0; i < n; i++) {
        seq[i] = 0;
        position[i] = from + i;
        all[i] = i;
    }
    const glia_batch b = {.n_rows = n,
                          .token = c->ids + from,
                          .seq = seq,
                          .position = position,
                          .slot = position,
                          .n_seqs = 1,
                          .max_blocks = c->max_blocks,
                          .block_table = c->table,
                          .n_hidden = n,
                          .n_residual = c->n_layers ? n : 0,
                          .hidden_row = all,
                          .residual_row = all};
    glia_decoder_step(c->decoder, &b);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < c->n_layers; k++) states[k] = glia_decoder_residual(c->decoder, k, i);
        states[c->n_layers] = glia_decoder_hidden(c->decoder, i);
        c->on_states(c->user, (size_t)(from + i), states);
    }
}

GLIA_API glia_status glia_model_states(const glia_model *m, const int32_t *ids, size_t n,
                                       const int32_t *layers, int n_layers, glia_states_fn *on_states,
                                       void *user, glia_err *err) {
    glia_team *team = NULL;
    glia_status status = check(m, ids, n, layers, n_layers, err);
    if (status) return status;
    states_call c = {.ids = ids, .n = (int)n, .n_layers = n_layers, .on_states = on_states, .user = user};
    status = glia_team_create(&team, m->threads, err);
    if (!status) status = open_decoder(&c, m, layers, team, err);
    for (int from = 0; from < c.n && !status; from += ROWS)
        run_chunk(&c, from, c.n - from < ROWS ? c.n - from : ROWS);
    if (!status) status = glia_weights_check(m->weights[0], err);
    glia_decoder_free(c.decoder);
    glia_team_free(team);
    free(c.table);
    return status;
}
