/* parallel.c - see parallel.h. */
#include "layer/parallel.h"

const glia_parallel glia_alone = {.tp = 1, .cp_degree = 1};

/* With flash decoding: as many as hold the same KV heads. */
static int members_of(const glia_head_cut *cut, int degree) {
    const int group = glia_flash_group(cut);
    return group % degree == 0 ? group : degree;
}

glia_local glia_local_of(const glia_model_config *c, const glia_parallel *p) {
    const glia_head_cut cut = glia_cut_heads(c->heads, c->kv_heads, p->tp);
    const size_t vocab = glia_even_size((size_t)c->vocab, p->tp);
    const glia_head_cut kv_cut = glia_cp_union(&cut, p->cp_degree);
    const int members = p->flash_decoding ? members_of(&cut, p->cp_degree) : 1;
    return (glia_local){
        .cut = cut,
        .cp = p->flash_decoding ? 1 : p->cp_degree,
        .shard = p->flash_decoding ? 0 : glia_cp_rank(p->rank, p->cp_degree),
        .kv_cut = kv_cut,
        .heads = cut.q,
        .kv_heads = kv_cut.kv,
        .q = (size_t)cut.q * (size_t)c->head_dim,
        .kv = (size_t)kv_cut.kv * (size_t)c->head_dim,
        .ffn = glia_even_size((size_t)c->ffn, p->tp),
        .vocab = vocab,
        .embed_vocab = p->vocab_parallel ? vocab : (size_t)c->vocab,
        .embed_hidden = p->vocab_parallel ? (size_t)c->hidden : glia_even_size((size_t)c->hidden, p->tp),
        .members = members,
        .member = p->rank % members,
    };
}
