/* test_rank_watch.c: who died first (src/models/train/rank_watch.h), in processes that fork and meet over the loopback,
 * without MPI: rank 2 dies, and every other names it. */
#include "models/train/rank_watch.h"
#include "suite.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANKS = 4, DEAD = 2 };

static void ms(int n) { usleep((useconds_t)n * 1000); }

/* Rank r, until somebody is lost: ends with the rank that it names, or 99. */
static void live(int r, bool aborts, const im_rank_watch_place *place, im_rank_watch *w0, im_ctx *c)
{
    im_rank_watch *w = r ? im_rank_watch_new(c, r, RANKS) : w0;
    bool failed = false;
    if (!w || !im_rank_watch_meet(w, place))
        _exit(98);
    if (r == DEAD) {
        ms(600);
        kill(getpid(), SIGKILL);
    }
    ms(300);
    if (aborts)                                  /* its MPI gives up at the death, before the watch has heard of it     */
        abort();
    for (int n = 0; n < 1000 && im_rank_watch_lost(w, &failed) < 0; n++)
        ms(10);
    int lost = im_rank_watch_lost(w, &failed);
    im_rank_watch_free(w, false);
    im_ctx_free(c);
    _exit(lost < 0 || failed ? 99 : lost);
}

START_TEST(the_first_is_named)                   /* _i = 1: rank 0 aborts meanwhile, and tells the others yet            */
{
    im_ctx *c = im_ctx_new("ref", 1);
    im_rank_watch *w0 = im_rank_watch_new(c, 0, RANKS);
    im_rank_watch_place place;
    pid_t pid[RANKS];
    int status;
    ck_assert(w0 && im_rank_watch_listen(w0, &place));
    for (int r = 0; r < RANKS; r++) {
        pid[r] = fork();
        ck_assert_int_ge(pid[r], 0);
        if (!pid[r])
            live(r, r == 0 && _i, &place, w0, c);
    }
    for (int r = 0; r < RANKS; r++) {
        ck_assert_int_eq(waitpid(pid[r], &status, 0), pid[r]);
        if (r == DEAD || (r == 0 && _i))
            ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == (r ? SIGKILL : SIGABRT));
        else
            ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == DEAD, "rank %d ended with %x", r, (unsigned)status);
    }
    im_rank_watch_free(w0, true);
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(the_first_is_named, 2) };
    return suite_run("rank_watch", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
