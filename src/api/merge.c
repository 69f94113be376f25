/* merge.c - `glia merge`: a model's directory with an adapter merged into its weights.
 *
 * Changed weights are computed in float64 and written as float32 by default, because
 * bfloat16 would lose most of a small change. The other tensors keep their bytes. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/copy.h"
#include "api/model.h"
#include "base/bf16.h"
#include "base/file.h"
#include "format/checkpoint.h"
#include "format/hub.h"
#include "format/json.h"
#include "model/adapter.h"
#include "model/artifact.h"

enum { CHUNK_ROWS = 256, CONFIG_MAX = 16 << 20 };

/* A tensor that is written. */
typedef struct {
    glia_weight weight;
    const glia_tensor_view *stored; /* NULL: a head that was tied */
    bool changed;
    glia_tensor_spec spec;
} output;

typedef struct {
    glia_model m;
    glia_adapter adapter;
    glia_checkpoint checkpoint;
    glia_row_source *source;
    glia_newdir out;
    glia_team *team;
    output *tensor;
    glia_tensor_spec *spec;
    size_t n;
    glia_tensor_dtype dtype; /* of changed tensors */
    bool unties;
    double *a;     /* [r, cols] of the tensor that is computed */
    char *rows;    /* [CHUNK_ROWS] of it, as they are written */
    float *floats; /* [threads, 3, longest row] */
    size_t longest;
    const output *now;
    size_t first, count; /* rows that are computed */
    uint64_t done, total;
} merging;

/* ---- what is written -------------------------------------------------------- */

static const glia_change *change_of(const merging *g, const glia_weight *w) {
    static const glia_weight_id matrices[] = {W_Q, W_K, W_V, W_O, W_GATE, W_UP, W_DOWN};
    glia_weight_id id = w->spec->id;
    if (glia_is_bias(id)) id = matrices[id - W_Q_BIAS];
    return glia_adapter_change(&g->adapter, w->layer, id);
}

static bool is_changed(const merging *g, const glia_weight *w) {
    const glia_change *c = change_of(g, w);
    if (glia_is_bias(w->spec->id)) return c->bias || c->b_bias;
    return c->r || c->whole || c->n_tokens;
}

/* The head keeps the embedding's weights if the adapter changes both alike, or neither. */
static bool unties(const merging *g) {
    const glia_change *embed = glia_adapter_change(&g->adapter, 0, W_EMBED),
                      *head = glia_adapter_change(&g->adapter, 0, W_HEAD);
    if (!g->m.config.tied_head || (!glia_change_is(embed) && !glia_change_is(head))) return false;
    const bool alike = !embed->r && !head->r && embed->whole == head->whole && embed->delta == head->delta;
    return !alike;
}

/* Fail if the adapter changes a bias that the model does not have. */
static glia_status check_biases(const merging *g, glia_err *err) {
    static const glia_weight_id pairs[][2] = {{W_Q, W_Q_BIAS},       {W_K, W_K_BIAS},       {W_V, W_V_BIAS},
                                              {W_O, W_O_BIAS},       {W_GATE, W_GATE_BIAS}, {W_UP, W_UP_BIAS},
                                              {W_DOWN, W_DOWN_BIAS}, {W_HEAD, N_WEIGHTS}};
    for (int layer = 0; layer < g->m.config.layers; layer++)
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            const glia_change *c = glia_adapter_change(&g->adapter, layer, pairs[i][0]);
            if ((!c->bias && !c->b_bias) || glia_spec_has(g->adapter.spec, &g->m.config, pairs[i][1]))
                continue;
            return glia_fail(
                err, GLIA_ERR_UNSUPPORTED,
                "%s: the adapter adds a bias to a linear layer of layer %d, and %s has none to merge "
                "it into",
                g->adapter.files.dir, layer, g->m.config.architecture);
        }
    return GLIA_OK;
}

static bool find_weight(glia_weight *w, const merging *g, const char *name) {
    for (size_t i = 0; glia_spec_weight(w, g->adapter.spec, &g->m.config, i); i++)
        if (strcmp(glia_checkpoint_stored_name(&g->checkpoint, w->name), name) == 0) return true;
    *w = (glia_weight){.spec = &glia_output_head, .rows = g->m.config.vocab, .cols = g->m.config.hidden};
    return strcmp(name, glia_output_head.name) == 0;
}

