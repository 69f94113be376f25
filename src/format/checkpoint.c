/* checkpoint.c - see checkpoint.h. */
#include "format/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"

enum { INDEX_MAX = 256 << 20 };

static bool has(const char *dir, const char *name) {
    char *path = glia_path_join(dir, name);
    const bool is = path && glia_name_exists(path);
    free(path);
    return is;
}

bool glia_artifact_in(const char *dir) {
    return has(dir, "weights") && !has(dir, "model.safetensors") && !has(dir, "model.safetensors.index.json");
}

/* Open dir/name and append it to c->file. */
static glia_status add_file(glia_checkpoint *c, const char *dir, const char *name, glia_err *err) {
    const size_t n = (size_t)c->n_files + 1;
    char *path = glia_path_join(dir, name);
    char **paths = realloc(c->path, n * sizeof *paths);
    if (paths) c->path = paths;
    glia_safetensors *files = realloc(c->file, n * sizeof *files);
    if (files) c->file = files;
    glia_status status = path && paths && files ? GLIA_OK : glia_fail_nomem(err, n * sizeof *files, name);
    if (!status) status = glia_safetensors_open(&c->file[n - 1], path, err);
    if (status) {
        free(path);
        return status;
    }
    c->path[n - 1] = path;
    c->n_files++;
    return GLIA_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const glia_tensor_view *const *)a)->name, (*(const glia_tensor_view *const *)b)->name);
}

/* The name without the prefix "model."; NULL if it has no such prefix. */
static const char *without_prefix(const char *name) {
    static const char prefix[] = "model.";
    return strncmp(name, prefix, sizeof prefix - 1) == 0 ? name + sizeof prefix - 1 : NULL;
}

static glia_status gather(glia_checkpoint *c, glia_err *err) {
    for (int f = 0; f < c->n_files; f++) c->n += c->file[f].n;
    c->tensor = calloc(c->n + 1, sizeof *c->tensor);
    c->by_name = calloc(c->n + 1, sizeof *c->by_name);
    if (!c->tensor || !c->by_name)
        return glia_fail_nomem(err, c->n * sizeof *c->tensor, "the list of tensors");
    size_t k = 0;
    for (int f = 0; f < c->n_files; f++) {
        for (size_t i = 0; i < c->file[f].n; i++, k++) {
            c->tensor[k] = c->file[f].tensor[i];
            c->tensor[k].file = f;
            c->bytes += c->tensor[k].bytes;
            c->by_name[k] = &c->tensor[k];
        }
    }
    qsort(c->by_name, c->n, sizeof *c->by_name, compare_names);
    for (size_t i = 1; i < c->n; i++)
        if (compare_names(&c->by_name[i - 1], &c->by_name[i]) == 0)
            return glia_fail(err, GLIA_ERR_FORMAT, "%s: tensor %.120s is in another shard, too",
                             c->path[c->by_name[i]->file], c->by_name[i]->name);
    for (size_t i = 0; i < c->n; i++)
        if (without_prefix(c->by_name[i]->name) &&
            glia_checkpoint_find(c, without_prefix(c->by_name[i]->name)))
            return glia_fail(err, GLIA_ERR_FORMAT,
                             "%s: tensor %.120s is there without the prefix model., too",
                             c->path[c->by_name[i]->file], c->by_name[i]->name);
    c->bare = !glia_checkpoint_find(c, "model.embed_tokens.weight") &&
              glia_checkpoint_find(c, "embed_tokens.weight");
    return GLIA_OK;
}

/* ---- sharded --------------------------------------------------------------- */

/* Index of the file called `shard`, or -1. */
static int find_file(const glia_checkpoint *c, const char *shard) {
    for (int f = c->n_files - 1; f >= 0; f--) {
        const char *slash = strrchr(c->path[f], '/');
        if (!strcmp(slash ? slash + 1 : c->path[f], shard)) return f;
    }
    return -1;
}

/* Open every file that `map` names, in order of first mention. As in Transformers, the names of tensors in
 * `map` do not matter. */
