/* test_run_folder.c: the folder of a run, without a training: its lock, its log, what killed processes left in it and what
 * is the user's own, checkpoints of another run, and which errors of the disk cost old checkpoints. */
#define _GNU_SOURCE                                            /* fallocate */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <time.h>

#include "context.h"
#include "data/files/file.h"
#include "models/nets/resnet.h"
#include "models/train/train_state.h"
#include "want.h"
#include "warnings.h"


static const char *at(const char *name) { return scratch_path(dir, name); }

/* A folder whose run has begun. */
static void begin(void)
{
    ck_assert(im_make_folder(c, at("run")));
    scratch_write(dir, "run/config.json", "{}", 2);
}

/* ---------------------------------------------------------------- the log */

START_TEST(log_is_cut_to_the_checkpoint)
{
    im_run_folder r;
    size_t n;
    const char *run = at("run"), *log = at("run/log.jsonl");
    ck_assert(im_run_open(c, &r, run) && im_run_log_open(&r, 0));
    for (int i = 1; i <= 12; i++) {
        char line[64];
        snprintf(line, sizeof line, "{\"step\": %d, \"loss\": 1}", i);
        im_run_log(&r, line);
    }
    im_run_close(&r);
    FILE *f = fopen(log, "a");
    fputs("{\"step\": 13, \"lo", f);                           /* the power went                                      */
    fclose(f);
    ck_assert(!im_run_open(c, &r, run));                       /* a new run would write over it                       */
    im_run_close(&r);
    WANT_ERROR("run/log.jsonl: is there already", "no config.json", "choose another folder");
    begin();
    ck_assert(im_run_open(c, &r, run) && im_run_log_open(&r, 9));
    im_run_log(&r, "{\"step\": 10, \"loss\": 2}");
    im_run_close(&r);
    char *text = im_read_file(c, log, 1 << 20, &n);
    ck_assert_ptr_nonnull(strstr(text, "{\"step\": 9, \"loss\": 1}\n{\"step\": 10, \"loss\": 2}\n"));
    ck_assert_int_eq(text[n - 1], '\n');
    ck_assert_ptr_null(strstr(text, "11"));
    free(text);
}
END_TEST

/* Lines that are none of a log are left out, those behind them are not; what the file was stays beside it. */
START_TEST(damaged_lines_are_left_out)
{
    static const char first[] = "{\"step\": 1, \"loss\": 1}\n", next[] = "{\"loss\": 1, \"step\": 3}\n";
    static const struct { const char *line; bool strange; } between[] = {
        { "\n", false }, { "{}\n", true }, { "{\"step\":\n2}\n", true },
        { "{\"step\": \n{\"step\": 12, \"loss\": 1}\n", true },
        { "{\"step\": x}\n", true }, { "{\"step\": 99999999999999999999999}\n", true }, { "{\"STEP\": 2}\n", true },
        { "{\"step\": 0, \"loss\": 1}\n", true }, { "{\"step\": 12, \"loss\": 1}\n", false },
        { "{\"step\": 2, \"lo{\"step\": 2, \"loss\": 1}\n", true },
    };
    im_run_folder r;
    const char *run = at("run"), *log = at("run/log.jsonl"), *aside = at("run/log.jsonl.damaged");
    begin();
    for (size_t i = 0; i < sizeof between / sizeof *between; i++) {
        char text[200], wanted[200];
        size_t n = 0;
        snprintf(text, sizeof text, "%s%s%s{\"step\": 4", first, between[i].line, next);
        snprintf(wanted, sizeof wanted, "%s%s", first, next);
        ck_assert(im_write_file(c, log, text, strlen(text), true));
        unlink(aside);
        ck_assert(im_run_open(c, &r, run));
        ck_assert_int_eq(im_run_log_last(&r), strstr(text, "\n{\"step\": 12") ? 12 : 3);
        ck_assert(im_run_log_open(&r, 9));
        im_run_close(&r);
        char *kept = im_read_file(c, log, 1 << 20, &n);
        ck_assert_msg(kept && !strcmp(kept, wanted), "of \"%s\" is left: \"%s\"", text, kept);
        free(kept);
        ck_assert(im_is_file(aside) == between[i].strange);
        kept = between[i].strange ? im_read_file(c, aside, 1 << 20, &n) : NULL;
        ck_assert(!kept || !strcmp(kept, text));
        free(kept);
    }
    static const char zeros[] = "{\"step\": 1, \"loss\": 1}\n\0\0\0\0\n{\"step\": 2, \"loss\": 1}\n";
    ck_assert(im_write_file(c, log, zeros, sizeof zeros - 1, true) && im_run_open(c, &r, run) && im_run_log_open(&r, 9));
    im_run_close(&r);
    size_t n = 0;
    char *kept = im_read_file(c, log, 1 << 20, &n);
    ck_assert_str_eq(kept, "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"loss\": 1}\n");
    free(kept);
}
END_TEST

