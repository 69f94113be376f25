/* check_kernel_attend.c - attention over a span, merging, and the cache's tiles. Every
 * twin is compared with float64, and with itself in other batches and with other
 * garbage in unused positions. --bench times the same calls. */
#define _GNU_SOURCE
#include "kernel.h"

#include "kernel/kv_tile.h"

typedef struct {
    const char *rung, *name; /* name: the cache's dtype */
    const glia_kernels *kernels;
    glia_attend_fn *attend;
    glia_dtype dtype;
    double rounding; /* of queries and weights: 2^-8 if they are rounded to bfloat16, else 0 */
} twin;

enum { MAX_D = GLIA_HEAD_DIM_MAX, N = GLIA_QUERIES_MAX, TILES = GLIA_SPAN_TILES + GLIA_TILES_AHEAD };

/* Keys and values of a span, as float32 that the cache's dtype can hold, and as tiles. */
typedef struct {
    size_t d, n;  /* head_dim, positions */
    float *k, *v; /* [n, d] */
    char *tiles;
    const void *tile[TILES];
    size_t tile_bytes;
} span;

static void store(const twin *t, const span *s, size_t j, const float *k, const float *v) {
    t->kernels->kv_store(s->tiles + j / GLIA_KV_TILE * s->tile_bytes, t->dtype, j % GLIA_KV_TILE, k, v, s->d);
}

static void store_all(const twin *t, const span *s) {
    for (size_t j = 0; j < s->n; j++) store(t, s, j, s->k + j * s->d, s->v + j * s->d);
}

static span make_span(const twin *t, size_t d, size_t tiles, float spread) {
    span s = {.d = d, .n = tiles * GLIA_KV_TILE, .tile_bytes = glia_kv_tile_bytes(t->dtype, d)};
    s.k = bench_memory(s.n * d * sizeof(float));
    s.v = bench_memory(s.n * d * sizeof(float));
    s.tiles = check_guarded(tiles * s.tile_bytes);
    for (size_t i = 0; i < tiles; i++) s.tile[i] = s.tiles + i * s.tile_bytes;
    memset(s.tiles, 0xff, tiles * s.tile_bytes); /* NaN, padding included */
    for (size_t i = 0; i < s.n * d; i++) {
        s.k[i] = to_bf16(check_uniform() * spread);
        s.v[i] = to_bf16(check_uniform());
    }
    store_all(t, &s);
    return s;
}

static void free_span(span *s) {
    free(s->k), free(s->v);
    check_guarded_free(s->tiles, s->n / GLIA_KV_TILE * s->tile_bytes);
}

/* Fill the positions outside [lo, hi) with `byte`, as an earlier user of the block may
 * have left them. */
static void spoil(const twin *t, const span *s, size_t lo, size_t hi, int byte) {
    float k[MAX_D], v[MAX_D];
    memset(k, byte, sizeof k);
    memset(v, byte, sizeof v);
    for (size_t j = 0; j < s->n; j++)
        if (j < lo || j >= hi) store(t, s, j, k, v);
}

typedef struct {
    float m[N], l[N], *o;
    size_t ldo, bytes;
} result;

/* Result rows of whole panels, with `gap` floats between rows. */
static result make_result(size_t n, size_t d, size_t gap) {
    const size_t wide = (d + 15) / 16 * 16;
    result r = {.ldo = wide + gap, .bytes = ((n - 1) * (wide + gap) + wide) * sizeof(float)};
    r.o = check_guarded(r.bytes);
    memset(r.o, 0xff, r.bytes);
    memset(r.m, 0xff, sizeof r.m);
    memset(r.l, 0xff, sizeof r.l);
    return r;
}
static glia_softmax softmax_of(result *r) { return (glia_softmax){r->m, r->l, r->o, r->ldo}; }
static void free_result(result *r) { check_guarded_free(r->o, r->bytes); }

