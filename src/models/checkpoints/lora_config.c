/* lora_config.c: see lora_config.h. Keys and their meaning: LoraConfig of PEFT (peft/tuners/lora/config.py), and
 * get_pattern_key (peft/utils/other.py). */
#include "models/checkpoints/lora_config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "data/text/module_pattern.h"

enum { NAME = 400 };                     /* bytes of a module's name, as in lora.c                                    */

typedef struct rule { regex_t name; double alpha; } rule;
typedef struct settings {
    double alpha;                        /* NAN: not said                                                             */
    bool root;
    rule *v;                             /* alpha_pattern, in its order                                               */
    int n;
} settings;
struct im_lora_config { settings of[2]; };                     /* text encoder, UNet                                  */

/* Ways to begin a training (init_lora_weights). Those with a name take something out of the base weights, which is in no
 * file: W + B A is another model without it. PEFT's save_pretrained can put it into the factors, of those but LoftQ. */
static const struct { const char *value, *name; bool prefix; } inits[] = {
    { "pissa", "a PiSSA", true }, { "corda", "a CorDA", true }, { "olora", "an OLoRA", false },
    { "lora_ga", "a LoRA-GA", false }, { "loftq", "a LoftQ", false },
    { "gaussian", NULL, false }, { "eva", NULL, false }, { "orthogonal", NULL, false }, { "mica", NULL, false },
};

static bool check_init(im_ctx *c, const im_json *j, const char *key)
{
    const char *value = NULL;
    if (json_is_boolean(json_object_get(j->value, key))) return true;
    if (!im_json_string(c, j, key, IM_MAY, &value) || !value) return im_ok(c);
    for (size_t i = 0; i < sizeof inits / sizeof *inits; i++) {
        size_t n = strlen(inits[i].value);
        if (strncasecmp(value, inits[i].value, n) || (value[n] && !inits[i].prefix)) continue;
        if (!inits[i].name) return true;
        return im_fail(c, "%s: is %s (\"%s\" is \"%s\"), which changes the base weights, too; only plain LoRA is read%s",
                       j->file, inits[i].name, key, value, strcmp(inits[i].value, "loftq") ? ", as PEFT writes it with "
                       "save_pretrained(..., path_initial_model_for_weight_conversion=...)" : "");
    }
    return im_json_wrong(c, j, key, "true, false, \"gaussian\", \"eva\", \"orthogonal\" or \"mica\"");
}

static bool read_pattern(im_ctx *c, const im_json *j, const char *key, settings *out)
{
    im_json pattern = { 0 };
    if (!im_json_object(c, j, key, IM_MAY, &pattern) || !pattern.value) return im_ok(c);
    char where[600];
    const char *name;
    json_t *value;
    snprintf(where, sizeof where, "%.500s: %s", j->file, key);
    pattern.file = where;
    out->v = calloc(json_object_size(pattern.value) + 1, sizeof *out->v);
    if (!out->v) return im_fail(c, "%s: out of memory", where);
    json_object_foreach(pattern.value, name, value) {
        rule *r = &out->v[out->n];
        if (!im_json_float(c, &pattern, name, IM_IF_THERE, -1e9, 1e9, &r->alpha) ||
            !im_module_pattern_read(c, where, name, &r->name)) return false;
        out->n++;
    }
    return true;
}

/* scope: what the keys begin with. */
static bool read_settings(im_ctx *c, const im_json *j, const char *scope, settings *out)
{
    char dora[40], init[40], root[40], alpha[40], pattern[40];
    bool is_dora = false;
    snprintf(dora, sizeof dora, "%suse_dora", scope);
    snprintf(init, sizeof init, "%sinit_lora_weights", scope);
    snprintf(root, sizeof root, "%suse_rslora", scope);
    snprintf(alpha, sizeof alpha, "%slora_alpha", scope);
    snprintf(pattern, sizeof pattern, "%salpha_pattern", scope);
    return im_json_bool(c, j, dora, IM_MAY, &is_dora) &&
           (!is_dora || im_fail(c, "%s: is a DoRA (%s); only plain LoRA is read", j->file, dora)) &&
           check_init(c, j, init) && im_json_bool(c, j, root, IM_MAY, &out->root) &&
           im_json_float(c, j, alpha, IM_IF_THERE, -1e9, 1e9, &out->alpha) && read_pattern(c, j, pattern, out);
}

im_lora_config *im_lora_config_open(im_ctx *c, const im_safetensors *file, const char *path)
{
    im_lora_config *g = im_ok(c) ? calloc(1, sizeof *g) : NULL;
    if (!g) {
        if (im_ok(c)) im_fail(c, "%s: out of memory", path);
        return NULL;
    }
    im_json j = { 0 };
    const char *text = im_st_metadata(file, "lora_adapter_metadata");
    char *beside = text ? NULL : im_join_beside(c, path, "adapter_config.json");
    bool ok = text ? im_json_parse(c, &j, path, text, strlen(text))
                   : beside && (!im_is_file(beside) || im_json_load(c, &j, beside, IM_JSON_CONFIG_BYTES));
    g->of[0].alpha = g->of[1].alpha = NAN;
    for (int i = 0; ok && j.value && i < 2; i++)
        ok = read_settings(c, &j, !text ? "" : i ? "unet." : "text_encoder.", &g->of[i]);
    im_json_close(&j);
    free(beside);
    if (ok) return g;
    im_lora_config_free(g);
    return NULL;
}

void im_lora_config_free(im_lora_config *g)
{
    for (int i = 0; g && i < 2; i++) {
        for (int k = 0; k < g->of[i].n; k++) regfree(&g->of[i].v[k].name);
        free(g->of[i].v);
    }
    free(g);
}

double im_lora_config_alpha(const im_lora_config *g, im_part part, const char *name, double r)
{
    static const char WEIGHT[] = ".weight", OUTER[] = "text_model.";
    const settings *s = &g->of[part == IM_PART_UNET];
    char module[NAME];
    size_t n = strlen(name) - strlen(WEIGHT), o = strlen(OUTER);
    snprintf(module, sizeof module, "%.*s", (int)n, name);
    const char *inner = strncmp(module, OUTER, o) ? NULL : module + o;         /* as newer transformers call it        */
    for (int i = 0; i < s->n; i++)
        if (im_module_pattern_matches(&s->v[i].name, module) ||
            (inner && im_module_pattern_matches(&s->v[i].name, inner))) return s->v[i].alpha;
    return isnan(s->alpha) ? r : s->alpha;
}

bool im_lora_config_root(const im_lora_config *g, im_part part) { return g->of[part == IM_PART_UNET].root; }
