/* check_cli.c - the program `glia` from outside: exit status, standard output and
 * standard error. Runs the binary of this build on the bundled demo models, through
 * files, pipes and a terminal. */
#define _GNU_SOURCE
#include "cli.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/safetensors.h"

/* ---- the command line itself ------------------------------------------------ */

static const struct {
    const char *args;
    int status;
    const char *words; /* a substring of the one line on standard error */
} refused[] = {
    {"", 2, "a command is missing"},
    {"rnu x", 2, "no command 'rnu'; did you mean 'run'?"},
    {"xyzzy", 2, "no command 'xyzzy'; 'glia --help'"},
    {"--frobnicate", 2, "no command '--frobnicate'"},
    {"run", 2, "run needs a MODEL"},
    {"run ''", 2, "MODEL is empty"},
    {"run a b", 2, "takes one MODEL, found 'a' and 'b'"},
    {"run a --temprature 1", 2, "no flag --temprature; did you mean --temperature?"},
    {"generate a --max-sequences 1", 2, "'glia generate --help'"},
    {"run a --ids x", 2, "no flag --ids; it belongs to generate, score"},
    {"tokenize a --threads 2", 2,
     "no flag --threads; it belongs to run, generate, score, embed, rerank, inspect, calibrate, compile, "
     "serve, bench"},
    {"run a -x", 2, "no flag -x"},
    {"run a --temperature", 2, "--temperature needs a value"},
    {"run a --temperature=hot", 2, "--temperature takes a number, not 'hot'"},
    {"run a --temperature nan", 2, "--temperature takes a number, not 'nan'"},
    {"run a --temperature -1", 2, "--temperature takes 0 to 100, not -1"},
    {"run a --temperature 1e9", 2, "--temperature takes 0 to 100, not 1e9"},
    {"run a --top-p 1.5", 2, "--top-p takes 0 to 1, not 1.5"},
    {"run a --min-p=-0.1", 2, "--min-p takes 0 to 1"},
    {"run a --typical-p 2", 2, "--typical-p takes 0 to 1"},
    {"run a --top-k 1.5", 2, "--top-k takes a whole number, not '1.5'"},
    {"run a --top-k=", 2, "--top-k takes a whole number, not ''"},
    {"run a --top-k -2", 2, "--top-k takes -1 to"},
    {"run a --repetition-penalty 0", 2, "--repetition-penalty takes 0.01 to 100"},
    {"run a --presence-penalty 3", 2, "--presence-penalty takes -2 to 2"},
    {"run a --frequency-penalty -3", 2, "--frequency-penalty takes -2 to 2"},
    {"run a --max-tokens 0", 2, "--max-tokens takes 1 to"},
    {"run a --min-tokens -1", 2, "--min-tokens takes 0 to"},
    {"generate a --logprobs 21", 2, "--logprobs takes 0 to 20, not 21"},
    {"run a --stop ''", 2, "--stop is empty"},
    {"run a --stop-token-ids 1,x", 2, "--stop-token-ids takes token ids such as 1,2, not '1,x'"},
    {"run a --stop-token-ids 1,", 2, "not '1,'"},
    {"run a --logit-bias 1", 2, "--logit-bias takes pairs such as 1:-5,2:0.5 of -100 to 100, not '1'"},
    {"run a --logit-bias 1:x", 2, "not '1:x'"},
    {"run a --logit-bias 1:200", 2, "not '1:200'"},
    {"run a --seed -1", 2, "--seed takes 0 to"},
    {"run a --threads 0", 2, "--threads takes 1 to 1024, not 0"},
    {"run a --threads 99999999999999999999", 2, "--threads takes 1 to 1024"},
    {"run a --batch-size 0", 2, "--batch-size takes 1 to"},
    {"run a --max-num-seqs 0", 2, "--batch-size takes 1 to"},
    {"run a --max-model-len 0", 2, "--sequence-length takes 2 to"},
    {"run a --prefill-chunk-size 0", 2, "--prefill-chunk-size takes 1 to"},
    {"run a --block-size 48", 2, "--block-size takes a multiple of 32, not 48"},
    {"run a --block-size 8", 2, "--block-size takes 32 to"},
    {"run a --block-size 4128", 2, "--block-size takes 32 to 4096, not 4128"},
    {"run a --sequence-length 1", 2, "--sequence-length takes 2 to"},
    {"generate models/qwen3-demo -p Hello --max-tokens 20000", 2,
     "prompt and output have 20001 tokens together, the model takes at most 16384"},
    {"run a --raw=1", 2, "--raw takes no value, found '1'"},
    {"run a --dtype float8", 2, "--dtype takes one of auto|float32|bfloat16|float16, not 'float8'"},
    {"run a --kv-cache-dtype fp8", 2, "--kv-cache-dtype takes one of"},
    {"run a --cpu-features sse", 2, "--cpu-features takes one of ref|avx2|avx512|avx512_bf16|amx"},
    {"run a --load-format gguf", 2, "--load-format takes one of auto|dummy"},
    {"run a -tp 0", 2, "--tensor-parallel-size takes 1 to"},
    {"run a --greedy --top-k 3", 2, "--greedy and --top-k exclude each other"},
    {"run a --json", 2, "--json needs --prompt"},
    {"run a -p x --logprobs 3", 2, "--logprobs needs --json"},
    {"run a -p x --strict", 2, "--strict needs --json-schema, --regex, --grammar or --choice"},
    {"generate a -p x --whitespace compact", 2, "--whitespace needs --json-schema, --regex, --grammar or"},
    {"run models/qwen3-demo -p x --regex a --whitespace dense", 2, "whitespace \"dense\": expected flexible"},
    {"inspect models/qwen3-demo --speculative-config '{\"model\":\"models/qwen3-demo\",\"top_k\":100}'", 2,
     "top_k 100 and depth 7: expected at most 65536 candidates (top_k + depth * top_k * top_k), found 70100"},
    {"serve a --served-model-name ''", 2, "--served-model-name is empty"},
    {"run a --raw --system x", 2, "--raw uses no template, so --system"},
    {"run a --raw --no-think", 2, "--raw uses no template, so --no-think"},
    {"run a --now noon", 2, "--now takes a time such as 2025-07-08T12:00:00, not 'noon'"},
    {"generate a", 2, "generate needs either --ids FILE or --prompt TEXT"},
    {"generate a --ids x -p y", 2, "generate needs either"},
    {"generate a --ids x --logprobs 1", 2, "--logprobs needs --json"},
    {"generate a --ids /nonexistent", 1, "/nonexistent: No such file"},
    {"score a --ids x", 2, "score needs --out FILE or --json"},
    {"run models/qwen3-demo --raw -p ''", 2, "the prompt has no tokens"},
    {"generate models/qwen3-demo -p ''", 2, "the prompt has no tokens"},
    {"score a --json", 2, "score needs either --ids FILE or --text FILE"},
    {"score a --text /nonexistent --json", 1, "/nonexistent: No such file"},
    {"score a --ids x --states 1 --json", 2, "score with --states needs --out FILE"},
    {"template a --now 2025-13-01T00:00:00", 2, "--now takes a time"},
    {"template a --chat-template /nonexistent", 1, "/nonexistent: No such file"},
    {"bench a --runs 0", 2, "--runs takes 1 to 1000"},
    {"bench a --prompt-tokens 0", 2, "--prompt-tokens takes 1 to"},
    {"bench a --output-tokens 0", 2, "--output-tokens takes 1 to"},
    {"run /nonexistent -p x", 2, "/nonexistent: no such directory, and not a Hub id"},
    {"inspect src/LAYERS", 2, "src/LAYERS: expected a model's directory, found a file"},
    {"inspect models/qwen3-demo -tp 4 -cp 3", 2, "context_parallel_size is 3, which does not divide"},
    {"run a --vocab-parallel yes", 2, "--vocab-parallel takes one of on|off"},
    {"tokenize no/such-model", 1, "no/such-model: no such directory, and not in the Hugging Face cache"},
};

