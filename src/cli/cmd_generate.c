/* cmd_generate.c: `imago generate`: prompts in, pictures out. Everything that can be refused is refused before any work:
 * options, names of files, metadata, sizes, memory. The parts are declared in generate.h. */
#include <stdlib.h>
#include <string.h>

#include "cli/asked.h"
#include "cli/bench.h"
#include "cli/events.h"
#include "cli/generate.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/files/sha256.h"

#define AT(field) offsetof(generate_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "MODEL", AT(model), NULL,
                "a diffusers folder or a single .safetensors file; without it, the small embedded model"),
    OPTION_PHRASE('p', "prompt", "TEXT", AT(prompt), NULL, "what to draw"),
    OPTION_TEXT(0, "prompts", "FILE", AT(prompts), NULL,
                "a file with one prompt per line; or per line one JSON object with prompt, negative, seed, steps, width, "
                "height, guidance, scheduler, or the same as options: --prompt \"...\" --steps 20; - reads standard input"),
    OPTION_TEXT(0, "wildcards", "FOLDER", AT(wildcards), NULL,
                "__NAME__ in a prompt or negative prompt becomes a line of FOLDER/NAME.txt, chosen by the picture's seed"),
    OPTION_PHRASE('n', "negative", "TEXT", AT(negative), "", "what the picture should not show"),
    SYNTAX_OPTION(generate_options),
    CLIP_SKIP_OPTION(generate_options),
    OPTION_INT(0, "steps", "N", AT(steps), NULL, 1, 100000,
               "number of denoising steps, at most as many as the model was trained with: 1000 in v1.x"),
    OPTION_REAL('g', "guidance", "G", AT(guidance), NULL, -1000, 1000,
                "how closely to follow the prompt; at 1 or less, each step needs only one pass"),
    OPTION_INT(0, "deep-cache", "N", AT(deep_cache), "1", 1, 1000,
               "computes all of the UNet in one step of N, and in the others only its outermost layers, which take the "
               "rest from that step (DeepCache): faster, and another picture. 1: all of it in every step"),
    OPTION_REAL(0, "token-merging", "R", AT(token_merging), "0", 0, 0.9,
                "merges this share of the tokens, those most alike, before attention at the UNet's finest level, and takes "
                "them apart behind it (ToMe): faster at large sizes, and another picture. Three of four is the most; 0: "
                "none"),
    OPTION_DRAWN_SEED('s', "seed", "SEED", AT(seed),
                      "seed of the first picture; the others count up from it. Without it, or with -1: a random "
                      "one, which is printed"),
    OPTION_TEXT(0, "scheduler", "NAME", AT(scheduler), NULL,
                "pndm, ddim, euler, euler_a, heun, lms, dpmpp_2m, dpmpp_2m_karras, unipc, ddpm, or lcm or tcd for models "
                "and LoRAs distilled to a few steps; without it, the model's own"),
    OPTION_REAL(0, "eta", "E", AT(eta), "0", 0, 1,
                "with --scheduler ddim or tcd: the share of noise that is put back in each step; 0: none"),
    OPTION_INT('W', "width", "PIXELS", AT(width), "0", 0, 1 << 16, "width of the pictures; 0: the model's own"),
    OPTION_INT('H', "height", "PIXELS", AT(height), "0", 0, 1 << 16, "height of the pictures; 0: the model's own"),
    OPTION_INT('c', "count", "N", AT(count), "1", 1, 1000000, "pictures per prompt"),
    OPTION_INT('b', "batch", "B", AT(batch), "1", 1, 4096, "pictures drawn at once; it changes no picture"),
    OPTION_CHOICE(0, "rng", "KIND", AT(rng), "cpu", "cpu|cuda", "which of torch's generators the noise follows"),
    OPTION_TEXT('i', "init", "PICTURE", AT(init), NULL,
                "picture to start from, a PNG or JPEG; it is turned upright as its EXIF data says"),
    OPTION_REAL(0, "strength", "S", AT(strength), NULL, 0, 1,
                "with -i: how much to change the picture; 0 keeps it, 1 ignores it"),
    OPTION_TEXT(0, "mask", "PICTURE", AT(mask), NULL,
                "with -i: draw anew only where this picture is white, and keep the rest; also for inpainting models, whose "
                "UNet has 9 inputs"),
    OPTION_REAL(0, "mask-blur", "R", AT(mask_blur), "0", 0, 1000,
                "with --mask: blur it by so many pixels first, before it is made black and white at one half"),
    OPTION_CHOICE(0, "mask-fill", "WITH", AT(mask_fill), "original", "original|fill|noise|nothing",
                  "with --mask: what the white part begins from: what is there, the colours around it, noise, or latents "
                  "of 0; at --strength 1 nothing of it is left"),
    OPTION_INT(0, "mask-only", "PADDING", AT(mask_only), "-1", -1, 1 << 16,
               "with --mask: draw only the white part and PADDING pixels around it, at --width x --height (else at the "
               "model's own size), and put it back into the picture, which keeps its size and all that is black in the "
               "mask; -1: draw the whole picture"),
    OPTION_TEXT('o', "out", "OUT", AT(out), ".",
                "a .png or .jpg file for one picture, or a folder for SEED.png; missing folders are made"),
    OPTION_CHOICE(0, "format", "FORMAT", AT(format), NULL, "png|jpeg",
                  "format of the pictures; without it, as the name of OUT ends, and PNG in a folder"),
    OPTION_INT(0, "quality", "Q", AT(quality), "95", 1, 100,
               "quality of JPEGs, always with colour at full resolution (4:4:4); also of a sheet named .jpg"),
    OPTION_FLAG(0, "no-mark", AT(no_mark),
                "leave out the XMP that says a model drew the picture (IPTC trainedAlgorithmicMedia)"),
    OPTION_TEXT(0, "from", "PICTURE", AT(from), NULL,
                "draw this PNG or JPEG again, from the settings that its file holds; other options replace single "
                "settings"),
    OPTION_FLAG(0, "any-model", AT(any_model), "with --from: allow another model than the one that drew the picture"),
    OPTION_TEXT(0, "latents", "IN.safetensors", AT(latents), NULL,
                "noise to start from: a tensor \"latents\" of shape (N, 4, h, w)"),
    OPTION_TEXT(0, "save-latents", "OUT.safetensors", AT(save_latents), NULL,
                "also write the final latents of all pictures"),
    OPTION_TEXT(0, "sheet", "SHEET.png", AT(sheet), NULL,
                "also draw all pictures on one sheet (.png or .jpg), enlarged to at least 160 pixels, each with its "
                "prompt below"),
    OPTION_LIST(0, "grid", "OPTION=A,B...", AT(grid),
                "a picture for each value of one option, or each pair of two: --grid steps=10,20 guidance=1,7.5. The first "
                "goes along the columns. -o FILE.png is the grid alone; in a folder it is grid.png (or --sheet) beside the "
                "pictures. Options: steps, guidance, scheduler, seed, width, height, strength, mask-blur, mask-fill, "
                "mask-only, clip-skip, prompt-syntax, deep-cache, token-merging, eta; prompt and negative, whose texts | "
                "parts"),
    OPTION_TEXT(0, "classify", "RUN|FILE", AT(classify), NULL,
                "name each picture with a classifier of `imago train resnet`: class and probability go on the "
                "sheet, into the printed lines and into --json. It sees the pictures as in `imago eval`, at the "
                "size it was trained at, or at their own if its file does not say"),
    VAE_OPTION(generate_options),
    TILE_OPTION(generate_options),
    LORA_OPTIONS(generate_options),
    EMBEDDING_OPTION(generate_options),
    OPTION_FLAG('f', "force", AT(force), "overwrite existing files"),
    OPTION_FLAG(0, "skip-existing", AT(skip_existing),
                "draw only the pictures that do not exist yet; a file of that name that holds another picture is an "
                "error"),
    OPTION_FLAG(0, "cache-weights", AT(cache_weights),
                "keep packed weights in MODEL/imago-cache or in the user's cache, so that the next start takes no time; "
                "they are as large as the model"),
    OPTION_FLAG(0, "profile", AT(profile), "print the time of every operation and layer"),
    OPTION_FLAG(0, "eager", AT(eager), "run operation by operation, without a recorded plan; it changes no picture"),
    OPTION_FLAG(0, "json", AT(json), "print one JSON object per picture and a summary on standard output"),
    OPTION_FLAG('q', "quiet", AT(quiet), "show no progress"),
    OPTION_END
};

