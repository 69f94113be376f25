/* artifact.c - see artifact.h. */
#define _GNU_SOURCE
#include "model/artifact.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "format/checkpoint.h"
#include "model/fused.h"

enum { PAGE = 4096, CONFIG_MAX = 16 << 20 };

static const char layout_key[] = "glia_layout", tied_key[] = "tied_head", forms_key[] = "forms",
                  hashes_name[] = "hashes";

/* ---- names of files ---------------------------------------------------------- */

void glia_artifact_name(char name[GLIA_ARTIFACT_NAME], int rank) {
    snprintf(name, GLIA_ARTIFACT_NAME, "weights/tp%d_sharded_checkpoint.safetensors", rank);
}

static char *rank_path(const char *dir, int rank) {
    char name[GLIA_ARTIFACT_NAME];
    glia_artifact_name(name, rank);
    return glia_path_join(dir, name);
}

/* A copy of what the first file that opens says under `key`: rank 0's may be on another machine. NULL:
 * nothing. */
static char *first_said(const char *dir, const char *key) {
    char *copy = NULL;
    bool opens = false;
    for (int rank = 0; !opens && rank < GLIA_RANKS_MAX; rank++) {
        glia_safetensors file;
        char *path = rank_path(dir, rank);
        opens = path && !glia_safetensors_open(&file, path, NULL);
        const char *said = opens ? json_string_value(json_object_get(file.metadata, key)) : NULL;
        if (said) copy = strdup(said);
        if (opens) glia_safetensors_close(&file);
        free(path);
    }
    return copy;
}

bool glia_artifact_is_untied(const char *dir) {
    char *tied = first_said(dir, tied_key);
    const bool untied = tied && strcmp(tied, "false") == 0;
    free(tied);
    return untied;
}

char *glia_artifact_forms(const char *dir) { return first_said(dir, forms_key); }

/* ---- the tensors of a rank ---------------------------------------------------- */

enum { NAME = 56 };

/* A tensor of the file. */
typedef struct {
    char name[NAME];
    const void *at;
    glia_tensor_spec spec; /* all but its name */
} tensor;

/* All tensors of a rank's file but the hashes, in the order of their addresses. */
typedef struct {
    tensor *tensor;
    glia_tensor_spec *spec; /* [n + 1] the same for the writer; the last one is "hashes" */
    size_t n;
} tensor_list;

/* Append a float32 vector. The caller sets its name. */
static tensor *add_floats(tensor_list *l, const float *at, size_t bytes) {
    tensor *t = &l->tensor[l->n++];
    t->at = at;
    t->spec =
        (glia_tensor_spec){.dtype = GLIA_TENSOR_F32, .n_dims = 1, .shape = {(int64_t)(bytes / sizeof *at)}};
    return t;
}

static const glia_tensor_dtype tensor_dtypes[GLIA_WEIGHT_FORMATS] = {
    [GLIA_WEIGHT_F32] = GLIA_TENSOR_F32,    [GLIA_WEIGHT_BF16] = GLIA_TENSOR_BF16,
    [GLIA_WEIGHT_F16] = GLIA_TENSOR_F16,    [GLIA_WEIGHT_I8] = GLIA_TENSOR_I8,
    [GLIA_WEIGHT_C4] = GLIA_TENSOR_U8,      [GLIA_WEIGHT_C8] = GLIA_TENSOR_I8,
    [GLIA_WEIGHT_F8] = GLIA_TENSOR_F8_E4M3,
};

