/* chars.c - see chars.h. */
#include "grammar/chars.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "grammar/rx_impl.h"
#include "text/unicode.h"

enum { LAST = 0x10ffff, SURROGATE = 0xd800, AFTER_SURROGATES = 0xe000, ASTRAL = 0x10000 };

static const glia_char_range *range(const glia_chars *c) { return c->data; }

bool glia_chars_add(glia_chars *c, uint32_t lo, uint32_t hi) {
    if (lo > hi) return true;
    return glia_vec_push(c, sizeof(glia_char_range), &(glia_char_range){lo, hi});
}

static int by_lo(const void *x, const void *y) {
    const uint32_t a = ((const glia_char_range *)x)->lo, b = ((const glia_char_range *)y)->lo;
    return (a > b) - (a < b);
}

/* Append the part of [lo, hi] inside [from, to], joined to the last range if it touches. */
static bool join(glia_chars *out, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to) {
    if (lo < from) lo = from;
    if (hi > to) hi = to;
    if (lo > hi) return true;
    glia_char_range *last = out->n ? (glia_char_range *)out->data + out->n - 1 : NULL;
    if (!last || last->hi + 1 < lo) return glia_chars_add(out, lo, hi);
    if (last->hi < hi) last->hi = hi;
    return true;
}

/* *out: the characters of `c`, which is sorted, inside [from, to]. */
static bool clip(glia_chars *out, const glia_chars *c, uint32_t from, uint32_t to) {
    out->n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (!join(out, range(c)[i].lo, range(c)[i].hi, from, to)) return false;
    return true;
}

bool glia_chars_normalise(glia_chars *c) {
    glia_chars out = {0};
    bool ok = true;
    if (c->n) qsort(c->data, c->n, sizeof(glia_char_range), by_lo);
    for (size_t i = 0; i < c->n && ok; i++) ok = join(&out, range(c)[i].lo, range(c)[i].hi, 0, SURROGATE - 1);
    for (size_t i = 0; i < c->n && ok; i++)
        ok = join(&out, range(c)[i].lo, range(c)[i].hi, AFTER_SURROGATES, LAST);
    glia_vec_free(c);
    *c = out;
    return ok;
}

bool glia_chars_invert(glia_chars *c) {
    if (!glia_chars_normalise(c)) return false;
    glia_chars out = {0};
    uint32_t next = 0;
    bool ok = true;
    for (size_t i = 0; i < c->n && ok; i++) {
        ok = range(c)[i].lo == next || glia_chars_add(&out, next, range(c)[i].lo - 1);
        next = range(c)[i].hi + 1;
    }
    ok = ok && (next > LAST || glia_chars_add(&out, next, LAST));
    glia_vec_free(c);
    *c = out;
    return ok && glia_chars_normalise(c);
}

bool glia_chars_fold(glia_chars *c) {
    const size_t n = c->n;
    for (size_t i = 0; i < n; i++)
        for (uint32_t u = range(c)[i].lo, hi = range(c)[i].hi; u <= hi; u++) {
            const uint32_t upper = (uint32_t)utf8proc_toupper((utf8proc_int32_t)u);
            const uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)u);
            if (upper != u && !glia_chars_add(c, upper, upper)) return false;
            if (lower != u && !glia_chars_add(c, lower, lower)) return false;
        }
    return glia_chars_normalise(c);
}

