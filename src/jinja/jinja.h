/* jinja.h - values of the template interpreter, and functions that its files share.
 *
 * Values behave like Python's. They live in the arena of one compilation or one
 * render and are freed together with it. A failure calls glia_j_fail() or
 * glia_j_limit(), which longjmp to the entry in template.c; so C code in between
 * must hold no resource but arena memory. Values are immutable, as in Jinja's
 * ImmutableSandboxedEnvironment; only namespaces, cyclers, loops, joiners and
 * iterators change. */
#ifndef GLIA_JINJA_JINJA_H
#define GLIA_JINJA_JINJA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "jinja/template.h"

typedef enum {
    J_MISSING = 0, /* no value: an argument not given, a name not set yet */
    J_UNDEF,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_RANGE,
    J_VIEW,
    J_ITER,
    J_NAMESPACE,
    J_MACRO,
    J_LOOP,
    J_CYCLER,
    J_JOINER,
    J_FUNCTION, /* a global or a method bound to its object */
    J_BLOCK,    /* self, or one block of it */
} jkind;

typedef struct jstr jstr;
typedef struct jlist jlist;
typedef struct jdict jdict;
typedef struct jrange jrange;
typedef struct jview jview;
typedef struct jiter jiter;
typedef struct jundef jundef;
typedef struct jmacro jmacro;
typedef struct jloop jloop;
typedef struct jcycler jcycler;
typedef struct jjoiner jjoiner;
typedef struct jbound jbound;
typedef struct jnode jnode;
typedef struct jscope jscope;
typedef struct jrt jrt;

typedef struct {
    jkind kind;
    union {
        bool b;
        int64_t i;
        double f;
        jstr *s;
        jlist *l; /* J_LIST, J_TUPLE */
        jdict *d; /* J_DICT, J_NAMESPACE */
        jrange *r;
        jview *view;
        jiter *it;
        jundef *u;
        jmacro *m;
        jloop *loop;
        jcycler *cy;
        jjoiner *jo;
        jbound *fn;
        const jnode *block; /* NULL: self */
    } u;
} jval;

/* A text buffer that grows at its end. A string that shares its memory stays valid:
 * when a buffer moves, the old memory stays in the arena. */
typedef struct {
    char *data;
    size_t n, cap;
} jtext;

struct jstr {
    const char *p; /* UTF-8, not NUL-terminated */
    size_t n;
    int64_t chars; /* code points; -1: not counted yet */
    bool safe;     /* Markup, not str */
    jtext *room;   /* the buffer that p points into and that glia_j_concat() may extend; else NULL */
};

struct jlist {
    jval *v;
    size_t n, cap;
    bool group; /* a tuple made by groupby: it has .grouper and .list */
};

typedef struct {
    jval k, v;
    uint64_t hash;
} jentry;

struct jdict {
    jentry *e; /* in insertion order */
    size_t n, cap;
    uint32_t *index; /* hash table of entry number + 1, open addressing; NULL while the dict is small */
    size_t mask;
    bool printing; /* guards against recursion: a namespace may contain itself */
};

struct jrange {
    int64_t start, stop, step;
    size_t n;
};

struct jview {
    jdict *d;
    char what; /* 'k'eys, 'v'alues, 'i'tems */
};

struct jundef {
    const char *hint; /* the message; NULL: built from obj and name */
    jval obj, name;   /* obj J_MISSING: `name` is a variable; else an attribute or element of obj */
    const char *exc;  /* name of the Python exception */
};

/* Arguments of a call. */
typedef struct {
    jval *v; /* [n] positional */
    size_t n;
    jdict *kw; /* keyword arguments; NULL: none */
} jargs;

struct jiter {
    bool (*next)(jrt *rt, jiter *it, jval *out); /* false at the end; the rest is next's own state */
    const char *type;                            /* Python's name of the type */
    jval src, aux;
    jiter *in;
    size_t i, n;
    jargs args;
    const void *fn;
    jscope *scope;
    const jnode *node;
    bool flag;
};