static void add_held(tensor_list *l, const glia_held *h, const glia_weights *w) {
    const glia_matrix *m = glia_held_matrix(h, w);
    char base[NAME] = "";
    if (glia_is_of_layer(h->fused->weight[0])) snprintf(base, sizeof base, "layers.%d.", h->layer);
    const size_t used = strlen(base);
    if (h->fused->hold == HOLD_SHARDS)
        snprintf(base + used, sizeof base - used, "shard.%d.%s", h->shard, h->fused->name);
    else
        snprintf(base + used, sizeof base - used, "%s", h->fused->name);
    if (!m) {
        strcpy(add_floats(l, glia_held_vector(h, w), glia_held_bytes(h, w))->name, base);
        return;
    }
    tensor *t = &l->tensor[l->n++];
    t->at = m->data;
    t->spec.dtype = tensor_dtypes[m->format];
    t->spec.n_dims = w->device->tensor_shape(t->spec.shape, m);
    snprintf(t->name, sizeof t->name, "%.40s.panels", base);
    if (m->scale)
        snprintf(add_floats(l, m->scale, w->device->scale_bytes(m))->name, NAME, "%.40s.scale", base);
}

static int by_address(const void *pa, const void *pb) {
    const tensor *a = pa, *b = pb;
    return (a->at > b->at) - (a->at < b->at);
}

/* List the tensors of bound weights. The caller calls list_free(), also after a failure. */
static glia_status list_tensors(tensor_list *l, const glia_weights *w, glia_err *err) {
    size_t most = 0; /* a matrix has two tensors: numbers and scales */
    for (glia_held h = {0}; glia_held_next(&h, w);) most += 2;
    *l = (tensor_list){.tensor = calloc(most, sizeof *l->tensor), .spec = calloc(most + 1, sizeof *l->spec)};
    if (!l->tensor || !l->spec) return glia_fail_nomem(err, most * sizeof *l->tensor, "the tensor list");
    for (glia_held h = {0}; glia_held_next(&h, w);) add_held(l, &h, w);
    qsort(l->tensor, l->n, sizeof *l->tensor, by_address);
    for (size_t i = 0; i < l->n; i++) {
        l->spec[i] = l->tensor[i].spec;
        l->spec[i].name = l->tensor[i].name;
    }
    l->spec[l->n] = (glia_tensor_spec){hashes_name, GLIA_TENSOR_U64, 1, {(int64_t)l->n + 1}};
    return GLIA_OK;
}

static size_t bytes_of(const glia_tensor_spec *s) {
    size_t bytes = 0;
    const bool whole = glia_tensor_bytes(s->dtype, s->shape, s->n_dims, &bytes);
    assert(whole);
    (void)whole;
    return bytes;
}

static void list_free(tensor_list *l) {
    free(l->tensor);
    free(l->spec);
}

/* ---- hashes -------------------------------------------------------------------- */

typedef struct {
    const void *at;
    size_t bytes;
    uint64_t hash;
} piece;

typedef struct {
    piece *piece;
    size_t n;
    atomic_size_t next;
} hashing;

static void hash_pieces(void *arg, int thread) {
    hashing *h = arg;
    (void)thread;
    for (size_t i; (i = atomic_fetch_add(&h->next, 1)) < h->n;)
        h->piece[i].hash = glia_hash(h->piece[i].at, h->piece[i].bytes, 0);
}

static void hash_all(piece *pieces, size_t n, glia_team *team) {
    hashing h = {.piece = pieces, .n = n};
    glia_team_run(team, hash_pieces, &h);
}

glia_status glia_source_hash(uint64_t *hash, const char *dir, glia_team *team, glia_err *err) {
    glia_checkpoint c;
    *hash = 0;
    glia_status status = glia_checkpoint_open(&c, dir, err);
    if (status) return status;
    piece *pieces = calloc(c.n + 1, sizeof *pieces);
    if (!pieces) {
        glia_checkpoint_close(&c);
        return glia_fail_nomem(err, c.n * sizeof *pieces, "hashes");
    }
    for (size_t i = 0; i < c.n; i++)
        pieces[i] = (piece){.at = c.by_name[i]->data, .bytes = c.by_name[i]->bytes};
    hash_all(pieces, c.n, team);
    for (size_t i = 0; i < c.n; i++) {
        const glia_tensor_view *t = c.by_name[i];
        char text[256];
        const char *dtype = glia_tensor_dtype_name(t->dtype),
                   *shape = glia_tensor_shape(t, text, sizeof text);
        *hash = glia_hash(t->name, strlen(t->name) + 1, *hash);
        *hash = glia_hash(dtype, strlen(dtype) + 1, *hash);
        *hash = glia_hash(shape, strlen(shape) + 1, *hash);
        *hash = glia_hash(&pieces[i].hash, sizeof pieces[i].hash, *hash);
        glia_checkpoint_drop(&c, t);
    }
    free(pieces);
    status = glia_checkpoint_check(&c, err);
    glia_checkpoint_close(&c);
    return status;
}

