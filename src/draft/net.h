/* net.h - the forward pass of a draft head, and its cache.
 *
 * A net belongs to one engine and runs on rank 0's team. It keeps keys and values by the
 * target's blocks: position p of a sequence is in block table[p / block_size]. Row j of
 * an EAGLE head is the pair of token j + 1 and the target's state of position j, at
 * position j. Rows that are only proposed lie behind the target's positions, in blocks
 * of the net's own. */
#ifndef GLIA_DRAFT_NET_H
#define GLIA_DRAFT_NET_H

#include "draft/draft.h"
#include "draft/head.h"
#include "layer/kv_cache.h"

/* Rows of one call, side by side in host arrays. */
typedef struct {
    int n;
    const int32_t *token; /* [n] */
    /* [n] numbers of the target's wanted rows whose states are the input; NULL: the input is `input` */
    const int32_t *state;
    /* with `state`: [n] the row's states side by side, or NULL: those of state[i] */
    const float *const *kept;
    const float *const *input; /* [n] hidden states [hidden] */
    glia_rows rows;            /* the arrays; n and the block table are the net's to set */
    int n_wanted;              /* rows whose hidden states are wanted */
    const int32_t *wanted;     /* [n_wanted] */
    bool logits;               /* and their logits, too */
} glia_net_batch;

/* What a method does with a net. */
typedef struct {
    int wide; /* most proposed rows of a sequence in one call */
    int own;  /* most proposed rows of a sequence whose keys and values are in the cache at once */
} glia_net_size;

typedef struct {
    const glia_head *head;
    glia_team *team;
    glia_device *device;
    glia_plan plan;
    glia_draft_limits limits;
    const glia_decoder *target; /* whose states are learned */
    glia_kv_cache kv;
    int max_rows, max_wanted;  /* of a call */
    int max_blocks, own_first; /* of a row of `table`; its first entry that is of the net's own blocks */
    size_t ld, ld_qkv, ld_q, ld_ffn, ld_vocab;
    float *x;      /* [max_rows, ld] what the first product of a layer reads */
    float *hidden; /* [max_rows, ld] the residual stream */
    float *features, *qkv, *attention, *ffn;
    float *out[2]; /* [max_wanted, ld] hidden states of wanted rows; calls alternate between the two */
    float *logits; /* [max_wanted, ld_vocab] */
    float *markov; /* [max_wanted, ld] */
    float *cos, *sin;
    int32_t *table;       /* [batch, max_blocks] */
    int turn;             /* of out[] */
    glia_net_batch batch; /* the call that runs */
} glia_net;

void glia_net_plan(const glia_head *h, const glia_draft_limits *l, glia_net_size size, int threads,
                   glia_dtype dtype, glia_plan *plan);
/* The caller closes *net. `dtype` is that of the target's matrices. Errors: GLIA_ERR_NOMEM. */
glia_status glia_net_open(glia_net *net, const glia_head *h, const glia_draft_limits *l, glia_net_size size,
                          unsigned cpu_flags, glia_dtype dtype, glia_team *team, const glia_decoder *target,
                          glia_err *err);
void glia_net_close(glia_net *net);

/* The table of the sequence in `slot`: the blocks of the target that hold the first `positions` positions,
 * then the net's own. */
void glia_net_table(glia_net *net, int slot, const int32_t *blocks, int positions);
/* The slot of proposed row i, which has no position of the target. */
static inline int glia_net_slot(const glia_net *net, int i) {
    return net->own_first * net->limits.block_size + i;
}

/* EAGLE: store keys and values of the rows, and compute what is wanted. */
void glia_net_eagle(glia_net *net, const glia_net_batch *b);
/* The logits of n rows that glia_net_hidden() gave before. */
void glia_net_head(glia_net *net, const float *const *hidden, int n);
/* DFlash: store keys and values of context rows. */
void glia_net_context(glia_net *net, const glia_net_batch *b);
/* DFlash: the rows of blocks, which see each other. */
void glia_net_block(glia_net *net, const glia_net_batch *b);
/* DSpark: add what the tokens before say to logits [n], rows logit[n]. */
void glia_net_markov(glia_net *net, const int32_t *logit, const int32_t *before, int n);
/* Medusa: the logits of all heads. Input: the target's hidden states. Row i of head h is logits i + h * n. */
void glia_net_medusa(glia_net *net, const glia_net_batch *b);

/* Of wanted row i of the last call: logits [draft_vocab], and the hidden state that the next row reads. The
 * hidden state stays until the call after the next. */
static inline float *glia_net_logits(const glia_net *net, int i) {
    return net->logits + (size_t)i * net->ld_vocab;
}
static inline float *glia_net_hidden(const glia_net *net, int i) {
    return net->out[net->turn] + (size_t)i * net->ld;
}
/* DSpark: w1's row of the i-th token of the last glia_net_markov(). */
static inline float *glia_net_markov_row(const glia_net *net, int i) {
    return net->markov + (size_t)i * net->ld;
}

#endif