/* Categories in the order of utf8proc_category_t. */
static const struct {
    const char *name, *spelled;
} categories[] = {
    {"Cn", "Unassigned"},
    {"Lu", "Uppercase_Letter"},
    {"Ll", "Lowercase_Letter"},
    {"Lt", "Titlecase_Letter"},
    {"Lm", "Modifier_Letter"},
    {"Lo", "Other_Letter"},
    {"Mn", "Nonspacing_Mark"},
    {"Mc", "Spacing_Mark"},
    {"Me", "Enclosing_Mark"},
    {"Nd", "Decimal_Number"},
    {"Nl", "Letter_Number"},
    {"No", "Other_Number"},
    {"Pc", "Connector_Punctuation"},
    {"Pd", "Dash_Punctuation"},
    {"Ps", "Open_Punctuation"},
    {"Pe", "Close_Punctuation"},
    {"Pi", "Initial_Punctuation"},
    {"Pf", "Final_Punctuation"},
    {"Po", "Other_Punctuation"},
    {"Sm", "Math_Symbol"},
    {"Sc", "Currency_Symbol"},
    {"Sk", "Modifier_Symbol"},
    {"So", "Other_Symbol"},
    {"Zs", "Space_Separator"},
    {"Zl", "Line_Separator"},
    {"Zp", "Paragraph_Separator"},
    {"Cc", "Control"},
    {"Cf", "Format"},
    {"Cs", "Surrogate"},
    {"Co", "Private_Use"},
};
static const struct {
    const char *name, *spelled;
} groups[] = {{"L", "Letter"}, {"M", "Mark"},      {"N", "Number"}, {"P", "Punctuation"},
              {"S", "Symbol"}, {"Z", "Separator"}, {"C", "Other"}};

static bool is(const char *name, size_t len, const char *word) {
    return strlen(word) == len && memcmp(name, word, len) == 0;
}

bool glia_chars_add_category(glia_chars *c, const char *name, size_t len) {
    bool in[sizeof categories / sizeof *categories] = {false}, any = false;
    char group = '\0';
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (is(name, len, groups[i].name) || is(name, len, groups[i].spelled)) group = *groups[i].name;
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        any |= in[i] = *categories[i].name == group || is(name, len, categories[i].name) ||
                       is(name, len, categories[i].spelled);
    for (uint32_t u = 0, from = 0; u <= LAST && any; u++) {
        if (!in[utf8proc_category((utf8proc_int32_t)u)])
            from = u + 1;
        else if ((u == LAST || !in[utf8proc_category((utf8proc_int32_t)u + 1)]) &&
                 !glia_chars_add(c, from, u))
            return false;
    }
    return any;
}

/* ---- spelled as bytes -------------------------------------------------------- */

/* How many of the characters [lo, hi] the set has: none, some or all. */
typedef enum { HAS_NONE, HAS_SOME, HAS_ALL } has_of;
static has_of has(const glia_chars *c, uint32_t lo, uint32_t hi) {
    size_t a = 0, b = c->n; /* the first range that ends at lo or later */
    while (a < b) {
        const size_t mid = (a + b) / 2;
        if (range(c)[mid].hi < lo)
            a = mid + 1;
        else
            b = mid;
    }
    if (a == c->n || range(c)[a].lo > hi) return HAS_NONE;
    return range(c)[a].lo <= lo && range(c)[a].hi >= hi ? HAS_ALL : HAS_SOME;
}

/* Alternatives: a set of bytes, then an expression; one for each expression. */
typedef struct {
    glia_rx rest[64];
    glia_byteset set[64];
    int n;
} fan;

static glia_byteset *fan_set(fan *f, glia_rx rest) {
    for (int i = 0; i < f->n; i++)
        if (f->rest[i] == rest) return &f->set[i];
    f->rest[f->n] = rest;
    f->set[f->n] = (glia_byteset){{0}};
    return &f->set[f->n++];
}

static glia_rx fan_rx(glia_rx_pool *p, const fan *f) {
    glia_rx list[64];
    for (int i = 0; i < f->n; i++) list[i] = glia_rx_cat(p, glia_rx_set(p, &f->set[i]), f->rest[i]);
    return glia_rx_or_all(p, list, (size_t)f->n);
}

/* The last k bytes of UTF-8 of the characters of `c` in [base, base + 64^k). */
static glia_rx continuation(glia_rx_pool *p, const glia_chars *c, uint32_t base, int k) {
    const has_of all = has(c, base, base + (1u << 6 * k) - 1);
    if (all == HAS_NONE) return GLIA_RX_NONE;
    if (all == HAS_ALL) return glia_rx_repeat(p, glia_rx_range(p, 0x80, 0xbf), k, k);
    fan f = {.n = 0};
    for (unsigned i = 0; i < 64; i++) {
        const glia_rx rest = continuation(p, c, base + (i << 6 * (k - 1)), k - 1);
        if (rest != GLIA_RX_NONE) glia_byteset_range(fan_set(&f, rest), 0x80 + i, 0x80 + i);
    }
    return fan_rx(p, &f);
}

