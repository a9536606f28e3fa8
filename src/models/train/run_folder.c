/* run_folder.c: the files of a run (run_folder.h): lock, log, names of checkpoints. Used by train_loop.c, train_state.c. */
#include "models/train/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/files/beside.h"
#include "data/files/file.h"
#include "data/files/json.h"
#include "models/checkpoints/folder_out.h"

/* Folders of the run that files are written to; the model has one more level, model/unet. Whole: folder_out.h writes it. */
static const struct { const char *name; bool deep, whole; } folders[] = {
    { IM_RUN_CHECKPOINTS, false, false }, { "model", true, true }, { "vae", false, true }, { "cache", false, false },
    { "samples", false, false }
};
enum { FOLDERS = sizeof folders / sizeof *folders };

/* A link leads to where another run may be writing: the lock is not about that place. */
static bool is_folder_itself(const char *path)
{
    struct stat st;
    return !lstat(path, &st) && S_ISDIR(st.st_mode);
}

/* "log.jsonl.tmp.1234.0": what file.c was writing when the process was killed. The lock says that nobody writes now. */
static void remove_temps(im_ctx *c, const char *folder, bool deep)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)); ) {
        char *path = e->d_name[0] != '.' ? im_join(c, folder, e->d_name) : NULL;
        if (path && im_is_temp(e->d_name))
            unlink(path);
        else if (path && deep && is_folder_itself(path))
            remove_temps(c, path, false);
        free(path);
    }
    if (d)
        closedir(d);
}

/* Only where a run writes, as its folder may be one that holds other things of the user's too (-o .). */
static void remove_leftovers(const im_run_folder *r)
{
    char *best = im_run_file(r, IM_RUN_BEST_TEMP);
    if (best)
        unlink(best);
    free(best);
    remove_temps(r->c, r->path, false);
    for (int i = 0; i < FOLDERS; i++) {
        char *path = im_run_file(r, folders[i].name);
        if (path && is_folder_itself(path))
            remove_temps(r->c, path, folders[i].deep);
        if (path && folders[i].whole)
            im_folder_clean(r->c, path);
        free(path);
    }
}

/* A new run beside the checkpoints of an old one would, resumed, go on from whichever is of the later step. */
static bool no_old_checkpoints(const im_run_folder *r, const char *folder)
{
    int n;
    int64_t *steps = im_run_begun(r->c, r->path) ? NULL : im_run_checkpoints(r->c, r->path, &n);
    if (steps)
        im_fail(r->c, "%s: has checkpoints, the newest of step %lld, but no config.json that says of which run; wanted a "
                "folder without any for a new run: choose another one, or remove %s", r->path, (long long)steps[0],
                folder);
    free(steps);
    return im_ok(r->c);
}

/* What a run writes whatever is there: another one's, or somebody's own. A new run does not begin over it. */
static bool nothing_there(const im_run_folder *r)
{
    static const char *const written[] = { "log.jsonl", "model.safetensors", "model", "vae", "curves.svg", "curves.png",
                                           "broken.txt", "samples", "pytorch_lora_weights.safetensors" };
    bool begun = im_run_begun(r->c, r->path), ok = im_ok(r->c);
    for (size_t i = 0; ok && !begun && i < sizeof written / sizeof *written; i++) {
        char *path = im_run_file(r, written[i]);
        if (path && !access(path, F_OK))
            im_fail(r->c, "%s: is there already, but no config.json that says of which run; a new run would write over it: "
                    "choose another folder, or move it away", path);
        free(path);
        ok = im_ok(r->c);
    }
    return ok;
}

