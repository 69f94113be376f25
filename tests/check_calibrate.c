/* check_calibrate.c - `glia calibrate` and --importance, through the program.
 *
 * The file must not depend on the number of threads. With it, the weighted squared error of
 * 4-bit codes is smaller than without. */
#define _GNU_SOURCE /* memmem */
#include "cli.h"

#include <dirent.h>
#include <math.h>

#include "base/bf16.h"
#include "format/config.h"
#include "format/safetensors.h"
#include "model/codes.h"
#include "model/importance.h"

enum { PATH = 700, BAD = 1, USAGE = 2 };
static const char *dir;
static const char text[] =
    "The house stands by the sea. In the morning the fishermen go out with their boats.\n"
    "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(add(i, 1))\n"
    "Das Haus steht am Meer. Am Morgen fahren die Fischer mit ihren Booten hinaus.\n";

/* Run calibrate on the text into dir/name. */
static outcome calibrate(const char *model, const char *name, const char *flags) {
    check_write_file(dir, "text", text, sizeof text - 1);
    return glia("", "calibrate %s --text %s/text -o %s/%s %s", model, dir, dir, name, flags);
}

static char *bytes_of(const char *name, size_t *n) {
    char path[PATH];
    snprintf(path, sizeof path, "%.200s/%s", dir, name);
    return check_read_file(path, n);
}

/* Files of dir whose names begin so. */
static int files(const char *prefix) {
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

static void good(outcome o, const char *what) {
    CHECK(o.status == 0, "%s: exit %d: %s", what, o.status, o.err);
    done(&o);
}

/* ---- the file ------------------------------------------------------------------------- */

static void test_threads(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        size_t n, k, w;
        good(calibrate(models[i], "one", "-t 1"), "one thread");
        good(calibrate(models[i], "two", "-t 2"), "two threads");
        good(calibrate(models[i], "windows", "-t 1 --sequence-length 16"), "windows of 16");
        char *one = bytes_of("one", &n), *two = bytes_of("two", &k), *windows = bytes_of("windows", &w);
        CHECK(n == k && memcmp(one, two, n) == 0, "%s: the number of threads changes the file", models[i]);
        CHECK(n != w || memcmp(one, windows, n) != 0, "%s: the window changes nothing", models[i]);
        free(one);
        free(two);
        free(windows);
    }
}

/* ---- weights ---------------------------------------------------------------------------- */

/* Squared errors of the codes of down_proj of layer 0, weighed by w [k]. */
static double error_of(const glia_tensor_view *t, const float *w, bool use, size_t group, bool zeros) {
    double sum = 0;
    const size_t k = (size_t)t->shape[1];
    for (size_t row = 0; row < (size_t)t->shape[0]; row++)
        for (size_t at = 0; at < k; at += group) {
            float x[128], scale;
            uint8_t code[128];
            int8_t zero;
            for (size_t i = 0; i < group; i++) {
                uint16_t half;
                memcpy(&half, (const char *)t->data + 2 * (row * k + at + i), 2);
                x[i] = glia_bf16_to_f32(half);
            }
            glia_make_codes(code, &scale, &zero, x, use ? w + at : NULL, group, GLIA_WEIGHT_C4, zeros);
            for (size_t i = 0; i < group; i++) {
                const double e = (double)x[i] - (double)scale * (code[i] - zero);
                sum += (double)w[at + i] * e * e;
            }
        }
    return sum;
}

