/* check_chat.c - choice of the chat template, its variables, and splitting of an
 * answer into thinking, content and tool calls. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "text/chat.h"
#include "text/parse.h"

/* ---- directories ----------------------------------------------------------------------------- */

static const char *new_dir(void) {
    static int n;
    static char path[512];
    snprintf(path, sizeof path, "%s/m%d", check_temp_dir(), n++);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

static void put_file(const char *dir, const char *name, const char *text) {
    check_write_file(dir, name, text, strlen(text));
}

/* Render `conversation` with the templates of `dir`. Returns the text or the error;
 * the caller frees it. */
static char *render(const char *dir, const char *conversation, const char *chat_template,
                    glia_status *status) {
    glia_chat *chat;
    glia_err err;
    glia_buf out = {0};
    *status = glia_chat_open(&chat, dir, &err);
    json_t *j = json_loads(conversation, JSON_DECODE_ANY, NULL);
    assert_non_null(j);
    if (*status == GLIA_OK)
        *status = glia_chat_render(chat, j, chat_template, chat_template ? strlen(chat_template) : 0, NULL,
                                   &out, &err);
    if (*status != GLIA_OK) glia_buf_puts(&out, err.msg);
    glia_buf_puts(&out, "");
    json_decref(j);
    glia_chat_free(chat);
    char *text = glia_buf_steal(&out);
    assert_non_null(text);
    return text;
}

static void expect(const char *dir, const char *conversation, const char *chat_template, glia_status want,
                   const char *words) {
    glia_status status;
    char *got = render(dir, conversation, chat_template, &status);
    CHECK(status == want && (want == GLIA_OK ? strcmp(got, words) == 0 : strstr(got, words) != NULL),
          "%s: status %d: %s", conversation, status, got);
    free(got);
}

#define HELLO "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}"
#define TOOLS "{\"messages\": [], \"tools\": [{\"type\": \"function\"}]}"

static void test_which_template(void **state) {
    (void)state;
    const char *dir = strdup(new_dir());
    expect(dir, HELLO, NULL, GLIA_ERR_UNSUPPORTED, "no chat template: expected chat_template.jinja");
    expect(dir, HELLO, "{{ messages[0].content }}", GLIA_OK, "Hi");
    put_file(dir, "tokenizer_config.json", "{\"chat_template\": \"string\"}");
    expect(dir, HELLO, NULL, GLIA_OK, "string");
    put_file(dir, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"}, {\"name\": \"tool_use\", "
             "\"template\": "
             "\"T\"}, {\"name\": \"rag\", \"template\": \"R\"}]}");
    expect(dir, HELLO, NULL, GLIA_OK, "D");
    expect(dir, TOOLS, NULL, GLIA_OK, "T");
    expect(dir, "{\"messages\": [], \"tools\": []}", NULL, GLIA_OK, "T");
    expect(dir, "{\"messages\": [], \"tools\": null}", NULL, GLIA_OK, "D");
    expect(dir, TOOLS, "rag", GLIA_OK, "R");
    expect(dir, TOOLS, "nope", GLIA_OK, "nope"); /* not a template's name, so Jinja source */
    put_file(dir, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"a\", \"template\": \"A\"}, {\"name\": \"b\", \"template\": "
             "\"B\"}]}");
    expect(dir, HELLO, NULL, GLIA_ERR_ARGUMENT, "none is \"default\"; choose one of: a, b");
    put_file(dir, "chat_template.jinja", "file");
    expect(dir, HELLO, NULL, GLIA_OK, "file");
    expect(dir, HELLO, "default", GLIA_OK, "default"); /* the only template has no name */
    char more[600];
    snprintf(more, sizeof more, "%s/additional_chat_templates", dir);
    assert_int_equal(mkdir(more, 0777), 0);
    put_file(more, "tool_use.jinja", "more");
    put_file(more, "readme.txt", "not a template");
    expect(dir, HELLO, NULL, GLIA_OK, "file");
    expect(dir, TOOLS, NULL, GLIA_OK, "more");
    expect(dir, HELLO, "default", GLIA_OK, "file");
    put_file(more, "tool_use.jinja", "{% if %}");
    expect(dir, HELLO, NULL, GLIA_OK, "file");
    expect(dir, TOOLS, NULL, GLIA_ERR_TEMPLATE, "chat template, line 1: TemplateSyntaxError");
    free((char *)dir);
}

static void test_special_tokens(void **state) {
    (void)state;
    static const char show[] = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token is defined }}|"
                               "{{ additional_special_tokens }}|{{ image_token }}";
    const char *dir = strdup(new_dir());
    expect(dir, HELLO, show, GLIA_OK, "|||False||");
    put_file(
        dir, "tokenizer_config.json",
        "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\", \"lstrip\": false}, \"unk_token\": "
        "null, "
        "\"additional_special_tokens\": [\"<a>\", {\"content\": \"<b>\"}], \"added_tokens_decoder\": {}, "
        "\"extra_special_tokens\": {\"image_token\": \"<img>\"}}");
    put_file(dir, "special_tokens_map.json", "{\"pad_token\": \"<old>\"}");
    expect(dir, HELLO, show, GLIA_OK, "<s>|</s>||False|['<a>', '<b>']|<img>");
    expect(dir, "{\"messages\": [], \"bos_token\": \"mine\"}", "{{ bos_token }}", GLIA_OK, "mine");
    put_file(dir, "tokenizer_config.json", "{\"bos_token\": \"<s>\", \"eos_token\": \"\"}");
    expect(dir, HELLO, show, GLIA_OK, "<s>||<old>|False||");
    put_file(dir, "special_tokens_map.json",
             "{\"additional_special_tokens\": [\"<c>\"], \"bos_token\": \"<t>\"}");
    expect(dir, HELLO, show, GLIA_OK, "<t>|||False|['<c>']|");
    free((char *)dir);
}

