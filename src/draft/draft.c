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

const char *glia_draft_method_names(char *text, size_t size) {
    size_t at = 0;
    text[0] = '\0';
    for (int i = 0; glia_draft_methods[i] && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", i ? ", " : "", glia_draft_methods[i]->name);
    return text;
}
