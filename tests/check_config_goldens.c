/* check_config_goldens.c - hundreds of edited configurations, as Transformers 5 reads them.
 *
 * tests/golden/configs.jsonl (tools/gen_config_goldens.py) has an edited config.json in
 * each line, with the values that Transformers reads or its refusal. Glia must read the same values. It may
 * refuse what Transformers runs only with a reason of `strict`, and read what
 * Transformers refuses only for an error of `lenient`. tools/walk_configs.py compares
 * logits, too. */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "format/config.h"
#include "layer/rope.h"

enum { PAIRS_MAX = 64, LINE_MAX_BYTES = 8192 };

/* Words of Glia's refusals where Transformers runs. */
static const char *const strict[] = {
    "expected more than 0, found 0",
    "found a boolean",
    "found a real number", /* a length */
    ": expected 0 to ",    /* a negative factor */
    "num_hidden_layers: expected 1 to",
    "hidden_size: expected 1 to",
    "max_position_embeddings: expected 2 to",
    "original_max_position_embeddings: expected 1 to",
    "head_dim: expected 2 to 4096, found 1",
    "rope_theta: expected",
    "sliding_window: expected 1 or more",
    "short_factor[0]: expected a number above 0",
    "architectures: expected",
    "is_causal is false",
    "hidden_act is gelu",
    "model_type is gemma",
    "transformers_weights is other.safetensors", /* the golden has no weights */
};

/* Words of Transformers' refusals where Glia reads. */
static const char *const lenient[] = {
    "StrictDataclassFieldValidationError", /* 64.0 for 64, null for the default */
    "must be equal to the number of `layer_types`",
    "'NoneType' and 'float'", /* head_dim null is hidden_size / heads */
    "Unrecognized model",     /* architectures decides */
    "has no attribute 'torch.float16'",
    "is not a multiple of the number of a", /* head_dim says what a head is */
    "entries must be in",                   /* layer_types of an architecture that has none */
};

static bool has_words(const char *text, const char *const *words, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strstr(text, words[i])) return true;
    return false;
}
#define HAS_WORDS(text, words) has_words(text, words, sizeof(words) / sizeof *(words))

/* The base with the edits applied, as text. */
static char *edited(const json_t *bases, const json_t *row) {
    json_t *config = json_deep_copy(json_object_get(bases, json_string_value(json_object_get(row, "base"))));
    size_t i;
    const json_t *edit;
    assert_non_null(config);
    json_array_foreach(json_object_get(row, "edits"), i, edit) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)edit, key, value) {
            if (json_is_string(value) && !strcmp(json_string_value(value), "-"))
                json_object_del(config, key);
            else
                json_object_set(config, key, value);
        }
    }
    char *text = json_dumps(config, 0);
    json_decref(config);
    return text;
}

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

/* Negative ids are none. */
static bool same_ids(const json_t *list, const int32_t *ids, int n) {
    int k = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_int_t want = json_integer_value(json_array_get(list, i));
        if (want >= 0 && (k >= n || ids[k++] != want)) return false;
    }
    return k == n;
}

static glia_dtype dtype_named(const char *name) {
    return !strcmp(name, "bfloat16")  ? GLIA_DTYPE_BF16
           : !strcmp(name, "float16") ? GLIA_DTYPE_F16
           : !strcmp(name, "None")    ? GLIA_DTYPE_AUTO
                                      : GLIA_DTYPE_F32; /* float64, too */
}

static void check_layers(const char *text, const glia_model_config *c, const json_t *t) {
    const json_t *window = json_object_get(t, "window"), *rotates = json_object_get(t, "rotates");
    CHECK((int)json_array_size(window) == c->layers, "%s: %d layers", text, c->layers);
    for (int i = 0; i < c->layers; i++)
        CHECK(c->window[i] == json_integer_value(json_array_get(window, (size_t)i)) &&
                  c->rope[i] == json_is_true(json_array_get(rotates, (size_t)i)),
              "%s: layer %d: window %d, rope %d", text, i, c->window[i], c->rope[i]);
}