glia_status glia_config_hash(char hex[GLIA_HASH_HEX], const char *dir, glia_err *err) {
    char *text, *path = glia_path_join(dir, "config.json");
    size_t len;
    if (!path) return glia_fail_nomem(err, strlen(dir), "a path");
    const glia_status status = glia_read_file(&text, &len, path, CONFIG_MAX, err);
    free(path);
    if (status) return status;
    glia_hash_hex(hex, glia_hash(text, len, 0));
    free(text);
    return GLIA_OK;
}

/* ---- what the bytes depend on --------------------------------------------------- */

typedef struct {
    const char *key;
    char value[32];
} fact;

enum {
    FACT_TP,
    FACT_RANK,
    FACT_CP,
    FACT_VOCAB,
    FACT_DTYPE,
    FACT_QUANTIZATION,
    FACT_QUANTIZATION_TYPE,
    N_FACTS
};

static void set_facts(fact f[N_FACTS], const glia_parallel *p, glia_dtype dtype, const glia_quantize *q) {
    /* int8 and w8a8 have the same weights; only their rows differ */
    const bool int8 = q && q->scheme != GLIA_QUANTIZATION_NONE;
    const char *type = int8 ? glia_quantize_type_name(q) : "none";
    static const char *const keys[N_FACTS] = {"tensor_parallel_size", "rank",  "context_parallel_size",
                                              "vocab_parallel",       "dtype", "quantization",
                                              "quantization_type"};
    for (int i = 0; i < N_FACTS; i++) f[i].key = keys[i];
    snprintf(f[FACT_TP].value, sizeof f->value, "%d", p->tp);
    snprintf(f[FACT_RANK].value, sizeof f->value, "%d", p->rank);
    snprintf(f[FACT_CP].value, sizeof f->value, "%d%s", p->cp_degree,
             p->cp_degree > 1 && p->flash_decoding ? " with flash_decoding" : "");
    snprintf(f[FACT_VOCAB].value, sizeof f->value, "%s", p->vocab_parallel ? "true" : "false");
    snprintf(f[FACT_DTYPE].value, sizeof f->value, "%s",
             glia_weight_traits[glia_weight_format_of(dtype)].name);
    snprintf(f[FACT_QUANTIZATION].value, sizeof f->value, "%s",
             q && q->method                        ? q->method
             : !int8                               ? "none"
             : q->scheme == GLIA_QUANTIZATION_INT4 ? "int4"
             : q->scheme == GLIA_QUANTIZATION_W4A8 ? "w4a8"
             : q->scheme == GLIA_QUANTIZATION_FP8  ? "fp8"
                                                   : "int8");
    snprintf(f[FACT_QUANTIZATION_TYPE].value, sizeof f->value, "%s", type);
}

static const char *byte_order(void) { return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? "little" : "big"; }

/* ---- write ------------------------------------------------------------------------ */

static json_t *make_metadata(const glia_weights *w, const char *config_hash, uint64_t source_hash) {
    fact facts[N_FACTS];
    char layout[16], source[GLIA_HASH_HEX];
    snprintf(layout, sizeof layout, "%d", GLIA_ARTIFACT_LAYOUT);
    glia_hash_hex(source, source_hash);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "format", "glia", layout_key, layout, "byte_order",
                  byte_order(), "architecture", w->config->architecture, "config_hash", config_hash,
                  "source_hash", source, tied_key, w->config->tied_head ? "true" : "false");
    set_facts(facts, &w->parallel, w->dtype, w->quantize);
    for (int i = 0; i < N_FACTS; i++) json_object_set_new(o, facts[i].key, json_string(facts[i].value));
    char *forms = glia_quantize_forms(w->quantize, w->config);
    if (forms) json_object_set_new(o, forms_key, json_string(forms));
    free(forms);
    return o;
}

