/* check_shard.c - shard arithmetic, by hand-made tables and by brute force: the sum of
 * what ranks compute from their spans equals exactly what one rank computes. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/team.h"
#include "layer/shard.h"

static const int degrees[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32};
static const int models[][2] = {{16, 8}, {16, 4}, {32, 8}, {40, 8}, {9, 3},  {15, 5},
                                {24, 8}, {14, 2}, {28, 4}, {64, 8}, {12, 12}};
enum { N_DEGREES = sizeof degrees / sizeof *degrees, N_MODELS = sizeof models / sizeof *models };

static void test_even(void **state) {
    (void)state;
    for (size_t n = 0; n < 70; n++)
        for (int ranks = 1; ranks < 40; ranks++) {
            size_t next = 0, from, to;
            for (int r = 0; r < ranks; r++) {
                glia_even_shard(n, ranks, r, &from, &to);
                assert_int_equal(from, next);
                assert_true(to - from <= glia_even_size(n, ranks));
                next = to;
            }
            assert_int_equal(next, n);
        }
}

/* Examples of Optimum Neuron, and cases that NxD Inference gets wrong. */
static void test_head_rules(void **state) {
    (void)state;
    static const struct {
        int heads, kv_heads, ranks;
        glia_head_rule rule;
        int q, kv; /* heads of one rank */
        const char *q_places, *kv_places;
    } rows[] = {
        {16, 8, 1, GLIA_HEADS_CUT, 16, 8, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", "0 1 2 3 4 5 6 7"},
        {16, 8, 8, GLIA_HEADS_CUT, 2, 1, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", "0 1 2 3 4 5 6 7"},
        {4, 2, 4, GLIA_HEADS_REPLICATE, 1, 1, "0 1 2 3", "0 0 1 1"},
        {4, 2, 8, GLIA_HEADS_REPLICATE, 1, 1, "0 1 - - 2 3 - -", "0 0 0 0 1 1 1 1"},
        {10, 2, 4, GLIA_HEADS_REPLICATE, 3, 1, "0 1 2 3 4 - 5 6 7 8 9 -", "0 0 1 1"},
        {8, 2, 3, GLIA_HEADS_CONVERT, 3, 3, "0 1 2 3 4 5 6 7 -", "0 0 0 0 1 1 1 1 -"},
        {16, 4, 3, GLIA_HEADS_CONVERT, 6, 6, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 - -",
         "0 0 0 0 1 1 1 1 2 2 2 2 3 3 3 3 - -"},
        {6, 2, 3, GLIA_HEADS_CONVERT, 2, 2, "0 1 2 3 4 5", "0 0 0 1 1 1"},
        {3, 3, 2, GLIA_HEADS_CONVERT, 2, 2, "0 1 2 -", "0 1 2 -"},
        {2, 2, 4, GLIA_HEADS_REPLICATE, 1, 1, "0 - 1 -", "0 0 1 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const glia_head_cut c = glia_cut_heads(rows[i].heads, rows[i].kv_heads, rows[i].ranks);
        assert_int_equal(c.rule, rows[i].rule);
        assert_int_equal(c.q, rows[i].q);
        assert_int_equal(c.kv, rows[i].kv);
        for (int kv = 0; kv < 2; kv++) {
            char text[200] = "", *at = text;
            for (int j = 0; j < (kv ? c.kv : c.q) * c.ranks; j++) {
                const int head = kv ? glia_kv_head(&c, j) : glia_q_head(&c, j);
                at += head < 0 ? sprintf(at, " -") : sprintf(at, " %d", head);
            }
            assert_string_equal(text + 1, kv ? rows[i].kv_places : rows[i].q_places);
        }
    }
    assert_string_equal(glia_head_rule_name(GLIA_HEADS_CUT), "CUT");
    assert_string_equal(glia_head_rule_name(GLIA_HEADS_CONVERT), "CONVERT_TO_MHA");
}

/* ---- spans ------------------------------------------------------------------- */

/* The row at each position of the shard, from its spans; -1: padding. Checks order and
 * bounds of the spans. */
static size_t rows_of(const glia_shard *s, ptrdiff_t *row) {
    glia_slice span = {0};
    size_t read = 0, end = s->at, before_from = 0, before_n = 0;
    for (size_t i = 0; i < glia_shard_size(s); i++) row[i] = -1;
    while (glia_shard_next(s, &span)) {
        assert_true(span.n > 0 && span.to >= end && span.from + span.n <= s->n);
        if (before_n && span.to == end) assert_int_not_equal(span.from, before_from + before_n);
        for (size_t i = 0; i < span.n; i++) row[span.to - s->at + i] = (ptrdiff_t)(span.from + i);
        end = span.to + span.n;
        before_from = span.from;
        before_n = span.n;
        read += span.n;
    }
    assert_true(end <= s->at + glia_shard_size(s));
    return read;
}

static void check_spans(glia_shard s, int *held) {
    ptrdiff_t *row = calloc(glia_shard_size(&s) + 1, sizeof *row);
    memset(held, 0, s.n * sizeof *held);
    for (s.rank = 0; s.rank < s.ranks; s.rank++) {
        rows_of(&s, row);
        for (size_t i = 0; i < glia_shard_size(&s); i++) {
            assert_int_equal(row[i], glia_shard_source(&s, i));
            if (row[i] >= 0) held[row[i]]++;
        }
    }
    free(row);
}

static void test_spans(void **state) {
    (void)state;
    int held[64 * 4];
    for (int d = 0; d < N_DEGREES; d++) {
        const int ranks = degrees[d];
        for (size_t n = 1; n < 80; n += 13) {
            check_spans((glia_shard){.kind = GLIA_SHARD_EVEN, .n = n, .ranks = ranks, .at = 5}, held);
            for (size_t i = 0; i < n; i++) assert_int_equal(held[i], 1);
            check_spans((glia_shard){.kind = GLIA_SHARD_ALL, .n = n, .ranks = ranks}, held);
            for (size_t i = 0; i < n; i++) assert_int_equal(held[i], ranks);
        }
        for (int m = 0; m < N_MODELS; m++) {
            const glia_head_cut c = glia_cut_heads(models[m][0], models[m][1], ranks);
            glia_shard s = {.kind = GLIA_SHARD_Q, .heads = &c, .head_dim = 3, .ranks = ranks, .at = 2};
            s.n = (size_t)c.heads * 3;
            check_spans(s, held);
            for (size_t i = 0; i < s.n; i++) assert_int_equal(held[i], 1);
            s.kind = GLIA_SHARD_KV;
            s.n = (size_t)c.kv_heads * 3;
            check_spans(s, held);
            const int copies = c.rule == GLIA_HEADS_CUT         ? 1
                               : c.rule == GLIA_HEADS_REPLICATE ? ranks / c.kv_heads
                                                                : c.heads / c.kv_heads;
            for (size_t i = 0; i < s.n; i++) assert_int_equal(held[i], copies);
        }
    }
}

/* ---- attention, exactly --------------------------------------------------------- */

/* Attention over integers, where q . k + 1 replaces the softmax weight of a key. The
 * sum is exact, and a key of zeros still has a weight. */
enum { DIM = 2, HIDDEN = 3, ROWS = 5, HEADS_MAX = 64, COLUMNS = HEADS_MAX * DIM * 3 };

typedef struct {
    int heads, kv_heads;
    int w_q[HEADS_MAX * DIM][HIDDEN], w_k[HEADS_MAX * DIM][HIDDEN], w_v[HEADS_MAX * DIM][HIDDEN];
    int w_o[HIDDEN][HEADS_MAX * DIM];
    int x[ROWS][HIDDEN];
} toy;

static void random_ints(int *p, size_t bytes) {
    for (size_t i = 0; i < bytes / sizeof *p; i++) p[i] = (int)(check_u32() % 7) - 3;
}

static int dot(const int *a, const int *b, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* o [q_heads * DIM]: the attention of row t over the keys that `keep` accepts.
 * qkv [ROWS][q; k; v]. */
static void attend(long *o, int t, int qkv[ROWS][COLUMNS], int q_heads, int kv_heads,
                   bool (*keep)(int position, const void *arg), const void *arg) {
    const int k0 = q_heads * DIM, v0 = k0 + kv_heads * DIM;
    for (int h = 0; h < q_heads; h++) {
        const int kv = h / (q_heads / kv_heads) * DIM;
        for (int i = 0; i < DIM; i++) o[h * DIM + i] = 0;
        for (int p = 0; p <= t; p++) {
            if (keep && !keep(p, arg)) continue;
            const int w = dot(&qkv[t][h * DIM], &qkv[p][k0 + kv], DIM) + 1;
            for (int i = 0; i < DIM; i++) o[h * DIM + i] += (long)w * qkv[p][v0 + kv + i];
        }
    }
}

/* The rank's fused rows qkv [ROWS][q; k; v], computed from its spans alone. */
static void project(int qkv[ROWS][COLUMNS], const toy *m, const glia_head_cut *c, int rank) {
    const int(*weight[])[HIDDEN] = {m->w_q, m->w_k, m->w_v};
    size_t at = 0;
    memset(qkv, 0, ROWS * sizeof *qkv);
    for (int part = 0; part < 3; part++) {
        const glia_shard s = {.kind = part == 0 ? GLIA_SHARD_Q : GLIA_SHARD_KV,
                              .n = (size_t)(part == 0 ? m->heads : m->kv_heads) * DIM,
                              .heads = c,
                              .head_dim = DIM,
                              .ranks = c->ranks,
                              .rank = rank,
                              .at = at};
        glia_slice span = {0};
        while (glia_shard_next(&s, &span))
            for (size_t i = 0; i < span.n; i++)
                for (int t = 0; t < ROWS; t++)
                    qkv[t][span.to + i] = dot(m->x[t], weight[part][span.from + i], HIDDEN);
        at += glia_shard_size(&s);
    }
}

/* y [HIDDEN] += the rank's columns of o_proj times o [the rank's q heads * DIM]. */
static void add_output(long *y, const toy *m, const glia_head_cut *c, int rank, const long *o) {
    const glia_shard s = {.kind = GLIA_SHARD_Q,
                          .n = (size_t)m->heads * DIM,
                          .heads = c,
                          .head_dim = DIM,
                          .ranks = c->ranks,
                          .rank = rank};
    glia_slice span = {0};
    while (glia_shard_next(&s, &span))
        for (size_t i = 0; i < span.n; i++)
            for (int h = 0; h < HIDDEN; h++) y[h] += m->w_o[h][span.from + i] * o[span.to + i];
}

static void unsharded(long y[ROWS][HIDDEN], const toy *m) {
    int qkv[ROWS][COLUMNS];
    long o[HEADS_MAX * DIM];
    for (int t = 0; t < ROWS; t++) {
        for (int i = 0; i < m->heads * DIM; i++) qkv[t][i] = dot(m->x[t], m->w_q[i], HIDDEN);
        for (int i = 0; i < m->kv_heads * DIM; i++) {
            qkv[t][m->heads * DIM + i] = dot(m->x[t], m->w_k[i], HIDDEN);
            qkv[t][(m->heads + m->kv_heads) * DIM + i] = dot(m->x[t], m->w_v[i], HIDDEN);
        }
    }
    for (int t = 0; t < ROWS; t++) {
        attend(o, t, qkv, m->heads, m->kv_heads, NULL, NULL);
        for (int h = 0; h < HIDDEN; h++) {
            y[t][h] = 0;
            for (int i = 0; i < m->heads * DIM; i++) y[t][h] += m->w_o[h][i] * o[i];
        }
    }
}

static void sharded(long y[ROWS][HIDDEN], const toy *m, const glia_head_cut *c) {
    int qkv[ROWS][COLUMNS];
    long o[HEADS_MAX * DIM];
    memset(y, 0, ROWS * sizeof *y);
    for (int r = 0; r < c->ranks; r++) {
        project(qkv, m, c, r);
        for (int t = 0; t < ROWS; t++) {
            attend(o, t, qkv, c->q, c->kv, NULL, NULL);
            add_output(y[t], m, c, r, o);
        }
    }
}

typedef struct {
    size_t unit;
    int group, member;
} share_of_positions;

static bool mine(int position, const void *arg) {
    const share_of_positions *s = arg;
    return glia_stripe_owner((size_t)position, s->unit, s->group) == s->member;
}

/* Flash decoding: each rank of a group computes attention of all query heads of the
 * group over its own positions. The sum over the group goes to the ranks of the heads. */
static void flash(long y[ROWS][HIDDEN], const toy *m, const glia_head_cut *c, size_t unit) {
    static int qkv[ROWS][COLUMNS], one[ROWS][COLUMNS];
    const int group = glia_flash_group(c), q = c->q * DIM;
    long o[HEADS_MAX * DIM], sum[HEADS_MAX * DIM];
    memset(y, 0, ROWS * sizeof *y);
    for (int first = 0; first < c->ranks; first += group) {
        memset(qkv, 0, sizeof qkv);
        for (int i = 0; i < group; i++) { /* gather the query heads; all ranks have the same K and V */
            project(one, m, c, first + i);
            for (int t = 0; t < ROWS; t++) {
                memcpy(&qkv[t][i * q], one[t], (size_t)q * sizeof(int));
                memcpy(&qkv[t][group * q], &one[t][q], 2 * DIM * sizeof(int));
            }
        }
        for (int t = 0; t < ROWS; t++) {
            memset(sum, 0, sizeof sum);
            for (int i = 0; i < group; i++) {
                const share_of_positions s = {.unit = unit, .group = group, .member = i};
                attend(o, t, qkv, group * c->q, 1, mine, &s);
                for (int j = 0; j < group * q; j++) sum[j] += o[j];
            }
            for (int i = 0; i < group; i++) add_output(y[t], m, c, first + i, sum + i * q);
        }
    }
}

static void test_attention(void **state) {
    (void)state;
    static toy m;
    long want[ROWS][HIDDEN], got[ROWS][HIDDEN];
    int flashed = 0;
    for (int i = 0; i < N_MODELS; i++) {
        random_ints(m.w_q[0], sizeof m.w_q);
        random_ints(m.w_k[0], sizeof m.w_k);
        random_ints(m.w_v[0], sizeof m.w_v);
        random_ints(m.w_o[0], sizeof m.w_o);
        random_ints(m.x[0], sizeof m.x);
        m.heads = models[i][0];
        m.kv_heads = models[i][1];
        unsharded(want, &m);
        for (int ranks = 1; ranks <= 66; ranks++) {
            const glia_head_cut c = glia_cut_heads(m.heads, m.kv_heads, ranks);
            sharded(got, &m, &c);
            CHECK(memcmp(got, want, sizeof got) == 0, "%d/%d heads over %d ranks", m.heads, m.kv_heads,
                  ranks);
            if (c.rule != GLIA_HEADS_REPLICATE || glia_flash_group(&c) * c.q > HEADS_MAX) continue;
            for (size_t unit = 1; unit < 4; unit++, flashed++) {
                flash(got, &m, &c, unit);
                CHECK(memcmp(got, want, sizeof got) == 0, "flash: %d/%d heads over %d ranks, unit %zu",
                      m.heads, m.kv_heads, ranks, unit);
            }
        }
    }
    assert_true(flashed > 100);
}

/* ---- positions and rows --------------------------------------------------------- */

static void test_flash_positions(void **state) {
    (void)state;
    for (int group = 1; group < 9; group++)
        for (size_t unit = 1; unit < 20; unit += 3)
            for (size_t n = 0; n < 200; n += 7) {
                size_t held[9] = {0};
                for (size_t p = 0; p < n; p++) {
                    const int i = glia_stripe_owner(p, unit, group);
                    assert_int_equal(glia_stripe_item(held[i]++, unit, i, group),
                                     p); /* in order, without gaps */
                }
                for (int i = 0; i < group; i++)
                    assert_int_equal(glia_stripe_count(n, unit, i, group), held[i]);
            }
    const glia_head_cut two = glia_cut_heads(16, 2, 8), none = glia_cut_heads(16, 2, 3);
    assert_int_equal(glia_flash_group(&two), 4);
    assert_int_equal(glia_flash_group(&none), 1);
}

/* Compare with the definition: the chunks of ranks one after the other, row by row. */
static void check_rank_order(bool strided, size_t n, int ranks, int degree) {
    const size_t chunk = n / (size_t)ranks, held = n / (size_t)degree;
    size_t at = 0;
    for (int r = 0; r < ranks; r++) {
        const size_t w = (size_t)glia_cp_union_rank(r, degree), place = (size_t)glia_cp_rank(r, degree);
        for (size_t j = 0; j < chunk; j++, at++) {
            const size_t k = w * chunk + j; /* of the place's rows */
            const size_t i = strided ? k * (size_t)degree + place : place * held + k;
            assert_int_equal(glia_cp_row(strided, n, degree, (int)place, k), i);
            assert_int_equal(glia_cp_index(strided, n, ranks, degree, i), at);
        }
    }
    assert_int_equal(at, n);
}

static void test_context_rows(void **state) {
    (void)state;
    for (int strided = 0; strided < 2; strided++)
        for (int degree = 1; degree < 9; degree++)
            for (int ranks = degree; ranks < 33; ranks += degree)
                for (size_t n = (size_t)ranks; n < 200; n += (size_t)ranks) {
                    bool seen[200] = {false};
                    check_rank_order(strided, n, ranks, degree);
                    for (size_t i = 0; i < n; i++) { /* each row occurs once */
                        const size_t at = glia_cp_index(strided, n, ranks, degree, i);
                        assert_true(at < n && !seen[at]);
                        seen[at] = true;
                    }
                }
    /* 12 rows over 4 ranks with context parallelism of degree 2. */
    assert_int_equal(glia_cp_index(false, 12, 4, 2, 6), 3); /* rank 1: rows 6, 7, 8 */
    assert_int_equal(glia_cp_index(false, 12, 4, 2, 3), 6); /* rank 2: rows 3, 4, 5 */
    assert_int_equal(glia_cp_index(true, 12, 4, 2, 1), 3);  /* rank 1: rows 1, 3, 5 */
    assert_int_equal(glia_cp_index(true, 12, 4, 2, 6), 6);  /* rank 2: rows 6, 8, 10 */
}

static void test_context_groups(void **state) {
    (void)state;
    for (int degree = 1; degree < 9; degree++)
        for (int r = 0; r < 40; r++) {
            const int place = glia_cp_rank(r, degree), w = glia_cp_union_rank(r, degree);
            assert_true(place >= 0 && place < degree);
            assert_int_equal(w * degree + place, r);
        }
}

/* The number of KV heads in a union, the same for all unions, derived by hand from the rule. */
static int heads_of_union(const glia_head_cut *c, int degree) {
    const int group = c->ranks / c->kv_heads; /* ranks that hold a copy of one KV head */
    if (c->rule != GLIA_HEADS_REPLICATE) return degree * c->kv;
    return group % degree == 0 ? 1 : degree % group == 0 ? degree / group : degree;
}

/* Every query head of a union uses the KV head that it uses in its rank's shard. */
static void test_unions(void **state) {
    (void)state;
    int shared = 0, copied = 0;
    for (int m = 0; m < N_MODELS; m++)
        for (int ranks = 1; ranks <= 66; ranks++)
            for (int degree = 1; degree <= 8; degree++) {
                if (ranks % degree) continue;
                const glia_head_cut c = glia_cut_heads(models[m][0], models[m][1], ranks);
                const glia_head_cut u = glia_cp_union(&c, degree);
                assert_int_equal(u.kv, heads_of_union(&c, degree));
                assert_int_equal(u.q, degree * c.q);
                assert_int_equal(u.q % u.kv, 0);
                shared += u.kv < degree * c.kv;
                copied += c.rule == GLIA_HEADS_REPLICATE && u.kv == degree && degree > 1;
                for (int w = 0; w < ranks / degree; w++)
                    for (int j = 0; j < u.q; j++) {
                        const int shard = w * degree + j / c.q, own = j % c.q / (c.q / c.kv);
                        assert_int_equal(glia_kv_head(&u, w * u.kv + j / (u.q / u.kv)),
                                         glia_kv_head(&c, shard * c.kv + own));
                    }
            }
    assert_true(shared > 20 && copied > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_head_rules),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_flash_positions),
        cmocka_unit_test(test_context_rows),
        cmocka_unit_test(test_context_groups),
        cmocka_unit_test(test_unions),
    };
    check_seed(1);
    return check_run_group("shard", tests);
}
