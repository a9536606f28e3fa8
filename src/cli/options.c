/* options.c: parses the options of a verb by its table: -s 42, -s42, --seed 42, --seed=42, flags together (-qf), `--`
 * before operands; _ for - in names, and the names of neighbours (names.c). Unknown, missing, repeated and ill-typed ones
 * end in one line and exit code 2. Used by main.c. */
#include "cli/options.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/names.h"
#include "cli/shown.h"
#include "cli/values.h"

#define AT(field) offsetof(common_options, field)

static const option device_options[] = {
    OPTION_CHOICE(0, "device", "NAME", AT(device), "cpu", "cpu|ref|cuda",
                  "where to compute: cpu (fast), ref (plain loops, slow) or cuda"),
    OPTION_CHOICE(0, "isa", "NAME", AT(isa), NULL, "portable|avx2|avx512|avx512bf16|avx512amx|neon",
                  "use no instruction set beyond this one; IMAGO_ISA does the same"),
    OPTION_INT('t', "threads", "N", AT(threads), "0", 0, 1024, "number of threads; 0: one per core"),
    OPTION_END
};

static const option dtype_options[] = {
    OPTION_CHOICE(0, "dtype", "TYPE", AT(dtype), NULL, "f32|f16|bf16|int8",
                  "type in which the weights are held. int8: products of the UNet are computed in integers, the other "
                  "networks hold f16. Without it: int8 where that is what the model holds, otherwise f32"),
    OPTION_END
};

static const option activations_options[] = {
    OPTION_CHOICE(0, "activations", "TYPE", AT(activations), "f32", "f32|f16|bf16",
                  "type in which the UNet and the VAE hold what their layers give: 16 bits take half the memory"),
    OPTION_END
};

static const option variant_options[] = {
    OPTION_TEXT(0, "variant", "NAME", AT(variant), NULL,
                "which weights of a model folder to use: fp16, bf16, non_ema ..., as in model.NAME.safetensors; "
                "without it, the plain ones, or the only variant there is"),
    OPTION_END
};

static const option strict_options[] = {
    OPTION_FLAG(0, "strict", AT(strict),
                "a tensor that no network uses is an error; otherwise it is left out with a warning"),
    OPTION_END
};

static const option progress_options[] = {
    OPTION_CHOICE(0, "progress", "KIND", AT(progress), "bar", "bar|json",
                  "how progress is shown on standard error. json: one JSON object per line for other programs to read, "
                  "such as start, step, picture, warning, done and error (fields: docs/progress.md in the source)"),
    OPTION_END
};

/* ---------------------------------------------------------------- the table */

/* The kind, place and range of a row come from the library's field of the same name. */
static void resolve(const verb *v, option *o)
{
    static const opt_kind kinds[] = { [IM_FIELD_TEXT] = OPT_TEXT, [IM_FIELD_INT] = OPT_INT, [IM_FIELD_REAL] = OPT_REAL,
                                      [IM_FIELD_FLAG] = OPT_FLAG, [IM_FIELD_SEED] = OPT_SEED };
    for (const im_field *const *t = v->fields(); *t; t++)
        for (const im_field *f = *t; f->name; f++)
            if (!strcmp(f->name, o->name)) {
                o->kind = f->words ? OPT_CHOICE : kinds[f->kind];
                o->offset = v->fields_at + f->at;
                o->range = f->range;
                o->choices = f->words;
                return;
            }
    assert(!"an option names a field that there is not");
}

bool option_at(const verb *v, int i, option *out)
{
    const option *tables[] = { v->options, v->common & OPT_VARIANT ? variant_options : NULL,
                               v->common & OPT_STRICT ? strict_options : NULL,
                               v->common & OPT_PROGRESS ? progress_options : NULL,
                               v->common & OPT_DTYPE ? dtype_options : NULL,
                               v->common & OPT_ACTIVATIONS ? activations_options : NULL,
                               v->common & OPT_DEVICE ? device_options : NULL };
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const option *o = tables[t]; o && o->name; o++)
            if (i-- == 0) {
                *out = *o;
                if (o->kind == OPT_FIELD)
                    resolve(v, out);
                return true;
            }
    return false;
}

