/* check_kernel_attend.c - attention over a piece, merging and the cache's tiles,
 * every twin against float64, and against itself in other company and beside
 * other garbage. --bench times what was just proved. */
#define _GNU_SOURCE
#include "kernel.h"

typedef struct {
    const char *rung;
    const glia_kernels *kernels;
    glia_attend_fn *attend;
    glia_kv_store_fn *store;
    glia_dtype dtype;
    double rounding; /* of queries and weights: 2^-8 where they become bfloat16, else 0 */
} twin;

enum { MAX_D = GLIA_HEAD_DIM_MAX, N = GLIA_QUERIES_MAX };

/* One piece: 64 keys and values, as float32 that the cache's type can hold, and as tiles. */
typedef struct {
    size_t d;
    float *k, *v; /* [64, d] */
    char *tiles;  /* 4 K tiles, then 4 V tiles */
    const void *kt[GLIA_TILES], *vt[GLIA_TILES];
    size_t tile_bytes[2];
} piece;

static piece make_piece(const twin *t, size_t d, float spread) {
    piece p = {.d = d, .tile_bytes = {glia_k_tile_bytes(t->dtype, d), glia_v_tile_bytes(t->dtype, d)}};
    p.k = bench_memory(GLIA_PIECE * d * sizeof(float));
    p.v = bench_memory(GLIA_PIECE * d * sizeof(float));
    p.tiles = check_guarded(GLIA_TILES * (p.tile_bytes[0] + p.tile_bytes[1]));
    for (int i = 0; i < GLIA_TILES; i++) {
        p.kt[i] = p.tiles + (size_t)i * p.tile_bytes[0];
        p.vt[i] = p.tiles + GLIA_TILES * p.tile_bytes[0] + (size_t)i * p.tile_bytes[1];
    }
    memset(p.tiles, 0xff, GLIA_TILES * (p.tile_bytes[0] + p.tile_bytes[1])); /* NaN, pads included */
    for (size_t j = 0; j < GLIA_PIECE; j++) {
        for (size_t i = 0; i < d; i++) {
            p.k[j * d + i] = to_bf16(check_uniform() * spread);
            p.v[j * d + i] = to_bf16(check_uniform());
        }
        t->store((void *)(uintptr_t)p.kt[j / 16], (void *)(uintptr_t)p.vt[j / 16], j % 16, p.k + j * d,
                 p.v + j * d, d);
    }
    return p;
}

static void free_piece(piece *p) {
    free(p->k), free(p->v);
    check_guarded_free(p->tiles, GLIA_TILES * (p->tile_bytes[0] + p->tile_bytes[1]));
}

/* Overwrite the columns outside [lo, hi) with `byte`s: what an earlier user of the block left there. */
static void spoil(const twin *t, const piece *p, size_t lo, size_t hi, int byte) {
    float k[MAX_D], v[MAX_D];
    memset(k, byte, sizeof k);
    memset(v, byte, sizeof v);
    for (size_t j = 0; j < GLIA_PIECE; j++)
        if (j < lo || j >= hi)
            t->store((void *)(uintptr_t)p->kt[j / 16], (void *)(uintptr_t)p->vt[j / 16], j % 16, k, v, p->d);
}

typedef struct {
    float m[N], l[N], *o;
    size_t ldo, bytes;
} result;

static result make_result(size_t n, size_t d, size_t gap) {
    result r = {.ldo = d + gap, .bytes = ((n - 1) * (d + gap) + d) * sizeof(float)};
    r.o = check_guarded(r.bytes);
    memset(r.o, 0xff, r.bytes);
    memset(r.m, 0xff, sizeof r.m);
    memset(r.l, 0xff, sizeof r.l);
    return r;
}
static glia_softmax softmax_of(result *r) { return (glia_softmax){r->m, r->l, r->o, r->ldo}; }
static void free_result(result *r) { check_guarded_free(r->o, r->bytes); }

/* m, l and o / l against float64. A score is off by g(d) sum |q k| scale and two
 * roundings, so p by that much relatively and 2 ulp of exp; o / l is a mean with
 * weights p, so twice that times the largest |v|, and its own 64 roundings twice.
 * AMX rounds q and p to bfloat16 first. */
