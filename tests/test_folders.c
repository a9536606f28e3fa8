/* test_folders.c: a folder that is replaced is whole at every instant (models/checkpoints/folder_out.h): writers that are
 * killed, full disks, disks that cannot exchange two names, what belongs to somebody else, and what a killed one left. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "data/files/file.h"
#include "models.h"
#include "models/checkpoints/folder_out.h"
#include "warnings.h"

/* ---------------------------------------------------------------- models and children */

enum { MODELS = 2, SPLIT = 150 << 10 };                        /* bytes a file: model a's UNet then has several       */
static char prints[MODELS][65];                                /* fingerprints                                        */

static void print_of(const char *model, char out[65])
{
    im_checkpoint *k = open_whole(model);
    snprintf(out, 65, "%s", im_checkpoint_fingerprint(k));
    im_checkpoint_close(k);
}

static void command(const char *format, const char *path)
{
    char text[800];
    snprintf(text, sizeof text, format, path);
    ck_assert_int_eq(system(text), 0);
}

/* Two models of one shape as files "0" and "1", and the first as folder "m" with a file of the user's in it. */
static void make_models(void)
{
    im_on_warning(c, on_warning, NULL);
    for (int i = 0; i < MODELS; i++) {
        const char *name = i ? "1" : "0";
        ck_assert_msg(im_sd_init_weights(c, MODEL_A, (uint64_t)i, IM_F16, at(name), false), "%s", im_error(c));
        print_of(at(name), prints[i]);
    }
    ck_assert_msg(im_sd_convert(c, at("0"), at("m"), -1, 0, false), "%s", im_error(c));
    scratch_write(dir, "m/mine.txt", "mine", 4);
    scratch_write(dir, "m/unet/mine.txt", "mine", 4);
}

/* A file in a folder: of the scratch folder where it is named so, else of any. */
static const char *in(const char *folder, const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s%s%s", *folder == '/' ? "" : dir, *folder == '/' ? "" : "/", folder);
    return scratch_path(path, name);
}

static void write_in(const char *name, const char *text)
{
    char folder[400];
    snprintf(folder, sizeof folder, "%s", at("m"));
    scratch_write(folder, name, text, strlen(text));
}

/* Which of the models stands at `path`, whole and with the user's files. */
static int which(const char *path)
{
    char print[65];
    print_of(path, print);
    ck_assert_msg(!strcmp(print, prints[0]) || !strcmp(print, prints[1]), "%s: a mixture of two models", path);
    ck_assert(im_is_file(in(path, "mine.txt")) && im_is_file(in(path, "unet/mine.txt")));
    return strcmp(print, prints[0]) != 0;
}

/* System call `nr` fails with err in this process from now on, where its argument `arg` (low half) is `least` or more.
 * False where the system has no such filters. */
static bool system_call_fails(int nr, int err, int arg, unsigned least)
{
    const size_t at_arg = offsetof(struct seccomp_data, args) + 8 * (size_t)arg +
                          (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)at_arg),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, least, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

typedef struct writer {                                        /* what a child does                                   */
    char from[400], to[400];
    int dtype;
    uint64_t split;
    int call, err, arg; unsigned least;                        /* call > 0: system_call_fails                         */
} writer;

static writer writes(const char *from, const char *to)
{
    writer w = { .dtype = -1 };
    snprintf(w.from, sizeof w.from, "%s/%s", dir, from);
    snprintf(w.to, sizeof w.to, "%s/%s", dir, to);
    return w;
}

enum { DONE = 0, FAILED = 1, NO_FILTERS = 77 };

/* In a child, whose error goes to the file "error". Its own context: threads do not outlive a fork. */
static pid_t start(const writer *w)
{
    char error[600];
    snprintf(error, sizeof error, "%s", at("error"));
    pid_t child = fork();
    ck_assert(child >= 0);
    if (child)
        return child;
    im_ctx *mine = im_ctx_new("ref", 1);
    if (w->call && !system_call_fails(w->call, w->err, w->arg, w->least))
        _exit(NO_FILTERS);
    bool ok = im_sd_convert(mine, w->from, w->to, w->dtype, w->split, true);
    FILE *f = fopen(error, "w");
    if (f) {
        fputs(im_error(mine), f);
        fclose(f);
    }
    _exit(ok ? DONE : FAILED);
}

