/* unicode.c - see unicode.h. */
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <utf8proc.h>

/* States: 1-3 that many continuation bytes to come; 4-7 the second byte is
 * restricted: after E0 (A0..BF), ED (80..9F), F0 (90..BF), F4 (80..8F). */
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
        while (len - i >= 8) { /* most text is mostly ASCII */
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

bool glia_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

bool glia_is_word(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
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

/* A character is inert for NFC when it is its own NFC, begins no reordering and
 * composes with nothing before it. Text of inert characters is in NFC, and a
 * text can be cut before any of them. Nothing at or past INERT_END is otherwise. */
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
    while (p < end) {
        if ((unsigned char)*p < 0xcc) { /* below U+0300 all is inert, and continuation bytes are passed */
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
    if (form == GLIA_NFC) {
        call_once(&active_once, fill_active);
        return find_active(text, text + len) == text + len;
    }
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80) return false;
    return true;
}

static int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

/* Stable order by combining class of c[0, n), all nonzero. `spare` [n]. */
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

/* Normalize one stretch that composes with nothing outside it. utf8proc's own
 * sort is quadratic in a run of marks, so only its tables and its composition
 * are used. */
static void normalize_stretch(glia_buf *out, const char *p, const char *end, glia_normal_form form) {
    int flags = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (form == GLIA_NFKC || form == GLIA_NFKD) flags |= UTF8PROC_COMPAT;
    const bool compose = form == GLIA_NFC || form == GLIA_NFKC;
    size_t n = 0, cap = 0;
    utf8proc_int32_t *c = NULL;
    while (p < end) {
        int boundary = 0;
        if (cap - n < 32) { /* the longest decomposition, U+FDFA's, has 18 */
            cap = cap ? cap * 2 : 256;
            utf8proc_int32_t *grown = realloc(c, 2 * cap * sizeof *c); /* the second half is spare */
            if (!grown) goto no_memory;
            c = grown;
        }
        n += (size_t)utf8proc_decompose_char((utf8proc_int32_t)glia_utf8_next(&p), c + n, 32,
                                             (utf8proc_option_t)flags, &boundary);
    }
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j < n && combining_class(c[j])) j++;
        if (j - i > 1) sort_marks(c + i, c + cap, j - i);
        i = j + 1;
    }
    if (compose)
        n = (size_t)utf8proc_normalize_utf32(c, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
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
    call_once(&active_once, fill_active);
    while (p < end && !out->oom) {
        const char *from = find_active(p, end);
        if (from > p && from < end) glia_utf8_previous(&from); /* the base the marks sit on */
        glia_buf_add(out, p, (size_t)(from - p));
        for (p = from; p < end;) { /* up to the next inert character but the base */
            const char *next = p;
            if (!is_active(glia_utf8_next(&next)) && p > from) break;
            p = next;
        }
        if (p > from) normalize_stretch(out, from, p, form);
    }
}