/* Compare m, l and o / l with float64. Bounds: a score has an error of
 * g(d) sum |q k| scale and two roundings. A weight p has this relative error plus 2 ulp
 * of exp. l adds one rounding per key. o / l is a mean with weights p, so its error is
 * twice that of p times the largest |v|, plus its own roundings twice. AMX first rounds
 * q and p to bfloat16. */
static void check_query(const twin *t, const span *p, const result *r, size_t i, const float *q, size_t lo,
                        size_t hi, float scale) {
    static double s[GLIA_SPAN];
    double max = -INFINITY, sum = 0, off = 0, u = 0x1p-24;
    const float *o = r->o + i * r->ldo;
    if (lo >= hi) {
        CHECK(r->m[i] == -INFINITY && r->l[i] == 0.0f, "%s: a query that sees nothing: m=%g l=%g", t->rung,
              (double)r->m[i], (double)r->l[i]);
        for (size_t d = 0; d < p->d; d++)
            CHECK(o[d] == 0.0f && !signbit(o[d]), "%s: a query that sees nothing: o[%zu]=%g", t->rung, d,
                  (double)o[d]);
        return;
    }
    for (size_t j = lo; j < hi; j++) {
        double magnitude = 0;
        s[j] = 0;
        for (size_t d = 0; d < p->d; d++) {
            s[j] += (double)q[d] * (double)p->k[j * p->d + d];
            magnitude += fabs((double)q[d] * (double)p->k[j * p->d + d]);
        }
        s[j] *= (double)scale;
        magnitude = (((double)p->d + 4) * u + t->rounding) * magnitude * (double)scale + 4 * u * fabs(s[j]);
        if (magnitude > off) off = magnitude;
        if (s[j] > max) max = s[j];
    }
    const double m = (double)r->m[i], rel = 2 * off + 4 * u + (double)(hi - lo + 64) * u + t->rounding;
    CHECK(m <= max + off && m >= max - off - 8, "%s %s d=%zu: m=%.9g, the largest is %.9g", t->rung, t->name,
          p->d, m, max);
    for (size_t j = lo; j < hi; j++) sum += s[j] = exp(s[j] - m);
    CHECK(fabs((double)r->l[i] - sum) <= (rel + off) * sum, "%s %s d=%zu: l=%.9g want %.9g", t->rung, t->name,
          p->d, (double)r->l[i], sum);
    for (size_t d = 0; d < p->d; d++) {
        double want = 0;
        for (size_t j = lo; j < hi; j++) want += s[j] * (double)p->v[j * p->d + d];
        want /= sum;
        const double got = (double)o[d] / (double)r->l[i];
        CHECK(fabs(got - want) <= 2 * rel + 64 * u,
              "%s %s d=%zu query=%zu sees %zu..%zu: o[%zu]/l=%.9g want %.9g +- %.2g", t->rung, t->name, p->d,
              i, lo, hi, d, got, want, 2 * rel + 64 * u);
    }
}

static bool same_query(const result *a, size_t i, const result *b, size_t j, size_t d) {
    return same_bits(a->m + i, b->m + j, 1) && same_bits(a->l + i, b->l + j, 1) &&
           same_bits(a->o + i * a->ldo, b->o + j * b->ldo, d);
}

/* A query alone, with all tiles but its own overwritten, gets the same bits as in the batch. */
static void check_alone(const twin *t, const span *s, const result *all, size_t i, const float *q, int16_t lo,
                        int16_t hi, float scale) {
    const void *tile[TILES] = {0};
    for (int j = lo; j < hi; j++) tile[j / GLIA_KV_TILE] = s->tile[j / GLIA_KV_TILE];
    result one = make_result(1, s->d, 0);
    t->attend(softmax_of(&one), q, s->d, 1, tile, &lo, &hi, scale, s->d);
    CHECK(same_query(all, i, &one, 0, s->d), "%s %s d=%zu: query %zu (%d..%d) alone differs", t->rung,
          t->name, s->d, i, lo, hi);
    free_result(&one);
}

