/* train_memory.c: see train_memory.h. With P trained parameters, all in f32,
 *
 *     weights 4 P, gradients 4 P, state 4 P each of momentum, AdamW's second moment and the averages
 *     sums of gradients, of N parts of a step in this process: 4 P for each level of the tree (grad_tree.h), log2 N; 4 P to
 *         exchange with other ranks; N - 1 times 4 P where the parts run side by side
 *     activations: what backward reads of a part, about the outputs of all its operations together
 *
 * The last is an estimate, and so it never refuses a run: an output that no backward reads goes early, and some operations
 * keep more than they give. ResNet-50, 8 pictures of 224 pixels: 684 MiB estimated, about 670 taken; the autoencoder of the
 * embedded model, 32 of 64: 622 and 590; its UNet, 64 of them: 686 and 930. With --recompute about half of it is left
 * (docs/training.md), but never less than the forward half has alone, where every output goes after its last reader.
 * --dtype bf16 is no help here: it rounds factors of products, and holds nothing in 16 bits that was not held before. */
#include "models/train/train_memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double MIB = 1 << 20, RECOMPUTED = 0.5;

/* Parts of a step that are here at once. */
static int at_once(const im_train_common *a, im_train_way way)
{
    return way.together ? a->accumulate / way.ranks : 1;
}

im_train_need im_train_need_of(im_ctx *c, const im_train_common *a, im_train_way way, const im_part_params parts[], int n)
{
    int sets = (way.ranks > 1) + at_once(a, way) - 1;
    for (int k = 1; k < a->accumulate / way.ranks; k *= 2)
        sets++;
    im_optimiser_args o = im_loop_optimiser(c, a);
    im_train_need need = { .weights = way.frozen, .state = im_optimiser_bytes(&o, parts, n) };
    for (int k = 0; k < n; k++)
        for (int i = 0; i < parts[k].params->n; i++) {
            const im_param *q = &parts[k].params->v[i];
            double bytes = 4.0 * (double)im_numel(q->t);
            need.weights += q->t->storage ? 0 : bytes;
            need.gradients += q->kind == IM_PARAM_BUFFER ? 0 : bytes;
        }
    need.sums = sets * need.gradients;
    return need;
}

/* Bytes that may be taken; -1: nobody knows, or they are the device's own. */
static double available(im_ctx *c)
{
    return strcmp(im_device_name(c), "cuda") ? (double)im_memory_available() : -1;
}

/* ---------------------------------------------------------------- what is certain */

bool im_train_certain(im_ctx *c, const im_train_common *a, const im_train_need *need, double available)
{
    double all = need->weights + need->gradients + need->sums + need->state;
    bool adamw = !strcmp(a->optimizer, "adamw");
    if (available < 0 || all <= available)
        return true;
    return im_fail(c, "the networks take %.0f MiB to train, whatever the batch: weights still to be loaded %.0f, gradients "
                   "%.0f, sums of them %.0f, the optimiser's state %.0f; and %.0f MiB of memory are free; wanted a smaller "
                   "network%s%s, or a machine with more memory", all / MIB, need->weights / MIB, need->gradients / MIB,
                   need->sums / MIB, need->state / MIB, available / MIB, adamw ? ", or less state: --optimizer sgd" : "",
                   a->ema > 0 ? adamw ? ", --ema 0" : ", or less state: --ema 0" : "");
}

bool im_train_weights_fit(im_ctx *c, const im_train_common *a, im_train_way way, const im_part_params parts[], int n)
{
    im_train_need need = im_train_need_of(c, a, way, parts, n);
    return im_ok(c) && im_train_certain(c, a, &need, available(c));
}

/* ---------------------------------------------------------------- what is probable */

/* The largest divisor of the batch that fits; 0: none does. */
static int fitting_batch(int batch, double each, double room)
{
    for (int b = batch - 1; b > 0; b--)
        if (batch % b == 0 && b * each <= room)
            return b;
    return 0;
}

void im_train_probable(im_ctx *c, const im_train_common *a, im_train_way way, const im_train_need *need, double available)
{
    double fixed = need->weights + need->gradients + need->sums + need->state, all = fixed + need->activations;
    if (available < 0 || all <= available)
        return;
    bool again = !a->recompute && fixed + need->recomputed <= available;
    int b = way.together ? 0 : fitting_batch(a->batch, need->activations / a->batch, available - fixed);
    int pictures = a->batch * at_once(a, way);
    char help[200];
    if (!again && !b)
        snprintf(help, sizeof help, "a smaller network, smaller pictures or a machine with more memory would help");
    else
        snprintf(help, sizeof help, "%s", again ? "--recompute keeps fewer of them, and has the same bits" : "");
    if (b)
        snprintf(help + strlen(help), sizeof help - strlen(help), "%s--batch %d --accumulate %d shows as many pictures a "
                 "step", again ? "; " : "", b, a->batch / b * a->accumulate);
    im_warn(c, "a step takes about %.0f MiB more than is taken now: gradients %.0f, sums of them %.0f, the optimiser's "
            "state %.0f, activations of %d picture%s %.0f; and %.0f MiB of memory are free: the system may end the run; %s",
            all / MIB, need->gradients / MIB, need->sums / MIB, need->state / MIB, pictures, pictures > 1 ? "s" : "",
            need->activations / MIB, available / MIB, help);
}

bool im_train_step_fits(im_ctx *c, const im_train_common *a, im_train_way way, const im_part_params parts[], int n,
                        im_plan_fn forward, void *arg, im_tensor *const in[], int n_in)
{
    double free = available(c);
    if (!im_ok(c) || free < 0)
        return im_ok(c);
    im_scope_push(c);
    im_plan *p = im_plan_record(c, forward, arg, in, n_in);
    im_plan_info info = im_plan_describe(p);
    im_plan_free(c, p);
    im_scope_pop(c);
    if (!im_ok(c))
        return false;
    im_train_need need = im_train_need_of(c, a, way, parts, n);
    need.recomputed = at_once(a, way) * fmax((double)info.arena_bytes, RECOMPUTED * (double)info.sum_bytes);
    need.activations = a->recompute ? need.recomputed : at_once(a, way) * (double)info.sum_bytes;
    if (im_train_certain(c, a, &need, free))
        im_train_probable(c, a, way, &need, free);
    return im_ok(c);
}
