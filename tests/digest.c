/* digest.c: one line for each case of cases_*.c: the SHA-256 of the output's bytes on the cpu device, and its name; and one
 * for each gradient.
 *
 * Under IMAGO_ISA=avx2, IMAGO_ISA=avx512 and on aarch64 it prints the same text, for the order of every sum is part of
 * the definition of an op (device.h); neon_bits.sh compares. A NaN has one form here: the sign of a fresh NaN is the
 * machine's. */
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "cases.h"
#include "tensor/tensor.h"

static bool print_digest(const im_tensor *t, const char *name)
{
    float *v = im_data(t);
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size;
    for (int64_t i = 0; i < im_numel(t); i++)
        if (isnan(v[i]))
            v[i] = NAN;
    if (!EVP_Digest(v, (size_t)im_numel(t) * sizeof *v, hash, &size, EVP_sha256(), NULL))
        return false;
    for (unsigned i = 0; i < size; i++)
        printf("%02x", hash[i]);
    return printf("  %s\n", name) > 0;
}

static bool digest_case(im_ctx *c, const im_case_table *t, const im_case *cs, weight_form form)
{
    char name[400];
    im_tensor *in[IM_MAX_IN];
    case_name(t, cs, form, name, sizeof name);
    im_scope_push(c);
    im_tensor *y = case_inputs(c, t, cs, form, in) ? t->call(c, cs, in) : NULL;
    bool ok = y && print_digest(y, name);
    im_scope_pop(c);
    if (!ok)
        fprintf(stderr, "%s: %s\n", name, im_error(c));
    return ok;
}

/* Gradients of sum(y * dy), dy = -1, -1/2, 0, 1/2, 1 and again, for the inputs that get one. */
static bool digest_gradients(im_ctx *c, const im_case_table *t, const im_case *cs)
{
    im_tensor *in[IM_MAX_IN];
    im_scope_push(c);
    bool ok = case_inputs(c, t, cs, (weight_form){ IM_F32, false, t->grads }, in) && im_tape_begin(c);
    im_tensor *y = ok ? t->call(c, cs, in) : NULL, *dy = y ? im_new(c, IM_F32, y->ndim, y->shape) : NULL;
    for (int64_t i = 0; dy && i < im_numel(dy); i++)
        ((float *)im_data(dy))[i] = (float)(i % 5 - 2) / 2;
    ok = dy && im_backward_from(c, y, dy);
    for (int i = 0; ok && i < IM_MAX_IN; i++) {
        const im_tensor *root = in[i] && in[i]->base ? in[i]->base : in[i];
        char name[400], of[440];
        case_name(t, cs, (weight_form){ IM_F32, false, 0 }, name, sizeof name);
        snprintf(of, sizeof of, "%s gradient of input %d", name, i);
        if (root && t->grads >> i & 1u)
            ok = print_digest(root->grad, of);
    }
    im_scope_pop(c);
    return ok;
}

/* In each dtype of the weight; packed, for test_ops.c shows that plain and packed have the same bits. */
static bool digest_forms(im_ctx *c, const im_case_table *t, const im_case *cs)
{
    bool ok = digest_case(c, t, cs, (weight_form){ IM_F32, t->weight >= 0 && t->packs, 0 });
    if (t->weight >= 0) {
        ok &= digest_case(c, t, cs, (weight_form){ IM_F16, t->packs, 0 });
        ok &= digest_case(c, t, cs, (weight_form){ IM_BF16, t->packs, 0 });
        ok &= !t->packs || digest_case(c, t, cs, (weight_form){ IM_INT8, true, 0 });
    }
    return ok && (!t->grads || digest_gradients(c, t, cs));
}

int main(void)
{
    im_ctx *c = im_ctx_new("cpu", 1);
    bool ok = im_ok(c);
    for (int i = 0; ok && im_all_cases[i]; i++)
        for (int j = 0; j < im_all_cases[i]->n; j++)
            if (!im_all_cases[i]->cases[j].bench)
                ok &= digest_forms(c, im_all_cases[i], &im_all_cases[i]->cases[j]);
    if (c && !im_ok(c))
        fprintf(stderr, "%s\n", im_error(c));
    im_ctx_free(c);
    return !ok;
}