/* The forms of "chat_template" in tokenizer_config.json. */
static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *config, *plain, *tools; /* NULL: no template is chosen */
    } rows[] = {
        {"{\"chat_template\": \"one\"}", "one", "one"},
        {"{\"chat_template\": \"\"}", "", ""},
        {"{\"chat_template\": null}", NULL, NULL},
        {"{\"chat_template\": [{\"name\": \"default\", \"template\": \"d\"}]}", "d", "d"},
        {"{\"chat_template\": [{\"name\": \"default\", \"template\": \"d\"}, {\"name\": \"tool_use\", "
         "\"template\": \"t\"}, {\"name\": \"default\", \"template\": \"e\"}]}",
         "e", "t"},
        {"{\"chat_template\": {\"tool_use\": \"t\", \"default\": \"d\"}}", "d", "t"},
        {"{\"chat_template\": {\"tool_use\": \"t\"}}", NULL, "t"},
        {"{\"chat_template\": {}}", NULL, NULL},
        {"{\"chat_template\": []}", NULL, NULL},
    };
    const char *dir = strdup(new_dir());
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int tools = 0; tools < 2; tools++) {
            const char *want = tools ? rows[i].tools : rows[i].plain;
            glia_status status;
            put_file(dir, "tokenizer_config.json", rows[i].config);
            char *got = render(dir, tools ? TOOLS : HELLO, NULL, &status);
            CHECK(want ? !status && strcmp(got, want) == 0
                       : status == GLIA_ERR_UNSUPPORTED || status == GLIA_ERR_ARGUMENT,
                  "%s: %d: %s", rows[i].config, status, got);
            free(got);
        }
    free((char *)dir);
}

static void test_context(void **state) {
    (void)state;
    const char *dir = new_dir();
    static const char show[] =
        "{{ [tools, documents, add_generation_prompt, enable_thinking, messages|length] }}";
    expect(dir, HELLO, show, GLIA_OK, "[None, None, False, Undefined, 1]");
    expect(dir,
           "{\"messages\": [], \"add_generation_prompt\": true, \"enable_thinking\": false, \"documents\": "
           "[{}]}",
           show, GLIA_OK, "[None, [{}], True, False, 0]");
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *conversation, *words;
    } shapes[] = {
        {"[]", "conversation: expected an object with \"messages\", found an array"},
        {"\"x\"", "found a string"},
        {"{}", "conversation: \"messages\": expected an array, found nothing"},
        {"{\"messages\": {}}", "\"messages\": expected an array, found an object"},
        {"{\"messages\": [1]}", "\"messages\"[0]: expected an object, found a number"},
        {"{\"messages\": [{\"role\": \"user\"}, {}]}",
         "\"messages\"[1]: \"role\": expected a string, found nothing"},
        {"{\"messages\": [{\"role\": null}]}", "\"role\": expected a string, found null"},
        {"{\"messages\": [], \"tools\": {}}", "\"tools\": expected an array, found an object"},
        {"{\"messages\": [], \"tools\": [\"f\"]}", "\"tools\"[0]: expected an object, found a string"},
        {"{\"messages\": [], \"documents\": true}", "\"documents\": expected an array, found true"},
        {"{\"messages\": [], \"add_generation_prompt\": 1}", "expected true or false, found a number"},
    };
    static const struct {
        const char *config, *words;
    } configs[] = {
        {"{", "tokenizer_config.json: line 1, column 1 (byte 1):"},
        {"[]", "tokenizer_config.json: expected an object, found an array"},
        {"{\"chat_template\": 1}", "\"chat_template\": expected a string, a list of"},
        {"{\"chat_template\": [{\"name\": \"a\"}]}", "\"chat_template\": expected a string, a list of"},
        {"{\"bos_token\": 1}",
         "special token \"bos_token\": expected a string or an object with \"content\""},
        {"{\"eos_token\": {}}", "special token \"eos_token\""},
        {"{\"additional_special_tokens\": \"a\"}", "special token \"extra_special_tokens\""},
        {"{\"additional_special_tokens\": [1]}", "special token \"extra_special_tokens\""},
        {"{\"extra_special_tokens\": {\"x\": 1}}", "special token \"x\""},
    };
    const char *dir = strdup(new_dir());
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        expect(dir, shapes[i].conversation, "x", GLIA_ERR_ARGUMENT, shapes[i].words);
    expect(dir, "{\"messages\": [], \"continue_final_message\": true}", "x", GLIA_ERR_UNSUPPORTED,
           "not supported");
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        put_file(dir, "tokenizer_config.json", configs[i].config);
        expect(dir, HELLO, NULL, GLIA_ERR_FORMAT, configs[i].words);
    }
    put_file(dir, "tokenizer_config.json", "{}");
    put_file(dir, "special_tokens_map.json", "[");
    expect(dir, HELLO, NULL, GLIA_ERR_FORMAT, "special_tokens_map.json: line 1");
    free((char *)dir);
}