/* Keys and values filled with `byte` change nothing for queries that do not see them. */
static void check_apart(const twin *t, const span *s, const result *all, const float *q, size_t ldq, size_t n,
                        const int16_t *lo, const int16_t *hi, float scale, int byte) {
    const size_t at = check_u32() % s->n;
    float bad[MAX_D];
    result r = make_result(n, s->d, 0);
    memset(bad, byte, sizeof bad);
    store(t, s, at, bad, bad);
    t->attend(softmax_of(&r), q, ldq, n, s->tile, lo, hi, scale, s->d);
    for (size_t i = 0; i < n; i++)
        if ((size_t)lo[i] > at || (size_t)hi[i] <= at)
            CHECK(same_query(all, i, &r, i, s->d), "%s %s d=%zu: query %zu (%d..%d) feels position %zu",
                  t->rung, t->name, s->d, i, lo[i], hi[i], at);
    store(t, s, at, s->k + at * s->d, s->v + at * s->d);
    free_result(&r);
}

enum mask { CAUSAL, WINDOW, ALL, RAGGED, MASKS };

static int16_t between(int low, int high) {
    return (int16_t)(low + (int)(check_u32() % (uint32_t)(high - low + 1)));
}

static void check_span(const twin *t, size_t d, size_t n, size_t tiles, enum mask mask, float spread) {
    const size_t ldq = d + n % 3, qn = ((n - 1) * ldq + d) * sizeof(float), some = n > 64 ? n / 16 : 1;
    const float scale = 1 / sqrtf((float)d);
    int16_t lo[N], hi[N];
    float *q = check_guarded(qn);
    span p = make_span(t, d, tiles, spread);
    const int last = (int)p.n;
    result r = make_result(n, d, n % 4), again = make_result(n, d, n % 4);
    for (size_t i = 0; i < qn / sizeof *q; i++) q[i] = check_uniform() * spread;
    for (size_t i = 0; i < n; i++) {
        const int end = last - (int)n + (int)i + 1;
        lo[i] = mask == WINDOW ? (int16_t)(i / 2 < p.n ? i / 2 : p.n) : mask == RAGGED ? between(0, last) : 0;
        hi[i] = mask == ALL      ? (int16_t)last
                : mask == RAGGED ? between(0, last)
                                 : (int16_t)(end < 0 ? 0 : end);
    }
    t->attend(softmax_of(&r), q, ldq, n, p.tile, lo, hi, scale, d);
    for (size_t i = 0; i < n; i++) {
        check_query(t, &p, &r, i, q + i * ldq, (size_t)lo[i], (size_t)hi[i], scale);
        for (size_t c = (d + 15) / 16 * 16; c < r.ldo && i + 1 < n; c++)
            CHECK(isnan(r.o[i * r.ldo + c]), "%s d=%zu: wrote past head_dim", t->rung, d);
    }
    check_apart(t, &p, &r, q, ldq, n, lo, hi, scale, 0xff);
    check_apart(t, &p, &r, q, ldq, n, lo, hi, scale, 0x7f);
    for (size_t i = 0; i < n; i += some) { /* unseen columns hold NaN, infinity or finite numbers */
        spoil(t, &p, (size_t)lo[i], (size_t)hi[i], i % 3 == 0 ? 0xff : i % 3 == 1 ? 0x7f : 0x80);
        check_alone(t, &p, &r, i, q + i * ldq, lo[i], hi[i], scale);
        store_all(t, &p);
    }
    t->attend(softmax_of(&again), q, ldq, n, p.tile, lo, hi, scale, d);
    for (size_t i = 0; i < n; i++)
        CHECK(same_query(&r, i, &again, i, d), "%s d=%zu: query %zu differs the second time", t->rung, d, i);
    free_result(&r), free_result(&again);
    free_span(&p);
    check_guarded_free(q, qn);
}

