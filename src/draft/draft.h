/* draft.h - speculation: one interface of all drafts, one file for each method.
 *
 * A draft proposes a tree of tokens that may follow a sequence. The target computes
 * the rows of the tree in its next step, draws its own token at each of them, and a
 * proposed token is accepted if it is that token. So a draft changes when a token is
 * computed, never which token it is.
 *
 * A method is a row of the table glia_draft_methods. Two objects, as elsewhere: an
 * immutable glia_draft_model (configuration and weights) and a mutable glia_draft
 * (caches and buffers of one engine). The draft runs on rank 0, on rank 0's team. It is
 * whole there, or with draft_tensor_parallel_size each rank has a share (glia_draft_rank),
 * and rank 0 says what all of them run.
 *
 * State by block. A draft that keeps something per position (keys and values, features
 * of the target) keeps it by the target's cache blocks: position p of a sequence is at
 * table[p / block_size], p % block_size. So a prefix-cache hit brings the draft's state
 * along with the target's, and nothing is copied when sequences share a prefix.
 * draft/marks.h says which positions are still there. A block is never written by two
 * sequences at once. The table covers positions up to n_tokens - 1 + depth while
 * propose() runs, so a draft may write the rows of a chain there. */
#ifndef GLIA_DRAFT_DRAFT_H
#define GLIA_DRAFT_DRAFT_H

#include "base/arena.h"
#include "base/team.h"
#include "decode/sampling.h"
#include "draft/tree.h"
#include "format/config.h"
#include "model/decoder.h"
#include "model/weights.h"

typedef struct glia_draft_method glia_draft_method;

/* ---- the immutable half ----------------------------------------------------- */

/* What --speculative-config says, common to all methods. */
typedef struct {
    const glia_draft_method *method;
    char *dir;  /* the draft's directory; NULL: the method has none */
    int tokens; /* num_speculative_tokens: the depth of a proposal. 0: read() sets the method's default */
    glia_tree_shape tree;
    int lookup_min, lookup_max; /* prompt_lookup_min, prompt_lookup_max; 0: not given */
    int tp;                     /* draft_tensor_parallel_size; 0: not given */
    float threshold;            /* DSpark: the least chance of acceptance of a proposed token; 0: no limit */
    glia_dtype dtype;           /* of the draft's matrices; AUTO: the target's */
    glia_quantization quantization;
} glia_draft_config;

typedef struct {
    glia_draft_config config;
    /* The target, which outlives the draft. */
    const char *target_dir;
    const glia_model_config *target;
    glia_dtype target_dtype;
    unsigned cpu_flags;
    int threads;            /* of a rank's team */
    glia_parallel parallel; /* of the draft; its rank: the first of this process. tp 1: whole on rank 0 */
    int n_ranks;            /* ranks of this process that have weights of the draft; set before load() */
    void *own;              /* the method's, set by read() */
} glia_draft_model;

/* What a draft wants to know of each row of the target that becomes part of a sequence. */
typedef struct {
    bool hidden; /* the hidden state after the last norm */
    int n_residual_layers, residual_layer[GLIA_RESIDUAL_LAYERS_MAX]; /* as glia_decoder_limits */
} glia_draft_needs;

/* ---- the mutable half ------------------------------------------------------- */

/* What fixes a draft's memory. */
typedef struct {
    int batch;           /* sequences at once */
    int sequence_length; /* positions of a sequence */
    int nodes, depth;    /* most nodes of a tree besides its root; most tokens of a path */
    int chunk;           /* most rows of a draft's own step that are no nodes */
    int block_size, n_blocks;
    glia_dtype kv_dtype; /* of the target's cache */
} glia_draft_limits;

/* One rank of a draft that ranks share; rank 0 has one, too. */
typedef struct {
    const glia_draft_model *model;
    glia_draft_limits limits;
    int local; /* which rank of this process */
    glia_team *team;
    glia_comm *world;
    size_t area_offset; /* of the draft's bytes in the area of the world */
    void *own;          /* the method's, set by open() */
} glia_draft_rank;

typedef struct {
    const glia_draft_model *model;
    glia_draft_limits limits;
    glia_team *team;             /* rank 0's */
    const glia_weights *weights; /* rank 0's weights of the target: the whole model if parallel.tp is 1 */
    const glia_decoder *target;  /* rank 0's, for glia_decoder_hidden() and glia_decoder_residual() */
    glia_sampler *sampler;       /* [threads of the team], of the target's whole vocabulary */
    const uint32_t *epoch;       /* [n_blocks] how often each block was allocated, for draft/marks.h */
    bool scored;                 /* the trace wants the scores of nodes; else a method may leave them 0 */
    /* Of a draft that ranks share. words() is where the method writes glia_draft_sharing.words at most;
     * order() sends n of them to all ranks, which obey, this one too. */
    glia_draft_rank *rank; /* NULL: the draft is whole */
    int32_t *(*words)(void *user);
    glia_status (*order)(void *user, size_t n, glia_err *err);
    void *user;
    void *own; /* the method's, set by open() */
} glia_draft;