/* Is the option given, or varied by --grid? */
static bool asked_for(const arguments *a, const char *name)
{
    const option_list *l = &((const generate_options *)a->values)->grid;
    size_t n = strlen(name);
    bool any = option_given(a, name);
    for (int i = 0; l->n && i < l->n + a->n_operands && !any; i++) {
        const char *axis = i < l->n ? l->v[i] : a->operands[i - l->n];
        size_t k = 0;
        while (k < n && (axis[k] == name[k] || (axis[k] == '_' && name[k] == '-'))) k++;
        any = k == n && axis[k] == '=';
    }
    return any;
}

static int check_options(const arguments *a)
{
    const generate_options *o = a->values;
    if (!o->prompt && !o->prompts && !o->from)
        return usage_error(a->verb, "what to draw is missing: -p TEXT, --prompts FILE or --from PICTURE");
    if (a->n_operands && !o->grid.n)
        return usage_error(a->verb, "\"%s\" is one argument too many; a text of several words goes in quotes",
                           a->operands[0]);
    if (o->grid.n && (o->prompts || o->count > 1))
        return usage_error(a->verb, "--grid is of one picture; leave %s out", o->prompts ? "--prompts" : "--count");
    if (o->prompt && o->prompts)
        return usage_error(a->verb, "-p and --prompts cannot be combined; put the prompt into the file");
    if (asked_for(a, "strength") && !o->init && !o->from)
        return usage_error(a->verb, "--strength needs a picture to begin from: -i PICTURE");
    if (o->mask && !o->init)
        return usage_error(a->verb, "--mask needs the picture that it is for: -i PICTURE");
    for (const char *const *name = (const char *const[]){ "mask-blur", "mask-fill", "mask-only", NULL }; *name; name++)
        if (asked_for(a, *name) && !o->mask)
            return usage_error(a->verb, "--%s needs --mask", *name);
    if (o->init && o->latents)
        return usage_error(a->verb, "-i and --latents cannot be combined: both say what to begin from");
    if (o->any_model && !o->from)
        return usage_error(a->verb, "--any-model needs --from");
    if (o->force && o->skip_existing)
        return usage_error(a->verb, "--force and --skip-existing cannot be combined");
    if (o->classify && o->quiet && !o->json && !o->sheet)
        return usage_error(a->verb, "--classify with -q, and without --json and --sheet, shows its names nowhere; leave "
                                    "-q out, or add one of them");
    if (o->quiet && events_wanted(&o->common))
        return usage_error(a->verb, "--quiet and --progress json cannot be combined");
    if (o->save_latents && o->skip_existing)
        return usage_error(a->verb, "--save-latents needs every picture of the run drawn now; leave --skip-existing "
                                    "out");
    return CLI_OK;
}

