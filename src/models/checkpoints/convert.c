/* convert.c: a checkpoint from a diffusers folder to a single file of the original layout and back, and from one dtype
 * to another, a tensor at a time: never more than the largest one is in memory. A network of a folder may be dealt to
 * several files (part_out.h). diffusers loads the results, but for folders in int8 (int8_file.h): those are ours. */
#include "models/checkpoints/checkpoint.h"
#include "models/checkpoints/checkpoint_names.h"
#include "models/checkpoints/int8_file.h"
#include "models/checkpoints/model_files.h"
#include "models/checkpoints/part_out.h"
#include "data/files/file.h"
#include "data/files/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the tensors of one output file */

typedef enum { AS_VALUES, AS_INTEGERS, AS_SCALES, AS_MULTIPLIERS } as;         /* what of it is written (int8_file.h)  */

typedef struct source {
    const im_st_entry *e;
    im_int8_parts has;                   /* of integers                                                               */
    as what;
    const float *by;                     /* of values that become integers: multipliers that are wanted, or NULL      */
} source;

typedef struct tensors {                 /* those of one part, or of all for a single file                            */
    source *in;
    im_st_entry *out;
    im_part *part;
    char (*names)[IM_NAME_BYTES];
    const im_multipliers *by;            /* that are wanted; NULL: none                                               */
    int n;
    int64_t largest;                     /* values of the largest one that is converted                               */
} tensors;

static void tensors_free(tensors *t)
{
    free(t->in);
    free(t->out);
    free(t->part);
    free(t->names);
}

static bool tensors_new(im_ctx *c, tensors *t, int n)
{
    *t = (tensors){ 0 };
    size_t room = (size_t)n + 1;
    t->in = calloc(room, sizeof *t->in);
    t->out = calloc(room, sizeof *t->out);
    t->part = calloc(room, sizeof *t->part);
    t->names = calloc(room, sizeof *t->names);
    return (t->in && t->out && t->part && t->names) || im_fail(c, "out of memory for the names of %d tensors", n);
}

/* Name and shape: linear layers are matrices; the attention of the original VAE has 1x1 convolutions in their place.
 * dtype -1: that of the file, which may be one that im_dtype does not know. */
static void set_entry(im_part part, const im_param *p, bool original, int dtype, const im_st_entry *in, im_st_entry *e)
{
    im_part_entry(p, (im_dtype)dtype, e);
    if (dtype < 0) {
        e->dtype = in->dtype;
        memcpy(e->dtype_name, in->dtype_name, sizeof e->dtype_name);
    }
    if (original && part == IM_PART_VAE && p->kind == IM_PARAM_LINEAR) {
        e->ndim = 4;
        e->shape[2] = e->shape[3] = 1;
    }
}

static void add(tensors *t, im_part part, source in)
{
    if (in.what != AS_VALUES || in.has.scale || t->out[t->n].dtype != in.e->dtype)
        t->largest = im_st_numel(in.e) > t->largest ? im_st_numel(in.e) : t->largest;
    t->part[t->n] = part;
    t->in[t->n++] = in;
}

/* NAME_TAIL in f32, one number a row or an input channel. */
static void add_beside(tensors *t, im_part part, const im_param *p, source in, const char *tail, int64_t n)
{
    char *name = t->names[t->n];
    snprintf(name, IM_NAME_BYTES, "%s_%s", p->t->name, tail);
    t->out[t->n] = (im_st_entry){ .name = name, .dtype = IM_F32, .ndim = 1, .shape = { n } };
    add(t, part, in);
}