static glia_status open_shards(glia_checkpoint *c, const char *dir, const char *index, const json_t *map,
                               glia_err *err) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value) {
        const char *shard = json_string_value(value);
        if (!shard)
            return glia_fail(err, GLIA_ERR_FORMAT, "%s: weight_map: %.120s: expected a file name, found %s",
                             index, name, glia_json_type_name(value));
        if (find_file(c, shard) >= 0) continue;
        if (!*shard || strchr(shard, '/') || !strcmp(shard, ".") || !strcmp(shard, ".."))
            return glia_fail(err, GLIA_ERR_FORMAT,
                             "%s: weight_map: %.120s: \"%.120s\" is not a file name in the "
                             "model's directory",
                             index, name, shard);
        if (!has(dir, shard))
            return glia_fail(err, GLIA_ERR_IO, "%s: weight_map names %.120s, which is not there", index,
                             shard);
        const glia_status status = add_file(c, dir, shard, err);
        if (status) return status;
    }
    return GLIA_OK;
}

static glia_status open_index(glia_checkpoint *c, const char *dir, const char *index, glia_err *err) {
    json_t *tree;
    glia_status status = glia_json_load(&tree, index, INDEX_MAX, 0, err);
    if (status) return status;
    glia_json_reader r = {.object = tree, .where = index, .err = err};
    const json_t *map = glia_json_object(&r, "weight_map");
    if (!map || json_object_size(map) == 0)
        glia_json_fail(&r, GLIA_ERR_FORMAT, "weight_map is missing or empty");
    status = r.status;
    if (!status) status = open_shards(c, dir, index, map, err);
    if (!status) status = gather(c, err);
    json_decref(tree);
    return status;
}

/* ---- the directory --------------------------------------------------------- */

static glia_status fail_absent(const char *dir, glia_err *err) {
    static const char *const other[] = {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.gguf",
                                        "tf_model.h5", "flax_model.msgpack"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (has(dir, other[i]))
            return glia_fail(err, GLIA_ERR_IO,
                             "%s: expected model.safetensors or model.safetensors.index.json; "
                             "%s is there, which Glia does not read",
                             dir, other[i]);
    return glia_fail(err, GLIA_ERR_IO,
                     "%s: no weights: expected model.safetensors or "
                     "model.safetensors.index.json",
                     dir);
}

glia_status glia_checkpoint_open(glia_checkpoint *c, const char *dir, glia_err *err) {
    static const char single[] = "model.safetensors", sharded[] = "model.safetensors.index.json";
    glia_status status;
    memset(c, 0, sizeof *c);
    if (has(dir, single)) {
        status = add_file(c, dir, single, err);
        if (!status) status = gather(c, err);
    } else if (has(dir, sharded)) {
        char *index = glia_path_join(dir, sharded);
        status = index ? open_index(c, dir, index, err) : glia_fail_nomem(err, strlen(dir), "a path");
        free(index);
    } else {
        status = fail_absent(dir, err);
    }
    if (status) glia_checkpoint_close(c);
    return status;
}

glia_status glia_checkpoint_check(const glia_checkpoint *c, glia_err *err) {
    glia_status status = GLIA_OK;
    for (int f = 0; !status && f < c->n_files; f++) status = glia_map_check(&c->file[f].map, err);
    return status;
}

void glia_checkpoint_close(glia_checkpoint *c) {
    for (int f = 0; f < c->n_files; f++) {
        glia_safetensors_close(&c->file[f]);
        free(c->path[f]);
    }
    free(c->file);
    free(c->path);
    free(c->tensor);
    free(c->by_name);
    memset(c, 0, sizeof *c);
}

const glia_tensor_view *glia_checkpoint_find(const glia_checkpoint *c, const char *name) {
    const glia_tensor_view key = {.name = name}, *p = &key;
    const glia_tensor_view **found = bsearch(&p, c->by_name, c->n, sizeof *c->by_name, compare_names);
    return found ? *found : NULL;
}

const char *glia_checkpoint_stored_name(const glia_checkpoint *c, const char *name) {
    const char *bare = without_prefix(name);
    if (!bare || glia_checkpoint_find(c, name)) return name;
    return c->bare || glia_checkpoint_find(c, bare) ? bare : name;
}

void glia_checkpoint_drop(const glia_checkpoint *c, const glia_tensor_view *t) {
    const glia_map *map = &c->file[t->file].map;
    if (t->bytes) glia_map_drop(map, (size_t)((const unsigned char *)t->data - map->data), t->bytes);
}