/* The bound of the frequencies is check_rope.c's. */
static void check_rope(const char *text, const glia_model_config *c, const json_t *t, int positions) {
    float got[PAIRS_MAX];
    const glia_rope_config *r = &c->rope_config;
    const json_t *want = json_object_get(t, "inv_freq");
    const double factor = number(t, "attention_factor");
    assert_in_range(c->head_dim, 2, 2 * PAIRS_MAX);
    CHECK(!strcmp(glia_rope_type_name(r->type), json_string_value(json_object_get(t, "type"))) &&
              r->theta == number(t, "theta"),
          "%s: %s, theta %g", text, glia_rope_type_name(r->type), r->theta);
    CHECK(fabs(glia_rope_frequencies(got, c, positions) - factor) <= 4 * DBL_EPSILON * fabs(factor),
          "%s: attention factor %.17g, want %.17g", text, r->attention_factor, factor);
    CHECK((int64_t)json_array_size(want) == c->head_dim / 2, "%s: head_dim %d", text, (int)c->head_dim);
    for (int i = 0; i < c->head_dim / 2; i++) {
        const double f = json_number_value(json_array_get(want, (size_t)i));
        CHECK(fabs((double)got[i] - f) <= 2 * (double)FLT_EPSILON * f + 1e-9 * f,
              "%s: frequency %d is %.9g, want %.9g", text, i, (double)got[i], f);
    }
}

static void check_values(const char *text, const glia_model_config *c, const json_t *t, int positions) {
    CHECK(c->kv_heads == (int)number(t, "heads") && c->rms_norm_eps == number(t, "eps"),
          "%s: %d heads, eps %g", text, c->kv_heads, c->rms_norm_eps);
    CHECK(c->tied_head == json_is_true(json_object_get(t, "tie_word_embeddings")), "%s: tied %d", text,
          c->tied_head);
    CHECK(c->dtype == dtype_named(json_string_value(json_object_get(t, "dtype"))), "%s: dtype %d", text,
          c->dtype);
    CHECK(same_ids(json_object_get(t, "eos"), c->eos.id, c->eos.n) &&
              same_ids(json_object_get(t, "bos"), &c->bos, c->bos >= 0) &&
              same_ids(json_object_get(t, "pad"), &c->pad, c->pad >= 0),
          "%s: ids", text);
    check_layers(text, c, t);
    check_rope(text, c, t, positions);
}

/* Returns whether both read the configuration. */
static bool check_row(const json_t *bases, const json_t *row, int positions) {
    glia_err err;
    glia_model_config c;
    char *text = edited(bases, row);
    const json_t *theirs = json_object_get(row, "theirs");
    const char *error = json_string_value(json_object_get(row, "error"));
    const bool read = !glia_model_config_parse(&c, text, strlen(text), "x", NULL, NULL, &err);
    const bool both = read && theirs;
    assert_true((theirs == NULL) != (error == NULL));
    if (both) check_values(text, &c, theirs, positions);
    if (!read && theirs) CHECK(HAS_WORDS(err.msg, strict), "%s: refused: %s", text, err.msg);
    if (read && !theirs) CHECK(HAS_WORDS(error, lenient), "%s: read; Transformers: %s", text, error);
    glia_model_config_free(&c);
    free(text);
    return both;
}

static void test_edits(void **state) {
    (void)state;
    FILE *file = fopen("tests/golden/configs.jsonl", "r");
    char line[LINE_MAX_BYTES];
    int rows = 0, read = 0;
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    json_t *head = json_loads(line, 0, NULL);
    assert_non_null(head);
    for (; fgets(line, sizeof line, file); rows++) {
        json_t *row = json_loads(line, 0, NULL);
        if (!row) fail_msg("line %d is no JSON", rows + 2);
        read += check_row(json_object_get(head, "bases"), row, (int)number(head, "positions"));
        json_decref(row);
    }
    CHECK(rows >= 700 && read >= 400, "%d configurations, %d read by both", rows, read);
    printf("%d configurations, %d read by both\n", rows, read);
    json_decref(head);
    fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_edits)};
    return check_run_group("config_goldens", tests);
}
