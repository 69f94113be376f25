/* schema.c - conjunctions of schemas, their memory, and the front end of JSON Schema. */
#include "grammar/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/json.h"
#include "grammar/chars.h"
#include "grammar/rx_impl.h"

enum { BLOCK = 1 << 16, FORMS_MAX = 200000 };

void *glia_schema_take(glia_schema *s, size_t bytes) {
    bytes = (bytes + 15) / 16 * 16;
    if (s->n_blocks && bytes <= BLOCK - s->block_used) {
        char *at = (char *)s->blocks[s->n_blocks - 1] + s->block_used;
        s->block_used += bytes;
        return at;
    }
    void **more = realloc(s->blocks, (s->n_blocks + 1) * sizeof *more);
    if (more) s->blocks = more;
    void *block = more ? calloc(1, bytes > BLOCK ? bytes : BLOCK) : NULL;
    if (!block) {
        glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory for a schema");
        return NULL;
    }
    s->blocks[s->n_blocks++] = block;
    s->block_used = bytes > BLOCK ? BLOCK : bytes;
    return block;
}

void glia_schema_fail(glia_schema *s, glia_status status, const char *fmt, ...) {
    char text[400];
    va_list args;
    if (s->status) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->status = glia_fail(s->err, status, "schema: %s", text);
}

void glia_schema_loose(glia_schema *s, const char *fmt, ...) {
    char text[256];
    va_list args;
    if (s->quiet) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (s->strict)
        glia_schema_fail(s, GLIA_ERR_UNSUPPORTED, "%s cannot be enforced", text);
    else
        glia_grammar_warn(s->g, "%s is not enforced", text);
}

/* ---- conjunctions ------------------------------------------------------------------ */

static bool same_literal(const void *user, uint32_t index, const void *key) {
    const glia_literal *x = (const glia_literal *)((const glia_schema *)user)->literals.data + index,
                       *y = key;
    return x->json == y->json && x->constant == y->constant && x->negated == y->negated;
}

static uint32_t intern_literal(glia_schema *s, const glia_literal *x) {
    const uint64_t hash = glia_mix64((uint64_t)(uintptr_t)x->json * 4 + x->constant * 2 + x->negated);
    uint32_t i = glia_table_find(&s->literal_table, hash, same_literal, s, x);
    if (i != GLIA_TABLE_NONE) return i;
    i = (uint32_t)s->literals.n;
    if (!glia_vec_push(&s->literals, sizeof *x, x) || !glia_table_insert(&s->literal_table, hash, i))
        glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    return i;
}

static glia_conjunction *conj_at(const glia_schema *s, glia_conj c) {
    return (glia_conjunction *)s->conjunctions.data + c;
}

typedef struct {
    const uint32_t *list;
    size_t n;
} conj_key;

static bool same_conj(const void *user, uint32_t index, const void *key) {
    const glia_schema *s = user;
    const conj_key *k = key;
    const glia_conjunction *c = conj_at(s, index);
    if (c->n != k->n || index == GLIA_CONJ_NEVER) return false;
    return k->n == 0 ||
           memcmp((const uint32_t *)s->literal_lists.data + c->first, k->list, k->n * sizeof *k->list) == 0;
}

/* The conjunction of a list of different literals, whose order is kept: it is the order of keys. */
static glia_conj intern_conj(glia_schema *s, const uint32_t *list, size_t n) {
    const conj_key key = {list, n};
    const uint64_t hash = glia_hash_words(list, n, n);
    uint32_t i = glia_table_find(&s->conj_table, hash, same_conj, s, &key);
    if (i != GLIA_TABLE_NONE) return i;
    i = (uint32_t)s->conjunctions.n;
    const glia_conjunction c = {.first = (uint32_t)s->literal_lists.n, .n = (uint32_t)n};
    uint32_t *copy = glia_vec_add(&s->literal_lists, sizeof *copy, n);
    if (!copy || !glia_vec_push(&s->conjunctions, sizeof c, &c) ||
        !glia_table_insert(&s->conj_table, hash, i)) {
        glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
        return GLIA_CONJ_NEVER;
    }
    if (n) memcpy(copy, list, n * sizeof *copy);
    if (i > FORMS_MAX) glia_schema_fail(s, GLIA_ERR_LIMIT, "more than %d different constraints", FORMS_MAX);
    return i;
}

glia_conj glia_conj_of(glia_schema *s, glia_literal x) {
    const bool trivial =
        !x.constant && (json_is_boolean(x.json) || (json_is_object(x.json) && json_object_size(x.json) == 0));
    if (trivial) return json_is_false(x.json) == x.negated ? GLIA_CONJ_ANY : GLIA_CONJ_NEVER;
    const uint32_t i = intern_literal(s, &x);
    return intern_conj(s, &i, 1);
}