int verb_words(const verb *v)
{
    return strchr(v->name, ' ') ? 2 : 1;
}

static int find_name(const verb *v, const char *name, option *out)
{
    for (int i = 0; option_at(v, i, out); i++)
        if (!strcmp(out->name, name))
            return i;
    return -1;
}

bool option_find(const verb *v, const char *name, option *out)
{
    return find_name(v, name, out) >= 0;
}

bool option_given(const arguments *a, const char *name)
{
    option o;
    int i = find_name(a->verb, name, &o);
    return i >= 0 && a->given[i];
}

/* The verb's struct where nothing is given; malloc'd. */
static void *default_values(const verb *v)
{
    option o;
    void *values = calloc(1, v->size);
    if (values && v->defaults)
        v->defaults(values);
    for (int i = 0; values && option_at(v, i, &o); i++)
        if (o.fallback)
            value_set(&o, o.fallback, values);
    return values;
}

const char *option_default(const verb *v, const option *o, char *out, size_t size)
{
    bool said = o->fallback || v->defaults;
    void *values = said ? default_values(v) : NULL;
    snprintf(out, size, "%s", "");
    if (values)
        value_text(o, values, out, size);
    free(values);
    return out;
}

/* ---------------------------------------------------------------- what is typed */

int usage_error(const verb *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char text[8192];
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *space = v ? " " : "", *name = v ? v->name : "";
    shown_line(stderr, "imago%s%s: %s (imago help%s%s)", space, name, text, space, name);
    return CLI_USAGE;
}

/* One option with its value, wherever that came from. Returns CLI_OK or CLI_USAGE. */
static int take(const verb *v, int index, const option *o, const char *text, arguments *out)
{
    bool *given = (bool *)out->given;
    if (given[index] && o->kind != OPT_LIST)
        return usage_error(v, "--%s is given twice", o->name);
    given[index] = true;
    if (!text && o->kind != OPT_FLAG)
        return usage_error(v, "--%s needs a value: --%s %s", o->name, o->name, o->value);
    if (o->kind != OPT_FLAG && o->kind != OPT_PHRASE && !*text)
        return usage_error(v, "--%s is empty: --%s %s", o->name, o->name, o->value);
    return value_set(o, text, out->values) ? CLI_OK : value_refused(v, o, text);
}

/* The option that was typed as `name` (up to `length`), by its own name or a neighbour's; -1: none. */
static int find_long(const verb *v, const char *name, size_t length, option *out)
{
    char text[64];
    if (length >= sizeof text)
        return -1;
    memcpy(text, name, length);
    text[length] = '\0';
    for (char *p = text; *p; p++)
        if (*p == '_')
            *p = '-';
    int i = find_name(v, text, out);
    const char *other = i < 0 ? name_alias(v, text) : NULL;
    return other ? find_name(v, other, out) : i;
}

static int find_letter(const verb *v, char letter, option *out)
{
    for (int i = 0; option_at(v, i, out); i++)
        if (out->letter && out->letter == letter)
            return i;
    const char *other = name_of_letter(v, letter);
    return other ? find_name(v, other, out) : -1;
}

bool option_typed(const verb *v, const char *word, option *out)
{
    if (!strncmp(word, "--", 2))
        return find_long(v, word + 2, strcspn(word + 2, "="), out) >= 0;
    return word[0] == '-' && word[1] && find_letter(v, word[1], out) >= 0;
}

/* -qf, -o, -s42: a word that would be read as options of one letter. A text right behind its letter does not count: the
 * value may well be -masterpiece. */
