/* check_batch.c - a batch as words: runs are written, and the same rows are read.
 *
 * Code of the test derives the expected rows from the runs, row by row, and checks
 * that each number in the words is where a reader looks for it. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "layer/batch.h"

enum { ROWS = 600, RUNS = 64, GUARD = 0x5a5a5a5a };

typedef struct {
    int32_t token, seq, position, slot, parent, adapter;
    unsigned want;
} row;

static int expand(row *out, const glia_run *run, int n) {
    int rows = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < run[i].n; k++) {
            const bool first = k == 0, last = k == run[i].n - 1;
            out[rows] = (row){.token = run[i].token[k],
                              .seq = run[i].seq,
                              .position = run[i].position + k,
                              .slot = run[i].slot + k,
                              .parent = -1,
                              .adapter = run[i].adapter,
                              .want = !run[i].last || last ? run[i].want : 0};
            if (run[i].tree) out[rows].parent = first ? run[i].parent : rows - 1;
            rows++;
        }
    return rows;
}

static void check_wanted(const row *want, int rows, unsigned bit, const int32_t *found, int n) {
    int at = 0;
    for (int i = 0; i < rows; i++) {
        if (!(want[i].want & bit)) continue;
        CHECK(at < n && found[at] == i, "row %d is not the %d-th of want %u", i, at, bit);
        at++;
    }
    CHECK(at == n, "%d rows of want %u, expected %d", n, bit, at);
}

/* Write, read and compare a batch. Returns its number of words. */
static size_t round_trip(const glia_run *run, int n) {
    static row want[ROWS];
    const int rows = expand(want, run, n);
    const size_t most = glia_batch_words((size_t)rows), memory = glia_batch_memory((size_t)rows);
    int32_t *words = calloc(most + 1, sizeof *words), *space = calloc(memory + 1, sizeof *space);
    words[most] = space[memory] = GUARD;
    const size_t written = glia_batch_write(words, run, n);
    glia_batch b;
    CHECK(written <= most, "%zu words, at most %zu were promised", written, most);
    const size_t read = glia_batch_read(&b, words, space);
    CHECK(read == written, "%zu words read, %zu written", read, written);
    CHECK(b.n_rows == rows, "%d rows, expected %d", b.n_rows, rows);
    CHECK(b.token >= words && b.token < words + written, "the tokens were copied");
    bool trees = false, adapters = false;
    for (int i = 0; i < n; i++) {
        trees |= run[i].tree;
        adapters |= run[i].adapter != 0;
    }
    CHECK((b.parent != NULL) == trees && (b.adapter != NULL) == adapters, "lists of -1 or 0 alone");
    for (int i = 0; i < rows; i++) {
        const row *w = &want[i];
        CHECK(b.token[i] == w->token && b.seq[i] == w->seq && b.position[i] == w->position &&
                  b.slot[i] == w->slot,
              "row %d", i);
        CHECK(!b.parent || b.parent[i] == w->parent, "row %d: parent %d, not %d", i, b.parent[i], w->parent);
        CHECK(!b.adapter || b.adapter[i] == w->adapter, "row %d: adapter %d", i, b.adapter[i]);
    }
    check_wanted(want, rows, GLIA_WANT_LOGITS, b.logit_row, b.n_logits);
    check_wanted(want, rows, GLIA_WANT_HIDDEN, b.hidden_row, b.n_hidden);
    check_wanted(want, rows, GLIA_WANT_RESIDUAL, b.residual_row, b.n_residual);
    CHECK(words[most] == GUARD && space[memory] == GUARD, "written past the end");
    free(words);
    free(space);
    return written;
}

static int32_t tokens[ROWS];

/* The size of a batch: one word per prompt row, at most seven per decoding sequence. */
static void test_cost(void **state) {
    (void)state;
    const glia_run decode = {.position = 77, .slot = 77, .n = 1, .want = GLIA_WANT_LOGITS, .token = tokens};
    glia_run prompt = decode;
    assert_int_equal(round_trip(&decode, 1), 2 + 4 + 1);
    prompt.n = 512;
    prompt.last = true;
    assert_int_equal(round_trip(&prompt, 1), 2 + 4 + 512);
    glia_run draft = decode; /* a chain of drafts adds only its tokens */
    draft.n = 5;
    assert_int_equal(round_trip(&draft, 1), 2 + 4 + 5);
}