static void usage_errors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check_refused(refused[i].args, "", refused[i].status, refused[i].words);
}

static const struct {
    const char *command, *input;
    int status;
    const char *words;
} bad_ids[] = {
    {"generate", "", 1, "standard input: line 1"},
    {"generate", "[1, 2", 1, "standard input: line 1"},
    {"generate", "{\"ids\": [1]}", 1, "expected a JSON array of token ids, or an array of such arrays"},
    {"generate", "[]", 1, "prompt 0 has no tokens"},
    {"generate", "[[1], []]", 1, "prompt 1 has no tokens"},
    {"generate", "[[1], 2]", 1, "prompt 1: expected a JSON array of token ids"},
    {"generate", "[1, \"2\"]", 1, "prompt 0: element 1 is not a token id"},
    {"generate", "[1, -2]", 1, "prompt 0: element 1 is not a token id"},
    {"generate", "[1, 2.5]", 1, "prompt 0: element 1 is not a token id"},
    {"generate", "[1, 4294967296]", 1, "prompt 0: element 1 is not a token id"},
    {"score --json", "[[1, 2], [3]]", 2, "score takes one array of ids, found 2"},
};

static void ids_that_are_none(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_ids / sizeof *bad_ids; i++) {
        char args[128];
        snprintf(args, sizeof args, "%s models/qwen3-demo --ids -", bad_ids[i].command);
        check_refused(args, bad_ids[i].input, bad_ids[i].status, bad_ids[i].words);
    }
    for (int m = 0; m < N_MODELS; m++) {
        outcome o = glia("[1, 1000000]", "generate %s --ids - --json", models[m]);
        CHECK(o.status != 0 && strstr(o.err, "1000000"), "exit %d: %s", o.status, o.err);
        done(&o);
        o = glia("[1, 1000000]", "score %s --ids - --json", models[m]);
        CHECK(o.status != 0 && strstr(o.err, "1000000"), "exit %d: %s", o.status, o.err);
        done(&o);
        o = glia("[1, 2, 3, 4, 5]", "generate %s --ids - --sequence-length 4", models[m]);
        CHECK(o.status != 0 && strstr(o.err, "5"), "exit %d: %s", o.status, o.err);
        done(&o);
    }
}

