/* check_safety.c - nothing is lost: files that cannot be read, inputs that are pipes, outputs that would
 * overwrite something, interruptions, damaged and changing files.
 *
 * The tests run the program on directories of links to a demo model's files, as the Hub's cache has. */
#define _GNU_SOURCE
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

#define SOURCE "models/qwen3-demo"

static const char *const files[] = {"config.json", "generation_config.json", "model.safetensors",
                                    "tokenizer.json", "tokenizer_config.json"};
enum { N_FILES = sizeof files / sizeof *files };

static char *join(const char *dir, const char *name) {
    static char path[16][600];
    static int turn;
    char *p = path[turn++ % 16];
    snprintf(p, sizeof path[0], "%.300s/%.200s", dir, name);
    return p;
}

/* A new directory below one that is removed at exit. */
static const char *new_dir(void) {
    static char base[300], dir[16][400];
    static int n;
    if (!n) snprintf(base, sizeof base, "%s", check_temp_dir());
    char *p = dir[n++ % 16];
    snprintf(p, sizeof dir[0], "%s/%d", base, n);
    assert_int_equal(mkdir(p, 0777), 0);
    return p;
}

/* A model's directory: links to the demo model's files. */
static const char *linked_model(void) {
    char here[PATH_MAX], target[PATH_MAX + 100];
    const char *dir = new_dir();
    assert_non_null(getcwd(here, sizeof here));
    for (int i = 0; i < N_FILES; i++) {
        snprintf(target, sizeof target, "%s/" SOURCE "/%s", here, files[i]);
        assert_int_equal(symlink(target, join(dir, files[i])), 0);
    }
    return dir;
}

/* ---- files that cannot be read ------------------------------------------------ */

static void dangling(const char *path) { assert_int_equal(symlink("../../blobs/pruned", path), 0); }
static void loop(const char *path) { assert_int_equal(symlink(strrchr(path, '/') + 1, path), 0); }
static void directory(const char *path) { assert_int_equal(mkdir(path, 0777), 0); }
static void fifo(const char *path) { assert_int_equal(mkfifo(path, 0666), 0); }
static void file(const char *path) { fclose(fopen(path, "w")); }

static const struct {
    void (*make)(const char *path);
    const char *words;
} unreadable[] = {
    {dangling, ": a link to ../../blobs/pruned: No such file or directory"},
    {loop, ": Too many levels of symbolic links"},
    {directory, ": a directory, not a "},
    {fifo, ": a FIFO, not a "},
    {file, ": a file, not a "},
};
enum { N_UNREADABLE = sizeof unreadable / sizeof *unreadable };

static const struct {
    const char *name;
    bool is_directory;
} names[] = {
    {"config.json", false},         {"generation_config.json", false},   {"neuron_config.json", false},
    {"tokenizer.json", false},      {"model.safetensors", false},        {"tokenizer_config.json", false},
    {"chat_template.jinja", false}, {"additional_chat_templates", true},
};

/* A name that exists and cannot be read is never taken as absent. */
static void unreadable_files(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (size_t u = 0; u < N_UNREADABLE; u++) {
            if (unreadable[u].make == (names[n].is_directory ? directory : file)) continue;
            const char *dir = linked_model(), *path = join(dir, names[n].name);
            char words[800];
            unlink(path);
            unreadable[u].make(path);
            if (unreadable[u].make == loop)
                snprintf(words, sizeof words, "%s: a link to %s%s", path, names[n].name, unreadable[u].words);
            else
                snprintf(words, sizeof words, "%s%s", path, unreadable[u].words);
            char args[1000];
            snprintf(args, sizeof args, "run %s -p Hi -n 2 --greedy", dir);
            check_refused(args, "", 1, words);
        }
}

/* Weights in several files, and what lies behind a link in the middle of a path. */
static void unreadable_shards(void **state) {
    (void)state;
    static const char index[] = "{\"weight_map\": {\"model.embed_tokens.weight\": \"one.safetensors\"}}";
    const char *dir = linked_model();
    char args[1000], words[1000];
    unlink(join(dir, "model.safetensors"));
    check_write_file(dir, "model.safetensors.index.json", index, strlen(index));
    dangling(join(dir, "one.safetensors"));
    snprintf(args, sizeof args, "score %s --ids - --json", dir);
    snprintf(words, sizeof words, "%s/one.safetensors: a link to ../../blobs/pruned: No such file", dir);
    check_refused(args, "[1, 2]", 1, words);
    unlink(join(dir, "model.safetensors.index.json"));
    dangling(join(dir, "weights"));
    snprintf(words, sizeof words, "%s/weights is a link to ../../blobs/pruned: No such file", dir);
    check_refused(args, "[1, 2]", 1, words);
    dangling(join(dir, "lost"));
    snprintf(args, sizeof args, "run %s/lost -p x", dir);
    snprintf(words, sizeof words, "%s/lost: a link to ../../blobs/pruned: No such file", dir);
    check_refused(args, "", 1, words);
}

/* ---- inputs that are pipes ---------------------------------------------------- */

/* Run glia with `text` in a pipe that is /dev/fd/9. */
static outcome piped(const char *text, const char *args) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    close(ends[1]);
    dup2(ends[0], 9);
    close(ends[0]);
    outcome o = glia("{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n", "%s", args);
    close(9);
    return o;
}

static void pipes(void **state) {
    (void)state;
    static const struct {
        const char *text, *args, *out;
    } rows[] = {
        {"[5, 7, 9]", "score " SOURCE " --ids /dev/fd/9 --json", "{\"tokens\":3,\"predicted\":2"},
        {"Hello there", "score " SOURCE " --text /dev/fd/9 --json", "{\"tokens\":"},
        {"[5, 7, 9]", "generate " SOURCE " --ids /dev/fd/9 -n 2 --greedy", "["},
        {"<{{ messages[0].content }}>", "template " SOURCE " --chat-template /dev/fd/9", "<Hi>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        outcome o = piped(rows[i].text, rows[i].args);
        CHECK(o.status == 0 && strstr(o.out, rows[i].out), "%s: exit %d: %s%s", rows[i].args, o.status, o.out,
              o.err);
        done(&o);
    }
    check_refused("score " SOURCE " --text models --json", "", 1, "models: Is a directory");
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreadable_files),
        cmocka_unit_test(unreadable_shards),
        cmocka_unit_test(pipes),
    };
    return check_run_group("safety", tests);
}
