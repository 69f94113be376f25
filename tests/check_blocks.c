/* check_blocks.c - the block manager: promises, reuse, eviction, exact comparison. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "engine/blocks.h"

enum { SIZE = 4, TABLE = 16 };

static glia_blocks new_blocks(int n, bool caching) {
    glia_blocks b;
    const glia_blocks_shape shape = {n, SIZE, 1, 1};
    glia_blocks_init(&b, malloc(glia_blocks_bytes(&shape)), &shape, caching);
    return b;
}

static glia_block_list new_list(int32_t *table, int32_t salt) {
    return (glia_block_list){.table = table, .salt = salt};
}

/* Admit a sequence, compute n tokens and commit them. Returns the number of blocks
 * found in the cache. */
static int run(glia_blocks *b, glia_block_list *list, const int32_t *tokens, int n, int positions) {
    assert_true(glia_blocks_admit(b, list, tokens, n, positions));
    const int hits = list->n;
    glia_blocks_grow(b, list, n);
    glia_blocks_commit(b, list, tokens, n);
    return hits;
}

static void test_promises(void **state) {
    (void)state;
    glia_blocks b = new_blocks(5, false);
    int32_t tokens[20] = {0}, t0[TABLE], t1[TABLE];
    glia_block_list x = new_list(t0, 0), y = new_list(t1, 0);
    assert_true(glia_blocks_admit(&b, &x, tokens, 3, 11)); /* 3 of 5 blocks */
    assert_false(glia_blocks_admit(&b, &y, tokens, 3, 9));
    assert_true(y.n == 0 && y.promised == 0 && b.kind[0].n_promised == 3 && b.kind[0].n_unused == 5);
    assert_true(glia_blocks_admit(&b, &y, tokens, 3, 8));
    glia_blocks_grow(&b, &x, 3);
    glia_blocks_grow(&b, &x, 4);
    assert_true(x.n == 1 && x.promised == 2);
    glia_blocks_grow(&b, &y, 8);
    glia_blocks_grow(&b, &x, 11);
    assert_true(b.kind[0].n_unused == 0 && b.kind[0].n_promised == 0);
    glia_blocks_release(&b, &x);
    glia_blocks_release(&b, &y);
    assert_true(b.kind[0].n_unused == 5 && b.kind[0].n_promised == 0);
    free(b.block);
}

