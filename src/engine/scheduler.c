/* scheduler.c - see scheduler.h. */
#include "engine/scheduler.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static int least(int a, int b) { return a < b ? a : b; }

static void enter_queue(glia_scheduler *s, glia_seq *seq) {
    seq->slot = -1;
    seq->next = NULL;
    *(s->first ? &s->last->next : &s->first) = seq;
    s->last = seq;
    s->n_waiting++;
}

void glia_scheduler_add(glia_scheduler *s, glia_seq *seq) {
    assert(seq->n_prompt >= 1 && seq->n_tokens == seq->n_prompt && seq->max_tokens > seq->n_prompt);
    assert(glia_blocks_for(seq->max_tokens - 1, s->blocks->block_size) <= s->max_blocks);
    seq->arrival = ++s->n_added;
    enter_queue(s, seq);
}

static void leave_queue(glia_scheduler *s, const glia_seq *seq) {
    glia_seq **link = &s->first, *before = NULL;
    while (*link != seq) {
        before = *link;
        link = &before->next;
    }
    *link = seq->next;
    if (s->last == seq) s->last = before;
    s->n_waiting--;
}

static void release_place(glia_scheduler *s, glia_seq *seq) {
    if (seq->adapter) glia_places_release(&s->places, seq->adapter - 1);
    seq->adapter = 0;
}

static void leave_slot(glia_scheduler *s, glia_seq *seq) {
    int i = 0;
    while (s->running[i] != seq) i++;
    memmove(s->running + i, s->running + i + 1, (size_t)(--s->n_running - i) * sizeof *s->running);
    s->taken[seq->slot] = 0;
    seq->slot = -1;
    glia_blocks_release(s->blocks, &seq->blocks);
    release_place(s, seq);
}

void glia_scheduler_remove(glia_scheduler *s, glia_seq *seq) {
    if (seq->slot < 0)
        leave_queue(s, seq);
    else
        leave_slot(s, seq);
}

/* The last token is never an input, so it needs no slot in the cache. */
int glia_scheduler_reach(const glia_scheduler *s, const glia_seq *seq) {
    return least(seq->max_tokens - 1 + s->ahead, s->positions);
}

bool glia_scheduler_reserve(glia_scheduler *s, glia_seq *seq, int positions) {
    if (!glia_blocks_promise(s->blocks, &seq->blocks, positions)) return false;
    glia_blocks_grow(s->blocks, &seq->blocks, positions);
    return true;
}

static int running_of(const glia_scheduler *s, uint64_t client) {
    int n = 0;
    for (int i = 0; client && i < s->n_running; i++) n += s->running[i]->client == client;
    return n;
}

/* The sequence of the queue that comes next; NULL: none. `plain`: of those without an adapter. */
static glia_seq *best_waiting(const glia_scheduler *s, bool plain) {
    glia_seq *best = NULL;
    int least_running = 0;
    for (glia_seq *seq = s->first; seq; seq = seq->next) {
        if (plain && seq->blocks.salt) continue;
        if (best && seq->priority > best->priority) continue;
        const int n = running_of(s, seq->client);
        const bool better = !best || seq->priority < best->priority || n < least_running ||
                            (n == least_running && seq->arrival < best->arrival);
        if (!better) continue;
        best = seq;
        least_running = n;
    }
    return best;
}

/* The next sequence that has a place, or needs none; NULL: none. */
static glia_seq *next_waiting(glia_scheduler *s) {
    glia_seq *seq = best_waiting(s, false);
    if (!seq || !seq->blocks.salt) return seq;
    const int place = glia_places_hold(&s->places, seq->blocks.salt);
    seq->adapter = place + 1;
    return place >= 0 ? seq : best_waiting(s, true);
}

/* The running sequence that is preempted first. */
static glia_seq *worst_running(const glia_scheduler *s) {
    glia_seq *worst = s->running[0];
    for (int i = 1; i < s->n_running; i++) {
        glia_seq *seq = s->running[i];
        if (seq->priority > worst->priority ||
            (seq->priority == worst->priority && seq->arrival > worst->arrival))
            worst = seq;
    }
    return worst;
}

static void preempt(glia_scheduler *s, glia_seq *seq) {
    if (seq->n_computed > seq->n_cached) seq->n_preempted++;
    s->n_preempted++;
    seq->n_computed = seq->rows = seq->n_drafts = seq->n_away = 0;
    leave_slot(s, seq);
    enter_queue(s, seq);
}

/* Admit the next sequence, if there is room. */
static bool admit(glia_scheduler *s) {
    glia_seq *seq = s->n_running < s->batch ? next_waiting(s) : NULL;
    if (!seq) return false;
    int slot = 0;
    while (s->taken[slot]) slot++;
    seq->blocks.table = s->table + (size_t)slot * (size_t)s->max_blocks;
    const int positions = least(glia_scheduler_reach(s, seq), seq->n_tokens + s->blocks->block_size);
    if (!glia_blocks_admit(s->blocks, &seq->blocks, seq->tokens, seq->scored ? 1 : seq->n_tokens,
                           positions)) {
        release_place(s, seq);
        return false;
    }
    leave_queue(s, seq);
    s->taken[slot] = 1;
    seq->slot = slot;
    seq->rows = seq->n_drafts = seq->n_away = 0;
    seq->n_computed = seq->blocks.n * s->blocks->block_size;
    if (!seq->n_preempted) seq->n_cached = seq->n_computed;
    s->running[s->n_running++] = seq;
    return true;
}

