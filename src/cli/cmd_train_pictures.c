/* cmd_train_pictures.c: `imago train autoencoder` and `imago train diffusion`: the two halves of a latent diffusion
 * model from a set of pictures with captions; `imago train decoder`: a tiny stand-in for the first one. What they share
 * with `train resnet` is in train.h; the trainings are models/train/train_autoencoder.c, train_decoder.c and
 * train_diffusion.c. */
#include <string.h>

#include "cli/session.h"
#include "cli/train.h"
#include "cli/verbs.h"

typedef struct autoencoder_options {
    common_options common;
    im_train_autoencoder_args a;
    bool quiet, trace_tape;
} autoencoder_options;

typedef struct decoder_options {
    common_options common;
    im_train_decoder_args a;
    bool quiet, trace_tape;
} decoder_options;

typedef struct diffusion_options {
    common_options common;
    im_train_diffusion_args a;
    const char *samples;
    float sample_guidance;
    bool quiet, trace_tape;
} diffusion_options;

#define VIEWS \
    OPTION_FIELD(0, "size", "PIXELS", \
                 "side of the pictures: the shorter side is resized to it, the middle is cut out; 0: as the config says"), \
    OPTION_FIELD(0, "flip", "P", "probability of mirroring a picture"), \
    OPTION_FIELD(0, "shift", "PIXELS", "move pictures at random by up to so many pixels")
#define SHOWN(type) \
    OPTION_FLAG(0, "trace-tape", offsetof(type, trace_tape), \
                "print the tape of the first step: every operation with its output, the bytes it keeps and its time"), \
    OPTION_FLAG('q', "quiet", offsetof(type, quiet), "show no progress")

static const option autoencoder_table[] = {
    TRAIN_OPTIONS(autoencoder_options, "1e-3", "the folder of an autoencoder"),
    OPTION_FIELD(0, "config", "FOLDER",
                 "shape of the network: config.json of an AutoencoderKL, in FOLDER or FOLDER/vae (required for a new run)"),
    OPTION_FIELD(0, "val", "DIR",
                 "held-out pictures, evaluated after every epoch: the best checkpoint is the one of highest PSNR"),
    OPTION_FIELD(0, "gradient-weight", "W",
                 "weight in the loss of the L1 distance between differences of neighbouring pixels"),
    OPTION_FIELD(0, "train", "WHAT",
                 "decoder: leave the encoder and scaling_factor of --init as they are, so that latents stay the same"),
    OPTION_FIELD(0, "kl-weight", "W", "weight in the loss of the divergence from a normal distribution"),
    VIEWS,
    SHOWN(autoencoder_options),
    OPTION_END
};

static const option decoder_table[] = {
    TRAIN_OPTIONS(decoder_options, "1e-3", "a tiny VAE to train on"),
    OPTION_FIELD(0, "vae", "FOLDER|FILE",
                 "whose pictures and latents are learnt: a model, or a VAE by itself (required for a new run)"),
    OPTION_FIELD(0, "val", "DIR",
                 "held-out pictures, evaluated after every epoch: the best checkpoint is the one of highest PSNR, against "
                 "what the VAE's own decoder makes of them"),
    OPTION_FIELD(0, "width", "C", "channels of every layer; 0: those of --init, else 64"),
    OPTION_FIELD(0, "blocks", "N",
                 "blocks of three convolutions a level; the finest level has one. 0: those of --init, else 3"),
    OPTION_FIELD(0, "target", "WHAT",
                 "what the decoder is to give: what the VAE decodes of the latents, or the picture itself"),
    VIEWS,
    SHOWN(decoder_options),
    OPTION_END
};

