/* cmd_train.c: `imago train resnet`: a classifier from folders of pictures. What it shares with other trainings is
 * in train.h and train_view.c; the training itself is models/train/train_resnet.c. */
#include <string.h>

#include "cli/session.h"
#include "cli/train.h"
#include "cli/verbs.h"

typedef struct resnet_options {
    common_options common;
    im_train_resnet_args a;
    bool quiet, trace_tape;
} resnet_options;

#define AT(field) offsetof(resnet_options, field)
static const option options[] = {
    TRAIN_OPTIONS(resnet_options, "0.1 per 256 pictures in a step", "a safetensors file of a ResNet"),
    OPTION_FIELD('a', "arch", "NAME", "network, as torchvision defines it"),
    OPTION_FIELD(0, "width", "W",
                 "channels of the first stage; the others have 2W, 4W and 8W (four times that in resnet50 and resnet101)"),
    OPTION_FIELD(0, "small-stem", NULL,
                 "for pictures of 32 to 64 pixels: begin with a 3x3 convolution of stride 1 and no pooling"),
    OPTION_FIELD(0, "sync-batchnorm", NULL,
                 "statistics of batch norms over all parts of a step (--accumulate, ranks), as if they were one batch; the "
                 "parts are in memory at once then"),
    OPTION_FIELD(0, "mix", "NAME=DIR:SHARE,..",
                 "several sets of the same classes in the place of --data: real=DIR:0.25,synth=SET:0.75 with --budget; or "
                 "all of each: real=DIR,synth=SET"),
    OPTION_FIELD(0, "budget", "N", "with --mix: pictures in all, drawn from all classes in turn"),
    OPTION_FIELD(0, "classes", "FILE",
                 "names of classes, one per line, in the order of their numbers; pictures of other classes are left out"),
    OPTION_FIELD(0, "val", "DIR|SHARDS",
                 "held-out pictures, evaluated after every epoch: the best checkpoint is the one of highest top-1"),
    OPTION_FIELD(0, "augment", "NAME",
                 "none: resize and crop the centre; plain: random crop and flip; drawing: larger crops, flip, some change "
                 "of light and saturation; dino: several crops per picture, with colours and blur"),
    OPTION_FIELD(0, "mixup", "A", "blend pairs of pictures and their labels, up to A/2 of the second; 0: do not"),
    OPTION_FIELD(0, "size", "PIXELS", "side of the crop"),
    OPTION_FIELD(0, "locals", "N", "dino: number of small crops per picture; -1: 8"),
    OPTION_FIELD(0, "local-size", "PIXELS", "dino: side of the small crops; 0: 3/7 of --size"),
    OPTION_FIELD(0, "head", "NAME",
                 "last layer: linear, or cosine (also trex), a projector whose cosines with one vector per class are "
                 "divided by 0.1"),
    OPTION_FIELD(0, "head-layers", "N", "cosine: number of hidden layers of the projector"),
    OPTION_FIELD(0, "new-head", NULL, "with --init: take the file's weights but for the last layer, which starts anew"),
    OPTION_FLAG(0, "trace-tape", AT(trace_tape),
                "print the tape of the first step: every operation with its output, the bytes it keeps and its time"),
    OPTION_FLAG('q', "quiet", AT(quiet), "show no progress"),
    OPTION_END
};

static void defaults(void *values)
{
    ((resnet_options *)values)->a = im_train_resnet_defaults();
}

static int run(const arguments *a)
{
    resnet_options *o = a->values;
    if (!o->a.common.out)
        return usage_error(a->verb, "-o RUN is missing: the folder of the run");
    if (option_given(a, "data") && option_given(a, "mix"))
        return usage_error(a->verb, "--mix stands in the place of --data");
    const train_shown shown = { .a = a, .common = &o->common, .task = &o->a.common, .quiet = o->quiet,
                                .trace_tape = o->trace_tape };
    int rc = train_check_shown(a, &shown);
    if (rc)
        return rc;
    o->common.strict = o->a.common.strict;
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    im_train_config *config = NULL;
    if (o->a.common.resume)
        config = im_train_resnet_config(c, o->a.common.out, &o->a, train_option_given, (void *)a);
    if (im_ok(c) && !config && !o->a.common.data && !o->a.mix) {
        rc = usage_error(a->verb, o->a.common.resume ? "%s holds no run to resume; to begin one, --data DIR is missing"
                                                         : "--data DIR is missing%.0s", o->a.common.out);
        session_close(c);
        return rc;
    }
    if (im_ok(c)) {
        train_view v;
        im_train_hooks hooks;
        train_view_open(&v, c, &shown, &hooks);
        im_train_resnet(c, &o->a, &hooks);
        train_view_close(&v, o->a.common.out);
    }
    im_train_config_free(config);
    return train_end(c, &o->common);
}

const verb verb_train_resnet = {
    .name = "train resnet", .common = OPT_PROGRESS | OPT_DEVICE, .options = options,
    .size = sizeof(resnet_options), .run = run,
    .defaults = defaults, .fields = im_train_resnet_fields, .fields_at = offsetof(resnet_options, a),
    .summary = "train a ResNet to classify pictures",
    .about = "Trains a ResNet, as torchvision defines it, on labelled pictures. RUN receives config.json, log.jsonl "
             "(one object per step), curves.svg and curves.png, checkpoints, and at the end model.safetensors, "
             "which torchvision and timm load. Without --lr the rate is 0.1 per 256 pictures in a step. A run that "
             "was killed, stopped by a signal, or ran out of disk space goes on with --resume, to the same bits as "
             "one that was not interrupted. With --augment none, --order listed and --init FILE its losses can be "
             "compared step by step with another program's.",
    .examples = "  imago train resnet --data DIR --epochs 90 --batch 64 --accumulate 4 -o RUN\n"
                "  imago train resnet --data \"train-{000..099}.tar\" --augment dino --head cosine --dtype bf16 -o RUN\n"
                "  imago train resnet --resume -o RUN",
};
