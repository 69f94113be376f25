/* check_bpe.c - merging against its definition, on random vocabularies. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "text/bpe.h"

/* Tokens are the 256 bytes, then random concatenations of two tokens. Most of these
 * are merges, with random ranks. */
static void random_bpe(glia_bpe *b, int tokens) {
    int32_t pair[600][2], twice;
    char bytes[64];
    int n = 256;
    for (int c = 0; c < 256; c++) assert_true(glia_bpe_add(b, c, &(char){(char)c}, 1, false));
    while (n < tokens) {
        const int32_t left = n > 262 && check_u32() % 2 ? 256 + (int32_t)(check_u32() % (uint32_t)(n - 256))
                                                        : 'a' + (int32_t)(check_u32() % 3);
        const int32_t right = n > 262 && check_u32() % 2 ? 256 + (int32_t)(check_u32() % (uint32_t)(n - 256))
                                                         : 'a' + (int32_t)(check_u32() % 3);
        const size_t a = b->token[left].len, c = b->token[right].len;
        if (a + c > 40) continue;
        memcpy(bytes, b->bytes.data + b->token[left].at, a);
        memcpy(bytes + a, b->bytes.data + b->token[right].at, c);
        bool known = false;
        for (int i = 256; i < n && !known; i++)
            known = b->token[i].len == a + c && memcmp(b->bytes.data + b->token[i].at, bytes, a + c) == 0;
        if (known) continue;
        pair[n][0] = left;
        pair[n][1] = right;
        assert_true(glia_bpe_add(b, n++, bytes, a + c, false));
    }
    assert_true(glia_bpe_seal(b, &twice) && twice == -1);
    for (int i = 0; i < 2 * n; i++) { /* ranks in any order; the later of two equal merges wins */
        const int32_t id = 256 + (int32_t)(check_u32() % (uint32_t)(n - 256));
        assert_true(glia_bpe_add_merge(b, pair[id][0], pair[id][1], id));
    }
}

/* The definition of BPE: merge the adjacent pair of lowest rank, the leftmost if
 * several have this rank, until no pair is a merge. */
static size_t merge_slowly(const glia_bpe *b, int32_t *ids, size_t n) {
    for (;;) {
        size_t best = SIZE_MAX;
        const glia_bpe_merge *how = NULL;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t k = 0; k <= b->merge_mask; k++) {
                const glia_bpe_merge *m = b->merge + k;
                if (m->rank != UINT32_MAX && m->left == (uint32_t)ids[i] &&
                    m->right == (uint32_t)ids[i + 1] && (!how || m->rank < how->rank)) {
                    how = m;
                    best = i;
                }
            }
        if (!how) return n;
        ids[best] = (int32_t)how->id;
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        n--;
    }
}

static void test_against_definition(void **state) {
    (void)state;
    for (int round = 0; round < 6; round++) {
        glia_bpe b = {0};
        glia_bpe_work *w = glia_bpe_work_new(1000);
        random_bpe(&b, 340);
        for (int word = 0; word < 12; word++) {
            char text[120];
            int32_t want[120];
            glia_ids ids = {0};
            const size_t len = 1 + check_u32() % (word < 8 ? 20 : sizeof text - 1);
            for (size_t i = 0; i < len; i++) text[i] = (char)('a' + check_u32() % 3);
            for (size_t i = 0; i < len; i++) want[i] = (unsigned char)text[i];
            const size_t n = merge_slowly(&b, want, len);
            for (int again = 0; again < 2; again++) { /* the second time short words come from the cache */
                ids.n = 0;
                assert_true(glia_bpe_encode(&b, w, text, len, &ids));
                CHECK(ids.n == n && memcmp(ids.at, want, n * sizeof *want) == 0,
                      "round %d: %.*s: %zu ids, not %zu", round, (int)len, text, ids.n, n);
            }
            free(ids.at);
        }
        glia_bpe_work_free(w);
        glia_bpe_free(&b);
    }
}

static void test_unspell(void **state) {
    (void)state;
    char out[16];
    bool raw;
    assert_int_equal(glia_bpe_unspell(out, "\u0120a\u010a\u00e9\u0143", 9, &raw), 5);
    assert_memory_equal(out, " a\n\xe9\xad", 5);
    assert_false(raw);
    assert_int_equal(glia_bpe_unspell(out, "a b", 3, &raw), 3); /* a space is spelled U+0120 */
    assert_memory_equal(out, "a b", 3);
    assert_true(raw);
    glia_bpe_unspell(out, "\u0144", 2, &raw);
    assert_true(raw);
    glia_bpe_unspell(out, "\u4e2d", 3, &raw);
    assert_true(raw);
    glia_bpe_unspell(out, "\u00ad", 2, &raw);
    assert_true(raw);
}

/* The time for a long word is not quadratic. */
static void test_long_word(void **state) {
    (void)state;
    glia_bpe b = {0};
    glia_ids ids = {0};
    random_bpe(&b, 340);
    const size_t len = 1 << 20;
    glia_bpe_work *w = glia_bpe_work_new(len);
    char *text = malloc(len);
    for (size_t i = 0; i < len; i++) text[i] = (char)('a' + check_u32() % 3);
    const double start = check_seconds();
    assert_true(glia_bpe_encode(&b, w, text, len, &ids));
    CHECK(check_seconds() - start < 5, "%.1f s", check_seconds() - start);
    size_t at = 0;
    for (size_t i = 0; i < ids.n; i++) {
        const glia_bpe_token t = b.token[ids.at[i]];
        assert_memory_equal(text + at, b.bytes.data + t.at, t.len);
        at += t.len;
    }
    assert_int_equal(at, len);
    free(ids.at);
    free(text);
    glia_bpe_work_free(w);
    glia_bpe_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_definition),
        cmocka_unit_test(test_unspell),
        cmocka_unit_test(test_long_word),
    };
    return check_run_group("bpe", tests);
}
