/* check_pays.c - the choice of depths: simulated steps with known costs and known acceptance. */
#include "check.h"

#include <math.h>
#include <stdio.h>

#include "draft/pays.h"

enum { SEQS = 8, ANSWER = 128 };

/* A machine, a draft and what is asked. Times are in steps of one row. */
typedef struct {
    double per_row; /* one more row */
    double level;   /* a level of a proposal */
    double accepts; /* of each token, if the one before is accepted */
    double catch_up, prompt_row;
    double noise; /* times are longer by up to this share */
    int seqs, prompt, steps;
    bool at_once;
    double after; /* acceptance in the second half; < 0: as before */
} world;

typedef struct {
    double speedup;
    int asked;
} outcome;

static double noisy(const world *w, double time) {
    return time * (1 + w->noise * (double)(check_u32() % 1000) / 1000);
}

static bool happens(double chance) { return (check_u32() % 100000) < 100000 * chance; }

/* A step of the batch; returns its tokens. */
static int one_step(const world *w, glia_pays *p, glia_pays_seq (*known)[GLIA_PAYS_GRADES],
                    glia_pays_ask *ask, double accepts, double *time, int *asked) {
    int rows = w->seqs, levels = 0, n = 0, behind = 0, tokens = w->seqs, asleep = 0;
    glia_pays_choose(p, ask, w->seqs, w->seqs);
    for (int i = 0; i < w->seqs; i++) {
        assert_true(ask[i].depth >= 0 && ask[i].depth <= 8);
        if (!ask[i].depth) {
            ask[i].behind++;
            continue;
        }
        n++;
        rows += ask[i].depth;
        levels = ask[i].depth > levels ? ask[i].depth : levels;
        behind += ask[i].behind;
        asleep += glia_pays_asleep(ask[i].behind) ? ask[i].behind : 0;
        ask[i].behind = 0;
    }
    double spent = 0;
    if (n) {
        const double proposal = noisy(w, w->level * (w->at_once ? 1 : levels) + w->catch_up * behind);
        *time += proposal;
        spent = glia_pays_proposal(p, n, levels, asleep, proposal);
        ++*asked;
    }
    const double step = noisy(w, 1 + w->per_row * (rows - 1));
    *time += step;
    glia_pays_step(p, rows, step);
    for (int i = 0; i < w->seqs; i++) {
        int accepted = 0;
        while (accepted < ask[i].depth && happens(accepts)) accepted++;
        if (ask[i].depth) glia_pays_accept(p, known[i], ask[i].depth, accepted);
        ask[i].behind += accepted + (ask[i].depth > 0);
        tokens += accepted;
    }
    glia_pays_settle(p, w->seqs, n > 0, tokens, spent + step);
    return tokens;
}

/* A batch of answers of w->steps tokens each on average, with drafts and without. */
static outcome simulate(const world *w, glia_pays *p) {
    glia_pays_seq known[SEQS][GLIA_PAYS_GRADES];
    glia_pays_ask ask[SEQS];
    outcome o = {0};
    double time = 0;
    const double whole = (double)w->seqs * w->steps;
    static uint64_t id;
    glia_pays_prompt(p, w->prompt * w->seqs, w->prompt_row * w->prompt * w->seqs);
    for (int i = 0; i < w->seqs; i++) {
        glia_pays_begin_seq(p, known[i], ++id);
        ask[i] = (glia_pays_ask){.known = known[i], .behind = w->catch_up > 0 ? w->prompt : 0};
    }
    for (double tokens = 0; tokens < whole;) {
        for (int i = 0; i < w->seqs; i++) {
            ask[i].room = 8;
            ask[i].left = (int)((whole - tokens) / w->seqs);
        }
        const double accepts = w->after >= 0 && tokens > whole / 2 ? w->after : w->accepts;
        tokens += one_step(w, p, known, ask, accepts, &time, &o.asked);
    }
    o.speedup = w->steps * (1 + w->noise / 2) * (1 + w->per_row * (w->seqs - 1)) / time;
    return o;
}

static glia_pays begin(const world *w) {
    glia_pays p;
    glia_pays_begin(&p);
    p.share = w->level;
    p.at_once = w->at_once;
    return p;
}

