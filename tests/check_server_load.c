/* check_server_load.c - `glia serve` under load and faults: a thousand streams, a long prompt among streams,
 * clients without patience, preemption, priorities, salts, limits, TLS, and a kept prefix cache. */
#define _GNU_SOURCE
#include "http.h"

#include <dirent.h>
#include <math.h>
#include <sys/resource.h>

static const char model_args[] = "models/qwen3-demo --served-model-name m --threads 1";

#ifdef __SANITIZE_THREAD__ /* steps take many times as long */
enum { STREAMS_AT_ONCE = 100, TOKENS_OF_A_STREAM = 16, LONG_PROMPT = 2048 };
#else
enum { STREAMS_AT_ONCE = 1000, TOKENS_OF_A_STREAM = 128, LONG_PROMPT = 8192 };
#endif

__attribute__((format(printf, 2, 3))) static void begin(served *s, const char *fmt, ...) {
    char args[400], all[480];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof args, fmt, ap);
    va_end(ap);
    snprintf(all, sizeof all, "%s %s", model_args, args);
    serve_begin(s, all);
}

static void end(served *s) { CHECK(serve_end(s) == 0, "the server ended badly: %s", s->said); }

/* The value of a metric. */
static double metric(int port, const char *name) {
    http_reply r = http_get(port, "/metrics");
    const char *at = strstr(r.body, name);
    const double value = at ? strtod(strchr(at, '}') + 1, NULL) : NAN;
    CHECK(at != NULL, "no metric %s", name);
    http_free(&r);
    return value;
}

/* A line of /proc/PID/status in KiB. */
static long status_of(pid_t pid, const char *key) {
    char path[60], line[200];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) value = strtol(line + strlen(key) + 1, NULL, 10);
    if (f) fclose(f);
    return value;
}

static int post(int port, const char *body) {
    return http_begin(port, "POST", "/v1/completions", http_json, body, strlen(body));
}

/* The body of a completion whose prompt are n ids that depend on `kind`. The caller frees it. */
static char *prompt_of(int n, int kind, const char *more) {
    char *body = malloc((size_t)n * 8 + 200 + strlen(more)), *at = body;
    at += sprintf(at, "{\"prompt\":[");
    for (int i = 0; i < n; i++) at += sprintf(at, "%s%d", i ? "," : "", 5 + (i * 7 + kind * 131) % 300);
    sprintf(at, "],%s}", more);
    return body;
}

static int events_of(const char *text) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, "data: {")) != NULL; at++) n++;
    return n;
}

/* ---- many clients ------------------------------------------------------------------------- */

