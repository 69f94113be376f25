/* head_file.c - see head_file.h. */
#include "draft/head_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static bool is_there(const char *dir, const char *name, char **path) {
    *path = glia_path_join(dir, name);
    if (*path && glia_name_exists(*path)) return true;
    free(*path);
    *path = NULL;
    return false;
}

/* Open the first of the named files that is there; *found says whether one is. */
static glia_status open_single(glia_head_file *f, const char *const *names, bool *found, glia_err *err) {
    glia_status status = GLIA_OK;
    *found = false;
    for (; *names && !*found; names++) {
        char *path;
        if (!is_there(f->dir, *names, &path)) continue;
        *found = true;
        if (strstr(*names, ".safetensors")) {
            status = glia_safetensors_open(&f->single, path, err);
            f->tensor = f->single.tensor;
            f->n = f->single.n;
        } else {
            status = glia_torch_file_open(&f->torch, path, err);
            f->tensor = f->torch.tensor;
            f->n = f->torch.n;
        }
        free(path);
    }
    return status;
}

static glia_status open_checkpoint(glia_head_file *f, glia_err *err) {
    const glia_status status = glia_checkpoint_open(&f->checkpoint, f->dir, err);
    f->tensor = f->checkpoint.tensor;
    f->n = f->checkpoint.n;
    return status;
}

const char *const glia_medusa_files[] = {"medusa_lm_head.safetensors", "medusa_lm_head.pt", "medusa_heads.pt",
                                         NULL};

static glia_status open_tensors(glia_head_file *f, bool medusa, glia_err *err) {
    static const char *const safetensors[] = {"model.safetensors.index.json", "model.safetensors", NULL},
                             *const torch[] = {"pytorch_model.bin", NULL};
    bool found = false;
    char *path;
    glia_status status = medusa ? open_single(f, glia_medusa_files, &found, err) : GLIA_OK;
    for (const char *const *name = safetensors; *name && !found; name++) {
        if (!is_there(f->dir, *name, &path)) continue;
        free(path);
        found = true;
        status = open_checkpoint(f, err);
    }
    if (!found) status = open_single(f, torch, &found, err);
    if (found) return status;
    return glia_fail(err, GLIA_ERR_IO,
                     "%s: expected %smodel.safetensors or pytorch_model.bin, found none of them", f->dir,
                     medusa ? "medusa_lm_head.safetensors, medusa_lm_head.pt, " : "");
}

static glia_status opened(glia_head_file *f, glia_status status, glia_err *err) {
    if (!status && !(f->used = calloc(f->n + 1, sizeof *f->used)))
        status = glia_fail_nomem(err, f->n, "a draft's tensors");
    if (status) glia_head_file_close(f);
    return status;
}

static glia_status begin(glia_head_file *f, const char *dir, glia_err *err) {
    const size_t bytes = strlen(dir) + 1;
    *f = (glia_head_file){.dir = malloc(bytes)};
    if (!f->dir) return glia_fail_nomem(err, bytes, "a path");
    memcpy(f->dir, dir, bytes);
    return GLIA_OK;
}

glia_status glia_head_file_open(glia_head_file *f, const char *dir, bool medusa, glia_err *err) {
    glia_status status = begin(f, dir, err);
    if (!status) status = open_tensors(f, medusa, err);
    return opened(f, status, err);
}

glia_status glia_head_file_open_model(glia_head_file *f, const char *dir, glia_err *err) {
    static const char *const names[] = {GLIA_TARGET_FILE, NULL};
    glia_status status = begin(f, dir, err);
    bool found = false;
    if (!status) status = open_single(f, names, &found, err);
    if (!status && !found && glia_artifact_in(dir))
        status =
            glia_fail(err, GLIA_ERR_UNSUPPORTED,
                      "%s: the head uses the model's embedding, and no rank of the artifact has it whole; "
                      "compile the model with the flags of its draft",
                      dir);
    if (!status && !found) status = open_checkpoint(f, err);
    return opened(f, status, err);
}

void glia_head_file_close(glia_head_file *f) {
    glia_checkpoint_close(&f->checkpoint);
    glia_safetensors_close(&f->single);
    glia_torch_file_close(&f->torch);
    free(f->used);
    free(f->dir);
    *f = (glia_head_file){0};
}

static const char *bare(const char *name) { return strncmp(name, "model.", 6) ? name : name + 6; }

const glia_tensor_view *glia_head_file_find(const glia_head_file *f, const char *name) {
    for (size_t i = 0; i < f->n; i++) {
        if (strcmp(bare(f->tensor[i].name), name) != 0) continue;
        f->used[i] = true;
        return &f->tensor[i];
    }
    return NULL;
}

bool glia_head_file_has(const glia_head_file *f, const char *text) {
    for (size_t i = 0; i < f->n; i++)
        if (!strncmp(bare(f->tensor[i].name), text, strlen(text))) return true;
    return false;
}

glia_status glia_head_file_check_used(const glia_head_file *f, const char *what, glia_err *err) {
    static const char *const idle[] = {"t2d", "inv_freq", "verifier_norm.weight", "verifier_lm_head.weight"};
    for (size_t i = 0; i < f->n; i++) {
        bool known = f->used[i];
        for (size_t k = 0; k < sizeof idle / sizeof *idle; k++) {
            const char *name = f->tensor[i].name;
            const size_t n = strlen(name), m = strlen(idle[k]);
            known |= n >= m && !strcmp(name + n - m, idle[k]);
        }
        if (!known)
            return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                             "%s: tensor %.120s is none that a draft of method %s has", f->dir,
                             f->tensor[i].name, what);
    }
    return GLIA_OK;
}