/* Merging with an empty state changes nothing; other merges are compared with float64. */
static void check_merge(const char *rung, glia_merge_fn *merge) {
    static const size_t dims[] = {2, 24, 64, 80, 128, 512};
    static const float gap[] = {0, 1e-3f, -3, 20, -100, 300, -INFINITY};
    for (size_t c = 0; c < sizeof dims / sizeof *dims; c++) {
        const size_t d = dims[c], n = sizeof gap / sizeof *gap;
        result a = make_result(n, d, 1), b = make_result(n, d, 0), before = make_result(n, d, 1);
        for (size_t i = 0; i < n; i++) {
            a.m[i] = check_uniform(), b.m[i] = a.m[i] + gap[i];
            a.l[i] = 1 + fabsf(check_uniform()), b.l[i] = 1 + fabsf(check_uniform());
            for (size_t k = 0; k < d; k++)
                a.o[i * a.ldo + k] = check_uniform(), b.o[i * b.ldo + k] = check_uniform();
        }
        for (size_t k = 0; k < d; k++)
            a.o[(n - 1) * a.ldo + k] *= k % 2 ? 1.0f : -0.0f, b.o[(n - 1) * b.ldo + k] = 0;
        b.l[n - 1] = 0; /* the empty state, as attention writes it */
        memcpy(before.o, a.o, a.bytes), memcpy(before.m, a.m, sizeof a.m), memcpy(before.l, a.l, sizeof a.l);
        merge(softmax_of(&a), softmax_of(&b), n, d);
        CHECK(same_query(&a, n - 1, &before, n - 1, d), "%s d=%zu: merging an empty part changed bits", rung,
              d);
        for (size_t i = 0; i < n; i++) {
            const double max = fmax((double)before.m[i], (double)b.m[i]);
            const double x = exp((double)before.m[i] - max), y = exp((double)b.m[i] - max), u = 0x1p-24;
            CHECK((double)a.m[i] == max, "%s: m", rung);
            const double l = (double)before.l[i] * x + (double)b.l[i] * y;
            CHECK(fabs((double)a.l[i] - l) <= 8 * u * l, "%s gap=%g: l=%.9g want %.9g", rung, (double)gap[i],
                  (double)a.l[i], l);
            for (size_t k = 0; k < d; k++) {
                const double p = (double)before.o[i * a.ldo + k] * x, q = (double)b.o[i * b.ldo + k] * y;
                CHECK(fabs((double)a.o[i * a.ldo + k] - (p + q)) <= 8 * u * (fabs(p) + fabs(q)) + 0x1p-148,
                      "%s d=%zu gap=%g: o=%.9g want %.9g", rung, d, (double)gap[i],
                      (double)a.o[i * a.ldo + k], p + q);
            }
        }
        for (size_t i = 0; i < n; i++) a.m[i] = -INFINITY, a.l[i] = 0;
        merge(softmax_of(&a), softmax_of(&b), n - 1, d);
        for (size_t i = 0; i + 1 < n; i++)
            CHECK(same_query(&a, i, &b, i, d), "%s d=%zu: merging into an empty state is not a copy", rung,
                  d);
        free_result(&a), free_result(&b), free_result(&before);
    }
}

/* kv_store writes only its position; kv_copy copies bits, NaN included. */
static void check_store(const glia_kernels *k, const char *rung, glia_dtype dtype) {
    const bool exact = dtype == GLIA_DTYPE_F32;
    for (size_t d = 2; d <= 130; d += 2) {
        const size_t bytes = glia_kv_tile_bytes(dtype, d), at = d * 3 % 32, to = (d * 5 + 3) % 32,
                     other = at == to ? (at + 1) % 32 : at;
        char *tile = check_guarded(bytes), *copy = check_guarded(bytes);
        float key[130], value[130];
        memset(tile, 0xff, bytes), memset(copy, 0, bytes);
        for (size_t i = 0; i < d; i++) key[i] = check_uniform() * 3, value[i] = check_uniform();
        k->kv_store(tile, dtype, at, key, value, d);
        k->kv_copy(copy, dtype, to, tile, at, d);
        k->kv_copy(copy, dtype, other, tile, (at + 1) % 32, d);
        for (size_t j = 0; j < 32; j++)
            for (size_t i = 0; i < d; i++) {
                const float want_k = exact ? key[i] : to_bf16(key[i]),
                            want_v = exact ? value[i] : to_bf16(value[i]);
                const float kk = glia_key_at(tile, dtype, d, j, i), vv = glia_value_at(tile, dtype, d, j, i);
                CHECK(j == at ? kk == want_k && vv == want_v : isnan(kk) && isnan(vv),
                      "%s d=%zu: position %zu after storing %zu", rung, d, j, at);
                const float ck = glia_key_at(copy, dtype, d, j, i), cv = glia_value_at(copy, dtype, d, j, i);
                CHECK(j == to      ? ck == want_k && cv == want_v
                      : j == other ? isnan(ck) && isnan(cv)
                                   : ck == 0 && cv == 0,
                      "%s d=%zu: position %zu after copying to %zu", rung, d, j, to);
            }
        check_guarded_free(tile, bytes), check_guarded_free(copy, bytes);
    }
}