/* A thousand streams are open at once; all end whole, and memory stays bounded. */
static void a_thousand_streams(void **state) {
    enum { STREAMS = STREAMS_AT_ONCE };
    static const char head[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                               "Content-Type: application/json\r\nContent-Length: ";
    static int fd[STREAMS];
    served s;
    (void)state;
    const struct rlimit limit = {4096, 4096};
    if (setrlimit(RLIMIT_NOFILE, &limit)) check_skip("this machine allows too few open files");
    begin(&s, "--batch-size 64 --sequence-length 512 --prefill-chunk-size 512");
    const long before = status_of(s.pid, "VmRSS:");
    for (int i = 0; i < STREAMS; i++) {
        char body[160], request[400];
        snprintf(body, sizeof body,
                 "{\"prompt\":[%d,8,9],\"max_tokens\":%d,\"ignore_eos\":true,\"stream\":true,\"seed\":%d}",
                 5 + i % 200, TOKENS_OF_A_STREAM, i);
        const int n = snprintf(request, sizeof request, "%s%zu\r\n\r\n%s", head, strlen(body), body);
        fd[i] = http_connect(s.port);
        assert_true(fd[i] >= 0 && http_write(fd[i], request, (size_t)n - 1));
    }
    for (int i = 0; i < STREAMS; i++) http_write(fd[i], "}", 1); /* the rest of each: they begin together */
    int most = 0;
    for (int i = 0, n; i<100; i++, most = n> most ? n : most) n = http_load(s.port);
    CHECK(most > STREAMS / 2, "at most %d streams were open at once", most);
    int lost = 0;
    for (int i = 0; i < STREAMS; i++) {
        http_reply r = http_end(fd[i]);
        lost += r.status != 200 || !r.whole || !strstr(r.body, "[DONE]");
        http_free(&r);
    }
    const long grown = status_of(s.pid, "VmHWM:") - before;
    CHECK(lost == 0, "%d of %d streams were not whole", lost, STREAMS);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which keep what was freed */
    CHECK(grown < 100 << 10, "memory grew by %ld KiB", grown);
#else
    (void)grown;
#endif
    end(&s);
}

/* Serving complaint 9: 200 requests of 10,000 tokens whose clients leave; then one is answered at once. */
static void clients_without_patience(void **state) {
    enum { CLIENTS = 200 };
    static const char endless[] =
        "{\"prompt\":\"Once\",\"max_tokens\":10000,\"ignore_eos\":true,\"stream\":%s}";
    static const char quick[] = "{\"prompt\":\"Once\",\"max_tokens\":2}";
    int fd[CLIENTS];
    char body[200];
    served s;
    (void)state;
    begin(&s, "--batch-size 8 --sequence-length 16384");
    json_decref(http_answer(s.port, "/v1/completions", quick));
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(body, sizeof body, endless, i % 2 ? "true" : "false");
        fd[i] = post(s.port, body);
    }
    usleep(500000);
    for (int i = 0; i < CLIENTS; i++) close(fd[i]);
    const double steps = metric(s.port, "\nvllm:iteration_tokens_total_count{");
    json_decref(http_answer(s.port, "/v1/completions", quick));
    const double taken = metric(s.port, "\nvllm:iteration_tokens_total_count{") - steps;
    CHECK(taken < 60, "the answer came after %g steps", taken); /* of 10,000 that were asked for */
    CHECK(http_wait_load(s.port, 0), "requests of clients that left still run");
    CHECK(metric(s.port, "\nvllm:kv_cache_usage_perc{") == 0, "blocks of clients that left are held");
    end(&s);
}

/* A long prompt arrives among 8 streams: each gets a token for every chunk of it. */
static void a_long_prompt_among_streams(void **state) {
    enum { STREAMS = 8, PROMPT = LONG_PROMPT, CHUNK = 512, BEFORE = 4 };
    static const char stream[] =
        "{\"prompt\":\"Once\",\"max_tokens\":100,\"ignore_eos\":true,\"stream\":true}";
    int fd[STREAMS];
    served s;
    (void)state;
    begin(&s, "--batch-size 9 --sequence-length 9000 --prefill-chunk-size %d --no-prefix-cache", CHUNK);
    char *body = prompt_of(PROMPT, 1, "\"max_tokens\":1");
    for (int i = 0; i < STREAMS; i++) fd[i] = post(s.port, stream);
    CHECK(http_wait_load(s.port, STREAMS), "the streams do not run");
    const double tokens = metric(s.port, "\nvllm:generation_tokens_total{"),
                 steps = metric(s.port, "\nvllm:iteration_tokens_total_count{");
    json_decref(http_answer(s.port, "/v1/completions", body));
    const double got = metric(s.port, "\nvllm:generation_tokens_total{") - tokens,
                 taken = metric(s.port, "\nvllm:iteration_tokens_total_count{") - steps;
    CHECK(taken >= PROMPT / CHUNK, "only %g steps", taken);
    CHECK(got >= STREAMS * (PROMPT / CHUNK - BEFORE), "the streams got %g tokens in %g steps", got, taken);
    for (int i = 0; i < STREAMS; i++) {
        http_reply r = http_end(fd[i]);
        CHECK(r.whole && events_of(r.body) > 50, "stream %d: %d events", i, events_of(r.body));
        http_free(&r);
    }
    free(body);
    end(&s);
}

/* ---- scheduling ----------------------------------------------------------------------------- */

