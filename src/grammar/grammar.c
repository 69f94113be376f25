/* grammar.c - compiling, and sharing a grammar. */
#define _POSIX_C_SOURCE 200809L /* strdup */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/compile.h"
#include "grammar/rx_impl.h"

static const uint64_t COMPILE_UNITS = 10000000;

static void destroy(glia_grammar *g) {
    glia_mask_free(g);
    for (size_t i = 0; i < g->schemas.n; i++) glia_schema_free(((glia_schema **)g->schemas.data)[i]);
    glia_vec_free(&g->schemas);
    glia_pda_free(&g->pda);
    glia_cfg_free(&g->cfg);
    glia_rx_pool_free(g->rx);
    for (size_t i = 0; i < g->n_warnings; i++) free(g->warnings[i]);
    free(g->warnings);
    free(g->walk);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

void glia_grammar_retain(glia_grammar *g) { atomic_fetch_add(&g->references, 1); }
void glia_grammar_release(glia_grammar *g) {
    if (g && atomic_fetch_sub(&g->references, 1) == 1) destroy(g);
}

void glia_grammar_warn(glia_grammar *g, const char *fmt, ...) {
    char text[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    glia_one_line(text);
    for (size_t i = 0; i < g->n_warnings; i++)
        if (strcmp(g->warnings[i], text) == 0) return;
    char **more = realloc(g->warnings, (g->n_warnings + 1) * sizeof *more);
    if (!more) return;
    g->warnings = more;
    g->warnings[g->n_warnings] = strdup(text);
    g->n_warnings += g->warnings[g->n_warnings] != NULL;
}

const char *glia_grammar_warning(const glia_grammar *g, size_t i) {
    return i < g->n_warnings ? g->warnings[i] : NULL;
}

bool glia_grammar_is_empty(const glia_grammar *g) { return g->empty; }

static glia_status pool_failure(const glia_grammar *g, glia_err *err) {
    const glia_err *e = glia_rx_error(g->rx);
    return e->status ? glia_fail(err, e->status, "%s", e->msg) : GLIA_OK;
}

/* The automaton of g->root. */
static glia_status finish(glia_grammar *g, glia_err *err) {
    glia_status status = pool_failure(g, err);
    if (status) return status;
    g->empty = !glia_cfg_finish(&g->cfg, g->root);
    status = pool_failure(g, err);
    if (status) return status;
    if (glia_cfg_left_recursive(&g->cfg))
        return glia_fail(
            err, GLIA_ERR_UNSUPPORTED,
            "grammar: a rule begins with itself through other rules; write it with a repetition");
    const glia_rx lines = glia_rx_repeat(g->rx, glia_rx_range(g->rx, '\n', '\n'), 0, 2);
    const glia_node after = glia_cfg_seq2(&g->cfg, glia_cfg_term(&g->cfg, lines), g->root);
    if (!glia_pda_init(&g->pda, &g->cfg)) return glia_fail_nomem(err, sizeof g->pda, "a constraint");
    if (!g->empty) {
        g->start = glia_pda_start(&g->pda, g->root);
        g->after_thinking = glia_pda_start(&g->pda, after);
    }
    return pool_failure(g, err);
}

static glia_compile_fn *const compilers[] = {
    [GLIA_GRAMMAR_JSON_SCHEMA] = glia_compile_schema,
    [GLIA_GRAMMAR_REGEX] = glia_compile_regex,
    [GLIA_GRAMMAR_RULES] = glia_compile_rules,
    [GLIA_GRAMMAR_CHOICE] = glia_compile_choice,
    [GLIA_GRAMMAR_TAG] = glia_compile_tag,
    [GLIA_GRAMMAR_TOOLS] = glia_compile_tools,
};

/* Only JSON has blanks, but a wrong style of them is refused with any constraint. */
static glia_status check_whitespace(glia_grammar *g, const char *whitespace, glia_err *err) {
    glia_rx blanks;
    const char *comma, *colon;
    return whitespace ? glia_compile_blanks(&blanks, &comma, &colon, g->rx, whitespace, err) : GLIA_OK;
}

static glia_status compile(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    g->rx = glia_rx_pool_new();
    g->walk = malloc(2 * ((size_t)g->vocab->deepest + 1) * sizeof *g->walk);
    char *text = malloc(source->len + 1); /* with a zero byte at its end */
    glia_status status = GLIA_OK;
    if (!g->rx || !g->walk || !text || !glia_cfg_init(&g->cfg, g->rx)) {
        status = glia_fail_nomem(err, source->len, "a constraint");
    } else {
        glia_grammar_source own = *source;
        memcpy(text, source->text, source->len);
        text[source->len] = '\0';
        own.text = text;
        glia_rx_allow(g->rx, COMPILE_UNITS);
        status = check_whitespace(g, source->whitespace, err);
        if (!status) status = compilers[source->kind](g, &own, err);
        if (!status) status = finish(g, err);
    }
    free(text);
    return status;
}

glia_status glia_grammar_compile(glia_grammar **out, const glia_vocab *v, const glia_grammar_source *source,
                                 glia_err *err) {
    *out = NULL;
    if ((unsigned)source->kind >= sizeof compilers / sizeof *compilers)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "there is no constraint of kind %d", (int)source->kind);
    glia_grammar *g = calloc(1, sizeof *g);
    if (!g) return glia_fail_nomem(err, sizeof *g, "a constraint");
    g->references = 1;
    g->vocab = v;
    pthread_mutex_init(&g->lock, NULL);
    const glia_status status = compile(g, source, err);
    if (status)
        destroy(g);
    else
        *out = g;
    return status;
}

char *glia_grammar_describe(const glia_grammar *g) {
    glia_buf out = {0};
    if (g->schema)
        glia_schema_describe(g->schema, &out);
    else
        glia_buf_puts(&out, g->empty ? "no text\n" : "texts of the grammar\n");
    for (size_t i = 0; i < g->n_warnings; i++) glia_buf_printf(&out, "not enforced: %s\n", g->warnings[i]);
    return glia_buf_steal(&out);
}
