/* check_attention.c - attention over an int8 cache, compared with a float32 cache: the
 * error is within a bound that the rounding of keys and values gives. Keys are such as
 * trained models have: a bias, or a few dimensions, much larger than the rest. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "device/cpu.h"

enum { ROWS = 70, HEADS = 4, KV_HEADS = 2, BLOCK = 64, BLOCKS = 2, HD_MAX = 64, THREADS = 2 };

typedef struct {
    size_t hd;
    float *q, *kv;                    /* [ROWS, HEADS hd], [ROWS, 2 KV_HEADS hd] */
    float *cos, *sin, *angles, *bias; /* NULL: no RoPE; no bias */
    const glia_device *device;
    glia_kv_layer cache;
    float *o; /* [ROWS, HEADS hd] */
} subject;

static float *floats(size_t n, float size) {
    float *x = aligned_alloc(GLIA_ALIGN, (n * sizeof *x + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN);
    for (size_t i = 0; i < n; i++) x[i] = check_uniform() * size;
    return x;
}

static void attend(void *arg, int thread) {
    const subject *s = arg;
    static int32_t zero[ROWS], position[ROWS];
    static const int32_t table[BLOCKS] = {1, 0};
    if (!thread)
        for (int i = 0; i < ROWS; i++) position[i] = i;
    glia_device_barrier(s->device);
    const glia_rows rows = {.n = ROWS,
                            .seq = zero,
                            .position = position,
                            .slot = position,
                            .block_table = table,
                            .max_blocks = BLOCKS};
    const glia_heads heads = {.heads = HEADS,
                              .kv_heads = KV_HEADS,
                              .head_dim = (int)s->hd,
                              .cos = s->cos,
                              .sin = s->sin,
                              .angles = s->angles,
                              .k_bias = s->bias,
                              .scale = 1 / sqrtf((float)s->hd)};
    const glia_qkv x = {.q = {s->q, ROWS, HEADS * s->hd, GLIA_PLAIN},
                        .kv = {s->kv, ROWS, 2 * KV_HEADS * s->hd, GLIA_PLAIN},
                        .v = KV_HEADS * s->hd,
                        .block_heads = HEADS};
    const glia_attended out = {.o = {s->o, ROWS, HEADS * s->hd, GLIA_INPUT}, .block_heads = HEADS};
    glia_device_attention(s->device, thread, &out, &x, &rows, &rows, &heads, &s->cache);
}

static void run(subject *s, glia_dtype cache, unsigned flags) {
    const glia_device_shape shape = {.threads = THREADS,
                                     .max_rows = ROWS,
                                     .sequence_length = BLOCK * BLOCKS,
                                     .head_dim = (int)s->hd,
                                     .operand_rows = ROWS,
                                     .hidden = 64,
                                     .widest = 64,
                                     .dtype = GLIA_DTYPE_F32,
                                     .kv_dtype = cache};
    glia_plan plan = {0};
    glia_team *team;
    glia_device *device;
    glia_err err = {0};
    s->cache = (glia_kv_layer){.dtype = cache,
                               .block_size = BLOCK,
                               .kv_heads = KV_HEADS,
                               .head_dim = (int)s->hd,
                               .members = 1,
                               .unit = 64};
    const int at = glia_plan_add(&plan, "the cache", BLOCKS, glia_cpu.kv_block_bytes(&s->cache));
    const int first = glia_cpu.plan(&plan, &shape);
    if (glia_team_create(&team, THREADS, &err)) fail_msg("%s", err.msg);
    if (glia_cpu.map(&plan, "attention", &err)) fail_msg("%s", err.msg);
    if (glia_cpu.open(&device, team, flags, &shape, &plan, first, &err)) fail_msg("%s", err.msg);
    s->cache.base = glia_plan_at(&plan, at);
    s->device = device;
    glia_team_run(team, attend, s);
    glia_cpu.close(device);
    glia_cpu.unmap(&plan);
    glia_team_free(team);
}

static subject make(size_t hd, bool rope, bool bias) {
    subject s = {.hd = hd};
    const size_t half = hd / 2, width = KV_HEADS * hd;
    s.q = floats(ROWS * HEADS * hd, 1);
    s.kv = floats(ROWS * 2 * width, 1);
    s.o = floats(ROWS * HEADS * hd, 1);
    if (rope) {
        s.cos = floats(BLOCK * BLOCKS * half, 1), s.sin = floats(BLOCK * BLOCKS * half, 1);
        s.angles = floats(BLOCK * BLOCKS * hd, 1);
        for (size_t p = 0; p < BLOCK * BLOCKS; p++)
            for (size_t i = 0; i < half; i++) {
                const float angle = (float)p / (float)(1 + 3 * i), c = cosf(angle), sn = sinf(angle);
                float *at = s.angles + ((p / 16 * half + i) * 2) * 16 + p % 16;
                s.cos[p * half + i] = at[0] = c;
                s.sin[p * half + i] = at[16] = sn;
            }
    }
    if (!bias) return s;
    s.bias = floats(width, 1);
    for (size_t i = 0; i < width; i += 5) s.bias[i] *= 60;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < width; i++) s.kv[r * 2 * width + i] += s.bias[i];
    return s;
}

