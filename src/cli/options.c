/* options.c: parses the options of a verb by its table: -s 42, -s42, --seed 42, --seed=42, flags together (-qf), `--`
 * before operands. Unknown, missing, repeated and ill-typed ones end in one line and exit code 2. Used by main.c. */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(common_options, field)

static const option device_options[] = {
    OPTION_CHOICE(0, "device", "NAME", AT(device), "cpu", "cpu|ref|cuda",
             "where to compute: cpu (fast), ref (plain loops, slow), cuda"),
    OPTION_CHOICE(0, "isa", "NAME", AT(isa), NULL, "portable|avx2|avx512|avx512bf16|neon",
             "use no more than this instruction set: portable, avx2, avx512, avx512bf16, neon; IMAGO_ISA does the "
             "same"),
    OPTION_INT('t', "threads", "N", AT(threads), "0", 0, 1024, "threads; 0: one a core"),
    OPTION_END
};

static const option dtype_options[] = {
    OPTION_CHOICE(0, "dtype", "TYPE", AT(dtype), "f32", "f32|f16|bf16",
             "what the weights are held in: f32, f16, bf16"),
    OPTION_END
};

static const option variant_options[] = {
    OPTION_TEXT(0, "variant", "NAME", AT(variant), NULL,
             "which weights of a model folder: fp16, bf16, non_ema ... as in model.NAME.safetensors; without it the plain "
             "ones, or the only variant there is"),
    OPTION_END
};

static const option strict_options[] = {
    OPTION_FLAG(0, "strict", AT(strict),
                "a tensor that no network asks for is an error; else it is left out with a warning"),
    OPTION_END
};

const option *option_at(const verb *v, int i)
{
    const option *tables[] = { v->options, v->common & OPT_VARIANT ? variant_options : NULL,
                               v->common & OPT_STRICT ? strict_options : NULL,
                               v->common & OPT_DTYPE ? dtype_options : NULL,
                               v->common & OPT_DEVICE ? device_options : NULL };
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const option *o = tables[t]; o && o->name; o++)
            if (i-- == 0)
                return o;
    return NULL;
}

int verb_words(const verb *v)
{
    return strchr(v->name, ' ') ? 2 : 1;
}

const option *option_find(const verb *v, const char *name)
{
    const option *o;
    for (int i = 0; (o = option_at(v, i)); i++)
        if (!strcmp(o->name, name))
            return o;
    return NULL;
}

bool option_given(const arguments *a, const char *name)
{
    const option *o;
    for (int i = 0; (o = option_at(a->verb, i)); i++)
        if (!strcmp(o->name, name))
            return a->given[i];
    return false;
}

int usage_error(const verb *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, v ? "imago %s: " : "imago: ", v ? v->name : "");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, v ? " (imago help %s)\n" : " (imago help)\n", v ? v->name : "");
    va_end(ap);
    return CLI_USAGE;
}

/* Levenshtein distance of two short words, one row at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t n = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || strlen(a) > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

const char *nearest_word(const char *typed, const char *const words[], int n)
{
    const char *best = NULL;
    size_t least = 4, length = strlen(typed);                  /* more than three slips is another word                */
    for (int i = 0; i < n; i++) {
        size_t d = edit_distance(typed, words[i]);
        bool prefix = length >= 2 && !strncmp(typed, words[i], length);
        if (prefix)
            d = 0;
        if (d < least && (prefix || d < length)) {
            least = d;
            best = words[i];
        }
    }
    return best;
}

static int unknown_option(const verb *v, const char *arg, size_t length)
{
    const char *names[64];
    char typed[64];
    const option *o;
    int n = 0;
    snprintf(typed, sizeof typed, "%.*s", (int)(length < 60 ? length : 60), arg + strspn(arg, "-"));
    if (strchr(typed, '='))
        *strchr(typed, '=') = '\0';
    for (int i = 0; n < 64 && (o = option_at(v, i)); i++)
        names[n++] = o->name;
    const char *near = nearest_word(typed, names, n);
    if (near)
        return usage_error(v, "there is no option %.*s; did you mean --%s?", (int)length, arg, near);
    return usage_error(v, "there is no option %.*s", (int)length, arg);
}

static bool choice_has(const char *choices, const char *word)
{
    size_t n = strlen(word);
    for (const char *c = choices; ; c = strchr(c, '|') + 1) {
        if (strcspn(c, "|") == n && !strncmp(c, word, n))
            return true;
        if (!strchr(c, '|'))
            return false;
    }
}

bool option_allows(const option *o, const char *word)
{
    return choice_has(o->choices, word)
        || (!strcmp(o->name, "device") && !strncmp(word, "cuda:", 5));              /* the second card ...          */
}

/* "16M": bytes. */
static bool read_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMG";
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (errno || text[0] < '0' || text[0] > '9' || (*end && (!unit || end[1])) || n > UINT64_MAX >> shift)
        return false;
    *out = (uint64_t)n << shift;
    return true;
}

