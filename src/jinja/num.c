/* num.c - arithmetic, rounding, and parsing of numbers, as in Python. One
 * difference: integers have 64 bits, and an overflow is GLIA_ERR_LIMIT. */
#include "jinja/jinja.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void overflow(jrt *rt) { glia_j_limit(rt, "an integer past 64 bits"); }

static _Noreturn void unsupported(jrt *rt, int op, jval a, jval b) {
    if (a.kind == J_UNDEF) glia_j_undefined_error(rt, a);
    if (b.kind == J_UNDEF) glia_j_undefined_error(rt, b);
    const char one[2] = {(char)op, 0};
    glia_j_fail(rt, "TypeError", "unsupported operand type(s) for %s: '%s' and '%s'",
                op == 'f'   ? "//"
                : op == 'p' ? "** or pow()"
                            : one,
                glia_j_type(a), glia_j_type(b));
}

/* ---- integers -------------------------------------------------------------------------- */

static int64_t floor_div(jrt *rt, int64_t a, int64_t b) {
    if (b == 0) glia_j_fail(rt, "ZeroDivisionError", "integer division or modulo by zero");
    if (b == -1) {
        if (a == INT64_MIN) overflow(rt);
        return -a;
    }
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t floor_mod(jrt *rt, int64_t a, int64_t b) {
    if (b == 0) glia_j_fail(rt, "ZeroDivisionError", "integer modulo by zero");
    if (b == -1) return 0;
    const int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t power(jrt *rt, int64_t base, int64_t exponent) {
    int64_t result = 1;
    while (exponent) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) overflow(rt);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) overflow(rt);
    }
    return result;
}

static jval float_op(jrt *rt, int op, double a, double b);

static jval int_op(jrt *rt, int op, int64_t a, int64_t b) {
    int64_t r = 0;
    switch (op) {
    case '+':
        if (__builtin_add_overflow(a, b, &r)) overflow(rt);
        return glia_j_int(r);
    case '-':
        if (__builtin_sub_overflow(a, b, &r)) overflow(rt);
        return glia_j_int(r);
    case '*':
        if (__builtin_mul_overflow(a, b, &r)) overflow(rt);
        return glia_j_int(r);
    case '/':
        if (b == 0) glia_j_fail(rt, "ZeroDivisionError", "division by zero");
        return glia_j_float((double)((long double)a / (long double)b));
    case 'f': return glia_j_int(floor_div(rt, a, b));
    case '%': return glia_j_int(floor_mod(rt, a, b));
    default:
        if (b < 0) return float_op(rt, op, (double)a, (double)b);
        return glia_j_int(power(rt, a, b));
    }
}

/* ---- floats ------------------------------------------------------------------------------ */

static double float_mod(double a, double b) {
    const double r = fmod(a, b);
    if (r == 0) return copysign(0, b);
    return (b < 0) != (r < 0) ? r + b : r;
}

static double float_floor_div(double a, double b) {
    const double q = (a - float_mod(a, b)) / b;
    if (q == 0) return copysign(0, a / b);
    const double whole = floor(q);
    return q - whole > 0.5 ? whole + 1 : whole;
}

static double float_power(jrt *rt, double a, double b) {
    if (a == 0 && b < 0) glia_j_fail(rt, "ZeroDivisionError", "0.0 cannot be raised to a negative power");
    if (a < 0 && isfinite(a) && isfinite(b) && floor(b) != b)
        glia_j_fail(rt, "ValueError", "complex numbers are not supported");
    const double r = pow(a, b);
    if (isinf(r) && isfinite(a) && isfinite(b))
        glia_j_fail(rt, "OverflowError", "(34, 'Numerical result out of range')");
    return r;
}

