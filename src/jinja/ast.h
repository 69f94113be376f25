/* ast.h - a compiled template: the syntax tree, the lexer and the parser. */
#ifndef GLIA_JINJA_AST_H
#define GLIA_JINJA_AST_H

#include "jinja/jinja.h"

/* The comment of each kind lists the fields of jnode that it uses. */
typedef enum {
    N_CONST,        /* value */
    N_NAME,         /* id */
    N_NSREF,        /* id, value: attribute; only assigned to */
    N_TUPLE,        /* kids */
    N_LIST,         /* kids */
    N_DICT,         /* kids: key, value, key, ... */
    N_UNARY,        /* what: '-' '+' '!'; a */
    N_BINARY,       /* what: as glia_j_binary; a, b */
    N_AND,          /* a, b */
    N_OR,           /* a, b */
    N_CONCAT,       /* kids */
    N_COMPARE,      /* a; kids with N_OPERAND each */
    N_OPERAND,      /* what: '=' '!' '<' '>' 'l' <= 'g' >= 'i'n 'n'ot in; a */
    N_COND,         /* a: test, b: then, c: else or NULL */
    N_ATTR,         /* a, value: name */
    N_ITEM,         /* a, b */
    N_SLICE,        /* only as b of N_ITEM; a, b, c or NULL */
    N_CALL,         /* a; arguments */
    N_FILTER,       /* a (NULL: the captured text), value: name; arguments */
    N_TEST,         /* a, value: name; arguments */
    N_DATA,         /* value */
    N_OUTPUT,       /* kids */
    N_IF,           /* kids: test, N_BODY, test, N_BODY, ...; b: else N_BODY or NULL */
    N_BODY,         /* kids */
    N_FOR,          /* a: target, b: iterable, c: test or NULL; kids; other: else; flag: recursive */
    N_SET,          /* a: target, b */
    N_SET_BLOCK,    /* a: target, b: filter or NULL; kids */
    N_WITH,         /* args.v: target, value, target, value, ...; kids */
    N_MACRO,        /* value: name, id; params; kids */
    N_CALL_BLOCK,   /* a: the call; params; kids */
    N_GENERATION,   /* params: empty; kids; transformers implements it as a call block, so it has a scope */
    N_FILTER_BLOCK, /* a: filter; kids */
    N_BLOCK,        /* value: name; flag: scoped, what: 'r'equired; kids */
    N_AUTOESCAPE,   /* a; kids */
    N_BREAK,
    N_CONTINUE,
    N_LOADER, /* a; include, import, from, extends: always an error, because there is no loader */
} jop;

typedef struct {
    jnode **v; /* positional arguments, or targets and values of N_WITH */
    size_t n;
    jstr **names; /* [n_kw] names of keyword arguments */
    jnode **kw;
    size_t n_kw;
    jnode *star, *star2; /* *args, **kwargs; NULL: none */
} jcallargs;

typedef struct {
    int *id;
    size_t n;
    jnode **defaults; /* [n_defaults] defaults of the last parameters */
    size_t n_defaults;
    bool caller, kwargs, varargs; /* the body uses the name without declaring it */
    int explicit_caller;          /* index of a parameter named caller; -1: none */
} jparams;

struct jnode {
    jop op;
    int line;
    int id;
    char what;
    bool flag;
    jval value;
    jnode *a, *b, *c;
    jnode **kids;
    size_t n;
    jnode *other;
    const jrow *row; /* of a filter or test; NULL: unknown, an error when evaluated */
    jcallargs *args;
    jparams *params;
    int *hide; /* [n_hide] names that are undefined in this node's scope until it sets them; see names.c */
    size_t n_hide;
};

/* Ids of names that every template has. J_ID_CAPTURED, a name that no source can
 * spell, holds the text that a filter block or set block has captured. */
enum { J_ID_LOOP = 0, J_ID_CALLER, J_ID_KWARGS, J_ID_VARARGS, J_ID_SELF, J_ID_SUPER, J_ID_CAPTURED, J_IDS };

struct glia_template {
    jarena arena;
    jnode *root; /* N_BODY */
    jstr **names;
    size_t n_names;
    jnode **blocks;
    size_t n_blocks;
};

/* ---- tokens -------------------------------------------------------------------- */

