/* check_safety.c - nothing is lost: files that cannot be read, inputs that are pipes, outputs that would
 * overwrite something, interruptions, damaged and changing files.
 *
 * The tests run the program on directories of links to a demo model's files, as the Hub's cache has. */
#define _GNU_SOURCE
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <sys/mman.h>
#include <time.h>

#include <glia.h>

#include "base/hash.h"

#define SOURCE "models/qwen3-demo"

static const char *const files[] = {"config.json", "generation_config.json", "model.safetensors",
                                    "tokenizer.json", "tokenizer_config.json"};
enum { N_FILES = sizeof files / sizeof *files };

static char *join(const char *dir, const char *name) {
    static char path[16][600];
    static int turn;
    char *p = path[turn++ % 16];
    char copy[600]; /* `dir` may be an earlier result */
    snprintf(copy, sizeof copy, "%.300s/%.200s", dir, name);
    return strcpy(p, copy);
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

static int entries(const char *path) {
    int n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
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

/* ---- outputs that would overwrite something ----------------------------------- */

/* A hash of the names, kinds and bytes of a directory's tree. */
static uint64_t tree_hash;
static int add_file(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info;
    char link[PATH_MAX] = "";
    size_t n = 0;
    char *bytes = kind == FTW_F ? check_read_file(path, &n) : NULL;
    if (kind == FTW_SL) n = (size_t)readlink(path, link, sizeof link);
    tree_hash += glia_hash(path, strlen(path), (uint64_t)at->level) ^ glia_hash(bytes ? bytes : link, n, 1);
    free(bytes);
    return 0;
}

static uint64_t hash_of(const char *dir) {
    tree_hash = 0;
    assert_int_equal(nftw(dir, add_file, 16, FTW_PHYS), 0);
    return tree_hash;
}

/* A copy of the demo model in the new directory dir/name. */
static const char *copied_model(const char *dir, const char *name) {
    const char *to = join(dir, name);
    assert_int_equal(mkdir(to, 0777), 0);
    for (int i = 0; i < N_FILES; i++) {
        size_t n;
        char *bytes = check_read_file(join(SOURCE, files[i]), &n);
        check_write_file(to, files[i], bytes, n);
        free(bytes);
    }
    return to;
}

/* `args` with the directory in the place of each @. Nothing below the directory may change. */
static void refused_in(const char *dir, const char *args, const char *input, int status, const char *words) {
    char line[1000];
    size_t n = 0;
    for (const char *at = args; *at; at++)
        n += (size_t)snprintf(line + n, sizeof line - n, "%.*s", *at == '@' ? 500 : 1, *at == '@' ? dir : at);
    const uint64_t before = hash_of(dir);
    check_refused(line, input, status, words);
    CHECK(hash_of(dir) == before, "'%s' changed %s", args, dir);
}

/* A Hub cache in dir/hub: the snapshot's files are links into blobs. */
static void make_cache(const char *dir) {
    char path[700], target[700];
    static const char *const dirs[] = {"hub", "hub/models--a--b", "hub/models--a--b/blobs",
                                       "hub/models--a--b/snapshots", "hub/models--a--b/snapshots/c"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        assert_int_equal(mkdir(join(dir, dirs[i]), 0777), 0);
    for (int i = 0; i < N_FILES; i++) {
        size_t n;
        char *bytes = check_read_file(join(SOURCE, files[i]), &n);
        snprintf(path, sizeof path, "%s/hub/models--a--b/blobs", dir);
        snprintf(target, sizeof target, "%d", i);
        check_write_file(path, target, bytes, n);
        free(bytes);
        snprintf(target, sizeof target, "../../blobs/%d", i);
        snprintf(path, sizeof path, "%s/hub/models--a--b/snapshots/c/%s", dir, files[i]);
        assert_int_equal(symlink(target, path), 0);
    }
}

static void compile_into_the_source(void **state) {
    (void)state;
    static const struct {
        const char *args;
        int status;
        const char *words;
    } rows[] = {
        {"compile @/mod -o @/mod", 2, "is or holds"},
        {"compile @/mod -o @/mod/", 2, "is or holds"},
        {"compile @/mod -o @/mod/sub", 2, "lies in"},
        {"compile @/mod -o @/mod/sub/../x", 1, "cannot make it in"},
        {"compile @/mod -o @", 2, "is or holds"},
        {"compile @/mod -o /", 2, "is or holds"},
        {"compile @/mod -o @/link", 2, "is or holds"},
        {"compile @/mod -o @/link/sub", 2, "lies in"},
        {"compile @/link -o @/mod/sub", 2, "lies in"},
        {"compile @/mod -o @/dangling", 1, "a link to nowhere: No such file or directory"},
        {"compile @/mod -o ''", 2, "is empty"},
        {"compile @/mod -o @/file", 1, "exists and is not a directory"},
        {"compile @/mod -o @/other", 1, "exists and is not empty; give another directory or remove it"},
        {"compile @/hub/models--a--b/snapshots/c -o @/hub/models--a--b/blobs", 2, "lies in"},
        {"compile @/hub/models--a--b/snapshots/c -o @/hub/models--a--b/blobs/new", 2, "lies in"},
        {"compile @/hub/models--a--b/snapshots/c -o @/hub/models--a--b/snapshots/d", 2, "lies in"},
        {"compile @/hub/models--a--b/snapshots/c -o @/hub", 2, "is or holds"},
        {"compile @/linked -o @/store", 2, "is or holds"},
        {"score @/mod --ids @/ids --out @/ids", 2, "ids is the input; give --out another file"},
        {"score @/mod --ids @/ids --out @/hard", 2, "ids is the input; give --out another file"},
        {"score @/mod --ids @/ids --out @/soft", 2, "ids is the input; give --out another file"},
        {"score @/mod --text @/ids --out @/ids", 2, "ids is the input; give --out another file"},
        {"score @/mod --ids @/ids --out @/mod/model.safetensors", 2, "lies in"},
        {"score @/mod --ids @/ids --out @/mod/new", 2, "lies in"},
        {"score @/link --ids @/ids --out @/mod/new", 2, "lies in"},
        {"score @/linked --ids @/ids --out @/store/model.safetensors", 2, "is or holds"},
        {"score @/mod --ids @/ids --out @/file", 1, "glia score did not write it"},
        {"score @/mod --ids @/ids --out @/other", 1, "exists and is not a regular file"},
        {"score @/mod --ids @/ids --out @/dangling", 1, "a link to nowhere: No such file or directory"},
        {"score @/mod --ids @/ids --out ''", 2, "is empty"},
    };
    const char *dir = new_dir();
    copied_model(dir, "mod");
    copied_model(dir, "store");
    make_cache(dir);
    assert_int_equal(symlink("mod", join(dir, "link")), 0);
    assert_int_equal(symlink("nowhere", join(dir, "dangling")), 0);
    assert_int_equal(mkdir(join(dir, "linked"), 0777), 0);
    for (int i = 0; i < N_FILES; i++) {
        char target[300], path[700];
        snprintf(target, sizeof target, "../store/%s", files[i]);
        snprintf(path, sizeof path, "%s/linked/%s", dir, files[i]);
        assert_int_equal(symlink(target, path), 0);
    }
    check_write_file(dir, "file", "x", 1);
    check_write_file(dir, "ids", "[1, 2, 3]", 9);
    assert_int_equal(link(join(dir, "ids"), join(dir, "hard")), 0);
    assert_int_equal(symlink("ids", join(dir, "soft")), 0);
    assert_int_equal(mkdir(join(dir, "other"), 0777), 0);
    check_write_file(join(dir, "other"), "mine", "x", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused_in(dir, rows[i].args, "", rows[i].status, rows[i].words);
}

/* What stands beside an output stays: DIR.tmp, also as the source, and foreign files in an artifact. */
static void compile_beside_others(void **state) {
    (void)state;
    const char *dir = new_dir();
    copied_model(dir, "mod.tmp");
    copied_model(dir, "mod.tmp-aaaaaaaaaaaaaaaa");
    uint64_t tmp = hash_of(join(dir, "mod.tmp")), other = hash_of(join(dir, "mod.tmp-aaaaaaaaaaaaaaaa"));
    for (int turn = 0; turn < 2; turn++) {
        outcome o = glia("", "compile %s/mod.tmp -o %s/mod", dir, dir);
        CHECK(o.status == 0, "exit %d: %s", o.status, o.err);
        done(&o);
    }
    CHECK(hash_of(join(dir, "mod.tmp")) == tmp, "the source changed");
    CHECK(hash_of(join(dir, "mod.tmp-aaaaaaaaaaaaaaaa")) == other, "a stranger changed");
    CHECK(entries(dir) == 3, "%d entries", entries(dir));
    copied_model(join(dir, "mod"), "original");
    refused_in(dir, "compile @/mod/original -o @/mod", "", 2, "is or holds");
    refused_in(dir, "compile @/mod.tmp -o @/mod", "", 1, "Glia did not write");
    refused_in(dir, "compile @/mod -o @/mod2", "", 2, "is compiled already");
    static const char *const edited[] = {"neuron_config.json", "tokenizer.json", "generation_config.json"};
    for (int i = 0; i < 3; i++) {
        outcome o = glia("", "compile %s/mod.tmp -o %s/art%d", dir, dir, i);
        CHECK(o.status == 0, "exit %d: %s", o.status, o.err);
        done(&o);
        char at[700], args[100];
        snprintf(at, sizeof at, "%s/art%d", dir, i);
        size_t n;
        char *bytes = check_read_file(join(at, edited[i]), &n);
        bytes[n - 1] = ' '; /* was a line break or a brace */
        check_write_file(at, edited[i], bytes, n);
        free(bytes);
        snprintf(args, sizeof args, "compile @/mod.tmp -o @/art%d", i);
        refused_in(dir, args, "", 1, "was changed");
    }
}

/* An output of glia score may be overwritten; an empty file too. */
static void score_again(void **state) {
    (void)state;
    const char *dir = new_dir();
    file(join(dir, "empty"));
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < 2; i++) {
            outcome o = glia("[1, 2, 3]", "score " SOURCE " --ids - --out %s/%s", dir, i ? "empty" : "new");
            CHECK(o.status == 0 && entries(dir) == 2, "exit %d: %s", o.status, o.err);
            done(&o);
        }
    char here[700];
    snprintf(here, sizeof here, "score " SOURCE " --ids - --json --out %s/new", dir);
    const int out = open(join(dir, "new"), O_WRONLY);
    outcome o = glia_in("[1]", 3, out, here);
    CHECK(o.status == 2 && strstr(o.err, "is standard output; give --out another file"), "exit %d: %s",
          o.status, o.err);
    done(&o);
    close(out);
}

/* ---- interruptions -------------------------------------------------------------- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool matches(const char *pattern) {
    glob_t found = {0};
    const bool any = glob(pattern, 0, NULL, &found) == 0;
    globfree(&found);
    return any;
}

/* Start glia with the words of `line`, wait until a file matches dir/pattern, and send the signal. Returns
 * the decoded status; -1: it ended too early. */
static int interrupted(const char *dir, const char *pattern, char *line, int signal_number) {
    char *argv[ARGS_MAX];
    int status;
    split(line, argv);
    const pid_t child = fork();
    if (child == 0) {
        const int nothing = open("/dev/null", O_RDWR);
        for (int fd = 0; fd <= 2; fd++) dup2(nothing, fd);
        signal(signal_number, SIG_DFL); /* a shell lets jobs in its background ignore some */
        check_exec((const char *const *)argv);
    }
    pattern = join(dir, pattern);
    for (const double end = now() + 60; !matches(pattern) && now() < end;)
        if (waitpid(child, &status, WNOHANG) == child) return -1;
    kill(child, signal_number);
    waitpid(child, &status, 0);
    return decode(status);
}

/* The same in a new directory, which `args` names by %s, again until the signal comes before the end. */
static int caught(const char **dir, const char *pattern, const char *args, int signal_number) {
    enum { TRIES = 20 };
    char line[1000];
    int status = 0;
    for (int i = 0; i < TRIES && status <= 0; i++) {
        *dir = new_dir();
        snprintf(line, sizeof line, args, *dir);
        status = interrupted(*dir, pattern, line, signal_number);
    }
    return status;
}

static void interruptions(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    static const char compile[] = "compile " SOURCE " -o %s/out";
    const char *dir;
    char text[700], args[1500];
    char *ids = malloc(8000 * 3 + 2);
    assert_non_null(ids);
    strcpy(ids, "[1");
    for (int i = 0; i < 4000; i++) strcpy(ids + 2 + 2 * i, ",1");
    strcat(ids, "]");
    snprintf(text, sizeof text, "%s", check_write_file(new_dir(), "ids", ids, strlen(ids)));
    free(ids);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        snprintf(args, sizeof args, "score " SOURCE " --ids %s --sequence-length 5000 --out %%s/out", text);
        int status = caught(&dir, "out.tmp-*", args, signals[i]);
        CHECK(status == 1000 + signals[i], "score: signal %d: status %d", signals[i], status);
        CHECK(entries(dir) == 0, "score: signal %d: %d entries are left", signals[i], entries(dir));
        status = caught(&dir, "out.tmp-*", compile, signals[i]);
        CHECK(status == 1000 + signals[i], "compile: signal %d: status %d", signals[i], status);
        CHECK(entries(dir) == 0, "compile: signal %d: %d entries are left", signals[i], entries(dir));
    }
    const int status =
        caught(&dir, "out.tmp-*/weights", compile, SIGKILL); /* leaves what the next one removes */
    CHECK(status == 1000 + SIGKILL && entries(dir) == 1, "status %d, %d entries", status, entries(dir));
    snprintf(args, sizeof args, compile, dir);
    outcome o = glia("", "%s", args);
    CHECK(o.status == 0 && entries(dir) == 1, "exit %d: %s, %d entries", o.status, o.err, entries(dir));
    done(&o);
}

static const char *artifact_of(const char *source, const glia_options *o, const char *dir) {
    glia_err err;
    const char *art = join(dir, "art");
    if (glia_compile(source, NULL, art, o, &err)) fail_msg("%s", err.msg);
    return art;
}

/* ---- damaged artifacts ---------------------------------------------------------- */

/* One flipped bit in any file of an artifact is an error that names the file, and for weights the tensor; in
 * a file of settings, which people edit, it is at least a warning. */
static void flipped_bits(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int status;
        const char *words;
    } rows[] = {
        {"weights/tp0_sharded_checkpoint.safetensors", 1, "tensor "},
        {"config.json", 1, "config.json"},
        {"tokenizer.json", 1, "tokenizer.json was changed since glia compile wrote it"},
        {"tokenizer_config.json", 1, "tokenizer_config.json was changed since glia compile wrote it"},
        {"generation_config.json", 0, "generation_config.json was changed"},
    };
    char art[700]; /* join() reuses its memory */
    snprintf(art, sizeof art, "%s", artifact_of(SOURCE, NULL, new_dir()));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int turn = 0; turn < 5; turn++) {
            size_t n;
            char *bytes = check_read_file(join(art, rows[i].name), &n);
            size_t at = i ? n - 1 : 4096 + check_u32() % (n - 8192);
            if (i) /* JSON stays JSON: a digit becomes another digit, or a blank a line break */
                for (at = (size_t)check_u32() % n; bytes[at] != ' ' && (bytes[at] < '2' || bytes[at] > '7');)
                    at = (at + 1) % n;
            const char was = bytes[at];
            bytes[at] = bytes[at] == ' ' ? '\n' : (char)(bytes[at] ^ 1);
            check_write_file(art, rows[i].name, bytes, n);
            outcome o = glia("", "run %s -p Hi -n 2 --greedy", art);
            CHECK(o.status == rows[i].status && strstr(o.err, rows[i].name) && strstr(o.err, rows[i].words),
                  "%s, byte %zu: exit %d: %s", rows[i].name, at, o.status, o.err);
            done(&o);
            bytes[at] = was;
            check_write_file(art, rows[i].name, bytes, n);
            free(bytes);
        }
    outcome o = glia("", "run %s -p Hi -n 2 --greedy", art);
    CHECK(o.status == 0, "exit %d: %s", o.status, o.err);
    done(&o);
}

