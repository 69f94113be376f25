/* common.c - see common.h. */
#define _GNU_SOURCE
#include "cli/common.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "cli/speculation.h"

static const size_t INPUT_MAX = (size_t)1 << 32;

int cli_failed(const glia_err *err) {
    fflush(stdout);
    fprintf(stderr, "glia: %s\n", err->msg);
    return err->status == GLIA_ERR_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

char *cli_cache_dir(void) {
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"HF_HUB_CACHE", ""},
        {"HF_HOME", "/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"},
        {"HOME", "/.cache/huggingface/hub"},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *at = getenv(places[i].variable);
        if (!at || !*at) continue;
        glia_buf path = {0};
        glia_buf_puts(&path, at);
        glia_buf_puts(&path, places[i].below);
        return glia_buf_steal(&path);
    }
    return NULL;
}

/* Show progress on a terminal, in one line, after half a second and then ten times a second. */
static void show_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    static double started, shown;
    (void)user;
    if (!isatty(STDERR_FILENO)) return;
    const double now = glia_seconds();
    if (started == 0) started = now;
    if (done >= total) {
        if (shown > 0) fputs("\r\033[K", stderr);
        started = shown = 0;
    } else if (now - started > 0.5 && now - shown > 0.1) {
        fprintf(stderr, "\r%s: %.0f%% of %.1f GB\033[K", what, 100.0 * (double)done / (double)total,
                (double)total * 1e-9);
        shown = now;
    }
    fflush(stderr);
}

static void show_warning(void *user, const char *sentence) {
    (void)user;
    fprintf(stderr, "glia: warning: %s\n", sentence);
}

static glia_dtype dtype_of(const char *name) {
    if (name && strcmp(name, "float32") == 0) return GLIA_DTYPE_F32;
    if (name && strcmp(name, "bfloat16") == 0) return GLIA_DTYPE_BF16;
    if (name && strcmp(name, "float16") == 0) return GLIA_DTYPE_F16;
    if (name && strcmp(name, "int8") == 0) return GLIA_DTYPE_I8;
    return GLIA_DTYPE_AUTO;
}

