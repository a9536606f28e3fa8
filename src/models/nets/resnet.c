/* resnet.c: ResNet-18, 34, 50 and 101 (He et al. 2016, arXiv 1512.03385, table 1), version 1.5 as torchvision has it.
 *
 *     stem         relu(bn(conv 7x7, 64, stride 2)), max pool 3x3, stride 2      small pictures: conv 3x3, no pool
 *     basic        y = relu(bn2(conv2 3x3 (relu(bn1(conv1 3x3/s (x))))) + skip)                  18, 34
 *     bottleneck   y = relu(bn3(conv3 1x1 (relu(bn2(conv2 3x3/s (relu(bn1(conv1 1x1 (x)))))))) + skip)      50, 101
 *     skip         x, or bn(conv 1x1/s (x)) where the shape changes
 *     four stages of 64, 128, 256, 512 channels (times 4 for bottlenecks), the mean over all pixels, the head
 *     another width W of the stem and the first stage: W, 2 W, 4 W, 8 W channels
 *
 * Batch norm takes the sum with the skip and the ReLU along, so neither is a pass over memory of its own. Every block is
 * a scope: while a tape is open it lets go of what no backward reads. Outputs of blocks stay until
 * the end of an eager pass; evaluate.c records a plan, which gives their memory to the next. Used by train_resnet.c too.
 * Where products are in bf16, so is all that lies between the pictures and the mean over pixels, and its gradients. */
#include "models/nets/resnet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arch { const char *name; bool bottleneck; int blocks[4]; } arch;

static const arch archs[] = {
    { "resnet18", false, { 2, 2, 2, 2 } }, { "resnet34", false, { 3, 4, 6, 3 } },
    { "resnet50", true, { 3, 4, 6, 3 } }, { "resnet101", true, { 3, 4, 23, 3 } },
};

enum { STAGES = 4, WIDTH = 64, MAX_WIDTH = 1024, EXPANSION = 4 };

/* A 1x1 convolution of stride 1 is a linear layer over pixels; one of stride 2 stays a convolution. */
typedef struct block {
    im_linear_layer squeeze, expand;                           /* bottleneck: conv1, conv3                            */
    im_conv_layer conv1, conv2;                                /* basic: both; bottleneck: conv2                      */
    im_batchnorm_layer bn1, bn2, bn3;
    im_linear_layer skip_linear;                               /* downsample.0 with stride 1 ...                      */
    im_conv_layer skip_conv;                                   /* ... and with stride 2                               */
    im_batchnorm_layer skip_norm;                              /* downsample.1                                        */
    const char *path;
} block;

struct im_classifier {
    im_params params;
    bool bottleneck, small_stem;
    im_conv_layer conv1;
    im_batchnorm_layer bn1;
    int n_blocks, width;
    block *blocks;
    im_head head;
};

static void block_init(im_params *p, block *b, bool bottleneck, int cin, int channels, int stride)
{
    int cout = bottleneck ? EXPANSION * channels : channels;
    b->path = im_path_name(p);
    if (bottleneck)
        im_pointwise_plain_init(p, "conv1", &b->squeeze, cin, channels);
    else
        im_conv_plain_init(p, "conv1", &b->conv1, cin, channels, 3, stride, 1);
    im_batchnorm_init(p, "bn1", &b->bn1, channels);
    im_conv_plain_init(p, "conv2", &b->conv2, channels, channels, 3, bottleneck ? stride : 1, 1);
    im_batchnorm_init(p, "bn2", &b->bn2, channels);
    if (bottleneck) {
        im_pointwise_plain_init(p, "conv3", &b->expand, channels, cout);
        im_batchnorm_init(p, "bn3", &b->bn3, cout);
    }
    if (stride == 1 && cin == cout)
        return;
    if (stride == 1)
        im_pointwise_plain_init(p, "downsample.0", &b->skip_linear, cin, cout);
    else
        im_conv_plain_init(p, "downsample.0", &b->skip_conv, cin, cout, 1, stride, 0);
    im_batchnorm_init(p, "downsample.1", &b->skip_norm, cout);
}

static void encoder_init(im_classifier *m, const arch *a, int stem)
{
    im_params *p = &m->params;
    for (int i = 0; i < STAGES; i++)
        m->n_blocks += a->blocks[i];
    m->blocks = im_params_alloc(p, (size_t)m->n_blocks, sizeof *m->blocks);
    if (!m->blocks)
        return;
    if (m->small_stem)
        im_conv_plain_init(p, "conv1", &m->conv1, 3, stem, 3, 1, 1);
    else
        im_conv_plain_init(p, "conv1", &m->conv1, 3, stem, 7, 2, 3);
    im_batchnorm_init(p, "bn1", &m->bn1, stem);
    int cin = stem, k = 0;
    for (int stage = 0; stage < STAGES; stage++)
        for (int i = 0; i < a->blocks[stage]; i++, k++) {
            int channels = stem << stage;
            size_t mark = im_path_push(p, "layer%d.%d", stage + 1, i);
            block_init(p, &m->blocks[k], a->bottleneck, cin, channels, stage > 0 && i == 0 ? 2 : 1);
            im_path_pop(p, mark);
            cin = a->bottleneck ? EXPANSION * channels : channels;
        }
    m->width = cin;
}