/* Three branches from one root, each a run. Siblings have equal positions and
 * different slots. */
static void test_tree(void **state) {
    (void)state;
    const glia_run tree[] = {
        {.seq = 1, .position = 9, .slot = 9, .n = 2, .want = GLIA_WANT_LOGITS, .token = tokens},
        {.seq = 3,
         .position = 40,
         .slot = 40,
         .n = 3,
         .tree = true,
         .parent = -1,
         .want = 1,
         .token = tokens + 2},
        {.seq = 3,
         .position = 41,
         .slot = 43,
         .n = 2,
         .tree = true,
         .parent = 2,
         .want = 1,
         .token = tokens + 5},
        {.seq = 3,
         .position = 42,
         .slot = 45,
         .n = 1,
         .tree = true,
         .parent = 3,
         .want = 1,
         .token = tokens + 7},
        {.seq = 0, .position = 0, .slot = 0, .n = 4, .adapter = 7, .want = 7, .last = true, .token = tokens},
    };
    round_trip(tree, 5);
    int32_t words[128], memory[128];
    glia_batch b;
    glia_batch_write(words, tree, 5);
    glia_batch_read(&b, words, memory);
    static const int32_t parent[] = {-1, -1, -1, 2, 3, 2, 5, 3, -1, -1, -1, -1};
    assert_memory_equal(b.parent, parent, sizeof parent);
    assert_true(b.n_logits == 9 && b.n_hidden == 1 && b.n_residual == 1 && b.hidden_row[0] == 11);
}

/* Several runs of one sequence: a prompt with logits of the last row and residual
 * streams of all rows. */
static void test_split_prompt(void **state) {
    (void)state;
    const glia_run split[] = {
        {.seq = 2, .position = 100, .slot = 100, .n = 9, .want = GLIA_WANT_RESIDUAL, .token = tokens},
        {.seq = 2,
         .position = 109,
         .slot = 109,
         .n = 1,
         .want = GLIA_WANT_RESIDUAL | GLIA_WANT_LOGITS,
         .token = tokens + 9},
    };
    round_trip(split, 2);
}

/* Random runs. With one row per run, the number of words is at most
 * glia_batch_words(). */
static void test_random(void **state) {
    (void)state;
    size_t most = 0;
    for (int round = 0; round < 2000; round++) {
        glia_run run[RUNS];
        const int n = 1 + (int)(check_u32() % RUNS), longest = round % 3 ? 9 : 1;
        int rows = 0;
        for (int i = 0; i < n; i++) {
            const uint32_t r = check_u32();
            run[i] = (glia_run){.seq = (int)(r % 33),
                                .position = (int)(check_u32() % 100000),
                                .n = 1 + (int)(check_u32() % (uint32_t)longest),
                                .tree = r & 64,
                                .parent = (int)(check_u32() % 100) - 1,
                                .adapter = r & 128 ? (int)(r >> 20) : 0,
                                .want = r >> 8 & 7,
                                .last = r & 2048,
                                .token = tokens + rows};
            run[i].slot = run[i].position + (r & 4096 ? (int)(check_u32() % 50) : 0);
            rows += run[i].n;
        }
        const size_t words = round_trip(run, n);
        if (longest == 1 && words > most) most = words;
    }
    assert_in_range(most, glia_batch_words(RUNS) * 3 / 4, glia_batch_words(RUNS));
}

/* The largest batch that fits. */
static void test_limit(void **state) {
    (void)state;
    glia_run run[ROWS];
    for (int i = 0; i < ROWS; i++)
        run[i] = (glia_run){.seq = i,
                            .position = i,
                            .slot = i + 1,
                            .n = 1,
                            .tree = true,
                            .parent = i - 1,
                            .adapter = 1 + i,
                            .want = 7,
                            .token = tokens + i};
    assert_int_equal(round_trip(run, ROWS), glia_batch_words(ROWS));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost),   cmocka_unit_test(test_tree),  cmocka_unit_test(test_split_prompt),
        cmocka_unit_test(test_random), cmocka_unit_test(test_limit),
    };
    check_begin(argc, argv);
    for (int i = 0; i < ROWS; i++) tokens[i] = (int32_t)(check_u32() % 150000);
    return check_run_group("batch", tests);
}