static glia_status write_file(const glia_weights *w, const tensor_list *l, json_t *metadata, const char *path,
                              glia_team *team, glia_err *err) {
    glia_safetensors_writer *out = NULL;
    piece *pieces = calloc(l->n, sizeof *pieces);
    uint64_t *hashes = calloc(l->n + 1, sizeof *hashes);
    glia_status status = pieces && hashes ? GLIA_OK : glia_fail_nomem(err, l->n * sizeof *pieces, "hashes");
    if (!status)
        status =
            glia_safetensors_create_with(&out, path, l->spec, l->n + 1, metadata, PAGE, &hashes[l->n], err);
    if (!status) {
        for (size_t i = 0; i < l->n; i++)
            pieces[i] = (piece){.at = l->tensor[i].at, .bytes = bytes_of(&l->spec[i])};
        hash_all(pieces, l->n, team);
        for (size_t i = 0; i < l->n; i++) hashes[i] = pieces[i].hash;
        /* one write, so that Linux caches the file in huge pages, which are quick to map */
        status = glia_safetensors_append(out, w->plan.base, w->plan.bytes, err);
        if (!status) status = glia_safetensors_append(out, hashes, (l->n + 1) * sizeof *hashes, err);
        if (!status)
            status = glia_safetensors_finish(out, err);
        else
            glia_safetensors_abandon(out);
    }
    free(pieces);
    free(hashes);
    return status;
}

glia_status glia_artifact_write(const glia_weights *w, const char *config_dir, uint64_t source_hash,
                                const char *dir, glia_team *team, glia_err *err) {
    tensor_list l = {0};
    char config_hash[GLIA_HASH_HEX];
    char *path = rank_path(dir, w->parallel.rank);
    json_t *metadata = NULL;
    glia_status status =
        path ? glia_config_hash(config_hash, config_dir, err) : glia_fail_nomem(err, 0, "a path");
    if (!status) status = list_tensors(&l, w, err);
    if (!status) {
        metadata = make_metadata(w, config_hash, source_hash);
        status = write_file(w, &l, metadata, path, team, err);
    }
    json_decref(metadata);
    list_free(&l);
    free(path);
    return status;
}

/* ---- map --------------------------------------------------------------------------- */

static const char *said(const glia_weights *w, const char *key) {
    const char *value = json_string_value(json_object_get(w->artifact.metadata, key));
    return value ? value : "nothing";
}

static uint64_t stored_hash(const glia_safetensors *file, size_t i) {
    uint64_t hash;
    memcpy(&hash, (const char *)file->tensor[file->n - 1].data + i * sizeof hash, sizeof hash);
    return hash;
}

/* Fail unless the header is Glia's, of this layout, and undamaged. */
static glia_status check_header(const glia_weights *w, const char *path, glia_err *err) {
    const glia_safetensors *file = &w->artifact;
    char layout[16];
    snprintf(layout, sizeof layout, "%d", GLIA_ARTIFACT_LAYOUT);
    if (!json_object_get(file->metadata, layout_key))
        return glia_fail(err, GLIA_ERR_FORMAT,
                         "%s: written by another program (no %s in its header); give the directory of the "
                         "original model",
                         path, layout_key);
    if (strcmp(said(w, layout_key), layout) != 0)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "%s: has layout %.20s of packed weights, expected %s; compile the model again", path,
                         said(w, layout_key), layout);
    if (strcmp(said(w, "byte_order"), byte_order()) != 0)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "%s: has %.20s-endian numbers, this machine %s-endian",
                         path, said(w, "byte_order"), byte_order());
    const glia_tensor_view *last = file->n < 2 ? NULL : &file->tensor[file->n - 1];
    if (!last || strcmp(last->name, hashes_name) != 0 || last->bytes != file->n * sizeof(uint64_t))
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: does not end with %zu hashes; the file is damaged", path,
                         file->n);
    if (glia_hash(file->map.data, file->header_bytes, 0) != stored_hash(file, file->n - 1))
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: the header does not match its hash; the file is damaged",
                         path);
    return GLIA_OK;
}