/* The index of `name` in `names` [n], which flags.c has checked; 0 without a name. */
static int index_of(const char *name, const char *const *names, int n) {
    for (int i = 1; name && i < n; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return 0;
}

static glia_quantization quantization_of(const char *name) {
    static const char *const names[] = {"", "int8", "w8a8", "int4", "fp8", "w4a8"};
    return (glia_quantization)index_of(name, names, sizeof names / sizeof *names);
}

static glia_quantization_type quantization_type_of(const char *name) {
    static const char *const names[] = {"",
                                        "per_channel_symmetric",
                                        "per_tensor_symmetric",
                                        "rotated_per_channel_symmetric",
                                        "group_symmetric",
                                        "group_asymmetric",
                                        "rotated_group_symmetric",
                                        "rotated_group_asymmetric"};
    return (glia_quantization_type)index_of(name, names, sizeof names / sizeof *names);
}

static glia_head_quantization head_quantization_of(const char *name) {
    static const char *const names[] = {"", "none", "int8", "int4", "fp8"};
    return (glia_head_quantization)index_of(name, names, sizeof names / sizeof *names);
}

const char *cli_format_name(const glia_model_info *info) {
    static const char *const names[][4] = {
        [GLIA_QUANTIZATION_NONE] = {"", "float32", "bfloat16", "float16"},
        [GLIA_QUANTIZATION_INT8] = {"", "int8 (float32)", "int8 (bfloat16)", "int8 (float16)"},
        [GLIA_QUANTIZATION_W8A8] = {"", "w8a8 (float32)", "w8a8 (bfloat16)", "w8a8 (float16)"},
        [GLIA_QUANTIZATION_INT4] = {"", "int4 (float32)", "int4 (bfloat16)", "int4 (float16)"},
        [GLIA_QUANTIZATION_FP8] = {"", "fp8 (float32)", "fp8 (bfloat16)", "fp8 (float16)"},
        [GLIA_QUANTIZATION_W4A8] = {"", "w4a8 (float32)", "w4a8 (bfloat16)", "w4a8 (float16)"},
    };
    return names[info->quantization][info->dtype];
}

static glia_switch switch_of(const char *name) {
    if (!name) return GLIA_SWITCH_DEFAULT;
    return strcmp(name, "on") == 0 ? GLIA_SWITCH_ON : GLIA_SWITCH_OFF;
}

/* How many processes the launcher started, and which this one is. */
static int launched(int *rank) {
    static const char *const names[][2] = {
        {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, /* Open MPI's mpirun */
        {"PMI_SIZE", "PMI_RANK"},                         /* MPICH's mpirun; srun --mpi=pmi2 */
        {"SLURM_STEP_NUM_TASKS", "PMIX_RANK"},            /* srun --mpi=pmix */
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *size = getenv(names[i][0]), *at = getenv(names[i][1]);
        *rank = at ? atoi(at) : 0;
        if (size && at) return atoi(size);
    }
    *rank = 0;
    return 1;
}

int cli_processes(void) {
    int rank;
    return launched(&rank);
}

bool cli_follows(void) {
    int rank;
    return launched(&rank) > 1 && rank > 0;
}

/* glia_options.last_words: MPI may never return to this process. */
static void say_last_words(const char *sentence) {
    fprintf(stderr, "glia: %s\n", sentence);
    _exit(EXIT_FAILED);
}

int cli_follow(const cli_args *args, const glia_options *o) {
    glia_err err = {0};
    glia_model *m = NULL;
    glia_engine *e = NULL;
    int status = cli_load(&m, args, o, false);
    if (status) return status;
    if (glia_engine_create(&e, m, o->engine, &err) || glia_engine_follow(e, &err)) status = cli_failed(&err);
    glia_engine_free(e);
    glia_model_free(m);
    return status;
}

void cli_options(const cli_args *args, glia_options *o, glia_engine_options *e) {
    int rank;
    const bool mpi = launched(&rank) > 1;
    const char *load = args->text[F_LOAD_FORMAT];
    *e = (glia_engine_options){
        .kv_cache_dtype = dtype_of(args->text[F_KV_CACHE_DTYPE]),
        .batch_size = (int)args->integer[F_BATCH_SIZE],
        .sequence_length = (int)args->integer[F_SEQUENCE_LENGTH],
        .prefill_chunk_size = (int)args->integer[F_PREFILL_CHUNK_SIZE],
        .block_size = (int)args->integer[F_BLOCK_SIZE],
        .kv_cache_blocks = (int)args->integer[F_KV_CACHE_BLOCKS],
        .no_prefix_cache = args->given[F_NO_PREFIX_CACHE],
        .enable_lora = args->given[F_ENABLE_LORA],
        .lora_modules = args->lora,
        .n_lora_modules = args->n_lora,
        .max_loras = (int)args->integer[F_MAX_LORAS],
        .max_lora_rank = (int)args->integer[F_MAX_LORA_RANK],
        .max_cpu_loras = (int)args->integer[F_MAX_CPU_LORAS],
        .lora_lfu = args->text[F_LORA_EVICTION] && strcmp(args->text[F_LORA_EVICTION], "lfu") == 0,
    };
    *o = (glia_options){
        .engine = e,
        .dtype = dtype_of(args->text[F_DTYPE]),
        .quantization = quantization_of(args->text[F_QUANTIZATION]),
        .quantization_type = quantization_type_of(args->text[F_QUANTIZATION_TYPE]),
        .quantization_group_size = (int)args->integer[F_QUANTIZATION_GROUP_SIZE],
        .importance = args->text[F_IMPORTANCE],
        .head_quantization = head_quantization_of(args->text[F_HEAD_QUANTIZATION]),
        .modules_to_not_convert = args->text[F_MODULES_TO_NOT_CONVERT],
        .dummy = load && strcmp(load, "dummy") == 0,
        .threads = (int)args->integer[F_THREADS],
        .cpu_features = args->text[F_CPU_FEATURES],
        .tensor_parallel_size = (int)args->integer[F_TENSOR_PARALLEL_SIZE],
        .vocab_parallel = switch_of(args->text[F_VOCAB_PARALLEL]),
        .sequence_parallel = switch_of(args->text[F_SEQUENCE_PARALLEL]),
        .flash_decoding = switch_of(args->text[F_FLASH_DECODING]),
        .context_parallel_size = (int)args->integer[F_CONTEXT_PARALLEL_SIZE],
        .strided_context_parallel = switch_of(args->text[F_STRIDED_CONTEXT_PARALLEL]),
        .mpi = mpi,
        .seed = (uint64_t)args->integer[F_SEED],
        .progress = rank ? NULL : show_progress, /* rank 0 prints for all ranks */
        .warning = rank ? NULL : show_warning,
        .speculative_config = cli_speculative_config(args),
        .last_words = say_last_words,
    };
}

int cli_load(glia_model **m, const cli_args *args, const glia_options *o, bool text_only) {
    glia_err err = {0};
    char *cache = cli_cache_dir();
    const glia_status status = text_only ? glia_model_load_text(m, args->model, cache, o, &err)
                                         : glia_model_load(m, args->model, cache, o, &err);
    free(cache);
    return status ? cli_failed(&err) : EXIT_OK;
}

/* 53 bits, which every JSON reader keeps exactly. */
static uint64_t random_seed(void) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = (uint64_t)(glia_seconds() * 1e9);
    return seed >> 11;
}

void cli_tell_model(const glia_model *m, const glia_engine *e, const glia_sampling *s) {
    glia_model_info info;
    glia_engine_stats stats;
    glia_model_get_info(m, &info);
    glia_engine_get_stats(e, &stats);
    fprintf(stderr, "%s: %d layers, hidden size %d, vocabulary %d, %s, sequence length %d\n",
            info.architecture, info.layers, info.hidden_size, info.vocab_size, cli_format_name(&info),
            stats.sequence_length);
    if (s->do_sample)
        fprintf(stderr, "sampling: temperature %g, top-k %d, top-p %g, min-p %g, seed %llu\n",
                (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p,
                (unsigned long long)s->seed);
    else
        fprintf(stderr, "sampling: greedy\n");
}

static void take_real(const cli_args *args, cli_flag_id id, float *to) {
    if (args->given[id]) *to = (float)args->real[id];
}

void cli_sampling(const cli_args *args, const glia_model *m, glia_sampling *s) {
    glia_sampling_defaults(m, s);
    take_real(args, F_TEMPERATURE, &s->temperature);
    take_real(args, F_TOP_P, &s->top_p);
    take_real(args, F_MIN_P, &s->min_p);
    take_real(args, F_TYPICAL_P, &s->typical_p);
    take_real(args, F_REPETITION_PENALTY, &s->repetition_penalty);
    take_real(args, F_PRESENCE_PENALTY, &s->presence_penalty);
    take_real(args, F_FREQUENCY_PENALTY, &s->frequency_penalty);
    if (args->given[F_TOP_K]) s->top_k = args->integer[F_TOP_K] > 0 ? (int)args->integer[F_TOP_K] : 0;
    if (args->given[F_TEMPERATURE] || args->given[F_TOP_K] || args->given[F_TOP_P] || args->given[F_MIN_P] ||
        args->given[F_TYPICAL_P])
        s->do_sample = true;
    if (args->given[F_GREEDY] || s->temperature == 0.0f) s->do_sample = false;
    s->seed = args->given[F_SEED] ? (uint64_t)args->integer[F_SEED] : random_seed();
    if (args->given[F_MAX_TOKENS]) s->max_tokens = (int)args->integer[F_MAX_TOKENS];
    if (args->given[F_MIN_TOKENS]) s->min_tokens = (int)args->integer[F_MIN_TOKENS];
    if (args->given[F_THINKING_BUDGET]) s->thinking_budget = (int)args->integer[F_THINKING_BUDGET] + 1;
    s->logprobs = args->given[F_LOGPROBS] ? (int)args->integer[F_LOGPROBS] : -1;
    s->ignore_eos = args->given[F_IGNORE_EOS];
    s->stop = args->stop;
    s->n_stop = args->n_stop;
    s->include_stop_str_in_output = args->given[F_INCLUDE_STOP];
    s->stop_token_ids = args->stop_ids;
    s->n_stop_token_ids = args->n_stop_ids;
    s->adapter = args->text[F_LORA];
    s->logit_bias = args->bias;
    s->n_logit_bias = args->n_bias;
}

int cli_adapters(char **names, const cli_args *args, size_t n) {
    const char *text = args->text[F_LORA] ? args->text[F_LORA] : "";
    size_t given = 1;
    *names = strdup(text);
    if (!*names) return cli_usage("no memory for the names of adapters");
    for (char *at = *names; *at; at++) {
        given += *at == ',';
        if (*at == ',') *at = '\0';
    }
    if (given == 1 || given == n) return EXIT_OK;
    free(*names);
    *names = NULL;
    return cli_usage("--lora has %zu names, expected one, or one for each of %zu prompts", given, n);
}

const char *cli_adapter(const char *names, const cli_args *args, size_t i) {
    const char *at = names;
    if (!args->given[F_LORA]) return NULL;
    for (; i > 0 && strchr(args->text[F_LORA], ','); i--) at += strlen(at) + 1;
    return *at ? at : NULL;
}

glia_status cli_read_file(char **text, size_t *len, const char *path, glia_err *err) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    *text = NULL;
    if (fd < 0) return glia_fail(err, GLIA_ERR_IO, "%s: %s", path, strerror(errno));
    const glia_status status = glia_read_all(text, len, fd, path, INPUT_MAX, err);
    close(fd);
    return status;
}

glia_status cli_read_all(char **text, size_t *len, const char *path, glia_err *err) {
    if (strcmp(path, "-") != 0) return cli_read_file(text, len, path, err);
    return glia_read_all(text, len, STDIN_FILENO, "standard input", INPUT_MAX, err);
}

glia_status cli_ids_of(const json_t *array, int32_t **ids, size_t *n, glia_err *err) {
    *ids = NULL;
    *n = json_array_size(array);
    if (!json_is_array(array)) return glia_fail(err, GLIA_ERR_FORMAT, "expected a JSON array of token ids");
    *ids = malloc((*n + 1) * sizeof **ids);
    if (!*ids) return glia_fail_nomem(err, (*n + 1) * sizeof **ids, "token ids");
    for (size_t i = 0; i < *n; i++) {
        const json_t *id = json_array_get(array, i);
        const json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX)
            return glia_fail(err, GLIA_ERR_FORMAT, "element %zu is not a token id", i);
        (*ids)[i] = (int32_t)value;
    }
    return GLIA_OK;
}