/* How it ended: its exit code, or -1 where it was killed. */
static int end_of(pid_t child)
{
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *said(void)
{
    static char text[4096];
    FILE *f = fopen(at("error"), "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    return text;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Entries of the scratch folder whose names begin so; `found`: the last one. */
static int named(const char *begin, char found[600])
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)); )
        if (!strncmp(e->d_name, begin, strlen(begin))) {
            snprintf(found, 600, "%s", scratch_path(dir, e->d_name));
            n++;
        }
    closedir(d);
    return n;
}

/* ---------------------------------------------------------------- killed */

/* Rewrites m, whole and in shards, from itself and from the other model, and is killed on the way. Without
 * RENAME_EXCHANGE the old folder may be found aside; then the next writer puts it back. */
static void killed(int rounds, bool exchange)
{
    static const char *const folders[] = { "0", "1", "m" };
    char m[600], found[600];
    snprintf(m, sizeof m, "%s", at("m"));
    unsigned draw = 12345;
    int hit = 0, left = 0, aside = 0;
    double most = 0;
    for (int i = 0; i < rounds; i++) {
        draw = draw * 1664525 + 1013904223;
        writer w = writes(folders[i % 3], "m");
        w.split = i % 4 < 2 ? SPLIT : 0;
        w.call = exchange ? 0 : SYS_renameat2;
        w.err = EINVAL;
        bool whole = i % 20 == 0;                              /* how long it takes; and that it still can end        */
        double start_time = now(), wait = most * 1.1 * (double)(draw >> 8) / (1 << 24);
        pid_t child = start(&w);
        if (!whole) {
            struct timespec t = { 0, (long)(wait * 1e9) };
            nanosleep(&t, NULL);
            kill(child, SIGKILL);
        }
        int rc = end_of(child);
        ck_assert_msg(rc == DONE || (rc < 0 && !whole), "round %d: %d, %s", i, rc, said());
        if (whole)
            most = now() - start_time;
        hit += rc < 0;
        left += named("m.", found) > 0;
        if (!exchange && !im_is_folder(m)) {
            aside++;
            ck_assert_int_eq(named("m.old.", found), 1);
            which(found);
        } else {
            which(m);
        }
    }
    fprintf(stderr, "%d killed of %d, %d left folders, %d the old one aside; %.0f ms a write\n", hit, rounds, left, aside,
            1e3 * most);
    ck_assert_int_gt(hit, rounds / 5);
    ck_assert_int_gt(left, rounds / 20);
    writer last = writes("1", "m");
    ck_assert_int_eq(end_of(start(&last)), DONE);
    ck_assert_int_eq(which(m), 1);
    ck_assert_int_eq(named("m.", found), 0);
}

START_TEST(killed_at_any_instant)
{
    make_models();
    killed(200, true);
}
END_TEST

START_TEST(killed_where_names_cannot_be_exchanged)
{
    make_models();
    writer w = writes("1", "m");
    w.call = SYS_renameat2;
    w.err = EINVAL;
    int rc = end_of(start(&w));
    if (rc == NO_FILTERS) {
        printf("SKIP this system has no filters of system calls\n");
        return;
    }
    ck_assert_msg(rc == DONE, "%s", said());
    ck_assert_int_eq(which(at("m")), 1);
    char found[600];
    ck_assert_int_eq(named("m.", found), 0);
    killed(40, false);
}
END_TEST

/* The instant between the two renames is short: here it lasts. Both are whole, and the next writer puts the old one back
 * even where it then fails. */
START_TEST(a_folder_aside_is_put_back)
{
    make_models();
    char path[600], found[600];
    snprintf(path, sizeof path, "%s", at("m.old.999999999.0"));
    ck_assert_int_eq(rename(at("m"), path), 0);
    ck_assert(!im_sd_convert(c, at("1"), at("m"), -1, 0, false));
    WANT_ERROR("/m: exists already");
    ck_assert_ptr_nonnull(strstr(warnings, "/m: put back"));
    ck_assert_int_eq(which(at("m")), 0);
    ck_assert_int_eq(named("m.", found), 0);
}
END_TEST

/* ---------------------------------------------------------------- failures */

/* A full disk, a limit, a folder that is not to be written in, at the first file and at a later one: the old model is as it
 * was, byte for byte, the new one is nowhere, and the error says so. */
