/* tags.c - structural tags: free text with tagged regions; and tool calls, which are made of them.
 *
 * The formats are those of XGrammar's structural tags. Free text never holds what would begin a
 * tag, so that a tag that begins is a whole one. */
#include <string.h>

#include "format/json.h"
#include "grammar/chars.h"
#include "grammar/compile.h"
#include "grammar/rx_impl.h"

enum { DEPTH_MAX = 100 };

typedef struct {
    glia_grammar *g;
    glia_rx_pool *p;
    bool strict;
    const char *whitespace;
    int depth;
    glia_err *err;
    glia_status status;
} tagger;

static glia_node fail(tagger *t, glia_status status, const char *what, const json_t *found) {
    char text[100];
    if (!t->status)
        t->status = glia_fail(t->err, status, "%s, found %s", what,
                              found ? glia_json_print(found, text, sizeof text) : "nothing");
    return GLIA_NODE_NONE;
}

/* The string of a key. */
static const char *string(tagger *t, const json_t *x, const char *key, size_t *len) {
    const json_t *s = json_object_get(x, key);
    char what[80];
    *len = json_string_length(s);
    if (json_is_string(s)) return json_string_value(s);
    snprintf(what, sizeof what, "structural tag: expected a string \"%s\"", key);
    fail(t, GLIA_ERR_FORMAT, what, x);
    return "";
}

static glia_node text_node(tagger *t, const char *text, size_t len) {
    return len ? glia_cfg_text(&t->g->cfg, text, len) : glia_cfg_term(&t->g->cfg, GLIA_RX_EMPTY);
}

static glia_rx any_text(tagger *t) {
    return glia_rx_repeat(t->p, glia_char_any(t->p, GLIA_SPELL_TEXT), 0, GLIA_RX_MANY);
}

/* Text that holds none of the strings of the lists. */
static glia_rx text_without(tagger *t, const json_t *a, const json_t *b) {
    const json_t *const lists[2] = {a, b};
    glia_rx e = any_text(t);
    size_t i;
    const json_t *x;
    for (int k = 0; k < 2; k++) {
        json_array_foreach(lists[k], i, x) {
            const size_t len = json_string_length(x);
            if (!len)
                fail(t, GLIA_ERR_FORMAT, "structural tag: expected strings that are not empty", lists[k]);
            const glia_rx word = glia_rx_text(t->p, json_string_value(x) ? json_string_value(x) : "", len);
            e = glia_rx_minus(t->p, e, glia_rx_cat3(t->p, GLIA_RX_ALL, word, GLIA_RX_ALL));
        }
    }
    return e;
}

static glia_node schema_node(tagger *t, const json_t *schema) {
    glia_node node = GLIA_NODE_NONE;
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return fail(t, GLIA_ERR_FORMAT, "structural tag: expected a JSON Schema", schema);
    if (!t->status) t->status = glia_schema_add(t->g, schema, t->strict, t->whitespace, NULL, &node, t->err);
    return node;
}

static glia_node format(tagger *t, const json_t *x);

typedef glia_node format_fn(tagger *t, const json_t *x);

static glia_node const_string(tagger *t, const json_t *x) {
    size_t len;
    const char *text = string(t, x, json_object_get(x, "value") ? "value" : "text", &len);
    return text_node(t, text, len);
}

static glia_node json_schema(tagger *t, const json_t *x) {
    const json_t *schema = json_object_get(x, "json_schema");
    return schema_node(t, schema ? schema : json_object_get(x, "schema"));
}

static glia_node regex(tagger *t, const json_t *x) {
    size_t len;
    const char *pattern = string(t, x, json_object_get(x, "pattern") ? "pattern" : "regex", &len);
    glia_rx e = GLIA_RX_NONE;
    if (!t->status)
        t->status =
            glia_rx_parse(&e, t->p, pattern, len, GLIA_SPELL_TEXT, false, "regular expression", t->err);
    return glia_cfg_term(&t->g->cfg, e);
}

static glia_node grammar(tagger *t, const json_t *x) {
    size_t len;
    const char *text = string(t, x, "grammar", &len);
    glia_node node = GLIA_NODE_NONE;
    if (!t->status) t->status = glia_rules_node(t->g, text, len, &node, t->err);
    return node;
}

static glia_node free_text(tagger *t, const json_t *x) {
    return glia_cfg_term(&t->g->cfg, text_without(t, json_object_get(x, "excludes"), NULL));
}

