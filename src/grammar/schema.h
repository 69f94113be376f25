/* schema.h - the meaning of a JSON Schema, private to src/grammar/schema*.c.
 *
 * A constraint on a value is a conjunction of literals: schemas of the document, or constants, or
 * the opposite of one. Its meaning is the set of values of each JSON type that satisfy it: for
 * numbers and strings an expression of their texts, for arrays and objects a union of forms. These
 * sets have exact intersection, union and complement, from which every keyword is made. Values
 * inside arrays and objects are conjunctions again, so a recursive schema is finite. */
#ifndef GLIA_GRAMMAR_SCHEMA_H
#define GLIA_GRAMMAR_SCHEMA_H

#include <jansson.h>

#include "grammar/compile.h"

/* A conjunction: an index into glia_schema.conjunctions. */
typedef uint32_t glia_conj;
enum { GLIA_CONJ_ANY, GLIA_CONJ_NEVER };

typedef struct {
    const json_t *json;
    bool constant; /* the value json itself; else the schema json */
    bool negated;
} glia_literal;

/* Elements: the i-th satisfies prefix[i], later ones `rest`. */
typedef struct {
    const glia_conj *prefix;
    int n;
    glia_conj rest;
    int least, most; /* elements; most GLIA_RX_MANY: without bound */
    /* Of the elements from `some_from` on, some_least to some_most satisfy `some`; if there is such a rule.
     */
    bool has_some;
    glia_conj some;
    int some_from, some_least, some_most;
    bool unique;
    int seen; /* elements that are evaluated, of "unevaluatedItems"; GLIA_RX_MANY: all */
} glia_array_form;

typedef struct {
    const char *name; /* of the schema's document */
    size_t len;
    glia_conj value;
    bool required;
    bool seen; /* is evaluated, of "unevaluatedProperties" */
} glia_property;
/* Keys of an expression, which is of the quoted text, and their values. */
typedef struct {
    glia_rx keys;
    glia_conj value;
    bool seen;
} glia_key_class;
typedef struct {
    const glia_property *property;
    int n;
    const glia_key_class *rest; /* disjoint; keys of none, and of no property, are forbidden */
    int n_rest;
    int least, most; /* members */
    bool has_some;   /* at least one key of some.keys, which is no property, has a value of some.value */
    glia_key_class some;
} glia_object_form;

typedef struct {
    bool null, yes, no;
    bool narrow; /* narrower than the schema, so that its complement would be too wide */
    glia_rx number, string;
    const glia_array_form *arrays;
    int n_arrays;
    const glia_object_form *objects;
    int n_objects;
} glia_values;

typedef struct {
    uint32_t first, n;         /* literals of glia_schema.literal_lists */
    const glia_values *values; /* NULL: not known yet */
    bool busy;                 /* is being computed */
    glia_node node;            /* the rule, or GLIA_NODE_NONE */
} glia_conjunction;

typedef struct {
    const char *base;   /* URI of the schema resource, without a fragment */
    const json_t *json; /* of the resource's root, or of an anchor */
    const char *anchor; /* NULL: the root */
    bool dynamic;       /* the anchor is a $dynamicAnchor */
} glia_resource;

struct glia_schema {
    glia_grammar *g;
    glia_rx_pool *rx;
    json_t *document;
    bool strict;
    int draft;    /* that "$schema" names: 3 to 7, 2019, 2020 (also without a name) */
    bool tracks;  /* the document has "unevaluatedProperties" or "unevaluatedItems" */
    bool rebinds; /* the document has "$recursiveAnchor" */
    int quiet;    /* above 0: what is not enforced changes no set of values */
    int guesses;  /* glia_conj_is_none() in progress, and whether the innermost met a busy conjunction */
    bool met_busy;
    glia_err *err;
    glia_status status; /* sticky */
    json_t *metas;      /* an array: schemas of json-schema.org that references mean; NULL: none */
    glia_vec literals, literal_lists, conjunctions, resources, bases;
    glia_table literal_table, conj_table, base_table;
    void **blocks; /* memory of all forms */
    size_t n_blocks, block_used;
    size_t forms; /* made so far */
    glia_values any, none;
    glia_rx any_number, plain_number, canonical_number, integer, any_string, digit;
    glia_node open_object, close_object, open_array, close_array, comma, colon;
    const char *comma_text, *colon_text;
    glia_conj root;
};

