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
    TRAIN_OPTIONS(resnet_options, a.common, "256", "100", "sgd", "0", "0"),
    OPTION_CHOICE('a', "arch", "NAME", AT(a.arch), "resnet50", "resnet18|resnet34|resnet50|resnet101",
             "resnet18, resnet34, resnet50, resnet101: as torchvision has them"),
    OPTION_INT(0, "width", "W", AT(a.width), "64", 1, 1024,
             "channels of the first stage; the other stages have 2 W, 4 W, 8 W (times 4 in resnet50 and resnet101)"),
    OPTION_FLAG(0, "small-stem", AT(a.small_stem),
             "for pictures of 32 to 64 pixels: begins with a 3x3 convolution of stride 1, without a pool"),
    OPTION_TEXT(0, "classes", "FILE", AT(a.classes), NULL,
             "a class a line: its number is its line; the others are left out"),
    OPTION_TEXT(0, "val", "DIR|SHARDS", AT(a.val), NULL,
             "another set, evaluated after every epoch: its top-1 chooses the best checkpoint"),
    OPTION_CHOICE(0, "augment", "NAME", AT(a.augment), "plain", "none|plain|drawing|dino",
             "none (resize, centre crop), plain (random crop, flip), drawing (larger crops, flip, light and "
             "saturation), dino (multi-crop with colours and blur)"),
    OPTION_REAL(0, "mixup", "A", AT(a.mixup), "0", 0, 1,
             "mix two pictures of a batch and their classes, up to A / 2 of the other one; 0: not"),
    OPTION_INT(0, "size", "PIXELS", AT(a.size), "224", 1, 4096, "side of the crop"),
    OPTION_INT(0, "locals", "N", AT(a.locals), "-1", -1, 63, "dino: local crops a picture; -1: 8"),
    OPTION_INT(0, "local-size", "PIXELS", AT(a.local_size), "0", 0, 4096, "dino: their side; 0: size * 3 / 7"),
    OPTION_CHOICE(0, "head", "NAME", AT(a.head), "linear", "linear|cosine",
             "linear, or cosine: a projector and cosines with a vector a class, by 0.1"),
    OPTION_INT(0, "head-layers", "N", AT(a.head_layers), "1", 0, 8, "hidden layers of the cosine head"),
    OPTION_FLAG(0, "new-head", AT(a.new_head), "with --init: takes the encoder from the file, and a new head"),
    OPTION_FLAG(0, "trace-tape", AT(trace_tape),
             "print the tape of the first step: every operation, its output, bytes kept, times"),
    OPTION_FLAG('q', "quiet", AT(quiet), "no progress"),
    OPTION_END
};

static int run(const arguments *a)
{
    resnet_options *o = a->values;
    if (!o->a.common.out)
        return usage_error(a->verb, "-o RUN is missing: the folder of the run");
    o->common.strict = o->a.common.strict;
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    im_train_config *config = NULL;
    if (o->a.common.resume)
        config = im_train_resnet_config(c, o->a.common.out, &o->a, train_option_given, (void *)a);
    if (im_ok(c) && !config && !o->a.common.data) {
        int rc = usage_error(a->verb, o->a.common.resume ? "%s holds no run to resume; to begin one, --data DIR is missing"
                                                         : "--data DIR is missing%.0s", o->a.common.out);
        session_close(c);
        return rc;
    }
    if (im_ok(c)) {
        train_view v;
        im_train_hooks hooks;
        train_view_open(&v, c, o->quiet, o->trace_tape, &hooks);
        im_train_resnet(c, &o->a, &hooks);
        train_view_close(&v, o->a.common.out);
    }
    im_train_config_free(config);
    return session_close(c);
}

const verb verb_train_resnet = {
    .name = "train resnet", .common = OPT_DEVICE, .options = options, .size = sizeof(resnet_options), .run = run,
    .summary = "train a ResNet to name pictures",
    .about = "Trains a ResNet of torchvision's shape on labelled pictures. RUN receives config.json, log.jsonl "
             "(an object a step), curves.svg and .png, checkpoints, and at the end model.safetensors, which torchvision "
             "and timm load. Without --lr the rate is 0.1 for 256 pictures a step, in proportion to them. A run that was "
             "killed, stopped by a signal, or found the disk full goes on with --resume to the same bits as one left "
             "alone. With --augment none, --order listed and --init FILE its losses can be compared with another "
             "program's, step by step.",
    .examples = "  imago train resnet --data DIR --epochs 90 --batch 64 --accumulate 4 -o RUN\n"
                "  imago train resnet --data \"train-{000..099}.tar\" --augment dino --head cosine --dtype bf16 -o RUN\n"
                "  imago train resnet --resume -o RUN",
};
