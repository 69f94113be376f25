/* review.c - see review.h. */
#include "model/review.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/checkpoint.h"
#include "model/artifact.h"
#include "model/coded.h"
#include "model/spec.h"

enum { NAMED = 4 };

typedef struct {
    glia_model_config *c;
    const char *dir;
    const glia_checkpoint *checkpoint;
    glia_warning_fn *warning;
    void *user;
} review;

static void warn(const review *r, const char *what, const char *names) {
    char text[600];
    snprintf(text, sizeof text, "%.200s: %s%s", r->dir, what, names);
    if (r->warning) r->warning(r->user, text);
}

static bool same_bytes(const glia_tensor_view *a, const glia_tensor_view *b) {
    return a->dtype == b->dtype && a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

/* Has the head a tensor of codes? */
static bool has_quantised_head(const review *r) {
    static const char *const names[] = {"lm_head.qweight", "lm_head.weight_packed", "lm_head.SCB"};
    bool has = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        has |= glia_checkpoint_find(r->checkpoint, names[i]) != NULL;
    return has && r->c->quantization.method;
}

static void untie(const review *r) {
    const glia_checkpoint *k = r->checkpoint;
    if (r->c->tied_head && has_quantised_head(r)) {
        r->c->tied_head = false;
        warn(r, "tie_word_embeddings is true, but the weights have a quantised head; it is used", "");
        return;
    }
    const glia_tensor_view *head = glia_checkpoint_find(k, glia_output_head.name),
                           *embed = glia_checkpoint_find(
                               k, glia_checkpoint_stored_name(k, "model.embed_tokens.weight"));
    if (!r->c->tied_head || !head || !embed || same_bytes(head, embed)) return;
    r->c->tied_head = false;
    warn(r,
         "tie_word_embeddings is true, but the weights have an lm_head.weight that differs from the "
         "embedding; it is used, as in transformers 5",
         "");
}

/* Is the tensor of no use, but known: the copy of a tied head, or RoPE's tables in old checkpoints? */
static bool is_known(const review *r, const char *name) {
    return (r->c->tied_head && strcmp(name, glia_output_head.name) == 0) ||
           strstr(name, "rotary_emb.inv_freq");
}

static void mark_used(const review *r, bool *used) {
    glia_weight w;
    const glia_model_spec *spec = glia_spec_find(r->c->architecture);
    for (size_t i = 0; glia_spec_weight(&w, spec, r->c, i); i++) {
        const glia_tensor_view *t =
            glia_checkpoint_find(r->checkpoint, glia_checkpoint_stored_name(r->checkpoint, w.name));
        if (t) used[t - r->checkpoint->tensor] = true;
    }
}

/* Is the tensor one of a quantised checkpoint's: of a linear layer, or scales of a cache? */
static bool is_quantised(const review *r, const char *tensor) {
    glia_weight w;
    size_t n;
    const glia_model_spec *spec = glia_spec_find(r->c->architecture);
    if (!r->c->quantization.method) return false;
    if (glia_coded_is_known(tensor)) return true;
    if (!glia_coded_module(tensor, &n)) return false;
    for (size_t i = 0; glia_spec_weight(&w, spec, r->c, i); i++) {
        const char *name = glia_checkpoint_stored_name(r->checkpoint, w.name);
        if (strncmp(name, tensor, n) == 0 && strcmp(name + n, ".weight") == 0) return true;
    }
    return false;
}

static void warn_surplus(const review *r) {
    char what[80], names[NAMED * 100] = "";
    const glia_checkpoint *k = r->checkpoint;
    bool *used = calloc(k->n + 1, sizeof *used);
    size_t n = 0, len = 0;
    if (!used) return;
    mark_used(r, used);
    for (size_t i = 0; i < k->n; i++) {
        if (used[k->by_name[i] - k->tensor] || is_known(r, k->by_name[i]->name)) continue;
        if (is_quantised(r, k->by_name[i]->name)) continue;
        if (n++ < NAMED)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s%.90s", n > 1 ? ", " : "",
                                    k->by_name[i]->name);
    }
    free(used);
    if (n > NAMED) snprintf(names + len, sizeof names - len, ", ...");
    snprintf(what, sizeof what, "%zu tensor%s not used by %s: ", n, n > 1 ? "s are" : " is",
             r->c->architecture);
    if (n) warn(r, what, names);
}

void glia_review_weights(glia_model_config *c, const char *dir, glia_warning_fn *warning, void *user) {
    glia_checkpoint checkpoint;
    const review r = {.c = c, .dir = dir, .checkpoint = &checkpoint, .warning = warning, .user = user};
    if (glia_artifact_in(dir)) {
        if (glia_artifact_is_untied(dir)) c->tied_head = false;
        return;
    }
    if (glia_checkpoint_open(&checkpoint, dir, NULL)) return;
    untie(&r);
    warn_surplus(&r);
    glia_checkpoint_close(&checkpoint);
}