/* The published model directories render each template's golden. */
static void test_published(void **state) {
    (void)state;
    const char *config = check_shared("data/tokenizers/qwen3/tokenizer_config.json");
    if (!config) check_skip("no shared data");
    char *dir = strdup(config);
    *strrchr(dir, '/') = '\0';
    expect(dir,
           "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}",
           NULL, GLIA_OK, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    expect(dir, "{\"messages\": []}", "{{ eos_token }}{{ pad_token }}{{ bos_token is defined }}", GLIA_OK,
           "<|im_end|><|endoftext|>False");
    free(dir);
}

/* ---- the answer --------------------------------------------------------------------------------- */

/* Collects pieces as "[think]...[text]...[call]..."; adjacent pieces of one kind are joined. */
typedef struct {
    glia_buf b;
    int last;
} shown;

static void show(void *user, glia_piece piece, const char *text, size_t len) {
    static const char *const names[] = {"[text]", "[think]"};
    shown *s = user;
    assert_true(len > 0);
    if (s->last != (int)piece) glia_buf_puts(&s->b, names[piece]);
    s->last = (int)piece;
    glia_buf_add(&s->b, text, len);
}

static char *split(const char *text, bool thinking, size_t a, size_t b) {
    glia_parse p;
    shown s = {.last = -1};
    const size_t n = strlen(text);
    glia_parse_init(&p, thinking);
    glia_parse_push(&p, text, a, show, &s);
    glia_parse_push(&p, text + a, b - a, show, &s);
    glia_parse_push(&p, text + b, n - b, show, &s);
    glia_parse_end(&p, show, &s);
    return s.b.data ? glia_buf_steal(&s.b) : strdup("");
}

static void test_stream(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool thinking;
        const char *want;
    } row[] = {
        {"", false, ""},
        {"Hello\n\n", false, "[text]Hello\n\n"},
        {"<think>\nHm.\n\nYes.\n</think>\n\nHello\n", false, "[think]Hm.\n\nYes.[text]Hello\n"},
        {"Hm.\n</think>\n\nHello", true, "[think]Hm.[text]Hello"},
        {"<think>\nHm.\n</think>\n\nHello", true, "[think]Hm.[text]Hello"},
        {"\n\n<think>a</think>b", false, "[think]a[text]b"},
        {"\n\na", false, "[text]\n\na"},
        {"\n\n", false, "[text]\n\n"},
        {"<think>\n\n</think>\n\nHello", false, "[text]Hello"},
        {"<think>never\nclosed\n", false, "[think]never\nclosed"},
        {"a</think>b", false, "[text]a</think>b"},
        {"a <think>b</think> c", false, "[text]a [think]b[text] c"},
        {"<think>a<think>b</think>c", false, "[think]a<think>b[text]c"},
        {"1 < 2 <thin <<think>a</thin></think", false, "[text]1 < 2 <thin <[think]a</thin></think"},
        {"<", false, "[text]<"},
        {"<think>\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\na\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\nb</think>",
         false, "[think]a\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\nb"},
        {"<think>\xc3\xa9</think>\xf0\x9f\x98\x80", false, "[think]\xc3\xa9[text]\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const size_t n = strlen(row[i].text);
        for (size_t a = 0; a <= n; a++) {
            for (size_t b = a; b <= n; b++) {
                char *got = split(row[i].text, row[i].thinking, a, b);
                CHECK(strcmp(got, row[i].want) == 0, "%s split at %zu and %zu: %s", row[i].text, a, b, got);
                free(got);
            }
        }
    }
}

/* Only the beginning of a tag is held back. */
static void test_holds_little(void **state) {
    (void)state;
    glia_parse p;
    shown s = {.last = -1};
    glia_parse_init(&p, false);
    glia_parse_push(&p, "a <thi", 6, show, &s);
    assert_string_equal(s.b.data, "[text]a ");
    glia_parse_push(&p, "s <tool_call>\n", 14, show, &s);
    assert_string_equal(s.b.data, "[text]a <this <tool_call>\n");
    glia_buf_free(&s.b);
    assert_true(glia_prompt_opens_thinking("assistant\n<think>\n", 18));
    assert_true(glia_prompt_opens_thinking("<think>", 7));
    assert_false(glia_prompt_opens_thinking("<think>\n\n</think>\n\n", 19));
    assert_false(glia_prompt_opens_thinking("", 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_template), cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_context),        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_errors),         cmocka_unit_test(test_published),
        cmocka_unit_test(test_stream),         cmocka_unit_test(test_holds_little),
    };
    return check_run_group("chat", tests);
}