#define AT(field) offsetof(diffusion_options, field)
static const option diffusion_table[] = {
    TRAIN_OPTIONS(diffusion_options, "6e-4, with --lora 1e-4", "the folder of a model"),
    OPTION_FIELD(0, "config", "FOLDER",
                 "a diffusers folder that gives the shape of the model, its tokenizer and its scheduler; its weights are "
                 "not read; without it, --init's (a new run needs one of the two)"),
    OPTION_FIELD(0, "vae", "FOLDER",
                 "the autoencoder: RUN/vae of `imago train autoencoder`, or a model; without it, --init's"),
    OPTION_FIELD(0, "text", "WHAT", "train the text encoder as well, or leave it frozen"),
    OPTION_FIELD(0, "lora", "RANK",
                 "train a LoRA of this rank beside the weights of --init, which stay as they are: adapters of the "
                 "attention's projections, written as RUN/pytorch_lora_weights.safetensors, which diffusers loads; 0: "
                 "none"),
    OPTION_FIELD(0, "lora-text", NULL, "with --lora: adapters in the text encoder too"),
    OPTION_FIELD(0, "lora-alpha", "A", "with --lora: the adapters' output is multiplied by A / RANK; 0: A is RANK"),
    OPTION_FIELD(0, "lora-from", "FILE|FOLDER",
                 "with --lora: begin with this LoRA, any that generate --lora takes, of the same rank and layers; alpha / "
                 "rank of it is kept in its factors"),
    OPTION_FIELD(0, "cache-latents", NULL, "encode every picture once, before the first step"),
    OPTION_FIELD(0, "views", "N", "with --cache-latents: mirrored and moved copies kept of each picture"),
    OPTION_FIELD(0, "drop", "P", "share of captions replaced by the empty one, which guidance needs"),
    OPTION_FIELD(0, "drop-tags", "P",
                 "probability of dropping each tag of a caption (tags are separated by commas); one always stays"),
    OPTION_FIELD(0, "drop-first", "P", "the same for the first tag, which names what is shown; -1: as --drop-tags"),
    OPTION_FIELD(0, "balance", "P",
                 "show a picture whose first tag n pictures share n^-P times as often, such as 0.5; 0: once per epoch"),
    OPTION_FIELD(0, "favour", "FILE",
                 "a list of things, one per line: pictures whose first tag is one of them, or ends in one, are shown more "
                 "often; for --balance, all pictures of a thing count as sharing one tag"),
    OPTION_FIELD(0, "favour-share", "S", "share of all pictures shown that are of the things in --favour"),
    OPTION_FIELD(0, "snr-gamma", "G", "min-SNR weighting of the loss, such as 5; 0: all times count alike"),
    OPTION_FIELD(0, "snr-power", "P",
                 "weight late times, which decide outlines, by snr^-P where snr < 1, such as 0.5; 0: all alike"),
    VIEWS,
    OPTION_TEXT(0, "samples", "FILE", AT(samples), NULL,
                "prompts, one per line, drawn with seed 1 after every checkpoint as RUN/samples/step-N.png; give it "
                "again with --resume"),
    OPTION_REAL(0, "sample-guidance", "G", AT(sample_guidance), "4", 0, 100, "guidance of the samples"),
    SHOWN(diffusion_options),
    OPTION_END
};
#undef AT

static void autoencoder_defaults(void *values)
{
    ((autoencoder_options *)values)->a = im_train_autoencoder_defaults();
}

static void decoder_defaults(void *values)
{
    ((decoder_options *)values)->a = im_train_decoder_defaults();
}

static void diffusion_defaults(void *values)
{
    ((diffusion_options *)values)->a = im_train_diffusion_defaults();
}

/* What both verbs do around their training. `common`: of the arguments. */
typedef struct task {
    const arguments *a;
    common_options *device;
    im_train_common *common;
    const char **config;                                       /* what gives the network its shape, ...                */
    const char *config_name;                                   /* and what is said where it is not given               */
    bool init_will_do;                                         /* in the place of that                                 */
    bool quiet, trace_tape;
    const char *samples; float sample_guidance;                /* samples NULL: none                                   */
    const int *lora;                                           /* its rank; NULL: no such option                       */
    im_train_config *(*read)(im_ctx *c, void *args, bool (*given)(void *arg, const char *name), void *arg);
    bool (*train)(im_ctx *c, const void *args, const im_train_hooks *hooks);
    void *args;
} task;

static int run_task(task *t)
{
    if (!t->common->out)
        return usage_error(t->a->verb, "-o RUN is missing: the folder of the run");
    const train_shown shown = { .a = t->a, .common = t->device, .task = t->common, .quiet = t->quiet,
                                .trace_tape = t->trace_tape };
    int rc = train_check_shown(t->a, &shown);
    if (rc)
        return rc;
    t->device->strict = t->common->strict;
    im_ctx *c = session_open(t->device);
    if (!c)
        return CLI_FAILED;
    im_train_config *config = t->common->resume ? t->read(c, t->args, train_option_given, (void *)t->a) : NULL;
    bool shaped = *t->config || (t->init_will_do && t->common->init);
    if (im_ok(c) && !config && (!t->common->data || !shaped)) {
        rc = usage_error(t->a->verb, "%s%s",
                             t->common->resume ? "there is no run to resume in RUN; to begin one, " : "",
                             t->common->data ? t->config_name : "--data DIR is missing");
        session_close(c);
        return rc;
    }
    train_samples *samples = NULL;
    if (im_ok(c) && t->samples)
        samples = train_samples_open(c, t->samples, t->sample_guidance, t->device,
                                     t->lora && *t->lora ? &t->common->init : NULL);
    if (im_ok(c)) {
        train_view v;
        im_train_hooks hooks;
        train_view_open(&v, c, &shown, &hooks);
        v.samples = samples;
        t->train(c, t->args, &hooks);
        train_view_close(&v, t->common->out);
    }
    train_samples_free(samples);
    im_train_config_free(config);
    return train_end(c, t->device);
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
                             .config_name = "--config FOLDER is missing",
                             .quiet = o->quiet, .trace_tape = o->trace_tape, .read = read_autoencoder,
                             .train = train_autoencoder, .args = &o->a });
}

static im_train_config *read_decoder(im_ctx *c, void *args, bool (*given)(void *arg, const char *name), void *arg)
{
    im_train_decoder_args *a = args;
    return im_train_decoder_config(c, a->common.out, a, given, arg);
}

static bool train_decoder(im_ctx *c, const void *args, const im_train_hooks *hooks)
{
    return im_train_decoder(c, args, hooks);
}