bool im_run_open(im_ctx *c, im_run_folder *r, const char *path)
{
    *r = (im_run_folder){ .c = c, .lock = -1, .log = -1 };
    if (!im_ok(c))
        return false;
    if (!*path)
        return im_fail(c, "the name of the run's folder is empty; wanted a folder, which is made where there is none: "
                       "-o RUN");
    if (!(r->path = im_copy_text(c, path, strlen(path))))
        return false;
    char *folder = im_run_file(r, IM_RUN_CHECKPOINTS);
    r->log_path = im_run_file(r, "log.jsonl");
    bool ok = folder && r->log_path && im_make_folder(c, folder);
    if (ok && (r->lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        ok = im_fail(c, "%s: %s; wanted a folder for the run", path, strerror(errno));
    if (ok && flock(r->lock, LOCK_EX | LOCK_NB))
        ok = errno == EWOULDBLOCK ? im_fail(c, "%s: another process is training in this folder; wait for it, or choose "
                                            "another one", path)
                                  : true;                      /* a file system without locks: go on without          */
    ok = ok && no_old_checkpoints(r, folder) && nothing_there(r);
    if (ok)
        remove_leftovers(r);
    free(folder);
    return ok;
}

bool im_run_open_idle(im_ctx *c, im_run_folder *r, const char *path)
{
    *r = (im_run_folder){ .c = c, .lock = -1, .log = -1, .idle = true };
    return im_ok(c) && (r->path = im_copy_text(c, path, strlen(path)));
}

void im_run_close(im_run_folder *r)
{
    if (r->log >= 0)
        close(r->log);
    if (r->lock >= 0)
        close(r->lock);
    free(r->waiting);
    free(r->log_path);
    free(r->path);
    *r = (im_run_folder){ .c = r->c, .lock = -1, .log = -1 };
}

char *im_run_file(const im_run_folder *r, const char *name)
{
    return im_join(r->c, r->path, name);
}

bool im_run_write(const im_run_folder *r, const char *name, const char *text)
{
    char *path = im_run_file(r, name);
    bool ok = path && im_write_file(r->c, path, text, strlen(text), true);
    free(path);
    return ok;
}

/* ---------------------------------------------------------------- the log */

enum { LOG_MAX = 1 << 30 };

/* The step of a line, or 0: it is none of a log. Ours begin {"step": N; no sscanf, which looks for the end of the text at
 * every line. */
static int64_t step_of(const im_run_folder *r, const char *line, size_t bytes)
{
    static const char begin[] = "{\"step\":";
    const size_t n = sizeof begin - 1;
    char *after = NULL;
    int64_t step = 0;
    im_json j;
    if (bytes > n && !memcmp(line, begin, n) && line[bytes - 1] == '}' && !memchr(line + 1, '{', bytes - 1)) {
        long long x = strtoll(line + n, &after, 10);           /* the newline was not passed over as a blank          */
        if (after > line + n && after < line + bytes && *after == ',' && x > 0 && x < INT64_MAX)
            return x;
    }
    if (im_json_parse(r->c, &j, r->log_path, line, bytes))     /* somebody else's spelling                            */
        im_json_long(r->c, &j, "step", IM_MUST, 1, INT64_MAX, &step);
    im_json_close(&j);
    im_clear_error(r->c);
    return step;
}

typedef struct log_lines { size_t kept; int strange; int64_t last; } log_lines;

/* Whole lines of steps up to `steps` to out (as much room as text; steps 0: none needed); a last line without an end is cut
 * off. */
static log_lines keep_lines(const im_run_folder *r, const char *text, size_t bytes, int64_t steps, char *out)
{
    log_lines l = { 0 };
    const char *end;
    for (const char *line = text; (end = memchr(line, '\n', (size_t)(text + bytes - line))); line = end + 1) {
        size_t n = (size_t)(end - line);
        int64_t step = n ? step_of(r, line, n) : 0;
        l.strange += n && !step;
        l.last = step > l.last ? step : l.last;
        if (step < 1 || step > steps)
            continue;
        memcpy(out + l.kept, line, n + 1);
        l.kept += n + 1;
    }
    return l;
}

/* Writes the lines that stay; a copy of the whole stays beside them where some are not understood. */
static bool cut_log(const im_run_folder *r, const char *text, size_t bytes, int64_t steps)
{
    im_ctx *c = r->c;
    char *out = malloc(bytes + 1), *aside = im_run_file(r, "log.jsonl.damaged");
    bool ok = out ? aside != NULL : im_fail(c, "%s: out of memory for its %zu bytes", r->log_path, bytes);
    log_lines l = ok ? keep_lines(r, text, bytes, steps, out) : (log_lines){ 0 };
    if (ok && l.strange && (ok = im_write_file(c, aside, text, bytes, true)))
        im_warn(c, "%s: %d of its lines are not an object with a step and are left out; %s is what it was", r->log_path,
                l.strange, aside);
    ok = ok && (l.kept == bytes || im_write_file(c, r->log_path, out, l.kept, true));
    free(aside);
    free(out);
    return ok;
}

int64_t im_run_log_last(const im_run_folder *r)
{
    size_t bytes = 0;
    char *text = im_is_file(r->log_path) ? im_read_file(r->c, r->log_path, LOG_MAX, &bytes) : NULL;
    int64_t last = text ? keep_lines(r, text, bytes, 0, NULL).last : 0;
    free(text);
    return last;
}

bool im_run_log_open(im_run_folder *r, int64_t steps)
{
    im_ctx *c = r->c;
    size_t bytes = 0;
    if (im_is_file(r->log_path)) {
        char *text = im_read_file(c, r->log_path, LOG_MAX, &bytes);
        bool ok = text && cut_log(r, text, bytes, steps);
        free(text);
        if (!ok)
            return false;
    }
    r->log = open(r->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return r->log >= 0 || im_fail(c, "%s: %s; wanted a file to append to", r->log_path, strerror(errno));
}

/* Writes as much as the disk takes. A line may be cut there; its rest follows with the next try. */
static bool flush(im_run_folder *r)
{
    size_t done = 0;
    while (done < r->n_waiting) {
        ssize_t n = write(r->log, r->waiting + done, r->n_waiting - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    memmove(r->waiting, r->waiting + done, r->n_waiting - done);
    r->n_waiting -= done;
    return !r->n_waiting;
}

void im_run_log(im_run_folder *r, const char *line)
{
    size_t n = strlen(line), need = r->n_waiting + n + 1;
    if (need > r->cap_waiting) {
        char *grown = realloc(r->waiting, 2 * need);
        if (!grown) {
            im_fail(r->c, "%s: out of memory for a line", r->log_path);
            return;
        }
        r->waiting = grown;
        r->cap_waiting = 2 * need;
    }
    memcpy(r->waiting + r->n_waiting, line, n);
    r->waiting[need - 1] = '\n';
    r->n_waiting = need;
    if (!flush(r) && !r->warned) {
        im_warn(r->c, "%s: %s; lines wait in memory until the disk takes them", r->log_path, strerror(errno));
        r->warned = true;
    } else if (!r->n_waiting) {
        r->warned = false;
    }
}