struct jmacro {
    const jnode *node; /* N_MACRO or N_CALL_BLOCK */
    jscope *scope;     /* the scope of the definition */
};

struct jloop {
    jiter *it;
    jval src, after, current, before, changed;
    int64_t index0, length; /* length -1: unknown */
    int depth0;
    const jnode *node; /* N_FOR if the loop is recursive; else NULL */
    jscope *scope;
};

struct jcycler {
    jlist *items;
    size_t pos;
};

struct jjoiner {
    jval sep;
    bool used;
};

/* A function, method, filter or test. `a` has one value for each parameter,
 * J_MISSING if the call does not give it; `raw` has the arguments as given. */
typedef jval jfn(jrt *rt, jval self, const jval *a, const jargs *raw);
typedef struct {
    const char *name;   /* in templates */
    const char *params; /* names separated by commas; "name=" is optional; a leading '/' forbids keywords;
                         * NULL: the function reads `raw` itself */
    jfn *fn;            /* NULL: exists in Python, but the sandbox refuses it */
    const char *pyname; /* name in messages; NULL: same as `name` */
    int hidden;         /* parameters before `params` that Python's messages count; -1: a function in C
                         * whose messages are worded differently */
} jrow;

struct jbound {
    const jrow *row;
    jval self;
    const char *type; /* "builtin_function_or_method", "function", "type" */
};

struct jscope {
    jscope *parent;
    int *id;
    jval *v;
    int n, cap;
    bool captured; /* a macro refers to this scope, so a loop must not reuse it */
    bool block;    /* the scope of a {% block %}: a name that an outer scope hides is looked up further out */
};

typedef struct jchunk jchunk;
typedef struct {
    jchunk *last;
    size_t used, limit; /* bytes allocated by malloc, and their limit */
} jarena;

/* The state of one compilation or one render. */
struct jrt {
    jarena arena;
    jmp_buf trap;
    glia_err *err;
    glia_status status;
    int line, depth;
    uint64_t steps, max_steps;
    size_t max_output;
    bool autoescape;
    jtext *out;
    const glia_template *t;
    const json_t *context;
    const char *now;
    jval *globals; /* [t->n_names] by name id; J_MISSING: not looked up yet */
    jscope *root;
    uint64_t random;
};

enum {
    J_DEPTH_MAX = 400,    /* nested evaluations in a render; each takes up to 400 bytes of stack */
    J_NEST_MAX = 200,     /* nesting levels in a source; a bracket counts as two */
    J_RANGE_MAX = 100000, /* elements of range() */
};

/* ---- mem.c: memory, failures, text buffers ------------------------------ */

void *glia_j_alloc(jrt *rt, size_t n); /* zeroed, aligned to 16 */
void glia_j_arena_free(jarena *a);

/* Leave with GLIA_ERR_TEMPLATE and the message "EXC: ..."; glia_j_limit() leaves with GLIA_ERR_LIMIT. */
_Noreturn __attribute__((format(printf, 3, 4))) void glia_j_fail(jrt *rt, const char *exc, const char *fmt,
                                                                 ...);
_Noreturn __attribute__((format(printf, 2, 3))) void glia_j_limit(jrt *rt, const char *fmt, ...);
_Noreturn void glia_j_undefined_error(jrt *rt, jval undef);

void glia_j_step(jrt *rt, uint64_t n); /* count n units of work, each about 30 ns */
void glia_j_enter(jrt *rt);            /* one level deeper; fails past J_DEPTH_MAX */
void glia_j_leave(jrt *rt);

void glia_j_add(jrt *rt, jtext *t, const char *p, size_t n);
void glia_j_puts(jrt *rt, jtext *t, const char *s);
void glia_j_putc(jrt *rt, jtext *t, char c);
void glia_j_putcp(jrt *rt, jtext *t, int32_t cp);
void glia_j_pad(jrt *rt, jtext *t, int32_t cp, int64_t n); /* append cp n times; n <= 0: nothing */
__attribute__((format(printf, 3, 4))) void glia_j_printf(jrt *rt, jtext *t, const char *fmt, ...);
jval glia_j_text(jrt *rt, jtext *t); /* a string that shares t's memory */

