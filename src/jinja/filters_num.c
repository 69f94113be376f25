/* filters_num.c - Jinja's filters on numbers. */
#include "jinja/jinja.h"

#include <inttypes.h>
#include <math.h>

static jval f_abs(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    int64_t i;
    if (v.kind == J_FLOAT) return glia_j_float(fabs(v.u.f));
    if (!glia_j_integer(v, &i))
        glia_j_fail(rt, "TypeError", "bad operand type for abs(): '%s'", glia_j_type(v));
    return glia_j_negate(rt, glia_j_int(i), i < 0);
}

/* float(v); false if v has none. */
static bool to_float(jrt *rt, jval v, double *f) {
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    return glia_j_number(v, f) || (v.kind == J_STR && glia_j_parse_float(v.u.s, f));
}

static jval f_float(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    double f;
    if (to_float(rt, v, &f)) return glia_j_float(f);
    return a[0].kind == J_MISSING ? glia_j_float(0) : a[0];
}

static jval f_int(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    int64_t i, base = 10;
    double f;
    const bool has_base = a[1].kind == J_MISSING || glia_j_integer(a[1], &base);
    const bool valid = has_base && (base == 0 || (base >= 2 && base <= 36));
    if (v.kind == J_STR && valid && glia_j_parse_int(rt, v.u.s, base, &i)) return glia_j_int(i);
    if (glia_j_integer(v, &i)) return glia_j_int(i);
    if (to_float(rt, v, &f)) { /* "42.23"|int is 42 */
        if (!isfinite(f) && !(isinf(f) && v.kind == J_FLOAT))
            return a[0].kind == J_MISSING ? glia_j_int(0) : a[0];
        return glia_j_int(glia_j_to_int(rt, f));
    }
    return a[0].kind == J_MISSING ? glia_j_int(0) : a[0];
}

static jval f_round(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const bool ceiling = glia_j_is_str(a[1], "ceil");
    if (a[1].kind != J_MISSING && !ceiling && !glia_j_is_str(a[1], "floor") && !glia_j_is_str(a[1], "common"))
        glia_j_fail(rt, "FilterArgumentError", "method must be common, ceil or floor");
    if (a[1].kind == J_MISSING || glia_j_is_str(a[1], "common"))
        return glia_j_round(rt, v, a[0].kind == J_NONE ? 0 : glia_j_opt_int(rt, a[0], 0),
                            a[0].kind == J_NONE);
    const jval unit = glia_j_binary(rt, 'p', glia_j_int(10), a[0].kind == J_MISSING ? glia_j_int(0) : a[0]);
    const jval scaled = glia_j_binary(rt, '*', v, unit);
    double f;
    if (!glia_j_number(scaled, &f))
        glia_j_fail(rt, "TypeError", "must be real number, not %s", glia_j_type(scaled));
    const jval whole =
        scaled.kind == J_FLOAT ? glia_j_int(glia_j_to_int(rt, ceiling ? ceil(f) : floor(f))) : scaled;
    return glia_j_binary(rt, '/', whole, unit);
}

static jval f_filesizeformat(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    static const char *const names[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char *const binary_names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    const bool binary = glia_j_opt_bool(rt, a[0], false);
    const double base = binary ? 1024 : 1000;
    double bytes, unit = base;
    jtext t = {0};
    if (!to_float(rt, v, &bytes)) {
        if (v.kind == J_STR)
            glia_j_fail(rt, "ValueError", "could not convert string to float: %s", glia_j_crepr(rt, v));
        glia_j_fail(rt, "TypeError", "float() argument must be a string or a real number, not '%s'",
                    glia_j_type(v));
    }
    if (bytes == 1) {
        glia_j_puts(rt, &t, "1 Byte");
    } else if (bytes < base) {
        glia_j_printf(rt, &t, "%" PRId64 " Bytes", glia_j_to_int(rt, bytes));
    } else {
        int i = 0;
        while (i < 8 && !(bytes < (unit *= base))) i++;
        if (i == 8) i = 7;
        glia_j_printf(rt, &t, "%s %s", glia_j_format_double(rt, base * bytes / unit, 'f', 1),
                      binary ? binary_names[i] : names[i]);
    }
    return glia_j_text(rt, &t);
}

const jrow glia_j_filters_num[] = {
    {"abs", "/", f_abs, "abs", 1},
    {"filesizeformat", "binary=", f_filesizeformat, "do_filesizeformat", 1},
    {"float", "default=", f_float, "do_float", 1},
    {"int", "default=,base=", f_int, "do_int", 1},
    {"round", "precision=,method=", f_round, "do_round", 1},
    {0},
};
