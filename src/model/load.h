/* load.h - fill a rank's weights from a checkpoint or a seed. */
#ifndef GLIA_MODEL_LOAD_H
#define GLIA_MODEL_LOAD_H

#include "model/weights.h"

/* Fill the memory that `w` is bound to. `dir` is not read for a dummy.
 * Errors: as of glia_weights_load(). */
glia_status glia_weights_fill(glia_weights *w, const char *dir, const glia_weights_options *options,
                              glia_err *err);

#endif