/* Answers of a cache that is too small for all equal those of one that is not, and some were preempted. */
static void preempted_requests_lose_nothing(void **state) {
    enum { CLIENTS = 6 };
    char *want[CLIENTS];
    double preempted = 0;
    (void)state;
    for (int small = 0; small < 2; small++) {
        served s;
        int fd[CLIENTS];
        begin(&s, "--batch-size %d --sequence-length 512 --block-size 32%s", CLIENTS,
              small ? " --kv-cache-blocks 22" : "");
        for (int i = 0; i < CLIENTS; i++) {
            char *body =
                prompt_of(40 + 10 * i, i, "\"max_tokens\":150,\"ignore_eos\":true,\"seed\":3,\"logprobs\":1");
            fd[i] = post(s.port, body);
            free(body);
        }
        for (int i = 0; i < CLIENTS; i++) {
            http_reply r = http_end(fd[i]);
            json_t *root = json_loadb(r.body ? r.body : "", r.len, 0, NULL);
            char *text = json_dumps(json_object_get(root, "choices"), JSON_SORT_KEYS | JSON_ENCODE_ANY);
            CHECK(r.status == 200, "status %d: %s", r.status, r.body);
            if (small) CHECK(text && want[i] && strcmp(text, want[i]) == 0, "answer %d differs", i);
            if (small) free(want[i]);
            if (small)
                free(text);
            else
                want[i] = text;
            json_decref(root);
            http_free(&r);
        }
        preempted = metric(s.port, "\nvllm:num_preemptions_total{");
        end(&s);
    }
    CHECK(preempted > 0, "nobody was preempted");
    check_refused("serve models/qwen3-demo --sequence-length 512 --block-size 32 --kv-cache-blocks 15", "", 2,
                  "kv_cache_blocks is 15; one sequence of 512 positions needs 16 blocks of 32");
}

/* Of two requests that wait, the one of the lower number is answered first. */
static void priorities(void **state) {
    static const char busy[] = "{\"prompt\":\"Once\",\"max_tokens\":300,\"ignore_eos\":true}";
    served s;
    (void)state;
    begin(&s, "--batch-size 1 --scheduling-policy priority");
    const int first = post(s.port, busy);
    CHECK(http_wait_load(s.port, 1), "load is not 1");
    const int late = post(s.port, "{\"prompt\":\"a\",\"max_tokens\":200,\"ignore_eos\":true,\"priority\":5}");
    CHECK(http_wait_load(s.port, 2), "load is not 2");
    const int soon = post(s.port, "{\"prompt\":\"b\",\"max_tokens\":1,\"priority\":-1}");
    http_reply r = http_end(soon);
    char one;
    CHECK(r.status == 200, "status %d", r.status);
    CHECK(recv(late, &one, 1, MSG_PEEK | MSG_DONTWAIT) < 0, "the request of priority 5 was answered before");
    http_free(&r);
    close(first);
    close(late);
    end(&s);
    begin(&s, "--batch-size 1");
    r = http_post(s.port, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1,\"priority\":1}");
    CHECK(r.status == 400 && strstr(r.body, "\"param\":\"priority\""), "%d: %s", r.status, r.body);
    http_free(&r);
    end(&s);
    check_refused("serve models/qwen3-demo --scheduling-policy lifo", "", 2, "--scheduling-policy");
}

