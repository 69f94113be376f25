/* draft.c - the table of methods. */
#include "draft/draft.h"

#include <stdio.h>
#include <string.h>

#include "draft/heads.h"

const glia_draft_method *const glia_draft_methods[] = {
    &glia_draft_ngram,  &glia_draft_draft_model, &glia_draft_eagle,  &glia_draft_eagle3,
    &glia_draft_medusa, &glia_draft_dflash,      &glia_draft_dspark, NULL,
};

const glia_draft_method *glia_draft_method_find(const char *name) {
    for (int i = 0; glia_draft_methods[i]; i++)
        if (strcmp(glia_draft_methods[i]->name, name) == 0) return glia_draft_methods[i];
    return NULL;
}

const glia_draft_method *glia_draft_method_of(const char *dir) {
    static const struct {
        const char *tensor; /* how a name begins */
        const glia_draft_method *method;
    } rows[] = {{"medusa_heads.", &glia_draft_medusa},         {"blocks.0.layers.", &glia_draft_medusa},
                {"medusa_head_0.", &glia_draft_medusa},        {"0.0.linear.", &glia_draft_medusa},
                {"markov_head.", &glia_draft_dspark},          {"confidence_head.", &glia_draft_dspark},
                {"hidden_norm.", &glia_draft_dflash},          {"midlayer.", &glia_draft_eagle3},
                {"layers.0.hidden_norm.", &glia_draft_eagle3}, {"fc.", &glia_draft_eagle}};
    const glia_draft_method *method = &glia_draft_draft_model;
    glia_head_file f;
    if (glia_head_file_open(&f, dir, true, NULL)) return method; /* reading the model will say why */
    for (size_t i = 0; i < sizeof rows / sizeof *rows && method == &glia_draft_draft_model; i++)
        if (glia_head_file_has(&f, rows[i].tensor)) method = rows[i].method;
    glia_head_file_close(&f);
    return method;
}

const char *glia_draft_method_names(char *text, size_t size) {
    size_t at = 0;
    text[0] = '\0';
    for (int i = 0; glia_draft_methods[i] && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", i ? ", " : "", glia_draft_methods[i]->name);
    return text;
}
