/* check.c: runs the problems of check.h on the device and on ref, and compares.
 *
 * When: a device is checked when it is opened, unless the same build has checked the same device under the same driver
 * before (check_kept.c). Why at all: nobody who builds this may have had a device like it; a kernel that was never run on
 * it must not give wrong pictures in silence. A kernel on tensor cores that disagrees is reported and its plain form
 * used from then on; where a plain form disagrees, the device is refused.
 *
 * error of a result: the largest |found - wanted| / (|wanted| + rms of all wanted). Limits: f32: 1e-4, hundreds of times
 * the rounding of the longest sum here, and a thousandth of what a wrong index makes; 16 bits: four roundings of one
 * number. Whole numbers have to be equal. */
#include "cuda/check.h"
#include "tensor/half.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- numbers */

static const size_t size_of[] = { [IM_PROBE_F32] = 4, [IM_PROBE_F16] = 2, [IM_PROBE_BF16] = 2, [IM_PROBE_F64] = 8,
                                  [IM_PROBE_I32] = 4, [IM_PROBE_I64] = 8, [IM_PROBE_U16] = 2 };

static im_probe_kind kind_of(im_dtype t)
{
    return t == IM_F16 ? IM_PROBE_F16 : t == IM_BF16 ? IM_PROBE_BF16 : IM_PROBE_F32;
}

static void set(void *to, int64_t i, im_probe_kind kind, double x)
{
    switch (kind) {
    case IM_PROBE_F32:  ((float *)to)[i] = (float)x; break;
    case IM_PROBE_F16:  ((uint16_t *)to)[i] = im_half_from_f32((float)x); break;
    case IM_PROBE_BF16: ((uint16_t *)to)[i] = im_bhalf_from_f32((float)x); break;
    case IM_PROBE_F64:  ((double *)to)[i] = x; break;
    case IM_PROBE_I32:  ((int32_t *)to)[i] = (int32_t)x; break;
    case IM_PROBE_I64:  ((int64_t *)to)[i] = (int64_t)x; break;
    case IM_PROBE_U16:  ((uint16_t *)to)[i] = (uint16_t)x; break;
    }
}

static double get(const void *from, int64_t i, im_probe_kind kind)
{
    switch (kind) {
    case IM_PROBE_F32:  return ((const float *)from)[i];
    case IM_PROBE_F16:  return im_half_to_f32(((const uint16_t *)from)[i]);
    case IM_PROBE_BF16: return im_bhalf_to_f32(((const uint16_t *)from)[i]);
    case IM_PROBE_F64:  return ((const double *)from)[i];
    case IM_PROBE_I32:  return ((const int32_t *)from)[i];
    case IM_PROBE_I64:  return (double)((const int64_t *)from)[i];
    case IM_PROBE_U16:  return ((const uint16_t *)from)[i];
    }
    return NAN;
}

/* n numbers in the device's memory: whole ones below `limit`, or, limit 0, within plus - size .. plus + size. */
static void *numbers(im_probe *p, int64_t n, im_probe_kind kind, int limit, double size, double plus)
{
    size_t bytes = (size_t)n * size_of[kind];
    assert(p->n_blocks < IM_PROBE_BLOCKS);
    void *host = malloc(bytes), *there = host && !p->status ? p->dev->s.alloc(p->dev, bytes) : NULL;
    for (int64_t i = 0; there && i < n; i++) {
        p->seed = p->seed * 1664525u + 1013904223u;
        double u = (double)(p->seed >> 8) * 0x1p-24;
        set(host, i, kind, limit ? floor(u * limit) : plus + size * (2 * u - 1));
    }
    if (there) {
        p->blocks[p->n_blocks].p = there;
        p->blocks[p->n_blocks++].bytes = bytes;
        p->status = p->dev->s.upload(p->dev, there, host, bytes);
    } else if (!p->status) {
        p->status = IM_NO_MEMORY;
    }
    free(host);
    return there;
}