static bool read_number(const option *o, const char *text, void *field)
{
    char *end = NULL;
    errno = 0;
    if (o->kind == OPT_SEED) {
        unsigned long long s = strtoull(text, &end, 10);
        if (end == text || *end || errno || text[0] < '0' || text[0] > '9')
            return false;
        *(uint64_t *)field = s;
    } else if (o->kind == OPT_SIZE) {
        return read_size(text, field);
    } else if (o->kind == OPT_INT) {
        long i = strtol(text, &end, 10);
        if (end == text || *end || errno || (double)i < o->min || (double)i > o->max)
            return false;
        *(int *)field = (int)i;
    } else {
        double x = strtod(text, &end);
        if (end == text || *end || !isfinite(x) || x < o->min || x > o->max)
            return false;
        *(float *)field = (float)x;
    }
    return true;
}

/* Writes the value into its field; false when the text is not of the option's kind. */
static bool set_value(const option *o, const char *text, void *values)
{
    void *field = (char *)values + o->offset;
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)field = true;
        return true;
    case OPT_TEXT:
        *(const char **)field = text;
        return true;
    case OPT_CHOICE:
        *(const char **)field = text;
        return option_allows(o, text);
    default:
        return read_number(o, text, field);
    }
}

static int bad_value(const verb *v, const option *o, const char *text)
{
    const char *wanted = o->kind == OPT_REAL ? "a number" : "a whole number";
    if (o->kind == OPT_CHOICE)
        return usage_error(v, "--%s is \"%s\", wanted one of %s", o->name, text, o->choices);
    if (o->kind == OPT_SEED)
        return usage_error(v, "--%s is \"%s\", wanted a whole number from 0 to 18446744073709551615", o->name, text);
    if (o->kind == OPT_SIZE)
        return usage_error(v, "--%s is \"%s\", wanted a number of bytes, or one followed by K, M or G", o->name, text);
    return usage_error(v, "--%s is \"%s\", wanted %s from %.10g to %.10g", o->name, text, wanted, o->min, o->max);
}

/* One option with its value, wherever that came from. Returns CLI_OK or CLI_USAGE. */
static int take(const verb *v, int index, const char *text, arguments *out)
{
    const option *o = option_at(v, index);
    bool *given = (bool *)out->given;
    if (given[index])
        return usage_error(v, "--%s is given twice", o->name);
    given[index] = true;
    if (!text && o->kind != OPT_FLAG)
        return usage_error(v, "--%s needs a value: --%s %s", o->name, o->name, o->value);
    if (!set_value(o, text, out->values))
        return bad_value(v, o, text);
    return CLI_OK;
}

static int find_long(const verb *v, const char *name, size_t length)
{
    const option *o;
    for (int i = 0; (o = option_at(v, i)); i++)
        if (strlen(o->name) == length && !strncmp(o->name, name, length))
            return i;
    return -1;
}

static int find_letter(const verb *v, char letter)
{
    const option *o;
    for (int i = 0; (o = option_at(v, i)); i++)
        if (o->letter && o->letter == letter)
            return i;
    return -1;
}

/* The next argument as the value of an option; NULL when there is none, or when it is itself one of the long options. */
static const char *next_value(const verb *v, int argc, char **argv, int *i)
{
    if (*i + 1 >= argc)
        return NULL;
    const char *next = argv[*i + 1];
    if (!strncmp(next, "--", 2) && find_long(v, next + 2, strcspn(next + 2, "=")) >= 0)
        return NULL;
    ++*i;
    return next;
}

static int parse_long(const verb *v, int argc, char **argv, int *i, arguments *out)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    int index = find_long(v, name, length);
    if (index < 0)
        return unknown_option(v, argv[*i], length + 2);
    if (option_at(v, index)->kind == OPT_FLAG) {
        if (equals)
            return usage_error(v, "--%.*s takes no value", (int)length, name);
        return take(v, index, NULL, out);
    }
    return take(v, index, equals ? equals + 1 : next_value(v, argc, argv, i), out);
}

static int parse_letters(const verb *v, int argc, char **argv, int *i, arguments *out)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        int index = find_letter(v, *p);
        if (index < 0)
            return strlen(argv[*i]) > 2 ? unknown_option(v, argv[*i], strlen(argv[*i]))
                                        : usage_error(v, "there is no option %s", argv[*i]);
        if (option_at(v, index)->kind != OPT_FLAG)
            return take(v, index, p[1] ? p + 1 : next_value(v, argc, argv, i), out);
        int rc = take(v, index, NULL, out);
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
    const option *o;
    int n = 0, rc = CLI_OK;
    while (option_at(v, n))
        n++;
    *out = (arguments){ .verb = v, .argc = argc, .argv = argv };
    out->values = calloc(1, v->size);
    out->given = calloc((size_t)n + 1, sizeof(bool));
    out->operands = calloc((size_t)argc + 1, sizeof *out->operands);
    if (!out->values || !out->given || !out->operands) {
        fprintf(stderr, "imago: out of memory\n");
        options_free(out);
        return false;
    }
    for (int i = 0; (o = option_at(v, i)); i++)
        if (o->fallback)
            set_value(o, o->fallback, out->values);
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
