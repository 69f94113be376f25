/* pooling.c - texts of embedding and reranking models, and what becomes of their results.
 *
 * Sources: the README files of Qwen3-Embedding and Qwen3-Reranker (the variants with transformers). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/model.h"
#include "base/buf.h"

/* Put ids [n] behind those of *all. The buffer holds int32_t. */
static void add_ids(glia_buf *all, const int32_t *ids, size_t n) {
    glia_buf_add(all, (const char *)ids, n * sizeof *ids);
}

static glia_status give_ids(glia_buf *all, int32_t **ids, size_t *n, glia_err *err) {
    *n = all->len / sizeof **ids;
    const size_t bytes = all->len;
    *ids = (int32_t *)(void *)glia_buf_steal(all);
    return *ids ? GLIA_OK : glia_fail_nomem(err, bytes, "ids");
}

/* ---- embeddings ---------------------------------------------------------------------------------- */

/* Cut text [n_plain] so that `most` ids are left with those that the post-processor puts around it. */
static glia_status cut_middle(const int32_t *all, size_t n_all, const int32_t *plain, size_t n_plain,
                              size_t most, int32_t **ids, size_t *n, glia_err *err) {
    size_t before = 0;
    while (before + n_plain < n_all && memcmp(all + before, plain, n_plain * sizeof *plain) != 0) before++;
    const size_t added = n_all - n_plain;
    if (added >= most)
        return glia_fail(err, GLIA_ERR_LIMIT, "%zu tokens have no room for the %zu that the tokenizer adds",
                         most, added);
    glia_buf b = {0};
    add_ids(&b, all, before);
    add_ids(&b, plain, most - added);
    add_ids(&b, all + before + n_plain, added - before);
    return give_ids(&b, ids, n, err);
}

GLIA_API glia_status glia_embed_prompt(const glia_model *m, const char *text, size_t len, size_t most,
                                       int32_t **ids, size_t *n, bool *cut, glia_err *err) {
    int32_t *plain = NULL, *all;
    size_t n_plain = 0;
    glia_status status = glia_tokenize(m, text, len, true, ids, n, err);
    if (cut) *cut = !status && most && *n > most;
    if (status || !most || *n <= most) return status;
    all = *ids;
    *ids = NULL;
    status = glia_tokenize(m, text, len, false, &plain, &n_plain, err);
    if (!status) status = cut_middle(all, *n, plain, n_plain, most, ids, n, err);
    free(all);
    free(plain);
    return status;
}

GLIA_API glia_status glia_embed_query(const char *task, const char *query, size_t query_len, char **text,
                                      size_t *len, glia_err *err) {
    glia_buf b = {0};
    glia_buf_printf(&b, "Instruct: %s\nQuery:", task);
    glia_buf_add(&b, query, query_len);
    *len = b.len;
    *text = glia_buf_steal(&b);
    return *text ? GLIA_OK : glia_fail_nomem(err, query_len, "a query");
}

GLIA_API void glia_embedding(float *out, const float *hidden, int dimensions, bool normalise) {
    double sum = 0;
    for (int i = 0; i < dimensions; i++) sum += (double)hidden[i] * (double)hidden[i];
    const double norm = sqrt(sum), divisor = !normalise ? 1 : norm > 1e-12 ? norm : 1e-12;
    for (int i = 0; i < dimensions; i++) out[i] = (float)((double)hidden[i] / divisor);
}

/* ---- reranking ------------------------------------------------------------------------------------ */

static const char prefix[] =
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    "Instruct "
    "provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
static const char suffix[] = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
static const char any_task[] = "Given a web search query, retrieve relevant passages that answer the query";

static glia_status find_word(const glia_model *m, const char *word, int32_t *id, glia_err *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    glia_status status = glia_tokenize(m, word, strlen(word), false, &ids, &n, err);
    if (!status && n != 1)
        status =
            glia_fail(err, GLIA_ERR_UNSUPPORTED,
                      "%s: reranking needs \"%s\" as one token, this tokenizer makes %zu", m->dir, word, n);
    if (!status) *id = ids[0];
    free(ids);
    return status;
}

/* Append the ids of a text, at most `most`. */
static glia_status add_text(glia_buf *all, const glia_model *m, const char *text, size_t len, bool special,
                            size_t most, glia_err *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    const glia_status status = glia_tokenize(m, text, len, special, &ids, &n, err);
    if (!status) add_ids(all, ids, n < most ? n : most);
    free(ids);
    return status;
}

GLIA_API glia_status glia_rerank_prompt(const glia_model *m, const glia_rerank_pair *pair, size_t most,
                                        int32_t **ids, size_t *n, int32_t no_yes[2], glia_err *err) {
    glia_buf all = {0}, end = {0}, middle = {0};
    *ids = NULL;
    *n = 0;
    glia_status status = find_word(m, "no", &no_yes[0], err);
    if (!status) status = find_word(m, "yes", &no_yes[1], err);
    glia_buf_printf(&middle, "<Instruct>: %s\n<Query>: ", pair->instruct ? pair->instruct : any_task);
    glia_buf_add(&middle, pair->query, pair->query_len);
    glia_buf_puts(&middle, "\n<Document>: ");
    glia_buf_add(&middle, pair->document, pair->document_len);
    if (!status && middle.oom) status = glia_fail_nomem(err, pair->document_len, "a question");
    if (!status) status = add_text(&all, m, prefix, strlen(prefix), false, SIZE_MAX, err);
    if (!status) status = add_text(&end, m, suffix, strlen(suffix), false, SIZE_MAX, err);
    const size_t fixed = (all.len + end.len) / sizeof **ids;
    if (!status && most && most <= fixed)
        status = glia_fail(err, GLIA_ERR_LIMIT, "%zu tokens have no room for the %zu of the question's frame",
                           most, fixed);
    if (!status)
        status = add_text(&all, m, middle.data, middle.len, true, most ? most - fixed : SIZE_MAX, err);
    if (!status) glia_buf_add(&all, end.data, end.len);
    if (!status) status = give_ids(&all, ids, n, err);
    glia_buf_free(&all);
    glia_buf_free(&end);
    glia_buf_free(&middle);
    return status;
}

GLIA_API float glia_rerank_score(const float no_yes_logprobs[2]) {
    return (float)(1 / (1 + exp((double)no_yes_logprobs[0] - (double)no_yes_logprobs[1])));
}