im_cbuf im_probe_in(im_probe *p, int64_t n) { return (im_cbuf){ numbers(p, n, kind_of(p->t), 0, 1, 0), p->t }; }

const float *im_probe_floats(im_probe *p, int64_t n, float size, float plus)
{
    return numbers(p, n, IM_PROBE_F32, 0, (double)size, (double)plus);
}

const void *im_probe_ids(im_probe *p, int64_t n, int limit, im_probe_kind kind) { return numbers(p, n, kind, limit, 0, 0); }

im_weight im_probe_weight(im_probe *p, int n, int k)
{
    return (im_weight){ .data = im_probe_in(p, (int64_t)n * k).p, .dtype = p->t, .n = n, .k = k, .ld = k };
}

void *im_probe_result(im_probe *p, int64_t n, im_probe_kind kind)
{
    bool whole = kind == IM_PROBE_I32 || kind == IM_PROBE_I64 || kind == IM_PROBE_U16;
    void *there = numbers(p, n, kind, whole ? 30000 : 0, 1, 0);
    assert(p->n_results < IM_PROBE_RESULTS);
    p->results[p->n_results].p = there;
    p->results[p->n_results].n = n;
    p->results[p->n_results++].kind = kind;
    return there;
}

im_buf im_probe_out(im_probe *p, int64_t n) { return (im_buf){ im_probe_result(p, n, kind_of(p->t)), p->t }; }

/* ---------------------------------------------------------------- one problem */

typedef struct form { const char *name; im_dtype t, products; double limit; } form;
static const form forms[] = {
    { "f32", IM_F32, IM_F32, 1e-4 }, { "bf16", IM_BF16, IM_F32, 0x1p-6 }, { "f16", IM_F16, IM_F32, 0x1p-9 },
    { "f32, as bf16", IM_F32, IM_BF16, 0x1p-6 },
};

/* The results of a case on dev, one behind the other: malloc'd, or NULL with p->status set. */
static double *results_of(im_probe *p, const im_probe_case *cs, int64_t *total)
{
    im_device *dev = p->dev;
    p->status = cs->run(p);
    *total = 0;
    for (int i = 0; i < p->n_results; i++)
        *total += p->results[i].n;
    double *all = malloc((size_t)(*total + 1) * sizeof *all), *to = all;
    void *raw = malloc((size_t)(*total + 1) * sizeof(double));
    p->status = p->status ? p->status : all && raw ? IM_DONE : IM_NO_MEMORY;
    for (int i = 0; i < p->n_results && !p->status; i++) {
        p->status = dev->s.download(dev, raw, p->results[i].p, (size_t)p->results[i].n * size_of[p->results[i].kind]);
        p->status = p->status ? p->status : dev->s.wait(dev, dev->s.mark(dev));
        for (int64_t k = 0; k < p->results[i].n && !p->status; k++)
            *to++ = get(raw, k, p->results[i].kind);
    }
    for (int i = 0; i < p->n_blocks; i++)
        dev->s.free(dev, p->blocks[i].p, p->blocks[i].bytes);
    free(raw);
    if (!p->status)
        return all;
    free(all);
    return NULL;
}

static double error_of(const im_probe *p, const double *found, const double *wanted)
{
    double worst = 0;
    for (int i = 0; i < p->n_results; found += p->results[i].n, wanted += p->results[i++].n) {
        bool whole = p->results[i].kind > IM_PROBE_F64;
        double rms = 0;
        for (int64_t k = 0; k < p->results[i].n; k++)
            rms += wanted[k] * wanted[k] / (double)p->results[i].n;
        for (int64_t k = 0; k < p->results[i].n; k++) {
            double off = fabs(found[k] - wanted[k]) / (whole ? 1 : fabs(wanted[k]) + sqrt(rms) + 1e-30);
            worst = off <= worst ? worst : isnan(off) ? INFINITY : off;
        }
    }
    return worst;
}