/* A client with many requests does not keep another client waiting for all of them. */
static void fairness(void **state) {
    enum { MANY = 6 };
    static const char many[] = "Content-Type: application/json\r\nAuthorization: Bearer many\r\n",
                      one[] = "Content-Type: application/json\r\nAuthorization: Bearer one\r\n",
                      slow[] = "{\"prompt\":\"Once\",\"max_tokens\":600,\"ignore_eos\":true}",
                      quick[] = "{\"prompt\":\"b\",\"max_tokens\":1}";
    served s;
    int fd[MANY], unanswered = 0;
    (void)state;
    begin(&s, "--batch-size 2 --scheduling-policy fair --api-key many --api-key one");
    for (int i = 0; i < MANY; i++) {
        fd[i] = http_begin(s.port, "POST", "/v1/completions", many, slow, strlen(slow));
        usleep(20000);
    }
    http_reply r = http_end(http_begin(s.port, "POST", "/v1/completions", one, quick, strlen(quick)));
    CHECK(r.status == 200, "status %d", r.status);
    for (int i = 0; i < MANY; i++) {
        char byte;
        unanswered += recv(fd[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
        close(fd[i]);
    }
    CHECK(unanswered >= MANY - 3, "only %d requests of the other client waited", unanswered);
    http_free(&r);
    end(&s);
}

static int cached_tokens(int port, const char *body) {
    json_t *root = http_answer(port, "/v1/completions", body);
    const json_t *usage = json_object_get(json_object_get(root, "usage"), "prompt_tokens_details");
    const int n = (int)json_integer_value(json_object_get(usage, "cached_tokens"));
    json_decref(root);
    return n;
}

/* Requests of different salts do not see each other's prefixes. */
static void salts(void **state) {
    static const char *const salt[] = {"\"max_tokens\":1", "\"max_tokens\":1,\"cache_salt\":\"a\"",
                                       "\"max_tokens\":1,\"cache_salt\":\"b\""};
    served s;
    (void)state;
    begin(&s, "--block-size 32");
    for (int again = 0; again < 2; again++)
        for (int i = 0; i < 3; i++) {
            char *body = prompt_of(100, 1, salt[i]);
            const int n = cached_tokens(s.port, body);
            CHECK(n == (again ? 96 : 0), "%s, round %d: %d tokens from the cache", salt[i], again, n);
            free(body);
        }
    end(&s);
}

/* ---- a kept prefix cache ---------------------------------------------------------------------- */

enum { KEPT = 700, BLOCK = 64 };

/* Log-probabilities of a fixed request. The caller frees them. */
static char *ask_kept(int port, int *cached) {
    char *body = prompt_of(KEPT, 3, "\"max_tokens\":8,\"temperature\":0,\"logprobs\":5");
    json_t *root = http_answer(port, "/v1/completions", body);
    char *text = json_dumps(json_object_get(root, "choices"), JSON_SORT_KEYS | JSON_ENCODE_ANY);
    *cached = (int)json_integer_value(json_object_get(
        json_object_get(json_object_get(root, "usage"), "prompt_tokens_details"), "cached_tokens"));
    json_decref(root);
    free(body);
    return text;
}

/* For each entry of the directory. Returns how many there are. */
static int each_entry(const char *dir, void (*act)(const char *path)) {
    char path[400];
    int n = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (!strstr(e->d_name, ".kv")) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (act) act(path);
        n++;
    }
    if (d) closedir(d);
    return n;
}

/* Change one byte. */
static void damage(const char *path) {
    char byte;
    const int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, 9000), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 9000), 1);
    close(fd);
}

static void cut_short(const char *path) { assert_int_equal(truncate(path, 3000), 0); }
static void delete (const char *path) { assert_int_equal(unlink(path), 0); }

static void begin_kept(served *s, const char *dir) {
    begin(s, "--block-size %d --prefix-cache-dir %s", BLOCK, dir);
}

/* The same answer after kill -9, with the cache; after damage without it; and of another model. */
static void a_kept_cache_survives(void **state) {
    static void (*const harm[])(const char *path) = {damage, cut_short};
    char dir[] = "/tmp/glia-kept-XXXXXX";
    served s;
    int cached;
    (void)state;
    assert_non_null(mkdtemp(dir));
    begin_kept(&s, dir);
    char *want = ask_kept(s.port, &cached);
    CHECK(cached == 0, "%d tokens from an empty cache", cached);
    const double until = check_seconds() + 60;
    while (each_entry(dir, NULL) < KEPT / BLOCK && check_seconds() < until) usleep(5000);
    kill(s.pid, SIGKILL);
    serve_wait(&s);
    for (int round = 0; round < 3; round++) {
        if (round > 0) each_entry(dir, harm[round - 1]);
        begin_kept(&s, dir);
        char *again = ask_kept(s.port, &cached);
        CHECK(strcmp(again, want) == 0, "round %d: another answer\n%s\n%s", round, again, want);
        CHECK(cached == (round ? 0 : KEPT / BLOCK * BLOCK), "round %d: %d tokens from the cache", round,
              cached);
        free(again);
        end(&s);
        CHECK(each_entry(dir, NULL) >= KEPT / BLOCK, "round %d: %d entries", round, each_entry(dir, NULL));
    }
    begin(&s, "--block-size %d --dtype float32 --prefix-cache-dir %s", BLOCK, dir);
    free(ask_kept(s.port, &cached));
    CHECK(cached == 0, "%d tokens from the cache of other numbers", cached);
    end(&s);
    each_entry(dir, delete);
    rmdir(dir);
    free(want);
}