static void add(merging *g, const char *name, const glia_tensor_view *stored) {
    output *o = &g->tensor[g->n];
    *o = (output){.stored = stored};
    o->changed = find_weight(&o->weight, g, name) && is_changed(g, &o->weight);
    o->spec.name = name;
    if (stored && !o->changed) {
        o->spec.dtype = stored->dtype;
        o->spec.n_dims = stored->n_dims;
        memcpy(o->spec.shape, stored->shape, sizeof o->spec.shape);
        g->total += stored->bytes;
    } else {
        o->changed = true;
        o->spec = (glia_tensor_spec){
            name, g->dtype, o->weight.spec->cols == D_1 ? 1 : 2, {o->weight.rows, o->weight.cols}};
        if (o->spec.n_dims == 1) o->spec.shape[1] = 0;
        g->total += (uint64_t)(o->weight.rows * o->weight.cols) * 4;
    }
    g->spec[g->n++] = o->spec;
}

static glia_status list(merging *g, glia_err *err) {
    const glia_checkpoint *c = &g->checkpoint;
    bool head = false;
    g->tensor = calloc(c->n + 1, sizeof *g->tensor);
    g->spec = calloc(c->n + 1, sizeof *g->spec);
    if (!g->tensor || !g->spec) return glia_fail_nomem(err, c->n * sizeof *g->tensor, "the list of tensors");
    for (size_t i = 0; i < c->n; i++) {
        const bool is_head = strcmp(c->tensor[i].name, glia_output_head.name) == 0;
        head |= is_head;
        add(g, c->tensor[i].name, is_head && g->unties ? NULL : &c->tensor[i]);
    }
    if (g->unties && !head) add(g, glia_output_head.name, NULL);
    for (int d = D_HIDDEN; d <= D_KV; d++) {
        const size_t n = (size_t)glia_dim_of(&g->m.config, (glia_dim)d);
        if (g->longest < n) g->longest = n;
    }
    return GLIA_OK;
}

/* ---- rows ------------------------------------------------------------------- */

static const float *base_row(const merging *g, const glia_weight *w, size_t row, float *buffer) {
    const glia_weight_id id = w->spec->id == W_HEAD && g->m.config.tied_head ? W_EMBED : w->spec->id;
    const size_t cols = w->spec->cols == D_1 ? 1 : (size_t)w->cols;
    return g->source
        ->read(g->source, (glia_weight_ref){id, w->layer}, row, 0, cols,
               (glia_stored_format){.dtype = GLIA_DTYPE_F32}, buffer)
        .numbers;
}

/* The merged bias of one output. */
static float merged_bias(const glia_change *c, size_t row, float base) {
    float x = base;
    if (c->bias) glia_tensor_floats(c->bias, row, 1, &x);
    if (!c->b_bias) return x;
    float b;
    glia_tensor_floats(c->b_bias, row, 1, &b);
    return x + (float)c->scale * b;
}

/* y [cols] = the merged row; buffer [2, longest]. */
static void merge_row(const merging *g, const glia_weight *w, size_t row, float *y, float *buffer) {
    const glia_change *c = change_of(g, w);
    const size_t cols = w->spec->cols == D_1 ? 1 : (size_t)w->cols, r = (size_t)c->r;
    if (!glia_is_bias(w->spec->id) && c->whole) {
        glia_tensor_floats(c->whole, row * cols, cols, y);
        return;
    }
    memcpy(y, base_row(g, w, row, buffer), cols * sizeof *y);
    if (glia_is_bias(w->spec->id)) {
        *y = merged_bias(c, row, *y);
        return;
    }
    float *b = buffer + g->longest;
    if (r && w->spec->id != W_EMBED) glia_change_b(c, row, b);
    for (size_t j = 0; r && w->spec->id == W_EMBED && j < r; j++)
        glia_tensor_floats(c->a, j * (size_t)w->rows + row, 1, &b[j]);
    for (size_t k = 0; r && k < cols; k++) {
        double sum = 0;
        for (size_t j = 0; j < r; j++) sum += (double)b[j] * g->a[k * r + j];
        const double merged = (double)y[k] + c->scale * sum;
        y[k] = (float)(c->factor ? (double)c->factor[w->spec->id == W_EMBED ? k : row] * merged : merged);
    }
    for (int i = 0; i < c->n_tokens; i++)
        if ((size_t)c->token[i] == row)
            for (size_t k = 0; k < cols; k++) y[k] += c->delta[(size_t)i * cols + k];
}

