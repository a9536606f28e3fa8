/* train_pictures.c: see train_pictures.h. */
#include "models/train/train_pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/stream.h"
#include "models/train/step_parts.h"
#include "models/train/train_config.h"
#include "models/train/train_loop.h"

/* ---------------------------------------------------------------- batches */

static bool listed(const im_pictures *p)
{
    return !strcmp(p->order, "listed");
}

bool im_pictures_check(const im_pictures *p)
{
    if (im_pictures_batches(p) < 1)
        return im_fail(p->c, "%s: holds %lld pictures and a batch has %d: no batch is whole; lower --batch", p->data->path,
                       (long long)p->data->count, p->batch);
    return true;
}

int64_t im_pictures_batches(const im_pictures *p)
{
    return listed(p) ? (p->data->count + p->batch - 1) / p->batch : p->data->count / p->batch;
}

im_loader *im_cached_loader(im_ctx *c, im_loader_args a, const char *cache, const char *out)
{
    a.cache = !strcmp(cache, "ram") ? IM_CACHE_RAM : !strcmp(cache, "disk") ? IM_CACHE_DISK : IM_CACHE_NONE;
    char *folder = a.cache == IM_CACHE_DISK ? im_join(c, out, "cache") : NULL;
    a.cache_folder = folder;
    im_loader *l = im_loader_open(c, &a);
    free(folder);
    return l;
}

bool im_pictures_open(im_pictures *p, int64_t first)
{
    im_recipe r;
    int64_t batches = im_pictures_batches(p);
    if (!im_recipe_named(p->c, "none", p->size, &r))
        return false;
    r.resize = p->size;
    im_loader_args a = { .data = p->data, .recipe = &r, .batch = p->batch, .seed = p->seed, .shuffled = !listed(p),
                         .sums = p->sums, .drop_last = !listed(p), .strict = p->strict, .exact = true, .bytes = true,
                         .threads = p->workers, .run = p->run, .every = p->every,
                         .first_epoch = first / batches, .first_step = first % batches };
    im_loader_close(p->loader);
    p->loader = im_cached_loader(p->c, a, p->cache, p->out);
    p->now = NULL;
    p->at = -1;
    return p->loader != NULL;
}

const im_batch *im_pictures_batch(im_pictures *p, int64_t number)
{
    if (!p->now || number != p->at) {
        p->now = im_loader_next(p->c, p->loader);
        p->at = number;
    }
    return p->now;
}

void im_pictures_close(im_pictures *p)
{
    im_loader_close(p->loader);
    p->loader = NULL;
}

void im_write_broken(im_loader *l, const im_run_folder *run)
{
    char *path = l && !run->idle && im_ok(run->c) ? im_run_file(run, "broken.txt") : NULL;
    if (path && !im_loader_write_broken(run->c, l, path)) {
        im_warn(run->c, "%s", im_error(run->c));
        im_clear_error(run->c);
    }
    free(path);
}

bool im_normal_fill(im_ctx *c, uint64_t seed, uint64_t number, uint64_t item, float *out, int64_t n)
{
    im_stream s;
    im_stream_open(&s, seed, IM_STREAM_NOISE, number, item);
    uint64_t own = (uint64_t)im_stream_bits(&s) << 32;
    own |= im_stream_bits(&s);
    im_rng *r = im_rng_new(c, IM_RNG_CUDA, own);
    if (r)
        im_randn(r, out, (size_t)n);
    im_rng_free(r);
    return r != NULL;
}

/* ---------------------------------------------------------------- checks */

bool im_train_join(im_ctx *c, im_train_common *a, im_ranks *r, const im_train_hooks *hooks, im_train_hooks *own)
{
    *own = hooks ? *hooks : (im_train_hooks){ .arg = NULL };
    if (!im_ranks_join(c, r))
        return false;
    if (r->rank)
        *own = (im_train_hooks){ .arg = own->arg, .stop = own->stop };
    if (a->accumulate == 1 && !(a->resume && a->out && im_run_begun(c, a->out)))
        a->accumulate = r->size;
    return im_step_parts_check(c, a->accumulate, r->size);
}

bool im_train_open_run(const im_ranks *r, im_run_folder *run, const char *path)
{
    return r->rank ? im_run_open_idle(r->c, run, path) : im_run_open(r->c, run, path);
}

bool im_train_begin(im_ctx *c, const im_field *const tables[], im_train_common *a, double lr, bool *begun)
{
    if (!im_ok(c))
        return false;
    if (!a->out)
        return im_fail(c, "a run needs a folder: -o RUN");
    if (!a->data)
        return im_fail(c, "there are no pictures to train on: --data DIR");
    if (!im_fields_check(c, tables, a))
        return false;
    *begun = im_run_begun(c, a->out);
    if (*begun && !a->resume)
        return im_fail(c, "%s: there is a run in this folder already; go on with it (--resume), or choose another folder",
                       a->out);
    return im_loop_settle(c, a, lr);
}

/* Another number of steps than config.json has. The warm-up of a run that goes on is what it was: a tenth of the steps
 * that were meant then. */
static bool other_length(im_ctx *c, im_train_common *a, int64_t parts_an_epoch)
{
    im_train_common was = *a;
    if (!im_config_length(c, a->out, &was))
        return false;
    int64_t before = im_loop_steps(&was, parts_an_epoch), now = im_loop_steps(a, parts_an_epoch);
    if (before == now)
        return true;
    if (!im_config_may_grow(a))
        return im_fail(c, "%s: this is another run: it has %lld steps, and %lld are asked for; with a cosine every rate "
                       "depends on the number of steps", a->out, (long long)before, (long long)now);
    if (a->warmup < 0)
        a->warmup = (float)((double)(before / IM_WARMUP_SHARE) * a->accumulate / (double)parts_an_epoch);
    return true;
}

/* Is `text` what rank 0 has? */
static bool same_as_first(im_ranks *r, const im_field *const tables[], const char *text)
{
    im_ctx *c = r->c;
    char other[1600] = "", complaint[1800] = "";
    int64_t bytes = (int64_t)strlen(text) + 1;
    if (!im_ranks_same_program(r) || !im_ranks_tell(r, &bytes, sizeof bytes))
        return false;
    char *first = calloc((size_t)bytes, 1);
    bool ok = first || im_fail(c, "out of memory for the options of rank 0");
    if (ok && !r->rank)
        memcpy(first, text, (size_t)bytes);
    ok = ok && im_ranks_tell(r, first, (size_t)bytes) &&
         im_config_differences(c, tables, first, text, "options of a rank", other, sizeof other);
    if (ok && *other)
        snprintf(complaint, sizeof complaint, "does not train what rank 0 trains: %s; wanted the same options and the same "
                 "data on all ranks", other);
    free(first);
    return ok && im_ranks_agree(r, complaint);
}

char *im_train_config_text(im_ranks *r, const im_field *const tables[], im_train_common *a, const im_config_extra *extra,
                           bool begun, int64_t parts_an_epoch)
{
    im_ctx *c = r->c;
    if (begun && (!im_config_same_data(c, a->out, extra) || !other_length(c, a, parts_an_epoch)))
        return NULL;
    char *text = im_config_text(c, tables, a, extra);
    if (!text || r->size == 1 || same_as_first(r, tables, text))
        return text;
    free(text);
    return NULL;
}