static jval float_op(jrt *rt, int op, double a, double b) {
    switch (op) {
    case '+': return glia_j_float(a + b);
    case '-': return glia_j_float(a - b);
    case '*': return glia_j_float(a * b);
    case '/':
        if (b == 0) glia_j_fail(rt, "ZeroDivisionError", "float division by zero");
        return glia_j_float(a / b);
    case 'f':
        if (b == 0) glia_j_fail(rt, "ZeroDivisionError", "float floor division by zero");
        return glia_j_float(float_floor_div(a, b));
    case '%':
        if (b == 0) glia_j_fail(rt, "ZeroDivisionError", "float modulo");
        return glia_j_float(float_mod(a, b));
    default: return glia_j_float(float_power(rt, a, b));
    }
}

/* ---- sequences --------------------------------------------------------------------------- */

static jval add_sequences(jrt *rt, jval a, jval b) {
    if (a.kind == J_STR && b.kind == J_STR) {
        if (a.u.s->safe != b.u.s->safe) {
            a = glia_j_escape(rt, a);
            b = glia_j_escape(rt, b);
        }
        return glia_j_concat(rt, a, b);
    }
    if (a.kind != b.kind || (a.kind != J_LIST && a.kind != J_TUPLE)) {
        if (b.kind != J_UNDEF && (a.kind == J_STR || a.kind == J_LIST || a.kind == J_TUPLE))
            glia_j_fail(rt, "TypeError", "can only concatenate %s (not \"%s\") to %s", glia_j_type(a),
                        glia_j_type(b), glia_j_type(a));
        unsupported(rt, '+', a, b);
    }
    const jlist *x = a.u.l, *y = b.u.l;
    jval sum = a.kind == J_LIST ? glia_j_list(rt, x->n + y->n) : glia_j_tuple(rt, x->n + y->n);
    glia_j_step(rt, (x->n + y->n) / 16);
    for (size_t i = 0; i < x->n; i++) glia_j_push(rt, sum.u.l, x->v[i]);
    for (size_t i = 0; i < y->n; i++) glia_j_push(rt, sum.u.l, y->v[i]);
    return sum;
}

static jval repeat_str(jrt *rt, const jstr *s, size_t count) {
    const size_t all = s->n * count;
    if (all == 0) return glia_j_sub(rt, s, 0, 0);
    char *p = glia_j_alloc(rt, all);
    glia_j_step(rt, all / 256);
    memcpy(p, s->p, s->n);
    for (size_t done = s->n; done < all; done *= 2)
        memcpy(p + done, p, done < all - done ? done : all - done);
    return glia_j_mark(rt, glia_j_str(rt, p, all), s->safe);
}

static jval repeat(jrt *rt, jval a, jval b) {
    const bool left = a.kind == J_STR || a.kind == J_LIST || a.kind == J_TUPLE;
    const jval seq = left ? a : b, by = left ? b : a;
    int64_t count;
    if (by.kind == J_UNDEF || (seq.kind != J_STR && seq.kind != J_LIST && seq.kind != J_TUPLE))
        unsupported(rt, '*', a, b);
    if (!glia_j_integer(by, &count))
        glia_j_fail(rt, "TypeError", "can't multiply sequence by non-int of type '%s'", glia_j_type(by));
    if (count < 0) count = 0;
    const size_t n = seq.kind == J_STR ? seq.u.s->n : seq.u.l->n * sizeof(jval);
    if (n && (size_t)count > rt->arena.limit / n)
        glia_j_limit(rt, "a sequence of %zu bytes repeated %lld times", n, (long long)count);
    if (seq.kind == J_STR) return repeat_str(rt, seq.u.s, (size_t)count);
    const size_t all = seq.u.l->n * (size_t)count;
    jval out = seq.kind == J_LIST ? glia_j_list(rt, all) : glia_j_tuple(rt, all);
    glia_j_step(rt, all / 16);
    for (size_t i = 0; i < all; i++) glia_j_push(rt, out.u.l, seq.u.l->v[i % seq.u.l->n]);
    return out;
}

jval glia_j_binary(jrt *rt, int op, jval a, jval b) {
    int64_t i, j;
    double x, y;
    if (glia_j_integer(a, &i) && glia_j_integer(b, &j)) return int_op(rt, op, i, j);
    if (glia_j_number(a, &x) && glia_j_number(b, &y)) return float_op(rt, op, x, y);
    if (op == '+') return add_sequences(rt, a, b);
    if (op == '*') return repeat(rt, a, b);
    if (op == '%' && a.kind == J_STR) return glia_j_percent(rt, a, b);
    unsupported(rt, op, a, b);
}