/* ---- files that change while they are mapped ------------------------------------- */

static void cut(const char *path) { assert_int_equal(truncate(path, 8192), 0); }
static void empty(const char *path) { assert_int_equal(truncate(path, 0), 0); }
static void overwrite(const char *path) {
    const int fd = open(path, O_WRONLY);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* Linux counts times of files in ticks */
    assert_int_equal(pwrite(fd, "\1\2\3\4", 4, 100000), 4);
    close(fd);
}
static void append(const char *path) {
    const int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}
/* Another file takes the name: the file that is mapped stays as it is. */
static void replace(const char *path) {
    char other[700];
    size_t n;
    char *bytes = check_read_file(path, &n);
    memset(bytes, 0xff, n);
    snprintf(other, sizeof other, "%s.new", path);
    FILE *f = fopen(other, "wb");
    fwrite(bytes, 1, n, f);
    fclose(f);
    free(bytes);
    assert_int_equal(rename(other, path), 0);
}

static const struct {
    void (*change)(const char *path);
    const char *words; /* NULL: it does no harm */
} changes[] = {
    {cut, " to 8192 bytes while it was in use"},
    {empty, " to 0 bytes while it was in use"},
    {overwrite, ": was written while it was in use"},
    {append, " bytes while it was in use"},
    {replace, NULL},
};
enum { N_CHANGES = sizeof changes / sizeof *changes };