/* error INFINITY: it did not run. */
static int try_case(im_device *dev, im_device *ref, const im_probe_case *cs, const form *f, double *error)
{
    int64_t n;
    im_probe a = { .dev = dev, .t = f->t, .seed = 1 }, b = { .dev = ref, .t = f->t, .seed = 1 };
    dev->compute_dtype = ref->compute_dtype = f->products;
    double *found = results_of(&a, cs, &n), *wanted = found ? results_of(&b, cs, &n) : NULL;
    dev->compute_dtype = IM_F32;
    *error = found && wanted ? error_of(&b, found, wanted) : INFINITY;
    free(found);
    free(wanted);
    return a.status ? a.status : b.status;
}

/* ---------------------------------------------------------------- all of them */

typedef struct checking {
    im_device *dev, ref;
    void (*row)(void *arg, const im_check_row *); void *arg;
} checking;

static int check_one(checking *c, const im_probe_case *cs, const form *f)
{
    for (;;) {
        im_dtype half = f->t == IM_F16 ? IM_F16 : IM_BF16;
        im_cuda_cores cores = f == forms ? IM_CUDA_NO_CORES : im_cuda_mma(c->dev, cs->slot, half);
        const char *path = !cores ? "plain" : cores == IM_CUDA_F16_75 ? "mma k8" : "mma";
        im_check_row r = { .kernel = cs->name, .form = f->name, .path = path, .limit = f->limit };
        int status = try_case(c->dev, &c->ref, cs, f, &r.error);
        r.agrees = !status && r.error <= r.limit;
        if (c->row)
            c->row(c->arg, &r);
        if (status || r.agrees)
            return status;
        if (!cores) {
            im_fail(im_cuda_context(c->dev), "device %s (%s) is not used: its kernel %s in %s disagrees with ref: found an "
                    "error of %.3g, wanted at most %.3g; use --device cpu", c->dev->name, c->dev->isa, cs->name, f->name,
                    r.error, r.limit);
            return IM_NO_KERNEL;
        }
        im_warn(im_cuda_context(c->dev), "device %s (%s): the kernel %s in %s on tensor cores disagrees with ref (error "
                "%.3g, wanted at most %.3g): its plain form is used, which is slower", c->dev->name, c->dev->isa, cs->name,
                f->name, r.error, r.limit);
        im_cuda_keep_plain(c->dev, 1ull << cs->slot);
    }
}

int im_cuda_check(im_device *dev, int slot, void (*row)(void *arg, const im_check_row *), void *arg)
{
    static const int n_forms[] = { [IM_PROBE_ONE] = 1, [IM_PROBE_HALVES] = 3, [IM_PROBE_PRODUCTS] = 4 };
    const im_probe_case *const lists[] = { im_probe_forward, im_probe_training };
    checking c = { .dev = dev, .row = row, .arg = arg };
    int status = im_device_open(im_cuda_context(dev), &c.ref, "ref", 1, NULL) ? IM_DONE : IM_NO_MEMORY;
    im_dtype products = dev->compute_dtype;
    for (int l = 0; l < 2; l++)
        for (const im_probe_case *cs = lists[l]; cs->run && !status; cs++)
            for (int f = 0; f < n_forms[cs->forms] && !status && (slot < 0 || slot == cs->slot); f++)
                status = check_one(&c, cs, &forms[f]);
    dev->compute_dtype = products;
    im_device_close(&c.ref);
    return status;
}

bool im_cuda_check_first(im_device *dev)
{
    uint64_t plain;
    if (im_cuda_check_recall(dev, &plain)) {
        im_cuda_keep_plain(dev, plain);
        if (plain)
            im_warn(im_cuda_context(dev), "device %s (%s): kernels on tensor cores that disagreed with ref when it was "
                    "checked are not used; imago info --device cuda --check shows which", dev->name, dev->isa);
        return true;
    }
    if (im_cuda_check(dev, -1, NULL, NULL))
        return im_fail(im_cuda_context(dev), "device %s (%s): out of memory while its kernels were checked", dev->name,
                       dev->isa);
    im_cuda_check_keep(dev, im_cuda_kept_plain(dev));
    return true;
}