START_TEST(failures_leave_the_old_one)
{
    static const struct { int call, err, arg; unsigned least; const char *says; } cases[] = {
        { SYS_fallocate, ENOSPC, 3, 0, "text_encoder/model.safetensors: cannot write: No space left" },
        { SYS_fallocate, ENOSPC, 3, 600 << 10, "unet/diffusion_pytorch_model.safetensors: cannot write: No space left" },
        { SYS_fallocate, EDQUOT, 3, 600 << 10, "Disk quota" },
        { SYS_fallocate, EFBIG, 3, 600 << 10, "ulimit -f" },
        { SYS_fsync, EIO, 0, 0, "Input/output error" },
        { SYS_renameat2, EXDEV, 0, 0, "cannot be replaced" },
    };
    make_models();
    char found[600], m[600], says[700];
    snprintf(m, sizeof m, "%s", at("m"));
    snprintf(says, sizeof says, "(%s is as it was)", m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        writer w = writes("1", "m");
        w.call = cases[i].call;
        w.err = cases[i].err;
        w.arg = cases[i].arg;
        w.least = cases[i].least;
        int rc = end_of(start(&w));
        if (rc == NO_FILTERS) {
            printf("SKIP this system has no filters of system calls\n");
            return;
        }
        ck_assert_int_eq(rc, FAILED);
        ck_assert_msg(strstr(said(), cases[i].says) && strstr(said(), says), "%s", said());
        ck_assert_msg(!strstr(said(), ".tmp."), "%s", said());
        ck_assert_int_eq(which(m), 0);
        ck_assert_int_eq(named("m.", found), 0);
        snprintf(w.to, sizeof w.to, "%s/new/folder/x", dir);   /* nothing was there: nothing is, with the folders above */
        if (cases[i].err != EXDEV) {
            ck_assert_int_eq(end_of(start(&w)), FAILED);
            ck_assert_msg(strstr(said(), "nothing was left behind"), "%s", said());
            ck_assert(!im_is_folder(at("new")));
        }
    }
}
END_TEST

/* As somebody who may not write there (root is not kept from anything). */
START_TEST(write_protected)
{
    make_models();
    im_folder_out f;
    char found[600];
    pid_t child;
    static const char *const protect[] = { "m", "m/unet", "." };
    static const char *const says[] = { "m: cannot be replaced: Permission denied", "m/unet: cannot be replaced",
                                        "m: stands in a folder that cannot be written" };
    if (!geteuid())
        command("chown -R 65534 '%s'", dir);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(chmod(at(protect[i]), 0555), 0);
        if (!(child = fork())) {
            if (!geteuid() && (setgid(65534) || setuid(65534)))
                _exit(2);
            bool ok = !im_folder_begin(c, &f, at("m"), true) && strstr(im_error(c), says[i]);
            fprintf(stderr, ok ? "" : "%s\n", im_error(c));
            _exit(ok ? 0 : 1);
        }
        ck_assert_int_eq(end_of(child), 0);
        ck_assert_int_eq(chmod(at(protect[i]), 0755), 0);
        ck_assert_int_eq(which(at("m")), 0);
        ck_assert_int_eq(named("m.", found), 0);
    }
}
END_TEST

START_TEST(stopped)
{
    make_models();
    char found[600];
    im_cancel(c);
    ck_assert(!im_sd_convert(c, at("1"), at("m"), -1, 0, true));
    ck_assert_ptr_nonnull(strstr(im_error(c), "stopped ("));
    ck_assert_ptr_nonnull(strstr(im_error(c), "/m is as it was)"));
    im_clear_error(c);
    ck_assert_int_eq(which(at("m")), 0);
    ck_assert_int_eq(named("m.", found), 0);
}
END_TEST

/* ---------------------------------------------------------------- what is there */

/* Files that are no part of the model stay as they are, links as links; those that readers would take for a part of it do
 * not: the tokenizer's, and other forms of the weights that were written. Variants stay, with a warning. */