static glia_node list_of(tagger *t, const json_t *list, bool sequence) {
    glia_vec nodes = {0};
    size_t i;
    const json_t *x;
    if (!json_is_array(list))
        return fail(t, GLIA_ERR_FORMAT, "structural tag: expected an array \"elements\"", list);
    json_array_foreach(list, i, x) if (!glia_vec_put(&nodes, format(t, x))) t->status =
        glia_fail_nomem(t->err, 4, "a tag");
    const glia_node node = sequence ? glia_cfg_seq(&t->g->cfg, nodes.data, nodes.n)
                                    : glia_cfg_or(&t->g->cfg, nodes.data, nodes.n);
    glia_vec_free(&nodes);
    return node;
}
static glia_node sequence(tagger *t, const json_t *x) {
    return list_of(t, json_object_get(x, "elements"), true);
}
static glia_node alternatives(tagger *t, const json_t *x) {
    return list_of(t, json_object_get(x, "elements"), false);
}

static glia_node times(tagger *t, const json_t *x, int least, int most) {
    return glia_cfg_repeat(&t->g->cfg, format(t, json_object_get(x, "content")), least, most);
}
static glia_node optional(tagger *t, const json_t *x) { return times(t, x, 0, 1); }
static glia_node star(tagger *t, const json_t *x) { return times(t, x, 0, GLIA_RX_MANY); }
static glia_node plus(tagger *t, const json_t *x) { return times(t, x, 1, GLIA_RX_MANY); }
static glia_node repeat(tagger *t, const json_t *x) {
    const json_t *least = json_object_get(x, "min"), *most = json_object_get(x, "max");
    const json_int_t m = json_integer_value(least), n = json_integer_value(most);
    if (m < 0 || m > 1000000 || n > 1000000 || (most && n >= 0 && n < m))
        return fail(t, GLIA_ERR_FORMAT, "structural tag: expected counts \"min\" and \"max\"", x);
    return times(t, x, (int)m, json_is_integer(most) && n >= 0 ? (int)n : GLIA_RX_MANY);
}

/* begin, content, end; free text as the content does not hold the end. */
static glia_node tag(tagger *t, const json_t *x) {
    size_t n_begin, n_end = 0;
    const char *begin = string(t, x, "begin", &n_begin), *end = "";
    const json_t *content = json_object_get(x, "content"), *ends = json_object_get(x, "end");
    glia_node close;
    if (json_is_array(ends)) {
        glia_vec list = {0};
        size_t i;
        const json_t *y;
        json_array_foreach(ends, i, y) glia_vec_put(
            &list, text_node(t, json_string_value(y) ? json_string_value(y) : "", json_string_length(y)));
        close = glia_cfg_or(&t->g->cfg, list.data, list.n);
        glia_vec_free(&list);
    } else {
        end = string(t, x, "end", &n_end);
        close = text_node(t, end, n_end);
    }
    const char *type = json_string_value(json_object_get(content, "type"));
    glia_node inside;
    if (type && strcmp(type, "any_text") == 0) {
        json_t *list = json_is_array(ends) ? json_incref((json_t *)ends)
                       : n_end             ? json_pack("[O]", ends)
                                           : json_array();
        inside = glia_cfg_term(&t->g->cfg, text_without(t, json_object_get(content, "excludes"), list));
        json_decref(list);
    } else {
        inside = format(t, content);
    }
    return glia_cfg_seq(&t->g->cfg, (const glia_node[]){text_node(t, begin, n_begin), inside, close}, 3);
}

static glia_node tags_of(tagger *t, const json_t *x) {
    const json_t *list = json_object_get(x, "tags"), *y;
    glia_vec nodes = {0};
    size_t i;
    if (json_array_size(list) == 0)
        return fail(t, GLIA_ERR_FORMAT, "structural tag: expected an array \"tags\"", x);
    json_array_foreach(list, i, y) if (!glia_vec_put(&nodes, tag(t, y))) t->status =
        glia_fail_nomem(t->err, 4, "a tag");
    const glia_node node = glia_cfg_or(&t->g->cfg, nodes.data, nodes.n);
    glia_vec_free(&nodes);
    return node;
}