static void test_prefixes(void **state) {
    (void)state;
    glia_blocks b = new_blocks(8, true);
    const int32_t text[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    int32_t other[12], t0[TABLE], t1[TABLE];
    glia_block_list x = new_list(t0, 0), y = new_list(t1, 0);
    assert_int_equal(run(&b, &x, text, 12, 12), 0);
    assert_int_equal(run(&b, &y, text, 12, 12), 2); /* the last token is always computed again */
    assert_memory_equal(t0, t1, 3 * sizeof *t0); /* its block equals a known one and was exchanged for it */
    assert_int_equal(b.kind[0].n_unused, 5);
    glia_blocks_release(&b, &x);
    glia_blocks_release(&b, &y);
    assert_int_equal(b.kind[0].n_unused, 8);

    assert_int_equal(run(&b, &x, text, 9, 9), 2);
    glia_blocks_release(&b, &x);
    memcpy(other, text, sizeof other);
    other[5] = 99; /* the first block is shared; the third is not, although its tokens are equal */
    assert_int_equal(run(&b, &x, other, 12, 12), 1);
    glia_blocks_release(&b, &x);
    y.salt = 1;
    assert_int_equal(run(&b, &y, text, 12, 12), 0);
    glia_blocks_release(&b, &y);
    assert_int_equal(run(&b, &y, text, 12, 12), 2);
    glia_blocks_release(&b, &y);
    free(b.block);
}

/* Blocks before the position where an adapter begins to act are shared with all; a block that it acts in
 * is found by its sequences alone, also where the block before is the same one. */
static void test_invocation(void **state) {
    (void)state;
    const int32_t text[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    for (int begins = 0; begins <= 16; begins++) {
        glia_blocks b = new_blocks(12, true);
        int32_t t0[TABLE], t1[TABLE];
        glia_block_list x = new_list(t0, 0), y = new_list(t1, 1);
        y.begins = begins;
        assert_int_equal(run(&b, &x, text, 16, 16), 0);
        glia_blocks_release(&b, &x);
        const int shared = begins / SIZE < 3 ? begins / SIZE : 3;
        assert_int_equal(run(&b, &y, text, 16, 16), shared);
        assert_memory_equal(t0, t1, (size_t)shared * sizeof *t0);
        glia_blocks_release(&b, &y);
        assert_int_equal(run(&b, &y, text, 16, 16), 3);
        glia_blocks_release(&b, &y);
        assert_int_equal(run(&b, &x, text, 16, 16), 3);
        for (int i = 0; i < 3; i++) assert_int_equal(t0[i] == t1[i], i < shared);
        glia_blocks_release(&b, &x);
        free(b.block);
    }
}

static void test_eviction(void **state) {
    (void)state;
    glia_blocks b = new_blocks(4, true);
    const int32_t a[8] = {1, 1, 1, 1, 2, 2, 2, 2}, c[8] = {3, 3, 3, 3, 4, 4, 4, 4}, d[4] = {5, 5, 5, 5};
    int32_t table[TABLE];
    glia_block_list x = new_list(table, 0);
    run(&b, &x, a, 8, 9);
    glia_blocks_release(&b, &x);
    run(&b, &x, c, 8, 8);
    glia_blocks_release(&b, &x);
    /* `a` was used first, and of its blocks the last is evicted first. */
    run(&b, &x, d, 4, 4);
    glia_blocks_release(&b, &x);
    assert_true(glia_blocks_admit(&b, &x, a, 8, 8));
    assert_int_equal(x.n, 1);
    glia_blocks_release(&b, &x);
    const int32_t a9[9] = {1, 1, 1, 1, 2, 2, 2, 2, 9}, c9[9] = {3, 3, 3, 3, 4, 4, 4, 4, 9};
    assert_true(glia_blocks_admit(&b, &x, a9, 9, 9));
    assert_int_equal(x.n, 1);
    glia_blocks_release(&b, &x);
    assert_true(glia_blocks_admit(&b, &x, c9, 9, 9));
    assert_int_equal(x.n, 2);
    glia_blocks_release(&b, &x);
    free(b.block);
}

/* Equal hashes and different tokens: a lookup must compare the tokens. */
static void test_collision(void **state) {
    (void)state;
    glia_blocks b = new_blocks(4, true);
    const int32_t a[5] = {1, 2, 3, 4, 5};
    int32_t table[TABLE];
    glia_block_list x = new_list(table, 0);
    run(&b, &x, a, 5, 5);
    const int32_t first = table[0];
    glia_blocks_release(&b, &x);
    b.token[first * SIZE + 2] = 77;
    assert_true(glia_blocks_admit(&b, &x, a, 5, 5));
    assert_int_equal(x.n, 0);
    glia_blocks_release(&b, &x);
    b.token[first * SIZE + 2] = 3;
    b.block[first].parent = 2;
    assert_true(glia_blocks_admit(&b, &x, a, 5, 5));
    assert_int_equal(x.n, 0);
    glia_blocks_release(&b, &x);
    free(b.block);
}

/* Flash decoding: blocks are assigned to the ranks of a group round-robin, and each rank
 * can run out of blocks by itself. */
static void test_members(void **state) {
    (void)state;
    const glia_blocks_shape shape = {.n_blocks = 9, .block_size = SIZE, .members = 3, .unit = 2};
    glia_blocks b;
    int32_t tokens[64], t0[TABLE], t1[TABLE];
    for (int i = 0; i < 64; i++) tokens[i] = i;
    assert_int_equal(glia_blocks_enough(1, 6 * SIZE, &shape), 6);
    assert_int_equal(glia_blocks_enough(2, 7 * SIZE, &shape), 18);
    glia_blocks_init(&b, malloc(glia_blocks_bytes(&shape)), &shape, true);
    glia_block_list x = new_list(t0, 0), y = new_list(t1, 0);
    assert_int_equal(run(&b, &x, tokens, 7 * SIZE, 7 * SIZE), 0);
    for (int i = 0; i < 7; i++) assert_int_equal(t0[i] % 3, i / 2 % 3);
    assert_true(b.kind[0].n_unused == 0 && b.kind[1].n_unused == 1 && b.kind[2].n_unused == 1);
    assert_false(glia_blocks_admit(&b, &y, tokens + 1, 1, SIZE)); /* the first rank has no block left */
    assert_true(b.kind[0].n_promised == 0 && b.kind[1].n_promised == 0 && y.n == 0);
    assert_int_equal(run(&b, &y, tokens, 4 * SIZE, 4 * SIZE), 3); /* a prefix, and its last block again */
    assert_memory_equal(t0, t1, 4 * sizeof *t0);
    glia_blocks_release(&b, &y);
    glia_blocks_release(&b, &x);
    for (int m = 0; m < 3; m++) assert_true(b.kind[m].n_unused == 3 && b.kind[m].n_promised == 0);
    free(b.block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promises), cmocka_unit_test(test_prefixes),  cmocka_unit_test(test_invocation),
        cmocka_unit_test(test_eviction), cmocka_unit_test(test_collision), cmocka_unit_test(test_members),
    };
    return check_run_group("blocks", tests);
}
