/* draft.c - the table of methods. */
#include "draft/draft.h"

#include <string.h>

#include "draft/heads.h"

const glia_draft_method *const glia_draft_methods[] = {
    &glia_draft_eagle, &glia_draft_eagle3, &glia_draft_medusa, &glia_draft_dflash, &glia_draft_dspark, NULL,
};

const glia_draft_method *glia_draft_method_find(const char *name) {
    for (int i = 0; glia_draft_methods[i]; i++)
        if (strcmp(glia_draft_methods[i]->name, name) == 0) return glia_draft_methods[i];
    return NULL;
}