const glia_literal *glia_conj_literal(const glia_schema *s, glia_conj c, uint32_t i) {
    if (c == GLIA_CONJ_NEVER || i >= conj_at(s, c)->n) return NULL;
    return (const glia_literal *)s->literals.data + glia_vec_at(&s->literal_lists, conj_at(s, c)->first + i);
}

glia_conj glia_conj_and(glia_schema *s, glia_conj a, glia_conj b) {
    if (a == b || b == GLIA_CONJ_ANY) return a;
    if (a == GLIA_CONJ_ANY) return b;
    if (a == GLIA_CONJ_NEVER || b == GLIA_CONJ_NEVER) return GLIA_CONJ_NEVER;
    glia_vec list = {0};
    const glia_conj both[2] = {a, b};
    bool ok = true;
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; i < conj_at(s, both[k])->n && ok; i++) {
            const uint32_t x = glia_vec_at(&s->literal_lists, conj_at(s, both[k])->first + i);
            bool there = false;
            for (size_t j = 0; j < list.n; j++) there |= glia_vec_at(&list, j) == x;
            if (!there) ok = glia_vec_put(&list, x);
        }
    if (!ok) glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    if (list.n > 200) glia_schema_fail(s, GLIA_ERR_LIMIT, "more than 200 schemas hold for one value");
    const glia_conj c = ok && !s->status ? intern_conj(s, list.data, list.n) : GLIA_CONJ_NEVER;
    glia_vec_free(&list);
    return c;
}

static glia_values literal_values(glia_schema *s, const glia_literal *x) {
    if (x->negated) { /* of the literal itself, whose values are kept */
        glia_literal plain = *x;
        plain.negated = false;
        const glia_values *v = glia_conj_values(s, glia_conj_of(s, plain));
        glia_values out;
        if (!glia_values_not(s, v, &out)) glia_schema_loose(s, "\"not\" of a schema that has no complement");
        return out;
    }
    return x->constant ? glia_constant_values(s, x->json) : glia_schema_values(s, x->json);
}

const glia_values *glia_conj_values(glia_schema *s, glia_conj c) {
    if (s->status) return &s->none;
    if (conj_at(s, c)->values) return conj_at(s, c)->values;
    if (conj_at(s, c)->busy && s->guesses) {
        s->met_busy = true;
        return &s->any;
    }
    if (conj_at(s, c)->busy) {
        glia_schema_fail(s, GLIA_ERR_UNSUPPORTED,
                         "a \"$ref\" leads back to itself without a value in between");
        return &s->none;
    }
    if (!glia_rx_work(s->rx, 10)) return &s->none;
    const int quiet = s->quiet;
    s->quiet = 0; /* the values are kept, also for those who are not quiet */
    conj_at(s, c)->busy = true;
    glia_values v = s->any;
    for (uint32_t i = 0; i < conj_at(s, c)->n && !s->status; i++) {
        const glia_literal x = *glia_conj_literal(s, c, i);
        if (conj_at(s, c)->n == 1) {
            v = literal_values(s, &x);
        } else {
            const glia_values *one = glia_conj_values(s, glia_conj_of(s, x));
            v = i ? glia_values_and(s, &v, one) : *one;
        }
    }
    conj_at(s, c)->busy = false;
    s->quiet = quiet;
    glia_values *kept = glia_schema_take(s, sizeof *kept);
    if (!kept || s->status) return &s->none;
    *kept = v;
    if (!s->met_busy) conj_at(s, c)->values = kept;
    return kept;
}

bool glia_conj_is_none(glia_schema *s, glia_conj c) {
    if (c == GLIA_CONJ_NEVER) return true;
    if (c == GLIA_CONJ_ANY || conj_at(s, c)->busy || s->status) return false;
    const bool outer = s->met_busy;
    s->met_busy = false;
    s->guesses++; /* a recursive constraint is not known to be empty */
    const glia_values *v = glia_conj_values(s, c);
    bool none = false;
    if (!s->met_busy && !s->status) {
        conj_at(s, c)->busy = true;
        none = glia_values_is_none(s, v);
        conj_at(s, c)->busy = false;
    }
    s->guesses--;
    s->met_busy = outer;
    return none;
}

/* ---- the front end ------------------------------------------------------------------- */

static bool init_conjunctions(glia_schema *s) {
    const glia_conjunction never = {.values = &s->none};
    intern_conj(s, NULL, 0);
    return !s->status && glia_vec_push(&s->conjunctions, sizeof never, &never);
}