/* The directory stays below its limit, and a disk that is full costs no answer. */
static void a_kept_cache_is_bounded(void **state) {
    char dir[] = "/tmp/glia-kept-XXXXXX", *want;
    served s;
    int cached;
    (void)state;
    assert_non_null(mkdtemp(dir));
    begin_kept(&s, dir);
    want = ask_kept(s.port, &cached);
    end(&s);
    each_entry(dir, delete);
    begin(&s, "--block-size %d --prefix-cache-dir %s --prefix-cache-size 0.001", BLOCK, dir);
    for (int i = 0; i < 4; i++) {
        char *body = prompt_of(KEPT, i, "\"max_tokens\":1");
        cached_tokens(s.port, body);
        free(body);
    }
    end(&s);
    const int n = each_entry(dir, NULL);
    CHECK(n > 0 && n < 2 * KEPT / BLOCK, "%d entries in 1 MiB", n);
    each_entry(dir, delete);
    const struct rlimit full = {1024, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &full); /* the server inherits it: a write beyond 1 KiB fails */
    begin_kept(&s, dir);
    setrlimit(RLIMIT_FSIZE, &none);
    char *again = ask_kept(s.port, &cached);
    CHECK(strcmp(again, want) == 0, "another answer on a full disk");
    end(&s);
    CHECK(each_entry(dir, NULL) == 0, "a part of an entry is left");
    CHECK(rmdir(dir) == 0, "something is left in %s", dir);
    check_refused("serve models/qwen3-demo --prefix-cache-dir /proc/none", "", 1, "/proc/none: ");
    free(want);
    free(again);
}

/* What a draft proposes does not depend on where blocks come from; a draft that has to see every row of a
 * prompt, and several ranks, are refused. */
static void a_kept_cache_with_other_flags(void **state) {
    static const char *const drafts[] = {
        "", "--speculative-config {\"method\":\"ngram\",\"num_speculative_tokens\":4}",
        "--speculative-config {\"model\":\"models/qwen3-demo\",\"num_speculative_tokens\":4}"};
    static const char *const refused[][2] = {
        {"--tensor-parallel-size 2", "prefix_cache_dir: the cache of several ranks cannot be kept"},
        {"--speculative-config {\"method\":\"eagle3\",\"model\":\"models/qwen3-demo-eagle3\"}",
         "prefix_cache_dir: a draft of the method eagle3 has to see every row of a prompt"},
        {"--speculative-config {\"method\":\"medusa\",\"model\":\"models/qwen3-demo-medusa\"}",
         "prefix_cache_dir: a draft of the method medusa has to see every row of a prompt"},
        {"--no-prefix-cache", "prefix_cache_dir needs the prefix cache"}};
    char dir[] = "/tmp/glia-kept-XXXXXX", line[400], *want = NULL;
    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof drafts / sizeof *drafts; i++) {
        served s;
        int cached;
        begin(&s, "--block-size %d --prefix-cache-dir %s %s", BLOCK, dir, drafts[i]);
        char *found = ask_kept(s.port, &cached);
        CHECK(cached == (i ? KEPT / BLOCK * BLOCK : 0), "%s: %d tokens from the cache", drafts[i], cached);
        CHECK(i == 0 || strcmp(found, want) == 0, "%s: another answer\n%s\n%s", drafts[i], found, want);
        if (i) free(found);
        if (!i) want = found;
        end(&s);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(line, sizeof line, "serve %s --port 0 --prefix-cache-dir %s %s", model_args, dir,
                 refused[i][0]);
        check_refused(line, "", strstr(refused[i][1], "needs") ? 2 : 1, refused[i][1]);
    }
    each_entry(dir, delete);
    rmdir(dir);
    free(want);
}

/* ---- the wire ------------------------------------------------------------------------------------ */