static void release(subject *s) {
    free(s->q), free(s->kv), free(s->cos), free(s->sin), free(s->angles), free(s->bias), free(s->o);
}

/* The keys without their bias, and the values, are at most 1 (RoPE makes sqrt(2) of that), so their errors
 * are at most top / 254. A query is at most sqrt(2), so a score is off by at most e = scale hd sqrt(2) top /
 * 254, and a probability by a factor of at most exp(2 e). One in a thousand is for float32. */
static void check_bias(size_t hd, bool rope, unsigned flags, const char *rung) {
    subject s = make(hd, rope, true);
    const size_t n = ROWS * HEADS * hd;
    float *want = floats(n, 0);
    double worst = 0;
    run(&s, GLIA_DTYPE_F32, flags);
    memcpy(want, s.o, n * sizeof *want);
    run(&s, GLIA_DTYPE_I8, flags);
    const double root = rope ? sqrt(2) : 1, e = sqrt((double)hd) * root * root / 254;
    const double bound = (exp(2 * e) - 1 + 1.0 / 254) * 1.001;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)s.o[i] - (double)want[i]));
    CHECK(worst > 0 && worst <= bound, "%s: head_dim %zu, %s RoPE: off by %g, bound %g", rung, hd,
          rope ? "with" : "without", worst, bound);
    free(want);
    release(&s);
}

static void test_bias(void **state) {
    (void)state;
    static const size_t dims[] = {2, 6, 10, 16, 64};
    for (int r = 0; r < GLIA_RUNGS; r++) {
        unsigned flags = glia_cpu_flags();
        glia_err err;
        if (glia_cpu_mask(&flags, glia_rungs[r].name, &err)) continue; /* this machine lacks it */
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (int rope = 0; rope < 2; rope++) check_bias(dims[d], rope, flags, glia_rungs[r].name);
    }
}

/* Each key has one dimension of LARGE, as outlier channels of trained models have. A rotation in blocks of B
 * leaves LARGE / sqrt(B) and numbers of at most about 2, so the step of an int8 is (LARGE / sqrt(B) + 2) /
 * 127. Its rounding has a deviation of step / sqrt(12), and |q| is about sqrt(hd / 3), so a score and a
 * probability are off by about step / 6. Half as much again is for chance. Without the rotation it is LARGE /
 * 127 / 6. */
static void check_outlier(size_t hd, unsigned flags, const char *rung) {
    enum { LARGE = 40 };
    subject s = make(hd, false, false);
    const size_t n = ROWS * HEADS * hd, width = KV_HEADS * hd;
    float *want = floats(n, 0);
    double error = 0, size = 0;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t h = 0; h < KV_HEADS; h++) s.kv[r * 2 * width + h * hd + 3] = LARGE;
    run(&s, GLIA_DTYPE_F32, flags);
    memcpy(want, s.o, n * sizeof *want);
    run(&s, GLIA_DTYPE_I8, flags);
    for (size_t i = 0; i < n; i++) {
        error += fabs((double)s.o[i] - (double)want[i]);
        size += fabs((double)want[i]);
    }
    const double step = (LARGE / sqrt((double)glia_rotate_block(hd)) + 2) / 127;
    CHECK(error > 0 && error <= 1.5 * step / 6 * size, "%s: head_dim %zu: off by %g of the result, bound %g",
          rung, hd, error / size, 1.5 * step / 6);
    free(want);
    release(&s);
}

static void test_outlier(void **state) {
    (void)state;
    static const size_t dims[] = {16, 48, 64};
    for (int r = 0; r < GLIA_RUNGS; r++) {
        unsigned flags = glia_cpu_flags();
        glia_err err;
        if (glia_cpu_mask(&flags, glia_rungs[r].name, &err)) continue;
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            check_outlier(dims[d], flags, glia_rungs[r].name);
    }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bias), cmocka_unit_test(test_outlier)};
    return check_run_group("attention", tests);
}