static void init_values(glia_schema *s) {
    glia_rx_pool *p = s->rx;
    const glia_rx quote = glia_rx_range(p, '"', '"');
    s->any_string =
        glia_rx_cat3(p, quote, glia_rx_repeat(p, glia_char_any(p, GLIA_SPELL_JSON), 0, GLIA_RX_MANY), quote);
    glia_number_init(s);
    glia_object_form *o = glia_schema_take(s, sizeof *o);
    glia_array_form *a = glia_schema_take(s, sizeof *a);
    glia_key_class *k = glia_schema_take(s, sizeof *k);
    if (!o || !a || !k) return;
    *k = (glia_key_class){.keys = s->any_string};
    *o = (glia_object_form){.rest = k, .n_rest = 1, .most = GLIA_RX_MANY};
    *a = (glia_array_form){.rest = GLIA_CONJ_ANY, .most = GLIA_RX_MANY};
    s->any = (glia_values){.null = true,
                           .yes = true,
                           .no = true,
                           .number = s->any_number,
                           .string = s->any_string,
                           .arrays = a,
                           .n_arrays = 1,
                           .objects = o,
                           .n_objects = 1};
    s->none = (glia_values){.number = GLIA_RX_NONE, .string = GLIA_RX_NONE};
}

static glia_node padded(glia_schema *s, glia_rx before, const char *text, glia_rx after) {
    return glia_cfg_term(&s->g->cfg, glia_rx_cat3(s->rx, before, glia_rx_text(s->rx, text, 1), after));
}

static void init_marks(glia_schema *s, const char *whitespace) {
    glia_rx blanks;
    const glia_status status =
        glia_compile_blanks(&blanks, &s->comma_text, &s->colon_text, s->rx, whitespace, s->err);
    if (status) {
        s->status = status;
        return;
    }
    s->open_object = padded(s, GLIA_RX_EMPTY, "{", blanks);
    s->close_object = padded(s, blanks, "}", GLIA_RX_EMPTY);
    s->open_array = padded(s, GLIA_RX_EMPTY, "[", blanks);
    s->close_array = padded(s, blanks, "]", GLIA_RX_EMPTY);
    s->comma = padded(s, blanks, ",", blanks);
    s->colon = padded(s, blanks, ":", blanks);
}

static glia_status parse(json_t **out, const glia_grammar_source *source, glia_err *err) {
    size_t from = 0, to = source->len;
    while (from < to && strchr(" \t\r\n", source->text[from])) from++;
    while (to > from && strchr(" \t\r\n", source->text[to - 1])) to--;
    const char *text = source->text + from;
    const size_t len = to - from;
    *out = NULL;
    if (len == 4 && memcmp(text, "true", 4) == 0) *out = json_true();
    if (len == 5 && memcmp(text, "false", 5) == 0) *out = json_false();
    return *out ? GLIA_OK : glia_json_parse(out, text, len, JSON_ALLOW_NUL, "schema", err);
}

glia_status glia_schema_add(glia_grammar *g, const json_t *document, bool strict, const char *whitespace,
                            glia_schema **out, glia_node *root, glia_err *err) {
    glia_schema *s = calloc(1, sizeof *s);
    if (!s || !glia_vec_push(&g->schemas, sizeof s, &s)) {
        free(s);
        return glia_fail_nomem(err, sizeof *s, "a schema");
    }
    *s = (glia_schema){
        .g = g, .rx = g->rx, .document = json_incref((json_t *)document), .strict = strict, .err = err};
    init_values(s);
    if (!s->status && init_conjunctions(s)) init_marks(s, whitespace);
    if (!s->status) glia_schema_index(s);
    if (!s->status) {
        s->root = glia_conj_of(s, (glia_literal){.json = s->document});
        *root = glia_schema_node(s, s->root);
    }
    const glia_err *failure = glia_rx_error(s->rx);
    if (!s->status && failure->status)
        s->status = glia_fail(err, failure->status, "schema: %s", failure->msg);
    s->err = NULL;
    if (out) *out = s;
    return s->status;
}

glia_status glia_compile_schema(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    json_t *document;
    glia_status status = parse(&document, source, err);
    if (!status)
        status = glia_schema_add(g, document, source->strict, source->whitespace, &g->schema, &g->root, err);
    json_decref(document);
    return status;
}

void glia_schema_free(glia_schema *s) {
    if (!s) return;
    json_decref(s->document);
    json_decref(s->metas);
    for (size_t i = 0; i < s->n_blocks; i++) free(s->blocks[i]);
    free(s->blocks);
    glia_vec *const vec[] = {&s->literals, &s->literal_lists, &s->conjunctions, &s->resources, &s->bases};
    for (size_t i = 0; i < sizeof vec / sizeof *vec; i++) glia_vec_free(vec[i]);
    glia_table_free(&s->literal_table);
    glia_table_free(&s->conj_table);
    glia_table_free(&s->base_table);
    free(s);
}
