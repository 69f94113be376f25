/* flags.c - the table of flags, and the parser that reads it. */
#define _GNU_SOURCE
#include "cli/flags.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/foreign.h"
#include "cli/table.h"

int cli_usage(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("glia: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return EXIT_USAGE;
}

/* Levenshtein distance of names of up to 63 bytes; longer names are far from everything. */
static size_t distance(const char *a, const char *b) {
    size_t row[64];
    const size_t m = strlen(a), n = strlen(b);
    if (m > 63 || n > 63) return 64;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

/* Set *best to `name` if its distance to `typed` is less than *at. */
static void consider(const char *typed, const char *name, const char **best, size_t *at) {
    const size_t d = distance(typed, name);
    if (d < *at && d <= 1 + strlen(typed) / 3) {
        *best = name;
        *at = d;
    }
}

const char *cli_nearest_command(const char *name) {
    const char *best = NULL;
    size_t at = 64;
    for (size_t i = 0; i < cli_n_commands; i++) consider(name, cli_commands[i].name, &best, &at);
    return best;
}

const cli_command *cli_find_command(const char *name) {
    for (size_t i = 0; i < cli_n_commands; i++)
        if (strcmp(cli_commands[i].name, name) == 0) return &cli_commands[i];
    return NULL;
}

/* Is word[0..n) the flag's name or one of its aliases? */
static bool is_named(const cli_flag *f, const char *word, size_t n) {
    const bool is_long = n > 2 && memcmp(word, "--", 2) == 0;
    if (is_long && cli_is_in(f->name, ' ', word + 2, n - 2)) return true;
    return f->aliases && cli_is_in(f->aliases, ' ', word, n);
}

static int find_flag(const char *word, size_t n) {
    for (int i = 0; i < N_FLAGS; i++)
        if (is_named(&cli_flags[i], word, n)) return i;
    return -1;
}

/* Report a flag that the command does not have. */
static int unknown_flag(const cli_command *command, const char *word, size_t n) {
    const int other = find_flag(word, n);
    char typed[64], owners[128] = "";
    snprintf(typed, sizeof typed, "%.*s", (int)n, word);
    if (other >= 0) {
        for (size_t i = 0; i < cli_n_commands; i++) {
            if (!(cli_flags[other].commands & cli_commands[i].bit)) continue;
            if (*owners) strcat(owners, ", ");
            strcat(owners, cli_commands[i].name);
        }
        return cli_usage("%s has no flag %s; it belongs to %s", command->name, typed, owners);
    }
    const char *best = NULL;
    size_t at = 64;
    for (int i = 0; i < N_FLAGS; i++)
        if (cli_flags[i].commands & command->bit)
            consider(typed + strspn(typed, "-"), cli_flags[i].name, &best, &at);
    if (best) return cli_usage("%s has no flag %s; did you mean --%s?", command->name, typed, best);
    return cli_usage("%s has no flag %s; 'glia %s --help' lists what it has", command->name, typed,
                     command->name);
}

/* The unit of a flag's number, behind a blank; "": it has none. */
static const char *unit_of(const cli_flag *f) {
    static const char *const units[][2] = {{"MIB", " MiB"}, {"GIB", " GiB"}, {"SECONDS", " seconds"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(f->value, units[i][0]) == 0) return units[i][1];
    return "";
}

static int read_integer(const cli_flag *f, const char *s, long long *out) {
    char *end;
    errno = 0;
    *out = strtoll(s, &end, 10);
    if (end == s || *end || *s == ' ') return cli_usage("--%s takes a whole number, not '%s'", f->name, s);
    if (errno == ERANGE || (double)*out < f->min || (double)*out > f->max)
        return cli_usage("--%s takes %.0f to %.0f%s, not %s", f->name, f->min, f->max, unit_of(f), s);
    return -1;
}

static int read_real(const cli_flag *f, const char *s, double *out) {
    char *end;
    *out = strtod(s, &end);
    if (end == s || *end || *s == ' ' || !isfinite(*out))
        return cli_usage("--%s takes a number, not '%s'", f->name, s);
    if (*out < f->min || *out > f->max)
        return cli_usage("--%s takes %g to %g%s, not %s", f->name, f->min, f->max, unit_of(f), s);
    return -1;
}

static int read_choice(const cli_flag *f, const char *s) {
    const size_t n = strlen(s);
    for (const char *c = f->value; *c;) {
        const size_t len = strcspn(c, "|");
        if (len == n && memcmp(c, s, n) == 0) return -1;
        c += len + (c[len] == '|');
    }
    return cli_usage("--%s takes one of %s, not '%s'", f->name, f->value, s);
}

/* Parse one token id at *s and advance *s past it. */
static bool read_id(const char **s, int32_t *id) {
    char *end;
    errno = 0;
    const long long value = strtoll(*s, &end, 10);
    if (end == *s || errno || value < 0 || value > INT32_MAX) return false;
    *id = (int32_t)value;
    *s = end;
    return true;
}

static int read_ids(cli_args *args, const cli_flag *f, const char *s) {
    free(args->stop_ids);
    args->n_stop_ids = 0;
    args->stop_ids = calloc(strlen(s) + 1, sizeof *args->stop_ids);
    if (!args->stop_ids) return cli_usage("no memory for the command line");
    for (const char *at = s;; at++) {
        if (!read_id(&at, &args->stop_ids[args->n_stop_ids++]) || (*at && *at != ','))
            return cli_usage("--%s takes token ids such as 1,2, not '%s'", f->name, s);
        if (!*at) return -1;
    }
}

static int read_biases(cli_args *args, const cli_flag *f, const char *s) {
    free(args->bias);
    args->n_bias = 0;
    args->bias = calloc(strlen(s) + 1, sizeof *args->bias);
    if (!args->bias) return cli_usage("no memory for the command line");
    for (const char *at = s;; at++) {
        glia_logit_bias *b = &args->bias[args->n_bias++];
        char *end = NULL;
        bool good = read_id(&at, &b->token) && *at == ':';
        if (good) b->bias = strtof(at + 1, &end);
        good = good && end != at + 1 && (!*end || *end == ',') && (double)b->bias >= f->min &&
               (double)b->bias <= f->max;
        if (!good)
            return cli_usage("--%s takes pairs such as 1:-5,2:0.5 of %.0f to %.0f, not '%s'", f->name, f->min,
                             f->max, s);
        at = end;
        if (!*at) return -1;
    }
}

/* NAME=PATH, or a JSON object with "name" and "path". */
static int read_module(cli_args *args, const cli_flag *f, const char *s) {
    glia_lora_module *to = &args->lora[args->n_lora];
    json_t *object = *s == '{' ? json_loads(s, 0, NULL) : NULL;
    const char *equals = strchr(s, '='), *name = json_string_value(json_object_get(object, "name")),
               *path = json_string_value(json_object_get(object, "path"));
    const bool good = object ? name && path : *s != '{' && equals && equals > s && equals[1];
    if (good) {
        to->name = object ? strdup(name) : strndup(s, (size_t)(equals - s));
        to->path = strdup(object ? path : equals + 1);
        args->n_lora++;
    }
    json_decref(object);
    if (good && to->name && to->path) return -1;
    return cli_usage("--%s takes NAME=PATH, not '%s'", f->name, s);
}

static int take_value(cli_args *args, int id, const char *s) {
    const cli_flag *f = &cli_flags[id];
    args->text[id] = s;
    switch (f->kind) {
    case KIND_INT: return read_integer(f, s, &args->integer[id]);
    case KIND_REAL: return read_real(f, s, &args->real[id]);
    case KIND_CHOICE: return read_choice(f, s);
    case KIND_STOPS: args->stop[args->n_stop++] = s; return *s ? -1 : cli_usage("--%s is empty", f->name);
    case KIND_CHOICES: args->choice[args->n_choice++] = s; return -1;
    case KIND_IDS: return read_ids(args, f, s);
    case KIND_BIASES: return read_biases(args, f, s);
    case KIND_MODULES: return read_module(args, f, s);
    case KIND_TEXT:
    case KIND_SWITCH: break;
    }
    return -1;
}

/* Is the word another value of a list of modules? */
static bool is_module(const char *word) {
    return word && word[0] != '-' && (word[0] == '{' || strchr(word, '='));
}

/* Parse a flag of another program. */
static int take_foreign(const cli_args *args, const cli_foreign *f, size_t n, int *i, int argc, char **argv) {
    const char *word = argv[*i];
    const char *value = word[n] == '=' ? word + n + 1 : NULL;
    if (value && !f->has_value) return cli_usage("%.*s takes no value, found '%s'", (int)n, word, value);
    if (f->has_value && !value && *i + 1 < argc) value = argv[++*i];
    if (f->has_value && !value) return cli_usage("%.*s needs a value", (int)n, word);
    return cli_take_foreign(f, args->command, word, n, value);
}

/* Parse a word that begins with '-': a flag, with its value in the same word or in the next. */
static int take_flag(cli_args *args, int *i, int argc, char **argv) {
    const char *word = argv[*i], *equals = strchr(word, '=');
    const size_t n = equals ? (size_t)(equals - word) : strlen(word);
    const int id = find_flag(word, n);
    const cli_foreign *foreign = id < 0 ? cli_find_foreign(args->command, word, n) : NULL;
    if (foreign) return take_foreign(args, foreign, n, i, argc, argv);
    if (id < 0 || !(cli_flags[id].commands & args->command->bit)) return unknown_flag(args->command, word, n);
    args->given[id] = true;
    if (cli_flags[id].kind == KIND_SWITCH) {
        if (equals) return cli_usage("--%s takes no value, found '%s'", cli_flags[id].name, equals + 1);
        return -1;
    }
    if (!equals && *i + 1 == argc)
        return cli_usage("--%s needs a value: %s", cli_flags[id].name, cli_flags[id].value);
    int status = take_value(args, id, equals ? equals + 1 : argv[++*i]);
    while (status < 0 && cli_flags[id].kind == KIND_MODULES && is_module(*i + 1 < argc ? argv[*i + 1] : NULL))
        status = take_value(args, id, argv[++*i]);
    return status;
}

static int check(const cli_args *args) {
    if (!args->model)
        return cli_usage("%s needs a MODEL: a directory, or a Hub id found in the HF cache",
                         args->command->name);
    if ((args->command->bit & C_MERGE) && !args->adapter)
        return cli_usage("merge needs an ADAPTER after MODEL: the directory of a LoRA adapter");
    if (args->integer[F_BLOCK_SIZE] % 32 != 0)
        return cli_usage("--block-size takes a multiple of 32, not %lld", args->integer[F_BLOCK_SIZE]);
    static const cli_flag_id constraints[] = {F_JSON_SCHEMA, F_REGEX, F_GRAMMAR, F_CHOICE},
                             of_constraint[] = {F_STRICT, F_WHITESPACE};
    const char *first = NULL;
    for (size_t i = 0; i < sizeof constraints / sizeof *constraints; i++) {
        if (!args->given[constraints[i]]) continue;
        const char *name = cli_flags[constraints[i]].name;
        if (first) return cli_usage("--%s and --%s exclude each other", first, name);
        first = name;
    }
    for (size_t i = 0; i < 2; i++)
        if (!first && args->given[of_constraint[i]])
            return cli_usage("--%s needs --json-schema, --regex, --grammar or --choice",
                             cli_flags[of_constraint[i]].name);
    if (!args->given[F_GREEDY]) return -1;
    static const cli_flag_id drawing[] = {F_TEMPERATURE, F_TOP_K, F_TOP_P, F_MIN_P, F_TYPICAL_P};
    for (size_t i = 0; i < sizeof drawing / sizeof *drawing; i++)
        if (args->given[drawing[i]])
            return cli_usage("--greedy and --%s exclude each other", cli_flags[drawing[i]].name);
    return -1;
}

int cli_parse(cli_args *args, const cli_command *command, int argc, char **argv) {
    *args = (cli_args){.command = command};
    args->stop = calloc((size_t)argc + 1, sizeof *args->stop);
    args->lora = calloc((size_t)argc + 1, sizeof *args->lora);
    args->choice = calloc((size_t)argc + 1, sizeof *args->choice);
    if (!args->stop || !args->lora || !args->choice)
        return cli_usage("no memory for the command line"), EXIT_FAILED;
    for (int id = 0; id < N_FLAGS; id++)
        if ((cli_flags[id].commands & command->bit) && cli_flags[id].preset)
            take_value(args, id, cli_flags[id].preset);
    bool flags_end = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        int status = -1;
        if (!flags_end && strcmp(word, "--") == 0) {
            flags_end = true;
        } else if (!flags_end && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            cli_help(command);
            status = EXIT_OK;
        } else if (!flags_end && word[0] == '-' && word[1]) {
            status = take_flag(args, &i, argc, argv);
        } else if (args->model && !args->adapter && (command->bit & C_MERGE)) {
            args->adapter = word;
        } else if (args->model) {
            status = cli_usage("%s takes one MODEL, found '%s' and '%s'", command->name, args->model, word);
        } else if (!*word) {
            status = cli_usage("MODEL is empty");
        } else {
            args->model = word;
        }
        if (status >= 0) return status;
    }
    return check(args);
}

void cli_args_free(cli_args *args) {
    free(args->stop);
    free(args->choice);
    free(args->stop_ids);
    free(args->bias);
    for (size_t i = 0; args->lora && i < args->n_lora; i++) {
        free((char *)(uintptr_t)args->lora[i].name);
        free((char *)(uintptr_t)args->lora[i].path);
    }
    free(args->lora);
}
