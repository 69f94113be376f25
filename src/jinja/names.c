/* names.c - finds the names that are undefined in a scope until it sets them.
 *
 * Jinja decides at compile time which scope a name belongs to. If a scope assigns a
 * name (outside of `if`) before it reads the name itself, the name belongs to the
 * scope from its beginning: an inner loop or macro that reads the name earlier finds
 * it undefined, even if the context has a variable of that name. So each scope
 * records the names that inner scopes read before the scope assigned them.
 * Source: jinja2/idtracking.py. */
#include "jinja/ast.h"

struct jframe {
    jframe *parent, *next;
    jnode *owner;
    jval refs;  /* names that this scope itself reads or sets: a dict by id */
    jval early; /* names that inner scopes read before this scope read or set them */
    int *hide;
    size_t n, cap;
    int branches; /* number of `if` statements around the current position */
};

void glia_j_frame_open(jparser *p, jnode *owner, bool isolated) {
    jframe *f = glia_j_alloc(p->rt, sizeof *f);
    f->parent = isolated ? NULL : p->frame;
    f->next = p->frames;
    f->owner = owner;
    f->refs = glia_j_dict(p->rt);
    f->early = glia_j_dict(p->rt);
    p->frames = p->frame = f;
}

static bool has(jparser *p, jval set, int id) {
    jval v;
    return glia_j_get(p->rt, set.u.d, glia_j_int(id), &v);
}

static void add(jparser *p, jval set, int id) { glia_j_put(p->rt, set.u.d, glia_j_int(id), glia_j_none); }

void glia_j_load(jparser *p, int id) {
    if (has(p, p->frame->refs, id)) return;
    add(p, p->frame->refs, id);
    for (jframe *f = p->frame->parent; f && !has(p, f->refs, id); f = f->parent) {
        glia_j_step(p->rt, 1);
        add(p, f->early, id);
    }
}

void glia_j_declare(jparser *p, int id) { add(p, p->frame->refs, id); }

void glia_j_store(jparser *p, int id) {
    jframe *f = p->frame;
    if (has(p, f->refs, id)) return;
    add(p, f->refs, id);
    if (f->branches || !has(p, f->early, id)) return;
    if (f->n == f->cap) {
        const size_t cap = f->cap ? 2 * f->cap : 4;
        int *grown = glia_j_alloc(p->rt, cap * sizeof *grown);
        for (size_t i = 0; i < f->n; i++) grown[i] = f->hide[i];
        f->hide = grown;
        f->cap = cap;
    }
    f->hide[f->n++] = id;
}

void glia_j_branch(jparser *p, int by) { p->frame->branches += by; }

void glia_j_target_names(jparser *p, const jnode *target, bool declare) {
    for (size_t i = 0; i < target->n; i++) glia_j_target_names(p, target->kids[i], declare);
    if (target->op == N_NSREF)
        glia_j_load(p, target->id);
    else if (target->op == N_NAME && declare)
        glia_j_declare(p, target->id);
    else if (target->op == N_NAME)
        glia_j_store(p, target->id);
}

/* A name that an outer scope reads or sets too is not hidden: it begins with the
 * outer scope's value. */
void glia_j_frames_end(jparser *p) {
    for (jframe *f = p->frames; f; f = f->next) {
        size_t kept = 0;
        for (size_t i = 0; i < f->n; i++) {
            const jframe *outer = f->parent;
            while (outer && !has(p, outer->refs, f->hide[i])) outer = outer->parent;
            if (!outer) f->hide[kept++] = f->hide[i];
        }
        f->owner->hide = f->hide;
        f->owner->n_hide = kept;
    }
}