/* A key widened with a bias is the int8 times its scale, plus the bias turned by its position's angles:
 * within 3 float32 roundings of float64, or one more of bfloat16. Every rung has the reference's bits. */
static void check_biased(const glia_kernels *k, const char *rung, const char *tile, size_t d, bool rope,
                         glia_dtype dtype) {
    glia_kernels ref;
    glia_kernels_init(&ref, 0);
    const size_t bytes = glia_kv_tile_bytes(dtype, d), half = d / 2, table = GLIA_KV_TILE * d;
    char *a = check_guarded(bytes), *b = check_guarded(bytes);
    float *bias = check_guarded(d * sizeof *bias), *angles = check_guarded(table * sizeof *angles);
    for (size_t i = 0; i < d; i++) bias[i] = check_uniform() * 50;
    for (size_t i = 0; i < table; i++) angles[i] = check_uniform();
    k->kv_widen(a, dtype, tile, d, bias, rope ? angles : NULL);
    ref.kv_widen(b, dtype, tile, d, bias, rope ? angles : NULL);
    for (size_t at = 0; at < GLIA_KV_TILE; at++)
        for (size_t i = 0; i < d; i++) {
            const size_t pair = i % half;
            const float *c = angles + ((at / 16 * half + pair) * 2) * 16 + at % 16;
            const double x = (double)glia_key_at(tile, GLIA_DTYPE_I8, d, at, i),
                         other = (double)(i < half ? -bias[i + half] : bias[pair]),
                         own = (double)bias[i] * (rope ? (double)c[0] : 1),
                         turned = rope ? other * (double)c[16] : 0;
            const double size = fabs(x) + fabs(own) + fabs(turned),
                         u = dtype == GLIA_DTYPE_F32 ? 3 * 0x1p-24 : 0x1p-8;
            const float got = glia_key_at(a, dtype, d, at, i), want = glia_key_at(b, dtype, d, at, i),
                        value = glia_value_at(a, dtype, d, at, i),
                        ref_value = glia_value_at(b, dtype, d, at, i);
            CHECK(isnan(x) ? isnan(got) : fabs((double)got - (x + own + turned)) <= u * size,
                  "%s d=%zu rope=%d: key %zu[%zu] became %g, want %g", rung, d, rope, at, i, (double)got,
                  x + own + turned);
            CHECK(isnan(x) || (same_bits(&got, &want, 1) && same_bits(&value, &ref_value, 1)),
                  "%s d=%zu rope=%d: key %zu[%zu] is %.9g, plain C has %.9g", rung, d, rope, at, i,
                  (double)got, (double)want);
        }
    check_guarded_free(a, bytes), check_guarded_free(b, bytes);
    check_guarded_free(bias, d * sizeof *bias), check_guarded_free(angles, table * sizeof *angles);
}

/* int8 tiles have the reference's bytes, and widen to the reference's bits. An element's
 * error is at most half a scale. A key that is not finite becomes NaN, a tiny one 0. */