/* Speed-ups that a draft must give, over many steps. */
static void test_gains(void **state) {
    (void)state;
    static const struct {
        world w;
        double least;
    } rows[] = {
        {{.per_row = 0.02, .level = 0.1, .accepts = 0.9, .seqs = 1, .steps = 2000, .after = -1}, 2.4},
        {{.per_row = 0.05, .level = 0.17, .accepts = 0.9, .seqs = 1, .steps = 2000, .after = -1}, 1.75},
        {{.per_row = 0.05, .level = 0.3, .accepts = 0.8, .seqs = 1, .steps = 2000, .after = -1}, 1.25},
        {{.per_row = 0.03,
          .level = 0.4,
          .accepts = 0.9,
          .seqs = 1,
          .steps = 2000,
          .after = -1,
          .at_once = true},
         2.2},
        {{.per_row = 0.05, .level = 0.1, .accepts = 0.9, .seqs = 8, .steps = 500, .after = -1}, 1.3},
        {{.per_row = 0.05, .level = 0.1, .accepts = 0, .seqs = 1, .steps = 4000, .after = 0.95}, 1.15},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_pays p = begin(&rows[i].w);
        const outcome o = simulate(&rows[i].w, &p);
        CHECK(o.speedup >= rows[i].least,
              "row %zu: %.3f times the speed without drafts, want %.2f; asked %d times", i, o.speedup,
              rows[i].least, o.asked);
    }
}

/* Whatever a draft costs and however wrong it is, a batch of answers of 128 tokens has almost the speed that
 * it has without: 0.97 on average over runs that cannot gain, and no case falls below 0.94. The lowest are
 * batches of 8 with a draft that just does not pay, whose waking is charged to 128 tokens. */
static void test_never_slow(void **state) {
    (void)state;
    static const double per_row[] = {0.01, 0.05, 0.3}, level[] = {0, 0.05, 0.2, 0.5, 2},
                        accepts[] = {0, 0.2, 0.45, 0.6, 0.8}, noise[] = {0, 0.2};
    enum { RUNS = 8, ANSWERS = 4 };
    double hopeless = 0, all = 0, lowest = 1;
    int n_hopeless = 0, n = 0;
    for (size_t i = 0; i < 3 * 5 * 5 * 2 * 2 * 2; i++) {
        world w = {.per_row = per_row[i % 3],
                   .level = level[i / 3 % 5],
                   .accepts = accepts[i / 15 % 5],
                   .noise = noise[i / 75 % 2],
                   .seqs = i / 150 % 2 ? SEQS : 1,
                   .prompt = 40,
                   .steps = ANSWER,
                   .after = -1};
        w.prompt_row = w.per_row > 0.1 ? w.per_row : 0.1;
        if (i / 300) w.catch_up = w.level * w.prompt_row; /* a whole model, which runs the prompt, too */
        double sum[ANSWERS] = {0};
        for (int run = 0; run < RUNS; run++) {
            glia_pays p = begin(&w);
            for (int k = 0; k < ANSWERS; k++) sum[k] += 1 / simulate(&w, &p).speedup;
        }
        for (int k = 0; k < ANSWERS && w.accepts == 0; k++, n_hopeless++) hopeless += RUNS / sum[k];
        for (int k = 0; k < ANSWERS; k++, n++) {
            all += RUNS / sum[k];
            lowest = fmin(lowest, RUNS / sum[k]);
            CHECK(
                RUNS / sum[k] >= 0.94,
                "row %.2f, level %.2f, accepts %.2f, noise %.1f, %d sequences, catching up %.3f, answer %d: "
                "%.3f times the speed without drafts",
                w.per_row, w.level, w.accepts, w.noise, w.seqs, w.catch_up, k, RUNS / sum[k]);
        }
    }
    printf("%d means: the lowest %.3f times the speed without drafts, their mean %.3f\n", n, lowest, all / n);
    CHECK(hopeless / n_hopeless >= 0.97, "drafts that are never right: %.3f times the speed without them",
          hopeless / n_hopeless);
}

/* A draft that is asked in vain is asked ever more rarely. */
static void test_rest(void **state) {
    (void)state;
    const world w = {.per_row = 0.05, .level = 0.2, .accepts = 0, .seqs = 1, .steps = 1000, .after = -1};
    glia_pays p = begin(&w);
    const int first = simulate(&w, &p).asked, second = simulate(&w, &p).asked;
    CHECK(second <= 5 && first <= 20, "asked %d, then %d times", first, second);
}

/* A long prompt before a short answer: catching up with it cannot pay. */
static void test_long_prompt(void **state) {
    (void)state;
    world w = {.per_row = 0.02, .level = 0.1, .accepts = 0.9, .seqs = 1, .steps = 10, .after = -1};
    w.prompt = 2000;
    w.prompt_row = 0.05;
    w.catch_up = 0.01;
    glia_pays p = begin(&w);
    assert_int_equal(simulate(&w, &p).asked, 0);
    w.steps = ANSWER;
    w.prompt = 200;
    assert_true(simulate(&w, &p).asked > 10);
}

