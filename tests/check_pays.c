/* check_pays.c - the choice of depth: simulated steps with known costs and known acceptance. */
#include "check.h"

#include "draft/pays.h"

/* Run `steps` steps of one sequence. A step of r rows takes 1 + per_row * (r - 1), a level of a draft
 * `level`; a token is accepted with probability `accepts`. Returns tokens per unit of time; *asked: how many
 * steps had drafts. */
static double simulate(double per_row, double level, double accepts, int steps, int *asked) {
    glia_pays p;
    glia_pays_seq s;
    const glia_pays_seq *const seq[] = {&s};
    double time = 0, tokens = 0;
    glia_pays_begin(&p);
    glia_pays_begin_seq(&p, &s, 1);
    *asked = 0;
    for (int i = 0; i < steps; i++) {
        const int depth = glia_pays_choose(&p, seq, 1, 1, 8, 1);
        int accepted = 0;
        assert_true(depth >= 0 && depth <= 8);
        while (accepted < depth && (check_u32() % 10000) < 10000 * accepts) accepted++;
        const double step = 1 + per_row * depth;
        if (depth) {
            glia_pays_level(&p, depth, level * depth);
            glia_pays_accept(&p, &s, depth, accepted);
            ++*asked;
        }
        glia_pays_step(&p, 1 + depth, step);
        time += step + level * depth;
        tokens += 1 + accepted;
    }
    return tokens / time;
}

static void test_choice(void **state) {
    (void)state;
    static const struct {
        double per_row, level, accepts, least;
    } rows[] = {
        {0.02, 0.1, 0.9, 2.2},  /* cheap and right: deep */
        {0.05, 0.3, 0.8, 1.2},  /* a draft that costs a third of a step */
        {0.05, 0.3, 0.1, 0.97}, /* often wrong: it rests */
        {0.3, 0.3, 0.5, 0.97},  /* rows are dear */
        {0.05, 2, 0.95, 0.95},  /* the draft is slower than the target */
        {0.02, 0, 0.02, 0.97},  /* costs nothing but rows, and is never right */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int asked;
        const double rate = simulate(rows[i].per_row, rows[i].level, rows[i].accepts, 2000, &asked);
        CHECK(rate >= rows[i].least, "row %zu: %.3f tokens in the time of a step, want %.2f; asked %d times",
              i, rate, rows[i].least, asked);
    }
}

/* A draft that is asked in vain is asked ever more rarely, and one that becomes right is used again. */
static void test_rest(void **state) {
    (void)state;
    glia_pays p;
    glia_pays_seq s;
    const glia_pays_seq *const seq[] = {&s};
    int asked[2] = {0}, used = 0;
    glia_pays_begin(&p);
    glia_pays_begin_seq(&p, &s, 1);
    for (int i = 0; i < 4000; i++) {
        const int depth = glia_pays_choose(&p, seq, 1, 1, 8, 1), right = i >= 2000;
        glia_pays_step(&p, 1 + depth, 1 + 0.05 * depth);
        if (!depth) continue;
        glia_pays_level(&p, depth, 0.2 * depth);
        glia_pays_accept(&p, &s, depth, right ? depth : 0);
        if (!right) asked[i >= 1000]++;
        used += right;
    }
    CHECK(asked[1] <= 5 && asked[1] < asked[0], "asked %d, then %d times", asked[0], asked[1]);
    CHECK(used > 200, "a draft that is always right now was used %d times", used);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice), cmocka_unit_test(test_rest)};
    check_begin(argc, argv);
    return check_run_group("pays", tests);
}