/* A time that grows with the square of the lines would be some 10 s; one that grows with them is a hundredth of one. */
START_TEST(long_log_opens_at_once)
{
    enum { LINES = 300000, WIDTH = 40 };
    im_run_folder r;
    char *text = malloc((size_t)LINES * WIDTH), *end = text;
    ck_assert_ptr_nonnull(text);
    for (int i = 1; i <= LINES; i++)
        end += snprintf(end, WIDTH, "{\"step\": %d, \"loss\": 0.1234567}\n", i);
    size_t bytes = (size_t)(end - text), n = 0;
    ck_assert(im_run_open(c, &r, at("run")));
    scratch_write(dir, "run/log.jsonl", text, bytes);
    free(text);
    clock_t start = clock();
    ck_assert(im_run_log_open(&r, LINES));
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    ck_assert_msg(seconds < 2, "%d lines take %g s", LINES, seconds);
    im_run_close(&r);
    free(im_read_file(c, at("run/log.jsonl"), 1 << 30, &n));
    ck_assert_uint_eq(n, bytes);
}
END_TEST

/* ---------------------------------------------------------------- opening a folder */

START_TEST(one_process_a_run)
{
    im_run_folder a, b;
    const char *run = at("run");
    ck_assert(im_run_open(c, &a, run));
    ck_assert(!im_run_open(c, &b, run));
    im_run_close(&b);
    WANT_ERROR("run", "another process");
    im_run_close(&a);
    ck_assert(im_run_open(c, &a, run));
    im_run_close(&a);
}
END_TEST

/* What file.c and a best checkpoint that was just being marked leave behind goes; anything else is the user's. */
START_TEST(leftovers_go_and_the_rest_stays)
{
    static const char *const made[] = { "run/checkpoints", "run/model/unet/deep", "run/vae", "run/cache", "run/samples",
                                        "run/notes", "shared" };
    static const char *const gone[] = {
        "log.jsonl.tmp.77.0", "x.tmp.1.0.tmp.12345.999", "checkpoints/x.tmp.77.0", "checkpoints/best.tmp.0",
        "model/x.tmp.77.0", "model/unet/x.tmp.77.0", "vae/x.tmp.77.0", "cache/x.tmp.77.0", "samples/x.tmp.77.0"
    };
    static const char *const kept[] = {
        "report.tmp.txt", "x.tmp.77.0.txt", "x.tmp.77.", "x.tmp..0", "x.tmp.a.0", "x.tmp.7a.0", "x.tmp.77.0a", "x.tmp.77",
        "best.tmp.0", "checkpoints/best.tmp.1", "notes/report.tmp.txt", "notes/x.tmp.77.0", "model/unet/report.tmp.txt",
        "model/unet/deep/x.tmp.77.0", "model/link/x.tmp.77.0"
    };
    enum { GONE = sizeof gone / sizeof *gone, KEPT = sizeof kept / sizeof *kept };
    im_run_folder r;
    char path[100];
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        ck_assert(im_make_folder(c, at(made[i])));
    ck_assert_int_eq(symlink(at("shared"), at("run/model/link")), 0);
    for (int i = 0; i < GONE + KEPT; i++) {
        snprintf(path, sizeof path, "run/%s", i < GONE ? gone[i] : kept[i - GONE]);
        scratch_write(dir, path, "half", 4);
    }
    begin();
    ck_assert(im_run_open(c, &r, at("run")));
    im_run_close(&r);
    for (int i = 0; i < GONE + KEPT; i++) {
        snprintf(path, sizeof path, "run/%s", i < GONE ? gone[i] : kept[i - GONE]);
        ck_assert_msg(im_is_file(at(path)) == (i >= GONE), "%s %s", path, i < GONE ? "is left" : "was removed");
    }
}
END_TEST