static glia_status check_facts(const glia_weights *w, const char *dir, const char *path,
                               const glia_weights_options *o, glia_err *err) {
    fact facts[N_FACTS];
    char config_hash[GLIA_HASH_HEX];
    set_facts(facts, &w->parallel, o->dtype, o->quantize);
    for (int i = 0; i < N_FACTS; i++)
        if (strcmp(said(w, facts[i].key), facts[i].value) != 0)
            return glia_fail(err, GLIA_ERR_ARGUMENT,
                             "%s: made with %s %.30s, and %s is asked for; compile the model again or give "
                             "the directory of the original",
                             path, facts[i].key, said(w, facts[i].key), facts[i].value);
    const glia_status status = glia_config_hash(config_hash, dir, err);
    if (status) return status;
    if (strcmp(said(w, "config_hash"), config_hash) != 0)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "%s: made from another config.json than the one in %s; compile the model again",
                         path, dir);
    return GLIA_OK;
}

/* Fail if this file and rank 0's come from different weights. If rank 0's file is on another machine, nothing
 * is compared. */
static glia_status check_siblings(const glia_weights *w, const char *dir, const char *path, glia_err *err) {
    glia_safetensors first;
    char *name = w->parallel.rank ? rank_path(dir, 0) : NULL;
    bool found = false;
    glia_status status = name ? glia_file_find(&found, name, err) : GLIA_OK;
    if (found && !(status = glia_safetensors_open(&first, name, err))) {
        const char *hash = json_string_value(json_object_get(first.metadata, "source_hash"));
        if (!hash || strcmp(hash, said(w, "source_hash")) != 0)
            status = glia_fail(
                err, GLIA_ERR_FORMAT,
                "%s: made from weights with hash %.20s, rank 0's from %.20s; compile the model again", path,
                said(w, "source_hash"), hash ? hash : "unknown");
        glia_safetensors_close(&first);
    }
    free(name);
    return status;
}

/* Let the plan's memory be the file's bytes. */
static glia_status bind_plan(glia_weights *w, const char *path, glia_err *err) {
    const glia_safetensors *file = &w->artifact;
    const size_t found = file->map.len - file->header_bytes - file->n * sizeof(uint64_t);
    if (found != w->plan.bytes)
        return glia_fail(
            err, GLIA_ERR_ARGUMENT,
            "%s: %zu bytes of weights, expected %zu; compiled with other modules_to_not_convert?", path,
            found, w->plan.bytes);
    w->plan.base = (char *)(uintptr_t)file->tensor[0].data;                   /* nobody writes there */
    madvise((void *)(uintptr_t)file->map.data, file->map.len, MADV_HUGEPAGE); /* a hint, which may fail */
    return GLIA_OK;
}

glia_status glia_artifact_map(glia_weights *w, const char *dir, const glia_weights_options *options,
                              glia_err *err) {
    char *path = rank_path(dir, w->parallel.rank);
    if (!path) return glia_fail_nomem(err, strlen(dir), "a path");
    bool found;
    glia_status status = glia_file_find(&found, path, err);
    if (!status && !found)
        status =
            glia_fail(err, GLIA_ERR_IO,
                      "%s is missing: the weights of rank %d of %d; was the model compiled for fewer ranks?",
                      path, w->parallel.rank, w->parallel.tp);
    if (!status) status = glia_safetensors_open(&w->artifact, path, err);
    if (!status) status = check_header(w, path, err);
    if (!status) status = check_facts(w, dir, path, options, err);
    if (!status) status = check_siblings(w, dir, path, err);
    if (!status) status = bind_plan(w, path, err);
    free(path);
    return status;
}