/* ---- value.c: constructors and properties of values ---------------------- */

extern const jval glia_j_none, glia_j_missing;

jval glia_j_bool(bool b);
jval glia_j_int(int64_t i);
jval glia_j_float(double f);
jval glia_j_str(jrt *rt, const char *p, size_t n);               /* does not copy p */
jval glia_j_cstr(jrt *rt, const char *s);                        /* does not copy s */
jval glia_j_sub(jrt *rt, const jstr *s, size_t from, size_t to); /* bytes [from, to) of s */
jval glia_j_mark(jrt *rt, jval s, bool safe); /* the same text as Markup (safe) or as str */
jval glia_j_list(jrt *rt, size_t cap);        /* empty, with room for cap values */
jval glia_j_tuple(jrt *rt, size_t cap);
jval glia_j_pair(jrt *rt, jval a, jval b); /* a tuple */
void glia_j_push(jrt *rt, jlist *l, jval v);
jval glia_j_dict(jrt *rt);
jval glia_j_undef(jrt *rt, jval obj, jval name);
jval glia_j_undef_hint(jrt *rt, const char *hint, const char *exc); /* exc NULL: UndefinedError */
jval glia_j_bind(jrt *rt, const jrow *row, jval self, const char *type);

const char *glia_j_type(jval v);            /* "str", "NoneType", ... */
const char *glia_j_object(jrt *rt, jval v); /* "str object", "None", ... */
bool glia_j_truth(jrt *rt, jval v);
bool glia_j_number(jval v, double *f);   /* bool, int, float */
bool glia_j_integer(jval v, int64_t *i); /* bool, int */
bool glia_j_is_str(jval v, const char *s);
bool glia_j_len(jrt *rt, jval v, int64_t *n); /* false: v has no len() */
bool glia_j_equal(jrt *rt, jval a, jval b);
int glia_j_compare(jrt *rt, jval a, jval b, const char *op); /* <0, 0, >0; 2: unordered (NaN) */
bool glia_j_order(jrt *rt, jval a, jval b, const char *op);  /* op: "<" "<=" ">" ">=" */
bool glia_j_hash(jrt *rt, jval v, uint64_t *h);              /* false: unhashable */

bool glia_j_get(jrt *rt, const jdict *d, jval key, jval *out); /* false if absent or unhashable */
bool glia_j_gets(jrt *rt, const jdict *d, const char *key, jval *out);
void glia_j_put(jrt *rt, jdict *d, jval key, jval v); /* TypeError if unhashable */
jval glia_j_copy(jrt *rt, const jdict *d);

/* ---- str.c: strings by code points --------------------------------------- */

size_t glia_j_chars(jstr *s);                             /* number of code points */
size_t glia_j_offset(jrt *rt, jstr *s, size_t chars);     /* byte offset of code point number `chars` */
int32_t glia_j_next(const char *p, size_t n, size_t *at); /* the code point at *at; advances *at */
size_t glia_j_encode(int32_t cp, char out[4]);
/* The byte offset of the first or last `sub` within bytes [from, to) of s; -1: none. */
int64_t glia_j_find(jrt *rt, const jstr *s, const jstr *sub, size_t from, size_t to);
int64_t glia_j_rfind(jrt *rt, const jstr *s, const jstr *sub, size_t from, size_t to);
jval glia_j_concat(jrt *rt, jval a, jval b); /* of two strings; safe if both are */
jval glia_j_slice(jrt *rt, jval v, jval start, jval stop, jval step);
jval glia_j_at(jrt *rt, jstr *s, size_t i); /* one character */
jval glia_j_justify(jrt *rt, jstr *s, int64_t width, int32_t fill,
                    char align); /* '<' '>' '^' as str.center */