typedef struct {
    int change;
    bool done;
    char path[700];
} changing;

/* A progress function that changes the file when loading begins. */
static void change_now(void *user, const char *what, uint64_t part, uint64_t total) {
    changing *c = user;
    (void)what, (void)part, (void)total;
    if (!c->done) changes[c->change].change(c->path);
    c->done = true;
}

static void check_change(int change, glia_status status, const glia_err *err, const char *path,
                         const char *what) {
    const char *words = changes[change].words;
    if (!words)
        CHECK(status == GLIA_OK, "%s: change %d: %s", what, change, err->msg);
    else
        CHECK(status == GLIA_ERR_IO && strstr(err->msg, path) && strstr(err->msg, words),
              "%s: change %d: %d: %s", what, change, status, err->msg);
}

static void changes_while_loading(void **state) {
    (void)state;
    glia_catch_sigbus(); /* in place of cmocka's handler, which it installs for each test */
    for (int c = 0; c < N_CHANGES; c++)
        for (int compiled = 0; compiled < 2; compiled++) {
            glia_model *m = NULL;
            glia_err err = {0};
            const char *dir = new_dir();
            changing change = {.change = c};
            const glia_options o = {.threads = 2, .progress = change_now, .user = &change};
            const char *model = copied_model(dir, "mod");
            if (compiled) model = artifact_of(model, &(glia_options){.threads = 1}, dir);
            snprintf(change.path, sizeof change.path, "%s/%s", model,
                     compiled ? "weights/tp0_sharded_checkpoint.safetensors" : "model.safetensors");
            const glia_status status = glia_model_load(&m, model, NULL, &o, &err);
            CHECK(change.done, "no progress");
            check_change(c, status, &err, change.path, compiled ? "artifact" : "model");
            glia_model_free(m);
        }
}