static void check_query(const twin *t, const piece *p, const result *r, size_t i, const float *q, size_t lo,
                        size_t hi, float scale) {
    double s[GLIA_PIECE], max = -INFINITY, sum = 0, off = 0, u = 0x1p-24;
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
    CHECK(fabs((double)r->m[i] - max) <= off, "%s %s d=%zu: m=%.9g want %.9g", t->rung,
          t->dtype == GLIA_DTYPE_F32 ? "f32" : "bf16", p->d, (double)r->m[i], max);
    for (size_t j = lo; j < hi; j++) sum += s[j] = exp(s[j] - max);
    const double rel = 2 * off + 4 * u + 64 * u + t->rounding;
    CHECK(fabs((double)r->l[i] - sum) <= (rel + off) * sum, "%s d=%zu: l=%.9g want %.9g", t->rung, p->d,
          (double)r->l[i], sum);
    for (size_t d = 0; d < p->d; d++) {
        double want = 0;
        for (size_t j = lo; j < hi; j++) want += s[j] * (double)p->v[j * p->d + d];
        want /= sum;
        const double got = (double)o[d] / (double)r->l[i];
        CHECK(fabs(got - want) <= 2 * rel + 64 * u,
              "%s %s d=%zu query=%zu sees %zu..%zu: o[%zu]/l=%.9g want %.9g +- %.2g", t->rung,
              t->dtype == GLIA_DTYPE_F32 ? "f32" : "bf16", p->d, i, lo, hi, d, got, want, 2 * rel + 64 * u);
    }
}

static bool same_query(const result *a, size_t i, const result *b, size_t j, size_t d) {
    return same_bits(a->m + i, b->m + j, 1) && same_bits(a->l + i, b->l + j, 1) &&
           same_bits(a->o + i * a->ldo, b->o + j * b->ldo, d);
}

/* Alone, with only its tiles present and all else spoilt, a query gets the bits it got among others. */
static void check_alone(const twin *t, const piece *p, const result *all, size_t i, const float *q,
                        unsigned char lo, unsigned char hi, float scale) {
    const void *kt[GLIA_TILES] = {0}, *vt[GLIA_TILES] = {0};
    for (size_t j = lo; j < hi; j++) {
        kt[j / 16] = p->kt[j / 16];
        vt[j / 16] = p->vt[j / 16];
    }
    result one = make_result(1, p->d, 0);
    t->attend(softmax_of(&one), q, p->d, 1, kt, vt, &lo, &hi, scale, p->d);
    CHECK(same_query(all, i, &one, 0, p->d), "%s d=%zu: query %zu (%d..%d) alone differs", t->rung, p->d, i,
          lo, hi);
    free_result(&one);
}

enum mask { CAUSAL, WINDOW, ALL, RAGGED, MASKS };

static void check_piece(const twin *t, size_t d, size_t n, enum mask mask, float spread) {
    const size_t ldq = d + n % 3, qn = ((n - 1) * ldq + d) * sizeof(float);
    const float scale = 1 / sqrtf((float)d);
    unsigned char lo[N], hi[N];
    float *q = check_guarded(qn);
    piece p = make_piece(t, d, spread);
    result r = make_result(n, d, n % 4), again = make_result(n, d, n % 4);
    for (size_t i = 0; i < qn / sizeof *q; i++) q[i] = check_uniform() * spread;
    for (size_t i = 0; i < n; i++) {
        lo[i] = mask == WINDOW   ? (unsigned char)(i / 2)
                : mask == RAGGED ? (unsigned char)(check_u32() % 65)
                                 : 0;
        hi[i] = mask == ALL      ? GLIA_PIECE
                : mask == RAGGED ? (unsigned char)(check_u32() % 65)
                                 : (unsigned char)(i + GLIA_PIECE - n + 1);
    }
    t->attend(softmax_of(&r), q, ldq, n, p.kt, p.vt, lo, hi, scale, d);
    for (size_t i = 0; i < n; i++) {
        check_query(t, &p, &r, i, q + i * ldq, lo[i], hi[i], scale);
        for (size_t c = d; c < r.ldo && i + 1 < n; c++)
            CHECK(isnan(r.o[i * r.ldo + c]), "%s d=%zu: wrote past head_dim", t->rung, d);
    }
    for (size_t i = 0; i < n; i++) { /* unseen columns: inf, NaN, and what is neither */
        spoil(t, &p, lo[i], hi[i], i % 3 == 0 ? 0xff : i % 3 == 1 ? 0x7f : 0x80);
        check_alone(t, &p, &r, i, q + i * ldq, lo[i], hi[i], scale);
        for (size_t j = 0; j < GLIA_PIECE; j++)
            t->store((void *)(uintptr_t)p.kt[j / 16], (void *)(uintptr_t)p.vt[j / 16], j % 16, p.k + j * d,
                     p.v + j * d, d);
    }
    t->attend(softmax_of(&again), q, ldq, n, p.kt, p.vt, lo, hi, scale, d);
    for (size_t i = 0; i < n; i++)
        CHECK(same_query(&r, i, &again, i, d), "%s d=%zu: query %zu differs the second time", t->rung, d, i);
    free_result(&r), free_result(&again);
    free_piece(&p);
    check_guarded_free(q, qn);
}

