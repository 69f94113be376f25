/* check_scheduler.c - random traffic through the scheduler. The cache holds a hash of
 * the history in place of keys and values, so a wrong block shows. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/scheduler.h"

enum { MAX_TOKENS = 96, SEQS = 400, DRAFTS = 3 };

typedef struct {
    glia_blocks blocks;
    glia_scheduler s;
    uint64_t *history; /* [n_blocks, block_size] */
    int next_id, accepted;
} world;

typedef struct {
    glia_seq seq;
    int32_t tokens[MAX_TOKENS];
    int id, stop_at;
} request;

static void new_world(world *out, int batch, int chunk, int block_size, int n_blocks, bool caching) {
    world w = {.next_id = 0};
    const int max_blocks = glia_blocks_for(MAX_TOKENS - 1, block_size);
    const glia_blocks_shape shape = {n_blocks, block_size, 1, 1};
    glia_blocks_init(&w.blocks, malloc(glia_blocks_bytes(&shape)), &shape, caching);
    w.s = (glia_scheduler){.batch = batch, .chunk = chunk, .positions = MAX_TOKENS, .max_blocks = max_blocks};
    w.s.places.n = 2;
    w.s.table = calloc((size_t)(batch * max_blocks), sizeof *w.s.table);
    w.s.running = calloc((size_t)batch, sizeof *w.s.running);
    w.s.taken = calloc((size_t)batch, 1);
    w.history = calloc((size_t)(n_blocks * block_size), sizeof *w.history);
    *out = w;
    out->s.blocks = &out->blocks;
}

static void free_world(world *w) {
    free(w->blocks.block);
    free(w->s.table);
    free(w->s.running);
    free(w->s.taken);
    free(w->history);
}

static void submit(world *w, request *r, int adapters, int64_t priority) {
    memset(r, 0, sizeof *r);
    r->id = w->next_id++;
    r->seq.tokens = r->tokens;
    r->seq.n_prompt = r->seq.n_tokens = 1 + (int)(check_u32() % (MAX_TOKENS - 2));
    r->seq.max_tokens = r->seq.n_prompt + 1 + (int)(check_u32() % (uint32_t)(MAX_TOKENS - r->seq.n_prompt));
    r->stop_at = r->seq.n_prompt + 1 + (int)(check_u32() % 40);
    r->seq.blocks.salt = check_u32() % 8 == 0;
    if (adapters) r->seq.blocks.salt = (int32_t)(check_u32() % (uint32_t)(adapters + 1));
    /* Long runs of one token make equal prefixes of every length likely. */
    for (int i = 0; i < r->seq.n_prompt; i++) r->tokens[i] = check_u32() % 24 == 0;
    r->seq.priority = priority;
    glia_scheduler_add(&w->s, &r->seq);
}