static void check_int8(const glia_kernels *k, const char *rung) {
    glia_kernels ref;
    glia_kernels_init(&ref, 0);
    for (size_t d = 2; d <= 514; d += d < 130 ? 2 : 64) {
        const size_t bytes = glia_kv_tile_bytes(GLIA_DTYPE_I8, d);
        char *tile = check_guarded(bytes), *want = check_guarded(bytes);
        float key[514], value[514];
        memset(tile, 0x5a, bytes), memset(want, 0x5a, bytes);
        for (size_t at = 0; at < GLIA_KV_TILE; at++) {
            for (size_t i = 0; i < d; i++)
                key[i] = check_uniform() * (float)(1 + at), value[i] = check_uniform();
            if (at == 3) key[d / 2] = NAN, value[d - 1] = INFINITY;
            if (at == 4) memset(key, 0, sizeof key), value[0] = 1e30f;
            for (size_t i = 0; at == 5 && i < d; i++) key[i] *= 1e-37f;
            k->kv_store(tile, GLIA_DTYPE_I8, at, key, value, d);
            ref.kv_store(want, GLIA_DTYPE_I8, at, key, value, d);
            const float scale = glia_kv_scales(tile, d)[at];
            for (size_t i = 0; i < d; i++) {
                const float got = glia_key_at(tile, GLIA_DTYPE_I8, d, at, i);
                CHECK(at == 3   ? isnan(got)
                      : at == 5 ? got == 0
                                : fabsf(got - key[i]) <= 0.5001f * scale,
                      "%s d=%zu: %g became %g", rung, d, (double)key[i], (double)got);
            }
        }
        CHECK(!memcmp(tile, want, bytes), "%s d=%zu: an int8 tile differs from the reference's", rung, d);
        for (int wide = 0; wide < 2; wide++) {
            const glia_dtype dtype = wide ? GLIA_DTYPE_F32 : GLIA_DTYPE_BF16;
            char *a = check_guarded(glia_kv_tile_bytes(dtype, d)),
                 *b = check_guarded(glia_kv_tile_bytes(dtype, d));
            k->kv_widen(a, dtype, tile, d, NULL, NULL);
            ref.kv_widen(b, dtype, tile, d, NULL, NULL);
            for (size_t at = 0; at < GLIA_KV_TILE; at++)
                for (size_t i = 0; i < d; i++) {
                    const float x[] = {glia_key_at(a, dtype, d, at, i), glia_value_at(a, dtype, d, at, i)},
                                y[] = {glia_key_at(b, dtype, d, at, i), glia_value_at(b, dtype, d, at, i)};
                    CHECK(same_bits(x, y, 2) || at == 3, "%s d=%zu: widened to %g and %g, want %g and %g",
                          rung, d, (double)x[0], (double)x[1], (double)y[0], (double)y[1]);
                }
            for (int rope = 0; rope < 2 && d <= GLIA_HEAD_DIM_MAX; rope++)
                check_biased(k, rung, tile, d, rope, dtype);
            check_guarded_free(a, glia_kv_tile_bytes(dtype, d)),
                check_guarded_free(b, glia_kv_tile_bytes(dtype, d));
        }
        check_guarded_free(tile, bytes), check_guarded_free(want, bytes);
    }
}

static double tile_peak_now(const glia_kernels *k) {
    const double t0 = cpu_seconds();
    const uint64_t flops = k->peak_bf16(200000);
    return (double)flops / (cpu_seconds() - t0);
}