/* One sequence whose next token is easy for the draft, as its lead shows, or hard. `unlucky` times of steps
 * with 6 rows or more, the first ones, are doubled. Returns tokens per time of a step. */
static double simulate_leads(double easy, double level, bool stops, int unlucky) {
    enum { ROOM = 6 };
    glia_pays p;
    glia_pays_seq known[GLIA_PAYS_GRADES];
    double time = 0, tokens = 0;
    glia_pays_begin(&p);
    p.share = level;
    p.stops = stops;
    glia_pays_begin_seq(&p, known, 1);
    for (int step = 0; step < 600; step++) {
        float lead[ROOM];
        double chance[ROOM], path = 1;
        int depth = 0, accepted = 0;
        glia_pays_ask ask = {.known = known, .room = ROOM, .left = 1000};
        glia_pays_choose(&p, &ask, 1, 1);
        while (depth < ask.depth && (!depth || !(path < p.least))) {
            const bool is_easy = happens(easy);
            chance[depth] = is_easy ? 0.97 : 0.4;
            lead[depth] = is_easy ? 5 : 0.5f;
            path *= p.lead_chance[glia_lead_class(lead[depth++])];
        }
        double spent = depth ? glia_pays_proposal(&p, 1, depth, 0, depth * level) : 0;
        double took = 1 + 0.01 * depth;
        if (depth >= 5 && unlucky-- > 0) took *= 2;
        time += spent + took;
        glia_pays_step(&p, 1 + depth, took);
        while (accepted < depth && happens(chance[accepted])) accepted++;
        if (depth && stops) glia_pays_leads(&p, lead, depth, accepted);
        if (depth) glia_pays_accept(&p, known, depth, accepted);
        glia_pays_settle(&p, 1, depth > 0, 1 + accepted, spent + took);
        tokens += 1 + accepted;
    }
    return tokens / time;
}

/* Chains that end behind an unsure token bring more than chains of one depth. */
static void test_leads(void **state) {
    (void)state;
    static const double easy[] = {0.5, 0.7, 0.9};
    for (size_t i = 0; i < 3; i++) {
        double with = 0, without = 0;
        for (int run = 0; run < 10; run++) {
            with += simulate_leads(easy[i], 0.2, true, 0);
            without += simulate_leads(easy[i], 0.2, false, 0);
        }
        CHECK(with > (i < 2 ? 1.04 : 1) * without, "easy %.1f: %.3f and %.3f", easy[i], with / 10,
              without / 10);
    }
}

/* Deep steps that are measured far too high are tried again. */
static void test_unlucky(void **state) {
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        const double lucky = simulate_leads(0.95, 0.1, stops, 0),
                     unlucky = simulate_leads(0.95, 0.1, stops, 3);
        CHECK(unlucky > 0.9 * lucky, "stops %d: %.3f, and %.3f after three bad steps", stops, lucky, unlucky);
    }
}

/* A draft that is right if it is sure gains, though most of its proposals are wrong. */
static void test_grades(void **state) {
    (void)state;
    glia_pays p;
    glia_pays_seq known[GLIA_PAYS_GRADES];
    double time = 0, tokens = 0;
    glia_pays_begin(&p);
    p.at_once = true;
    glia_pays_begin_seq(&p, known, 1);
    for (int step = 0; step < 1000; step++) {
        const int grade = step % 4 ? 1 : 4;
        glia_pays_ask ask = {.known = &known[grade], .room = 10, .left = 1000};
        glia_pays_choose(&p, &ask, 1, 1);
        int accepted = 0;
        while (accepted < ask.depth && happens(grade == 1 ? 0.05 : 0.97)) accepted++;
        const double took = 1 + 0.06 * ask.depth;
        const double spent = ask.depth ? glia_pays_proposal(&p, 1, ask.depth, 0, 1e-6) : 0;
        glia_pays_step(&p, 1 + ask.depth, took);
        if (ask.depth) glia_pays_accept(&p, &known[grade], ask.depth, accepted);
        glia_pays_settle(&p, 1, ask.depth > 0, 1 + accepted, spent + took);
        time += spent + took;
        tokens += 1 + accepted;
    }
    CHECK(tokens / time > 2.3, "%.3f times the speed without drafts", tokens / time);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gains), cmocka_unit_test(test_never_slow),
                                       cmocka_unit_test(test_rest),  cmocka_unit_test(test_long_prompt),
                                       cmocka_unit_test(test_leads), cmocka_unit_test(test_unlucky),
                                       cmocka_unit_test(test_grades)};
    check_begin(argc, argv);
    return check_run_group("pays", tests);
}