void mask_args(const generate_options *o, im_sd_args *a)
{
    a->mask_blur = o->mask_blur;
    im_mask_fill_named(o->mask_fill, &a->mask_fill);
    a->mask_only = o->mask_only >= 0;
    a->mask_padding = a->mask_only ? o->mask_only : 0;
}

/* A picture, and the hash of its pixels. */
static bool read_hashed(im_ctx *c, const char *path, im_image **out, char hash[65])
{
    im_image *i = *out = im_picture_read(c, path);
    return i && im_sha256_of(c, i->pixels, (size_t)i->width * (size_t)i->height * (size_t)i->channels, hash);
}

static bool load_init(run_state *r)
{
    if (!r->o->init)
        return true;
    if (!read_hashed(r->c, r->o->init, &r->init, r->init_hash) ||
        (r->o->mask && !read_hashed(r->c, r->o->mask, &r->mask, r->mask_hash)))
        return false;
    r->base.mask = r->mask;
    mask_args(r->o, &r->base);
    r->base.init = r->init;
    r->base.strength = r->o->strength;
    r->base.width = r->o->width;                               /* 0: the library's rule                                */
    r->base.height = r->o->height;
    return true;
}

/* With an init picture the model may round the size down; the picture's texts say what it really is. */
static bool set_size(run_state *r)
{
    return im_sd_settle_size(r->sd, &r->base) && im_sd_latent_shape(r->sd, &r->base, r->latent_shape);
}