/* NAME in I8, NAME_scale and, of some, NAME_multiplier. */
static void add_int8(tensors *t, im_part part, const im_param *p, source in)
{
    im_st_entry *out = &t->out[t->n];
    im_part_entry(p, IM_F32, out);
    out->dtype = -1;
    strcpy(out->dtype_name, "I8");
    if (!in.has.scale)
        in.by = im_multipliers_find(t->by, p->t->name);
    in.what = AS_INTEGERS;
    add(t, part, in);
    in.what = AS_SCALES;
    add_beside(t, part, p, in, "scale", p->t->shape[0]);
    in.what = AS_MULTIPLIERS;
    if (in.by || in.has.multiplier)
        add_beside(t, part, p, in, "multiplier", in.e->shape[1]);
}

/* Adds the tensors of a part; original: under the names and shapes of a single file. dtype -1: each keeps its own;
 * int8: of those that cannot be it, too. */
static bool add_part(im_ctx *c, tensors *t, im_checkpoint *k, im_part part, bool original, int dtype)
{
    bool tiny = im_checkpoint_config(k)->vae.tiny.levels > 0;
    for (int i = 0; i < im_checkpoint_count(k, part); i++) {
        const im_param *p;
        const im_st_entry *in = im_checkpoint_at(k, part, i, &p);
        source s = { .e = in, .has = im_checkpoint_int8(k, part, in), .what = AS_VALUES };
        im_st_entry *out = &t->out[t->n];
        if ((dtype == IM_INT8 && part == IM_PART_UNET && im_param_takes_int8(p)) || (dtype < 0 && s.has.scale)) {
            add_int8(t, part, p, s);
            continue;
        }
        set_entry(part, p, original, dtype == IM_INT8 ? -1 : dtype, in, out);
        if (original && !im_original_name(im_checkpoint_config(k), part, out->name, t->names[t->n]))
            return im_fail(c, "%s: %s%s has no place in the original layout; write a folder (-o NAME without "
                           ".safetensors)", im_checkpoint_path(k),
                           tiny && part == IM_PART_VAE ? "its VAE is an AutoencoderTiny, whose " : "", out->name);
        if (original)
            out->name = t->names[t->n];
        add(t, part, s);
    }
    return true;
}

typedef struct bytes { const void *data; size_t n; } bytes;

/* What is written of integers that were read. */
static bytes of_integers(im_ctx *c, const source *s, im_dtype out, float *values, void *room)
{
    const im_st_entry *const parts[] = { [AS_INTEGERS] = s->e, [AS_SCALES] = s->has.scale,
                                         [AS_MULTIPLIERS] = s->has.multiplier };
    if (s->what != AS_VALUES)
        return (bytes){ parts[s->what]->data, parts[s->what]->bytes };
    int64_t n = im_st_numel(s->e);
    im_st_floats(c, s->e, s->has, values);
    im_st_from_f32(values, n, out, room);
    return (bytes){ room, (size_t)n * im_dtype_size(out) };
}

/* What is written of values that become integers. values: room for the largest. */
static bytes to_integers(im_ctx *c, const source *s, float *values, void *room)
{
    const im_st_entry *e = s->e;
    int64_t n = im_st_numel(e), rows = e->shape[0], cin = e->shape[1];
    if (s->what == AS_MULTIPLIERS)
        return (bytes){ s->by, (size_t)cin * sizeof *s->by };
    im_st_cast(c, e, IM_F32, values);
    im_st_finite_stay(c, e, IM_F32, values);
    if (s->by)
        im_multipliers_divide(s->by, rows, cin, n / rows / cin, values);
    im_round_int8(c, values, rows, n / rows, s->what == AS_INTEGERS ? room : NULL, s->what == AS_SCALES ? room : NULL);
    return (bytes){ room, s->what == AS_INTEGERS ? (size_t)n : (size_t)rows * sizeof(float) };
}

/* out -1: kept as it is. */
static bytes bytes_of(im_ctx *c, const source *s, int out, float *values, void *room)
{
    if (s->has.scale)
        return of_integers(c, s, (im_dtype)out, values, room);
    if (s->what != AS_VALUES)
        return to_integers(c, s, values, room);
    if (out == s->e->dtype)
        return (bytes){ s->e->data, s->e->bytes };
    im_st_cast(c, s->e, (im_dtype)out, room);
    im_st_finite_stay(c, s->e, (im_dtype)out, room);
    return (bytes){ room, (size_t)im_st_numel(s->e) * im_dtype_size((im_dtype)out) };
}

