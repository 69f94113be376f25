/* compile.h - the front ends: from the text of a constraint to the root of a grammar. */
#ifndef GLIA_GRAMMAR_COMPILE_H
#define GLIA_GRAMMAR_COMPILE_H

#include <jansson.h>

#include "grammar/grammar_impl.h"

/* Each makes nodes in g->cfg and sets g->root; failures of the pool may be left there. Errors:
 * GLIA_ERR_FORMAT, GLIA_ERR_UNSUPPORTED, GLIA_ERR_LIMIT, GLIA_ERR_NOMEM. */
typedef glia_status glia_compile_fn(glia_grammar *g, const glia_grammar_source *source, glia_err *err);
glia_compile_fn glia_compile_schema, glia_compile_regex, glia_compile_choice, glia_compile_rules,
    glia_compile_tag, glia_compile_tools;

/* Make the node of a JSON Schema, which is kept with the grammar. *out (may be NULL) gets its meaning. */
glia_status glia_schema_add(glia_grammar *g, const json_t *document, bool strict, const char *whitespace,
                            glia_schema **out, glia_node *root, glia_err *err);
/* Make the node of a grammar in GBNF, EBNF or Lark; text [len] is followed by a zero byte. */
glia_status glia_rules_node(glia_grammar *g, const char *text, size_t len, glia_node *root, glia_err *err);

/* The regular expression of the blanks between two tokens of JSON, as glia_grammar_source.whitespace says.
 * *comma and *colon [3] are how glia_grammar_write() separates. */
glia_status glia_compile_blanks(glia_rx *blanks, const char **comma, const char **colon, glia_rx_pool *rx,
                                const char *whitespace, glia_err *err);

#endif
