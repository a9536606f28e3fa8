/* cmd_train_pictures.c: `imago train autoencoder` and `imago train diffusion`: the two halves of a latent diffusion
 * model from a set of pictures with captions. What they share with `train resnet` is in train.h; the trainings are
 * models/train/train_autoencoder.c and models/train/train_diffusion.c. */
#include "cli/session.h"
#include "cli/train.h"
#include "cli/verbs.h"

typedef struct autoencoder_options {
    common_options common;
    im_train_autoencoder_args a;
    bool quiet, trace_tape;
} autoencoder_options;

typedef struct diffusion_options {
    common_options common;
    im_train_diffusion_args a;
    const char *samples;
    float sample_guidance;
    bool quiet, trace_tape;
} diffusion_options;

#define VIEWS(type) \
    OPTION_INT(0, "size", "PIXELS", offsetof(type, a.size), "0", 0, 4096, \
             "side of the pictures: the shorter side is made that long, the middle cut out; 0: as the config says"), \
    OPTION_REAL(0, "flip", "P", offsetof(type, a.flip), "0.5", 0, 1, "mirror pictures with this probability"), \
    OPTION_INT(0, "shift", "PIXELS", offsetof(type, a.shift), "2", 0, 512, "move pictures by up to so many pixels")
#define SHOWN(type) \
    OPTION_FLAG(0, "trace-tape", offsetof(type, trace_tape), \
             "print the tape of the first step: every operation, its output, bytes kept, times"), \
    OPTION_FLAG('q', "quiet", offsetof(type, quiet), "no progress")

#define AT(field) offsetof(autoencoder_options, field)
static const option autoencoder_table[] = {
    TRAIN_OPTIONS(autoencoder_options, a.common, "16", "100", "adamw", "1", "0"),
    OPTION_TEXT(0, "config", "FOLDER", AT(a.config), NULL,
             "shape of the network: FOLDER/config.json or FOLDER/vae/config.json of an AutoencoderKL"),
    OPTION_TEXT(0, "val", "DIR", AT(a.val), NULL, "other pictures: PSNR after every epoch chooses the best checkpoint"),
    OPTION_REAL(0, "gradient-weight", "W", AT(a.gradient_weight), "1", 0, 1e6,
             "of the L1 distance of differences of pixels"),
    OPTION_CHOICE(0, "train", "WHAT", AT(a.train), "all", "all|decoder",
             "decoder: leave the encoder and scaling_factor of --init as they are, so that latents stay the same"),
    OPTION_REAL(0, "kl-weight", "W", AT(a.kl_weight), "1e-6", 0, 1e6, "of the divergence from a normal distribution"),
    VIEWS(autoencoder_options),
    SHOWN(autoencoder_options),
    OPTION_END
};
#undef AT
#define AT(field) offsetof(diffusion_options, field)
static const option diffusion_table[] = {
    TRAIN_OPTIONS(diffusion_options, a.common, "32", "100", "adamw", "1", "0.999"),
    OPTION_TEXT(0, "config", "FOLDER", AT(a.config), NULL,
             "shape of the model, its tokenizer and scheduler: a diffusers folder, whose weights are not read"),
    OPTION_TEXT(0, "vae", "FOLDER", AT(a.vae), NULL, "the autoencoder: RUN/vae of `imago train autoencoder`, or a model"),
    OPTION_CHOICE(0, "text", "WHAT", AT(a.text), "train", "train|frozen", "train the text encoder too, or leave it"),
    OPTION_FLAG(0, "cache-latents", AT(a.cache_latents), "encode every picture once, before the first step"),
    OPTION_INT(0, "views", "N", AT(a.views), "8", 1, 1024, "with --cache-latents: mirrored and moved copies of a picture"),
    OPTION_REAL(0, "drop", "P", AT(a.drop), "0.1", 0, 1, "share of captions left out, for guidance"),
    OPTION_REAL(0, "drop-tags", "P", AT(a.drop_tags), "0", 0, 1,
             "leave out each tag of a caption, what commas part, with this probability; never all"),
    OPTION_REAL(0, "drop-first", "P", AT(a.drop_first), "-1", -1, 1,
             "the same for the first tag, what is shown; -1: as --drop-tags"),
    OPTION_REAL(0, "balance", "P", AT(a.balance), "0", 0, 1,
             "show a picture whose first tag n pictures have n^-P times as often, say 0.5; 0: each once an epoch"),
    OPTION_TEXT(0, "favour", "FILE", AT(a.favour), NULL,
             "a thing a line: pictures whose first tag is one, or ends in one, are shown more often than others; they "
             "count as one thing for --balance"),
    OPTION_REAL(0, "favour-share", "S", AT(a.favour_share), "0.75", 0, 1, "what share of all that is shown they are"),
    OPTION_REAL(0, "snr-gamma", "G", AT(a.snr_gamma), "0", 0, 1e6, "min-SNR weighting, 5 say; 0: every time counts alike"),
    OPTION_REAL(0, "snr-power", "P", AT(a.snr_power), "0", 0, 1,
             "late times, where outlines are decided, count snr^-P where snr < 1, say 0.5; 0: no more than others"),
    VIEWS(diffusion_options),
    OPTION_TEXT(0, "samples", "FILE", AT(samples), NULL,
             "a prompt a line: after every checkpoint they are drawn, seed 1, as RUN/samples/step-N.png; to be given "
             "again with --resume"),
    OPTION_REAL(0, "sample-guidance", "G", AT(sample_guidance), "4", 0, 100, "guidance of the samples"),
    SHOWN(diffusion_options),
    OPTION_END
};
#undef AT