typedef enum {
    T_EOF,
    T_DATA,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VARIABLE_BEGIN,
    T_VARIABLE_END,
    T_NAME,
    T_STRING,
    T_INTEGER,
    T_FLOAT,
    T_OPERATOR, /* this and all later tokens are operators, in the order of the lexer's table */
    T_POW = T_OPERATOR,
    T_FLOORDIV,
    T_EQ,
    T_NE,
    T_GTEQ,
    T_LTEQ,
    T_ADD,
    T_SUB,
    T_DIV,
    T_MUL,
    T_MOD,
    T_TILDE,
    T_LBRACKET,
    T_RBRACKET,
    T_LPAREN,
    T_RPAREN,
    T_LBRACE,
    T_RBRACE,
    T_GT,
    T_LT,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
} jtok;

typedef struct {
    jtok type;
    int line;
    jval value; /* of data, names, strings and numbers */
} jtoken;

typedef struct {
    jrt *rt;
    const char *src; /* newlines normalised, a final newline dropped */
    size_t n, pos;
    int line;
    enum { LEX_ROOT, LEX_BLOCK, LEX_VARIABLE } state;
    bool line_starting;
    jtoken pending; /* the token that follows a data token; T_EOF: none */
    char brackets[J_NEST_MAX];
    int n_brackets;
} jlexer;

void glia_j_lex_init(jlexer *lx, jrt *rt, const char *source, size_t len);
jtoken glia_j_lex(jlexer *lx);
const char *glia_j_tok_name(jtok type); /* "end of print statement", "+", ... */

/* ---- the parser, in two files ----------------------------------------------------- */

typedef struct jframe jframe;

typedef struct {
    jstr *name;
    int line;
    bool soft, test; /* soft: an error only if evaluated; test: a test, not a filter */
} junknown;

typedef struct {
    jrt *rt;
    jlexer lx;
    jtoken now, ahead;
    bool has_ahead;
    glia_template *t;
    jval names, block_names; /* dicts: name to id */
    int nest;
    jframe *frame, *frames; /* the innermost open scope, and the list of all scopes */
    bool soft;              /* inside an `if` statement or a conditional expression */
    int loops;              /* enclosing loops within the current macro or block */
    unsigned seen;          /* bits of J_ID_*: special names that the current macro uses */
    unsigned declared;      /* bits of J_ID_*: special names that the current macro declares itself */
    int assigned_loop;      /* line that assigned `loop` inside the current loop; 0: none */
    const char *const *ends[J_NEST_MAX]; /* the end tags that each open body looks for */
    const char *tags[J_NEST_MAX];        /* open tags */
    int n_ends, n_tags;
    junknown *unknown; /* unknown filters and tests */
    size_t n_unknown, cap_unknown;
} jparser;

/* Parse source into t. The tree is in rt's arena. */
void glia_j_parse(jrt *rt, glia_template *t, const char *source, size_t len);

_Noreturn __attribute__((format(printf, 3, 4))) void glia_j_syntax(jparser *p, int line, const char *fmt,
                                                                   ...);
/* A new node; a, b and c may be NULL. */
jnode *glia_j_node(jparser *p, jop op, int line, jnode *a, jnode *b, jnode *c);
int glia_j_name_id(jparser *p, const jstr *name);
void glia_j_advance(jparser *p);
jtoken *glia_j_look(jparser *p);
bool glia_j_is(const jtoken *t, const char *name); /* a name token with this text */
bool glia_j_skip(jparser *p, jtok type);
bool glia_j_skip_name(jparser *p, const char *name);
jtoken glia_j_expect(jparser *p, jtok type);
const char *glia_j_describe(jparser *p, const jtoken *t);
void glia_j_kid(jparser *p, jnode *n, jnode *kid); /* append to n's kids */
void glia_j_grow(jrt *rt, jnode ***v, size_t *n, jnode *one);
void glia_j_nest(jparser *p); /* one level of recursion deeper; leave by `p->nest--` */

jnode *glia_j_parse_expr(jparser *p, bool with_cond);
jnode *glia_j_parse_tuple(jparser *p, bool with_cond); /* one expression; a tuple if a comma follows */
jnode *glia_j_parse_target(jparser *p, bool with_namespace);
int glia_j_parse_name(jparser *p, jval *name, bool declare); /* the id of an assigned name */
/* Scopes; see names.c. To close a scope, the caller restores `p->frame`. */
void glia_j_frame_open(jparser *p, jnode *owner, bool isolated);
void glia_j_frames_end(jparser *p);
void glia_j_load(jparser *p, int id);
void glia_j_store(jparser *p, int id);
void glia_j_declare(jparser *p, int id);
void glia_j_branch(jparser *p, int by);
void glia_j_target_names(jparser *p, const jnode *target, bool declare);
/* Parse |filter|filter applied to n. `inline_start`: the first filter has no bar.
 * Returns n if there is no filter. */
jnode *glia_j_parse_filters(jparser *p, jnode *n, bool inline_start);

#endif