static void help(void **state) {
    static const char *const commands[] = {"run",        "generate", "score",   "tokenize",
                                           "detokenize", "template", "inspect", "bench"};
    (void)state;
    outcome all = glia("", "--help");
    CHECK(all.status == 0 && !*all.err, "exit %d: %s", all.status, all.err);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char words[64];
        CHECK(strstr(all.out, commands[i]) != NULL, "--help does not list %s", commands[i]);
        outcome o = glia("", "%s --help", commands[i]);
        snprintf(words, sizeof words, "usage: glia %s MODEL", commands[i]);
        CHECK(o.status == 0 && !*o.err, "exit %d: %s", o.status, o.err);
        CHECK(strstr(o.out, words) == o.out, "%s", o.out);
        CHECK(strstr(o.out, "examples:\n  ") != NULL, "%s", o.out);
        snprintf(words, sizeof words, "%s x -h", commands[i]);
        outcome again = glia("", "%s", words);
        CHECK(strcmp(o.out, again.out) == 0, "-h and --help of %s differ", commands[i]);
        for (const char *line = o.out; line; line = strchr(line + 1, '\n'))
            CHECK(strcspn(line + 1, "\n") <= 100, "a line of help is too long: %.120s", line + 1);
        done(&again);
        done(&o);
    }
    done(&all);
    outcome version = glia("", "--version");
    CHECK(version.status == 0 && strncmp(version.out, "glia ", 5) == 0 && strchr(version.out, '('), "%s",
          version.out);
    done(&version);
}

/* ---- text --------------------------------------------------------------------- */

static const char *const texts[] = {
    "Hello, world!",
    "",
    " ",
    "two  blanks\tand a tab\n\n  and lines\r\n",
    "12345 + 678 = 13023",
    "na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x99\x82 \xd0\x9f\xd1\x80\xd0\xb8",
    "a\"quote\\ and a backslash",
    "I'm we've DON'T",
    "<|im_start|>user\nhi<|im_end|>",
    "<think>no</think>",
};
enum { N_TEXTS = sizeof texts / sizeof *texts };

static void tokens_and_back(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        char lines[2048] = "";
        for (int i = 0; i < N_TEXTS; i++) {
            json_t *text = json_string(texts[i]);
            char *dumped = json_dumps(text, JSON_ENCODE_ANY);
            strcat(strcat(lines, dumped), "\n");
            free(dumped);
            json_decref(text);
        }
        outcome ids = glia(lines, "tokenize %s", models[m]);
        CHECK(ids.status == 0 && !*ids.err, "exit %d: %s", ids.status, ids.err);
        outcome back = glia(ids.out, "detokenize %s", models[m]);
        CHECK(back.status == 0, "exit %d: %s", back.status, back.err);
        CHECK(strcmp(back.out, lines) == 0, "%s: %s came back as %s", models[m], lines, back.out);
        outcome skipped = glia(ids.out, "detokenize %s --skip-special-tokens", models[m]);
        CHECK(strstr(skipped.out, "\"user\\nhi\"") != NULL, "%s: %s", models[m], skipped.out);
        done(&ids);
        done(&back);
        done(&skipped);
    }
}