static uint64_t extend(uint64_t history, int32_t token) {
    return (history ^ (uint64_t)(token + 1)) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* Simulate one step of a model: write each row after reading all rows before it. */
static void compute(world *w, const glia_seq *seq) {
    uint64_t h = (uint64_t)seq->blocks.salt * 1000003;
    for (int i = 0; i < seq->n_computed + seq->rows; i++) {
        uint64_t *at = &w->history[seq->blocks.table[i / w->blocks.block_size] * w->blocks.block_size +
                                   i % w->blocks.block_size];
        h = extend(h, seq->tokens[i]);
        if (i >= seq->n_computed) *at = h;
        CHECK(*at == h, "position %d of %d is another's", i, seq->n_computed);
    }
}

/* No waiting sequence has a lower priority number than one that was admitted in this step. */
static void check_order(const world *w, uint64_t preempted_before) {
    const glia_scheduler *s = &w->s;
    if (s->n_preempted != preempted_before || !s->n_running) return;
    const glia_seq *newest = s->running[s->n_running - 1];
    for (const glia_seq *seq = s->first; seq && newest->n_computed == newest->n_cached; seq = seq->next)
        CHECK(newest->priority <= seq->priority, "a sequence of priority %d overtakes one of %d",
              (int)newest->priority, (int)seq->priority);
}

static void check_rows(const world *w, int rows) {
    const glia_scheduler *s = &w->s;
    int prompts = 0, sum = 0, short_of = 0, drafts = 0;
    for (int i = 0; i < s->n_running; i++) {
        const glia_seq *seq = s->running[i];
        const int todo = seq->n_tokens - seq->n_computed;
        if (todo == 1) CHECK(seq->rows == 1 + seq->n_drafts, "a generating sequence waits");
        if (todo > 1) prompts += seq->rows;
        if (seq->rows < todo) short_of++;
        drafts += seq->n_drafts;
        CHECK(!short_of || todo == 1 || seq->rows < todo, "a later prompt overtakes");
        CHECK(glia_seq_draws(seq) == (seq->rows < todo ? 0 : 1 + seq->n_drafts), "logits");
        sum += seq->rows;
    }
    CHECK(rows == sum && rows >= 1 && prompts <= s->chunk && rows <= s->chunk + s->batch + drafts, "%d rows",
          rows);
    CHECK(!short_of || prompts == s->chunk || (s->pace.most_seconds > 0 && prompts >= GLIA_PACE_LEAST),
          "the chunk is not full");
}

static int32_t random_token(void) { return check_u32() % 24 == 0; }

/* Propose draft tokens for sequences that generate; most of them are accepted. */
static void propose(world *w) {
    for (int i = 0; i < w->s.n_running; i++) {
        glia_seq *seq = w->s.running[i];
        const int room = seq->max_tokens - 1 - seq->n_tokens, most = room < DRAFTS ? room : DRAFTS;
        if (seq->n_tokens - seq->n_computed != 1 || most <= 0) continue;
        seq->n_drafts = (int)(check_u32() % (uint32_t)(most + 1));
        for (int k = 0; k < seq->n_drafts; k++) seq->tokens[seq->n_tokens + k] = random_token();
    }
}

/* Draw tokens for `draws` rows until a draft is wrong. Returns true if the request ended. */
static bool deliver(world *w, request *r, int draws) {
    for (int k = 0; k < draws; k++) {
        const int32_t draft = r->tokens[r->seq.n_tokens], token = random_token();
        r->tokens[r->seq.n_tokens++] = token;
        if (r->seq.n_tokens >= r->seq.max_tokens || r->seq.n_tokens >= r->stop_at) {
            glia_scheduler_remove(&w->s, &r->seq);
            return true;
        }
        if (k + 1 == draws || token != draft) break;
        glia_scheduler_accept(&w->s, &r->seq);
        w->accepted++;
    }
    CHECK(r->seq.n_tokens - r->seq.n_computed == 1, "%d tokens to compute",
          r->seq.n_tokens - r->seq.n_computed);
    return false;
}

/* Run one step. Returns how many requests ended. */
static int step(world *w, bool drafts) {
    if (drafts) propose(w);
    const int rows = glia_scheduler_plan(&w->s);
    int ended = 0, draws[8];
    check_rows(w, rows);
    glia_scheduler_time(&w->s, rows * 1e-3);
    glia_seq *seqs[8];
    const int n = w->s.n_running;
    for (int i = 0; i < n; i++) {
        seqs[i] = w->s.running[i];
        draws[i] = glia_seq_draws(seqs[i]);
        compute(w, seqs[i]);
    }
    glia_scheduler_advance(&w->s);
    for (int i = 0; i < n; i++) /* seq is the first field of request */
        if (draws[i]) ended += deliver(w, (request *)seqs[i], draws[i]);
    return ended;
}

/* Each adapter that runs is in a place, which knows how many sequences hold it. */
static void check_places(const world *w) {
    int held[2] = {0};
    for (int i = 0; i < w->s.n_running; i++) {
        const glia_seq *seq = w->s.running[i];
        CHECK((seq->adapter != 0) == (seq->blocks.salt != 0), "a place without an adapter, or the reverse");
        if (!seq->adapter) continue;
        CHECK(w->s.places.place[seq->adapter - 1].adapter == seq->blocks.salt,
              "another adapter in the place");
        held[seq->adapter - 1]++;
    }
    for (int i = 0; i < 2; i++)
        CHECK(w->s.places.place[i].running == held[i], "place %d: %d of %d", i, w->s.places.place[i].running,
              held[i]);
}

/* `adapters`: requests have one of so many, and the two places are too few. `full`: the blocks are enough for
 * so many sequences only, and requests have priorities. `paced`: steps may not take long. */
static void traffic(int batch, int chunk, int block_size, bool caching, bool drafts, int adapters, int full,
                    bool paced) {
    const int n_blocks = (full ? full : batch) * glia_blocks_for(MAX_TOKENS - 1, block_size);
    world w;
    new_world(&w, batch, chunk, block_size, n_blocks, caching);
    if (paced) w.s.pace = (glia_pace){.most_seconds = 0.04, .position = 1e-3};
    request *r = calloc(SEQS, sizeof *r);
    int submitted = 0, ended = 0, last_admitted = -1, cached = 0;
    while (ended < SEQS) {
        while (submitted < SEQS && check_u32() % 3) {
            const int64_t priority = full ? (int64_t)(check_u32() % 3) - 1 : 0;
            submit(&w, &r[submitted++], adapters, priority);
        }
        if (!w.s.n_running && !w.s.first) continue;
        if (check_u32() % 16 == 0) { /* abort a running or waiting request */
            glia_seq *seq = w.s.first && check_u32() % 2 ? w.s.last : w.s.n_running ? w.s.running[0] : NULL;
            if (seq) {
                glia_scheduler_remove(&w.s, seq);
                ended++;
                continue;
            }
        }
        const uint64_t preempted = w.s.n_preempted;
        ended += step(&w, drafts);
        check_places(&w);
        if (full && !adapters) check_order(&w, preempted);
        for (int i = 0; i < w.s.n_running; i++) {
            const request *x = (const request *)w.s.running[i];
            CHECK(i == 0 || adapters || full || x->id > ((const request *)w.s.running[i - 1])->id,
                  "not first come, first served");
            if (x->id <= last_admitted) continue;
            last_admitted = x->id;
            cached += x->seq.n_cached;
        }
    }
    CHECK(w.blocks.kind[0].n_unused == n_blocks && w.blocks.kind[0].n_promised == 0,
          "%d of %d blocks came back", w.blocks.kind[0].n_unused, n_blocks);
    CHECK((w.s.n_preempted > 0) == (full > 0), "%d preemptions", (int)w.s.n_preempted);
    CHECK((cached > 0) == caching, "%d tokens were found in the cache", cached);
    CHECK((w.accepted > 0) == drafts, "%d drafts were accepted", w.accepted);
    free(r);
    free_world(&w);
}

/* The rows of a work are the most whose work is not more. */
static void test_pace_rows(void **state) {
    (void)state;
    for (int i = 0; i < 10000; i++) {
        const glia_pace p = {.position = i % 5 ? check_u32() % 1000 / 1e6 : 0};
        const int from = (int)(check_u32() % 100000), most = 1 + (int)(check_u32() % 2000);
        const double work = check_u32() % 100000 / 17.0;
        const int n = glia_pace_rows(&p, from, work, most);
        CHECK(n >= 0 && n <= most && glia_pace_work(&p, from, n) <= work * (1 + 1e-12), "%d rows: too many",
              n);
        CHECK(n == most || glia_pace_work(&p, from, n + 1) > work * (1 - 1e-12), "%d rows: too few", n);
    }
    assert_int_equal(glia_pace_rows(&(glia_pace){.position = 1e-4}, 7, INFINITY, 512), 512);
}

/* Plan and take a step of one sequence that generates and one prompt. Returns the rows of the prompt. */
static int paced_step(glia_scheduler *s, glia_seq *stream, const glia_seq *prompt, double seconds_per_work) {
    glia_scheduler_plan(s);
    const int rows = prompt->rows;
    double work = 0.002 / seconds_per_work; /* what a step takes besides its rows */
    for (int i = 0; i < s->n_running; i++)
        work += glia_pace_work(&s->pace, s->running[i]->n_computed, s->running[i]->rows);
    glia_scheduler_time(s, work * seconds_per_work);
    glia_scheduler_advance(s);
    if (stream) stream->n_tokens++;
    return rows;
}

/* A prompt alone gets whole chunks. While a sequence generates, a step takes as long as it may, at every
 * position; if less than the least rows would fit, it has these. */
static void test_pace(void **state) {
    (void)state;
    enum { LONG = 6000, CHUNK = 512 };
    static int32_t tokens[2][LONG + 1];
    world w;
    new_world(&w, 2, CHUNK, 32, 2 * glia_blocks_for(LONG, 32), false);
    w.s.positions = LONG;
    w.s.max_blocks = glia_blocks_for(LONG, 32);
    free(w.s.table);
    w.s.table = calloc(2 * (size_t)w.s.max_blocks, sizeof *w.s.table);
    w.s.pace = (glia_pace){.most_seconds = 0.1, .position = 2e-4};
    glia_seq stream = {.tokens = tokens[0], .n_prompt = 600, .n_tokens = 600, .max_tokens = LONG};
    glia_seq prompt = {.tokens = tokens[1], .n_prompt = LONG - 1, .n_tokens = LONG - 1, .max_tokens = LONG};
    glia_scheduler_add(&w.s, &stream);
    assert_int_equal(paced_step(&w.s, NULL, &stream, 1e-3), CHUNK);
    paced_step(&w.s, &stream, &stream, 1e-3);
    glia_scheduler_add(&w.s, &prompt);
    paced_step(&w.s, &stream, &prompt, 1e-3); /* the first one knows only steps without such sequences */
    for (int steps = 0; prompt.n_computed < 4000; steps++) {
        const int at = prompt.n_computed, rows = paced_step(&w.s, &stream, &prompt, 1e-3);
        const double work = glia_pace_work(&w.s.pace, at, rows) + glia_pace_work(&w.s.pace, 600, 1);
        CHECK(rows < 100, "%d rows", rows);
        CHECK(steps < 8 || fabs(work * 1e-3 + 0.002 - 0.1) < 0.003, "a step of %g s", work * 1e-3 + 0.002);
    }
    for (int i = 0; i < 30; i++) paced_step(&w.s, &stream, &prompt, 1e-2); /* the machine gets slower */
    assert_int_equal(paced_step(&w.s, &stream, &prompt, 1e-2), GLIA_PACE_LEAST);
    glia_scheduler_remove(&w.s, &stream);
    const int left = LONG - 1 - prompt.n_computed;
    assert_int_equal(paced_step(&w.s, NULL, &prompt, 1e-3), left < CHUNK ? left : CHUNK);
    glia_scheduler_remove(&w.s, &prompt);
    free_world(&w);
}

static void test_traffic(void **state) {
    (void)state;
    static const int batches[] = {1, 2, 5}, chunks[] = {1, 7, 64}, sizes[] = {1, 4, 16};
    for (int i = 0; i < 54; i++)
        traffic(batches[i % 3], chunks[i / 3 % 3], sizes[i / 9 % 3], i % 4 != 0, i >= 27, 0, 0, i % 5 == 0);
}

static void test_preemption(void **state) {
    (void)state;
    for (int i = 0; i < 24; i++)
        traffic(4 + i % 3, 16, 4, i % 4 != 0, i >= 12, i % 3 == 0 ? 5 : 0, 1 + i % 2, i % 2);
}

static void test_adapters(void **state) {
    (void)state;
    for (int i = 0; i < 12; i++) traffic(2 + i % 4, 16, 4, i % 2, i >= 6, 5, 0, false);
}

/* Which adapter gives way. */
static void test_eviction(void **state) {
    (void)state;
    glia_places p = {.n = 2};
    assert_int_equal(glia_places_hold(&p, 7), 0);
    assert_int_equal(glia_places_hold(&p, 8), 1);
    assert_true(p.place[0].fresh && p.place[1].fresh);
    assert_int_equal(glia_places_hold(&p, 9), -1);
    glia_places_release(&p, 0);
    glia_places_release(&p, 1);
    glia_places_release(&p, glia_places_hold(&p, 7)); /* 8 is the least recently used */
    assert_int_equal(glia_places_hold(&p, 9), 1);
    glia_places_release(&p, 1);
    p = (glia_places){.n = 2, .by_uses = true};
    for (int i = 0; i < 3; i++) glia_places_release(&p, glia_places_hold(&p, 7));
    glia_places_release(&p, glia_places_hold(&p, 8)); /* 8 is used later and less */
    assert_int_equal(glia_places_hold(&p, 9), 1);
    glia_places_release(&p, 1);
    glia_places_forget(&p, 7);
    assert_int_equal(glia_places_hold(&p, 10), 0);
    p = (glia_places){.n = 2, .by_uses = true, .decay = 4};
    for (int i = 0; i < 4; i++) glia_places_release(&p, glia_places_hold(&p, 7));
    assert_int_equal(p.place[0].uses, 2); /* halved at the fourth */
}

/* Two prompts with chunks of 4, step by step. */
static void test_order(void **state) {
    (void)state;
    world w;
    new_world(&w, 2, 4, 4, 48, false);
    request a = {.seq = {.n_prompt = 6, .n_tokens = 6, .max_tokens = 20}};
    request b = {.seq = {.n_prompt = 3, .n_tokens = 3, .max_tokens = 20}};
    request c = {.seq = {.n_prompt = 1, .n_tokens = 1, .max_tokens = 20}};
    a.seq.tokens = a.tokens;
    b.seq.tokens = b.tokens;
    c.seq.tokens = c.tokens;
    glia_scheduler_add(&w.s, &a.seq);
    glia_scheduler_add(&w.s, &b.seq);
    glia_scheduler_add(&w.s, &c.seq);
    assert_int_equal(glia_scheduler_plan(&w.s), 4);
    assert_true(a.seq.rows == 4 && b.seq.slot == -1 && !glia_seq_draws(&a.seq));
    glia_scheduler_advance(&w.s);
    assert_int_equal(glia_scheduler_plan(&w.s), 4);
    assert_true(a.seq.rows == 2 && b.seq.rows == 2 && glia_seq_draws(&a.seq));
    glia_scheduler_advance(&w.s);
    a.seq.n_tokens++;
    assert_int_equal(glia_scheduler_plan(&w.s), 2);
    assert_true(a.seq.rows == 1 && b.seq.rows == 1 && c.seq.slot == -1);
    glia_scheduler_advance(&w.s);
    glia_scheduler_remove(&w.s, &a.seq);
    b.seq.n_tokens++;
    assert_int_equal(glia_scheduler_plan(&w.s), 2);
    assert_true(b.seq.rows == 1 && c.seq.rows == 1 && c.seq.slot == 0);
    glia_scheduler_remove(&w.s, &b.seq);
    glia_scheduler_remove(&w.s, &c.seq);
    assert_int_equal(glia_scheduler_plan(&w.s), 0);
    free_world(&w);
}

static void add_one(world *w, request *r, int64_t priority, uint64_t client) {
    *r = (request){
        .seq = {.n_prompt = 2, .n_tokens = 2, .max_tokens = 20, .priority = priority, .client = client}};
    r->seq.tokens = r->tokens;
    glia_scheduler_add(&w->s, &r->seq);
}

/* Priorities, then clients with few running sequences, then age. */
static void test_who_is_next(void **state) {
    (void)state;
    world w;
    request r[6];
    static const int order[] = {3, 0, 2, 1, 4, 5};
    new_world(&w, 6, 64, 4, 48, false);
    add_one(&w, &r[0], 0, 7);
    add_one(&w, &r[1], 0, 7);
    add_one(&w, &r[2], 0, 8);
    add_one(&w, &r[3], -1, 9);
    add_one(&w, &r[4], 1, 0);
    add_one(&w, &r[5], 1, 9); /* a client that has one running */
    assert_int_equal(glia_scheduler_plan(&w.s), 12);
    for (int i = 0; i < 6; i++) assert_ptr_equal(w.s.running[i], &r[order[i]].seq);
    for (int i = 0; i < 6; i++) glia_scheduler_remove(&w.s, &r[i].seq);
    free_world(&w);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),       cmocka_unit_test(test_traffic),
        cmocka_unit_test(test_adapters),    cmocka_unit_test(test_preemption),
        cmocka_unit_test(test_who_is_next), cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_pace_rows),   cmocka_unit_test(test_pace),
    };
    check_begin(argc, argv);
    return check_run_group("scheduler", tests);
}
