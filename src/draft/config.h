/* config.h - what --speculative-config says, as vLLM spells it. */
#ifndef GLIA_DRAFT_CONFIG_H
#define GLIA_DRAFT_CONFIG_H

#include "draft/draft.h"

/* Read the JSON object `text`. "model" is a directory or a Hub id in cache_dir. `where` names the text in
 * messages. On success the caller frees *c. Errors: GLIA_ERR_ARGUMENT an unknown key or method, or a value
 * out of its range; GLIA_ERR_IO no such model. */
glia_status glia_draft_config_read(glia_draft_config *c, const char *text, const char *where,
                                   const char *cache_dir, glia_err *err);
void glia_draft_config_free(glia_draft_config *c);

/* The most nodes of a proposal besides the root; the most tokens of a path. */
int glia_draft_config_nodes(const glia_draft_config *c);
int glia_draft_config_depth(const glia_draft_config *c);

#endif
