/* tokenizer_read.c - see tokenizer_read.h.
 *
 * A walk over the top level and over "model" finds the two members. Malformed JSON
 * elsewhere ends the walk without an error: jansson parses that text afterwards and
 * reports what is wrong and where. */
#include "text/tokenizer_read.h"

#include <inttypes.h>

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

typedef struct {
    const char *text, *p, *end;
    const char *where;
    glia_err *err;
    glia_buf scratch; /* the last string that had escapes, decoded */
    glia_bpe *b;
    const char *cut[2][2]; /* [from, to) of vocab and merges, in file order */
    int n_cuts;
    bool vocab_read;
    const char *merges; /* start of the merges, which may come before the vocabulary */
} reader;

/* ---- JSON ------------------------------------------------------------------- */

static glia_status broken(const reader *r, const char *what) {
    const size_t at = (size_t)(r->p - r->text);
    if (r->p == r->end)
        return glia_fail(r->err, GLIA_ERR_FORMAT, "%s: byte %zu: %s, found the end of the file", r->where, at,
                         what);
    return glia_fail(r->err, GLIA_ERR_FORMAT, "%s: byte %zu: %s, found byte 0x%02x", r->where, at, what,
                     (unsigned char)*r->p);
}

static void skip_space(reader *r) {
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t')) r->p++;
}

/* Skip white space, `c`, and white space. Returns false if `c` is not there. */
static bool skip_char(reader *r, char c) {
    skip_space(r);
    if (r->p == r->end || *r->p != c) return false;
    r->p++;
    skip_space(r);
    return true;
}

/* Skip the string at r->p, which points to `"`. Its bytes are not checked. */
static bool skip_string(reader *r) {
    for (r->p++; r->p < r->end; r->p++) {
        if (*r->p == '\\')
            r->p++;
        else if (*r->p == '"')
            return r->p++, true;
    }
    r->p = r->end; /* a trailing backslash moved r->p past the end */
    return false;
}

/* Skip one value. Brackets are counted but not matched by kind. */
static bool skip_value(reader *r) {
    size_t depth = 0;
    do {
        skip_space(r);
        if (r->p == r->end) return false;
        const char c = *r->p;
        if (c == '"') {
            if (!skip_string(r)) return false;
            continue;
        }
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && depth-- == 0) return false;
        if (c == ',' && depth == 0) return false;
        for (r->p++; r->p < r->end && !strchr("{}[],:\" \t\r\n", *r->p); r->p++)
            if (strchr("{}[],:", c)) break;
    } while (depth > 0);
    return true;
}