static void test_error(void **state) {
    (void)state;
    char path[PATH];
    glia_err err;
    glia_model_config c;
    glia_importance *m;
    glia_safetensors weights;
    good(calibrate(models[0], "one", ""), "calibrate");
    if (glia_model_config_load(&c, models[0], NULL, NULL, &err)) fail_msg("%s", err.msg);
    snprintf(path, sizeof path, "%.200s/one", dir);
    if (glia_importance_open(&m, path, &c, &err)) fail_msg("%s", err.msg);
    snprintf(path, sizeof path, "%s/model.safetensors", models[0]);
    if (glia_safetensors_open(&weights, path, &err)) fail_msg("%s", err.msg);
    const glia_tensor_view *t = NULL;
    for (size_t i = 0; i < weights.n; i++)
        if (strstr(weights.tensor[i].name, "layers.0.mlp.down_proj.weight")) t = &weights.tensor[i];
    assert_non_null(t);
    assert_int_equal(t->dtype, GLIA_TENSOR_BF16);
    for (size_t group = 32; group <= 128; group *= 2)
        for (int zeros = 0; zeros < 2; zeros++) {
            const float *w = glia_importance_of(m, 0, PRODUCT_DOWN);
            const double without = error_of(t, w, false, group, zeros),
                         with = error_of(t, w, true, group, zeros);
            printf("groups of %3zu, zero points %d: weighted error %.4g without, %.4g with\n", group, zeros,
                   without, with);
            CHECK(with < without, "groups of %zu, zero points %d: %g with, %g without", group, zeros, with,
                  without);
        }
    glia_safetensors_close(&weights);
    glia_importance_close(m);
    glia_model_config_free(&c);
}

/* The logits of the text as `glia score` writes them. */
static char *score(const char *flags, size_t *n) {
    good(glia("", "score %s --text %s/text -o %s/logits %s", models[0], dir, dir, flags), flags);
    return bytes_of("logits", n);
}

static void test_logits(void **state) {
    (void)state;
    char with[PATH + 100];
    static const char *const schemes[] = {"int4", "int4 --group-size 128", "w4a8"};
    good(calibrate(models[0], "one", ""), "calibrate");
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t n, k, again;
        snprintf(with, sizeof with, "--quantization %s", schemes[i]);
        char *plain = score(with, &n);
        snprintf(with, sizeof with, "--quantization %s --importance %.200s/one -t 1", schemes[i], dir);
        char *weighed = score(with, &k);
        snprintf(with, sizeof with, "--quantization %s --importance %.200s/one -t 2", schemes[i], dir);
        char *same = score(with, &again);
        CHECK(n == k && memcmp(plain, weighed, n) != 0, "%s: --importance changes nothing", schemes[i]);
        CHECK(k == again && memcmp(weighed, same, k) == 0, "%s: threads change the weights", schemes[i]);
        free(plain);
        free(weighed);
        free(same);
    }
}

/* The largest difference of two tensors of logits, as a share of the largest of b. */
static double distance(const char *a, size_t n, const char *b, size_t k) {
    glia_safetensors x, y;
    glia_err err;
    double most = 0, size = 0;
    if (glia_safetensors_parse(&x, a, n, "a", &err) || glia_safetensors_parse(&y, b, k, "b", &err))
        fail_msg("%s", err.msg);
    assert_int_equal(x.tensor[0].bytes, y.tensor[0].bytes);
    for (size_t i = 0; i < x.tensor[0].bytes; i += sizeof(float)) {
        float p, q;
        memcpy(&p, (const char *)x.tensor[0].data + i, sizeof p);
        memcpy(&q, (const char *)y.tensor[0].data + i, sizeof q);
        most = fmax(most, fabs((double)p - (double)q));
        size = fmax(size, fabs((double)q));
    }
    glia_safetensors_close(&x);
    glia_safetensors_close(&y);
    return most / size;
}

/* Ranks cut the importance as they cut the columns, so the weights are the same: only the order of additions
 * differs, in float32. */
static void test_ranks(void **state) {
    (void)state;
    char args[2 * PATH];
    size_t n, k;
    good(calibrate(models[0], "one", ""), "calibrate");
    snprintf(args, sizeof args, "--dtype float32 --quantization int4 --importance %.200s/one", dir);
    char *one = score(args, &n);
    strcat(args, " -tp 2");
    char *two = score(args, &k);
    CHECK(distance(two, k, one, n) < 1e-4, "two ranks: %g from one", distance(two, k, one, n));
    free(one);
    free(two);
}

