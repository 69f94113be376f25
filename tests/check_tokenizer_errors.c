/* check_tokenizer_errors.c - errors in a tokenizer's files and in texts, with their messages. */
#include "check.h"
#include "tiny_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

/* A copy of `text` in which the first `from` is replaced by `to`; the caller frees it. */
static char *replaced(const char *text, const char *from, const char *to) {
    glia_buf out = {0};
    const char *at = strstr(text, from);
    if (!at) fail_msg("the tiny tokenizer has no %s", from);
    glia_buf_add(&out, text, (size_t)(at - text));
    glia_buf_puts(&out, to);
    glia_buf_puts(&out, at + strlen(from));
    return glia_buf_steal(&out);
}

typedef struct {
    const char *from, *to;
    glia_status status;
    const char *words;
} lie;

#define PRE                                                                                                  \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_"      \
    "regex\":true}"
#define SPLIT(pattern, rest)                                                                                 \
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":" pattern   \
        rest "},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}]}"
#define BEHAVIOR ",\"behavior\":\"Isolated\",\"invert\":false"

static const lie lies[] = {
    /* clang-format off */
    {"{\"version\"", "[\"version\"", GLIA_ERR_FORMAT, "tiny: byte 11: ']' expected near ':'"},
    {"\"version\":\"1.0\",", "\"version\":\"1.0\",,", GLIA_ERR_FORMAT, "tiny: byte 18: string or '}' expected"},
    {"]}}\n", "]}", GLIA_ERR_FORMAT, "'}' expected near end of file"},
    {"]}}\n", "]}} x", GLIA_ERR_FORMAT, "end of file expected near 'x'"},
    {"\"padding\":null", "\"version\":null", GLIA_ERR_FORMAT, "duplicate object key"},
    {"\"padding\":null", "\"cushion\":3", GLIA_ERR_UNSUPPORTED, "tiny: the file: cushion is 3, a key that Glia does not know"},
    {"\"vocab\":{", "\"vocab\":null,\"vo\":{", GLIA_ERR_FORMAT, "tiny: model.vocab: expected an object"},
    {"\"merges\":[[", "\"merges\":null,\"m\":[[", GLIA_ERR_FORMAT, "tiny: model.merges: expected an array"},
    {"\"model\"", "\"modal\"", GLIA_ERR_FORMAT, "tiny: model.vocab: expected an object"},
    {"\"!\":33,", "\"!\":33", GLIA_ERR_FORMAT, "model.vocab: expected ',' or '}', found byte 0x22"},
    {"\"!\":33,", "\"!\" 33,", GLIA_ERR_FORMAT, "model.vocab: expected ':', found byte 0x33"},
    {"\"!\":33,", "!:33,", GLIA_ERR_FORMAT, "expected a string, found byte 0x21"},
    {"\"!\":33,", "\"!\":\"33\",", GLIA_ERR_FORMAT, "expected a token id, a whole number, found byte 0x22"},
    {"\"!\":33,", "\"!\":-33,", GLIA_ERR_FORMAT, "expected a token id, a whole number, found byte 0x2d"},
    {"\"!\":33,", "\"!\":033,", GLIA_ERR_FORMAT, "expected a token id, a whole number"},
    {"\"!\":33,", "\"!\":33.0,", GLIA_ERR_FORMAT, "expected a token id, a whole number, found byte 0x2e"},
    {"\"!\":33,", "\"!\":4194304,", GLIA_ERR_LIMIT, "token id 4194304, limit is 4194303"},
    {"\"!\":33,", "\"!\":99999999999999999999,", GLIA_ERR_LIMIT, "limit is 4194303"},
    {"\"!\":33,", "\"!\":34,", GLIA_ERR_FORMAT, "model.vocab: id 34 is given twice"},
    {"\"!\":33,", "\"#\":33,", GLIA_ERR_FORMAT, "model.vocab: the token of id 35 is given twice"},
    {"\"!\":33,", "\"\\u0021\":33,\"\\q\":260", GLIA_ERR_FORMAT, "expected the rest of an escape, found byte 0x71"},
    {"\"!\":33,", "\"\\ud800\":33", GLIA_ERR_FORMAT, "expected the rest of an escape"},
    {"\"!\":33,", "\"\\udc00\":33", GLIA_ERR_FORMAT, "expected the rest of an escape"},
    {"\"!\":33,", "\"!\n\":33", GLIA_ERR_FORMAT, "expected a character of a string, found byte 0x0a"},
    {"\"!\":33,", "\"!\":33,\" \xff\":260,", GLIA_ERR_FORMAT, "model.vocab: a token is not valid UTF-8"},
    {"\"unk_token\":null", "\"unk_token\":7", GLIA_ERR_FORMAT, "tiny: model: unk_token"},
    {"[\"a\",\"b\"]", "[\"a\",\"d\"]", GLIA_ERR_FORMAT, "model.merges[0]: \"a\" + \"d\": their concatenation is not in model.vocab"},
    {"[\"a\",\"b\"]", "[\"aa\",\"b\"]", GLIA_ERR_FORMAT, "model.merges[0]: \"aa\" + \"b\": the left is not in model.vocab"},
    {"[\"a\",\"b\"]", "[\"a\",\"bb\"]", GLIA_ERR_FORMAT, "the right is not in model.vocab"},
    {"[\"a\",\"b\"]", "[\"a\"]", GLIA_ERR_FORMAT, "model.merges: expected ',', found byte 0x5d"},
    {"[\"a\",\"b\"]", "[\"a\",\"b\",\"c\"]", GLIA_ERR_FORMAT, "model.merges: expected ']', found byte 0x2c"},
    {"[\"a\",\"b\"]", "\"ab\"", GLIA_ERR_FORMAT, "expected two tokens with one space between"},
    {"[\"a\",\"b\"]", "\"a b c\"", GLIA_ERR_FORMAT, "expected two tokens with one space between"},
    {"[\"a\",\"b\"]", "7", GLIA_ERR_FORMAT, "expected a pair of tokens, found byte 0x37"},
    {"[\"a\",\"b\"],", "[\"a\",\"b\"];", GLIA_ERR_FORMAT, "model.merges: expected ',' or ']', found byte 0x3b"},
    {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", GLIA_ERR_UNSUPPORTED, "tiny: model: type is \"Unigram\", which Glia does not support"},
    {"\"dropout\":null", "\"dropout\":0.1", GLIA_ERR_UNSUPPORTED, "tiny: model: dropout is 0.1"},
    {"\"dropout\":null", "\"dropout\":\"no\"", GLIA_ERR_FORMAT, "tiny: model: dropout"},
    {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", GLIA_ERR_UNSUPPORTED, "end_of_word_suffix is \"</w>\", expected none"},
    {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"##\"", GLIA_ERR_UNSUPPORTED, "continuing_subword_prefix is \"##\""},
    {"\"ignore_merges\":false", "\"ignore_merges\":1", GLIA_ERR_FORMAT, "tiny: model: ignore_merges"},
    {"\"ignore_merges\":false", "\"fuse_all\":false", GLIA_ERR_UNSUPPORTED, "tiny: model: fuse_all is false, a key that Glia does not know"},
    {"{\"type\":\"NFC\"}", "{\"type\":\"Lowercase\"}", GLIA_ERR_UNSUPPORTED, "tiny: normalizer: type is \"Lowercase\""},
    {"{\"type\":\"NFC\"}", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Strip\"}]}", GLIA_ERR_UNSUPPORTED, "tiny: normalizer[1]: type is \"Strip\""},
    {"{\"type\":\"NFC\"}", "{\"type\":\"Sequence\",\"normalizers\":3}", GLIA_ERR_FORMAT, "tiny: normalizer: normalizers: expected an array"},
    {"{\"type\":\"NFC\"}", "{\"type\":\"NFC\",\"strength\":2}", GLIA_ERR_UNSUPPORTED, "tiny: normalizer: strength is 2"},
    {"{\"type\":\"NFC\"}", "{\"kind\":\"NFC\"}", GLIA_ERR_FORMAT, "tiny: normalizer: type is missing"},
    {"{\"type\":\"NFC\"}", "\"NFC\"", GLIA_ERR_FORMAT, "tiny: normalizer: expected an object, found a string"},
    {PRE, "\"pre_tokenizer\":null", GLIA_ERR_FORMAT, "tiny: pre_tokenizer: expected an object, found null"},
    {PRE, "\"pre_tokenizer\":{\"type\":\"Whitespace\"}", GLIA_ERR_UNSUPPORTED, "tiny: pre_tokenizer: type is \"Whitespace\""},
    {PRE, "\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":true}", GLIA_ERR_UNSUPPORTED, "tiny: pre_tokenizer: no ByteLevel; only byte-level BPE is read"},
    {PRE, "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},{\"type\":\"Digits\",\"individual_digits\":true}]}", GLIA_ERR_UNSUPPORTED, "tiny: pre_tokenizer[1]: a Digits after ByteLevel"},
    {"\"add_prefix_space\":false,\"trim", "\"trim", GLIA_ERR_FORMAT, "tiny: pre_tokenizer: add_prefix_space is missing"},
    {"\"use_regex\":true", "\"use_regex\":\"yes\"", GLIA_ERR_FORMAT, "tiny: pre_tokenizer: use_regex"},
    {PRE, SPLIT("{\"Regex\":\"a\"}", ",\"behavior\":\"Sideways\",\"invert\":false"), GLIA_ERR_FORMAT, "tiny: pre_tokenizer[0]: behavior is \"Sideways\""},
    {PRE, SPLIT("{\"Regex\":\"a\"}", ",\"behavior\":\"Isolated\""), GLIA_ERR_FORMAT, "tiny: pre_tokenizer[0]: invert is missing"},
    {PRE, SPLIT("{}", BEHAVIOR), GLIA_ERR_FORMAT, "tiny: pre_tokenizer[0]: pattern: expected either \"Regex\" or \"String\""},
    {PRE, SPLIT("{\"String\":\"\"}", BEHAVIOR), GLIA_ERR_UNSUPPORTED, "String is empty"},
    {PRE, SPLIT("\"a\"", BEHAVIOR), GLIA_ERR_FORMAT, "pattern: expected an object, found a string"},
    {PRE, SPLIT("{\"Regex\":\"(a\"}", BEHAVIOR), GLIA_ERR_FORMAT, "tiny: pre_tokenizer[0]: pattern: PCRE2 refuses the translated regex \"(?:a\""},
    {PRE, SPLIT("{\"Regex\":\"\\\\h\"}", BEHAVIOR), GLIA_ERR_UNSUPPORTED, "byte 0 of the regex: the escape \\h is not supported"},
    {"\"single\":[", "\"single\":[{\"Sequence\":{\"id\":\"B\"}},", GLIA_ERR_FORMAT, "tiny: post_processor: single[0]: expected a SpecialToken or the Sequence A"},
    {"\"single\":[", "\"single\":[{\"Sequence\":{\"id\":\"A\"}},", GLIA_ERR_UNSUPPORTED, "single has the text 2 times, expected once"},
    {"\"ids\":[259]", "\"ids\":259", GLIA_ERR_FORMAT, "tiny: post_processor: special_tokens has no ids for \"<s>\""},
    {"\"ids\":[259]", "\"ids\":[-1]", GLIA_ERR_FORMAT, "special_tokens: \"<s>\": expected token ids"},
    {"TemplateProcessing", "BertProcessing", GLIA_ERR_UNSUPPORTED, "tiny: post_processor: type is \"BertProcessing\""},
    {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"WordPiece\"}", GLIA_ERR_UNSUPPORTED, "tiny: decoder: type is \"WordPiece\""},
    {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null", GLIA_ERR_FORMAT, "tiny: decoder: expected an object, found null"},
    {"\"added_tokens\":[{", "\"added_tokens\":{\"a\":[{", GLIA_ERR_FORMAT, "tiny: byte"},
    {"\"added_tokens\":[{\"id\":259", "\"added_tokens\":[{\"id\":260", GLIA_ERR_FORMAT, "tiny: added_tokens[0]: \"<s>\" has id 260, expected 259"},
    {"\"content\":\"<s>\"", "\"content\":\"\"", GLIA_ERR_FORMAT, "tiny: added_tokens[0]: content is empty"},
    {"\"content\":\"<s>\"", "\"content\":7", GLIA_ERR_FORMAT, "tiny: added_tokens[0]: content"},
    {"\"content\":\"<s>\"", "\"content\":\"abc\"", GLIA_ERR_FORMAT, "\"abc\" has id 259, expected 257"},
    {"\"lstrip\":false,", "", GLIA_ERR_FORMAT, "tiny: added_tokens[0]: lstrip is missing"},
    {"\"special\":true}", "\"special\":true,\"colour\":1}", GLIA_ERR_UNSUPPORTED, "added_tokens[0]: colour is 1"},
    {"\"special\":true}", "\"special\":true},{\"id\":260,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}", GLIA_ERR_FORMAT, "tiny: added_tokens[1]: \"<s>\" is given twice"},
    /* clang-format on */
};

static void test_lies(void **state) {
    (void)state;
    char *good = tiny_tokenizer();
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        glia_err err = {0};
        glia_tokenizer *t;
        char *text = replaced(good, lies[i].from, lies[i].to);
        const glia_status status = glia_tokenizer_parse(&t, text, strlen(text), "tiny", &err);
        CHECK(status == lies[i].status && strstr(err.msg, lies[i].words) && !t, "%s -> %s: %d, \"%s\"",
              lies[i].from, lies[i].to, status, err.msg);
        glia_tokenizer_free(t);
        free(text);
    }
    free(good);
}