jval glia_j_replace(jrt *rt, jstr *s, const jstr *old, const jstr *by, int64_t count);
jval glia_j_strip(jrt *rt, jstr *s, const jstr *chars, bool left, bool right); /* chars NULL: white space */
jval glia_j_splitlines(jrt *rt, const jstr *s, bool keep);                     /* a list */
jval glia_j_escape(jrt *rt, jval v); /* Markup of v: v itself if it is Markup, else str(v) escaped */

/* ---- unicode.c: Python's properties of characters ----------------------- */

bool glia_j_isspace(int32_t cp);
bool glia_j_isalpha(int32_t cp);
bool glia_j_isdecimal(int32_t cp);
bool glia_j_isdigit(int32_t cp);
bool glia_j_isnumeric(int32_t cp);
bool glia_j_isalnum(int32_t cp);
bool glia_j_islower(int32_t cp);
bool glia_j_isupper(int32_t cp);
bool glia_j_istitle(int32_t cp);
bool glia_j_isprintable(int32_t cp);
bool glia_j_isident(int32_t cp, bool first);
/* mode 'u'pper, 'l'ower, 't'itle, 'f'old, 's'wapcase, 'T': Python's str.title(), 'c'apitalize */
jval glia_j_case(jrt *rt, const jstr *s, char mode);

/* ---- repr.c ------------------------------------------------------------ */

jval glia_j_tostr(jrt *rt, jval v);           /* str(v) */
jstr *glia_j_text_of(jrt *rt, jval v);        /* the string of str(v) */
void glia_j_print(jrt *rt, jtext *t, jval v); /* append str(v) */
/* SecurityError if a namespace may not have an attribute of this name: Transformers 5.24 takes none that
 * begins with an underscore. */
void glia_j_check_attribute(jrt *rt, jval name);
void glia_j_repr(jrt *rt, jtext *t, jval v); /* append repr(v) */
const char *glia_j_crepr(jrt *rt, jval v);   /* for messages, cut at 300 bytes */
void glia_j_float_repr(jrt *rt, jtext *t, double f);

/* ---- num.c ------------------------------------------------------------- */

jval glia_j_binary(jrt *rt, int op, jval a, jval b); /* op: '+' '-' '*' '/' '%', 'f' //, 'p' ** */
jval glia_j_negate(jrt *rt, jval v, bool minus);
jval glia_j_round(jrt *rt, jval v, int64_t digits, bool plain);            /* plain: round(v), an int */
bool glia_j_parse_int(jrt *rt, const jstr *s, int64_t base, int64_t *out); /* Python's int(s, base) */
bool glia_j_parse_float(const jstr *s, double *out);                       /* Python's float(s) */
double glia_j_strtod(const char *s);                                       /* strtod() in the C locale */
/* snprintf("%.*CONV", precision, f) in the C locale. */
const char *glia_j_format_double(jrt *rt, double f, char conv, int precision);
int64_t glia_j_to_int(jrt *rt, double f); /* truncated; OverflowError, ValueError */
int64_t glia_j_index(jrt *rt, jval v);    /* v as an index; TypeError if v is not an int */
/* An optional argument; `otherwise` if v is J_MISSING. */
bool glia_j_opt_bool(jrt *rt, jval v, bool otherwise);
int64_t glia_j_opt_int(jrt *rt, jval v, int64_t otherwise);

/* ---- format.c ---------------------------------------------------------- */

jval glia_j_percent(jrt *rt, jval format, jval args);                              /* format % args */
jval glia_j_format(jrt *rt, jstr *format, const jargs *args);                      /* format.format(*args) */
void glia_j_format_value(jrt *rt, jtext *out, jval v, const char *spec, size_t n); /* format(v, spec) */

/* ---- json.c ------------------------------------------------------------ */

jval glia_j_from_json(jrt *rt, const json_t *j);
jval glia_j_tojson(jrt *rt, jval v, const jval *a); /* a: ensure_ascii, indent, separators, sort_keys */

/* ---- iter.c ------------------------------------------------------------ */

