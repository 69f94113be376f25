/* unicode.c - Python's classes and cases of characters.
 *
 * utf8proc has categories and one-to-one mappings; unicode_tables.h has the rest
 * (Other_Lowercase, Numeric_Type, SpecialCasing). */
#include "jinja/jinja.h"

#include <utf8proc.h>

typedef struct {
    int32_t from, to;
} jspan;

typedef struct {
    int32_t cp, to[3];
} jspecial;

#include "jinja/unicode_tables.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool in_spans(const jspan *t, size_t n, int32_t cp) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (cp > t[mid].to)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && cp >= t[lo].from;
}

static const jspecial *find_special(const jspecial *t, size_t n, int32_t cp) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (cp > t[mid].cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && t[lo].cp == cp ? &t[lo] : NULL;
}

bool glia_j_isspace(int32_t cp) {
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0x2028 || cp == 0x2029 ||
           (cp > 127 && utf8proc_category(cp) == UTF8PROC_CATEGORY_ZS);
}

bool glia_j_isalpha(int32_t cp) {
    const utf8proc_category_t c = utf8proc_category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool glia_j_isdecimal(int32_t cp) { return utf8proc_category(cp) == UTF8PROC_CATEGORY_ND; }

bool glia_j_isdigit(int32_t cp) {
    return glia_j_isdecimal(cp) || in_spans(other_digit, COUNT(other_digit), cp);
}

bool glia_j_isnumeric(int32_t cp) {
    const utf8proc_category_t c = utf8proc_category(cp);
    return (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO) ||
           in_spans(other_numeric, COUNT(other_numeric), cp);
}

bool glia_j_isalnum(int32_t cp) { return glia_j_isalpha(cp) || glia_j_isnumeric(cp); }

bool glia_j_islower(int32_t cp) {
    return utf8proc_category(cp) == UTF8PROC_CATEGORY_LL || in_spans(other_lower, COUNT(other_lower), cp);
}

bool glia_j_isupper(int32_t cp) {
    return utf8proc_category(cp) == UTF8PROC_CATEGORY_LU || in_spans(other_upper, COUNT(other_upper), cp);
}

bool glia_j_istitle(int32_t cp) { return utf8proc_category(cp) == UTF8PROC_CATEGORY_LT; }

bool glia_j_isprintable(int32_t cp) {
    const utf8proc_category_t c = utf8proc_category(cp);
    return cp == ' ' || (c != UTF8PROC_CATEGORY_CN && c < UTF8PROC_CATEGORY_ZS);
}

bool glia_j_isident(int32_t cp, bool first) {
    const utf8proc_category_t c = utf8proc_category(cp);
    if (cp == '_' || glia_j_isalpha(cp) || c == UTF8PROC_CATEGORY_NL) return true;
    return !first && (c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ND ||
                      c == UTF8PROC_CATEGORY_PC || cp == 0xb7);
}

/* ---- cases --------------------------------------------------------------------------- */

static bool is_cased(int32_t cp) { return glia_j_islower(cp) || glia_j_isupper(cp) || glia_j_istitle(cp); }

/* Unicode's Case_Ignorable: marks, formats, modifiers, and punctuation inside words. */
static bool is_ignorable(int32_t cp) {
    static const int32_t inside_words[] = {0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,
                                           0x5f4,  0x2018, 0x2019, 0x2024, 0x2027, 0xfe13,
                                           0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (size_t i = 0; i < COUNT(inside_words); i++) {
        if (cp == inside_words[i]) return true;
    }
    switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return false;
    }
}

static bool cased_before(const jstr *s, size_t at) {
    while (at > 0) {
        do at--;
        while (at > 0 && ((unsigned char)s->p[at] & 0xc0) == 0x80);
        size_t i = at;
        const int32_t cp = glia_j_next(s->p, s->n, &i);
        if (!is_ignorable(cp)) return is_cased(cp);
    }
    return false;
}

static bool cased_after(const jstr *s, size_t at) {
    while (at < s->n) {
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        if (!is_ignorable(cp)) return is_cased(cp);
    }
    return false;
}

/* The lower case of a capital sigma at bytes [from, to): a final sigma at the end of a word. */
static int32_t lower_sigma(const jstr *s, size_t from, size_t to) {
    return cased_before(s, from) && !cased_after(s, to) ? 0x3c2 : 0x3c3;
}

static void put_special(jrt *rt, jtext *t, const jspecial *special, int32_t otherwise) {
    if (!special) {
        glia_j_putcp(rt, t, otherwise);
        return;
    }
    for (int i = 0; i < 3 && special->to[i]; i++) glia_j_putcp(rt, t, special->to[i]);
}

static void put_upper(jrt *rt, jtext *t, int32_t cp) {
    put_special(rt, t, find_special(special_upper, COUNT(special_upper), cp), utf8proc_toupper(cp));
}

static void put_title(jrt *rt, jtext *t, int32_t cp) {
    put_special(rt, t, find_special(special_title, COUNT(special_title), cp), utf8proc_totitle(cp));
}

static void put_lower(jrt *rt, jtext *t, const jstr *s, size_t from, size_t to, int32_t cp) {
    if (cp == 0x3a3) cp = lower_sigma(s, from, to);
    glia_j_putcp(rt, t, utf8proc_tolower(cp));
    if (cp == 0x130) glia_j_putcp(rt, t, 0x307);
}

static void put_folded(jrt *rt, jtext *t, int32_t cp) {
    utf8proc_int32_t folded[8];
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(cp, folded, 8, UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++) glia_j_putcp(rt, t, folded[i]);
}

jval glia_j_case(jrt *rt, const jstr *s, char mode) {
    jtext t = {0};
    bool inside = false; /* mode 'T': inside a word; mode 'c': past the first letter */
    glia_j_step(rt, s->n / 8);
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        char how = mode;
        if (cp < 128 && mode != 'T' && mode != 'c') {
            const bool up = cp >= 'A' && cp <= 'Z', low = cp >= 'a' && cp <= 'z';
            const bool flips = mode == 's' ? up || low : mode == 'u' || mode == 't' ? low : up;
            glia_j_putc(rt, &t, (char)(flips ? cp ^ 32 : cp));
            continue;
        }
        if (mode == 'T' || mode == 'c') how = inside ? 'l' : 't';
        if (mode == 's') how = glia_j_isupper(cp) ? 'l' : glia_j_islower(cp) ? 'u' : '=';
        if (how == 'u')
            put_upper(rt, &t, cp);
        else if (how == 't')
            put_title(rt, &t, cp);
        else if (how == 'l')
            put_lower(rt, &t, s, from, at, cp);
        else if (how == 'f')
            put_folded(rt, &t, cp);
        else
            glia_j_putcp(rt, &t, cp);
        inside = mode == 'c' || is_cased(cp);
    }
    jval v = glia_j_text(rt, &t);
    v.u.s->safe = s->safe;
    return v;
}