/* tokenizers gives the second template two texts, and has no rule for three. */
static void test_two_templates(void **state) {
    (void)state;
    static const char single[] = "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},"
                                 "{\"SpecialToken\":{\"id\":\"<s>\"}}],\"pair\":[],\"special_tokens\":"
                                 "{\"<s>\":{\"id\":\"<s>\",\"ids\":[259],\"tokens\":[\"<s>\"]}}}";
    char sequence[600];
    glia_err err = {0};
    glia_tokenizer *t;
    snprintf(sequence, sizeof sequence, "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[%s,%s]}",
             single, single);
    char *good = tiny_tokenizer(), *moved = replaced(good, "\"post_processor\"", "\"padding\"");
    char *text = replaced(moved, "\"padding\":null", sequence);
    const glia_status status = glia_tokenizer_parse(&t, text, strlen(text), "tiny", &err);
    CHECK(status == GLIA_ERR_UNSUPPORTED &&
              strstr(err.msg, "tiny: post_processor[1]: a TemplateProcessing after another one"),
          "%d, \"%s\"", status, err.msg);
    glia_tokenizer_free(t);
    free(text);
    free(moved);
    free(good);
}

/* A truncated file is an error, wherever it is cut. */
static void test_cut_short(void **state) {
    (void)state;
    char *good = tiny_tokenizer();
    const size_t len = strlen(good);
    for (size_t n = 0; n < len - 1; n++) {
        glia_err err = {0};
        glia_tokenizer *t;
        CHECK(glia_tokenizer_parse(&t, good, n, "tiny", &err) == GLIA_ERR_FORMAT && err.msg[0],
              "%zu bytes: %s", n, err.msg);
        glia_tokenizer_free(t);
    }
    free(good);
}

