/* param_file.c: see param_file.h. */
#include "models/checkpoints/param_file.h"
#include "data/files/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int without_ones(const int64_t *shape, int ndim)
{
    while (ndim > 1 && shape[ndim - 1] == 1)
        ndim--;
    return ndim;
}

bool im_param_fits(const im_param *p, const im_st_entry *e)
{
    int64_t want[IM_MAX_DIMS];
    int ndim = im_param_file_shape(p, want), got = e->ndim;
    if (p->kind == IM_PARAM_LINEAR || p->kind == IM_PARAM_POINTWISE) {
        ndim = without_ones(want, ndim);
        got = without_ones(e->shape, got);
    }
    return got == ndim && !memcmp(want, e->shape, (size_t)ndim * sizeof *want);
}

bool im_param_read(im_ctx *c, const im_param *p, const im_safetensors *s, const im_st_entry *e, im_int8_parts parts)
{
    bool oihw = p->kind == IM_PARAM_CONV, ok;
    if (parts.scale && p->t->dtype == IM_INT8) {
        ok = im_param_load_int8(c, p->t, e->data, parts.scale->data, parts.multiplier ? parts.multiplier->data : NULL,
                                oihw);
    } else if (!parts.scale && e->dtype >= 0) {
        ok = im_param_load(c, p->t, e->data, (im_dtype)e->dtype, oihw);
    } else {
        float *values = malloc((size_t)im_st_numel(e) * sizeof *values + 1);
        ok = values || im_fail(c, "out of memory for %s in f32", e->name);
        if (ok)
            im_st_floats(c, e, parts, values);
        ok = ok && im_param_load(c, p->t, values, IM_F32, oihw);
        free(values);
    }
    im_st_release_pages(s, e);
    return ok;
}

void im_file_shape_text(const int64_t *shape, int ndim, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "(");
    for (int i = 0; i < ndim && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (used < size)
        snprintf(out + used, size - used, ")");
}

/* ---------------------------------------------------------------- what does not fit */

enum { NAMES_LISTED = 8 };

void im_name_list_add(im_name_list *l, const char *name, const char *detail)
{
    if (l->counted++ >= (l->most ? l->most : NAMES_LISTED) || l->used + 1 >= sizeof l->text)
        return;
    int n = snprintf(l->text + l->used, sizeof l->text - l->used, "%s%s%s", l->listed++ ? ", " : "", name, detail);
    l->used += (size_t)n < sizeof l->text - l->used ? (size_t)n : sizeof l->text - l->used - 1;
}

void im_name_list_text(const im_name_list *l, char *out, size_t size)
{
    char more[32] = "";
    if (l->counted > l->listed)
        snprintf(more, sizeof more, " and %d more", l->counted - l->listed);
    snprintf(out, size, "%.800s%s", l->text, more);
}

bool im_extra_report(im_ctx *c, const char *path, const im_name_list *extra, bool strict)
{
    char names[900];
    const char *s = extra->counted == 1 ? "" : "s", *are = extra->counted == 1 ? "is" : "are";
    bool ruled;
    if (!extra->counted)
        return true;
    im_name_list_text(extra, names, sizeof names);
    im_weights_variant(c, &ruled);
    if (strict || ruled)
        return im_fail(c, "%s: %d tensor%s that no network asks for: %s%s", path, extra->counted, s, names,
                       strict ? "" : "; --strict refuses them");
    im_warn(c, "%s: %d tensor%s that no network asks for %s left out: %s", path, extra->counted, s, are, names);
    return true;
}

void im_misfits_add(im_misfits *m, const im_param *p, const im_st_entry *e, bool scaled, const char *name)
{
    char detail[256];
    if (!e) {
        im_name_list_add(&m->missing, name, "");
    } else if (!im_param_fits(p, e)) {
        int64_t want[IM_MAX_DIMS];
        char a[96], b[96];
        im_file_shape_text(want, im_param_file_shape(p, want), b, sizeof b);
        im_file_shape_text(e->shape, e->ndim, a, sizeof a);
        snprintf(detail, sizeof detail, " is %s, wanted %s", a, b);
        im_name_list_add(&m->shape, e->name, detail);
    } else if (!im_st_is_float(e) && !scaled) {
        snprintf(detail, sizeof detail, " (%s)", e->dtype_name);
        im_name_list_add(&m->type, e->name, detail);
    }
}

bool im_misfits_any(const im_misfits *m)
{
    return m->missing.counted || m->shape.counted || m->type.counted;
}

void im_misfits_text(const im_misfits *m, char *out, size_t size)
{
    static const char *const what[] = { "missing", "unexpected", "of another shape", "of a type that cannot be used" };
    const im_name_list *const lists[] = { &m->missing, &m->unexpected, &m->shape, &m->type };
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists && used < size; i++) {
        char names[900];
        if (!lists[i]->counted)
            continue;
        im_name_list_text(lists[i], names, sizeof names);
        used += (size_t)snprintf(out + used, size - used, "%s%d %s: %s", used ? "; " : "", lists[i]->counted, what[i],
                                 names);
    }
}