START_TEST(empty_name_is_refused)
{
    im_run_folder r;
    char here[1024];
    ck_assert(getcwd(here, sizeof here) && !chdir(dir));
    scratch_write(dir, "config.json", "{}", 2);
    ck_assert(!im_run_open(c, &r, ""));
    im_run_close(&r);
    WANT_ERROR("the name of the run's folder is empty", "-o RUN");
    ck_assert_int_eq(scratch_count("."), 1);
    ck_assert(!im_run_begun(c, "") && im_run_begun(c, "."));
    ck_assert_int_eq(chdir(here), 0);
}
END_TEST

START_TEST(checkpoints_without_a_run_are_refused)
{
    im_run_folder r;
    ck_assert(im_make_folder(c, at("run/checkpoints")));
    scratch_write(dir, "run/checkpoints/best.safetensors", "x", 1);
    ck_assert(im_run_open(c, &r, at("run")));
    im_run_close(&r);
    scratch_write(dir, "run/checkpoints/step-00000005.safetensors", "x", 1);
    scratch_write(dir, "run/checkpoints/step-00000040.safetensors", "x", 1);
    ck_assert(!im_run_open(c, &r, at("run")));
    im_run_close(&r);
    WANT_ERROR(at("run"), "the newest of step 40", "no config.json", "choose another", "remove", at("run/checkpoints"));
    ck_assert_int_eq(scratch_count(at("run/checkpoints")), 3);
    scratch_write(dir, "run/config.json", "{}", 2);
    ck_assert(im_run_open(c, &r, at("run")));
    im_run_close(&r);
}
END_TEST

/* ---------------------------------------------------------------- a full disk */

static struct { int error; const char *folder; int most, asked; } disk;      /* folder NULL: there is room for all    */

/* In the place of the system's: room while `folder` has at most `most` files. What it cannot do, file.c does otherwise. */
int fallocate(int fd, int mode, off_t from, off_t bytes)
{
    (void)fd, (void)mode, (void)from, (void)bytes;
    disk.asked++;
    ck_assert_msg(disk.asked < 20, "a checkpoint is tried without an end");
    errno = disk.folder && scratch_count(disk.folder) > disk.most ? disk.error : EOPNOTSUPP;
    return -1;
}

typedef struct made {
    im_params p;
    im_part_params part;
    im_run_folder run;
    im_train_state s;
} made;

/* A network of one layer, and its checkpoints of steps 10, 20 and 30. */
static void make(made *k)
{
    im_linear_layer l;
    im_on_warning(c, on_warning, NULL);
    im_params_init(&k->p, c);
    k->p.train = true;
    im_linear_init(&k->p, "layer", &l, 4, 4, true);
    ck_assert_msg(im_init_params(&k->p, 1), "%s", im_error(c));
    k->part = (im_part_params){ &k->p, "" };
    im_optimiser_args a = im_optimiser_defaults(IM_SGD);
    ck_assert(im_run_open(c, &k->run, at("run")));
    k->s = (im_train_state){ .c = c, .run = &k->run, .parts = &k->part, .n_parts = 1, .config = "{}", .keep = 9,
                             .optimiser = im_optimiser_new(c, &k->part, 1, &a), .best = NAN, .last_good = -1 };
    for (k->s.step = 10; k->s.step <= 30; k->s.step += 10)
        ck_assert_msg(im_train_state_save(&k->s, NAN), "%s%s", im_error(c), warnings);
    disk.asked = 0;
}