/* Everything that prompts name is there, before anything is drawn. */
static bool check_prompts(run_state *r)
{
    bool ok = true;
    for (int i = 0; ok && i < r->jobs.n; i++) {
        const im_sd_args a = job_args(r, &r->jobs.v[i]);
        ok = im_sd_check_prompt(r->sd, &a);
    }
    return ok;
}

/* A JPEG may be too small for what it says of its making. */
static bool texts_fit(run_state *r)
{
    bool ok = true;
    for (int i = 0; ok && r->format == IM_JPEG && i < r->jobs.n; i++) {
        const im_request q = job_request(r, &r->jobs.v[i]);
        ok = im_request_write(r->sd, &q, r->jobs.v[i].path, NULL, false);
    }
    return ok;
}

static bool open_model(run_state *r)
{
    generate_options *o = r->o;
    r->sd = session_model(r->c, o->model, o->vae, &o->common);
    im_sd_cache_weights(r->sd, o->cache_weights);
    if (!r->sd || !reading_add(r->sd, &o->reading))
        return false;
    im_sd_set_activations(r->sd, session_activations(&o->common));
    if (!model_name_of(r->c, o->model, r->model_name, sizeof r->model_name))
        return false;
    r->base = im_sd_defaults(r->sd);
    r->base.steps = o->steps;
    r->base.guidance = o->guidance;
    r->base.syntax = reading_syntax(&o->reading);
    r->base.clip_skip = o->reading.clip_skip;
    r->base.deep_cache = o->deep_cache;
    r->base.token_merging = o->token_merging;
    r->base.eta = o->eta;
    r->base.rng = strcmp(o->rng, "cuda") ? IM_RNG_CPU : IM_RNG_CUDA;
    r->base.tile = o->tile;
    r->base.eager = o->eager || o->profile;
    if (o->scheduler)
        r->base.scheduler = o->scheduler;
    if (o->width)
        r->base.width = o->width;
    if (o->height)
        r->base.height = o->height;
    if (!load_init(r))
        return false;
    r->base.scheduler = im_sd_scheduler(r->sd, &r->base);
    int at_once = o->batch < r->jobs.n ? o->batch : r->jobs.n;
    im_sd_file_hash(r->sd);                                    /* now: where it fails, nothing was drawn yet            */
    return im_ok(r->c) && r->base.scheduler && set_size(r) && latents_load(r) && jobs_settle(r) && check_prompts(r) &&
           from_check(r) && texts_fit(r) && existing_check(r) && im_sd_check_memory(r->sd, &r->base, at_once);
}

static bool prepare_outputs(run_state *r)
{
    size_t n = (size_t)r->jobs.n, latent = (size_t)(r->latent_shape[0] * r->latent_shape[1] * r->latent_shape[2]);
    if (r->o->save_latents && !(r->saved = malloc(n * latent * sizeof(float))))
        return im_fail(r->c, "out of memory for the latents of %d pictures", r->jobs.n);
    if (r->o->sheet && !(r->pictures = calloc(n, sizeof *r->pictures)))
        return im_fail(r->c, "out of memory for the pictures of the sheet");
    return !r->o->sheet || sheet_check(r);
}