/* Merging: empty on either side changes nothing; the rest against float64. */
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
        b.l[n - 1] = 0; /* as attention leaves an empty part */
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

/* kv_store writes its column and nothing else; kv_copy moves bits, NaN included. */
static void check_store(const glia_kernels *k, const char *rung, glia_dtype dtype) {
    glia_kv_store_fn *store = dtype == GLIA_DTYPE_F32 ? k->kv_store_f32 : k->kv_store_bf16;
    glia_kv_copy_fn *copy = dtype == GLIA_DTYPE_F32 ? k->kv_copy_f32 : k->kv_copy_bf16;
    for (size_t d = 2; d <= 130; d += 2) {
        const size_t kb = glia_k_tile_bytes(dtype, d), vb = glia_v_tile_bytes(dtype, d), at = d % 16,
                     to = (d * 5 + 3) % 16;
        char *kt = check_guarded(kb), *vt = check_guarded(vb), *kt2 = check_guarded(kb),
             *vt2 = check_guarded(vb);
        float key[130], value[130], back[130];
        memset(kt, 0xff, kb), memset(vt, 0xff, vb), memset(kt2, 0, kb), memset(vt2, 0, vb);
        for (size_t i = 0; i < d; i++) key[i] = check_uniform() * 3, value[i] = check_uniform();
        store(kt, vt, at, key, value, d);
        for (size_t j = 0; j < 16; j++) {
            k->unpack(back, kt, dtype, d, j);
            for (size_t i = 0; i < d; i++)
                CHECK(j == at ? back[i] == (dtype == GLIA_DTYPE_F32 ? key[i] : to_bf16(key[i]))
                              : isnan(back[i]),
                      "%s d=%zu: key column %zu", rung, d, j);
        }
        for (size_t i = 0; i < d; i++) {
            k->unpack(back, vt + i / 16 * glia_panel_bytes(dtype, 16), dtype, 16, i % 16);
            for (size_t j = 0; j < 16; j++)
                CHECK(j == at ? back[j] == (dtype == GLIA_DTYPE_F32 ? value[i] : to_bf16(value[i]))
                              : isnan(back[j]),
                      "%s d=%zu: value at position %zu", rung, d, j);
        }
        copy(kt2, vt2, to, kt, vt, at, d);
        copy(kt2, vt2, at == to ? (at + 1) % 16 : at, kt, vt, (at + 1) % 16, d);
        k->unpack(back, kt2, dtype, d, to);
        for (size_t i = 0; i < d; i++)
            CHECK(back[i] == (dtype == GLIA_DTYPE_F32 ? key[i] : to_bf16(key[i])), "%s d=%zu: copied key",
                  rung, d);
        for (size_t i = 0; i < d; i++) {
            k->unpack(back, vt2 + i / 16 * glia_panel_bytes(dtype, 16), dtype, 16, i % 16);
            for (size_t j = 0; j < 16; j++)
                CHECK(j == to ? back[j] == (dtype == GLIA_DTYPE_F32 ? value[i] : to_bf16(value[i]))
                      : j == (at == to ? (at + 1) % 16 : at) ? isnan(back[j])
                                                             : back[j] == 0,
                      "%s d=%zu: copied value at %zu", rung, d, j);
        }
        check_guarded_free(kt, kb), check_guarded_free(vt, vb), check_guarded_free(kt2, kb),
            check_guarded_free(vt2, vb);
    }
}