/* 10^6 headers end the connection without filling memory. */
static void a_million_headers(void **state) {
    served s;
    char line[64];
    (void)state;
    begin(&s, "--batch-size 1");
    const long before = status_of(s.pid, "VmRSS:");
    const int fd = http_connect(s.port);
    bool open = http_write(fd, "GET /health HTTP/1.1\r\n", 22);
    for (int i = 0; i < 1000000 && open; i++)
        open = http_write(fd, line, (size_t)snprintf(line, sizeof line, "X-%d: a\r\n", i));
    CHECK(!open, "a million headers were taken");
    close(fd);
    const long grown = status_of(s.pid, "VmHWM:") - before;
    CHECK(grown < 16 << 10, "memory grew by %ld KiB", grown);
    json_decref(http_answer(s.port, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1}"));
    end(&s);
}

/* A gigabyte that comes in chunks is refused at the limit. */
static void a_body_without_end(void **state) {
    static char piece[65536 + 20];
    served s;
    (void)state;
    begin(&s, "--batch-size 1 --max-body-size 1");
    const long before = status_of(s.pid, "VmRSS:");
    const int fd = http_connect(s.port);
    static const char head[] = "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    bool open = http_write(fd, head, strlen(head));
    memset(piece, ' ', sizeof piece);
    memcpy(piece, "10000\r\n", 7);
    memcpy(piece + 7 + 65536, "\r\n", 2);
    int sent = 0;
    for (; sent < 16384 && open; sent++) open = http_write(fd, piece, 7 + 65536 + 2);
    CHECK(!open && sent < 200, "%d pieces of 64 KiB were taken", sent);
    close(fd);
    CHECK(status_of(s.pid, "VmHWM:") - before < 32 << 10, "memory grew");
    end(&s);
}

/* Half a request is closed after the time-out; whoever waits for an answer is not. */
static void half_a_request(void **state) {
    served s;
    char some[100];
    (void)state;
    begin(&s, "--batch-size 1 --http-timeout 1 --sequence-length 16384");
    const int half = http_connect(s.port),
              whole = post(s.port, "{\"prompt\":\"Once\",\"max_tokens\":16000,\"ignore_eos\":true}");
    http_write(half, "POST /v1/completions HTTP/1.1\r\nContent-Le", 42);
    while (recv(half, some, sizeof some, 0) > 0) {
    }
    CHECK(http_load(s.port) == 1, "the request that waits was ended too");
    close(half);
    close(whole);
    end(&s);
}

/* More connections than --max-connections wait until one is closed. */
static void connections_are_limited(void **state) {
    enum { MOST = 4 };
    served s;
    int idle[MOST];
    char some[400];
    (void)state;
    begin(&s, "--batch-size 1 --max-connections %d", MOST);
    for (int i = 0; i < MOST; i++) idle[i] = http_connect(s.port);
    usleep(200000);
    const int fd = http_begin(s.port, "GET", "/health", "", NULL, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK(poll(&p, 1, 300) == 0, "a connection too many was served");
    close(idle[0]);
    CHECK(poll(&p, 1, 60000) == 1 && recv(fd, some, sizeof some, 0) > 0,
          "the connection was not served later");
    close(fd);
    for (int i = 1; i < MOST; i++) close(idle[i]);
    end(&s);
}

/* Serving complaint 10: the request that is one too many gets 503; after aborts there is room again. */
static void the_queue_is_bounded(void **state) {
    enum { MOST = 3 };
    static const char endless[] = "{\"prompt\":\"Once\",\"max_tokens\":4000,\"ignore_eos\":true}";
    served s;
    int fd[MOST];
    (void)state;
    begin(&s, "--batch-size 1 --max-num-queued-reqs %d", MOST);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MOST; i++) fd[i] = post(s.port, endless);
        CHECK(http_wait_load(s.port, MOST), "load");
        http_reply r = http_post(s.port, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1}");
        CHECK(r.status == 503 && strcasestr(r.raw, "\r\nRetry-After: ") &&
                  strstr(r.body, "ServiceUnavailableError"),
              "status %d: %s", r.status, r.body);
        http_free(&r);
        for (int i = 0; i < MOST; i++) close(fd[i]);
        CHECK(http_wait_load(s.port, 0), "load is not 0");
    }
    end(&s);
}

