/* cores.h - how many cores this process may use. */
#ifndef GLIA_BASE_CORES_H
#define GLIA_BASE_CORES_H

/* The cores of the affinity mask, or the cgroup's CPU quota where that is less;
 * at least 1. Reads files: call it once and keep the result. Any thread. */
int glia_cores_available(void);

/* The CPU quota in cores, rounded up, at least 1: the least over this process's
 * cgroup and its ancestors, cpu.max of cgroup v2 or cpu.cfs_quota_us of v1.
 * INT_MAX without a quota. `root` stands before /proc and /sys: "" for this
 * machine, a directory for tests. */
int glia_cores_quota(const char *root);

#endif