static glia_status read_prompts(cli_prompts *p, json_t *root, const char *path, glia_err *err) {
    if (!json_is_array(root))
        return glia_fail(err, GLIA_ERR_FORMAT,
                         "%s: expected a JSON array of token ids, or an array of such arrays", path);
    const bool batch = json_is_array(json_array_get(root, 0));
    p->n = batch ? json_array_size(root) : 1;
    p->prompt = calloc(p->n, sizeof *p->prompt);
    if (!p->prompt) return glia_fail_nomem(err, p->n * sizeof *p->prompt, "prompts");
    for (size_t i = 0; i < p->n; i++) {
        glia_err why = {0};
        cli_prompt *to = &p->prompt[i];
        const glia_status status = cli_ids_of(batch ? json_array_get(root, i) : root, &to->ids, &to->n, &why);
        if (status) return glia_fail(err, status, "%s: prompt %zu: %s", path, i, why.msg);
        if (to->n == 0) return glia_fail(err, GLIA_ERR_FORMAT, "%s: prompt %zu has no tokens", path, i);
        if (to->n > p->longest) p->longest = to->n;
    }
    return GLIA_OK;
}

glia_status cli_read_ids(cli_prompts *p, const char *path, glia_err *err) {
    char *text;
    size_t len;
    *p = (cli_prompts){0};
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    const glia_status status = cli_read_all(&text, &len, path, err);
    if (status) return status;
    json_error_t why;
    json_t *root = json_loadb(text, len, 0, &why);
    free(text);
    if (!root) return glia_fail(err, GLIA_ERR_FORMAT, "%s: line %d: %s", name, why.line, why.text);
    const glia_status read = read_prompts(p, root, name, err);
    json_decref(root);
    if (read) cli_prompts_free(p);
    return read;
}