START_TEST(what_stays_and_what_goes)
{
    static const char *const stay[] = { "mine.txt", "unet/mine.txt", "safety_checker/config.json", ".git/deep/er/x",
                                        "unet/diffusion_pytorch_model.fp16.safetensors",
                                        "vae/diffusion_pytorch_model.bin" };
    static const char *const go[] = { "tokenizer/added_tokens.json", "tokenizer/tokenizer.json",
                                      "unet/diffusion_pytorch_model-00001-of-00009.safetensors",
                                      "vae/diffusion_pytorch_model.safetensors.index.json" };
    make_models();
    ck_assert(im_make_folder(c, at("m/.git/deep/er")) && im_make_folder(c, at("m/safety_checker")) &&
              im_make_folder(c, at("m/empty")));
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        write_in(stay[i], stay[i]);
    for (size_t i = 0; i < sizeof go / sizeof *go; i++)
        write_in(go[i], "old");
    ck_assert_int_eq(symlink("nowhere", at("m/link")), 0);
    ck_assert_int_eq(chmod(at("m/empty"), 0700) | chmod(at("m"), 0750), 0);
    ck_assert_msg(im_sd_convert(c, at("1"), at("m"), -1, 0, true), "%s", im_error(c));
    ck_assert_int_eq(which(at("m")), 1);
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++) {
        size_t n;
        char *text = im_read_file(c, in("m", stay[i]), 100, &n);
        ck_assert_msg(text && !strcmp(text, stay[i]), "%s: %s", stay[i], im_error(c));
        free(text);
    }
    for (size_t i = 0; i < sizeof go / sizeof *go; i++)
        ck_assert_msg(access(in("m", go[i]), F_OK), "%s", go[i]);
    char target[20] = "";
    ck_assert_int_eq(readlink(at("m/link"), target, sizeof target - 1), 7);
    struct stat st;
    ck_assert(!stat(at("m/empty"), &st) && (st.st_mode & 0777) == 0700);
    ck_assert(!stat(at("m"), &st) && (st.st_mode & 0777) == 0750);
    ck_assert_ptr_nonnull(strstr(warnings, "m: keeps "));
    ck_assert_ptr_nonnull(strstr(warnings, " and 1 more files"));
}
END_TEST

/* A file where the model has a folder, and the other way round: refused by name, all as it was. */
START_TEST(in_the_way)
{
    make_models();
    char found[600];
    command("rm -r '%s'", at("m/vae"));
    scratch_write(dir, "m/vae", "mine", 4);
    ck_assert(!im_sd_convert(c, at("1"), at("m"), -1, 0, true));
    WANT_ERROR("m/vae: is in the way of a folder of this name", "m is as it was");
    ck_assert(im_is_file(at("m/vae")));
    ck_assert(!unlink(at("m/vae")));
    ck_assert(im_make_folder(c, at("m/vae/config.json")));
    ck_assert(!im_sd_convert(c, at("1"), at("m"), -1, 0, true));
    WANT_ERROR("m/vae/config.json: is a folder");
    ck_assert(im_is_folder(at("m/vae/config.json")));
    ck_assert_int_eq(named("m.", found), 0);
}
END_TEST

/* A link to a folder stays one; weights that are a link (as in the cache of a hub) are replaced, not what they lead to. */
START_TEST(links)
{
    make_models();
    size_t n;
    ck_assert_int_eq(symlink("m", at("link")), 0);
    ck_assert_int_eq(rename(at("m/unet/config.json"), at("blob")) | symlink("../../blob", at("m/unet/config.json")), 0);
    char *before = im_read_file(c, at("blob"), 1 << 20, &n);
    ck_assert_msg(im_sd_init_weights(c, "tests/golden/models/b", 1, IM_F32, at("link"), true), "%s", im_error(c));
    char target[20] = "";
    ck_assert_int_eq(readlink(at("link"), target, sizeof target - 1), 1);
    char *after = im_read_file(c, at("blob"), 1 << 20, &n);
    char *config = im_read_file(c, at("m/unet/config.json"), 1 << 20, &n);
    ck_assert(before && after && config);
    ck_assert_str_eq(before, after);
    ck_assert_str_ne(before, config);
    free(before);
    free(after);
    free(config);
    ck_assert_int_eq(symlink("nowhere", at("dead")), 0);
    ck_assert(!im_sd_convert(c, at("1"), at("dead"), -1, 0, true));
    WANT_ERROR("dead: is a link that leads nowhere");
}
END_TEST