static void lines_that_fail(void **state) {
    (void)state;
    outcome o = glia("\"a\"\nx\n\n{}\n\"b\"", "tokenize %s", models[0]);
    CHECK(o.status == 1, "exit %d", o.status);
    json_t *line[5] = {0};
    int n = 0;
    for (char *at = strtok(o.out, "\n"); at && n < 5; at = strtok(NULL, "\n"))
        line[n++] = json_loads(at, 0, NULL);
    CHECK(n == 5, "%d lines for 5", n);
    for (int i = 0; i < n; i++) {
        const bool good = i == 0 || i == 4;
        CHECK(good ? json_is_array(line[i]) : json_is_string(json_object_get(line[i], "error")), "line %d",
              i);
        json_decref(line[i]);
    }
    done(&o);
    o = glia("[1]\n[-1]\n\"a\"\n", "detokenize %s", models[0]);
    CHECK(o.status == 1, "exit %d: %s", o.status, o.out);
    CHECK(strstr(o.out, "element 0 is not a token id") && strstr(o.out, "expected a JSON array"), "%s",
          o.out);
    done(&o);
    static const char not_utf8[] = "\"\xff\"\n", zero[] = "\"a\\u0000b\"\n";
    o = glia_in(not_utf8, sizeof not_utf8 - 1, -1, "tokenize models/qwen3-demo");
    CHECK(o.status == 1 && strstr(o.out, "error"), "exit %d: %s", o.status, o.out);
    done(&o);
    o = glia_in(zero, sizeof zero - 1, -1, "tokenize models/qwen3-demo");
    outcome back = glia(o.out, "detokenize models/qwen3-demo");
    CHECK(strcmp(back.out, zero) == 0, "%s", back.out);
    done(&o);
    done(&back);
}

/* A line of `grammar check` that is no constraint is an error; a constraint that cannot be is refused. */
static void lines_without_constraint(void **state) {
    static const struct {
        const char *line, *words;
    } rows[] = {
        {"{\"regex\": \"a\", \"choice\": [\"a\"]}", "error\": \"expected one of"},
        {"{\"texts\": [\"a\"]}", "error\": \"expected one of"},
        {"[1]", "error\": \"line: expected an object"},
        {"{\"regex\": 3}", "error\": \"\\\"regex\\\": expected a string"},
        {"{\"grammar\": {}}", "error\": \"\\\"grammar\\\": expected a string"},
        {"{\"schema\": {}, \"whitespace\": 1}", "error\": \"\\\"whitespace\\\": expected a string"},
        {"{\"regex\": \"(\"}", "refused\": \"regular expression"},
        {"{\"regex\": \"a\", \"schema\": null, \"texts\": [\"a\"]}", "accepts\": [true]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        outcome o = glia(rows[i].line, "grammar check models/qwen3-demo");
        CHECK(strstr(o.out, rows[i].words) != NULL, "%s: %s", rows[i].line, o.out);
        CHECK(o.status == (strstr(rows[i].words, "error") ? 1 : 0), "%s: exit %d", rows[i].line, o.status);
        done(&o);
    }
}

/* A program that writes line by line gets each answer before it writes the next line. */
static void line_by_line(void **state) {
    int to[2], from[2], status;
    char seen[256] = "";
    (void)state;
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        check_exec((const char *[]){program, "tokenize", models[0], NULL});
    }
    close(to[0]);
    close(from[1]);
    for (int i = 0; i < 3; i++) {
        *seen = '\0';
        assert_int_equal(write(to[1], "\"one\"\n", 6), 6);
        CHECK(wait_for(from[0], seen, sizeof seen, "]\n"), "no answer to line %d", i);
    }
    close(to[1]);
    close(from[0]);
    waitpid(child, &status, 0);
    CHECK(status == 0, "status %d", status);
}

static void templates(void **state) {
    static const char hi[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi there\"}], "
                             "\"add_generation_prompt\": true}\n";
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        outcome o = glia(hi, "template %s --now 2025-07-08T12:00:00", models[m]);
        json_t *text = json_of(&o);
        const char *s = json_string_value(text);
        CHECK(s && strstr(s, "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n"), "%s", s);
        json_decref(text);
        o = glia("{\"messages\": 1}\nx\n", "template %s", models[m]);
        CHECK(o.status == 1 && strstr(o.out, "{\"error\": "), "exit %d: %s", o.status, o.out);
        done(&o);
    }
    const char *dir = check_temp_dir();
    static const char own[] =
        "{{ raise_exception('no ' ~ messages[0].content) if messages | length < 2 else 'fine' }}";
    const char *path = check_write_file(dir, "t.jinja", own, sizeof own - 1);
    outcome o = glia(hi, "template %s --chat-template %s", models[0], path);
    CHECK(o.status == 0 && strstr(o.out, "{\"error\": ") && strstr(o.out, "no Hi there"), "exit %d: %s",
          o.status, o.out);
    done(&o);
    static const char clock[] = "{{ strftime_now('%Y-%m-%d %H:%M') }}";
    path = check_write_file(dir, "c.jinja", clock, sizeof clock - 1);
    o = glia(hi, "template %s --chat-template %s --now=2024-02-29T23:59:00", models[0], path);
    CHECK(o.status == 0 && strcmp(o.out, "\"2024-02-29 23:59\"\n") == 0, "exit %d: %s", o.status, o.out);
    done(&o);
}

