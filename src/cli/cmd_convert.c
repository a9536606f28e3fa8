/* cmd_convert.c: `imago convert`: a model folder to a single file and back, and between dtypes; a classifier as well,
 * and a VAE. */
#include "cli/session.h"
#include "cli/verbs.h"

#include <string.h>

typedef struct convert_options {
    common_options common;
    const char *out, *dtype;
    uint64_t max_file;
    const char *calibrate;
    int steps;
    bool force;
} convert_options;

#define AT(field) offsetof(convert_options, field)
static const option options[] = {
    OPTION_TEXT('o', "out", "OUT", AT(out), NULL, "FILE.safetensors for a single file, otherwise a folder (required)"),
    OPTION_CHOICE(0, "dtype", "TYPE", AT(dtype), "keep", "keep|f32|f16|bf16|int8",
                  "type of the written weights; keep: as they are; int8: a folder for imago alone, in which the weights of "
                  "the UNet's products are integers with a scale a row and the rest is as it was"),
    OPTION_SIZE(0, "max-file", "SIZE", AT(max_file), "0",
                "for a folder: no file of weights larger than this, such as 16M; larger networks become shards with "
                "an index; 0: no limit"),
    OPTION_TEXT(0, "calibrate", "PROMPTS", AT(calibrate), NULL,
                "with --dtype int8: draw the prompts in this file, one per line, to find where rounding loses most, and "
                "even it out (SmoothQuant); 4 to 16 prompts of the kind that will be drawn are enough"),
    OPTION_INT(0, "steps", "N", AT(steps), "10", 1, 1000, "with --calibrate: steps of each picture"),
    OPTION_FLAG('f', "force", AT(force), "replace an existing file or model"),
    OPTION_END
};

static bool show(void *arg, int done, int total)
{
    (void)arg;
    if (done < total)
        fprintf(stderr, "\rdrawing picture %d of %d ", done + 1, total);
    else
        fprintf(stderr, "\rdrew %d pictures; trying multipliers\n", total);
    return true;
}

static void calibrate(im_ctx *c, const char *in, const convert_options *o)
{
    im_prompt_list prompts = { 0 };
    uint64_t seed = 0;
    im_calibration a = { .prompts = &prompts, .steps = o->steps, .progress = show };
    if (im_prompt_list_read(c, &prompts, o->calibrate, "", 1, &seed) &&
        im_sd_convert_calibrated(c, in, o->out, &a, o->max_file, o->force))
        printf("%d of %d products have multipliers; their error is %.2f of what it is without\n", a.multiplied, a.products,
               a.error);
    im_prompt_list_free(&prompts);
}

static int run(const arguments *a)
{
    const convert_options *o = a->values;
    if (!o->out)
        return usage_error(a->verb, "-o OUT is missing: FILE.safetensors or a folder");
    if (o->calibrate && strcmp(o->dtype, "int8"))
        return usage_error(a->verb, "--calibrate is for --dtype int8; found --dtype %s", o->dtype);
    im_ctx *c = o->calibrate ? session_open(&o->common) : session_open_files();
    if (!c)
        return CLI_FAILED;
    im_weights_rules(c, o->common.strict, o->common.variant);
    im_dtype t;
    const char *in = a->operands[0];
    int dtype = im_dtype_parse(o->dtype, &t) ? (int)t : -1;
    if (im_is_classifier(c, in))
        im_classifier_convert(c, in, o->out, dtype, o->force);
    else if (im_is_vae(c, in))
        im_vae_convert(c, in, o->out, dtype, o->force);
    else if (o->calibrate)
        calibrate(c, in, o);
    else
        im_sd_convert(c, in, o->out, dtype, o->max_file, o->force);
    return session_close(c);
}

const verb verb_convert = {
    .name = "convert", .operands = "MODEL|FILE|RUN", .min_operands = 1, .max_operands = 1, .common = OPT_MODEL | OPT_DEVICE,
    .options = options,
    .size = sizeof(convert_options), .run = run,
    .summary = "convert a model between folder and single file, and between dtypes",
    .about = "Converts a diffusers folder to a single file in the original layout, a single file to a folder, or "
             "either to another dtype. diffusers loads the result: a folder with from_pretrained, a file with "
             "from_single_file. A classifier, given as a run or a file, becomes one file of weights; its vectors "
             "stay f32. A folder with a VAE alone, such as RUN/vae of `imago train decoder`, becomes another in "
             "--dtype.\n\n--dtype int8 makes a folder that loads at once and is drawn with in int8, as "
             "`generate --dtype int8` does with other folders; no other program reads it. With "
             "--calibrate it draws better than that.\n\n"
             "A folder is written whole under another name and then put in place at once. So, with "
             "--force, OUT may be MODEL itself: the old model stands there until the new one is complete, even if "
             "something fails. Your own files in the folder are kept; only those of the old model are removed.",
    .examples = "  imago convert FOLDER -o model.safetensors --dtype f16\n"
                "  imago convert FOLDER -o SHARDED --dtype f16 --max-file 16M\n"
                "  imago convert model.safetensors -o FOLDER\n"
                "  imago convert FOLDER -o INT8 --dtype int8\n"
                "  imago convert FOLDER -o INT8 --dtype int8 --calibrate prompts.txt\n"
                "  imago convert RUN -o classifier.safetensors --dtype f16\n"
                "  imago convert RUN/vae -o TINY --dtype f16",
};