static void no_logits(void *user, size_t position, const float *logits) {
    (void)user, (void)position, (void)logits;
}

/* A compiled model whose file changes between two steps, of one rank and of two. */
static void changes_in_use(void **state) {
    (void)state;
    static const int32_t ids[] = {5, 7, 30};
    glia_catch_sigbus();
    for (int c = 0; c < N_CHANGES; c++)
        for (int rank = 0; rank < 3; rank++) { /* 0: alone; 1, 2: the first and the second of two */
            glia_model *m;
            glia_engine *e;
            glia_err err = {0};
            char path[700];
            const char *dir = new_dir();
            const glia_options o = {.threads = 1, .tensor_parallel_size = rank ? 2 : 1};
            const char *art = artifact_of(SOURCE, &o, dir);
            snprintf(path, sizeof path, "%s/weights/tp%d_sharded_checkpoint.safetensors", art, rank > 1);
            assert_int_equal(glia_model_load(&m, art, NULL, &o, &err), GLIA_OK);
            assert_int_equal(glia_engine_create(&e, m, NULL, &err), GLIA_OK);
            assert_int_equal(glia_engine_score(e, ids, 3, no_logits, NULL, &err), GLIA_OK);
            changes[c].change(path);
            check_change(c, glia_engine_score(e, ids, 3, no_logits, NULL, &err), &err, path, "in use");
            glia_engine_free(e);
            glia_model_free(m);
        }
}

