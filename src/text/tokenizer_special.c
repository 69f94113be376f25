/* tokenizer_special.c - adds to a tokenizer what the files beside tokenizer.json say. */
#define _GNU_SOURCE /* strdup */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "text/special.h"
#include "text/tokenizer_impl.h"

static glia_added_token *find(const glia_tokenizer *t, const char *content) {
    return (glia_added_token *)(uintptr_t)glia_tokenizer_added(t, content);
}

static bool has_added_id(const glia_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id == id) return true;
    return false;
}

/* Add `from`, which the tokenizer does not have as an added token. Returns false if
 * out of memory. */
static bool add(glia_tokenizer *t, const glia_added_token *from) {
    bool raw = false, good = false;
    glia_added_token *grown = realloc(t->added, (t->n_added + 1) * sizeof *grown);
    if (grown) t->added = grown;
    char *bytes = malloc(from->len), *copy = strdup(from->content);
    if (grown && bytes && copy) {
        const size_t len = glia_bpe_unspell(bytes, from->content, from->len, &raw);
        const int64_t id = glia_tokenizer_added_id(t, bytes, len, raw);
        good = id < GLIA_VOCAB_MAX && (((size_t)id < t->bpe.n_ids && t->bpe.token[id].known) ||
                                       glia_bpe_add(&t->bpe, (int32_t)id, bytes, len, raw));
        if (good) {
            glia_added_token *token = t->added + t->n_added++;
            *token = *from;
            token->content = copy;
            token->id = (int32_t)id;
            copy = NULL;
        }
    }
    free(bytes);
    free(copy);
    return good;
}

/* Forget the added tokens of tokenizer.json. */
static void forget_added(glia_tokenizer *t) {
    for (size_t i = 0; i < t->n_added; i++) {
        glia_added_token *token = &t->added[i];
        bool raw = false;
        char *bytes = token->content; /* unspelling only shortens, and reads before it writes */
        const size_t len = glia_bpe_unspell(bytes, bytes, token->len, &raw);
        if (glia_bpe_find(&t->bpe, bytes, len, raw) == token->id)
            t->bpe.token[token->id].special = false;
        else
            t->bpe.token[token->id] = (glia_bpe_token){0};
        free(token->content);
    }
    t->n_added = 0;
}

/* A token that has been special stays special. */
static void set_flags(glia_added_token *token, const glia_added_token *from) {
    token->special |= from->special;
    token->single_word = from->single_word;
    token->lstrip = from->lstrip;
    token->rstrip = from->rstrip;
    token->normalized = from->normalized;
}

static void set_plain(glia_added_token *token) {
    token->special = true;
    token->single_word = token->lstrip = token->rstrip = token->normalized = false;
}

static bool same_token(const glia_added_token *a, const glia_added_token *b) {
    return a->id == b->id && a->single_word == b->single_word && a->lstrip == b->lstrip &&
           a->rstrip == b->rstrip && a->normalized == b->normalized && strcmp(a->content, b->content) == 0;
}

static bool repeats(const glia_special *s, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (same_token(&s->token[j], &s->token[i])) return true;
    return false;
}

/* A token with id -1 that the files beside tokenizer.json name twice has the flags of the last one that
 * repeats none before it. */
static glia_status merge(glia_tokenizer *t, const glia_special *s, glia_err *err) {
    size_t known = SIZE_MAX; /* tokens before the first one with id -1 */
    for (size_t i = 0; i < s->n; i++) {
        glia_added_token *token = find(t, s->token[i].content);
        const bool named = s->token[i].id < 0;
        if (named && known == SIZE_MAX) known = t->n_added;
        if (token && (!named || ((size_t)(token - t->added) >= known && !repeats(s, i))))
            set_flags(token, &s->token[i]);
        else if (!token && !(!named && !s->has_decoder && has_added_id(t, s->token[i].id)) &&
                 !add(t, &s->token[i]))
            return glia_fail_nomem(err, s->token[i].len, "added tokens");
    }
    const char *key;
    json_t *value;
    json_object_foreach(s->named, key, value) {
        glia_added_token *token = find(t, json_string_value(value));
        if (token && !s->has_decoder) token->special = true;
        if (token && s->plain) set_plain(token);
    }
    for (size_t i = 0; i < json_array_size(s->extra) && s->plain; i++)
        set_plain(find(t, json_string_value(json_array_get(s->extra, i))));
    for (size_t i = 0; i < t->n_added; i++) t->bpe.token[t->added[i].id].special |= t->added[i].special;
    const glia_status status = glia_tokenizer_index_added(t, err);
    glia_tokenizer_measure(t);
    return status;
}

static int32_t id_of(const glia_tokenizer *t, const glia_special *s, const char *name) {
    const char *text = json_string_value(json_object_get(s->named, name));
    return text ? glia_tokenizer_id(t, text) : -1;
}

/* Refuse what would change ids or text and is not supported. */
static void refuse(glia_json_reader *r) {
    static const char cleanup[] = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
    if (glia_json_bool(r, "clean_up_tokenization_spaces", false) && glia_json_bool(r, cleanup, false))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is true, which Glia does not support", cleanup);
    const json_t *files = glia_json_array(r, "fast_tokenizer_files");
    for (size_t i = 0; i < json_array_size(files); i++) {
        const char *file = json_string_value(json_array_get(files, i));
        if (file && strncmp(file, "tokenizer.", 10) == 0 && strcmp(file, "tokenizer.json") != 0)
            glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                           "fast_tokenizer_files has %.60s; Glia reads tokenizer.json", file);
    }
}

glia_status glia_tokenizer_special(glia_tokenizer *t, const char *dir, glia_err *err) {
    glia_special s;
    char where[256];
    glia_status status = glia_special_read(&s, dir, err);
    if (status) return status;
    snprintf(where, sizeof where, "%.220s/tokenizer_config.json", dir);
    glia_json_reader r = {.object = s.config, .where = where, .err = err};
    t->split_special = glia_json_bool(&r, "split_special_tokens", false);
    const bool prefix = glia_json_bool(&r, "add_prefix_space", false);
    refuse(&r);
    status = r.status;
    if (!status && s.class_name && s.has_decoder) forget_added(t);
    if (!status && s.class_name) status = glia_tokenizer_rebuild(t, s.class_name, prefix, err);
    if (!status) status = merge(t, &s, err);
    t->bos = id_of(t, &s, "bos_token");
    t->eos = id_of(t, &s, "eos_token");
    t->pad = id_of(t, &s, "pad_token");
    glia_special_free(&s);
    return status;
}