/* A transposed, or B of an embedding: [cols, r] in float64. */
static glia_status read_a(merging *g, const output *o, glia_err *err) {
    const glia_change *c = change_of(g, &o->weight);
    const size_t r = glia_is_bias(o->weight.spec->id) ? 0 : (size_t)c->r, cols = (size_t)o->weight.cols;
    free(g->a);
    g->a = malloc((r * cols + 1) * sizeof *g->a);
    if (!g->a) return glia_fail_nomem(err, r * cols * sizeof *g->a, "a product");
    float *row = malloc((cols + r) * sizeof *row);
    if (!row) return glia_fail_nomem(err, cols * sizeof *row, "a row");
    for (size_t k = 0; o->weight.spec->id == W_EMBED && r && k < cols; k++) {
        glia_tensor_floats(c->b, k * r, r, row);
        for (size_t j = 0; j < r; j++) g->a[k * r + j] = (double)row[j];
    }
    for (size_t j = 0; o->weight.spec->id != W_EMBED && j < r; j++) {
        glia_change_a(c, j, cols, row);
        for (size_t k = 0; k < cols; k++) g->a[k * r + j] = (double)row[k];
    }
    free(row);
    return GLIA_OK;
}

static size_t size_of(glia_tensor_dtype dtype) { return dtype == GLIA_TENSOR_F32 ? 4 : 2; }

static void store_row(char *to, const float *x, size_t n, glia_tensor_dtype dtype) {
    if (dtype == GLIA_TENSOR_F32) memcpy(to, x, n * sizeof *x);
    for (size_t i = 0; dtype != GLIA_TENSOR_F32 && i < n; i++) {
        const uint16_t h = dtype == GLIA_TENSOR_BF16 ? glia_f32_to_bf16(x[i]) : glia_f32_to_f16(x[i]);
        memcpy(to + i * sizeof h, &h, sizeof h);
    }
}

static void merge_rows(void *arg, int thread) {
    merging *g = arg;
    const glia_weight *w = &g->now->weight;
    const size_t cols = w->spec->cols == D_1 ? 1 : (size_t)w->cols;
    float *y = g->floats + (size_t)thread * 3 * g->longest;
    size_t from, to;
    glia_share(g->count, thread, glia_team_size(g->team), &from, &to);
    for (size_t i = from; i < to; i++) {
        merge_row(g, w, g->first + i, y, y + g->longest);
        store_row(g->rows + i * cols * size_of(g->dtype), y, cols, g->dtype);
    }
}

static void tell(merging *g, const glia_options *o, uint64_t bytes) {
    g->done += bytes;
    if (o && o->progress) o->progress(o->user, "merging", g->done, g->total);
}

static glia_status write_changed(merging *g, const output *o, glia_safetensors_writer *file,
                                 const glia_options *options, glia_err *err) {
    const size_t rows = (size_t)o->weight.rows,
                 cols = o->weight.spec->cols == D_1 ? 1 : (size_t)o->weight.cols;
    glia_status status = read_a(g, o, err);
    g->now = o;
    for (g->first = 0; !status && g->first < rows; g->first += g->count) {
        g->count = rows - g->first < CHUNK_ROWS ? rows - g->first : CHUNK_ROWS;
        glia_team_run(g->team, merge_rows, g);
        status = glia_safetensors_append(file, g->rows, g->count * cols * size_of(g->dtype), err);
        tell(g, options, g->count * cols * 4);
    }
    return status;
}

static glia_status write_tensors(merging *g, const glia_options *options, glia_err *err) {
    char *path;
    glia_safetensors_writer *file = NULL;
    json_t *metadata = json_pack("{s:s, s:s}", "format", "pt", GLIA_SAFETENSORS_OURS, glia_version());
    const size_t threads = (size_t)glia_team_size(g->team);
    g->rows = malloc(CHUNK_ROWS * g->longest * sizeof(float));
    g->floats = malloc(threads * 3 * g->longest * sizeof(float));
    glia_status status = g->rows && g->floats && metadata
                             ? GLIA_OK
                             : glia_fail_nomem(err, CHUNK_ROWS * g->longest * 4, "rows");
    if (!status) status = glia_newdir_claim(&g->out, "model.safetensors", &path, err);
    if (!status) {
        status = glia_safetensors_create_with(&file, path, g->spec, g->n, metadata, 8, NULL, err);
        free(path);
    }
    json_decref(metadata);
    for (size_t i = 0; !status && i < g->n; i++) {
        const output *o = &g->tensor[i];
        if (o->changed) {
            status = write_changed(g, o, file, options, err);
            continue;
        }
        status = glia_safetensors_append(file, o->stored->data, o->stored->bytes, err);
        glia_checkpoint_drop(&g->checkpoint, o->stored);
        tell(g, options, o->stored->bytes);
    }
    if (status) {
        glia_safetensors_abandon(file);
        return status;
    }
    status = glia_safetensors_finish(file, err);
    return status ? status : glia_checkpoint_check(&g->checkpoint, err);
}