im_classifier *im_classifier_new(im_ctx *c, const im_classifier_config *cfg)
{
    const arch *a = NULL;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(archs[i].name, cfg->arch))
            a = &archs[i];
    if (!a) {
        im_fail(c, "there is no network \"%s\"; wanted resnet18, resnet34, resnet50 or resnet101", cfg->arch);
        return NULL;
    }
    if (cfg->width < 0 || cfg->width > MAX_WIDTH) {
        im_fail(c, "%s: found a first stage of %d channels; wanted 1 to %d", cfg->arch, cfg->width, MAX_WIDTH);
        return NULL;
    }
    if (cfg->classes < 2 || cfg->head_layers < 0 || cfg->head_layers > IM_HEAD_MAX_LAYERS) {
        im_fail(c, "%s: found %d classes and a head of %d hidden layers; wanted at least 2 classes and 0 to %d layers",
                cfg->arch, cfg->classes, cfg->head_layers, IM_HEAD_MAX_LAYERS);
        return NULL;
    }
    im_classifier *m = calloc(1, sizeof *m);
    if (!m) {
        im_fail(c, "%s: out of memory", cfg->arch);
        return NULL;
    }
    im_params_init(&m->params, c);
    m->bottleneck = a->bottleneck;
    m->small_stem = cfg->small_stem;
    encoder_init(m, a, cfg->width ? cfg->width : WIDTH);
    im_head_init(&m->params, &m->head, cfg->head, cfg->head_layers, m->width, cfg->classes);
    if (im_ok(c))
        return m;
    im_classifier_free(m);
    return NULL;
}

void im_classifier_free(im_classifier *m)
{
    if (!m)
        return;
    im_params_free(&m->params);
    free(m);
}

im_params *im_classifier_params(im_classifier *m) { return &m->params; }
int im_classifier_width(const im_classifier *m) { return m->width; }

/* x (B, H, W, Cin)  ->  (B, H / stride, W / stride, Cout) */
static im_tensor *block_body(im_ctx *c, const block *b, im_tensor *x)
{
    im_scope_push(c);
    im_tensor *skip = x;                                                                  /* (B, H', W', Cout)        */
    if (b->skip_linear.w)
        skip = im_linear_forward(c, &b->skip_linear, x, NULL, IM_ACT_NONE);
    else if (b->skip_conv.w)
        skip = im_conv_forward(c, &b->skip_conv, x, NULL, NULL);
    if (skip != x)
        skip = im_batchnorm_forward(c, &b->skip_norm, skip, NULL, false);
    im_tensor *h;
    if (b->squeeze.w) {
        h = im_linear_forward(c, &b->squeeze, x, NULL, IM_ACT_NONE);                       /* (B, H, W, C)             */
        h = im_batchnorm_forward(c, &b->bn1, h, NULL, true);
        h = im_conv_forward(c, &b->conv2, h, NULL, NULL);                                  /* (B, H', W', C)           */
        h = im_batchnorm_forward(c, &b->bn2, h, NULL, true);
        h = im_linear_forward(c, &b->expand, h, NULL, IM_ACT_NONE);                        /* (B, H', W', 4 C)         */
        h = im_batchnorm_forward(c, &b->bn3, h, skip, true);
    } else {
        h = im_conv_forward(c, &b->conv1, x, NULL, NULL);                                  /* (B, H', W', C)           */
        h = im_batchnorm_forward(c, &b->bn1, h, NULL, true);
        h = im_conv_forward(c, &b->conv2, h, NULL, NULL);
        h = im_batchnorm_forward(c, &b->bn2, h, skip, true);
    }
    im_trace(c, b->path, h);
    return im_scope_leave(c, h);
}

static im_tensor *block_again(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    return block_body(c, arg, in[0]);
}

static im_tensor *block_forward(im_ctx *c, const im_classifier *m, block *b, im_tensor *x)
{
    return m->params.recompute ? im_recompute(c, block_again, b, &x, 1) : block_body(c, b, x);
}

static im_tensor *stem_forward(im_ctx *c, const im_classifier *m, im_tensor *x)
{
    im_scope_push(c);
    im_tensor *h = im_conv_forward(c, &m->conv1, x, NULL, NULL);                           /* (B, H/2, W/2, W)         */
    h = im_batchnorm_forward(c, &m->bn1, h, NULL, true);
    if (!m->small_stem)
        h = im_maxpool(c, h, 3, 2, 1);                                                     /* (B, H/4, W/4, W)         */
    im_trace(c, "stem", h);
    return im_scope_leave(c, h);
}

im_tensor *im_classifier_features(im_ctx *c, const im_classifier *m, im_tensor *x)
{
    im_scope_push(c);
    im_tensor *h = stem_forward(c, m, im_compute_dtype(c) == IM_BF16 ? im_cast(c, x, IM_BF16) : x);
    for (int i = 0; i < m->n_blocks; i++)
        h = block_forward(c, m, &m->blocks[i], h);
    return im_scope_leave(c, im_avgpool(c, h));
}

im_tensor *im_classifier_logits(im_ctx *c, const im_classifier *m, im_tensor *features)
{
    return im_head_forward(c, &m->head, features);
}
