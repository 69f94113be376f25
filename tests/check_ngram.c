/* check_ngram.c - what `ngram` proposes, and how sure it is. */
#include "check.h"

#include <string.h>

#include "draft/draft.h"
#include "draft/pays.h"

enum { LENGTH = 400, DEPTH = 6 };

/* Sequences are words; a token is a letter. */
typedef struct {
    glia_draft_model model;
    glia_draft draft;
    int32_t tokens[LENGTH];
    int n;
    uint64_t id;
} world;

static void begin(world *w, int least, int most) {
    glia_err err = {0};
    memset(w, 0, sizeof *w);
    w->model.config = (glia_draft_config){
        .method = &glia_draft_ngram, .tokens = DEPTH, .lookup_min = least, .lookup_max = most};
    assert_int_equal(glia_draft_ngram.read(&w->model, &err), GLIA_OK);
    w->draft =
        (glia_draft){.model = &w->model,
                     .limits = {.batch = 2, .sequence_length = LENGTH, .nodes = DEPTH, .depth = DEPTH}};
    assert_int_equal(glia_draft_ngram.open(&w->draft, &err), GLIA_OK);
    w->id = 1;
}

static void end(world *w) { glia_draft_ngram.close(&w->draft); }

static void say(world *w, const char *text) {
    for (; *text; text++) w->tokens[w->n++] = *text;
}

/* The text goes on with each letter of `text` in turn, and a draft is asked for before each. */
static void say_slowly(world *w, const char *text) {
    for (; *text; text++) {
        const glia_draft_seq q = {.id = w->id, .tokens = w->tokens, .n_tokens = w->n};
        glia_draft_ngram.grade(&w->draft, &q);
        w->tokens[w->n++] = *text;
    }
}

/* The proposal as text; *grade is its grade. */
static const char *propose(world *w, int *grade) {
    static char text[DEPTH + 1];
    glia_tree t;
    glia_err err = {0};
    glia_draft_seq q = {
        .id = w->id, .tokens = w->tokens, .n_tokens = w->n, .depth = DEPTH, .nodes = DEPTH, .tree = &t};
    glia_tree_begin(&t, w->tokens[w->n - 1]);
    *grade = glia_draft_ngram.grade(&w->draft, &q);
    if (*grade >= 0) assert_int_equal(glia_draft_ngram.propose(&w->draft, &q, 1, &err), GLIA_OK);
    for (int i = 1; i < t.n; i++) text[i - 1] = (char)t.token[i];
    text[t.n - 1] = '\0';
    return text;
}

static void expect(world *w, const char *want, int want_grade) {
    int grade;
    const char *got = propose(w, &grade);
    CHECK(!strcmp(got, want) && grade == want_grade, "proposes \"%s\" of grade %d, want \"%s\" of grade %d",
          got, grade, want, want_grade);
}

static void test_suffixes(void **state) {
    (void)state;
    world w;
    begin(&w, 2, 4);
    say(&w, "abcdefghij. xb");
    expect(&w, "", -1); /* one letter is less than prompt_lookup_min */
    say(&w, "c");
    expect(&w, "defghi", 1);
    say(&w, "de");
    expect(&w, "fghij.", 2); /* four letters are copied */
    say(&w, "fghi");
    expect(&w, "j. xbc", 3); /* eight, though no suffix is longer than prompt_lookup_max */
    say(&w, "? ij.ij");
    expect(&w, ".ij", 1); /* the latest of equal lengths; up to the end of the text */
    end(&w);
}

/* The copy goes on behind a letter that differs, and then expects the difference. */
static void test_differences(void **state) {
    (void)state;
    world w;
    begin(&w, 0, 0);
    say(&w, "ABCxDxExFxG|ABC");
    expect(&w, "xDxExF", 1);
    say_slowly(&w, "y");
    expect(&w, "DxExFx", 0); /* behind a difference */
    say_slowly(&w, "D");
    expect(&w, "yEyFyG", 1);
    say_slowly(&w, "yE");
    expect(&w, "yFyG|A", 2);
    say_slowly(&w, "x");
    expect(&w, "FyG|AB", 0); /* one place keeps its letter; the next letter shows if others do, too */
    say_slowly(&w, "F");
    expect(&w, "xG|ABC", 1);
    end(&w);
}

/* Three letters in succession that differ end a copy; a word that was inserted does not come again. */
static void test_ends(void **state) {
    (void)state;
    world w;
    begin(&w, 3, 8);
    say(&w, "one two three four five six. one two t");
    expect(&w, "hree f", 3);
    say_slowly(&w, "XYZ");
    expect(&w, "", -1);
    say_slowly(&w, "hree");
    expect(&w, " four ", 2);
    end(&w);
}

/* Ended sequences are remembered. */
static void test_history(void **state) {
    (void)state;
    world w;
    int grade;
    begin(&w, 0, 0);
    say(&w, "the quick brown fox");
    propose(&w, &grade);
    w.id = 2;
    w.n = 0;
    say(&w, "a quick ");
    expect(&w, "brown ", 2);
    say(&w, "brown fox");
    expect(&w, "", -1); /* nothing follows */
    end(&w);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_suffixes), cmocka_unit_test(test_differences),
                                       cmocka_unit_test(test_ends), cmocka_unit_test(test_history)};
    check_begin(argc, argv);
    return check_run_group("ngram", tests);
}