/* ---- ids ---------------------------------------------------------------------- */

static const json_t *output(const json_t *root, size_t i, const char *key) {
    return json_object_get(json_array_get(json_object_get(root, "outputs"), i), key);
}

static void generation(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        outcome o =
            glia("[[5, 6, 7], [8], [5, 6, 7]]",
                 "generate %s --ids - --greedy --max-tokens 12 --ignore-eos --json --logprobs 3", models[m]);
        json_t *batch = json_of(&o);
        o = glia("[5, 6, 7]", "generate %s --ids - --temperature=0 -n 12 --ignore-eos --json", models[m]);
        json_t *one = json_of(&o);
        CHECK(json_array_size(output(one, 0, "ids")) == 12, "%zu ids",
              json_array_size(output(one, 0, "ids")));
        CHECK(json_equal(output(one, 0, "ids"), output(batch, 0, "ids")), "alone and in a batch differ");
        CHECK(json_equal(output(one, 0, "ids"), output(batch, 2, "ids")), "equal prompts differ");
        CHECK(strcmp(json_string_value(output(one, 0, "finish_reason")), "length") == 0, "finish");
        CHECK(json_is_string(output(one, 0, "text")), "no text");
        CHECK(json_array_size(output(batch, 1, "logprobs")) == 12, "logprobs");
        const json_t *top = json_array_get(output(batch, 1, "top_logprobs"), 4);
        CHECK(json_array_size(top) == 3, "%zu top logprobs", json_array_size(top));
        CHECK(json_equal(json_object_get(json_array_get(top, 0), "id"),
                         json_array_get(output(batch, 1, "ids"), 4)),
              "greedy is not the likeliest");
        json_decref(batch);
        o = glia("[5, 6, 7]", "generate %s --ids - --greedy --max-tokens 12 --ignore-eos", models[m]);
        json_t *plain = json_of(&o);
        CHECK(json_equal(plain, output(one, 0, "ids")), "with and without --json differ");
        json_decref(plain);
        json_decref(one);
    }
}

/* The value of `key` in what `glia COMMAND` answers to one prompt. */
static char *answer_text(const char *command, const char *key, const char *flags) {
    outcome o = glia("", "%s --prompt 'Once upon a time' --greedy --json --threads 1 %s", command, flags);
    json_t *root = json_of(&o);
    const json_t *one = json_object_get(root, "outputs");
    const json_t *text = json_object_get(one ? json_array_get(one, 0) : root, key);
    char *copy = strdup(json_is_string(text) ? json_string_value(text) : "(none)");
    json_decref(root);
    return copy;
}

/* A stop string that ends inside a token: `generate` and `run` give the same text, which ends there. */
static void stops_inside_tokens(void **state) {
    enum { LEN = 5, EVERY = 7, N = 6 };
    char flags[120], *full, want[200];
    (void)state;
    full = answer_text("generate models/qwen3-demo", "text", "--max-tokens 16");
    assert_true(strlen(full) >= EVERY * N);
    for (int i = 0; i < 2 * N; i++) {
        const int at = i / 2 * EVERY;
        const bool include = i % 2;
        snprintf(flags, sizeof flags, "--max-tokens 16 --stop '%.*s'%s", LEN, full + at,
                 include ? " --include-stop-str-in-output" : "");
        const char *first = strstr(full, (snprintf(want, sizeof want, "%.*s", LEN, full + at), want));
        snprintf(want, sizeof want, "%.*s", (int)(first - full) + (include ? LEN : 0), full);
        char *text = answer_text("generate models/qwen3-demo", "text", flags);
        CHECK(strcmp(text, want) == 0, "generate %s: '%s', not '%s'", flags, text, want);
        free(text);
        if (!*want) continue; /* `run` prints null for no content */
        text = answer_text("run models/qwen3-demo --raw", "content", flags);
        CHECK(strcmp(text, want) == 0, "run %s: '%s', not '%s'", flags, text, want);
        free(text);
    }
    free(full);
    outcome o =
        glia("\"\\n\\n\"", "tokenize models/qwen3-demo"); /* one token that has the stop string twice */
    const int id = atoi(o.out + 1);
    CHECK(!strchr(o.out, ','), "%s is not one token", o.out);
    done(&o);
    snprintf(flags, sizeof flags, "--logit-bias %d:100 --stop '\n'", id);
    char *text = answer_text("generate models/qwen3-demo", "text", flags);
    CHECK(!*text, "the text before the first line break is '%s'", text);
    free(text);
}

