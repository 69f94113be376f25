/* copy.h - files of a model that a new directory has too: configurations, tokenizer
 * files, templates and licences, but not config.json and neuron_config.json. */
#ifndef GLIA_API_COPY_H
#define GLIA_API_COPY_H

#include "base/newdir.h"

/* Copy DIR/name, if it is a file or a link to one, to the same name in `out`. A directory is left out. */
glia_status glia_copy_file(glia_newdir *out, const char *dir, const char *name, glia_err *err);
/* Copy the files of DIR/below; "" for DIR itself. */
glia_status glia_copy_files(glia_newdir *out, const char *dir, const char *below, glia_err *err);

#endif
