/* followers.h - the ranks of this process that follow, each on a thread of its own. */
#ifndef GLIA_ENGINE_FOLLOWERS_H
#define GLIA_ENGINE_FOLLOWERS_H

#include <pthread.h>

#include "engine/rank.h"

typedef struct {
    glia_rank rank;
    glia_rank_config config;
    pthread_t thread;
    bool started;
} glia_follower;

/* All ranks of this process; without others, world is NULL. */
typedef struct {
    int n;
    glia_comm **world;       /* [n] every rank's end; 0 is the leader's */
    glia_follower *follower; /* [n]; 0 is not used */
} glia_followers;

/* Make a world of n thread ranks with an area of `bytes` each. glia_followers_close() is due on failure too.
 */
glia_status glia_followers_create(glia_followers *f, int n, size_t bytes, glia_err *err);
/* Start the thread of rank i, which opens the rank and follows. If the thread cannot start, the world fails.
 */
void glia_followers_start(glia_followers *f, int i, const glia_rank_config *config);
/* Wait until all followers have ended. */
void glia_followers_join(glia_followers *f);
/* Release the world, after the leader's rank was closed. */
void glia_followers_close(glia_followers *f);

#endif