/* All the work after the checks; true when every picture is there. */
static bool work(run_state *r)
{
    double start = im_seconds();
    im_peak peak = { 0 };
    if (!prepare_outputs(r))
        return false;
    if (r->o->profile) {
        bench_measure_peak(r->c, &peak);
        r->profile = profile_start(r->c);
    }
    bool ok = run_jobs(r);
    profile_stop(r->c, r->profile);
    if (r->profile && r->finished && !(events_wanted(&r->o->common) && r->o->json))
        profile_print(r->profile, events_wanted(&r->o->common) ? stdout : stderr, peak.gflops[IM_COMPUTE_F32],
                      peak.read_gbs);
    if (r->profile && r->finished && r->o->json) {
        json_t *p = json_pack("{s:o}", "profile", profile_json(r->profile, peak.gflops[IM_COMPUTE_F32], peak.read_gbs));
        json_dumpf(p, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(p);
    }
    run_report(r, im_seconds() - start);
    if (!ok)
        return false;
    latents_save(r);                                           /* each, whether the other can be written or not        */
    char *error = error_put_aside(r->c);
    if (r->o->sheet)
        sheet_write(r);
    return error_put_back(r->c, error);
}

static void close_run(run_state *r)
{
    for (int i = 0; r->pictures && i < r->jobs.n; i++)
        im_image_free(r->pictures[i]);
    free(r->pictures);
    free(r->saved);
    free(r->latents);
    profile_free(r->profile);
    im_image_free(r->init);
    im_image_free(r->mask);
    im_image_free(r->from.image);
    im_request_free(r->from.text);
    json_decref(r->summary);
    jobs_free(r);
    grid_free(r);
    free(r->grid_path);
    im_namer_free(r->namer);
    im_sd_free(r->sd);
}

static void defaults(void *values)
{
    generate_options *o = values;
    im_sd_args d = im_sd_defaults(NULL);
    o->steps = d.steps;
    o->guidance = d.guidance;
    o->strength = d.strength;
}

/* The first events; what is used wrongly was told in plain words before. */
static void say_start(const run_state *r)
{
    if (!events_wanted(&r->o->common))
        return;
    event_print("start", json_pack("{s:s, s:s, s:i}", "verb", r->a->verb->name, "version", IM_VERSION, "pictures",
                                   r->jobs.n));
    event_print("load", json_pack("{s:o}", "model", clean_json(r->c, r->o->model)));
}

static int run(const arguments *a)
{
    generate_options *o = a->values;
    run_state r = { .a = a, .o = o, .from.path = o->from,
                    .bar = { .quiet = o->quiet, .events = events_wanted(&o->common) } };
    int rc = check_options(a);
    if (rc)
        return rc;
    if (!option_given(a, "seed") || o->seed.drawn)
        o->seed.value = random_seed();
    /* --from may say which device, so its file is read before the device is opened. */
    if (o->from) {
        if (!(r.c = session_open_files()))
            return CLI_FAILED;
        if (!from_read(&r)) {
            close_run(&r);
            return session_end(r.c, &o->common, NULL);
        }
        session_close(r.c);
    }
    if (!(r.c = session_open(&o->common))) {
        close_run(&r);
        return CLI_FAILED;
    }
    rc = grid_read(&r);
    if (rc == CLI_OK)
        rc = jobs_build(&r) ? names_assign(&r) : CLI_FAILED;
    if (rc == CLI_OK)
        say_start(&r);
    if (rc == CLI_OK && open_model(&r) && classify_open(&r))
        work(&r);
    json_t *summary = json_incref(r.summary);
    close_run(&r);
    int closed = session_end(r.c, rc == CLI_USAGE ? NULL : &o->common, summary);
    return rc ? rc : closed;
}

const verb verb_generate = {
    .name = "generate", .common = OPT_MODEL | OPT_PROGRESS | OPT_DEVICE | OPT_DTYPE | OPT_ACTIVATIONS, .options = options,
    .size = sizeof(generate_options), .run = run, .defaults = defaults, .max_operands = 1,
    .summary = "draw pictures from prompts",
    .about = "Draws pictures from text. The same seed gives the same picture, bit for bit, whether it is drawn "
             "alone or in a batch, on any number of threads. Each picture is written as soon as it is finished, and "
             "its file holds all that is needed to draw it again (--from): in the text chunks of a PNG, in the EXIF "
             "comment of a JPEG. Where several prompts share a seed, files are named SEED-pN.png, with N the number "
             "of the prompt. Ctrl-C keeps the finished pictures and says how to go on.",
    .examples = "  imago generate -p \"a red bicycle\" -s 42 -o bicycle.png\n"
                "  imago generate -m FOLDER --prompts prompts.txt --batch 4 -o pictures --sheet sheet.png\n"
                "  imago generate --prompts prompts.txt --classify RUN -o pictures --sheet sheet.png\n"
                "  imago generate -p strawberry -s 1 --grid steps=10,20,50 guidance=1,2,7.5 -o grid.png\n"
                "  imago generate -m FOLDER -p \"in oil\" -i photo.jpg --strength 0.6 -o oil.png\n"
                "  imago generate -m FOLDER --from bicycle.png -o again.png",
};