static void test_texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t bad;
    } rows[] = {{"a\xff", 1},
                {"\x80", 0},
                {"ab\xc0\xaf", 2},
                {"a\xe4\xb8", 1},
                {"\xed\xa0\x80", 0},
                {"\xf4\x90\x80\x80", 0},
                {"\xf0\x80\x80\x80", 0},
                {"12345678\xe4\xb8z", 8}};
    glia_err err;
    glia_tokenizer *t;
    int32_t *ids;
    size_t n;
    char *good = tiny_tokenizer(), words[64];
    assert_int_equal(glia_tokenizer_parse(&t, good, strlen(good), "tiny", &err), GLIA_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(words, sizeof words, "byte %zu of the text: ", rows[i].bad);
        const glia_status status =
            glia_tokenizer_encode(t, rows[i].text, strlen(rows[i].text), false, &ids, &n, &err);
        CHECK(status == GLIA_ERR_FORMAT && strncmp(err.msg, words, strlen(words)) == 0 && !ids, "%zu: %s", i,
              err.msg);
    }
    assert_int_equal(glia_tokenizer_encode(t, "", (size_t)INT32_MAX + 1, false, &ids, &n, &err),
                     GLIA_ERR_LIMIT);
    assert_string_equal(err.msg, "text of 2147483648 bytes, limit is 2147483647");
    assert_int_equal(glia_tokenizer_encode(t, "", 0, false, &ids, &n, &err), GLIA_OK);
    assert_true(ids && n == 0);
    free(ids);
    assert_int_equal(glia_tokenizer_encode(t, "abc a<s>", 8, true, &ids, &n, &err), GLIA_OK);
    assert_int_equal(n, 4);
    const int32_t want[] = {259, 257, 258, 259};
    assert_memory_equal(ids, want, sizeof want);
    free(ids);
    glia_tokenizer_free(t);
    free(good);
}