/* Take whole blocks of the prompt from the store, at most a chunk in a step, so that running sequences do not
 * wait longer for them than for computed rows. Returns false if there may be more. */
static bool fetch(glia_scheduler *s, glia_seq *seq) {
    const int size = s->blocks->block_size;
    bool known = s->fetch && !seq->scored && seq->n_computed == seq->n_cached;
    for (int left = s->chunk; known && seq->n_computed + size < seq->n_tokens; left -= size) {
        if (left <= 0) return false;
        known = glia_scheduler_reserve(s, seq, seq->n_computed + size) && s->fetch(s->fetch_user, seq);
        if (!known) break;
        seq->n_computed += size;
        if (!seq->n_preempted) seq->n_cached = seq->n_computed;
        glia_blocks_commit(s->blocks, &seq->blocks, seq->tokens, seq->n_computed);
    }
    return true;
}

/* Does the sequence generate? It may have several tokens to compute, which a constraint forced. */
static bool generates(const glia_seq *seq) {
    return seq->n_tokens - seq->n_computed == 1 || seq->n_computed >= seq->n_prompt;
}

/* The work that prompts may take in the coming step. */
static double work_for_prompts(const glia_scheduler *s) {
    double work = 0;
    bool limited = false;
    for (int i = 0; i < s->n_running; i++) {
        const glia_seq *seq = s->running[i];
        if (!generates(seq)) continue;
        limited = true;
        work += glia_pace_work(&s->pace, seq->n_computed, 1 + seq->n_drafts);
    }
    return limited ? glia_pace_room(&s->pace) - work : INFINITY;
}

/* What prompts may still take in a step. */
typedef struct {
    int rows;    /* of the chunk */
    int scored;  /* rows whose logits are wanted */
    int granted; /* rows that need no room */
    double work;
} room;

/* Plan rows of a sequence that has more than one token to compute. */
static void plan_prompt(const glia_scheduler *s, glia_seq *seq, room *left) {
    const int todo = least(seq->n_tokens - seq->n_computed, left->rows);
    const int fit = glia_pace_rows(&s->pace, seq->n_computed, left->work, todo);
    seq->rows = fit < left->granted ? least(todo, left->granted) : fit;
    if (seq->scored && seq->n_tokens == seq->n_prompt) seq->rows = least(seq->rows, left->scored);
    left->rows -= seq->rows;
    left->granted -= least(left->granted, seq->rows);
    left->work -= glia_pace_work(&s->pace, seq->n_computed, seq->rows);
}

/* Returns -1 if the blocks of the running sequences are too few. */
static int try_plan(glia_scheduler *s, bool may_admit) {
    room left = {s->chunk, s->scored, GLIA_PACE_LEAST, work_for_prompts(s)};
    int rows = 0;
    for (int i = 0; i < s->n_running || (may_admit && left.rows > 0 && admit(s)); i++) {
        glia_seq *seq = s->running[i];
        const bool more = seq->n_tokens - seq->n_computed > 1 && !fetch(s, seq);
        const int todo = seq->n_tokens - seq->n_computed;
        assert(todo >= 1 && (!seq->n_drafts || todo == 1));
        assert(seq->n_tokens + seq->n_drafts - seq->n_away <= glia_scheduler_reach(s, seq) || todo > 1);
        /* A generating sequence has one token to compute; rows beyond the chunk are kept for it. */
        seq->rows = more ? 0 : 1 + seq->n_drafts;
        if (!more && todo > 1) plan_prompt(s, seq, &left);
        left.scored -= glia_seq_scores(seq);
        if (!glia_scheduler_reserve(s, seq, seq->n_computed + seq->rows - seq->n_away)) return -1;
        rows += seq->rows;
    }
    return rows;
}

int glia_scheduler_plan(glia_scheduler *s) {
    int rows = try_plan(s, true);
    while (rows < 0) {
        assert(s->n_running > 1); /* a sequence alone has room */
        preempt(s, worst_running(s));
        rows = try_plan(s, false);
    }
    return rows;
}

void glia_scheduler_time(glia_scheduler *s, double seconds) {
    double work = 0;
    int prompts = 0;
    bool mixed = false;
    for (int i = 0; i < s->n_running; i++) {
        const glia_seq *seq = s->running[i];
        work += glia_pace_work(&s->pace, seq->n_computed, seq->rows);
        if (generates(seq))
            mixed = true;
        else
            prompts += seq->rows;
    }
    glia_pace_learn(&s->pace, work, prompts, mixed, seconds);
}

void glia_scheduler_advance(glia_scheduler *s) {
    for (int i = 0; i < s->n_running; i++) {
        glia_seq *seq = s->running[i];
        seq->n_computed += seq->rows - seq->n_drafts;
        seq->rows = seq->n_drafts = seq->n_away = 0;
        glia_blocks_commit(s->blocks, &seq->blocks, seq->tokens, seq->n_computed);
    }
}

void glia_scheduler_accept(glia_scheduler *s, glia_seq *seq) {
    seq->n_computed++;
    assert(seq->n_computed <= seq->n_tokens);
    glia_blocks_commit(s->blocks, &seq->blocks, seq->tokens, seq->n_computed);
}