/* Tensors [first, end) to one file. */
static bool put_all(im_ctx *c, const tensors *t, int first, int end, const im_checkpoint *k, im_st_writer *w, float *buffer)
{
    for (int i = first; i < end; i++) {
        if (im_cancelled(c))
            return im_fail(c, "stopped");
        bytes b = bytes_of(c, &t->in[i], t->out[i].dtype, buffer, buffer + t->largest);
        bool ok = im_ok(c) && im_st_put(c, w, i - first, b.data, b.n);
        im_checkpoint_release(k, t->part[i], t->in[i].e);
        if (!ok)
            return false;
    }
    return im_ok(c);
}

static bool write_tensors(im_ctx *c, const tensors *t, int first, int end, const im_checkpoint *k, const char *path,
                          const char *const metadata[], int n_metadata)
{
    float *buffer = malloc(2 * (size_t)t->largest * sizeof *buffer + 1);
    if (!buffer)
        return im_fail(c, "%s: out of memory", path);
    im_st_writer *w = im_st_create(c, path, t->out + first, end - first, metadata, n_metadata);
    bool ok = w && put_all(c, t, first, end, k, w, buffer);
    if (ok)
        ok = im_st_finish(c, w);
    else
        im_st_abandon(w);
    free(buffer);
    return ok;
}

/* ---------------------------------------------------------------- layouts */

typedef struct form { int dtype; uint64_t max_file; bool force; const im_multipliers *by; } form;

/* One file of a network in a folder. */
static bool write_file(im_folder_out *f, const tensors *t, int first, int end, const im_checkpoint *k, const char *name)
{
    static const char *const metadata[] = { "format", "pt" };
    char *path = name ? im_folder_file(f, name) : NULL;
    bool ok = path && write_tensors(f->c, t, first, end, k, path, metadata, 1);
    free(path);
    return ok;
}

static bool write_shards(im_folder_out *f, const tensors *t, const im_checkpoint *k, im_part part, const int *ends,
                         int count)
{
    bool ok = true;
    for (int i = 0; ok && i < count; i++) {
        char *name = im_part_shard(f->c, part, i, count);
        ok = write_file(f, t, i ? ends[i - 1] : 0, ends[i], k, name);
        free(name);
    }
    return ok && im_part_write_index(f, part, t->out, ends, count);
}

static bool write_part(im_folder_out *f, im_checkpoint *k, im_part part, const form *how)
{
    tensors t = { 0 };
    int n = 3 * im_checkpoint_count(k, part), count = 1;       /* integers have scales and multipliers                */
    int *ends = calloc((size_t)n + 1, sizeof *ends);
    bool ok = ends ? tensors_new(f->c, &t, n) : im_fail(f->c, "out of memory for the names of %d tensors", n);
    t.by = how->by;
    ok = ok && add_part(f->c, &t, k, part, false, how->dtype);
    if (ok && how->max_file)
        count = im_part_split(f->c, im_part_file(part), t.out, t.n, how->max_file, ends);
    ok = ok && count && (count > 1 ? write_shards(f, &t, k, part, ends, count)
                                   : write_file(f, &t, 0, t.n, k, im_part_file(part)));
    tensors_free(&t);
    free(ends);
    return ok;
}

static bool to_folder(im_ctx *c, im_checkpoint *k, const im_model_files *files, const char *out, const form *how)
{
    im_folder_out f;
    if (!im_folder_begin(c, &f, out, how->force))
        return false;
    bool ok = true;
    for (int p = 0; ok && p < IM_PART_COUNT; p++)
        ok = write_part(&f, k, (im_part)p, how);
    ok = ok && im_model_files_write(files, &f);
    return im_folder_end(&f) && ok;
}