/* An artifact has the weights that it was compiled with. */
static void test_artifact(void **state) {
    (void)state;
    char args[3 * PATH];
    size_t n, k;
    good(calibrate(models[0], "one", ""), "calibrate");
    snprintf(args, sizeof args, "--quantization int4 --importance %.200s/one", dir);
    char *want = score(args, &n);
    good(glia("", "compile %s -o %s/artifact %s", models[0], dir, args), "compile");
    good(glia("", "score %s/artifact --text %s/text -o %s/logits", dir, dir, dir), "score");
    char *found = bytes_of("logits", &k);
    CHECK(n == k && memcmp(want, found, n) == 0, "compile changes the logits");
    free(want);
    free(found);
    snprintf(args, sizeof args,
             "score %.200s/artifact --text %.200s/text -o %.200s/logits --importance %.200s/one", dir, dir,
             dir, dir);
    check_refused(args, "", USAGE, "importance is used while weights are quantised, and those of");
}

/* ---- files that are none --------------------------------------------------------------- */

static void damage(const char *name, const char *from, const char *to, size_t n_to) {
    size_t n;
    char *all = bytes_of("one", &n), *at = memmem(all, n, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, n_to);
    check_write_file(dir, name, all, n);
    free(all);
}

/* Overwrite number 3 of the tensor "head". */
static void damage_number(const char *name, float x) {
    char path[PATH];
    size_t n;
    glia_err err;
    glia_safetensors s;
    snprintf(path, sizeof path, "%.200s/one", dir);
    char *all = bytes_of("one", &n);
    if (glia_safetensors_parse(&s, all, n, path, &err)) fail_msg("%s", err.msg);
    for (size_t i = 0; i < s.n; i++)
        if (strcmp(s.tensor[i].name, "head") == 0)
            memcpy(all + ((const char *)s.tensor[i].data - all) + 3 * sizeof x, &x, sizeof x);
    glia_safetensors_close(&s);
    check_write_file(dir, name, all, n);
    free(all);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *flags;
        int status;
        const char *says;
    } rows[] = {
        {"none", "--quantization int4", BAD, "/none: No such file"},
        {"cut", "--quantization int4", BAD, "/cut: "},
        {"text", "--quantization int4", BAD, "/text: header of "},
        {"empty", "--quantization int4", BAD, "/empty: "},
        {"foreign", "--quantization int4", BAD,
         "/foreign: tensor model.layers.0.o: expected float32 [192], found F32[128]; it is of another model "
         "or no "
         "importance file of glia calibrate"},
        {"renamed", "--quantization int4", BAD, "/renamed: tensor head: expected float32 [128], found none;"},
        {"retyped", "--quantization int4", BAD,
         "/retyped: tensor head: expected float32 [128], found I32[128];"},
        {"negative", "--quantization int4", BAD,
         "/negative: tensor head: number 3 is -1, expected a mean square of 0 or more"},
        {"infinite", "--quantization w4a8", BAD, "/infinite: tensor head: number 3 is inf, expected"},
        {"nan", "--quantization int4", BAD, "nan, expected a mean square of 0 or more"},
        {"one", "--quantization int8", USAGE, "importance is for int4 and w4a8"},
        {"one", "--quantization int4 --modules-to-not-convert none", USAGE, "'none' names no module of"},
        {"one", "", USAGE, "importance is set and quantization is not"},
    };
    size_t n;
    good(calibrate(models[0], "one", ""), "calibrate");
    good(calibrate(models[1], "foreign", ""), "calibrate");
    char *all = bytes_of("one", &n);
    check_write_file(dir, "cut", all, n - 1);
    check_write_file(dir, "empty", all, 0);
    free(all);
    damage("renamed", "\"head\"", "\"hear\"", 6);
    size_t at = 0;
    all = bytes_of("one", &n);
    for (char *head = memmem(all, n, "\"head\"", 6), *type = strstr(head, "F32"); !at; at = 1) type[0] = 'I';
    check_write_file(dir, "retyped", all, n);
    free(all);
    damage_number("negative", -1);
    damage_number("infinite", INFINITY);
    damage_number("nan", NAN);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char args[2 * PATH];
        snprintf(args, sizeof args, "run %s -p Hello --max-tokens 1 %s --importance %.200s/%s", models[0],
                 rows[i].flags, dir, rows[i].file);
        check_refused(args, "", rows[i].status, rows[i].says);
    }
}

/* ---- the output ------------------------------------------------------------------------- */

