/* check_rope.c - RoPE frequencies and tables against Transformers'.
 *
 * tests/golden/rope.json (tools/gen_rope_goldens.py) has every rope type at real
 * sizes. Both sides compute the same float32 steps. torch's power may be off by one
 * unit in the last place, while ours is correctly rounded; the next step may round
 * once more. So the bound is two units. */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "layer/rope.h"

enum { PAIRS_MAX = 128 };

static void check_case(const json_t *one) {
    const char *name = json_string_value(json_object_get(one, "name"));
    char *text = json_dumps(json_object_get(one, "config"), 0);
    const int length = (int)json_integer_value(json_object_get(one, "sequence_length"));
    const double scaling = json_real_value(json_object_get(one, "scaling"));
    const json_t *want = json_object_get(one, "inv_freq");
    glia_model_config c;
    glia_err err;
    if (glia_model_config_parse(&c, text, strlen(text), name, NULL, NULL, &err) != GLIA_OK)
        fail_msg("%s", err.msg);
    const size_t pairs = (size_t)c.head_dim / 2;
    assert_int_equal(json_array_size(want), pairs);
    assert_in_range(pairs, 1, PAIRS_MAX);
    float got[PAIRS_MAX];
    const double got_scaling = glia_rope_frequencies(got, &c, length);
    CHECK(fabs(got_scaling - scaling) <= 4 * DBL_EPSILON * scaling, "%s: scaling %.17g, want %.17g", name,
          got_scaling, scaling);
    for (size_t i = 0; i < pairs; i++) {
        const double f = json_real_value(json_array_get(want, i));
        CHECK(fabs((double)got[i] - f) <= 2 * (double)FLT_EPSILON * f, "%s: frequency %zu is %.9g, want %.9g",
              name, i, (double)got[i], f);
    }
    glia_model_config_free(&c);
    free(text);
}

static void test_frequencies(void **state) {
    (void)state;
    json_error_t why;
    json_t *cases = json_load_file("tests/golden/rope.json", 0, &why);
    if (!cases) fail_msg("tests/golden/rope.json: %s", why.text);
    size_t i;
    const json_t *one;
    json_array_foreach(cases, i, one) check_case(one);
    CHECK(i >= 18, "%zu cases, expected 18", i);
    json_decref(cases);
}

/* Compare with the exact angle. The bound is the rounding of the angle to float32 plus
 * two roundings of the entry. A table filled in several calls equals a table filled in
 * one call. */
static void test_table(void **state) {
    (void)state;
    enum { PAIRS = 3, POSITIONS = 200 };
    const float inv_freq[PAIRS] = {1.0f, 0.31622776f, 1.0e-6f};
    const double scaling = 1.25;
    float c[POSITIONS * PAIRS], s[POSITIONS * PAIRS], c2[POSITIONS * PAIRS], s2[POSITIONS * PAIRS];
    glia_rope_table(c, s, inv_freq, scaling, PAIRS, 0, POSITIONS);
    glia_rope_table(c2 + 77 * PAIRS, s2 + 77 * PAIRS, inv_freq, scaling, PAIRS, 77, POSITIONS);
    glia_rope_table(c2, s2, inv_freq, scaling, PAIRS, 0, 77);
    assert_memory_equal(c, c2, sizeof c);
    assert_memory_equal(s, s2, sizeof s);
    for (int p = 0; p < POSITIONS; p++)
        for (int i = 0; i < PAIRS; i++) {
            const double angle = p * (double)inv_freq[i], bound = scaling * (angle + 2) * 0x1p-24;
            const double cosine = scaling * cos(angle), sine = scaling * sin(angle);
            CHECK(fabs((double)c[p * PAIRS + i] - cosine) <= bound, "cos of position %d, pair %d", p, i);
            CHECK(fabs((double)s[p * PAIRS + i] - sine) <= bound, "sin of position %d, pair %d", p, i);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_frequencies), cmocka_unit_test(test_table)};
    return check_run_group("rope", tests);
}