/* Ids and traces come back and are in the log, one JSON object for each request. */
static void the_log(void **state) {
    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    served s;
    char headers[300];
    (void)state;
    begin(&s, "--log-json");
    snprintf(headers, sizeof headers, "%sX-Request-Id: mine\r\ntraceparent: %s\r\n", http_json, trace);
    static const char body[] = "{\"prompt\":[5,6],\"max_tokens\":3,\"ignore_eos\":true}";
    http_reply r = http_end(http_begin(s.port, "POST", "/v1/completions", headers, body, strlen(body)));
    CHECK(r.status == 200 && strcasestr(r.raw, "\r\nX-Request-Id: mine\r\n"), "no id: %s", r.raw);
    CHECK(strcasestr(r.raw, "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-"), "no trace: %s", r.raw);
    http_free(&r);
    r = http_end(http_begin(s.port, "GET", "/health", "traceparent: 00-0-1-01\r\n", NULL, 0));
    CHECK(!strcasestr(r.raw, "traceparent"), "a wrong trace came back: %s", r.raw);
    http_free(&r);
    end(&s);
    const char *line = strstr(s.said, "{\"time\":\"");
    json_t *root = line ? json_loads(line, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    json_t *want = json_pack("{s:s,s:s,s:i,s:s,s:s,s:i,s:i}", "method", "POST", "path", "/v1/completions",
                             "status", 200, "request_id", "mine", "trace_id",
                             "0af7651916cd43dd8448eb211c80319c", "prompt_tokens", 2, "completion_tokens", 3);
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value)
        CHECK(json_equal(json_object_get(root, key), value), "%s in the log: %s", key, s.said);
    json_decref(root);
    json_decref(want);
}

/* ---- TLS ------------------------------------------------------------------------------------------ */

static bool run(const char *command) {
    const int status = system(command);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* OpenSSL's own client gets an answer; a wrong key is refused in one sentence. */
static void tls(void **state) {
    char dir[] = "/tmp/glia-tls-XXXXXX", line[700], out[2000] = "";
    served s;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(line, sizeof line,
             "openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/key -out %s/cert -days 2 -subj "
             "/CN=localhost >/dev/null 2>&1 && openssl genrsa -out %s/other >/dev/null 2>&1",
             dir, dir, dir);
    if (!run(line)) check_skip("no openssl program");
    outcome o =
        glia("", "serve models/qwen3-demo --threads 1 --port 0 --ssl-certfile %s/cert --ssl-keyfile %s/other",
             dir, dir);
    const bool without = strstr(o.err, "this build has no TLS") != NULL;
    CHECK(o.status == 1 && (without || strstr(o.err, "no private key that fits the certificate")), "%d %s",
          o.status, o.err);
    done(&o);
    if (without) check_skip("a build without TLS");
    begin(&s, "--ssl-certfile %s/cert --ssl-keyfile %s/key", dir, dir);
    CHECK(strstr(s.said, "https://127.0.0.1:"), "no https: %s", s.said);
    snprintf(
        line, sizeof line,
        "printf 'POST /v1/completions HTTP/1.1\\r\\nConnection: close\\r\\nContent-Length: 48\\r\\n\\r\\n"
        "{\"prompt\":\"Once\",\"max_tokens\":4,\"stream\":true }\\n' | "
        "timeout 60 openssl s_client -quiet -verify_quiet -CAfile %s/cert -connect 127.0.0.1:%d 2>/dev/null",
        dir, s.port);
    FILE *f = popen(line, "r");
    const size_t n = f ? fread(out, 1, sizeof out - 1, f) : 0;
    out[n] = '\0';
    if (f) pclose(f);
    CHECK(strstr(out, "HTTP/1.1 200") && strstr(out, "data: [DONE]"), "%s", out);
    const int plain = http_begin(s.port, "GET", "/health", "", NULL, 0);
    http_reply r = http_end(plain);
    CHECK(r.status != 200, "plain HTTP was answered");
    http_free(&r);
    end(&s);
    check_refused("serve models/qwen3-demo --ssl-certfile a", "", 2, "come together");
    snprintf(line, sizeof line, "rm -r %s", dir);
    CHECK(run(line), "%s", line);
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_streams),
        cmocka_unit_test(clients_without_patience),
        cmocka_unit_test(a_long_prompt_among_streams),
        cmocka_unit_test(preempted_requests_lose_nothing),
        cmocka_unit_test(priorities),
        cmocka_unit_test(fairness),
        cmocka_unit_test(salts),
        cmocka_unit_test(a_kept_cache_survives),
        cmocka_unit_test(a_kept_cache_is_bounded),
        cmocka_unit_test(a_kept_cache_with_other_flags),
        cmocka_unit_test(a_million_headers),
        cmocka_unit_test(a_body_without_end),
        cmocka_unit_test(half_a_request),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(the_log),
        cmocka_unit_test(tls),
    };
    return check_run_group("server_load", tests);
}