jval glia_j_negate(jrt *rt, jval v, bool minus) {
    int64_t i;
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    if (v.kind == J_FLOAT) return glia_j_float(minus ? -v.u.f : v.u.f);
    if (!glia_j_integer(v, &i))
        glia_j_fail(rt, "TypeError", "bad operand type for unary %c: '%s'", minus ? '-' : '+',
                    glia_j_type(v));
    if (minus && i == INT64_MIN) overflow(rt);
    return glia_j_int(minus ? -i : i);
}

/* ---- rounding ----------------------------------------------------------------------------- */

static int64_t round_int(jrt *rt, int64_t i, int64_t digits) {
    if (digits >= 0) return i;
    if (digits < -18) return 0;
    const int64_t unit = power(rt, 10, -digits), rest = floor_mod(rt, i, unit);
    int64_t low, up = 0;
    if (__builtin_sub_overflow(i, rest, &low)) overflow(rt);
    if (rest > unit - rest || (rest == unit - rest && low / unit % 2 != 0)) up = unit;
    if (__builtin_add_overflow(low, up, &low)) overflow(rt);
    return low;
}

/* Round the exact decimal value, half to even, as Python does. */
static double round_float(jrt *rt, double f, int64_t digits) {
    if (!isfinite(f) || f == 0 || digits > 330) return f;
    if (digits < -310) return copysign(0, f);
    if (digits >= 0) return glia_j_strtod(glia_j_format_double(rt, f, 'f', (int)digits));
    const int leading = atoi(strchr(glia_j_format_double(rt, f, 'e', 40), 'e') + 1);
    const int keep = leading + (int)digits; /* digits to keep after the first */
    if (keep >= 0) return glia_j_strtod(glia_j_format_double(rt, f, 'e', keep));
    const double unit = pow(10, (double)-digits);
    return keep == -1 && fabs(f) > unit / 2 ? copysign(unit, f) : copysign(0, f);
}

jval glia_j_round(jrt *rt, jval v, int64_t digits, bool plain) {
    int64_t i;
    if (glia_j_integer(v, &i)) return glia_j_int(round_int(rt, i, digits));
    if (v.kind == J_UNDEF) glia_j_fail(rt, "TypeError", "type Undefined doesn't define __round__ method");
    if (v.kind != J_FLOAT)
        glia_j_fail(rt, "TypeError", "type %s doesn't define __round__ method", glia_j_type(v));
    const double r = round_float(rt, v.u.f, digits);
    if (isinf(r) && isfinite(v.u.f)) glia_j_fail(rt, "OverflowError", "rounded value too large to represent");
    return plain ? glia_j_int(glia_j_to_int(rt, r)) : glia_j_float(r);
}

int64_t glia_j_to_int(jrt *rt, double f) {
    if (isnan(f)) glia_j_fail(rt, "ValueError", "cannot convert float NaN to integer");
    if (isinf(f)) glia_j_fail(rt, "OverflowError", "cannot convert float infinity to integer");
    if (f >= 0x1p63 || f < -0x1p63) overflow(rt);
    return (int64_t)f;
}

int64_t glia_j_index(jrt *rt, jval v) {
    int64_t i;
    if (!glia_j_integer(v, &i))
        glia_j_fail(rt, "TypeError", "'%s' object cannot be interpreted as an integer", glia_j_type(v));
    return i;
}

bool glia_j_opt_bool(jrt *rt, jval v, bool otherwise) {
    return v.kind == J_MISSING ? otherwise : glia_j_truth(rt, v);
}

int64_t glia_j_opt_int(jrt *rt, jval v, int64_t otherwise) {
    return v.kind == J_MISSING ? otherwise : glia_j_index(rt, v);
}

/* ---- text to number and back ---------------------------------------------------------------- */