static int hex4(const char *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        const char c = p[i], lower = (char)(c | 32);
        if (c >= '0' && c <= '9')
            value = value << 4 | (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value << 4 | (lower - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* Append the escaped character to scratch; r->p is behind the backslash. */
static bool read_escape(reader *r) {
    static const char plain[] = "\"\\/bfnrt", stands_for[] = "\"\\/\b\f\n\r\t";
    if (r->p == r->end) return false;
    const char *found = *r->p ? strchr(plain, *r->p) : NULL;
    if (found) {
        glia_buf_putc(&r->scratch, stands_for[found - plain]);
        r->p++;
        return true;
    }
    if (*r->p != 'u' || r->end - r->p < 5) return false;
    int c = hex4(r->p + 1);
    if (c < 0 || (c & 0xfc00) == 0xdc00) return false;
    r->p += 5;
    if ((c & 0xfc00) == 0xd800) {
        const int low = r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u' ? hex4(r->p + 2) : -1;
        if (low < 0 || (low & 0xfc00) != 0xdc00) return false;
        c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
        r->p += 6;
    }
    char bytes[4];
    glia_buf_add(&r->scratch, bytes, glia_utf8_put(bytes, (uint32_t)c));
    return true;
}

/* Read a string. *s points into the text, or into scratch, which is valid until the
 * next call. UTF-8 is not checked here. */
static glia_status read_string(reader *r, const char **s, size_t *n) {
    if (r->p == r->end || *r->p != '"') return broken(r, "expected a string");
    const char *from = ++r->p;
    while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20) r->p++;
    *s = from;
    *n = (size_t)(r->p - from);
    if (r->p < r->end && *r->p == '"') return r->p++, GLIA_OK;
    r->scratch.len = 0;
    glia_buf_add(&r->scratch, *s, *n);
    while (r->p < r->end && *r->p != '"') {
        if ((unsigned char)*r->p < 0x20) return broken(r, "expected a character of a string");
        if (*r->p != '\\') {
            glia_buf_putc(&r->scratch, *r->p++);
        } else {
            r->p++;
            if (!read_escape(r)) return broken(r, "expected the rest of an escape");
        }
    }
    if (r->p == r->end) return broken(r, "expected the end of a string");
    if (r->scratch.oom) return glia_fail_nomem(r->err, r->scratch.len, r->where);
    r->p++;
    *s = r->scratch.data;
    *n = r->scratch.len;
    return GLIA_OK;
}

/* ---- vocabulary and merges ------------------------------------------------- */

static int shown(size_t n) { return (int)(n < 60 ? n : 60); }

static glia_status read_id(reader *r, int32_t *id) {
    const char *from = r->p;
    int64_t value = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && r->p - from < 12)
        value = value * 10 + (*r->p++ - '0');
    if (r->p == from || (*from == '0' && r->p - from > 1) ||
        (r->p < r->end && (*r->p == '.' || *r->p == 'e' || *r->p == 'E')))
        return broken(r, "model.vocab: expected a token id, a whole number");
    if (value >= GLIA_VOCAB_MAX)
        return glia_fail(r->err, GLIA_ERR_LIMIT,
                         "%s: byte %zu: model.vocab: token id %" PRId64 ", limit is %d", r->where,
                         (size_t)(from - r->text), value, GLIA_VOCAB_MAX - 1);
    *id = (int32_t)value;
    return GLIA_OK;
}

static glia_status read_token(reader *r) {
    const char *s, *const from = r->p;
    size_t n;
    int32_t id = 0;
    bool raw;
    glia_status status = read_string(r, &s, &n);
    if (status) return status;
    char small[256], *bytes = n <= sizeof small ? small : malloc(n);
    if (!bytes) return glia_fail_nomem(r->err, n, "a token");
    const size_t len = glia_bpe_unspell(bytes, s, n, &raw);
    if (raw && glia_utf8_check(s, n) != n)
        status = glia_fail(r->err, GLIA_ERR_FORMAT, "%s: byte %zu: model.vocab: a token is not valid UTF-8",
                           r->where, (size_t)(from - r->text));
    if (!status && !skip_char(r, ':')) status = broken(r, "model.vocab: expected ':'");
    if (!status) status = read_id(r, &id);
    if (!status && (size_t)id < r->b->n_ids && r->b->token[id].known)
        status = glia_fail(r->err, GLIA_ERR_FORMAT, "%s: byte %zu: model.vocab: id %d is given twice",
                           r->where, (size_t)(from - r->text), id);
    if (!status && !glia_bpe_add(r->b, id, bytes, len, raw))
        status = glia_fail_nomem(r->err, r->b->bytes.len, "the vocabulary");
    if (bytes != small) free(bytes);
    return status;
}

static glia_status read_vocab(reader *r) {
    if (!skip_char(r, '{')) return broken(r, "model.vocab: expected an object");
    if (!skip_char(r, '}')) {
        do {
            const glia_status status = read_token(r);
            if (status) return status;
        } while (skip_char(r, ','));
        if (!skip_char(r, '}')) return broken(r, "model.vocab: expected ',' or '}'");
    }
    int32_t twice;
    if (!glia_bpe_seal(r->b, &twice)) return glia_fail_nomem(r->err, r->b->n_ids * 16, "the vocabulary");
    if (twice >= 0)
        return glia_fail(r->err, GLIA_ERR_FORMAT, "%s: model.vocab: the token of id %d is given twice",
                         r->where, twice);
    return GLIA_OK;
}

/* Append the bytes of one token of a pair to *pair. */
static glia_status read_side(reader *r, glia_buf *pair, bool *raw) {
    const char *s;
    size_t n;
    const glia_status status = read_string(r, &s, &n);
    if (!status && glia_buf_reserve(pair, n))
        pair->len += glia_bpe_unspell(pair->data + pair->len, s, n, raw);
    return status;
}

/* Read a pair: "a b" (tokenizers before 0.20) or ["a", "b"]. *pair gets the bytes of
 * both tokens; the first *left_len are the left token's. */
static glia_status read_pair(reader *r, glia_buf *pair, size_t *left_len, bool raw[2]) {
    pair->len = 0;
    if (r->p < r->end && *r->p == '"') {
        const char *s;
        size_t n;
        const glia_status status = read_string(r, &s, &n);
        if (status) return status;
        const char *space = n ? memchr(s, ' ', n) : NULL;
        const size_t left = space ? (size_t)(space - s) : 0;
        if (!space || memchr(space + 1, ' ', n - left - 1))
            return broken(r, "model.merges: expected two tokens with one space between");
        if (!glia_buf_reserve(pair, n)) return GLIA_OK;
        *left_len = glia_bpe_unspell(pair->data, s, left, &raw[0]);
        pair->len = *left_len + glia_bpe_unspell(pair->data + *left_len, space + 1, n - left - 1, &raw[1]);
        return GLIA_OK;
    }
    if (!skip_char(r, '[')) return broken(r, "model.merges: expected a pair of tokens");
    glia_status status = read_side(r, pair, &raw[0]);
    *left_len = pair->len;
    if (!status && !skip_char(r, ',')) status = broken(r, "model.merges: expected ','");
    if (!status) status = read_side(r, pair, &raw[1]);
    if (!status && !skip_char(r, ']')) status = broken(r, "model.merges: expected ']'");
    return status;
}

static glia_status read_merge(reader *r, glia_buf *pair) {
    size_t left_len = 0;
    bool raw[2] = {false, false};
    const glia_status status = read_pair(r, pair, &left_len, raw);
    if (status) return status;
    if (pair->oom) return glia_fail_nomem(r->err, pair->len, "the merges");
    if (raw[0] || raw[1]) { /* no word has such tokens: this merge only uses up a rank */
        r->b->n_merges++;
        return GLIA_OK;
    }
    const size_t right_len = pair->len - left_len;
    const int32_t left = glia_bpe_find(r->b, pair->data, left_len, false);
    const int32_t right = glia_bpe_find(r->b, pair->data + left_len, right_len, false);
    const int32_t merged = glia_bpe_find(r->b, pair->data, pair->len, false);
    if (left < 0 || right < 0 || merged < 0)
        return glia_fail(r->err, GLIA_ERR_FORMAT,
                         "%s: byte %zu: model.merges[%zu]: \"%.*s\" + \"%.*s\": %s is not in model.vocab",
                         r->where, (size_t)(r->p - r->text), r->b->n_merges, shown(left_len), pair->data,
                         shown(right_len), pair->data + left_len,
                         left < 0    ? "the left"
                         : right < 0 ? "the right"
                                     : "their concatenation");
    if (!glia_bpe_add_merge(r->b, left, right, merged))
        return glia_fail_nomem(r->err, r->b->n_merges * 32, "the merges");
    return GLIA_OK;
}

static glia_status read_merges(reader *r) {
    glia_buf pair = {0};
    glia_status status = GLIA_OK;
    if (!skip_char(r, '[')) return broken(r, "model.merges: expected an array");
    if (!skip_char(r, ']')) {
        do status = read_merge(r, &pair);
        while (!status && skip_char(r, ','));
        if (!status && !skip_char(r, ']')) status = broken(r, "model.merges: expected ',' or ']'");
    }
    glia_buf_free(&pair);
    return status;
}

/* ---- the walk -------------------------------------------------------------- */

static bool key_is(const char *key, const char *end, const char *name) {
    const size_t n = strlen(name);
    return (size_t)(end - key) == n + 2 && memcmp(key + 1, name, n) == 0;
}

/* Read or skip a member of "model"; r->p is at its value. *more is set to false if
 * the walk cannot continue. */
static glia_status model_member(reader *r, const char *key, const char *key_end, bool *more) {
    glia_status status = GLIA_OK;
    const char *from = r->p;
    const bool vocab = key_is(key, key_end, "vocab") && !r->vocab_read;
    const bool merges = key_is(key, key_end, "merges") && !r->merges;
    if (vocab && r->p < r->end && *r->p == '{') {
        status = read_vocab(r);
        r->vocab_read = true;
    } else if (merges && r->p < r->end && *r->p == '[') {
        r->merges = r->p;
        if (r->vocab_read)
            status = read_merges(r);
        else
            *more = skip_value(r);
    } else {
        *more = skip_value(r);
        return GLIA_OK;
    }
    r->cut[r->n_cuts][0] = from;
    r->cut[r->n_cuts++][1] = r->p;
    return status;
}

static glia_status walk(reader *r, bool in_model) {
    if (!skip_char(r, '{')) return GLIA_OK;
    do {
        const char *key = r->p;
        if (r->p == r->end || *r->p != '"' || !skip_string(r)) return GLIA_OK;
        const char *key_end = r->p;
        if (!skip_char(r, ':')) return GLIA_OK;
        bool more = true;
        glia_status status = GLIA_OK;
        if (in_model)
            status = model_member(r, key, key_end, &more);
        else if (key_is(key, key_end, "model") && r->p < r->end && *r->p == '{')
            status = walk(r, true);
        else
            more = skip_value(r);
        if (status || !more) return status;
    } while (skip_char(r, ','));
    skip_char(r, '}');
    return GLIA_OK;
}

/* Let jansson parse the text with `true` in place of each cut. The position in its
 * error message is translated to a position in the whole text. */
static glia_status read_rest(reader *r, json_t **rest) {
    glia_buf text = {0};
    json_error_t e;
    const char *from = r->text;
    for (int i = 0; i < r->n_cuts; i++) {
        glia_buf_add(&text, from, (size_t)(r->cut[i][0] - from));
        glia_buf_puts(&text, "true");
        from = r->cut[i][1];
    }
    glia_buf_add(&text, from, (size_t)(r->end - from));
    *rest = text.oom ? NULL : json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &e);
    const bool oom = text.oom || (!*rest && json_error_code(&e) == json_error_out_of_memory);
    const size_t len = text.len;
    glia_buf_free(&text);
    if (oom) return glia_fail_nomem(r->err, len, r->where);
    if (*rest) return GLIA_OK;
    size_t at = (size_t)e.position;
    for (int i = 0; i < r->n_cuts; i++)
        if (at > (size_t)(r->cut[i][0] - r->text))
            at += (size_t)(r->cut[i][1] - r->cut[i][0]) - strlen("true");
    return glia_fail(r->err, GLIA_ERR_FORMAT, "%s: byte %zu: %s", r->where, at, e.text);
}

glia_status glia_tokenizer_read(glia_bpe *b, json_t **rest, const char *text, size_t len, const char *where,
                                glia_err *err) {
    reader r = {.text = text, .p = text, .end = text + len, .where = where, .err = err, .b = b};
    *rest = NULL;
    glia_status status = walk(&r, false);
    if (!status && r.vocab_read && r.merges && !b->merge) {
        r.p = r.merges;
        status = read_merges(&r);
    }
    if (!status) status = read_rest(&r, rest);
    const char *type = json_string_value(json_object_get(json_object_get(*rest, "model"), "type"));
    const bool other = type && strcmp(type, "BPE") != 0; /* refused by whoever reads the rest */
    if (!status && (!r.vocab_read || !r.merges) && !other) {
        status = glia_fail(err, GLIA_ERR_FORMAT, "%s: model.%s", where,
                           r.vocab_read ? "merges: expected an array" : "vocab: expected an object");
        json_decref(*rest);
        *rest = NULL;
    }
    glia_buf_free(&r.scratch);
    return status;
}
