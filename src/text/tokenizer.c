/* tokenizer.c - see tokenizer.h. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/detok.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_read.h"
#include "text/tokenizer_tables.h"

enum { FILE_MAX = 1 << 30 };

/* ---- loading --------------------------------------------------------------- */

void glia_tokenizer_measure(glia_tokenizer *t) {
    for (size_t id = 0; id < t->bpe.n_ids; id++)
        if (t->bpe.token[id].len > t->longest) t->longest = t->bpe.token[id].len;
}

/* `dir` may hold precomputed tables (tokenizer_tables.h); NULL: do not look for any. */
static glia_status parse(glia_tokenizer **out, const char *json, size_t len, const char *name,
                         const char *dir, glia_err *err) {
    json_t *rest = NULL;
    glia_tokenizer *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t) return glia_fail_nomem(err, sizeof *t, name);
    t->bos = t->eos = t->pad = -1;
    glia_status status = GLIA_OK;
    if (!dir || !glia_tokenizer_tables_read(&t->bpe, &rest, dir, json, len))
        status = glia_tokenizer_read(&t->bpe, &rest, json, len, name, err);
    if (!status) status = glia_tokenizer_components(t, rest, name, err);
    json_decref(rest);
    if (status) {
        glia_tokenizer_free(t);
        return status;
    }
    glia_tokenizer_measure(t);
    *out = t;
    return GLIA_OK;
}

glia_status glia_tokenizer_parse(glia_tokenizer **out, const char *json, size_t len, const char *name,
                                 glia_err *err) {
    return parse(out, json, len, name, NULL, err);
}

static glia_status load_file(glia_tokenizer **out, const char *path, const char *dir, glia_err *err) {
    char *text;
    size_t len;
    bool found;
    glia_status status = glia_file_find(&found, path, err);
    if (!status && !found)
        status =
            glia_fail(err, GLIA_ERR_IO, "%s: no such file (vocab.json with merges.txt is not read)", path);
    if (!status) status = glia_read_file(&text, &len, path, FILE_MAX, err);
    if (status) return status;
    status = parse(out, text, len, path, dir, err);
    free(text);
    return status;
}

glia_status glia_tokenizer_load(glia_tokenizer **out, const char *dir, glia_err *err) {
    char *path = glia_path_join(dir, "tokenizer.json");
    *out = NULL;
    if (!path) return glia_fail_nomem(err, strlen(dir) + 32, "a path");
    glia_status status = load_file(out, path, dir, err);
    if (!status) status = glia_tokenizer_special(*out, dir, err);
    if (status) {
        glia_tokenizer_free(*out);
        *out = NULL;
    }
    free(path);
    return status;
}

void glia_tokenizer_free(glia_tokenizer *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_added; i++) free(t->added[i].content);
    free(t->added);
    glia_added_trie_free(&t->trie);
    glia_added_trie_free(&t->normalized_trie);
    glia_bpe_free(&t->bpe);
    glia_pretokenizer_free(&t->pre);
    free(t->before.at);
    free(t->after.at);
    free(t);
}

/* ---- encoding -------------------------------------------------------------- */

typedef struct {
    const glia_tokenizer *t;
    glia_bpe_work *work;
    glia_matcher *matcher;
    glia_ids ids;
} encoder;

static glia_status encode_word(void *user, const char *word, size_t len, glia_err *err) {
    encoder *e = user;
    return glia_bpe_encode(&e->t->bpe, e->work, word, len, &e->ids)
               ? GLIA_OK
               : glia_fail_nomem(err, len, "a word's tokens");
}

static glia_status append(glia_ids *ids, const int32_t *more, size_t n, glia_err *err) {
    if (!glia_ids_reserve(ids, n + 1)) return glia_fail_nomem(err, (ids->n + n) * sizeof *more, "token ids");
    if (n) memcpy(ids->at + ids->n, more, n * sizeof *more);
    ids->n += n;
    return GLIA_OK;
}

typedef glia_status between_fn(encoder *e, const char *text, size_t len, glia_err *err);

/* Append the ids of the trie's added tokens in the text; pass the text between them
 * to `between`. */
static glia_status split_added(encoder *e, const glia_added_trie *trie, const char *text, size_t len,
                               between_fn *between, glia_err *err) {
    glia_added_search s = {
        .trie = trie, .tokens = e->t->added, .text = text, .len = len, .split_special = e->t->split_special};
    const glia_added_token *token;
    size_t start, end, done = 0;
    glia_status status = GLIA_OK;
    while (!status && glia_added_next(&s, &start, &end, &token)) {
        if (done < start) status = between(e, text + done, start - done, err);
        if (!status) status = append(&e->ids, &token->id, 1, err);
        done = end;
    }
    return !status && done < len ? between(e, text + done, len - done, err) : status;
}