/* The folder one is in: an empty one is filled and stays the same folder, another one is refused. */
START_TEST(the_present_folder)
{
    make_models();
    char model[600], root[600];
    snprintf(model, sizeof model, "%s", at("1"));
    ck_assert(getcwd(root, sizeof root) && im_make_folder(c, at("empty/sub")));
    ck_assert_int_eq(rmdir(at("empty/sub")) | chdir(at("empty")), 0);
    ck_assert_msg(im_sd_convert(c, model, ".", -1, 0, false), "%s", im_error(c));
    im_checkpoint_close(open_whole("."));
    ck_assert_int_eq(scratch_count("."), 6);
    ck_assert(!im_sd_convert(c, model, ".", -1, 0, true));
    WANT_ERROR("empty: is the folder you are in");
    ck_assert_int_eq(chdir("unet"), 0);
    ck_assert(!im_sd_convert(c, model, at("empty"), -1, 0, true));
    WANT_ERROR("empty: is the folder you are in");
    ck_assert_int_eq(chdir(root), 0);
    im_checkpoint_close(open_whole(at("empty")));
}
END_TEST

/* Folders of dead processes go, that of one that is alive stays; so do other names. */
START_TEST(leftovers)
{
    static const char *const go[] = { "m.tmp.999999999.0", "m.tmp.12.345", "m.old.999999999.0" };
    static const char *const stay[] = { "m.tmp.1.2.3", "m.tmp.x.1", "n.tmp.999999999.0", "m.tmp.999999999.7" };
    make_models();
    for (size_t i = 0; i < 3; i++)
        ck_assert(im_make_folder(c, in(go[i], "unet")));
    for (size_t i = 0; i < 4; i++)
        ck_assert(im_make_folder(c, at(stay[i])));
    scratch_write(dir, "m.tmp.5.5", "a file", 6);
    int alive = open(at(stay[3]), O_RDONLY | O_DIRECTORY);
    ck_assert(alive >= 0 && !flock(alive, LOCK_EX));
    ck_assert_msg(im_sd_convert(c, at("1"), at("m"), -1, 0, true), "%s", im_error(c));
    for (size_t i = 0; i < 3; i++)
        ck_assert_msg(!im_is_folder(at(go[i])), "%s", go[i]);
    for (size_t i = 0; i < 4; i++)
        ck_assert_msg(im_is_folder(at(stay[i])), "%s", stay[i]);
    ck_assert(im_is_file(at("m.tmp.5.5")));
    close(alive);
    ck_assert_int_eq(which(at("m")), 1);
}
END_TEST

/* The same of a single file. */
START_TEST(leftover_files)
{
    static const char *const stay[] = { "m.safetensors.tmp.1.2.3", "n.safetensors.tmp.999999999.0",
                                        "m.safetensors.tmp.999999999.7" };
    for (size_t i = 0; i < 3; i++)
        scratch_write(dir, stay[i], "x", 1);
    scratch_write(dir, "m.safetensors.tmp.999999999.0", "x", 1);
    ck_assert(im_make_folder(c, at("m.safetensors.tmp.5.5")));
    int alive = open(at(stay[2]), O_RDONLY);
    ck_assert(alive >= 0 && !flock(alive, LOCK_EX));
    ck_assert_msg(im_sd_convert(c, MODEL_A, at("m.safetensors"), -1, 0, false), "%s", im_error(c));
    ck_assert(!im_is_file(at("m.safetensors.tmp.999999999.0")) && im_is_folder(at("m.safetensors.tmp.5.5")));
    for (size_t i = 0; i < 3; i++)
        ck_assert_msg(im_is_file(at(stay[i])), "%s", stay[i]);
    close(alive);
}
END_TEST

int main(void)
{
    if (!access("/dev/shm", W_OK))                             /* every file is synced, which a disk takes long for   */
        setenv("TMPDIR", "/dev/shm", 0);
    const suite_test tests[] = {
        ONCE(killed_at_any_instant), ONCE(killed_where_names_cannot_be_exchanged), ONCE(a_folder_aside_is_put_back),
        ONCE(failures_leave_the_old_one), ONCE(write_protected), ONCE(stopped), ONCE(what_stays_and_what_goes),
        ONCE(in_the_way), ONCE(links), ONCE(the_present_folder), ONCE(leftovers), ONCE(leftover_files)
    };
    return suite_run("folders", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
