/* compile.c - the small front ends, and blanks. */
#include "grammar/compile.h"

#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "grammar/chars.h"

glia_status glia_compile_regex(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    glia_rx e;
    const glia_status status = glia_rx_parse(&e, g->rx, source->text, source->len, GLIA_SPELL_TEXT, false,
                                             "regular expression", err);
    if (!status) g->root = glia_cfg_term(&g->cfg, e);
    return status;
}

static glia_status choices(glia_grammar *g, const json_t *list, glia_err *err) {
    if (!json_is_array(list) || json_array_size(list) == 0)
        return glia_fail(err, GLIA_ERR_FORMAT, "choice: expected an array of strings, found %s",
                         json_is_array(list) ? "an empty one" : glia_json_type_name(list));
    glia_rx sum = GLIA_RX_NONE;
    glia_vec all = {0};
    size_t i;
    const json_t *value;
    glia_status status = GLIA_OK;
    json_array_foreach(list, i, value) {
        if (!json_is_string(value)) {
            status = glia_fail(err, GLIA_ERR_FORMAT, "choice %zu: expected a string, found %s", i + 1,
                               glia_json_type_name(value));
            break;
        }
        if (!glia_vec_put(&all, glia_rx_text(g->rx, json_string_value(value), json_string_length(value))))
            status = glia_fail_nomem(err, all.n, "choices");
    }
    if (!status) sum = glia_rx_or_all(g->rx, all.data, all.n);
    glia_vec_free(&all);
    g->root = glia_cfg_term(&g->cfg, sum);
    return status;
}

glia_status glia_compile_choice(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    json_error_t e;
    json_t *list = json_loadb(source->text, source->len, JSON_ALLOW_NUL, &e);
    if (!list) return glia_fail(err, GLIA_ERR_FORMAT, "choice: not JSON at byte %d: %s", e.position, e.text);
    const glia_status status = choices(g, list, err);
    json_decref(list);
    return status;
}

/* ---- blanks ---------------------------------------------------------------------- */

static const struct {
    const char *name, *pattern, *comma, *colon;
} styles[] = {
    /* at most one new line, and as much indentation as people write */
    {"flexible", "[ \\t]{0,8}|\\r?\\n[ \\t]{0,64}", ", ", ": "},
    {"compact", "", ",", ":"},
    {"none", "", ",", ":"},
    {"single", " ?", ", ", ": "},
};

glia_status glia_compile_blanks(glia_rx *blanks, const char **comma, const char **colon, glia_rx_pool *rx,
                                const char *whitespace, glia_err *err) {
    const char *pattern = whitespace ? whitespace : "flexible";
    *comma = ", ";
    *colon = ": ";
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
        if (strcmp(pattern, styles[i].name) == 0) {
            pattern = styles[i].pattern;
            *comma = styles[i].comma;
            *colon = styles[i].colon;
            break;
        }
    const glia_status status =
        glia_rx_parse(blanks, rx, pattern, strlen(pattern), GLIA_SPELL_TEXT, false, "whitespace", err);
    if (status) return status;
    glia_byteset json = {{0}};
    glia_byteset_range(&json, ' ', ' ');
    glia_byteset_range(&json, '\t', '\n');
    glia_byteset_range(&json, '\r', '\r');
    const glia_rx legal = glia_rx_repeat(rx, glia_rx_set(rx, &json), 0, GLIA_RX_MANY);
    if (!glia_rx_is_none(rx, glia_rx_minus(rx, *blanks, legal)) || *blanks == GLIA_RX_NONE)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "whitespace \"%s\": expected flexible, compact, single, or a regular expression of "
                         "blanks, tabs and new lines",
                         whitespace);
    if (!glia_rx_matches(rx, *blanks, " ", 1) && glia_rx_nullable(rx, *blanks)) {
        *comma = ",";
        *colon = ":";
    }
    return GLIA_OK;
}