static glia_status encode_plain(encoder *e, const char *text, size_t len, glia_err *err) {
    return glia_pretokenize(&e->t->pre, e->matcher, text, len, encode_word, e, err);
}

void glia_tokenizer_normalize(const glia_tokenizer *t, glia_buf *out, const char *text, size_t len) {
    const size_t from = out->len;
    glia_buf_add(out, text, len);
    for (int i = 0; i < t->n_forms && !out->oom; i++) {
        glia_buf next = {0};
        if (glia_is_normalized(out->data + from, out->len - from, t->form[i])) continue;
        glia_normalize(&next, out->data + from, out->len - from, t->form[i]);
        out->len = from;
        glia_buf_add(out, next.data ? next.data : "", next.len);
        out->oom = out->oom || next.oom;
        glia_buf_free(&next);
    }
}

static glia_status encode_segment(encoder *e, const char *text, size_t len, glia_err *err) {
    glia_buf normal = {0};
    bool as_is = true;
    for (int i = 0; i < e->t->n_forms; i++) as_is = as_is && glia_is_normalized(text, len, e->t->form[i]);
    if (!as_is) {
        glia_tokenizer_normalize(e->t, &normal, text, len);
        if (normal.oom) {
            glia_buf_free(&normal);
            return glia_fail_nomem(err, len, "normalized text");
        }
        text = normal.data;
        len = normal.len;
    }
    const glia_status status = split_added(e, &e->t->normalized_trie, text, len, encode_plain, err);
    glia_buf_free(&normal);
    return status;
}

glia_status glia_tokenizer_encode(const glia_tokenizer *t, const char *text, size_t len, bool special,
                                  int32_t **ids, size_t *n, glia_err *err) {
    *ids = NULL;
    *n = 0;
    if (len > INT32_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "text of %zu bytes, limit is %d", len, INT32_MAX);
    const size_t bad = glia_utf8_check(text, len);
    if (bad != len)
        return glia_fail(err, GLIA_ERR_FORMAT, "byte %zu of the text: 0x%02x begins no valid UTF-8 character",
                         bad, (unsigned char)text[bad]);
    encoder e = {.t = t, .work = glia_bpe_work_new(len), .matcher = glia_matcher_new()};
    glia_status status = GLIA_OK;
    if (!e.work || !e.matcher) status = glia_fail_nomem(err, len, "encoding");
    if (!status) status = append(&e.ids, t->before.at, special ? t->before.n : 0, err);
    if (!status) status = split_added(&e, &t->trie, text, len, encode_segment, err);
    if (!status) status = append(&e.ids, t->after.at, special ? t->after.n : 0, err);
    glia_bpe_work_free(e.work);
    glia_matcher_free(e.matcher);
    if (status) {
        free(e.ids.at);
        return status;
    }
    *ids = e.ids.at;
    *n = e.ids.n;
    return GLIA_OK;
}

/* ---- decoding -------------------------------------------------------------- */

void glia_tokenizer_decode(const glia_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                           glia_buf *out) {
    glia_detok d;
    glia_detok_init(&d, t, skip_special);
    for (size_t i = 0; i < n; i++) {
        if (!glia_buf_reserve(out, glia_detok_room(t))) return;
        out->len += glia_detok_push(&d, ids[i], out->data + out->len);
    }
    if (!glia_buf_reserve(out, 3)) return;
    out->len += glia_detok_finish(&d, out->data + out->len);
    out->data[out->len] = '\0';
}

size_t glia_tokenizer_vocab_size(const glia_tokenizer *t) { return t->bpe.n_ids; }

const char *glia_tokenizer_bytes(const glia_tokenizer *t, int32_t id, size_t *len) {
    *len = 0;
    if (id < 0 || (size_t)id >= t->bpe.n_ids || !t->bpe.token[id].known) return NULL;
    *len = t->bpe.token[id].len;
    return t->bpe.bytes.data + t->bpe.token[id].at;
}

const glia_added_token *glia_tokenizer_added(const glia_tokenizer *t, const char *content) {
    for (size_t i = 0; i < t->n_added; i++)
        if (strcmp(t->added[i].content, content) == 0) return t->added + i;
    return NULL;
}

int32_t glia_tokenizer_id(const glia_tokenizer *t, const char *text) {
    const glia_added_token *added = glia_tokenizer_added(t, text);
    return added ? added->id : glia_bpe_find(&t->bpe, text, strlen(text), false);
}

bool glia_tokenizer_is_special(const glia_tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->bpe.n_ids && t->bpe.token[id].special;
}

size_t glia_tokenizer_longest(const glia_tokenizer *t) { return t->longest; }
int32_t glia_tokenizer_bos(const glia_tokenizer *t) { return t->bos; }
int32_t glia_tokenizer_eos(const glia_tokenizer *t) { return t->eos; }
int32_t glia_tokenizer_pad(const glia_tokenizer *t) { return t->pad; }