int cli_tokenize_prompt(cli_prompts *p, const cli_args *args, const glia_options *o, const char *text,
                        size_t len) {
    glia_err err = {0};
    glia_model *m;
    const int loaded = cli_load(&m, args, o, true);
    if (loaded) return loaded;
    int32_t *ids = NULL;
    size_t n = 0;
    glia_status status = glia_tokenize(m, text, len, true, &ids, &n, &err);
    if (!status && n == 0) status = glia_fail(&err, GLIA_ERR_ARGUMENT, "the prompt has no tokens");
    if (!status) {
        *p = (cli_prompts){.prompt = calloc(1, sizeof *p->prompt), .n = 1, .longest = n};
        if (p->prompt) p->prompt[0] = (cli_prompt){.ids = malloc(n * sizeof *ids), .n = n};
        if (!p->prompt || !p->prompt[0].ids)
            status = glia_fail_nomem(&err, n * sizeof *ids, "token ids");
        else
            memcpy(p->prompt[0].ids, ids, n * sizeof *ids);
    }
    glia_free(ids);
    glia_model_free(m);
    return status ? cli_failed(&err) : EXIT_OK;
}

void cli_prompts_free(cli_prompts *p) {
    for (size_t i = 0; p->prompt && i < p->n; i++) free(p->prompt[i].ids);
    free(p->prompt);
    *p = (cli_prompts){0};
}

void cli_print_json(json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9) | JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(object);
}

json_t *cli_json_real(double x) { return isfinite(x) ? json_real(x) : json_null(); }

const char *cli_finish_name(glia_finish finish) {
    switch (finish) {
    case GLIA_FINISH_STOP: return "stop";
    case GLIA_FINISH_LENGTH: return "length";
    case GLIA_FINISH_ABORT: return "abort";
    case GLIA_RUNNING: break;
    }
    return "running";
}
