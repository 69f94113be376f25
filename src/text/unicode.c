/* unicode.c - see unicode.h. */
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <utf8proc.h>

/* States 1 to 3: so many continuation bytes follow. States 4 to 7: the second byte
 * is restricted, after E0 (A0..BF), ED (80..9F), F0 (90..BF), F4 (80..8F). */
unsigned glia_utf8_step(unsigned state, unsigned char byte) {
    static const unsigned char low[8] = {0, 0x80, 0x80, 0x80, 0xa0, 0x80, 0x90, 0x80};
    static const unsigned char high[8] = {0, 0xbf, 0xbf, 0xbf, 0xbf, 0x9f, 0xbf, 0x8f};
    static const unsigned char next[8] = {0, 0, 1, 2, 1, 1, 2, 2};
    if (state != GLIA_UTF8_ACCEPT)
        return byte >= low[state] && byte <= high[state] ? next[state] : GLIA_UTF8_REJECT;
    if (byte < 0x80) return GLIA_UTF8_ACCEPT;
    if (byte < 0xc2 || byte > 0xf4) return GLIA_UTF8_REJECT;
    if (byte < 0xe0) return 1;
    if (byte < 0xf0) return byte == 0xe0 ? 4 : byte == 0xed ? 5 : 2;
    return byte == 0xf0 ? 6 : byte == 0xf4 ? 7 : 3;
}

size_t glia_utf8_check(const char *text, size_t len) {
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        while (len - i >= 8) { /* fast path: most text is mostly ASCII */
            memcpy(&eight, text + i, 8);
            if (eight & 0x8080808080808080u) break;
            i += 8;
        }
        if (i == len) break;
        const size_t start = i;
        unsigned state = GLIA_UTF8_ACCEPT;
        do state = i < len ? glia_utf8_step(state, (unsigned char)text[i++]) : GLIA_UTF8_REJECT;
        while (state != GLIA_UTF8_ACCEPT && state != GLIA_UTF8_REJECT);
        if (state == GLIA_UTF8_REJECT) return start;
    }
    return len;
}