/* Time attend and merge for queries of one head over a cache of `spans` spans. */
static void bench(const twin *t, size_t d, size_t n, size_t spans) {
    enum { ROUNDS = 9 };
    const size_t tile_bytes = glia_kv_tile_bytes(t->dtype, d), bytes = spans * GLIA_SPAN_TILES * tile_bytes;
    const bool tiles = t->kernels->peak_bf16 && t->dtype != GLIA_DTYPE_F32;
    char *cache = bench_memory(bytes);
    float *q = bench_memory(n * d * sizeof *q);
    result part = make_result(n, d, 0), sum = make_result(n, d, 0);
    int16_t lo[N] = {0}, hi[N];
    double share[ROUNDS], rate[ROUNDS];
    for (size_t i = 0; i < n; i++) hi[i] = GLIA_SPAN;
    for (size_t i = 0; i < n * d; i++) q[i] = check_uniform();
    const double flops = 4.0 * (double)(n * d * GLIA_SPAN * spans);
    for (int i = 0; i < ROUNDS; i++) {
        const double ceiling = n <= 8  ? read_now(t->kernels, cache, bytes)
                               : tiles ? tile_peak_now(t->kernels)
                                       : peak_now(t->kernels);
        const double t0 = cpu_seconds();
        for (size_t s = 0; s < spans; s++) {
            const void *tile[TILES];
            for (size_t j = 0; j < TILES; j++)
                tile[j] = s + 1 < spans || j < GLIA_SPAN_TILES
                              ? cache + (s * GLIA_SPAN_TILES + j) * tile_bytes
                              : NULL;
            t->attend(softmax_of(s ? &part : &sum), q, d, n, tile, lo, hi, 0.1f, d);
            if (s) t->kernels->merge(softmax_of(&sum), softmax_of(&part), n, d);
        }
        const double seconds = cpu_seconds() - t0;
        rate[i] = (n > 8 ? flops : (double)bytes) / seconds;
        share[i] = rate[i] / ceiling;
    }
    printf("attend_%-4s %-6s n=%-3zu d=%-3zu %7.1f %s %5.1f%% of %s\n", t->name, t->rung, n, d,
           median(rate, ROUNDS) * 1e-9, n > 8 ? "GFLOP/s" : "GB/s   ", median(share, ROUNDS) * 100,
           n <= 8  ? "read"
           : tiles ? "the tiles' peak"
                   : "peak");
    free(cache), free(q);
    free_result(&part), free_result(&sum);
}

static void check_twin(const twin *t) {
    static const size_t dims[] = {2, 6, 16, 18, 24, 32, 34, 62, 64, 66, 80, 96, 128, 130, 256, 512};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int mask = 0; mask < MASKS; mask++) {
            check_span(t, dims[i], 1 + i, 1 + i % 6, (enum mask)mask, 1);
            if (dims[i] <= 128) check_span(t, dims[i], 7 + 5 * i, 1 + i % 9, (enum mask)mask, 4);
        }
    for (int mask = 0; mask < MASKS; mask++) {
        check_span(t, 128, N, 5, (enum mask)mask, 1);
        check_span(t, 64, 36, GLIA_SPAN_TILES, (enum mask)mask, 9);
    }
}

int main(int argc, char **argv) {
    static const size_t few[] = {1, 2, 8}, many[] = {64, 256};
    const int want_bench = check_begin(argc, argv);
    int twins = 0;
    for (int i = 0; i < GLIA_RUNGS; i++) {
        glia_kernels k;
        if (!rung_table(&k, i)) continue;
        const double coarse = k.narrow ? 0x1p-8 : 0;
        const twin both[] = {{glia_rungs[i].name, "f32", &k, k.attend_f32, GLIA_DTYPE_F32, 0},
                             {glia_rungs[i].name, "bf16", &k, k.attend_bf16, GLIA_DTYPE_BF16, coarse}};
        for (int d = 0; d < 2; d++, twins++) {
            for (size_t c = 0; want_bench && i && c < 3; c++) bench(&both[d], 128, few[c], 128);
            for (size_t c = 0; want_bench && i && c < 2; c++) bench(&both[d], 128, many[c], 4);
            if (want_bench && i) bench(&both[d], 64, 256, 4);
            if (want_bench) continue;
            check_store(&k, glia_rungs[i].name, both[d].dtype);
            check_twin(&both[d]);
        }
        if (!want_bench) check_int8(&k, glia_rungs[i].name);
        if (!want_bench) check_merge(glia_rungs[i].name, k.merge);
    }
    printf("attend: %d twins checked\n", twins);
    return check_end("check_kernel_attend");
}