static glia_rx utf8(glia_rx_pool *p, const glia_chars *c) {
    static const struct {
        uint32_t from, to;
        unsigned lead, last;
    } form[] = {{0, 0x7f, 0, 0x7f},
                {0x80, 0x7ff, 0xc0, 0xdf},
                {0x800, 0xffff, 0xe0, 0xef},
                {ASTRAL, LAST, 0xf0, 0xf4}};
    glia_chars part = {0};
    glia_rx sum = GLIA_RX_NONE;
    for (int k = 0; k < 4; k++) {
        fan f = {.n = 0};
        glia_byteset ascii = {{0}};
        if (!clip(&part, c, form[k].from, form[k].to)) break;
        for (unsigned b = form[k].lead; b <= form[k].last; b++) {
            if (k == 0) {
                if (has(&part, b, b)) glia_byteset_range(&ascii, b, b);
                continue;
            }
            const glia_rx rest = continuation(p, &part, (b - form[k].lead) << 6 * k, k);
            if (rest != GLIA_RX_NONE) glia_byteset_range(fan_set(&f, rest), b, b);
        }
        sum = glia_rx_or(p, sum, k ? fan_rx(p, &f) : glia_rx_set(p, &ascii));
    }
    glia_vec_free(&part);
    return sum;
}

/* k hexadecimal digits whose value, added to `base`, is in `c`. */
static glia_rx hex(glia_rx_pool *p, const glia_chars *c, uint32_t base, int k) {
    const has_of all = has(c, base, base + (1u << 4 * k) - 1);
    if (all == HAS_NONE) return GLIA_RX_NONE;
    if (k == 0) return GLIA_RX_EMPTY;
    fan f = {.n = 0};
    if (all == HAS_ALL) {
        glia_byteset digit = {{0}};
        glia_byteset_range(&digit, '0', '9');
        glia_byteset_range(&digit, 'a', 'f');
        glia_byteset_range(&digit, 'A', 'F');
        return glia_rx_repeat(p, glia_rx_set(p, &digit), k, k);
    }
    for (unsigned i = 0; i < 16; i++) {
        const glia_rx rest = hex(p, c, base + (i << 4 * (k - 1)), k - 1);
        if (rest == GLIA_RX_NONE) continue;
        glia_byteset *s = fan_set(&f, rest);
        if (i < 10)
            glia_byteset_range(s, '0' + i, '0' + i);
        else {
            glia_byteset_range(s, 'a' + i - 10, 'a' + i - 10);
            glia_byteset_range(s, 'A' + i - 10, 'A' + i - 10);
        }
    }
    return fan_rx(p, &f);
}

/* "\uXXXX" for the code units of `c`. */
static glia_rx unit(glia_rx_pool *p, const glia_chars *c) {
    return glia_rx_cat(p, glia_rx_text(p, "\\u", 2), hex(p, c, 0, 4));
}

/* "\\uXXXX" for the second surrogates of the characters of `c` in [base, base + 1024). */
static glia_rx second(glia_rx_pool *p, const glia_chars *c, uint32_t base) {
    glia_chars part = {0}, low = {0};
    glia_rx e = GLIA_RX_NONE;
    bool ok = clip(&part, c, base, base + 1023);
    for (size_t i = 0; i < part.n && ok; i++)
        ok = glia_chars_add(&low, 0xdc00 + range(&part)[i].lo - base, 0xdc00 + range(&part)[i].hi - base);
    if (ok && low.n) e = unit(p, &low);
    glia_vec_free(&part);
    glia_vec_free(&low);
    return e;
}