/* ---- schema.c: memory, failures, conjunctions ---------------------------------- */

/* Zeroed memory that lives as long as the schema; NULL and a failure without. */
void *glia_schema_take(glia_schema *s, size_t bytes);
__attribute__((format(printf, 3, 4))) void glia_schema_fail(glia_schema *s, glia_status status,
                                                            const char *fmt, ...);
/* Say what is not enforced: with `strict` a failure, else a warning. */
__attribute__((format(printf, 2, 3))) void glia_schema_loose(glia_schema *s, const char *fmt, ...);
glia_conj glia_conj_of(glia_schema *s, glia_literal literal);
glia_conj glia_conj_and(glia_schema *s, glia_conj a, glia_conj b);
/* The literals of a conjunction. */
const glia_literal *glia_conj_literal(const glia_schema *s, glia_conj c, uint32_t i);
/* The meaning of a conjunction. On failure a constraint that nothing satisfies. */
const glia_values *glia_conj_values(glia_schema *s, glia_conj c);
/* Does nothing satisfy it? False also if that is not known. */
bool glia_conj_is_none(glia_schema *s, glia_conj c);

/* ---- schema_values.c: the algebra ------------------------------------------------ */

glia_values glia_values_and(glia_schema *s, const glia_values *a, const glia_values *b);
glia_values glia_values_or(glia_schema *s, const glia_values *a, const glia_values *b);
/* The union of n sets. */
glia_values glia_values_or_all(glia_schema *s, const glia_values *const *list, size_t n);
/* False, and *out is any value, if the complement is no union of forms. */
bool glia_values_not(glia_schema *s, const glia_values *a, glia_values *out);
bool glia_values_is_none(glia_schema *s, const glia_values *a);
/* Elements and members that no keyword has evaluated satisfy `items`, `properties`; both are evaluated then.
 */
glia_values glia_values_unevaluated(glia_schema *s, const glia_values *a, glia_conj items,
                                    glia_conj properties);
/* The quoted text of a key. */
glia_rx glia_schema_key(glia_schema *s, const char *name, size_t len);
/* What a form says about a key that is no property of it. */
glia_property glia_object_unnamed(glia_schema *s, const glia_object_form *o, const char *name, size_t len);
/* The constraint on the value of a key in a form. */
glia_conj glia_object_value(glia_schema *s, const glia_object_form *o, const char *name, size_t len);

/* ---- schema_keywords.c ------------------------------------------------------------- */

glia_values glia_schema_values(glia_schema *s, const json_t *schema);
glia_values glia_constant_values(glia_schema *s, const json_t *value);

/* ---- schema_number.c ----------------------------------------------------------------- */

void glia_number_init(glia_schema *s);
/* The number as a plain decimal: digits, and perhaps a point and digits. Returns false if it is no number,
 * not finite, or needs more than `size` bytes. */
bool glia_number_text(const json_t *value, char *text, size_t size);
/* Numbers on one side of a bound, in plain decimals. */
glia_rx glia_number_bound(glia_schema *s, const char *bound, bool upper, bool exclusive);
/* Multiples; GLIA_RX_NONE if the number has too many digits. */
glia_rx glia_number_multiple(glia_schema *s, const char *of);
glia_rx glia_number_equal(glia_schema *s, const char *value);

/* ---- schema_format.c ------------------------------------------------------------------ */

/* The quoted strings of a format; GLIA_RX_NONE if the format is unknown. *exact: it is all of them. */
glia_rx glia_schema_format(glia_schema *s, const char *name, bool *exact);

/* ---- schema_ref.c ------------------------------------------------------------------------ */

/* Find the resources and anchors of the document. */
void glia_schema_index(glia_schema *s);
/* The schema that `ref`, found in `from`, points to; NULL and a failure if there is none. */
const json_t *glia_schema_resolve(glia_schema *s, const json_t *from, const char *ref);
/* Can the dynamic reference mean only one schema of the document, the one that "$ref" would mean? */
bool glia_schema_ref_is_static(const glia_schema *s, const char *key, const char *ref);

/* ---- schema_meta.c --------------------------------------------------------------------------- */

/* The schema that an URI of json-schema.org means, which the caller owns; NULL: another URI, or no memory. */
json_t *glia_schema_meta(const char *uri);

/* ---- schema_build.c ------------------------------------------------------------------------- */

glia_node glia_schema_node(glia_schema *s, glia_conj c);

#endif
