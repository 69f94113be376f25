/* pickle.c - see pickle.h. */
#include "format/pickle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef enum { V_OTHER, V_MARK, V_INT, V_TEXT, V_GLOBAL, V_TUPLE, V_DICT, V_STORAGE, V_TENSOR } kind;

typedef struct {
    kind kind;
    const char *text; /* V_TEXT; V_GLOBAL "module\nname\n"; V_STORAGE: its key */
    size_t len;       /* of text; V_TUPLE: items */
    int64_t number;   /* V_INT; V_STORAGE: elements; V_TUPLE: first item; V_DICT: its id; V_TENSOR: index */
    glia_tensor_dtype dtype; /* V_STORAGE */
} value;

typedef struct {
    int64_t dict;
    value key, item;
} entry;

/* A growing array. */
typedef struct {
    void *at;
    size_t n, cap;
} list;

typedef struct {
    const unsigned char *bytes;
    size_t len, at;
    const char *where;
    glia_err *err;
    glia_status status;                        /* the first failure */
    list stack, items, memo, entries, tensors; /* of value, value, value, entry, glia_pickled_tensor */
    int64_t dicts;
} machine;

static void fail(machine *m, glia_status status, const char *what) {
    if (m->status) return;
    m->status = glia_fail(m->err, status, "%s: data.pkl, byte %zu: %s", m->where, m->at, what);
}

/* A new last element of the list, zeroed; NULL without memory. */
static void *grow(machine *m, list *l, size_t size) {
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 64;
        void *at = realloc(l->at, cap * size);
        if (!at) {
            if (!m->status) m->status = glia_fail_nomem(m->err, cap * size, "a pickle");
            return NULL;
        }
        l->at = at;
        l->cap = cap;
    }
    return memset((char *)l->at + l->n++ * size, 0, size);
}

/* ---- bytes and the stack ---------------------------------------------------- */

/* The next n bytes; NULL behind the end. */
static const unsigned char *take(machine *m, uint64_t n) {
    if (m->status || n > m->len - m->at) {
        fail(m, GLIA_ERR_FORMAT, "the pickle ends too early");
        return NULL;
    }
    m->at += n;
    return m->bytes + m->at - n;
}