/* Pairs of surrogates: neighbouring first ones with the same second ones share an expression. */
static glia_rx pairs(glia_rx_pool *p, const glia_chars *c) {
    glia_rx sum = GLIA_RX_NONE, before = GLIA_RX_NONE;
    has_of had = HAS_NONE;
    uint32_t from = 0;
    for (uint32_t h = 0; h <= 1024; h++) {
        const uint32_t base = ASTRAL + (h << 10);
        const has_of now = h < 1024 ? has(c, base, base + 1023) : HAS_NONE;
        if (now == had && now != HAS_SOME) continue;
        const glia_rx rest = now == HAS_NONE ? GLIA_RX_NONE : second(p, c, base);
        had = now;
        if (rest == before) continue;
        if (before != GLIA_RX_NONE) {
            glia_char_range first = {0xd800 + from, 0xd800 + h - 1};
            const glia_chars high = {&first, 1, 1};
            sum = glia_rx_or(p, sum, glia_rx_cat(p, unit(p, &high), before));
        }
        before = rest;
        from = h;
    }
    return sum;
}

static glia_rx short_escapes(glia_rx_pool *p, const glia_chars *c) {
    static const char letter[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    glia_byteset s = {{0}};
    for (int i = 0; letter[i]; i++)
        if (has(c, (unsigned char)meaning[i], (unsigned char)meaning[i]))
            glia_byteset_range(&s, (unsigned char)letter[i], (unsigned char)letter[i]);
    return glia_rx_cat(p, glia_rx_range(p, '\\', '\\'), glia_rx_set(p, &s));
}

static glia_rx json_chars(glia_rx_pool *p, const glia_chars *c) {
    glia_chars plain = {0}, escaped = {0};
    bool ok = true;
    for (size_t i = 0; i < c->n && ok; i++) {
        const uint32_t lo = range(c)[i].lo, hi = range(c)[i].hi;
        ok = join(&plain, lo, hi, 0x20, '"' - 1) && join(&plain, lo, hi, '"' + 1, '\\' - 1) &&
             join(&plain, lo, hi, '\\' + 1, LAST) && join(&escaped, lo, hi, 0, 0x1f) &&
             join(&escaped, lo, hi, 0x80, 0xffff);
    }
    ok = ok && glia_chars_normalise(&plain) && glia_chars_normalise(&escaped);
    glia_rx e = GLIA_RX_NONE;
    if (ok)
        e = glia_rx_or_all(
            p, (const glia_rx[]){utf8(p, &plain), short_escapes(p, c), unit(p, &escaped), pairs(p, c)}, 4);
    glia_vec_free(&plain);
    glia_vec_free(&escaped);
    return e;
}

glia_rx glia_chars_rx(glia_rx_pool *p, const glia_chars *c, glia_spelling spelling) {
    return spelling == GLIA_SPELL_JSON ? json_chars(p, c) : utf8(p, c);
}

glia_rx glia_char_any(glia_rx_pool *p, glia_spelling spelling) {
    glia_char_range all[2] = {{0, SURROGATE - 1}, {AFTER_SURROGATES, LAST}};
    const glia_chars c = {all, 2, 2};
    if (p->any_char[spelling] == GLIA_RX_NONE) p->any_char[spelling] = glia_chars_rx(p, &c, spelling);
    return p->any_char[spelling];
}

glia_rx glia_chars_text(glia_rx_pool *p, const char *text, size_t len, glia_spelling spelling) {
    if (spelling == GLIA_SPELL_TEXT) return glia_rx_text(p, text, len);
    glia_rx e = GLIA_RX_EMPTY;
    for (const char *at = text + len; at > text;) {
        const uint32_t u = glia_utf8_previous(&at);
        glia_char_range one = {u, u};
        const glia_chars c = {&one, 1, 1};
        const bool plain = u >= 0x20 && u < 0x7f && !strchr("\"\\/", (int)u); /* one spelling of one byte */
        e = glia_rx_cat(p, plain ? glia_rx_range(p, u, u) : glia_chars_rx(p, &c, spelling), e);
    }
    return e;
}