#define FLAGS "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true"
static const struct {
    const char *config;
    glia_status status;
    const char *words;
} configs[] = {
    {"{\"bos_token\":null,\"eos_token\":\"<s>\",\"pad_token\":{\"content\":\"<s>\"}}", GLIA_OK, ""},
    {"{\"added_tokens_decoder\":{\"259\":{\"content\":\"<s>\"," FLAGS "}}}", GLIA_OK, ""},
    {"[]", GLIA_ERR_FORMAT, "expected an object"},
    {"{\"eos_token\":7}", GLIA_ERR_FORMAT,
     "tokenizer_config.json: special token \"eos_token\": expected a string or an object with \"content\""},
    {"{\"eos_token\":\"a\\u0000b\"}", GLIA_ERR_FORMAT, "special token \"eos_token\": expected a string"},
    {"{\"additional_special_tokens\":[{}]}", GLIA_ERR_FORMAT, "special token \"extra_special_tokens\""},
    {"{\"extra_special_tokens\":{\"x\":[]}}", GLIA_ERR_FORMAT, "special token \"x\""},
    {"{\"added_tokens_decoder\":[]}", GLIA_ERR_FORMAT,
     "added_tokens_decoder: expected an object, found an array"},
    {"{\"added_tokens_decoder\":{\"x\":{\"content\":\"<s>\"}}}", GLIA_ERR_FORMAT,
     "added_tokens_decoder.x: expected an id and an object with \"content\""},
    {"{\"added_tokens_decoder\":{\"9\":{}}}", GLIA_ERR_FORMAT, "added_tokens_decoder.9: expected an id and"},
    {"{\"added_tokens_decoder\":{\"99999999999\":{\"content\":\"x\"}}}", GLIA_ERR_FORMAT,
     "expected an id and"},
    {"{\"split_special_tokens\":1}", GLIA_ERR_FORMAT, "split_special_tokens: expected true or false"},
    {"{\"fast_tokenizer_files\":[\"tokenizer.json\"]}", GLIA_OK, ""},
    {"{\"fast_tokenizer_files\":[\"tokenizer.json\",\"tokenizer.4.0.json\"]}", GLIA_ERR_UNSUPPORTED,
     "fast_tokenizer_files has tokenizer.4.0.json; Glia reads tokenizer.json"},
    {"{\"clean_up_tokenization_spaces\":true,"
     "\"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output\":true}",
     GLIA_ERR_UNSUPPORTED, "it_will_corrupt_output is true, which Glia does not support"},
    {"{\"chat_template\":\"a\\u0000b\",\"model_max_length\":1000000000000000019884624838656}", GLIA_OK, ""},
};