static bool same_spec(const glia_tensor_view *t, const glia_tensor_spec *s) {
    return strcmp(t->name, s->name) == 0 && t->dtype == s->dtype && t->n_dims == s->n_dims &&
           memcmp(t->shape, s->shape, (size_t)s->n_dims * sizeof *s->shape) == 0;
}

static glia_status check_tensor(const glia_tensor_view *found, const glia_tensor_spec *want, const char *dir,
                                int rank, glia_err *err) {
    char a[120], b[120];
    glia_tensor_view view = {.n_dims = want->n_dims};
    if (same_spec(found, want)) return GLIA_OK;
    memcpy(view.shape, want->shape, sizeof view.shape);
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "%s, rank %d: tensor %.60s is %s %s, expected %s %s %s; compiled with other "
                     "modules_to_not_convert?",
                     dir, rank, found->name, glia_tensor_dtype_name(found->dtype),
                     glia_tensor_shape(found, a, sizeof a), want->name, glia_tensor_dtype_name(want->dtype),
                     glia_tensor_shape(&view, b, sizeof b));
}

/* The threads map the file's pages before the first step: each thread takes every n-th slice. */
typedef struct {
    const glia_weights *w;
    const glia_weights_options *options;
} faulting;

static void fault_in(void *arg, int thread) {
    const faulting *f = arg;
    const glia_map *m = &f->w->artifact.map;
    const size_t slice = (size_t)64 << 20, threads = (size_t)glia_team_size(f->options->team);
    for (size_t at = slice * (size_t)thread; at < m->len; at += slice * threads) {
        const size_t n = m->len - at < slice ? m->len - at : slice;
#ifdef MADV_POPULATE_READ
        madvise((void *)(uintptr_t)(m->data + at), n, MADV_POPULATE_READ);
#endif
        if (thread == 0 && f->options->progress)
            f->options->progress(f->options->user, "mapping weights", at + n, m->len);
    }
}

/* Compare all bytes of mapped weights with their hashes. */
static glia_status verify(const glia_weights *w, const glia_weights_options *options, glia_err *err) {
    const glia_safetensors *file = &w->artifact;
    const size_t n = file->n - 1;
    glia_status status = GLIA_OK;
    piece *pieces = calloc(n, sizeof *pieces);
    if (!pieces) return glia_fail_nomem(err, n * sizeof *pieces, "hashes");
    for (size_t i = 0; i < n; i++)
        pieces[i] = (piece){.at = file->tensor[i].data, .bytes = file->tensor[i].bytes};
    hash_all(pieces, n, options->team);
    for (size_t i = 0; !status && i < n; i++)
        if (pieces[i].hash != stored_hash(file, i))
            status =
                glia_fail(err, GLIA_ERR_FORMAT, "%s: tensor %s does not match its hash; the file is damaged",
                          glia_map_path(&file->map), file->tensor[i].name);
    free(pieces);
    const glia_status changed = glia_map_check(&file->map, err);
    return changed ? changed : status;
}

glia_status glia_artifact_check(const glia_weights *w, const char *dir, const glia_weights_options *options,
                                glia_err *err) {
    tensor_list l;
    glia_status status = list_tensors(&l, w, err);
    if (!status && w->artifact.n != l.n + 1)
        status = glia_fail(err, GLIA_ERR_FORMAT, "%s, rank %d: %zu tensors, expected %zu", dir,
                           w->parallel.rank, w->artifact.n, l.n + 1);
    for (size_t i = 0; !status && i <= l.n; i++)
        status = check_tensor(&w->artifact.tensor[i], &l.spec[i], dir, w->parallel.rank, err);
    list_free(&l);
    if (status) return status;
    glia_team_run(options->team, fault_in, &(faulting){w, options});
    return verify(w, options, err);
}