/* Queries of one head against a cache of `pieces` pieces: attend and merge. */
static void bench(const twin *t, size_t d, size_t n, size_t pieces) {
    enum { ROUNDS = 9 };
    const size_t kb = glia_k_tile_bytes(t->dtype, d), vb = glia_v_tile_bytes(t->dtype, d),
                 bytes = pieces * GLIA_TILES * (kb + vb);
    char *cache = bench_memory(bytes);
    float *q = bench_memory(n * d * sizeof *q);
    result part = make_result(n, d, 0), sum = make_result(n, d, 0);
    unsigned char lo[N] = {0}, hi[N];
    double share[ROUNDS], rate[ROUNDS];
    memset(hi, GLIA_PIECE, sizeof hi);
    for (size_t i = 0; i < n * d; i++) q[i] = check_uniform();
    const double flops = 4.0 * (double)(n * d * GLIA_PIECE * pieces);
    for (int i = 0; i < ROUNDS; i++) {
        const double ceiling = n > 8 ? peak_now(t->kernels) : read_now(t->kernels, cache, bytes);
        const double t0 = cpu_seconds();
        for (size_t p = 0; p < pieces; p++) {
            const void *k[GLIA_TILES], *v[GLIA_TILES];
            for (size_t j = 0; j < GLIA_TILES; j++)
                k[j] = cache + (p * GLIA_TILES + j) * (kb + vb), v[j] = (const char *)k[j] + kb;
            t->attend(softmax_of(p ? &part : &sum), q, d, n, k, v, lo, hi, 0.1f, d);
            if (p) t->kernels->merge(softmax_of(&sum), softmax_of(&part), n, d);
        }
        const double seconds = cpu_seconds() - t0;
        rate[i] = (n > 8 ? flops : (double)bytes) / seconds;
        share[i] = rate[i] / ceiling;
    }
    printf("attend_%s %-6s n=%-2zu d=%-3zu %7.1f %s %5.1f%% of %s\n",
           t->dtype == GLIA_DTYPE_F32 ? "f32" : "bf16", t->rung, n, d, median(rate, ROUNDS) * 1e-9,
           n > 8 ? "GFLOP/s" : "GB/s   ", median(share, ROUNDS) * 100, n > 8 ? "peak" : "read");
    free(cache), free(q);
    free_result(&part), free_result(&sum);
}

static void check_twin(const twin *t) {
    static const size_t dims[] = {2, 6, 16, 18, 24, 32, 34, 62, 64, 66, 80, 96, 128, 130, 256, 512};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int mask = 0; mask < MASKS; mask++) {
            check_piece(t, dims[i], 1 + i, (enum mask)mask, 1);
            if (dims[i] <= 128) check_piece(t, dims[i], 7 + 3 * i, (enum mask)mask, 4);
        }
    for (int mask = 0; mask < MASKS; mask++) check_piece(t, 128, N, (enum mask)mask, 1);
}

int main(int argc, char **argv) {
    const int want_bench = check_begin(argc, argv);
    int twins = 0;
    for (int i = 0; i < RUNGS; i++) {
        glia_kernels k;
        if (!rung_table(&k, i)) continue;
        const double coarse = k.linear_narrow ? 0x1p-8 : 0;
        const twin both[] = {{ladder[i].name, &k, k.attend_f32, k.kv_store_f32, GLIA_DTYPE_F32, 0},
                             {ladder[i].name, &k, k.attend_bf16, k.kv_store_bf16, GLIA_DTYPE_BF16, coarse}};
        for (int d = 0; d < 2; d++, twins++) {
            if (want_bench && i)
                bench(&both[d], 128, 64, 64), bench(&both[d], 64, 64, 64), bench(&both[d], 128, 2, 4096),
                    bench(&both[d], 128, 8, 4096);
            if (want_bench) continue;
            check_store(&k, ladder[i].name, both[d].dtype);
            check_twin(&both[d]);
        }
        check_merge(ladder[i].name, k.merge);
    }
    printf("attend: %d twins checked\n", twins);
    return check_end("check_kernel_attend");
}