static void seeds(void **state) {
    json_t *root[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        outcome o = glia("",
                         "generate %s -p 'The garden' --temperature 1.5 --top-k 0 --top-p 1 --seed %d --json "
                         "--max-tokens 24 --ignore-eos --max-num-seqs 2 --max-model-len=64 --threads %d",
                         models[0], i == 2 ? 8 : 7, 1 + i);
        root[i] = json_of(&o);
        CHECK(json_integer_value(json_object_get(root[i], "seed")) == (i == 2 ? 8 : 7), "seed");
    }
    CHECK(json_equal(output(root[0], 0, "ids"), output(root[1], 0, "ids")), "equal seeds differ");
    CHECK(!json_equal(output(root[0], 0, "ids"), output(root[2], 0, "ids")), "seeds 7 and 8 agree");
    for (int i = 0; i < 3; i++) json_decref(root[i]);
}

/* The score of a text with its greedy continuation equals the score of the text plus
 * the log-probabilities reported while generating the continuation. */
static void scores(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        double sum[2], given = 0;
        outcome o =
            glia("[5, 6, 7, 8]",
                 "generate %s --ids - --greedy --max-tokens 9 --ignore-eos --logprobs 0 --json", models[m]);
        json_t *root = json_of(&o), *ids = json_pack("[i, i, i, i]", 5, 6, 7, 8), *value;
        size_t i;
        json_array_foreach((json_t *)(uintptr_t)output(root, 0, "logprobs"), i, value) given +=
            json_number_value(value);
        const char *dir = check_temp_dir();
        char path[256];
        snprintf(path, sizeof path, "%s/logits.safetensors", dir);
        for (int longer = 0; longer < 2; longer++) {
            if (longer) json_array_extend(ids, (json_t *)(uintptr_t)output(root, 0, "ids"));
            char *text = json_dumps(ids, 0);
            o = glia(text, "score %s --ids - --json --out %s", models[m], path);
            json_t *score = json_of(&o);
            sum[longer] = json_number_value(json_object_get(score, "sum_logprob"));
            const double n = (double)json_integer_value(json_object_get(score, "predicted"));
            const double perplexity = json_number_value(json_object_get(score, "perplexity"));
            CHECK(n == (longer ? 12 : 3), "%g predicted", n);
            CHECK(fabs(perplexity / exp(-sum[longer] / n) - 1) < 1e-6, "perplexity %g", perplexity);
            json_decref(score);
            free(text);
        }
        CHECK(fabs(sum[1] - sum[0] - given) < 1e-4, "%s: %g + %g is not %g", models[m], sum[0], given,
              sum[1]);
        glia_safetensors st;
        glia_err err = {0};
        CHECK(glia_safetensors_open(&st, path, &err) == GLIA_OK, "%s", err.msg);
        CHECK(st.n == 1 && strcmp(st.tensor[0].name, "logits") == 0 && st.tensor[0].n_dims == 2 &&
                  st.tensor[0].shape[0] == 13 && st.tensor[0].dtype == GLIA_TENSOR_F32,
              "not logits [13, vocabulary]");
        glia_safetensors_close(&st);
        json_decref(ids);
        json_decref(root);
    }
    outcome o = glia("One text.", "score %s --text - --json", models[0]);
    json_decref(json_of(&o));
    o = glia("[3]", "score %s --ids - --json", models[0]);
    json_t *one = json_of(&o);
    CHECK(json_is_null(json_object_get(one, "perplexity")), "a perplexity of nothing");
    json_decref(one);
    check_refused("score models/qwen3-demo --ids - --out /nonexistent/x", "[1]", 1, "/nonexistent/x");
}

