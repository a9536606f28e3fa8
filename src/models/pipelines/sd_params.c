/* sd_params.c: the parameters of a model, one by one, as its files have them: what `imago explain` counts and opens. */
#include "data/files/safetensors.h"
#include "models/checkpoints/int8_file.h"
#include "models/pipelines/sd.h"

#include <stdlib.h>
#include <string.h>

static bool describe(const im_st_entry *e, const im_param *p, im_net_param *out)
{
    if (!e) return false;
    *out = (im_net_param){ .name = p->t->name, .ndim = e->ndim, .count = im_st_numel(e) };
    memcpy(out->shape, e->shape, sizeof out->shape);
    return true;
}

bool im_sd_param(im_sd *sd, im_net net, int i, im_net_param *out)
{
    const im_param *p = NULL;
    const im_st_entry *e = i < 0 ? NULL : im_checkpoint_at(sd->checkpoint, im_net_part(net), i, &p);
    return describe(e, p, out);
}

float *im_sd_param_values(im_sd *sd, im_net net, const char *name, im_net_param *out)
{
    const im_param *p = NULL;
    const im_st_entry *e = NULL;
    bool found = false;
    for (int i = 0; !found && (e = im_checkpoint_at(sd->checkpoint, im_net_part(net), i, &p)); i++)
        found = !strcmp(p->t->name, name);
    if (!found) {
        im_fail(sd->c, "%s: has no tensor %s", im_checkpoint_path(sd->checkpoint), name);
        return NULL;
    }
    describe(e, p, out);
    float *values = malloc((size_t)out->count * sizeof *values + 1);
    if (values) im_st_floats(sd->c, e, im_checkpoint_int8(sd->checkpoint, im_net_part(net), e), values);
    else im_fail(sd->c, "out of memory for the %lld values of %s", (long long)out->count, name);
    return values;
}