/* One running sequence. */
typedef struct {
    int slot;              /* 0 .. batch - 1; a sequence keeps its slot */
    uint64_t id;           /* another id in a slot is another sequence */
    const int32_t *tokens; /* [n_tokens]; the target has computed the rows of all but the last one */
    int n_tokens;
    const int32_t *table; /* the target's block table of the sequence */

    /* For learn(): the last step computed positions [from, to), to < n_tokens. Position from + i is number
     * state[i] of the target's wanted rows: glia_decoder_hidden(target, state[i]), and alike for residual.
     * Positions that no call names came from the prefix cache. */
    int from, to;
    const int32_t *state;

    /* For propose(). */
    int depth;           /* the most tokens of a path, at least 1 */
    int nodes;           /* the most nodes besides the root, at least 1 */
    glia_tree_stop stop; /* for methods with `leads` */
    glia_draw draw;  /* of the token after `tokens`, the first to propose. For one below a node of the tree,
                      * draw.path is the path to this node without node 0 */
    glia_tree *tree; /* out: node 0 is the last of `tokens` already; propose() adds nodes, or none */
} glia_draft_seq;

/* ---- a method --------------------------------------------------------------- */

/* How ranks share a draft. */
typedef struct {
    /* Bytes of each rank's area, and words of the longest order. */
    size_t (*area)(const glia_draft_model *m, const glia_draft_limits *l);
    size_t (*words)(const glia_draft_model *m, const glia_draft_limits *l);
    /* Add what open() allocates to the plan of rank number `local` of this process. */
    void (*plan)(const glia_draft_model *m, const glia_draft_limits *l, int local, glia_plan *plan);
    /* Called on the thread that is thread 0 of r->team. On failure close() is due, too. */
    glia_status (*open)(glia_draft_rank *r, glia_err *err);
    void (*close)(glia_draft_rank *r);
    /* Do what the words say, on every rank at once. Allocates nothing. */
    void (*obey)(glia_draft_rank *r, const int32_t *words);
} glia_draft_sharing;

struct glia_draft_method {
    const char *name; /* as vLLM's key "method" */
    bool has_model;   /* needs the key "model" */
    bool leads;       /* chains have leads, and end where glia_draft_seq.stop says */
    bool at_once;     /* a proposal of any depth is one call of the draft */
    bool shrinks;     /* near the end of an answer propose only as many tokens as are wanted, traced or not */

    /* Read and check the draft's configuration against the target's (vocabulary, hidden size, layers): no
     * weights. Sets m->own and m->config.tokens. Errors: one sentence with expected, found and where. */
    glia_status (*read)(glia_draft_model *m, glia_err *err);
    /* Add the weights' memory to the plan; may be NULL. */
    void (*plan_weights)(const glia_draft_model *m, glia_plan *plan);
    /* Load the weights of m->n_ranks ranks; may be NULL. `team` packs them and is rank 0's or one like it.
     * `target`: as glia_draft.weights. */
    glia_status (*load)(glia_draft_model *m, const glia_weights *target, glia_team *team, glia_err *err);
    void (*unload)(glia_draft_model *m); /* also after a failure of read() or load(); may be NULL */
    glia_draft_needs (*needs)(const glia_draft_model *m); /* NULL: nothing */

    /* Add what open() allocates to the plan; may be NULL. Names of regions begin with "draft: ". */
    void (*plan)(const glia_draft_model *m, const glia_draft_limits *l, glia_plan *plan);
    /* d is filled but for `own`. Called on the thread that is thread 0 of the team. */
    glia_status (*open)(glia_draft *d, glia_err *err);
    void (*close)(glia_draft *d);

    /* Both are called on the thread that is thread 0 of the team, outside of glia_team_run(), and allocate
     * nothing. Errors: GLIA_ERR_FORMAT the draft's numbers are not all finite, GLIA_ERR_IO a rank has failed.
     * After an error the draft is not called again, and the answers go on without it. */

    /* Right after each step of the target: take what needs() asked for of seq [n]. Sequences that end with
     * this step are among them, since other sequences may find their blocks in the prefix cache. NULL: the
     * method has no needs. */
    glia_status (*learn)(glia_draft *d, const glia_draft_seq *seq, int n, glia_err *err);
    /* Before propose(): how sure the draft is of what it would propose for the sequence, 0 to
     * GLIA_PAYS_GRADES - 1; -1: it would propose nothing. Acceptance is counted by grade. depth, nodes, draw
     * and tree of *seq are not set. Called for each sequence that may be asked. NULL: every proposal has
     * grade 0. */
    int (*grade)(glia_draft *d, const glia_draft_seq *seq);
    /* Before a step of the target: propose for each of seq [n] at most seq->depth and seq->nodes. Any running
     * sequence may be left out of any call. */
    glia_status (*propose)(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err);
    const glia_draft_sharing *sharing; /* NULL: the method is whole on rank 0 */
};

/* NULL-terminated. */
extern const glia_draft_method *const glia_draft_methods[];
/* Do ranks share the draft? */
static inline bool glia_draft_shared(const glia_draft_model *m) { return m && m->parallel.tp > 1; }

/* NULL: no method has this name. */
const glia_draft_method *glia_draft_method_find(const char *name);
/* The method of the draft in the directory, by the names of its tensors: draft_model if they are of no head.
 */
const glia_draft_method *glia_draft_method_of(const char *dir);
/* Write the names of all methods to text [size], "eagle, ngram". Returns text. */
const char *glia_draft_method_names(char *text, size_t size);

extern const glia_draft_method glia_draft_ngram, glia_draft_draft_model;

#endif