static void inspection(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        outcome o = glia("", "inspect %s --json", models[m]);
        json_t *root = json_of(&o);
        CHECK(json_is_object(root) && json_is_string(json_object_get(root, "architecture")),
              "no architecture");
        o = glia("", "inspect %s", models[m]);
        CHECK(o.status == 0 && strstr(o.out, json_string_value(json_object_get(root, "architecture"))), "%s",
              o.out);
        CHECK(strstr(o.out, "model.norm.weight") != NULL, "%s", o.out);
        done(&o);
        o = glia("", "inspect %s --config --batch-size 3", models[m]);
        const char *batch = strstr(o.out, "\n  batch_size ");
        char value[8] = "", source[8] = "";
        CHECK(o.status == 0 && batch && sscanf(batch, " batch_size %7s %7s", value, source) == 2 &&
                  !strcmp(value, "3") && !strcmp(source, "flag"),
              "%s%s", o.out, o.err);
        CHECK(strstr(o.out, "prefill_chunk_size") && !strstr(o.out, "neuron_config:"), "%s", o.out);
        done(&o);
        o = glia("", "inspect %s --config --json", models[m]);
        json_t *settings = json_of(&o);
        CHECK(json_is_array(json_object_get(settings, "settings")) &&
                  json_is_object(json_object_get(settings, "neuron_config")),
              "no settings");
        json_decref(settings);
        json_decref(root);
    }
    static const char *const types[][2] = {
        {"int8", "rotated_per_channel_symmetric"},
        {"int4", "group_asymmetric"},
        {"w4a8", "rotated_group_asymmetric"},
        {"fp8", "per_channel_symmetric"},
        {"int4 --quantization-type rotated_group_symmetric", "rotated_group_symmetric"},
        {"int4 --quantization-type rotated_group_asymmetric", "rotated_group_asymmetric"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char row[100];
        snprintf(row, sizeof row, "\"quantization_type\",\"value\":\"%s\"", types[i][1]);
        outcome o = glia("", "inspect %s --config --json --quantization %s", models[0], types[i][0]);
        CHECK(o.status == 0 && strstr(o.out, row), "%s: no %s in %s%s", types[i][0], row, o.out, o.err);
        done(&o);
    }
}

static void benchmark(void **state) {
    (void)state;
    outcome o =
        glia("", "bench %s --prompt-tokens 40 --output-tokens 6 --runs 2 --batch-size 2 --json", models[0]);
    json_t *root = json_of(&o);
    static const char *const spreads[] = {"ttft_s",        "prefill_tokens_per_s",    "decode_tokens_per_s",
                                          "prefill_share", "prefill_attention_share", "decode_share"};
    for (size_t i = 0; i < sizeof spreads / sizeof *spreads; i++) {
        const json_t *s = json_object_get(root, spreads[i]);
        const double low = json_number_value(json_object_get(s, "min"));
        const double mid = json_number_value(json_object_get(s, "median"));
        CHECK(low > 0 && low <= mid && mid <= json_number_value(json_object_get(s, "max")), "%s", spreads[i]);
    }
    CHECK(json_number_value(json_object_get(json_object_get(root, "itl_s"), "p99")) > 0, "itl");
    CHECK(json_integer_value(json_object_get(root, "peak_rss_bytes")) > 0, "peak");
    static const char *const facts[] = {"matrix_parameters", "matrix_bytes", "kv_bytes_per_token",
                                        "attention_flop"};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        CHECK(json_integer_value(json_object_get(json_object_get(root, "step"), facts[i])) > 0, "%s",
              facts[i]);
    json_decref(root);
    size_t len;
    char *config = check_read_file("models/smollm3-demo/config.json", &len);
    const char *dir = check_temp_dir();
    check_write_file(dir, "config.json", config, len);
    free(config);
    o = glia("", "bench %s --load-format dummy --prompt-tokens 20 --output-tokens 4 --runs 1", dir);
    CHECK(o.status == 0 && strstr(o.out, "tokens/s"), "exit %d: %s", o.status, o.err);
    done(&o);
}

/* ---- chat --------------------------------------------------------------------- */

static void chat(void **state) {
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        outcome o = glia("", "run %s -p 'Hello' --greedy --max-tokens 20 --ignore-eos", models[m]);
        CHECK(o.status == 0 && o.out_len > 1 && !strchr(o.out, '\033'), "exit %d: %s", o.status, o.err);
        CHECK(strstr(o.err, "prompt tokens") && strstr(o.err, "tokens/s from the first to the last"), "%s",
              o.err);
        done(&o);
        o = glia("", "run %s -p 'Hello' --greedy --max-tokens 15 --ignore-eos", models[m]);
        CHECK(strstr(o.err, "15 tokens;") && !strstr(o.err, "tokens/s"), "a speed of 15 tokens: %s", o.err);
        done(&o);
        o = glia("", "run %s -p Hello --greedy --max-tokens 20 --ignore-eos --no-think --json", models[m]);
        json_t *root = json_of(&o);
        CHECK(json_array_size(json_object_get(root, "ids")) == 20, "ids");
        CHECK(json_is_string(json_object_get(root, "content")), "content");
        json_decref(root);
        o = glia("", "run %s -p 'Once upon' --raw --greedy --max-tokens 8", models[m]);
        CHECK(o.status == 0 && o.out_len > 1, "exit %d: %s", o.status, o.err);
        done(&o);
        o = glia("Hello\n/no_think\n/bogus\nHow are \\\nyou?\n/clear\n/exit\nnever\n",
                 "run %s --system Short. --max-tokens 12 --seed 3 --verbose", models[m]);
        CHECK(o.status == 0 && !strstr(o.err, "> "), "exit %d: %s", o.status, o.err);
        CHECK(strstr(o.err, "without thinking") && strstr(o.err, "no command /bogus"), "%s", o.err);
        CHECK(strstr(o.err, "seed 3") && strstr(o.err, "the history is empty"), "%s", o.err);
        const char *first = strstr(o.err, "prompt tokens"),
                   *second = first ? strstr(first + 1, "prompt tokens") : NULL;
        CHECK(second && !strstr(second + 1, "prompt tokens"), "not two answers: %s", o.err);
        done(&o);
    }
}