double glia_j_strtod(const char *s) {
    char copy[512];
    const char point = *localeconv()->decimal_point;
    if (point == '.' || !strchr(s, '.') || strlen(s) >= sizeof copy) return strtod(s, NULL);
    strcpy(copy, s);
    *strchr(copy, '.') = point;
    return strtod(copy, NULL);
}

const char *glia_j_format_double(jrt *rt, double f, char conv, int precision) {
    const char fmt[] = {'%', '.', '*', conv, 0};
    if (precision > 10000) glia_j_limit(rt, "a number of %d digits", precision);
    const size_t size = (size_t)precision + 400;
    char *text = glia_j_alloc(rt, size);
    snprintf(text, size, fmt, precision, f);
    char *point = strchr(text, *localeconv()->decimal_point);
    if (point) *point = '.';
    return text;
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char l = (char)tolower((unsigned char)c);
    return l >= 'a' && l <= 'z' ? l - 'a' + 10 : 99;
}

bool glia_j_parse_int(jrt *rt, const jstr *s, int64_t base, int64_t *out) {
    if (base != 0 && (base < 2 || base > 36))
        glia_j_fail(rt, "ValueError", "int() base must be >= 2 and <= 36, or 0");
    jstr copy = *s;
    const jstr *t = glia_j_strip(rt, &copy, NULL, true, true).u.s;
    const char *p = t->p, *end = p + t->n;
    const bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    bool underscore = false, prefix = false;
    if (end - p >= 2 && *p == '0') {
        const char c = (char)tolower((unsigned char)p[1]);
        const int64_t named = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (named && (base == 0 || base == named)) {
            base = named;
            p += 2;
            prefix = true;
        }
    }
    const bool zeros_only = base == 0 && end - p > 1 && *p == '0';
    if (base == 0) base = 10;
    if (p == end || (*p == '_' && !prefix)) return false;
    int64_t value = 0;
    for (; p < end; p++) {
        if (*p == '_') {
            if (underscore || p + 1 == end) return false;
            underscore = true;
            continue;
        }
        underscore = false;
        const int d = digit_value(*p);
        if (d >= base || (zeros_only && d)) return false;
        if (__builtin_mul_overflow(value, base, &value) ||
            (negative ? __builtin_sub_overflow(value, d, &value) : __builtin_add_overflow(value, d, &value)))
            overflow(rt);
    }
    *out = value;
    return true;
}

/* Copy digits, which may have single underscores between them; advances *p. */
static bool copy_digits(const char **p, const char *end, char **to) {
    const char *start = *p;
    while (*p < end && (isdigit((unsigned char)**p) || (**p == '_' && *p > start && (*p)[-1] != '_' &&
                                                        *p + 1 < end && isdigit((unsigned char)(*p)[1])))) {
        if (**p != '_') *(*to)++ = **p;
        (*p)++;
    }
    return *p > start;
}

static bool is_word(const char *p, const char *end, const char *word) {
    for (; *word; word++, p++) {
        if (p == end || tolower((unsigned char)*p) != *word) return false;
    }
    return p == end;
}

bool glia_j_parse_float(const jstr *s, double *out) {
    char digits[400], *to = digits;
    const char *p = s->p, *end = p + s->n;
    while (p < end && isspace((unsigned char)*p)) p++;
    while (end > p && isspace((unsigned char)end[-1])) end--;
    if (end - p >= (ptrdiff_t)sizeof digits - 1) return false;
    const bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) *to++ = *p++;
    if (is_word(p, end, "inf") || is_word(p, end, "infinity") || is_word(p, end, "nan")) {
        *out = tolower((unsigned char)*p) == 'n' ? NAN : negative ? -INFINITY : INFINITY;
        return true;
    }
    bool some = copy_digits(&p, end, &to);
    if (p < end && *p == '.') {
        *to++ = *p++;
        some |= copy_digits(&p, end, &to);
    }
    if (!some) return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        *to++ = *p++;
        if (p < end && (*p == '-' || *p == '+')) *to++ = *p++;
        if (!copy_digits(&p, end, &to)) return false;
    }
    *to = '\0';
    *out = glia_j_strtod(digits);
    return p == end;
}
