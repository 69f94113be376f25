/* quantize_stored.c - the forms of a quantised checkpoint's products. */
#include "model/quantize.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/artifact.h"
#include "model/coded.h"
#include "model/fused.h"

typedef struct {
    glia_quantize *q;
    const glia_model_config *c;
    const glia_checkpoint *checkpoint;
    const char *dir;
    glia_warning_fn *warning;
    void *user;
    bool warned;
} reading;

/* Sizes of groups that g_idx orders, as glia_matrix_form has them. */
static glia_status read_order(glia_matrix_form *form, const glia_coded *coded, glia_err *err) {
    enum { UNIT = GLIA_GROUP_UNIT };
    size_t *n = calloc((size_t)coded->groups, sizeof *n);
    if (!n) return glia_fail_nomem(err, (size_t)coded->groups * sizeof *n, "groups");
    for (int64_t i = 0; i < coded->cols; i++) n[glia_coded_group(coded, (size_t)i)]++;
    int64_t all = 0, common = GLIA_GROUP_MAX;
    for (int64_t g = 0; g < coded->groups; g++) {
        const int64_t filled = ((int64_t)n[g] + UNIT - 1) / UNIT * UNIT;
        all += filled;
        while (filled % common) common /= 2;
    }
    free(n);
    form->ordered_k = all;
    form->ordered_group = common;
    return GLIA_OK;
}

/* The scale of the rows that n weights multiply. If their stored scales differ, it is that of the widest
 * range, as vLLM has it. */
static glia_row_scale common_rows(const glia_coded *coded, int n) {
    float low = 0, high = 0, most = 0;
    bool same = true;
    for (int i = 0; i < n; i++) {
        const glia_row_scale *s = &coded[i].rows_scale;
        most = fmaxf(most, s->scale);
        low = fminf(low, s->scale * (float)(INT8_MIN - s->zero));
        high = fmaxf(high, s->scale * (float)(INT8_MAX - s->zero));
        same &= s->scale == coded[0].rows_scale.scale && s->zero == coded[0].rows_scale.zero;
    }
    if (same) return coded[0].rows_scale;
    if (!coded[0].scheme->rows_asymmetric) return (glia_row_scale){.scale = most};
    const float scale = (high - low) / (INT8_MAX - INT8_MIN);
    return (glia_row_scale){.scale = scale, .zero = (int)rintf(INT8_MIN - low / scale)};
}

/* The form of a matrix of n weights that are alike. */
static glia_status form_of(glia_matrix_form *form, const glia_coded *coded, int n, bool zeros,
                           glia_err *err) {
    const glia_row_scale rows = common_rows(coded, n);
    const bool channel =
        coded->format == GLIA_WEIGHT_C8 && coded->groups == 1 && !zeros && glia_is_absmax(&rows);
    *form = (glia_matrix_form){.format = channel ? GLIA_WEIGHT_I8 : coded->format,
                               .quantize_rows = coded->scheme->int8_rows,
                               .rows = rows,
                               .group = coded->groups == 1 ? 0 : coded->group,
                               .zeros = zeros};
    return coded->g_idx ? read_order(form, coded, err) : GLIA_OK;
}

static glia_status find(const reading *r, glia_coded *coded, const glia_fused *f, int i, int layer,
                        glia_err *err) {
    const glia_model_spec *spec = glia_spec_find(r->c->architecture);
    const glia_weight_spec *w = f->weight[i] == W_HEAD && !r->c->tied_head
                                    ? &glia_output_head
                                    : glia_spec_row(spec, r->c, f->weight[i]);
    char name[96];
    *coded = (glia_coded){0};
    if (!w) return GLIA_OK;
    snprintf(name, sizeof name, w->name, layer);
    return glia_coded_find(coded, r->checkpoint, &r->c->quantization, name, glia_dim_of(r->c, w->rows),
                           glia_dim_of(r->c, w->cols), r->dir, err);
}

static void warn(reading *r, const glia_fused *f, int layer) {
    char text[300];
    if (!r->warned && r->warning) {
        snprintf(
            text, sizeof text,
            "%.150s: layer %d: the tensors of %s are quantised differently; such layers are kept as numbers",
            r->dir, layer, f->name);
        r->warning(r->user, text);
    }
    r->warned = true;
}