/* A prompt that does not fit is reported, and the chat continues without it. */
static void chat_too_long(void **state) {
    char input[4096] = "";
    (void)state;
    for (int i = 0; i < 300; i++) strcat(input, "word xyz ");
    strcat(input, "\nHi\n");
    outcome o = glia(input, "run %s --sequence-length 128 --max-tokens 4", models[0]);
    CHECK(strstr(o.err, "glia: ") && strstr(o.err, "/clear makes room"), "exit %d: %s", o.status, o.err);
    CHECK(strstr(o.err, "prompt tokens") != NULL, "the next message was not answered: %s", o.err);
    CHECK(o.status != 0, "exit %d", o.status);
    done(&o);
}

/* On a terminal: Ctrl-C ends the answer, then warns, then ends the program. */
static void interrupts(void **state) {
    int terminal, status;
    static char seen[1 << 20];
    (void)state;
    const pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(child >= 0);
    if (child == 0) {
        check_exec((const char *[]){program, "run", models[0], "--ignore-eos", "--temperature", "0",
                                    "--sequence-length", "16000", NULL});
    }
    *seen = '\0';
    CHECK(wait_for(terminal, seen, sizeof seen, "> "), "no prompt: %s", seen);
    *seen = '\0';
    assert_int_equal(write(terminal, "Hello\n", 6), 6);
    CHECK(wait_for(terminal, seen, sizeof seen, "Hello\r\n"), "no echo: %s", seen);
    usleep(300000); /* let the answer begin */
    assert_int_equal(write(terminal, "\003", 1), 1);
    CHECK(wait_for(terminal, seen, sizeof seen, "abort]"), "the answer went on: %.2000s", seen);
    CHECK(wait_for(terminal, seen, sizeof seen, "> "), "no prompt after an answer: %.2000s", seen);
    *seen = '\0';
    usleep(200000);
    assert_int_equal(write(terminal, "\003", 1), 1);
    CHECK(wait_for(terminal, seen, sizeof seen, "Ctrl-C again"), "no warning: %s", seen);
    usleep(200000);
    assert_int_equal(write(terminal, "\003", 1), 1);
    waitpid(child, &status, 0);
    CHECK(decode(status) == 0, "exit %d", decode(status));
    close(terminal);
}

/* With -p, Ctrl-C ends the answer, and the exit status shows the interrupt. */
static void interrupted_prompt(void **state) {
    int status;
    (void)state;
    const int out = file_of("", 0), err = file_of("", 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(out, 1);
        dup2(err, 2);
        check_exec((const char *[]){program, "run", models[0], "-p", "Hello", "--ignore-eos",
                                    "--sequence-length", "16000", NULL});
    }
    struct stat info = {0};
    const double until = check_seconds() + 60;
    while (info.st_size == 0 && check_seconds() < until) {
        usleep(10000);
        fstat(out, &info);
    }
    kill(child, SIGINT);
    waitpid(child, &status, 0);
    CHECK(decode(status) == 130, "exit %d", decode(status));
    char *said = contents(err, NULL);
    CHECK(strstr(said, "abort]") != NULL, "%s", said);
    free(said);
    close(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_errors),
        cmocka_unit_test(help),
        cmocka_unit_test(ids_that_are_none),
        cmocka_unit_test(tokens_and_back),
        cmocka_unit_test(lines_that_fail),
        cmocka_unit_test(lines_without_constraint),
        cmocka_unit_test(line_by_line),
        cmocka_unit_test(templates),
        cmocka_unit_test(generation),
        cmocka_unit_test(stops_inside_tokens),
        cmocka_unit_test(seeds),
        cmocka_unit_test(scores),
        cmocka_unit_test(inspection),
        cmocka_unit_test(benchmark),
        cmocka_unit_test(chat),
        cmocka_unit_test(chat_too_long),
        cmocka_unit_test(interrupts),
        cmocka_unit_test(interrupted_prompt),
    };
    signal(SIGPIPE, SIG_IGN);
    find_program();
    return check_run_group("check_cli", tests);
}