/* Text, then tags with text between them and after the last. */
static glia_node triggered(tagger *t, glia_node text, glia_node tags, bool needed, bool once) {
    glia_cfg *g = &t->g->cfg;
    if (once) {
        const glia_node one = glia_cfg_seq2(g, text, tags);
        return needed ? one : glia_cfg_or(g, (const glia_node[]){one, text}, 2);
    }
    return glia_cfg_seq2(g, text, glia_cfg_repeat(g, glia_cfg_seq2(g, tags, text), needed, GLIA_RX_MANY));
}

static glia_node triggered_tags(tagger *t, const json_t *x) {
    const json_t *triggers = json_object_get(x, "triggers");
    if (json_array_size(triggers) == 0)
        return fail(t, GLIA_ERR_FORMAT, "structural tag: expected an array \"triggers\"", x);
    const glia_node text =
        glia_cfg_term(&t->g->cfg, text_without(t, triggers, json_object_get(x, "excludes")));
    return triggered(t, text, tags_of(t, x), json_is_true(json_object_get(x, "at_least_one")),
                     json_is_true(json_object_get(x, "stop_after_first")));
}

static glia_node separated_tags(tagger *t, const json_t *x) {
    size_t len;
    glia_cfg *g = &t->g->cfg;
    const char *separator = string(t, x, "separator", &len);
    const glia_node tags = tags_of(t, x);
    const bool once = json_is_true(json_object_get(x, "stop_after_first"));
    const glia_node more =
        glia_cfg_repeat(g, glia_cfg_seq2(g, text_node(t, separator, len), tags), 0, once ? 0 : GLIA_RX_MANY);
    return glia_cfg_repeat(g, glia_cfg_seq2(g, tags, more), json_is_true(json_object_get(x, "at_least_one")),
                           1);
}

static const struct {
    const char *type;
    format_fn *make;
} formats[] = {
    {"const_string", const_string},
    {"json_schema", json_schema},
    {"regex", regex},
    {"grammar", grammar},
    {"any_text", free_text},
    {"sequence", sequence},
    {"or", alternatives},
    {"optional", optional},
    {"star", star},
    {"plus", plus},
    {"repeat", repeat},
    {"tag", tag},
    {"triggered_tags", triggered_tags},
    {"tags_with_separator", separated_tags},
};

static glia_node format(tagger *t, const json_t *x) {
    const char *type = json_string_value(json_object_get(x, "type"));
    glia_node node = GLIA_NODE_NONE;
    bool found = false;
    if (t->status) return GLIA_NODE_NONE;
    if (++t->depth > DEPTH_MAX)
        return fail(t, GLIA_ERR_LIMIT, "structural tag: nested deeper than 100", NULL);
    for (size_t i = 0; type && i < sizeof formats / sizeof *formats && !found; i++) {
        found = strcmp(type, formats[i].type) == 0;
        if (found) node = formats[i].make(t, x);
    }
    t->depth--;
    return found
               ? node
               : fail(t, GLIA_ERR_UNSUPPORTED, "structural tag: expected a format with a known \"type\"", x);
}

/* The older spelling: {"structures": [{"begin", "schema", "end"}], "triggers"}. */
static glia_node structures(tagger *t, const json_t *x) {
    const json_t *list = json_object_get(x, "structures"), *y;
    json_t *tags = json_array();
    size_t i;
    json_array_foreach(list, i, y) {
        json_t *schema = json_object_get(y, "schema");
        json_array_append_new(tags, json_pack("{s:O*, s:{s:s, s:O*}, s:O*}", "begin",
                                              json_object_get(y, "begin"), "content", "type", "json_schema",
                                              "json_schema", schema, "end", json_object_get(y, "end")));
    }
    json_t *new = json_pack("{s:o, s:O*}", "tags", tags, "triggers", json_object_get(x, "triggers"));
    const glia_node node =
        new ? triggered_tags(t, new)
            : fail(t, GLIA_ERR_FORMAT, "structural tag: expected structures and triggers", x);
    json_decref(new);
    return node;
}

static tagger begin(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    return (tagger){
        .g = g, .p = g->rx, .strict = source->strict, .whitespace = source->whitespace, .err = err};
}

glia_status glia_compile_tag(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    json_t *x;
    tagger t = begin(g, source, err);
    glia_status status =
        glia_json_parse(&x, source->text, source->len, JSON_ALLOW_NUL, "structural tag", err);
    if (status) return status;
    const json_t *inside = json_object_get(x, "format");
    g->root = json_object_get(x, "structures") ? structures(&t, x) : format(&t, inside ? inside : x);
    json_decref(x);
    return t.status;
}