static void unmake(made *k)
{
    im_optimiser_free(k->s.optimiser);
    im_run_close(&k->run);
    im_params_free(&k->p);
}

static void want_steps(const made *k, const char *want)
{
    char found[100] = "";
    int n;
    int64_t *steps = im_run_checkpoints(k->run.c, k->run.path, &n);
    for (int i = 0; i < n; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%lld ", (long long)steps[i]);
    free(steps);
    ck_assert_str_eq(found, want);
}

/* Room for one checkpoint beside the one that is written: two make room. No other error makes any. */
START_TEST(only_a_full_disk_costs_checkpoints)
{
    static const int errors[] = { ENOSPC, EDQUOT, EFBIG, EACCES, EROFS, ENOMEM, EIO };
    bool full = _i < 2;
    made k;
    make(&k);
    disk.error = errors[_i];
    disk.folder = at("run/checkpoints");
    disk.most = 2;
    ck_assert(im_train_state_save(&k.s, NAN) == full);         /* of step 40                                          */
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    ck_assert_int_eq(disk.asked, full ? 3 : 1);
    want_steps(&k, full ? "40 30 " : "30 20 10 ");
    ck_assert((strstr(warnings, "no checkpoint of step 40") == NULL) == full);
    ck_assert(full || strstr(warnings, strerror(errors[_i])));
    unmake(&k);
}
END_TEST

/* Folders cannot be unlinked, by root neither: they are passed over, and where nothing else is left it is a warning. */
START_TEST(what_cannot_be_removed_makes_no_room)
{
    static const char *const names[] = { "run/checkpoints/step-00000010.safetensors",
                                         "run/checkpoints/step-00000020.safetensors" };
    made k;
    make(&k);
    for (int i = 0; i < 2; i++)
        ck_assert(!unlink(at(names[i])) && !mkdir(at(names[i]), 0777));
    scratch_write(dir, "run/checkpoints/step-00000025.safetensors", "x", 1);
    disk.error = ENOSPC;
    disk.folder = at("run/checkpoints");
    disk.most = 0;
    ck_assert(!im_train_state_save(&k.s, NAN));
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    ck_assert_int_eq(disk.asked, 2);                           /* once more after 25 was given up                     */
    want_steps(&k, "30 20 10 ");
    ck_assert_ptr_nonnull(strstr(warnings, "the last good one is that of step 30"));
    unmake(&k);
}
END_TEST

/* By errno train_state.c knows a full disk: a write of 0 bytes is one too, and clearing up must not hide it. */
START_TEST(errno_is_why_a_write_failed)
{
    im_out o;
    ck_assert(im_out_open(c, &o, at("file"), false));
    errno = 0;
    ck_assert(!im_out_fail(c, &o, ENOSPC));
    ck_assert_int_eq(errno, ENOSPC);
    ck_assert_int_eq(unlink(o.temp), 0);
    im_out_abandon(&o);                                        /* finds nothing to remove: ENOENT                     */
    ck_assert_int_eq(errno, ENOSPC);
    WANT_ERROR("file", "free some space");
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(log_is_cut_to_the_checkpoint), ONCE(damaged_lines_are_left_out), ONCE(long_log_opens_at_once),
        ONCE(one_process_a_run), ONCE(leftovers_go_and_the_rest_stays), ONCE(empty_name_is_refused),
        ONCE(checkpoints_without_a_run_are_refused), LOOP(only_a_full_disk_costs_checkpoints, 7),
        ONCE(what_cannot_be_removed_makes_no_room), ONCE(errno_is_why_a_write_failed)
    };
    return suite_run("run_folder", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