/* The same in the program: a message is answered, the file is cut, and the next message fails in one line. */
static void cut_in_a_chat(void **state) {
    (void)state;
    const char *dir = new_dir(), *art = artifact_of(SOURCE, NULL, dir);
    char line[1000], *argv[ARGS_MAX], answer[4096];
    int to[2], from[2], status;
    snprintf(line, sizeof line, "run %s --greedy -n 4", art);
    split(line, argv);
    assert_true(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    const int err = file_of("", 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        dup2(err, 2);
        check_exec((const char *const *)argv);
    }
    close(to[0]);
    close(from[1]);
    assert_int_equal(write(to[1], "Hi\n", 3), 3);
    assert_true(read(from[0], answer, sizeof answer) > 0);
    cut(join(art, "weights/tp0_sharded_checkpoint.safetensors"));
    assert_int_equal(write(to[1], "Hi\n", 3), 3);
    close(to[1]);
    while (read(from[0], answer, sizeof answer) > 0) {
    }
    close(from[0]);
    waitpid(child, &status, 0);
    char *said = contents(err, NULL);
    CHECK(decode(status) == 1 && strstr(said, "glia: ") && strstr(said, "8192 bytes while it was in use"),
          "status %d: %s", decode(status), said);
    free(said);
}

/* A SIGBUS of anything else ends the process as before. */
static void other_sigbus(void **state) {
    (void)state;
    int status;
    const char *path = check_write_file(new_dir(), "a", "x", 1);
    const pid_t child = fork();
    if (child == 0) {
        const int fd = open(path, O_RDONLY);
        const char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
        signal(SIGBUS, SIG_DFL); /* not cmocka's */
        glia_catch_sigbus();
        _exit(((volatile const char *)p)[4096] * 0);
    }
    waitpid(child, &status, 0);
    CHECK(decode(status) == 1000 + SIGBUS, "status %d", decode(status));
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreadable_files),
        cmocka_unit_test(unreadable_shards),
        cmocka_unit_test(pipes),
        cmocka_unit_test(compile_into_the_source),
        cmocka_unit_test(compile_beside_others),
        cmocka_unit_test(score_again),
        cmocka_unit_test(interruptions),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(other_sigbus),
        cmocka_unit_test(changes_while_loading),
        cmocka_unit_test(changes_in_use),
        cmocka_unit_test(cut_in_a_chat),
    };
    return check_run_group("safety", tests);
}
