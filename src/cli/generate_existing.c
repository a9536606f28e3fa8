/* generate_existing.c: --skip-existing. A picture that is there is passed over only where its own text `imago` says that
 * it was made of all that this run would make it of, and its file can be read to the end; any other is an error that names
 * what differs. All are looked at before anything is drawn. Used by cmd_generate.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "data/files/json.h"
#include "data/images/picture.h"

/* What decides the bits of a picture, and how an error calls it. Other keys (version, isa) are looked at apart. */
static const char *const keys[][2] = {
    { "prompt", "prompt" }, { "negative", "negative prompt" }, { "seed", "seed" }, { "model_hash", "model, by its hash," },
    { "width", "width" }, { "height", "height" }, { "scheduler", "scheduler" }, { "steps", "number of steps" },
    { "guidance", "guidance" }, { "init_sha256", "picture of -i, by its SHA-256," }, { "strength", "strength" },
    { "latents_sha256", "file of --latents, by its SHA-256," }, { "latents_index", "place in the file of --latents" },
    { "dtype", "dtype" }, { "rng", "rng" }, { "device", "device" }, { "quality", "quality as a JPEG" },
};

static bool equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return (!a && !b) || (a && b && json_equal(a, b));
}

/* A value for an error: JSON, of long texts the beginning. */
static void value_words(const json_t *v, char out[96])
{
    enum { SHOWN = 72 };                                       /* bytes                                                */
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    size_t n = text ? strlen(text) : 0, cut = SHOWN;
    while (n > SHOWN && cut && (text[cut] & 0xc0) == 0x80)     /* never within a character                             */
        cut--;
    snprintf(out, 96, "%.*s%s", (int)(n > SHOWN ? cut : n), text ? text : "none", n > SHOWN ? "...\"" : "");
    if (!text)
        snprintf(out, 96, "none");
    free(text);
}

/* What differs between a picture `then` and one that would be made `now`: "its seed is 1, wanted 2; ..."; "": nothing. */
static void differences(const run_state *r, const json_t *then, const json_t *now, char *out, size_t size)
{
    char old[96], new[96];
    const char *isa = json_string_value(json_object_get(then, "isa"));
    *out = '\0';
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *a = json_object_get(then, keys[k][0]), *b = json_object_get(now, keys[k][0]);
        size_t n = strlen(out);
        if (equal(a, b))
            continue;
        value_words(a, old);
        value_words(b, new);
        snprintf(out + n, size - n, "%sits %s is %s, wanted %s", n ? "; " : "", keys[k][1], old, new);
    }
    if (!*out && meta_isa_decides(r, isa) && isa && strcmp(isa, im_device_isa(r->c)))
        snprintf(out, size, "it was drawn with the instruction set %s, wanted %s", isa, im_device_isa(r->c));
}

/* Is the file there the picture that would be made? Else an error, or what differs in `what`. */
static bool look_at(run_state *r, const job *j, char *what, size_t size, int *other_version)
{
    char *text = im_picture_text(r->c, j->path, "imago");
    if (!text)
        return im_fail(r->c, "%s is there already, and carries no text `imago` that says how it was made; move it away, or "
                             "--force writes over it", j->path);
    im_json then = { 0 };
    json_t *now = meta_json(r, j);
    im_image *picture = im_json_parse(r->c, &then, j->path, text, strlen(text)) ? im_picture_read(r->c, j->path) : NULL;
    const char *version = then.value ? json_string_value(json_object_get(then.value, "version")) : NULL;
    if (picture && now)
        differences(r, then.value, now, what, size);
    if (picture && now && !*what && (picture->width != r->base.width || picture->height != r->base.height))
        snprintf(what, size, "it has %dx%d pixels, wanted %dx%d", picture->width, picture->height, r->base.width,
                 r->base.height);
    *other_version += !version || strcmp(version, IM_VERSION);
    im_image_free(picture);
    im_json_close(&then);
    free(text);
    bool ok = now || im_fail(r->c, "out of memory for what is said of %s", j->path);
    json_decref(now);
    return ok && im_ok(r->c);
}

bool existing_check(run_state *r)
{
    char first[1600] = "", what[1600];
    int there = 0, differ = 0, other_version = 0, example = 0;
    for (int i = 0; i < r->jobs.n; i++) {
        if (!r->jobs.v[i].skip)
            continue;
        there++;
        *what = '\0';
        if (!look_at(r, &r->jobs.v[i], what, sizeof what, &other_version))
            return false;
        if (*what && !differ++) {
            memcpy(first, what, sizeof first);
            example = i;
        }
    }
    char more[96] = "";
    if (differ > 1)
        snprintf(more, sizeof more, " (and %d more of the %d that are there are others, too)", differ - 1, there);
    if (differ)
        return im_fail(r->c, "%s is there already, but is another picture: %s%s; -o names another place, --force writes "
                             "over what is there", r->jobs.v[example].path, first, more);
    if (other_version)
        im_warn(r->c, "of the pictures that are there %d were drawn by another version, this is imago %s: drawn anew their "
                      "pixels might differ", other_version, IM_VERSION);
    return true;
}