uint32_t glia_utf8_next(const char **p) {
    const unsigned char *s = (const unsigned char *)*p;
    const uint32_t b = s[0];
    if (b < 0x80) return *p += 1, b;
    if (b < 0xe0) return *p += 2, (b & 0x1fu) << 6 | (s[1] & 0x3fu);
    if (b < 0xf0) return *p += 3, (b & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    return *p += 4, (b & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

uint32_t glia_utf8_previous(const char **p) {
    do --*p;
    while (((unsigned char)**p & 0xc0) == 0x80);
    const char *at = *p;
    return glia_utf8_next(&at);
}

size_t glia_utf8_put(char out[4], uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

/* ---- characters newer than the libraries ------------------------------------ */

/* Source: the Unicode character database, as the difference between tokenizers
 * 0.22.2 (Unicode 16.0) and Python 3.11 (14.0). */
static const struct {
    uint32_t first, last, stand_in;
} newer[] = {
    /* clang-format off */
    {0x0897, 0x0897, 0x1a17}, {0x0cf3, 0x0cf3, 0x1a19}, {0x0ece, 0x0ece, 0x1a17}, {0x1b4e, 0x1b4f, 0x1a1e},
    {0x1b7f, 0x1b7f, 0x1a1e}, {0x1c89, 0x1c89, 0x10a0}, {0x1c8a, 0x1c8a, 0x1d79}, {0x2427, 0x2429, 0xa490},
    {0x2ffc, 0x2fff, 0xa490}, {0x31e4, 0x31e5, 0xa490}, {0x31ef, 0x31ef, 0xa490}, {0xa7cb, 0xa7cc, 0x10a0},
    {0xa7cd, 0xa7cd, 0x1d79}, {0xa7da, 0xa7da, 0x10a0}, {0xa7db, 0xa7db, 0x1d79}, {0xa7dc, 0xa7dc, 0x10a0},
    {0x105c0, 0x105f3, 0x10280}, {0x10d40, 0x10d49, 0x104a0}, {0x10d4a, 0x10d4d, 0x10280},
    {0x10d4e, 0x10d4e, 0x16b40}, {0x10d4f, 0x10d4f, 0x10280}, {0x10d50, 0x10d65, 0x104b0},
    {0x10d69, 0x10d6d, 0x10a01}, {0x10d6e, 0x10d6e, 0x10ead}, {0x10d6f, 0x10d6f, 0x16b40},
    {0x10d70, 0x10d85, 0x104d8}, {0x10d8e, 0x10d8f, 0x1d6c1}, {0x10ec2, 0x10ec4, 0x10280},
    {0x10efc, 0x10eff, 0x10a01}, {0x1123f, 0x11240, 0x10280}, {0x11241, 0x11241, 0x10a01},
    {0x11380, 0x11389, 0x10280}, {0x1138b, 0x1138b, 0x10280}, {0x1138e, 0x1138e, 0x10280},
    {0x11390, 0x113b5, 0x10280}, {0x113b7, 0x113b7, 0x10280}, {0x113b8, 0x113ba, 0x11000},
    {0x113bb, 0x113c0, 0x10a01}, {0x113c2, 0x113c2, 0x11000}, {0x113c5, 0x113c5, 0x11000},
    {0x113c7, 0x113ca, 0x11000}, {0x113cc, 0x113cd, 0x11000}, {0x113ce, 0x113ce, 0x10a01},
    {0x113cf, 0x113cf, 0x11000}, {0x113d0, 0x113d0, 0x10a01}, {0x113d1, 0x113d1, 0x10280},
    {0x113d2, 0x113d2, 0x10a01}, {0x113d3, 0x113d3, 0x10280}, {0x113d4, 0x113d5, 0x10100},
    {0x113d7, 0x113d8, 0x10100}, {0x113e1, 0x113e2, 0x10a01}, {0x116d0, 0x116e3, 0x104a0},
    {0x1171e, 0x1171e, 0x11000}, {0x11b00, 0x11b09, 0x10100}, {0x11bc0, 0x11be0, 0x10280},
    {0x11be1, 0x11be1, 0x10100}, {0x11bf0, 0x11bf9, 0x104a0}, {0x11f00, 0x11f01, 0x10a01},
    {0x11f02, 0x11f02, 0x10280}, {0x11f03, 0x11f03, 0x11000}, {0x11f04, 0x11f10, 0x10280},
    {0x11f12, 0x11f33, 0x10280}, {0x11f34, 0x11f35, 0x11000}, {0x11f36, 0x11f3a, 0x10a01},
    {0x11f3e, 0x11f3f, 0x11000}, {0x11f40, 0x11f40, 0x10a01}, {0x11f41, 0x11f41, 0x11000},
    {0x11f42, 0x11f42, 0x10a01}, {0x11f43, 0x11f4f, 0x10100}, {0x11f50, 0x11f59, 0x104a0},
    {0x11f5a, 0x11f5a, 0x10a01}, {0x1342f, 0x1342f, 0x10280}, {0x13439, 0x1343f, 0x110bd},
    {0x13440, 0x13440, 0x10a01}, {0x13441, 0x13446, 0x10280}, {0x13447, 0x13455, 0x10a01},
    {0x13460, 0x143fa, 0x10280}, {0x16100, 0x1611d, 0x10280}, {0x1611e, 0x16129, 0x10a01},
    {0x1612a, 0x1612c, 0x11000}, {0x1612d, 0x1612f, 0x10a01}, {0x16130, 0x16139, 0x104a0},
    {0x16d40, 0x16d42, 0x16b40}, {0x16d43, 0x16d6a, 0x10280}, {0x16d6b, 0x16d6c, 0x16b40},
    {0x16d6d, 0x16d6f, 0x10100}, {0x16d70, 0x16d79, 0x104a0}, {0x18cff, 0x18cff, 0x10280},
    {0x1b132, 0x1b132, 0x10280}, {0x1b155, 0x1b155, 0x10280}, {0x1cc00, 0x1ccef, 0x10137},
    {0x1ccf0, 0x1ccf9, 0x104a0}, {0x1cd00, 0x1ceb3, 0x10137}, {0x1d2c0, 0x1d2d3, 0x10107},
    {0x1df25, 0x1df2a, 0x104d8}, {0x1e030, 0x1e06d, 0x16b40}, {0x1e08f, 0x1e08f, 0x10a01},
    {0x1e4d0, 0x1e4ea, 0x10280}, {0x1e4eb, 0x1e4eb, 0x16b40}, {0x1e4ec, 0x1e4ef, 0x10a01},
    {0x1e4f0, 0x1e4f9, 0x104a0}, {0x1e5d0, 0x1e5ed, 0x10280}, {0x1e5ee, 0x1e5ef, 0x10a01},
    {0x1e5f0, 0x1e5f0, 0x10280}, {0x1e5f1, 0x1e5fa, 0x104a0}, {0x1e5ff, 0x1e5ff, 0x10100},
    {0x1f6dc, 0x1f6dc, 0x10137}, {0x1f774, 0x1f776, 0x10137}, {0x1f77b, 0x1f77f, 0x10137},
    {0x1f7d9, 0x1f7d9, 0x10137}, {0x1f8b2, 0x1f8bb, 0x10137}, {0x1f8c0, 0x1f8c1, 0x10137},
    {0x1fa75, 0x1fa77, 0x10137}, {0x1fa87, 0x1fa89, 0x10137}, {0x1fa8f, 0x1fa8f, 0x10137},
    {0x1faad, 0x1faaf, 0x10137}, {0x1fabb, 0x1fabf, 0x10137}, {0x1fac6, 0x1fac6, 0x10137},
    {0x1face, 0x1facf, 0x10137}, {0x1fada, 0x1fadc, 0x10137}, {0x1fadf, 0x1fadf, 0x10137},
    {0x1fae8, 0x1fae9, 0x10137}, {0x1faf7, 0x1faf8, 0x10137}, {0x1fbcb, 0x1fbef, 0x10137},
    {0x2b739, 0x2b739, 0x20000}, {0x2ebf0, 0x2ee5d, 0x20000}, {0x31350, 0x323af, 0x20000},
    /* clang-format on */
};

uint32_t glia_unicode_stand_in(uint32_t c) {
    size_t low = 0, high = sizeof newer / sizeof *newer;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (c > newer[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof newer / sizeof *newer && c >= newer[low].first ? newer[low].stand_in : c;
}

size_t glia_unicode_find_newer(const char *text, size_t len, size_t from) {
    const char *p = text + from, *const end = text + len;
    while (p < end) {
        if ((unsigned char)*p < 0xe0) { /* the first newer character has three bytes */
            p++;
            continue;
        }
        const char *const at = p;
        const uint32_t c = glia_utf8_next(&p);
        if (glia_unicode_stand_in(c) != c) return (size_t)(at - text);
    }
    return len;
}

void glia_unicode_put_stand_ins(char *text, size_t len) {
    for (size_t at = 0; (at = glia_unicode_find_newer(text, len, at)) < len;) {
        const char *p = text + at;
        glia_utf8_put(text + at, glia_unicode_stand_in(glia_utf8_next(&p)));
    }
}

/* ---- classes ---------------------------------------------------------------- */

bool glia_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

bool glia_is_word(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)glia_unicode_stand_in(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: /* alphabetic symbols: circled, squared and other enclosed letters */
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c || c == 0x200d;
    }
}

/* ---- normal forms --------------------------------------------------------- */

/* A character is inert for NFC if it is its own NFC, has combining class 0 and
 * composes with no character before it. A text of inert characters is in NFC, and
 * a text can be normalized in two separate pieces if the second begins with an
 * inert character. All characters from INERT_END on are inert. */
enum { INERT_END = 0x30000, HANGUL_V = 0x1161, HANGUL_T_END = 0x11c3 };
static uint8_t active[INERT_END / 8]; /* bit set: not inert */
static once_flag active_once = ONCE_FLAG_INIT;

static void set_active(utf8proc_int32_t c) { active[c >> 3] |= (uint8_t)(1u << (c & 7)); }

static void fill_active(void) {
    for (utf8proc_int32_t c = 0x80; c < INERT_END; c++) {
        utf8proc_int32_t d[16];
        int boundary = 0;
        const utf8proc_property_t *property = utf8proc_get_property(c);
        if (property->combining_class) set_active(c);
        if (property->category == UTF8PROC_CATEGORY_CN) continue;
        const utf8proc_ssize_t n = utf8proc_decompose_char(c, d, 16, UTF8PROC_DECOMPOSE, &boundary);
        if (n < 1 || n > 16 || (n == 1 && d[0] == c)) continue;
        for (utf8proc_ssize_t i = 1; i < n; i++) set_active(d[i]);
        const utf8proc_ssize_t back = utf8proc_normalize_utf32(d, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        if (back != 1 || d[0] != c) set_active(c);
    }
    for (utf8proc_int32_t c = HANGUL_V; c < HANGUL_T_END; c++) set_active(c);
}

static bool is_active(uint32_t c) { return c < INERT_END && active[c >> 3] >> (c & 7) & 1; }

/* The first character of [p, end) that is not inert, or end. */
static const char *find_active(const char *p, const char *end) {
    while (p < end && (unsigned char)*p < 0xcc) p++;
    if (p < end) call_once(&active_once, fill_active); /* takes milliseconds; plain English needs no table */
    while (p < end) {
        if ((unsigned char)*p < 0xcc) { /* a character below U+0300, all inert, or a continuation byte */
            p++;
            continue;
        }
        const char *next = p;
        if (is_active(glia_utf8_next(&next))) return p;
        p = next;
    }
    return end;
}

bool glia_is_normalized(const char *text, size_t len, glia_normal_form form) {
    if (form == GLIA_NFC) return find_active(text, text + len) == text + len;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80) return false;
    return true;
}

bool glia_is_alone(uint32_t c) {
    static const struct {
        uint32_t first, last;
    } alone[] = {
        /* clang-format off */
        {0x07fd, 0x07fd}, {0x0898, 0x089f}, {0x08ca, 0x08d3}, {0x09fe, 0x09fe}, {0x0c3c, 0x0c3c},
        {0x0d3b, 0x0d3c}, {0x0eba, 0x0eba}, {0x11a7, 0x11a7}, {0x1715, 0x1715}, {0x1abf, 0x1ace},
        {0x1df6, 0x1dfa}, {0x32ff, 0x32ff}, {0xa7f2, 0xa7f4}, {0xa82c, 0xa82c}, {0xab69, 0xab69},
        {0x10781, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac},
        {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
        {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
        {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
        {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x16ff0, 0x16ff1}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
        {0x1e2ec, 0x1e2ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
        /* clang-format on */
    };
    size_t low = 0, high = sizeof alone / sizeof *alone;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (c > alone[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return (low < sizeof alone / sizeof *alone && c >= alone[low].first) || glia_unicode_stand_in(c) != c;
}

static int combining_class(utf8proc_int32_t c) {
    const int class = utf8proc_get_property(c)->combining_class;
    return class && glia_is_alone((uint32_t)c) ? 0 : class;
}

/* Sort c [n] by combining class, stably. All classes are nonzero. `spare` [n] is scratch. */
static void sort_marks(utf8proc_int32_t *c, utf8proc_int32_t *spare, size_t n) {
    if (n <= 32) {
        for (size_t i = 1; i < n; i++) {
            const utf8proc_int32_t mark = c[i];
            const int class = combining_class(mark);
            size_t j = i;
            for (; j > 0 && combining_class(c[j - 1]) > class; j--) c[j] = c[j - 1];
            c[j] = mark;
        }
        return;
    }
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) start[combining_class(c[i]) + 1]++;
    for (size_t k = 1; k < 257; k++) start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++) spare[start[combining_class(c[i])]++] = c[i];
    memcpy(c, spare, n * sizeof *c);
}

/* Compose c [n] in place and return its new length. */
static size_t compose_all(utf8proc_int32_t *c, size_t n) {
    size_t kept = 0;
    for (size_t i = 0, j; i < n; i = j + 1) {
        for (j = i; j < n && !glia_is_alone((uint32_t)c[j]);) j++;
        const utf8proc_ssize_t made =
            utf8proc_normalize_utf32(c + i, (utf8proc_ssize_t)(j - i), UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        memmove(c + kept, c + i, (size_t)made * sizeof *c);
        kept += (size_t)made;
        if (j < n) c[kept++] = c[j];
    }
    return kept;
}

/* Normalize a stretch of text that composes with nothing outside of it. utf8proc's
 * own sort is quadratic in the length of a run of marks, so only its tables and its
 * composition are used. */
static void normalize_stretch(glia_buf *out, const char *p, const char *end, glia_normal_form form) {
    int flags = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (form == GLIA_NFKC || form == GLIA_NFKD) flags |= UTF8PROC_COMPAT;
    const bool compose = form == GLIA_NFC || form == GLIA_NFKC;
    size_t n = 0, cap = 0;
    utf8proc_int32_t *c = NULL;
    while (p < end) {
        int boundary = 0;
        if (cap - n < 32) { /* the longest decomposition, that of U+FDFA, has 18 characters */
            cap = cap ? cap * 2 : 256;
            utf8proc_int32_t *grown = realloc(c, 2 * cap * sizeof *c); /* the second half is spare */
            if (!grown) goto no_memory;
            c = grown;
        }
        const utf8proc_int32_t one = (utf8proc_int32_t)glia_utf8_next(&p);
        if (glia_is_alone((uint32_t)one))
            c[n++] = one;
        else
            n += (size_t)utf8proc_decompose_char(one, c + n, 32, (utf8proc_option_t)flags, &boundary);
    }
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j < n && combining_class(c[j])) j++;
        if (j - i > 1) sort_marks(c + i, c + cap, j - i);
        i = j + 1;
    }
    if (compose) n = compose_all(c, n);
    for (size_t i = 0; i < n && !out->oom; i++) {
        char bytes[4];
        glia_buf_add(out, bytes, glia_utf8_put(bytes, (uint32_t)c[i]));
    }
    free(c);
    return;
no_memory:
    free(c);
    out->oom = true;
}

void glia_normalize(glia_buf *out, const char *text, size_t len, glia_normal_form form) {
    const char *p = text, *const end = text + len;
    if (form != GLIA_NFC) {
        normalize_stretch(out, p, end, form);
        return;
    }
    while (p < end && !out->oom) {
        const char *from = find_active(p, end);
        if (from > p && from < end) glia_utf8_previous(&from); /* include the base of the marks */
        glia_buf_add(out, p, (size_t)(from - p));
        for (p = from; p < end;) { /* up to the next inert character after the base */
            const char *next = p;
            if (!is_active(glia_utf8_next(&next)) && p > from) break;
            p = next;
        }
        if (p > from) normalize_stretch(out, from, p, form);
    }
}
