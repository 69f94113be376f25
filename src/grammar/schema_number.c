/* schema_number.c - sets of numbers as expressions of their texts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/chars.h"
#include "grammar/schema.h"

static glia_rx set_of(glia_schema *s, const char *pattern) {
    glia_rx e = GLIA_RX_NONE;
    if (glia_rx_parse(&e, s->rx, pattern, strlen(pattern), GLIA_SPELL_TEXT, false, "number", NULL))
        glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    return e;
}

void glia_number_init(glia_schema *s) {
    s->digit = glia_rx_range(s->rx, '0', '9');
    s->integer = set_of(s, "-?(0|[1-9][0-9]*)");
    s->plain_number = set_of(s, "-?(0|[1-9][0-9]*)(\\.[0-9]+)?");
    s->any_number = set_of(s, "-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");
    s->canonical_number =
        glia_rx_minus(s->rx, set_of(s, "-?(0|[1-9][0-9]*)(\\.[0-9]*[1-9])?"), set_of(s, "-0"));
}

/* ---- from JSON ------------------------------------------------------------------------- */

/* The fewest digits that give the same double. */
static void shortest(double d, char *text, size_t size) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, size, "%.*e", digits - 1, d);
        if (strtod(text, NULL) == d) return;
    }
}

/* Move the point of "-1.234e-5" where the exponent says. */
static bool expand(const char *from, char *text, size_t size) {
    char digits[40];
    int n = 0;
    const char *at = from;
    const bool negative = *at == '-';
    for (at += negative; *at && *at != 'e'; at++)
        if (*at != '.') digits[n++] = *at;
    const int point = 1 + atoi(at + 1); /* digits before the point */
    while (n > 1 && digits[n - 1] == '0') n--;
    if ((size_t)(point > n ? point : n - (point < 0 ? point : 0)) + 8 > size) return false;
    char *out = text;
    if (negative) *out++ = '-';
    if (point <= 0) *out++ = '0';
    for (int i = 0; i < point; i++) *out++ = i < n ? digits[i] : '0';
    if (n > point) *out++ = '.';
    for (int i = point; i < 0 && n > point; i++) *out++ = '0';
    for (int i = point > 0 ? point : 0; i < n; i++) *out++ = digits[i];
    *out = '\0';
    return true;
}

bool glia_number_text(const json_t *value, char *text, size_t size) {
    char wide[64];
    if (json_is_integer(value))
        return snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) < (int)size;
    if (!json_is_real(value) || !isfinite(json_real_value(value))) return false;
    if (json_real_value(value) == 0) return snprintf(text, size, "0") < (int)size;
    if (fabs(json_real_value(value)) >= 0x1p63 && fabs(json_real_value(value)) < 1e22)
        return snprintf(text, size, "%.0f", json_real_value(value)) <
               (int)size; /* an integer that was read so */
    shortest(json_real_value(value), wide, sizeof wide);
    return expand(wide, text, size);
}

/* A plain decimal: its sign, the digits before the point, and those after it without zeros at the end. */
typedef struct {
    bool negative, zero;
    const char *whole, *part;
    int n_whole, n_part;
} decimal;

static decimal read_decimal(const char *text) {
    decimal d = {.negative = *text == '-'};
    d.whole = text + d.negative;
    d.n_whole = (int)strcspn(d.whole, ".");
    d.part = d.whole + d.n_whole + (d.whole[d.n_whole] == '.');
    d.n_part = (int)strlen(d.part);
    while (d.n_part > 0 && d.part[d.n_part - 1] == '0') d.n_part--;
    d.zero = d.n_part == 0 && d.n_whole == 1 && *d.whole == '0';
    return d;
}

/* ---- bounds ----------------------------------------------------------------------------- */

static glia_rx digits(glia_schema *s, int least, int most) {
    return glia_rx_repeat(s->rx, s->digit, least, most);
}

/* A digit above c, and at least `least`. */
static glia_rx above(glia_schema *s, char c, char least) {
    const char lo = (char)(c + 1) > least ? (char)(c + 1) : least;
    return lo > '9' ? GLIA_RX_NONE : glia_rx_range(s->rx, (unsigned char)lo, '9');
}