static uint64_t take_uint(machine *m, int bytes) {
    const unsigned char *p = take(m, (uint64_t)bytes);
    uint64_t x = 0;
    for (int i = 0; p && i < bytes; i++) x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static void push(machine *m, value v) {
    value *to = grow(m, &m->stack, sizeof v);
    if (to) *to = v;
}

static value pop(machine *m) {
    if (m->stack.n == 0) {
        fail(m, GLIA_ERR_FORMAT, "the stack is empty");
        return (value){0};
    }
    return ((value *)m->stack.at)[--m->stack.n];
}

/* The number of values above the last mark, which stay on the stack; the mark is below them. */
static size_t above_mark(machine *m) {
    const value *v = m->stack.at;
    size_t n = 0;
    while (n < m->stack.n && v[m->stack.n - 1 - n].kind != V_MARK) n++;
    if (n < m->stack.n) return n;
    fail(m, GLIA_ERR_FORMAT, "there is no mark on the stack");
    return 0;
}

static void push_text(machine *m, kind k, uint64_t len) {
    const unsigned char *p = take(m, len);
    if (p) push(m, (value){.kind = k, .text = (const char *)p, .len = (size_t)len});
}

/* Replace the top n values by a tuple of them. */
static void push_tuple(machine *m, size_t n) {
    if (n > m->stack.n) {
        fail(m, GLIA_ERR_FORMAT, "the stack is too short for a tuple");
        return;
    }
    const size_t first = m->items.n;
    for (size_t i = 0; i < n && !m->status; i++) {
        value *item = grow(m, &m->items, sizeof *item);
        if (item) *item = ((value *)m->stack.at)[m->stack.n - n + i];
    }
    m->stack.n -= n;
    push(m, (value){.kind = V_TUPLE, .number = (int64_t)first, .len = n});
}

static value item_of(const machine *m, value tuple, size_t i) {
    if (tuple.kind != V_TUPLE || i >= tuple.len) return (value){0};
    return ((value *)m->items.at)[(size_t)tuple.number + i];
}

static void push_dict(machine *m) { push(m, (value){.kind = V_DICT, .number = m->dicts++}); }

/* Put the n top values, keys and items in turn, into the dictionary below them. `below`: values between. */
static void set_items(machine *m, size_t n, size_t below) {
    if (m->status || n % 2 || m->stack.n < n + below + 1) {
        fail(m, GLIA_ERR_FORMAT, "there is no dictionary to fill");
        return;
    }
    const value *v = (value *)m->stack.at + (m->stack.n - n);
    const value dict = v[-(ptrdiff_t)below - 1];
    for (size_t i = 0; i < n; i += 2) {
        entry *e = grow(m, &m->entries, sizeof *e);
        if (!e) return;
        *e = (entry){dict.kind == V_DICT ? dict.number : -1, v[i], v[i + 1]};
    }
    m->stack.n -= n + below;
}

/* ---- what calls build --------------------------------------------------------- */

static bool is_text(value v, kind k, const char *text) {
    return v.kind == k && v.len == strlen(text) && !memcmp(v.text, text, v.len);
}

static bool find_dtype(value type, glia_tensor_dtype *dtype) {
    static const struct {
        const char *name;
        glia_tensor_dtype dtype;
    } storages[] = {
        {"torch\nFloatStorage\n", GLIA_TENSOR_F32},     {"torch\nHalfStorage\n", GLIA_TENSOR_F16},
        {"torch\nBFloat16Storage\n", GLIA_TENSOR_BF16}, {"torch\nDoubleStorage\n", GLIA_TENSOR_F64},
        {"torch\nLongStorage\n", GLIA_TENSOR_I64},      {"torch\nIntStorage\n", GLIA_TENSOR_I32},
        {"torch\nShortStorage\n", GLIA_TENSOR_I16},     {"torch\nCharStorage\n", GLIA_TENSOR_I8},
        {"torch\nByteStorage\n", GLIA_TENSOR_U8},       {"torch\nBoolStorage\n", GLIA_TENSOR_BOOL},
    };
    for (size_t i = 0; i < sizeof storages / sizeof *storages; i++)
        if (is_text(type, V_GLOBAL, storages[i].name)) {
            *dtype = storages[i].dtype;
            return true;
        }
    return false;
}

/* ("storage", type, key, device, elements) */
static void push_storage(machine *m) {
    const value id = pop(m), type = item_of(m, id, 1), key = item_of(m, id, 2), n = item_of(m, id, 4);
    value v = {.kind = V_STORAGE, .text = key.text, .len = key.len, .number = n.number};
    if (m->status) return;
    if (!is_text(item_of(m, id, 0), V_TEXT, "storage") || key.kind != V_TEXT || n.kind != V_INT ||
        n.number < 0)
        fail(m, GLIA_ERR_FORMAT, "expected a storage");
    else if (!find_dtype(type, &v.dtype))
        fail(m, GLIA_ERR_UNSUPPORTED, "a storage has a dtype that Glia does not read");
    push(m, v);
}

/* (storage, offset, shape, strides, ...) */
static void push_tensor(machine *m, value args) {
    const value storage = item_of(m, args, 0), offset = item_of(m, args, 1), shape = item_of(m, args, 2),
                stride = item_of(m, args, 3);
    if (storage.kind != V_STORAGE || offset.kind != V_INT || shape.kind != V_TUPLE ||
        stride.kind != V_TUPLE || shape.len != stride.len) {
        fail(m, GLIA_ERR_FORMAT, "expected the arguments of a tensor");
        return;
    }
    if (shape.len > GLIA_TENSOR_DIMS_MAX) {
        fail(m, GLIA_ERR_LIMIT, "a tensor has more than 8 dimensions");
        return;
    }
    glia_pickled_tensor *t = grow(m, &m->tensors, sizeof *t);
    if (!t) return;
    *t = (glia_pickled_tensor){.storage = storage.text,
                               .storage_len = storage.len,
                               .dtype = storage.dtype,
                               .offset = offset.number,
                               .elements = storage.number,
                               .n_dims = (int)shape.len};
    for (size_t i = 0; i < shape.len; i++) {
        t->shape[i] = item_of(m, shape, i).number;
        t->stride[i] = item_of(m, stride, i).number;
        if (item_of(m, shape, i).kind != V_INT || item_of(m, stride, i).kind != V_INT || t->shape[i] < 0)
            fail(m, GLIA_ERR_FORMAT, "a dimension of a tensor is no number");
    }
    push(m, (value){.kind = V_TENSOR, .number = (int64_t)m->tensors.n - 1});
}

static void call(machine *m) {
    const value args = pop(m), f = pop(m);
    char what[160];
    if (m->status) return;
    if (is_text(f, V_GLOBAL, "torch._utils\n_rebuild_tensor_v2\n") ||
        is_text(f, V_GLOBAL, "torch._utils\n_rebuild_tensor\n")) {
        push_tensor(m, args);
    } else if (is_text(f, V_GLOBAL, "torch._utils\n_rebuild_parameter\n")) {
        push(m, item_of(m, args, 0));
    } else if (is_text(f, V_GLOBAL, "collections\nOrderedDict\n")) {
        push_dict(m);
    } else {
        snprintf(what, sizeof what, "the pickle calls %.*s, which builds no tensor",
                 f.len > 80 ? 80 : (int)f.len, f.kind == V_GLOBAL ? f.text : "");
        fail(m, GLIA_ERR_UNSUPPORTED, what);
    }
}

/* ---- opcodes -------------------------------------------------------------------- */

/* Remember the top of the stack under number i. Numbers of a pickle are dense. */
static void remember(machine *m, uint64_t i) {
    if (i > m->len || m->stack.n == 0) {
        fail(m, GLIA_ERR_FORMAT, "a number of the memo is out of range");
        return;
    }
    while (m->memo.n <= i)
        if (!grow(m, &m->memo, sizeof(value))) return;
    ((value *)m->memo.at)[i] = ((value *)m->stack.at)[m->stack.n - 1];
}

static void recall(machine *m, uint64_t i) {
    if (i >= m->memo.n)
        fail(m, GLIA_ERR_FORMAT, "a number of the memo is out of range");
    else
        push(m, ((value *)m->memo.at)[i]);
}

/* Two lines: module and name. */
static void push_global(machine *m) {
    const size_t from = m->at;
    for (int lines = 0; lines < 2 && !m->status;) {
        const unsigned char *c = take(m, 1);
        lines += c && *c == '\n';
    }
    if (!m->status)
        push(m, (value){.kind = V_GLOBAL, .text = (const char *)m->bytes + from, .len = m->at - from});
}

/* A signed integer of n bytes. */
static void push_long(machine *m, uint64_t n) {
    if (n > 8) {
        fail(m, GLIA_ERR_LIMIT, "an integer has more than 64 bits");
        return;
    }
    uint64_t x = take_uint(m, (int)n);
    if (n > 0 && n < 8 && x >> (8 * n - 1)) x |= ~UINT64_C(0) << 8 * n;
    push(m, (value){.kind = V_INT, .number = (int64_t)x});
}

static void drop_mark(machine *m) {
    const size_t n = above_mark(m);
    if (!m->status) m->stack.n -= n + 1;
}

static void step(machine *m, unsigned char op) {
    size_t n;
    switch (op) {
    case 0x80: take(m, 1); return; /* PROTO */
    case 0x95: take(m, 8); return; /* FRAME */
    case '(': push(m, (value){.kind = V_MARK}); return;
    case '0': pop(m); return;
    case '}': push_dict(m); return;
    case ')': push_tuple(m, 0); return;
    case 'N':
    case ']': push(m, (value){0}); return;
    case 0x88:
    case 0x89: push(m, (value){.kind = V_INT, .number = op == 0x88}); return;
    case 'K': push(m, (value){.kind = V_INT, .number = (int64_t)take_uint(m, 1)}); return;
    case 'M': push(m, (value){.kind = V_INT, .number = (int64_t)take_uint(m, 2)}); return;
    case 'J': push_long(m, 4); return;
    case 0x8a: push_long(m, take_uint(m, 1)); return;
    case 'G':
        take(m, 8);
        push(m, (value){0});
        return;
    case 'X': push_text(m, V_TEXT, take_uint(m, 4)); return;
    case 0x8c: push_text(m, V_TEXT, take_uint(m, 1)); return;
    case 'c': push_global(m); return;
    case 'q': remember(m, take_uint(m, 1)); return;
    case 'r': remember(m, take_uint(m, 4)); return;
    case 0x94: remember(m, m->memo.n); return;
    case 'h': recall(m, take_uint(m, 1)); return;
    case 'j': recall(m, take_uint(m, 4)); return;
    case 0x85:
    case 0x86:
    case 0x87: push_tuple(m, op - 0x84u); return;
    case 't':
        n = above_mark(m);
        if (m->status) return;
        push_tuple(m, n);
        if (m->status) return;
        const value tuple = pop(m);
        m->stack.n--; /* the mark */
        push(m, tuple);
        return;
    case 'Q': push_storage(m); return;
    case 'R': call(m); return;
    case 'b':
    case 'a': pop(m); return; /* attributes of an OrderedDict, an item of a list */
    case 'e': drop_mark(m); return;
    case 's': set_items(m, 2, 0); return;
    case 'u':
        n = above_mark(m);
        set_items(m, n, 1);
        return;
    default: fail(m, GLIA_ERR_UNSUPPORTED, "an opcode that no state dict has");
    }
}

/* The tensors of the dictionary on top of the stack, in its order. */
static void name_tensors(machine *m, list *out) {
    const value root = pop(m);
    char what[160];
    if (!m->status && root.kind != V_DICT) fail(m, GLIA_ERR_FORMAT, "expected a dictionary of tensors");
    for (size_t i = 0; i < m->entries.n && !m->status; i++) {
        const entry *e = (entry *)m->entries.at + i;
        if (e->dict != root.number) continue;
        if (e->key.kind != V_TEXT || e->item.kind != V_TENSOR) {
            snprintf(what, sizeof what, "the value of key %.*s is no tensor",
                     e->key.kind != V_TEXT ? 0
                     : e->key.len > 80     ? 80
                                           : (int)e->key.len,
                     e->key.kind == V_TEXT ? e->key.text : "");
            fail(m, GLIA_ERR_UNSUPPORTED, what);
            return;
        }
        glia_pickled_tensor *t = grow(m, out, sizeof *t);
        if (!t) return;
        *t = ((glia_pickled_tensor *)m->tensors.at)[e->item.number];
        t->name = e->key.text;
        t->name_len = e->key.len;
    }
}

glia_status glia_pickle_read(glia_pickled_tensor **out, size_t *n, const void *bytes, size_t len,
                             const char *where, glia_err *err) {
    machine m = {.bytes = bytes, .len = len, .where = where, .err = err};
    list found = {0};
    for (bool stop = false; !stop && !m.status;) {
        const unsigned char *op = take(&m, 1);
        stop = op && *op == '.';
        if (op && !stop) step(&m, *op);
    }
    if (!m.status) name_tensors(&m, &found);
    free(m.stack.at), free(m.items.at), free(m.memo.at), free(m.entries.at), free(m.tensors.at);
    if (m.status) {
        free(found.at);
        found = (list){0};
    }
    *out = found.at;
    *n = found.n;
    return m.status;
}