static void test_directory(void **state) {
    (void)state;
    glia_err err;
    glia_tokenizer *t;
    const char *dir = check_temp_dir();
    char *good = tiny_tokenizer();
    assert_int_equal(glia_tokenizer_load(&t, dir, &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "tokenizer.json: no such file (vocab.json with merges.txt is not read)"));
    check_write_file(dir, "tokenizer.json", good, strlen(good));
    assert_int_equal(glia_tokenizer_load(&t, dir, &err), GLIA_OK);
    assert_int_equal(glia_tokenizer_eos(t), -1);
    glia_tokenizer_free(t);
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        err.msg[0] = '\0';
        check_write_file(dir, "tokenizer_config.json", configs[i].config, strlen(configs[i].config));
        const glia_status status = glia_tokenizer_load(&t, dir, &err);
        CHECK(status == configs[i].status && strstr(err.msg, configs[i].words), "%s: %d, %s",
              configs[i].config, status, err.msg);
        if (i == 0) CHECK(glia_tokenizer_eos(t) == 259 && glia_tokenizer_bos(t) == -1, "eos, bos");
        glia_tokenizer_free(t);
    }
    check_write_file(dir, "tokenizer.json", "", 0);
    assert_int_equal(glia_tokenizer_load(&t, dir, &err), GLIA_ERR_FORMAT);
    free(good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lies),  cmocka_unit_test(test_two_templates), cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_texts), cmocka_unit_test(test_directory),
    };
    return check_run_group("tokenizer_errors", tests);
}
