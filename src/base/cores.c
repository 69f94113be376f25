/* cores.c - see cores.h. */
#define _GNU_SOURCE
#include "base/cores.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 8192 };

/* Up to two numbers of the file DIR/NAME; returns how many ("max" is none). */
static int read_numbers(const char *dir, const char *name, long long number[2]) {
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    const int n = fscanf(f, "%lld %lld", &number[0], &number[1]);
    fclose(f);
    return n > 0 ? n : 0;
}

/* The quota of one cgroup, whichever version's files its directory has. */
static int quota_of(const char *dir) {
    long long max[2], quota[2], period[2];
    if (read_numbers(dir, "cpu.max", max) < 2) {
        if (!read_numbers(dir, "cpu.cfs_quota_us", quota)) return INT_MAX;
        if (!read_numbers(dir, "cpu.cfs_period_us", period)) return INT_MAX;
        max[0] = quota[0]; /* -1: none */
        max[1] = period[0];
    }
    if (max[0] <= 0 || max[1] <= 0) return INT_MAX;
    const long long cores = (max[0] - 1) / max[1] + 1;
    return cores < INT_MAX ? (int)cores : INT_MAX;
}

/* The least quota of MOUNT/PATH and of each of its ancestors up to MOUNT. */
static int least_quota(const char *mount, const char *path) {
    char dir[PATH_BYTES];
    const size_t top = strlen(mount);
    if (snprintf(dir, sizeof dir, "%s%s", mount, path) >= (int)sizeof dir) return INT_MAX;
    int least = INT_MAX;
    for (char *end;; *end = '\0') {
        const int quota = quota_of(dir);
        if (quota < least) least = quota;
        end = strrchr(dir + top, '/');
        if (!end) return least;
    }
}

/* Whether the comma-separated `list` names the controller cpu. */
static int has_cpu(const char *list) {
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strcspn(at, ",") == 3 && strncmp(at, "cpu", 3) == 0) return 1;
    }
    return 0;
}

int glia_cores_quota(const char *root) {
    char line[PATH_BYTES], mount[PATH_BYTES];
    int least = INT_MAX;
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *f = fopen(line, "re");
    if (!f) return INT_MAX;
    while (fgets(line, sizeof line, f)) { /* "ID:CONTROLLERS:PATH"; v2 has no controllers */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        list++;
        if (*list && !has_cpu(list)) continue;
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", root, *list ? "/cpu" : "");
        const int quota = least_quota(mount, path);
        if (quota < least) least = quota;
    }
    fclose(f);
    return least;
}

static int cores_of_mask(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

int glia_cores_available(void) {
    const int mask = cores_of_mask(), quota = glia_cores_quota("");
    return quota < mask ? quota : mask;
}
