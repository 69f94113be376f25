/* constraint.c - the constraints of glia.h: compiled once for each model and source. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/model.h"
#include "base/hash.h"
#include "grammar/grammar.h"

enum { KEPT = 64 };

typedef struct {
    glia_grammar *grammar; /* NULL: free */
    glia_constraint_kind kind;
    bool strict;
    char *text, *whitespace; /* whitespace may be NULL */
    size_t len;
    uint64_t used; /* when, for the least recently used */
} entry;

struct glia_constraint_cache {
    pthread_mutex_t lock;
    const glia_tokenizer *tokenizer;
    glia_vocab vocab;
    bool has_vocab;
    entry kept[KEPT];
    uint64_t clock;
};

/* A constraint is its grammar; glia.h knows no grammar. */
static glia_grammar *grammar_of(const glia_constraint *c) { return (glia_grammar *)(uintptr_t)c; }

glia_status glia_constraint_cache_new(struct glia_constraint_cache **out, const glia_tokenizer *t,
                                      glia_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return glia_fail_nomem(err, sizeof **out, "constraints");
    pthread_mutex_init(&(*out)->lock, NULL);
    (*out)->tokenizer = t;
    return GLIA_OK;
}

static void drop(entry *e) {
    glia_grammar_release(e->grammar);
    free(e->text);
    free(e->whitespace);
    *e = (entry){0};
}

void glia_constraint_cache_free(struct glia_constraint_cache *c) {
    if (!c) return;
    for (int i = 0; i < KEPT; i++) drop(&c->kept[i]);
    if (c->has_vocab) glia_vocab_free(&c->vocab);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static bool same_text(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

static bool matches(const entry *e, const glia_constraint_source *s) {
    return e->grammar && e->kind == s->kind && e->strict == s->strict && e->len == s->len &&
           memcmp(e->text, s->text, s->len) == 0 && same_text(e->whitespace, s->whitespace);
}

/* A kept grammar with a reference for the caller, or NULL. */
static glia_grammar *find(struct glia_constraint_cache *c, const glia_constraint_source *s) {
    glia_grammar *g = NULL;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < KEPT && !g; i++)
        if (matches(&c->kept[i], s)) {
            g = c->kept[i].grammar;
            c->kept[i].used = ++c->clock;
            glia_grammar_retain(g);
        }
    pthread_mutex_unlock(&c->lock);
    return g;
}

static char *copy_text(const char *text, size_t len) {
    char *copy = malloc(len + 1);
    if (!copy) return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

/* Keep a grammar instead of the one that was used least recently. Without memory nothing is kept. */
static void keep(struct glia_constraint_cache *c, const glia_constraint_source *s, glia_grammar *g) {
    entry e = {.grammar = g, .kind = s->kind, .strict = s->strict, .len = s->len};
    e.text = copy_text(s->text, s->len);
    if (s->whitespace) e.whitespace = copy_text(s->whitespace, strlen(s->whitespace));
    glia_grammar_retain(g);
    if (!e.text || (s->whitespace && !e.whitespace)) {
        drop(&e);
        return;
    }
    pthread_mutex_lock(&c->lock);
    entry *oldest = &c->kept[0];
    for (int i = 1; i < KEPT; i++)
        if (c->kept[i].used < oldest->used) oldest = &c->kept[i];
    e.used = ++c->clock;
    const entry old = *oldest;
    *oldest = e;
    pthread_mutex_unlock(&c->lock);
    entry last = old;
    drop(&last);
}

static glia_status need_vocab(struct glia_constraint_cache *c, glia_err *err) {
    pthread_mutex_lock(&c->lock);
    const glia_status status = c->has_vocab ? GLIA_OK : glia_vocab_init(&c->vocab, c->tokenizer, err);
    if (!status) c->has_vocab = true;
    pthread_mutex_unlock(&c->lock);
    return status;
}

GLIA_API glia_status glia_constraint_create(glia_constraint **out, const glia_model *m,
                                            const glia_constraint_source *source, glia_err *err) {
    *out = NULL;
    if (!m->constraints)
        return glia_fail(err, GLIA_ERR_IO, "%s: no tokenizer.json, which a constraint needs", m->dir);
    glia_status status = need_vocab(m->constraints, err);
    if (status) return status;
    glia_grammar *g = find(m->constraints, source);
    const glia_grammar_source s = {.kind = (glia_grammar_kind)source->kind,
                                   .text = source->text,
                                   .len = source->len,
                                   .strict = source->strict,
                                   .whitespace = source->whitespace};
    if (!g) {
        status = glia_grammar_compile(&g, &m->constraints->vocab, &s, err);
        if (!status) keep(m->constraints, source, g);
    }
    *out = (glia_constraint *)g;
    return status;
}

GLIA_API void glia_constraint_free(glia_constraint *c) { glia_grammar_release(grammar_of(c)); }

GLIA_API const char *glia_constraint_warning(const glia_constraint *c, size_t i) {
    return glia_grammar_warning(grammar_of(c), i);
}

GLIA_API bool glia_constraint_is_empty(const glia_constraint *c) {
    return glia_grammar_is_empty(grammar_of(c));
}

GLIA_API glia_status glia_constraint_write(const glia_constraint *c, const char *json, size_t json_len,
                                           char **text, size_t *len, glia_err *err) {
    return glia_grammar_write(grammar_of(c), json, json_len, text, len, err);
}

GLIA_API glia_status glia_constraint_accepts(const glia_constraint *c, const char *text, size_t len,
                                             bool *accepts, glia_err *err) {
    return glia_grammar_accepts(grammar_of(c), text, len, accepts, err);
}

GLIA_API glia_status glia_constraint_time(const glia_constraint *c, const char *text, size_t len,
                                          bool *accepts, double **seconds, size_t *n, glia_err *err) {
    return glia_grammar_time(grammar_of(c), text, len, accepts, seconds, n, err);
}

GLIA_API glia_status glia_constraint_describe(const glia_constraint *c, char **text, glia_err *err) {
    *text = glia_grammar_describe(grammar_of(c));
    return *text ? GLIA_OK : glia_fail_nomem(err, 1, "a description");
}

GLIA_API glia_status glia_schema_explain(const char *schema, size_t len, char **text, glia_err *err) {
    const glia_vocab no_tokens = {0};
    const glia_grammar_source s = {.kind = GLIA_GRAMMAR_JSON_SCHEMA, .text = schema, .len = len};
    glia_grammar *g;
    *text = NULL;
    glia_status status = glia_grammar_compile(&g, &no_tokens, &s, err);
    if (status) return status;
    status = glia_constraint_describe((glia_constraint *)g, text, err);
    glia_grammar_release(g);
    return status;
}