static void test_output(void **state) {
    (void)state;
    char args[3 * PATH];
    size_t n;
    static const struct {
        const char *text, *out;
        int status;
        const char *says;
    } rows[] = {
        {"text", "mine", BAD,
         "/mine: exists, and glia calibrate did not write it; give another file or remove it"},
        {"text", "logits", BAD, "/logits: exists, and glia calibrate did not write it"},
        {"text", "nowhere/one", BAD, "/nowhere"},
        {"text", ".", BAD, "exists, and glia calibrate did not write it"},
        {"nothing", "new", BAD, "nothing"},
        {"empty", "new", USAGE, "no text to calibrate with"},
    };
    good(calibrate(models[0], "one", ""), "calibrate");
    good(calibrate(models[0], "one", ""), "calibrate into its own file");
    free(score("", &n)); /* also a safetensors file of Glia's */
    check_write_file(dir, "mine", "precious", 8);
    check_write_file(dir, "empty", "", 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(args, sizeof args, "calibrate %s --text %.200s/%s -o %.200s/%s", models[0], dir,
                 rows[i].text, dir, rows[i].out);
        check_refused(args, "", rows[i].status, rows[i].says);
    }
    good(glia("", "compile %s -o %s/int4 --quantization int4", models[0], dir), "compile");
    snprintf(args, sizeof args, "calibrate %.200s/int4 --text %.200s/text -o %.200s/new", dir, dir, dir);
    check_refused(args, "", USAGE, "quantization has no meaning for calibrate");
    const char *quantised = check_shared("data/quantized/ct-w4a16");
    if (!quantised) check_skip_because("no ../shared/data/quantized/ct-w4a16");
    snprintf(args, sizeof args, "calibrate %.200s --text %.200s/text -o %.200s/new",
             quantised ? quantised : "", dir, dir);
    if (quantised)
        check_refused(args, "", BAD,
                      "calibrate needs a checkpoint that is not quantised; this one is (compressed-tensors)");
    char *mine = bytes_of("mine", &n);
    CHECK(n == 8 && memcmp(mine, "precious", 8) == 0, "a file of another program has changed");
    free(mine);
    snprintf(args, sizeof args, "calibrate %s --text %.200s/text -o %s/model.safetensors", models[0], dir,
             models[0]);
    check_refused(args, "", USAGE, "model.safetensors");
    snprintf(args, sizeof args, "calibrate %s --text %.200s/text", models[0], dir);
    check_refused(args, "", USAGE, "calibrate needs --text FILE and -o FILE");
    CHECK(files("new") == 0 && files("one.tmp") == 0, "a file was left");
}

/* Ctrl-C in the middle leaves the old file, or none, and no part of a new one. */
static void test_interrupt(void **state) {
    (void)state;
    enum { COPIES = 4000 };
    char *more = malloc(COPIES * (sizeof text - 1)), path[2][PATH];
    for (size_t i = 0; i < COPIES; i++) memcpy(more + i * (sizeof text - 1), text, sizeof text - 1);
    check_write_file(dir, "long", more, COPIES * (sizeof text - 1));
    free(more);
    snprintf(path[0], PATH, "%.200s/long", dir);
    snprintf(path[1], PATH, "%.200s/interrupted", dir);
    int status;
    const int err = file_of("", 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(err, 2);
        signal(SIGINT, SIG_DFL); /* a shell lets jobs in its background ignore it */
        check_exec((const char *[]){program, "calibrate", models[0], "--text", path[0], "-o", path[1], "-t",
                                    "1", NULL});
    }
    usleep(500000);
    kill(child, SIGINT);
    waitpid(child, &status, 0);
    CHECK(decode(status) == 1000 + SIGINT, "exit %d", decode(status));
    CHECK(files("interrupted") == 0, "%d files were left", files("interrupted"));
    close(err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads), cmocka_unit_test(test_error),     cmocka_unit_test(test_logits),
        cmocka_unit_test(test_ranks),   cmocka_unit_test(test_artifact),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_output),  cmocka_unit_test(test_interrupt),
    };
    find_program();
    static char temp[PATH];
    snprintf(temp, sizeof temp, "%s", check_temp_dir());
    dir = temp;
    return check_run_group("check_calibrate", tests);
}