/* What both verbs do around their training. `common`: of the arguments. */
typedef struct task {
    const arguments *a;
    common_options *device;
    im_train_common *common;
    const char **config;
    bool quiet, trace_tape;
    const char *samples; float sample_guidance;                /* samples NULL: none                                   */
    im_train_config *(*read)(im_ctx *c, void *args, bool (*given)(void *arg, const char *name), void *arg);
    bool (*train)(im_ctx *c, const void *args, const im_train_hooks *hooks);
    void *args;
} task;

static int run_task(task *t)
{
    if (!t->common->out)
        return usage_error(t->a->verb, "-o RUN is missing: the folder of the run");
    t->device->strict = t->common->strict;
    im_ctx *c = session_open(t->device);
    if (!c)
        return CLI_FAILED;
    im_train_config *config = t->common->resume ? t->read(c, t->args, train_option_given, (void *)t->a) : NULL;
    if (im_ok(c) && !config && (!t->common->data || !*t->config)) {
        int rc = usage_error(t->a->verb, "%s%s",
                             t->common->resume ? "there is no run to resume in RUN; to begin one, " : "",
                             !t->common->data ? "--data DIR is missing" : "--config FOLDER is missing");
        session_close(c);
        return rc;
    }
    train_samples *samples = NULL;
    if (im_ok(c) && t->samples)
        samples = train_samples_open(c, t->samples, t->sample_guidance, t->device);
    if (im_ok(c)) {
        train_view v;
        im_train_hooks hooks;
        train_view_open(&v, c, t->quiet, t->trace_tape, &hooks);
        v.samples = samples;
        t->train(c, t->args, &hooks);
        train_view_close(&v, t->common->out);
    }
    train_samples_free(samples);
    im_train_config_free(config);
    return session_close(c);
}

static im_train_config *read_autoencoder(im_ctx *c, void *args, bool (*given)(void *arg, const char *name), void *arg)
{
    im_train_autoencoder_args *a = args;
    return im_train_autoencoder_config(c, a->common.out, a, given, arg);
}

static bool train_autoencoder(im_ctx *c, const void *args, const im_train_hooks *hooks)
{
    return im_train_autoencoder(c, args, hooks);
}

static int run_autoencoder(const arguments *a)
{
    autoencoder_options *o = a->values;
    return run_task(&(task){ .a = a, .device = &o->common, .common = &o->a.common, .config = &o->a.config,
                             .quiet = o->quiet, .trace_tape = o->trace_tape, .read = read_autoencoder,
                             .train = train_autoencoder, .args = &o->a });
}

static im_train_config *read_diffusion(im_ctx *c, void *args, bool (*given)(void *arg, const char *name), void *arg)
{
    im_train_diffusion_args *a = args;
    return im_train_diffusion_config(c, a->common.out, a, given, arg);
}

static bool train_diffusion(im_ctx *c, const void *args, const im_train_hooks *hooks)
{
    return im_train_diffusion(c, args, hooks);
}

static int run_diffusion(const arguments *a)
{
    diffusion_options *o = a->values;
    return run_task(&(task){ .a = a, .device = &o->common, .common = &o->a.common, .config = &o->a.config,
                             .quiet = o->quiet, .trace_tape = o->trace_tape, .samples = o->samples,
                             .sample_guidance = o->sample_guidance, .read = read_diffusion, .train = train_diffusion,
                             .args = &o->a });
}

const verb verb_train_autoencoder = {
    .name = "train autoencoder", .common = OPT_DEVICE | OPT_VARIANT, .options = autoencoder_table,
    .size = sizeof(autoencoder_options),
    .run = run_autoencoder, .summary = "train the autoencoder of a latent diffusion model",
    .about = "Trains an AutoencoderKL on pictures: L1 distance of pixels and of their differences, and a little divergence "
             "from a normal distribution. RUN receives config.json, log.jsonl, curves, checkpoints, and after every "
             "checkpoint RUN/vae, which diffusers loads (AutoencoderKL.from_pretrained), with the scaling_factor that "
             "gives its latents unit deviation. Without --lr the rate is 1e-3. --init FOLDER goes on from another "
             "one.",
    .examples = "  imago train autoencoder --data DIR --config MODEL --size 64 --epochs 50 -o RUN\n"
                "  imago train autoencoder --resume -o RUN",
};

const verb verb_train_diffusion = {
    .name = "train diffusion", .common = OPT_DEVICE | OPT_VARIANT, .options = diffusion_table,
    .size = sizeof(diffusion_options),
    .run = run_diffusion, .summary = "train text encoder and UNet of a latent diffusion model",
    .about = "Trains the noise predictor, and with --text train the text encoder, of a Stable Diffusion of any width on "
             "pictures with captions (metadata.jsonl, or .txt beside the pictures of tar shards). RUN receives "
             "config.json, log.jsonl, curves, checkpoints, and after every checkpoint RUN/model, a diffusers folder with "
             "the averaged weights (--ema), ready for `imago generate -m RUN/model`, and with --samples a "
             "sheet of what it draws. Without --lr the rate is 6e-4. --init MODEL goes on from trained weights.",
    .examples = "  imago train diffusion --data DIR --config MODEL --vae RUN/vae --cache-latents --ema 0.999 -o RUN\n"
                "  imago train diffusion --resume -o RUN",
};