/* Read the form of one product of a layer, or of the head. */
static glia_status read_product(reading *r, const glia_fused *f, int layer, glia_err *err) {
    glia_coded coded[GLIA_FUSED_MAX];
    bool alike = true, any = false, zeros = false;
    glia_status status = GLIA_OK;
    for (int i = 0; !status && i < f->n_weights; i++) {
        status = find(r, &coded[i], f, i, layer, err);
        any |= coded[i].scheme != NULL;
        zeros |= coded[i].zeros;
        alike &= glia_coded_alike(&coded[0], &coded[i]);
    }
    if (status || !any) return status;
    if (!alike) warn(r, f, layer);
    if (!alike) return GLIA_OK;
    glia_matrix_form *form = &r->q->form[layer * N_PRODUCTS + (int)f->product];
    r->q->layer[layer] |= (unsigned char)(1u << f->product);
    return form_of(form, coded, f->n_weights, zeros, err);
}

/* ---- forms as text -------------------------------------------------------------- */

char *glia_quantize_forms(const glia_quantize *q, const glia_model_config *c) {
    if (!q || !q->form) return NULL;
    json_t *list = json_array();
    for (int layer = 0; layer < c->layers; layer++)
        for (int p = 0; p < N_PRODUCTS; p++) {
            const glia_matrix_form *f = &q->form[layer * N_PRODUCTS + p];
            if (q->layer[layer] >> p & 1)
                json_array_append_new(list,
                                      json_pack("[iisbIbIIbfi]", layer, p, glia_weight_traits[f->format].name,
                                                f->quantize_rows, (json_int_t)f->group, f->zeros,
                                                (json_int_t)f->ordered_k, (json_int_t)f->ordered_group,
                                                f->rows.asymmetric, (double)f->rows.scale, f->rows.zero));
        }
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text;
}

static bool in_range(json_int_t x, json_int_t lo, json_int_t hi) { return x >= lo && x <= hi; }

/* Read one form of the list; false: it is none. */
static bool read_form(glia_quantize *q, json_t *entry, const glia_model_config *c) {
    enum { GROUP_MAX = 1 << 20, K_MAX = 1 << 30 };
    int layer, product, rows, zeros, format = 0, asymmetric, row_zero;
    double row_scale;
    const char *name;
    json_int_t group, k, unit;
    if (json_unpack(entry, "[iisbIbIIbFi!]", &layer, &product, &name, &rows, &group, &zeros, &k, &unit,
                    &asymmetric, &row_scale, &row_zero))
        return false;
    while (format < GLIA_WEIGHT_FORMATS && strcmp(name, glia_weight_traits[format].name) != 0) format++;
    if (format < GLIA_WEIGHT_I8 || format == GLIA_WEIGHT_FORMATS || !in_range(layer, 0, c->layers - 1) ||
        !in_range(product, 1, N_PRODUCTS - 1) || !in_range(group, 0, GROUP_MAX) || !in_range(k, 0, K_MAX))
        return false;
    if (k && (!in_range(unit, GLIA_GROUP_UNIT, GLIA_GROUP_MAX) || unit % GLIA_GROUP_UNIT || k % unit))
        return false;
    if (!(row_scale >= 0 && row_scale <= (double)FLT_MAX) || !in_range(row_zero, INT8_MIN, INT8_MAX) ||
        (asymmetric && row_scale > 0))
        return false;
    q->layer[layer] |= (unsigned char)(1u << product);
    q->form[layer * N_PRODUCTS + product] = (glia_matrix_form){
        (glia_weight_format)format, rows, {asymmetric, (float)row_scale, row_zero}, group, zeros, k, unit};
    return true;
}

static glia_status read_forms(glia_quantize *q, const char *dir, const glia_model_config *c, glia_err *err) {
    char *text = glia_artifact_forms(dir);
    json_t *list = text ? json_loads(text, 0, NULL) : NULL, *entry;
    bool good = json_is_array(list);
    size_t i;
    json_array_foreach(list, i, entry) good = good && read_form(q, entry, c);
    json_decref(list);
    free(text);
    return good ? GLIA_OK
                : glia_fail(err, GLIA_ERR_FORMAT,
                            "%s: its files do not say in which form the weights are; compile the model again",
                            dir);
}

/* ---- artifacts of int4, w4a8 and fp8 ------------------------------------------------ */

int glia_quantize_group(const glia_quantize *q, const glia_model_config *c) {
    for (int i = 0; q->form && i < c->layers * N_PRODUCTS; i++)
        if (i != PRODUCT_HEAD && q->form[i].format == GLIA_WEIGHT_C4 &&
            q->layer[i / N_PRODUCTS] >> i % N_PRODUCTS & 1)
            return (int)q->form[i].group;
    return 0;
}

glia_head_quantization glia_quantize_head(const glia_quantize *q) {
    if (!glia_quantizes(q, 0, PRODUCT_HEAD)) return GLIA_HEAD_NONE;
    const glia_weight_format format = glia_quantize_form(q, 0, PRODUCT_HEAD).format;
    return format == GLIA_WEIGHT_C4   ? GLIA_HEAD_INT4
           : format == GLIA_WEIGHT_F8 ? GLIA_HEAD_FP8
                                      : GLIA_HEAD_INT8;
}

