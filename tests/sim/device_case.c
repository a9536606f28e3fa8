/* device_case.c: see device_case.h. */
#include "device_case.h"

#include "backward.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>

static im_dtype held_in(const im_case_table *t, const im_case *cs, const device_form *f, int input)
{
    if (cs->in[input].fill == IDS)
        return IM_I32;
    bool alike = t->op == &im_op_concat || t->op == &im_op_stack;          /* their inputs have one dtype               */
    return input == t->weight ? f->weight : t->acts >> input & 1u ? f->acts[alike ? 0 : input % 3] : IM_F32;
}

static float *rounded_to(im_dtype t, const float *v, int64_t n)
{
    float *out = malloc((size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++)
        if (t == IM_F16)
            ((uint16_t *)out)[i] = im_f16_from_f32(v[i]);
        else if (t == IM_BF16)
            ((uint16_t *)out)[i] = im_bf16_from_f32(v[i]);
        else
            out[i] = v[i];
    return out;
}

/* Input `input` of the case on w->c. */
static im_tensor *input_on(const device_way *w, const im_case_table *t, const im_case *cs, int input)
{
    const case_in *in = &cs->in[input];
    im_dtype type = held_in(t, cs, w->form, input);
    bool weight = input == t->weight;
    if (!in->ndim)
        return NULL;
    int64_t shape[IM_MAX_DIMS], n = 1;
    for (int a = 0; a < in->ndim; a++)
        n *= shape[a] = in->shape[a] + (a == in->axis ? in->before + in->after : 0);
    im_scope_push(w->host);
    im_tensor *made = case_input(w->host, t, cs, input, (weight_form){ weight ? w->form->weight : IM_F32, false, 0 });
    void *values = made->storage->data, *own = NULL;
    if (!weight && type != IM_I32)
        own = rounded_to(type, values, n);
    else
        own = memcpy(malloc(made->storage->bytes), values, made->storage->bytes);
    im_scope_pop(w->host);
    im_tensor *x = im_new(w->c, type, in->ndim, shape);
    im_upload(w->c, x, own);
    free(own);
    bool view = in->before + in->after > 0;
    if (x && t->grads >> input & 1u && usable(cs) && !(weight && type != IM_F32) && type == IM_F32)
        im_want_grad(w->c, x);
    else if (x && t->grads >> input & 1u && usable(cs) && !weight && type != IM_I32 && !view)
        x->wants_grad = 1;                                     /* what is computed is held in 16 bits, no parameter is */
    return x && view ? im_slice(w->c, x, in->axis, in->before, in->before + in->shape[in->axis]) : x;
}

static void keep(im_ctx *c, device_results *r, int part, const im_tensor *t)
{
    void *raw = im_values(c, t);
    if (!raw)
        return;
    free(r->v[part]);
    r->n[part] = im_numel(t);
    r->t[part] = (im_dtype)t->dtype;
    r->v[part] = malloc((size_t)r->n[part] * sizeof(float));
    for (int64_t i = 0; i < r->n[part]; i++)
        r->v[part][i] = t->dtype == IM_F16 ? im_f32_from_f16(((uint16_t *)raw)[i])
                      : t->dtype == IM_BF16 ? im_f32_from_bf16(((uint16_t *)raw)[i])
                      : t->dtype == IM_I32 ? (float)((int32_t *)raw)[i] : ((float *)raw)[i];
    free(raw);
}

static im_tensor *dy_for(im_ctx *c, const im_tensor *y)
{
    int64_t n = im_numel(y);
    float *v = malloc((size_t)n * sizeof *v), *held;
    im_tensor *dy = im_new(c, (im_dtype)y->dtype, y->ndim, y->shape);
    fill_dy(v, n);
    held = rounded_to((im_dtype)y->dtype, v, n);
    im_upload(c, dy, held);
    free(v);
    free(held);
    return dy;
}

typedef struct { const im_case_table *t; const im_case *cs; im_tensor **in; } recording;

static im_tensor *record(im_ctx *c, void *arg, im_tensor *const plan_in[], int n)
{
    const recording *rec = arg;
    im_tensor *in[IM_MAX_IN];
    (void)n;
    memcpy(in, rec->in, sizeof in);
    in[0] = plan_in[0];
    if (rec->t->op->inplace_ok && in[0]->ndim <= 4)            /* after a copy whose memory it can take                */
        in[0] = im_contiguous_copy(c, in[0]);
    return rec->t->call(c, rec->cs, in);
}

static void run_planned(im_ctx *c, device_results *r, recording rec)
{
    im_plan *p = im_plan_record(c, record, &rec, rec.in, 1);
    im_plan_run(c, p);
    im_tensor *y = im_plan_run(c, p);
    if (y)
        keep(c, r, 0, y);
    im_plan_free(c, p);
}

device_results device_run(const device_way *w, const im_case_table *t, const im_case *cs)
{
    im_ctx *c = w->c;
    im_tensor *in[IM_MAX_IN];
    device_results r = { 0 };
    im_scope_push(c);
    bool grads = false, ok = true;
    for (int i = 0; i < IM_MAX_IN; i++) {
        in[i] = input_on(w, t, cs, i);
        grads = grads || (in[i] && in[i]->wants_grad);
    }
    if (w->planned && im_ok(c))
        run_planned(c, &r, (recording){ t, cs, in });
    for (int k = 0; !w->planned && ok && im_ok(c) && k < (grads ? w->times : 1); k++) {
        im_scope_push(c);
        ok = !grads || im_tape_begin(c);
        im_tensor *y = t->call(c, cs, in);
        if (y)
            keep(c, &r, 0, y);
        ok = y && (!grads || im_backward_from(c, y, dy_for(c, y)));
        im_scope_pop(c);
    }
    for (int i = 0; !w->planned && ok && i < IM_MAX_IN; i++) {
        if (in[i] && root(in[i])->grad && root(in[i])->grad_set)
            keep(c, &r, 1 + i, root(in[i])->grad);
        if (in[i])
            keep(c, &r, 1 + IM_MAX_IN + i, in[i]);
    }
    if (!im_ok(c))
        device_free(&r);
    im_scope_pop(c);
    return r;
}

void device_free(device_results *r)
{
    for (int k = 0; k < DEVICE_PARTS; k++)
        free(r->v[k]);
    *r = (device_results){ 0 };
}

bool device_same(const device_results *got, const device_results *want, char *text, size_t size)
{
    for (int k = 0; k < DEVICE_PARTS; k++) {
        const char *what = k == 0 ? "the output" : k <= IM_MAX_IN ? "the gradient of input" : "afterwards input";
        int input = k ? (k - 1) % IM_MAX_IN : 0;
        if (got->n[k] != want->n[k] || got->t[k] != want->t[k]) {
            snprintf(text, size, "%s %d: %lld values in %s, wanted %lld in %s", what, input, (long long)got->n[k],
                     im_dtype_name(got->t[k]), (long long)want->n[k], im_dtype_name(want->t[k]));
            return false;
        }
        for (int64_t i = 0; i < want->n[k]; i++) {
            float a = got->v[k][i], b = want->v[k][i];
            if (!(isnan(a) && isnan(b)) && memcmp(&a, &b, sizeof a)) {
                snprintf(text, size, "%s %d, element %lld: found %.9g, wanted the bits of %.9g", what, input, (long long)i,
                         (double)a, (double)b);
                return false;
            }
        }
    }
    return true;
}

void device_case_name(const im_case_table *t, const im_case *cs, const device_form *f, char *out, size_t size)
{
    case_name(t, cs, (weight_form){ f->weight, false, 0 }, out, size);
    size_t at = strlen(out);
    snprintf(out + at, size - at, " in %s", f->name);
}