static bool are_letters(const verb *v, const char *word, void *values)
{
    option o;
    for (const char *p = word + 1; *p; p++) {
        if (find_letter(v, *p, &o) < 0)
            return false;
        if (o.kind != OPT_FLAG)
            return !p[1] || (o.kind != OPT_TEXT && o.kind != OPT_LIST && o.kind != OPT_PHRASE
                             && value_set(&o, p + 1, values));
    }
    return word[1];
}

/* The next argument, as the value of the option o. One that is an option itself was not meant: an error. */
static int take_next(const verb *v, int index, const option *o, int argc, char **argv, int *i, arguments *out)
{
    option other;
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    void *values = next ? calloc(1, v->size) : NULL;           /* for a look only                                      */
    bool is_option = values && (!strncmp(next, "--", 2) ? option_typed(v, next, &other)
                                                        : next[0] == '-' && are_letters(v, next, values));
    free(values);
    if (is_option)
        return usage_error(v, "--%s needs a value: --%s %s; %s is an option, and as a value it is written --%s=%s", o->name,
                           o->name, o->value, next, o->name, next);
    *i += next != NULL;
    return take(v, index, o, next, out);
}

static int parse_long(const verb *v, int argc, char **argv, int *i, arguments *out)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    option o;
    int index = find_long(v, name, length, &o);
    if (index < 0)
        return name_unknown(v, argv[*i]);
    if (o.kind == OPT_FLAG) {
        if (equals)
            return usage_error(v, "--%s takes no value", o.name);
        return take(v, index, &o, NULL, out);
    }
    return equals ? take(v, index, &o, equals + 1, out) : take_next(v, index, &o, argc, argv, i, out);
}

static int parse_letters(const verb *v, int argc, char **argv, int *i, arguments *out)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        option o;
        int index = find_letter(v, *p, &o);
        if (index < 0)
            return name_unknown(v, argv[*i]);
        if (o.kind != OPT_FLAG)
            return p[1] ? take(v, index, &o, p + 1, out) : take_next(v, index, &o, argc, argv, i, out);
        int rc = take(v, index, &o, NULL, out);
        if (rc)
            return rc;
    }
    return CLI_OK;
}

static int check_operands(const verb *v, const arguments *a)
{
    if (a->n_operands < v->min_operands)
        return usage_error(v, "%s is missing: imago %s %s", v->operands, v->name, v->operands);
    if (v->max_operands >= 0 && a->n_operands > v->max_operands)
        return usage_error(v, "\"%s\" is one argument too many%s", a->operands[v->max_operands],
                           v->max_operands ? "" : "; a text of several words goes in quotes");
    return CLI_OK;
}

bool options_parse(const verb *v, int argc, char **argv, arguments *out)
{
    option o;
    int n = 0, rc = CLI_OK;
    while (option_at(v, n, &o))
        n++;
    *out = (arguments){ .verb = v, .argc = argc, .argv = argv };
    out->values = default_values(v);
    out->given = calloc((size_t)n + 1, sizeof(bool));
    out->operands = calloc((size_t)argc + 1, sizeof *out->operands);
    if (!out->values || !out->given || !out->operands) {
        fprintf(stderr, "imago: out of memory\n");
        options_free(out);
        return false;
    }
    for (int i = verb_words(v) + 1; i < argc && rc == CLI_OK; i++) {
        const char *arg = argv[i];
        if (!strcmp(arg, "--")) {
            while (++i < argc)
                out->operands[out->n_operands++] = argv[i];
        } else if (!strncmp(arg, "--", 2)) {
            rc = parse_long(v, argc, argv, &i, out);
        } else if (arg[0] == '-' && arg[1]) {
            rc = parse_letters(v, argc, argv, &i, out);
        } else {
            out->operands[out->n_operands++] = arg;
        }
    }
    if (rc == CLI_OK)
        rc = check_operands(v, out);
    if (rc != CLI_OK)
        options_free(out);
    return rc == CLI_OK;
}

void options_free(arguments *a)
{
    free(a->values);
    free((bool *)a->given);
    free(a->operands);
    *a = (arguments){ 0 };
}
