/* check_serve_flags.c - flags of other servers, as docs/SERVING.md lists them: each one has no effect and a
 * warning, or is refused in one sentence. */
#define _GNU_SOURCE
#include "cli.h"

static char *page;

/* Call `check` with each flag, and the value behind it, of the first column of the table that follows
 * `title`. Returns how many there are. */
static int each_flag(const char *title, void (*check)(const char *flag)) {
    const char *at = strstr(page, title);
    int n = 0;
    assert_non_null(at);
    at = strstr(at, "\n|---");
    assert_non_null(at);
    for (at = strchr(at + 1, '\n') + 1; *at == '|'; at = strchr(at, '\n') + 1) {
        const char *end = strchr(at + 1, '|');
        for (const char *word = strchr(at, '`'); word && word < end; word = strchr(word, '`')) {
            char flag[200];
            const size_t len = strcspn(word + 1, "`");
            snprintf(flag, sizeof flag, "%.*s", (int)len, word + 1);
            word += len + 2;
            check(flag);
            n++;
        }
    }
    return n;
}

/* The name of a flag with its value. */
static const char *name_of(const char *flag) {
    static char name[100];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(flag, " "), flag);
    return name;
}

/* The model does not exist, which a command line that is accepted says next. */
static void has_no_effect(const char *flag) {
    char words[200];
    snprintf(words, sizeof words, "glia: warning: %s has no effect: ", name_of(flag));
    outcome o = glia("", "serve no/such/model %s", flag);
    CHECK(o.status == 2 && strncmp(o.err, words, strlen(words)) == 0 &&
              strstr(o.err, "\nglia: no/such/model: "),
          "%s: %d %s", flag, o.status, o.err);
    done(&o);
}

static void is_refused(const char *flag) {
    char line[300], words[200];
    snprintf(line, sizeof line, "serve no/such/model %s", flag);
    snprintf(words, sizeof words, "serve has no flag %s: ", name_of(flag));
    check_refused(line, "", 2, words);
}

static void flags_without_effect(void **state) {
    (void)state;
    const int n = each_flag("These have no effect, and a warning says so:", has_no_effect);
    CHECK(n > 50, "only %d flags in the table", n);
}

static void flags_that_are_refused(void **state) {
    (void)state;
    const int n = each_flag("These are refused with a sentence that says what to do:", is_refused);
    CHECK(n > 30, "only %d flags in the table", n);
}

/* Values that would change an answer, values that are missing, and names with underscores. */
static void values(void **state) {
    static const struct {
        const char *flags;
        int status;
        const char *words;
    } rows[] = {
        {"--tool-call-parser llama3_json", 2, "--tool-call-parser takes auto|hermes|"},
        {"--reasoning-parser granite", 2, "--reasoning-parser takes auto|qwen3|"},
        {"--data-parallel-size 2", 2, "start several servers behind a router"},
        {"--pipeline_parallel_size=2", 2, "use --tensor-parallel-size"},
        {"--generation-config vllm", 2, "--generation-config takes auto, not 'vllm'"},
        {"--gpu-memory-utilization", 2, "--gpu-memory-utilization needs a value"},
        {"--trust-remote-code=1", 2, "--trust-remote-code takes no value, found '1'"},
        {"--default-chat-template-kwargs [1]", 2,
         "--default-chat-template-kwargs takes a JSON object, not '[1]'"},
        {"--default-chat-template-kwargs {", 2, "takes a JSON object, not '{': "},
        {"--max-body-size 4096", 2, "--max-body-size takes 1 to 1024 MiB, not 4096"},
        {"--shutdown-timeout -1", 2, "--shutdown-timeout takes 0 to 86400 seconds, not -1"},
        {"--max_model_len 256 --max_num_seqs=4", 2, "no/such/model: "},
        {"--num-gpu-blocks-override 9", 2, "no/such/model: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[300];
        snprintf(line, sizeof line, "serve no/such/model %s", rows[i].flags);
        check_refused(line, "", rows[i].status, rows[i].words);
    }
    check_refused("run no/such/model --trust-remote-code", "", 2, "run has no flag --trust-remote-code");
}

int main(void) {
    find_program();
    size_t len;
    page = check_read_file("docs/SERVING.md", &len);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_without_effect),
        cmocka_unit_test(flags_that_are_refused),
        cmocka_unit_test(values),
    };
    const int failed = check_run_group("serve_flags", tests);
    free(page);
    return failed;
}