const char *glia_head_quantization_name(glia_head_quantization head) {
    static const char *const names[] = {"default", "none", "int8", "int4", "fp8"};
    return names[head];
}

/* Are the same layers quantised? A head that is kept may also be a choice of the head's format. */
static bool same_layers(const unsigned char *asked, const unsigned char *made, int n) {
    enum { HEAD = 1 << PRODUCT_HEAD };
    if (!(asked[0] & HEAD) && made[0] & HEAD) return false;
    for (int i = 0; i < n; i++)
        if ((asked[i] | HEAD) != (made[i] | HEAD)) return false;
    return true;
}

/* Fail if what was chosen differs from what an artifact was made with. */
static glia_status check_choice(const glia_quantize *q, const glia_quantize_choice *k,
                                const unsigned char *asked, const char *dir, const glia_model_config *c,
                                glia_err *err) {
    const int group = glia_quantize_group(q, c);
    const glia_head_quantization head = glia_quantize_head(q);
    static const char also[] = "compile the model again or give the directory of the original";
    if (k->group_size && group && k->group_size != group)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "%s: made with quantization_group_size %d, and %d is asked for; %s", dir, group,
                         k->group_size, also);
    if (k->head && k->head != head)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "%s: made with head_quantization %s, and %s is asked for; %s", dir,
                         glia_head_quantization_name(head), glia_head_quantization_name(k->head), also);
    if (!same_layers(asked, q->layer, c->layers))
        return glia_fail(err, GLIA_ERR_ARGUMENT, "%s: made with other modules_to_not_convert than %s; %s",
                         dir, k->keep ? k->keep : "none", also);
    return GLIA_OK;
}

/* Take the forms that an artifact was made with. One without forms was not made with this scheme, which
 * glia_artifact_map() reports. */
static glia_status read_compiled(glia_quantize *q, const glia_quantize_choice *k, const char *dir,
                                 const glia_model_config *c, glia_err *err) {
    char *forms = glia_artifact_forms(dir);
    if (!forms) return GLIA_OK;
    free(forms);
    unsigned char *asked = q->layer;
    q->layer = calloc((size_t)c->layers, sizeof *q->layer);
    glia_status status = q->layer ? read_forms(q, dir, c, err)
                                  : glia_fail_nomem(err, (size_t)c->layers, "the list of converted layers");
    if (!status) status = check_choice(q, k, asked, dir, c, err);
    free(asked);
    return status;
}

static glia_status read_checkpoint(glia_quantize *q, const char *dir, const glia_model_config *c,
                                   glia_warning_fn *warning, void *user, glia_err *err) {
    glia_checkpoint checkpoint;
    reading r = {.q = q, .c = c, .checkpoint = &checkpoint, .dir = dir, .warning = warning, .user = user};
    glia_status status = glia_checkpoint_open(&checkpoint, dir, err);
    if (status) return status;
    for (int layer = 0; layer < c->layers; layer++)
        for (const glia_fused *f = glia_fused_table; !status && f < glia_fused_table + glia_fused_rows; f++) {
            const bool whole = f->hold == HOLD_OWN || f->hold == HOLD_WITHOUT_CP;
            if (f->product != PRODUCT_NONE && whole && (f->product != PRODUCT_HEAD || layer == 0))
                status = read_product(&r, f, layer, err);
        }
    glia_checkpoint_close(&checkpoint);
    return status;
}

glia_status glia_quantize_stored(glia_quantize *q, const glia_quantize_choice *choice, const char *dir,
                                 const glia_model_config *c, glia_warning_fn *warning, void *user,
                                 glia_err *err) {
    const size_t n = (size_t)c->layers;
    if (q->importance && glia_artifact_in(dir))
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "importance is used while weights are quantised, and those of %s are already", dir);
    if (q->form && glia_artifact_in(dir)) return read_compiled(q, choice, dir, c, err);
    if (!c->quantization.method) return GLIA_OK;
    *q = (glia_quantize){.method = c->quantization.method,
                         .layer = calloc(n, sizeof *q->layer),
                         .form = calloc(n * N_PRODUCTS, sizeof *q->form)};
    glia_status status = GLIA_OK;
    if (!q->layer || !q->form)
        status = glia_fail_nomem(err, n * N_PRODUCTS * sizeof *q->form, "forms of layers");
    else if (glia_artifact_in(dir))
        status = read_forms(q, dir, c, err);
    else
        status = read_checkpoint(q, dir, c, warning, user, err);
    if (status) glia_quantize_free(q);
    return status;
}