/* ---- tool calls -------------------------------------------------------------------------------- */

/* One call in the format of Qwen3 and SmolLM3. `schema` NULL: any object as arguments. */
static glia_node call(tagger *t, const char *name, size_t len, const json_t *schema) {
    glia_cfg *g = &t->g->cfg;
    static const char open[] = "<tool_call>\n{\"name\": \"",
                      middle[] = "\", \"arguments\": ", close[] = "}\n</tool_call>";
    json_t *object = schema ? json_incref((json_t *)schema) : json_pack("{s:s}", "type", "object");
    const glia_node list[] = {
        glia_cfg_term(g, glia_rx_cat3(t->p, glia_rx_text(t->p, open, sizeof open - 1),
                                      glia_chars_text(t->p, name, len, GLIA_SPELL_JSON),
                                      glia_rx_text(t->p, middle, sizeof middle - 1))),
        schema_node(t, object),
        glia_cfg_text(g, close, sizeof close - 1),
    };
    json_decref(object);
    return glia_cfg_seq(g, list, 3);
}

/* The calls of all tools, or of the named one. Without `required`, only tools that are strict have a schema.
 */
static glia_node calls(tagger *t, const json_t *tools, const char *named, bool required) {
    glia_vec nodes = {0};
    size_t i;
    const json_t *tool;
    json_array_foreach(tools, i, tool) {
        const json_t *f = json_object_get(tool, "function");
        if (!f) f = tool;
        const json_t *name = json_object_get(f, "name"), *schema = json_object_get(f, "parameters");
        if (!json_is_string(name))
            fail(t, GLIA_ERR_FORMAT, "tools: expected a function with a \"name\"", tool);
        else if (!named || strcmp(named, json_string_value(name)) == 0) {
            const bool strict =
                json_is_true(json_object_get(f, "strict")) || json_is_true(json_object_get(tool, "strict"));
            const bool refuses = t->strict;
            t->strict = refuses || strict;
            if (json_is_null(schema)) schema = NULL;
            if (!glia_vec_put(&nodes, call(t, json_string_value(name), json_string_length(name),
                                           required || strict ? schema : NULL)))
                t->status = glia_fail_nomem(t->err, 4, "tools");
            t->strict = refuses;
        }
    }
    if (!nodes.n && named && !t->status)
        t->status = glia_fail(t->err, GLIA_ERR_ARGUMENT, "tool_choice: no tool is called \"%.64s\"", named);
    const glia_node node = glia_cfg_or(&t->g->cfg, nodes.data, nodes.n);
    glia_vec_free(&nodes);
    return node;
}

static glia_node tool_calls(tagger *t, const json_t *x) {
    const json_t *tools = json_object_get(x, "tools"), *choice = json_object_get(x, "tool_choice");
    const json_t *function = json_object_get(choice, "function");
    const char *word = json_string_value(choice);
    const char *named = json_string_value(json_object_get(function ? function : choice, "name"));
    const bool one = json_is_false(json_object_get(x, "parallel_tool_calls"));
    glia_cfg *g = &t->g->cfg;
    if (json_array_size(tools) == 0)
        return fail(t, GLIA_ERR_FORMAT, "tools: expected an array that is not empty", tools);
    const bool required = word && strcmp(word, "required") == 0,
               automatic = !choice || json_is_null(choice) || (word && strcmp(word, "auto") == 0);
    if (!required && !automatic && !named)
        return fail(t, GLIA_ERR_ARGUMENT, "tool_choice: expected \"auto\", \"required\" or a function",
                    choice);
    const glia_node all = calls(t, tools, named, !automatic);
    if (named) return all;
    if (required)
        return glia_cfg_seq2(
            g, all,
            glia_cfg_repeat(g, glia_cfg_seq2(g, glia_cfg_text(g, "\n", 1), all), 0, one ? 0 : GLIA_RX_MANY));
    json_t *triggers = json_pack("[s]", "<tool_call>");
    const glia_node text = glia_cfg_term(g, text_without(t, triggers, NULL));
    json_decref(triggers);
    return triggered(t, text, all, false, one);
}

glia_status glia_compile_tools(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    json_t *x;
    tagger t = begin(g, source, err);
    glia_status status = glia_json_parse(&x, source->text, source->len, JSON_ALLOW_NUL, "tools", err);
    if (status) return status;
    g->root = tool_calls(&t, x);
    json_decref(x);
    return t.status;
}