jiter *glia_j_iter(jrt *rt, jval v); /* iter(v); TypeError */
bool glia_j_iterable(jval v);
bool glia_j_step_iter(jrt *rt, jiter *it, jval *out); /* next(); false at the end */
jval glia_j_collect(jrt *rt, jval v);                 /* list(v) */
jlist *glia_j_items(jrt *rt, jval v);            /* the elements of v; shares the list of a list or tuple */
jval glia_j_reversed(jrt *rt, jval v, bool *ok); /* reversed(v) */
bool glia_j_contains(jrt *rt, jval seq, jval x); /* x in seq */
jiter *glia_j_generator(jrt *rt, jval v, bool (*next)(jrt *, jiter *, jval *));
void glia_j_sort(jrt *rt, jval *v, const jval *keys, size_t n, bool reverse); /* stable */
bool glia_j_range_item(const jrange *r, size_t i, jval *out);

/* ---- call.c: attributes, items, calls ---------------------------------- */

jval glia_j_getattr(jrt *rt, jval obj, jval name);
jval glia_j_getitem(jrt *rt, jval obj, jval key);
jval glia_j_call(jrt *rt, jval f, const jargs *args);
jval glia_j_invoke(jrt *rt, const jrow *row, jval self, const jargs *args);
bool glia_j_callable(jval v);
const jrow *glia_j_row(const jrow *table, const char *name,
                       size_t n); /* NULL: none; name NULL ends a table */

extern const jrow glia_j_filters_text[], glia_j_filters_seq[], glia_j_filters_num[], glia_j_filters_html[];
extern const jrow glia_j_tests[], glia_j_globals[], glia_j_classes[]; /* classes: globals that are types */
extern const jrow glia_j_str_methods[], glia_j_list_methods[], glia_j_tuple_methods[], glia_j_dict_methods[],
    glia_j_int_methods[], glia_j_float_methods[], glia_j_range_methods[], glia_j_loop_methods[],
    glia_j_cycler_methods[];
const jrow *glia_j_filter(const char *name, size_t n);
const jrow *glia_j_test(const char *name, size_t n);
/* The attribute, without a look at items; J_MISSING: none. */
jval glia_j_attribute(jrt *rt, jval obj, jval name);

/* ---- time.c, pprint.c, wrap.c, urlize.c ---------------------------------------- */

jval glia_j_strftime(jrt *rt, const jstr *format); /* time.c */
bool glia_j_check_now(const char *now);            /* true if `now` is a date */
jval glia_j_pprint(jrt *rt, jval v);               /* pprint.c */
jval glia_j_wordwrap(jrt *rt, const jstr *s, int64_t width, bool break_long, const jstr *glue, bool hyphens);
jval glia_j_urlize(jrt *rt, jval text, jval limit, jstr *rel, jval target, jval schemes);

/* ---- eval.c, exec.c ---------------------------------------------- */

typedef enum { J_NEXT = 0, J_BREAK, J_CONTINUE } jflow;

jval glia_j_eval(jrt *rt, const jnode *n, jscope *sc);
void glia_j_eval_args(jrt *rt, const jnode *n, jscope *sc, jargs *out);
jflow glia_j_exec(jrt *rt, jnode *const *body, size_t n, jscope *sc);
jval glia_j_call_macro(jrt *rt, jmacro *m, const jargs *args);
jval glia_j_call_block(jrt *rt, const jnode *block);
jval glia_j_call_loop(jrt *rt, jloop *loop, jval items);
jval glia_j_loop_attr(jrt *rt, jloop *loop, const jstr *name); /* J_MISSING: none such */
bool glia_j_loop_step(jrt *rt, jloop *loop, jval *out);
int64_t glia_j_loop_length(jrt *rt, jloop *loop);

jscope *glia_j_scope(jrt *rt, jscope *parent, const jnode *owner); /* owner: see glia_j_hide(); may be NULL */
void glia_j_hide(jrt *rt, jscope *sc, const jnode *owner);         /* make owner->hide undefined in sc */
void glia_j_set(jrt *rt, jscope *sc, int id, jval v);
jval glia_j_lookup(jrt *rt, jscope *sc, int id);
void glia_j_assign(jrt *rt, const jnode *target, jscope *sc, jval v);

#endif