static bool to_single(im_ctx *c, im_checkpoint *k, const im_model_files *files, const char *out, int dtype, bool force)
{
    const char *metadata[2 * IM_MODEL_FILES + 2] = { "format", "pt" };
    int n = im_model_files_pairs(c, files, metadata + 2), count = 0;
    if (n < 0 || !im_may_write(c, out, force))
        return false;
    for (int p = 0; p < IM_PART_COUNT; p++)
        count += im_checkpoint_count(k, (im_part)p);
    tensors t;
    bool ok = tensors_new(c, &t, count);
    for (int p = 0; ok && p < IM_PART_COUNT; p++)
        ok = add_part(c, &t, k, (im_part)p, true, dtype);
    ok = ok && write_tensors(c, &t, 0, t.n, k, out, metadata, n + 1);
    tensors_free(&t);
    return ok;
}

/* int8 has its own form, which no single file has. What was rounded once stays rounded. */
static bool int8_may(im_ctx *c, const im_checkpoint *k, bool single, int dtype, const char *out)
{
    bool from = im_checkpoint_is_int8(k), to = dtype == IM_INT8 || (from && dtype < 0);
    if (single && to)
        return im_fail(c, "%s: weights in int8 are written into a folder; name one, or write a single file with --dtype "
                       "f16", out);
    if (from && !to)
        im_warn(c, "%s: its weights are int8; as %s they have the same values, not those that they were rounded from",
                im_checkpoint_path(k), im_dtype_name((im_dtype)dtype));
    return true;
}

/* What lies in the folder that is read is not written over: a whole model would take the place of a part of it. */
static bool apart(im_ctx *c, const char *in, const char *out)
{
    char *from = realpath(in, NULL), *to = realpath(out, NULL);                    /* to NULL: nothing is there yet   */
    size_t n = from ? strlen(from) : 0;
    bool within = from && to && !strncmp(from, to, n) && to[n] == '/';
    free(from);
    free(to);
    return !within || im_fail(c, "%s: is a part of %s, which is read; name another place", out, in);
}

static bool convert(im_ctx *c, const char *in, const char *out, const form *how)
{
    size_t n = strlen(out), tail = strlen(".safetensors");
    bool single = n > tail && !strcmp(out + n - tail, ".safetensors");
    if (how->dtype != IM_INT8 && !im_st_writes(c, how->dtype))
        return false;
    if (single && how->max_file)
        return im_fail(c, "%s: a single file cannot be split; --max-file is for a folder", out);
    if (!apart(c, in, out))
        return false;
    im_checkpoint *k = im_checkpoint_open(c, in);
    im_model_files files = { 0 };
    bool ok = k && im_checkpoint_check(k) && int8_may(c, k, single, how->dtype, out) &&
              (im_checkpoint_folder(k) ? im_model_files_folder(c, &files, in)
                                       : im_model_files_metadata(c, &files, im_checkpoint_file(k, IM_PART_UNET), in));
    ok = ok && (how->dtype < 0 || how->dtype == IM_INT8 || im_model_files_as_f32(c, &files));
    ok = ok && (single ? to_single(c, k, &files, out, how->dtype, how->force) : to_folder(c, k, &files, out, how));
    im_model_files_free(&files);
    im_checkpoint_close(k);
    return ok;
}

bool im_sd_convert(im_ctx *c, const char *in, const char *out, int dtype, uint64_t max_file, bool force)
{
    return convert(c, in, out, &(form){ .dtype = dtype, .max_file = max_file, .force = force });
}

bool im_sd_convert_int8(im_ctx *c, const char *in, const char *out, const im_multipliers *m, uint64_t max_file, bool force)
{
    return convert(c, in, out, &(form){ .dtype = IM_INT8, .max_file = max_file, .force = force, .by = m });
}