static int run_decoder(const arguments *a)
{
    decoder_options *o = a->values;
    return run_task(&(task){ .a = a, .device = &o->common, .common = &o->a.common, .config = &o->a.vae,
                             .config_name = "--vae FOLDER is missing: a model, or a VAE, to learn from",
                             .quiet = o->quiet, .trace_tape = o->trace_tape, .read = read_decoder,
                             .train = train_decoder, .args = &o->a });
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
    if (o->a.lora && option_given(a, "text") && (strcmp(o->a.text, "train") == 0) != o->a.lora_text)
        return usage_error(a->verb, "--text %s is for training the networks themselves; with --lora, --lora-text trains "
                           "adapters in the text encoder too", o->a.text);
    return run_task(&(task){ .a = a, .device = &o->common, .common = &o->a.common, .config = &o->a.config,
                             .config_name = "--config FOLDER, or --init MODEL to train on, is missing",
                             .init_will_do = true, .lora = &o->a.lora,
                             .quiet = o->quiet, .trace_tape = o->trace_tape, .samples = o->samples,
                             .sample_guidance = o->sample_guidance, .read = read_diffusion, .train = train_diffusion,
                             .args = &o->a });
}

const verb verb_train_autoencoder = {
    .name = "train autoencoder", .common = OPT_PROGRESS | OPT_DEVICE | OPT_VARIANT,
    .options = autoencoder_table,
    .size = sizeof(autoencoder_options),
    .run = run_autoencoder, .defaults = autoencoder_defaults, .fields = im_train_autoencoder_fields,
    .fields_at = offsetof(autoencoder_options, a), .summary = "train the autoencoder of a latent diffusion model",
    .about = "Trains an AutoencoderKL on pictures. The loss is the L1 distance of pixels and of their differences, "
             "and a little divergence from a normal distribution. RUN receives config.json, log.jsonl, curves, "
             "checkpoints and, after every checkpoint, RUN/vae, which diffusers loads "
             "(AutoencoderKL.from_pretrained); its scaling_factor gives the latents unit deviation. Without --lr "
             "the rate is 1e-3. --init FOLDER starts from trained weights.",
    .examples = "  imago train autoencoder --data DIR --config MODEL --size 64 --epochs 50 -o RUN\n"
                "  imago train autoencoder --resume -o RUN",
};

const verb verb_train_decoder = {
    .name = "train decoder", .common = OPT_PROGRESS | OPT_DEVICE | OPT_VARIANT,
    .options = decoder_table,
    .size = sizeof(decoder_options),
    .run = run_decoder, .defaults = decoder_defaults, .fields = im_train_decoder_fields,
    .fields_at = offsetof(decoder_options, a), .summary = "train a tiny decoder and encoder for the latents of a model",
    .about = "Trains an AutoencoderTiny, as TAESD is, on what a model's VAE makes of pictures: the mean square error of "
             "the decoded pictures, and of the latents that it encodes. RUN receives config.json, log.jsonl, curves, "
             "checkpoints and, after every checkpoint, RUN/vae with the averaged weights (--ema), for `imago generate "
             "-m MODEL --vae RUN/vae` and for AutoencoderTiny.from_pretrained of diffusers. `imago convert RUN/vae -o "
             "TINY --dtype f16` makes it half as large. Without --lr the rate is 1e-3. --init goes on from a tiny VAE.",
    .examples = "  imago train decoder --data DIR --vae MODEL --val DIR2 -o RUN\n"
                "  imago train decoder --data DIR --vae weights/imago-small --width 32 --blocks 2 --epochs 30 -o RUN\n"
                "  imago train decoder --resume -o RUN",
};

const verb verb_train_diffusion = {
    .name = "train diffusion", .common = OPT_PROGRESS | OPT_DEVICE | OPT_VARIANT,
    .options = diffusion_table,
    .size = sizeof(diffusion_options),
    .run = run_diffusion, .defaults = diffusion_defaults, .fields = im_train_diffusion_fields,
    .fields_at = offsetof(diffusion_options, a), .summary = "train the text encoder and UNet of a latent diffusion model",
    .about = "Trains the noise predictor and, with --text train, the text encoder of a Stable Diffusion of any "
             "width, on pictures with captions (metadata.jsonl, or .txt files in tar shards). RUN receives "
             "config.json, log.jsonl, curves, checkpoints and, after every checkpoint, RUN/model, a diffusers "
             "folder with the averaged weights (--ema), ready for `imago generate -m RUN/model`; with --samples "
             "also a sheet of what it draws. Without --lr the rate is 6e-4. --init MODEL starts from trained "
             "weights. With --lora RANK those stay as they are and need no gradients; RUN receives "
             "pytorch_lora_weights.safetensors in the place of a model, for `imago generate -m MODEL --lora RUN` and for "
             "load_lora_weights of diffusers.",
    .examples = "  imago train diffusion --data DIR --config MODEL --vae RUN/vae --cache-latents --ema 0.999 -o RUN\n"
                "  imago train diffusion --data DIR --init MODEL --lora 8 --batch 1 --steps 1000 -o RUN\n"
                "  imago train diffusion --resume -o RUN",
};
