/* draft.c - the table of methods. */
#include "draft/draft.h"

#include <string.h>

const glia_draft_method *const glia_draft_methods[] = {NULL};

const glia_draft_method *glia_draft_method_find(const char *name) {
    for (int i = 0; glia_draft_methods[i]; i++)
        if (strcmp(glia_draft_methods[i]->name, name) == 0) return glia_draft_methods[i];
    return NULL;
}