/* A point and digits that make more than the part of d, or with `equal` the same. */
static glia_rx greater_part(glia_schema *s, const decimal *d, bool equal) {
    glia_rx_pool *p = s->rx;
    glia_rx sum = glia_rx_cat(p, glia_rx_text(p, d->part, (size_t)d->n_part),
                              equal && d->n_part
                                  ? digits(s, 0, GLIA_RX_MANY)
                                  : glia_rx_cat3(p, digits(s, 0, GLIA_RX_MANY), glia_rx_range(p, '1', '9'),
                                                 digits(s, 0, GLIA_RX_MANY)));
    if (equal && d->n_part == 0) sum = digits(s, 1, GLIA_RX_MANY);
    for (int i = 0; i < d->n_part; i++)
        sum = glia_rx_or(p, sum,
                         glia_rx_cat3(p, glia_rx_text(p, d->part, (size_t)i), above(s, d->part[i], '0'),
                                      digits(s, 0, GLIA_RX_MANY)));
    const glia_rx e = glia_rx_cat(p, glia_rx_range(p, '.', '.'), sum);
    return equal && d->n_part == 0 ? glia_rx_or(p, e, GLIA_RX_EMPTY) : e;
}

/* Decimals without a sign that are more than |d|, or with `equal` the same. */
static glia_rx greater(glia_schema *s, const decimal *d, bool equal) {
    glia_rx_pool *p = s->rx;
    const glia_rx part =
        glia_rx_repeat(p, glia_rx_cat(p, glia_rx_range(p, '.', '.'), digits(s, 1, GLIA_RX_MANY)), 0, 1);
    glia_rx sum = glia_rx_cat3(p, glia_rx_range(p, '1', '9'), digits(s, d->n_whole, GLIA_RX_MANY), part);
    for (int i = 0; i < d->n_whole; i++)
        sum = glia_rx_or(
            p, sum,
            glia_rx_cat3(p, glia_rx_text(p, d->whole, (size_t)i), above(s, d->whole[i], i ? '0' : '1'),
                         glia_rx_cat(p, digits(s, d->n_whole - i - 1, d->n_whole - i - 1), part)));
    const glia_rx same =
        glia_rx_cat(p, glia_rx_text(p, d->whole, (size_t)d->n_whole), greater_part(s, d, equal));
    return glia_rx_or(p, sum, same);
}

glia_rx glia_number_bound(glia_schema *s, const char *bound, bool upper, bool exclusive) {
    glia_rx_pool *p = s->rx;
    const decimal d = read_decimal(bound);
    const glia_rx minus = glia_rx_range(p, '-', '-');
    const glia_rx unsigned_ = set_of(s, "(0|[1-9][0-9]*)(\\.[0-9]+)?"), zero = set_of(s, "-?0(\\.0+)?");
    const bool outward = upper == d.negative || d.zero; /* the numbers beyond the bound lie away from zero */
    glia_rx e;
    if (outward && !d.zero) {
        e = greater(s, &d, !exclusive);
        return d.negative ? glia_rx_cat(p, minus, e) : e;
    }
    const glia_rx other_side = upper ? glia_rx_cat(p, minus, unsigned_) : unsigned_;
    if (d.zero) return exclusive ? glia_rx_minus(p, other_side, zero) : glia_rx_or(p, other_side, zero);
    e = glia_rx_minus(p, unsigned_, greater(s, &d, exclusive));
    e = glia_rx_or(p, other_side, d.negative ? glia_rx_cat(p, minus, e) : e);
    return glia_rx_or(p, e, zero);
}

glia_rx glia_number_multiple(glia_schema *s, const char *of) {
    const decimal d = read_decimal(of);
    uint64_t modulus = 0;
    int n = 0;
    for (int i = 0; i < d.n_whole + d.n_part; i++) {
        const char c = i < d.n_whole ? d.whole[i] : d.part[i - d.n_whole];
        n += n > 0 || c != '0';
        modulus = modulus * 10 + (uint64_t)(c - '0');
        if (n > 18) return GLIA_RX_NONE;
    }
    const glia_rx e = glia_rx_multiple(s->rx, modulus, d.n_part);
    const glia_rx sign = glia_rx_repeat(s->rx, glia_rx_range(s->rx, '-', '-'), 0, 1);
    return glia_rx_and(s->rx, s->plain_number, glia_rx_cat(s->rx, sign, e));
}

glia_rx glia_number_equal(glia_schema *s, const char *value) {
    glia_rx_pool *p = s->rx;
    const decimal d = read_decimal(value);
    glia_rx e = glia_rx_text(p, d.whole, (size_t)d.n_whole);
    if (d.n_part)
        e = glia_rx_cat3(p, e, glia_rx_range(p, '.', '.'), glia_rx_text(p, d.part, (size_t)d.n_part));
    else
        e = glia_rx_cat(p, e, glia_rx_repeat(p, glia_rx_text(p, ".0", 2), 0, 1));
    return d.negative && !d.zero ? glia_rx_cat(p, glia_rx_range(p, '-', '-'), e) : e;
}