/* config.json, with the head untied if it is not the embedding any more. */
static glia_status write_config(merging *g, glia_err *err) {
    json_t *config;
    if (!g->unties) return glia_copy_file(&g->out, g->m.dir, "config.json", err);
    char *path = glia_path_join(g->m.dir, "config.json");
    glia_status status =
        path ? glia_json_load(&config, path, CONFIG_MAX, 0, err) : glia_fail_nomem(err, 0, "a path");
    free(path);
    if (status) return status;
    json_object_set_new(config, "tie_word_embeddings", json_false());
    char *text = json_dumps(config, JSON_INDENT(2));
    json_decref(config);
    status = text ? glia_newdir_write(&g->out, "config.json", text, strlen(text), err)
                  : glia_fail_nomem(err, 0, "config.json");
    free(text);
    return status;
}

/* ---- all of it -------------------------------------------------------------- */

static glia_status open_all(merging *g, const char *adapter, const glia_options *o, glia_err *err) {
    const glia_adapter_base base = glia_lora_base(&g->m);
    if (glia_artifact_in(g->m.dir))
        return glia_fail(err, GLIA_ERR_ARGUMENT, "%s: is compiled; give the directory of the original model",
                         g->m.dir);
    if (g->m.config.quantization.method)
        return glia_fail(
            err, GLIA_ERR_UNSUPPORTED,
            "%s: its weights are quantised (%s); merge the adapter into the original model, or run "
            "it beside this one",
            g->m.dir, g->m.config.quantization.method);
    glia_status status = glia_adapter_open(&g->adapter, adapter, &g->m.config, &base, o ? o->warning : NULL,
                                           o ? o->user : NULL, err);
    if (!status && g->adapter.files.invocation)
        status = glia_fail(err, GLIA_ERR_UNSUPPORTED,
                           "%s: alora_invocation_tokens: the adapter acts from these tokens on, so no weight "
                           "can hold it",
                           adapter);
    if (!status) status = check_biases(g, err);
    if (!status) status = glia_checkpoint_open(&g->checkpoint, g->m.dir, err);
    if (!status) status = glia_source_plain(&g->source, g->m.dir, g->adapter.spec, &g->m.config, err);
    if (!status) status = glia_team_create(&g->team, g->m.threads, err);
    if (status) return status;
    g->dtype = !o || o->dtype == GLIA_DTYPE_AUTO || o->dtype == GLIA_DTYPE_F32 ? GLIA_TENSOR_F32
               : o->dtype == GLIA_DTYPE_BF16                                   ? GLIA_TENSOR_BF16
                                                                               : GLIA_TENSOR_F16;
    g->unties = unties(g);
    return list(g, err);
}

static void close_all(merging *g) {
    if (g->team) glia_team_free(g->team);
    if (g->source) g->source->close(g->source);
    glia_checkpoint_close(&g->checkpoint);
    glia_adapter_close(&g->adapter);
    free(g->tensor);
    free(g->spec);
    free(g->a);
    free(g->rows);
    free(g->floats);
    glia_model_close(&g->m);
}

GLIA_API glia_status glia_merge(const char *model, const char *cache_dir, const char *adapter,
                                const char *dir, const glia_options *options, glia_err *err) {
    merging g = {0};
    glia_status status = glia_model_open(&g.m, model, cache_dir, options, err);
    if (!status) status = open_all(&g, adapter, options, err);
    if (!status) status = glia_hub_check_output(g.m.dir, dir, err);
    if (!status) status = glia_hub_check_output(adapter, dir, err);
    if (!status) status = glia_newdir_begin(&g.out, dir, err);
    if (!status) {
        status = write_tensors(&g, options, err);
        if (!status) status = glia_copy_files(&g.out, g.m.dir, "", err);
        if (!status) status = glia_copy_files(&g.out, g.m.dir, "additional_chat_templates", err);
        if (!status) status = write_config(&g, err);
        if (status)
            glia_newdir_abandon(&g.out);
        else
            status = glia_newdir_commit(&g.out, err);
    }
    close_all(&g);
    return status;
}
