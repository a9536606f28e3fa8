/* lora.c: see lora.h. A tensor of the file is one role of one module ("...to_q" + "lora_A.weight"); modules are looked up
 * among the parameters of the text encoder and the UNet by their names with dots turned into underscores, in which all
 * kinds of files agree. */
#include "models/checkpoints/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/files/file.h"
#include "data/files/named.h"
#include "data/files/names.h"
#include "data/files/safetensors.h"
#include "data/files/sha256.h"
#include "models/checkpoints/lora_config.h"
#include "models/checkpoints/param_file.h"

enum { NAME = 400, PARTS = 2 };          /* bytes of a module's name; text encoder and UNet                           */

typedef struct module {
    const im_st_entry *down, *up, *alpha;
    const im_param *param;
    im_part part;
} module;

struct im_lora {
    im_lora *next;
    im_safetensors *file;
    char *given, *path, *name;           /* given: as it was asked for; path: of the file                             */
    struct stat seen;                    /* the file when it was opened                                               */
    char hash[65];
    float weight;
    module *v;
    int n;
    im_lora_config *config;
};

/* ---------------------------------------------------------------- names */

typedef enum { DOWN, UP, ALPHA, UNKNOWN } role;

static const struct { const char *tail; role is; } tails[] = {
    { ".lora_A.weight", DOWN }, { ".lora_B.weight", UP }, { ".lora.down.weight", DOWN }, { ".lora.up.weight", UP },
    { ".lora_down.weight", DOWN }, { ".lora_up.weight", UP }, { "_lora.down.weight", DOWN }, { "_lora.up.weight", UP },
    { ".lora_linear_layer.down.weight", DOWN }, { ".lora_linear_layer.up.weight", UP },
    { ".lora_A.default.weight", DOWN }, { ".lora_B.default.weight", UP },
    { ".alpha", ALPHA },
};
static const struct { const char *part, *kind; } others[] = {
    { "lora_magnitude_vector", "a DoRA" }, { "dora_scale", "a DoRA" }, { "hada_w", "a LoHa" }, { "lokr_", "a LoKr" },
    { "lora_mid", "a LoCon in Tucker's form" }, { "oft_", "an OFT" }, { "boft_", "a BOFT" }, { ".glora_", "a GLoRA" },
    { ".diff", "of whole differences (full)" }, { "ia3_", "an (IA)3" }, { "lora_embedding_", "a LoRA of embeddings" },
};

static const char *without_head(const char *name, const char *head)
{
    size_t n = strlen(head);
    return strncmp(name, head, n) ? NULL : name + n;
}

/* Before PEFT diffusers named the text encoder's projections as the UNet's. */
static void rename_projection(char module_name[NAME])
{
    static const char *const names[][2] = {
        { ".to_q", ".q_proj" }, { ".to_k", ".k_proj" }, { ".to_v", ".v_proj" }, { ".to_out", ".out_proj" },
    };
    size_t n = strlen(module_name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t m = strlen(names[i][0]);
        if (n <= m || strcmp(module_name + n - m, names[i][0])) continue;
        snprintf(module_name + n - m, NAME - (n - m), "%s", names[i][1]);
        return;
    }
}

/* The module that a tensor belongs to, in underscores and without its head; *part: IM_PART_COUNT where none is said. */
static role split_name(const char *name, char module_name[NAME], im_part *part)
{
    static const struct { const char *head; im_part part; } heads[] = {
        { "base_model.model.", IM_PART_COUNT }, { "unet.", IM_PART_UNET }, { "text_encoder.", IM_PART_CLIP },
        { "lora_unet_", IM_PART_UNET }, { "lora_te1_", IM_PART_CLIP }, { "lora_te_", IM_PART_CLIP },
    };
    role is = UNKNOWN;
    size_t n = strlen(name);
    *part = IM_PART_COUNT;
    for (size_t i = 0; is == UNKNOWN && i < sizeof tails / sizeof *tails; i++) {
        size_t m = strlen(tails[i].tail);
        if (n > m && n - m < NAME && !strcmp(name + n - m, tails[i].tail)) {
            is = tails[i].is;
            n -= m;
        }
    }
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const char *rest = without_head(name, heads[i].head);
        if (!rest) continue;
        n -= (size_t)(rest - name);
        name = rest;
        if (heads[i].part != IM_PART_COUNT) *part = heads[i].part;
    }
    snprintf(module_name, NAME, "%.*s", (int)(n < NAME ? n : 0), name);
    char *processor = strstr(module_name, ".processor.");
    if (processor) memmove(processor, processor + 10, strlen(processor + 10) + 1);
    n = strlen(module_name);
    if (processor && n > 7 && !strcmp(module_name + n - 7, ".to_out") && n + 3 < NAME) strcat(module_name, ".0");
    if (*part == IM_PART_CLIP) rename_projection(module_name);
    for (char *p = module_name; *p; p++)
        if (*p == '.') *p = '_';
    return is;
}

/* Weights of a network by their names in underscores. keys: to be freed when the table is done with. */
typedef struct table { im_names names[PARTS]; char (*keys[PARTS])[NAME]; const im_param **params[PARTS]; } table;

static void free_table(table *t)
{
    for (int p = 0; p < PARTS; p++) {
        im_names_free(&t->names[p]);
        free(t->keys[p]);
        free(t->params[p]);
    }
}

static bool fill_table(im_ctx *c, const im_checkpoint *k, table *t)
{
    static const im_part parts[PARTS] = { IM_PART_CLIP, IM_PART_UNET };
    for (int p = 0; p < PARTS; p++) {
        int count = im_checkpoint_count(k, parts[p]);
        t->keys[p] = calloc((size_t)count + 1, sizeof *t->keys[p]);
        t->params[p] = calloc((size_t)count + 1, sizeof *t->params[p]);
        if (!t->keys[p] || !t->params[p]) return im_fail(c, "out of memory for the names of a LoRA");
        if (!im_names_init(c, &t->names[p], (size_t)count)) return false;
        for (int i = 0; i < count; i++) {
            const im_param *q = NULL;
            im_checkpoint_at(k, parts[p], i, &q);
            size_t n = q ? strlen(q->t->name) : 0;
            bool weight = n > 7 && n - 7 < NAME && !strcmp(q->t->name + n - 7, ".weight") && q->t->ndim >= 2;
            if (!weight) continue;
            char *key = t->keys[p][i];
            for (size_t x = 0; x < n - 7; x++) key[x] = q->t->name[x] == '.' ? '_' : q->t->name[x];
            t->params[p][i] = q;
            if (!im_names_add(c, &t->names[p], key, n - 7, i)) return false;
        }
    }
    return true;
}

static const im_param *find(const table *t, const char *name, im_part *part)
{
    char whole[NAME + 16];
    for (int p = 0; p < PARTS; p++) {
        im_part is = p ? IM_PART_UNET : IM_PART_CLIP;
        if (*part != IM_PART_COUNT && *part != is) continue;
        int at = im_names_find(&t->names[p], name, strlen(name));
        if (at < 0 && !p) {                                    /* of a CLIPTextModel without its outer name            */
            snprintf(whole, sizeof whole, "text_model_%s", name);
            at = im_names_find(&t->names[p], whole, strlen(whole));
        }
        if (at < 0) continue;
        *part = is;
        return t->params[p][at];
    }
    return NULL;
}

/* ---------------------------------------------------------------- opening */

static module *module_of(im_lora *l, const im_param *q, im_part part)
{
    for (int i = l->n; i--; )            /* the roles of a module stand near each other                               */
        if (l->v[i].param == q) return &l->v[i];
    l->v[l->n] = (module){ .param = q, .part = part };
    return &l->v[l->n++];
}

static bool refuse_other(im_ctx *c, const im_lora *l, const char *name)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strstr(name, others[i].part))
            return im_fail(c, "%s: is %s (it has %s); only plain LoRA is read", l->path, others[i].kind, name);
    return im_fail(c, "%s: tensor %s is no part of a LoRA that is known; wanted lora_A and lora_B, or lora_down, lora_up "
                      "and alpha, of modules of Stable Diffusion v1.x", l->path, name);
}

/* Sorts the tensors by module. */
static bool read_modules(im_ctx *c, im_lora *l, const table *t)
{
    im_name_list unknown = { 0 };
    int count = im_st_count(l->file);
    l->v = calloc((size_t)count + 1, sizeof *l->v);
    if (!l->v) return im_fail(c, "%s: out of memory", l->path);
    for (int i = 0; i < count; i++) {
        const im_st_entry *e = im_st_at(l->file, i);
        char name[NAME];
        im_part part;
        role is = split_name(e->name, name, &part);
        if (is == UNKNOWN) return refuse_other(c, l, e->name);
        const im_param *q = find(t, name, &part);
        if (!q) {
            if (is == DOWN) im_name_list_add(&unknown, e->name, "");
            continue;
        }
        double alpha;
        if (!im_st_is_float(e) && !(is == ALPHA && im_st_numel(e) == 1 && im_st_number(e, &alpha)))
            return im_fail(c, "%s: %s is %s; wanted a float type", l->path, e->name, e->dtype_name);
        module *m = module_of(l, q, part);
        const im_st_entry **place = is == DOWN ? &m->down : is == UP ? &m->up : &m->alpha;
        if (*place)
            return im_fail(c, "%s: %s and %s are the same of one module, by two names; keep one of them", l->path,
                           (*place)->name, e->name);
        *place = e;
    }
    if (!l->n && !unknown.counted)
        return im_fail(c, "%s: holds no LoRA: of its tensors (%d) none is lora_A (down) of a module", l->path, count);
    if (l->n) return im_extra_report(c, l->path, &unknown, false);
    char names[900];
    im_name_list_text(&unknown, names, sizeof names);
    return im_fail(c, "%s: none of its %d modules is one of this model's, so it is a LoRA of another kind of model: %s; "
                      "wanted one of Stable Diffusion v1.x", l->path, unknown.counted, names);
}

static bool check_module(im_ctx *c, const im_lora *l, const module *m)
{
    int64_t want[IM_MAX_DIMS];
    int ndim = im_param_file_shape(m->param, want);
    const char *name = m->param->t->name;
    if (!m->down || !m->up)
        return im_fail(c, "%s: has only %s of %s; wanted lora_A (down) and lora_B (up)", l->path,
                       m->down ? "lora_A" : m->up ? "lora_B" : "alpha", name);
    int64_t r = m->down->shape[0], k = 1;
    for (int i = 1; i < ndim; i++) k *= want[i];
    bool fits = m->down->ndim >= 2 && m->up->ndim >= 2 && r > 0 && m->up->shape[0] == want[0] && m->up->shape[1] == r
        && im_st_numel(m->down) == r * k && im_st_numel(m->up) == want[0] * r;
    double alpha = 0;
    if (fits && m->alpha && im_st_numel(m->alpha) != 1)
        return im_fail(c, "%s: alpha of %s has %lld values; wanted 1", l->path, name, (long long)im_st_numel(m->alpha));
    if (fits)
        return !m->alpha || (im_st_number(m->alpha, &alpha) && isfinite(alpha)) ||
               im_fail(c, "%s: alpha of %s is %g; wanted a finite number: the file is damaged, fetch it again", l->path,
                       name, alpha);
    char a[96], b[96], w[96];
    im_file_shape_text(m->down->shape, m->down->ndim, a, sizeof a);
    im_file_shape_text(m->up->shape, m->up->ndim, b, sizeof b);
    im_file_shape_text(want, ndim, w, sizeof w);
    return im_fail(c, "%s: down %s and up %s do not make %s, which is %s; is it of another kind of model?", l->path, a, b,
                   name, w);
}

const char *const im_lora_files[] = { "pytorch_lora_weights.safetensors", "adapter_model.safetensors", NULL };

/* A folder's file; NULL with an error. */
static char *file_in(im_ctx *c, const char *path)
{
    for (int i = 0; im_is_folder(path) && im_lora_files[i]; i++) {
        char *file = im_join(c, path, im_lora_files[i]);
        if (!file || im_is_file(file)) return file;
        free(file);
    }
    if (!im_is_folder(path)) return im_copy_text(c, path, strlen(path));
    im_fail(c, "%s: has no %s and no %s", path, im_lora_files[0], im_lora_files[1]);
    return NULL;
}

im_lora *im_lora_open(im_ctx *c, im_checkpoint *k, const char *path)
{
    im_lora *l = im_ok(c) ? calloc(1, sizeof *l) : NULL;
    table t = { 0 };
    if (!l) {
        if (im_ok(c)) im_fail(c, "%s: out of memory", path);
        return NULL;
    }
    l->weight = 1;
    bool ok = im_st_pickle_name(path) ? im_st_refuse_pickle(c, path) : (l->path = file_in(c, path)) != NULL;
    ok = ok && (l->given = im_copy_text(c, path, strlen(path))) && (l->name = im_named_of(c, path))
        && (l->file = im_st_open(c, l->path)) && im_sha256_file_once(c, l->path, l->hash)
        && (l->config = im_lora_config_open(c, l->file, l->path)) && fill_table(c, k, &t) && read_modules(c, l, &t);
    for (int i = 0; ok && i < l->n; i++) ok = check_module(c, l, &l->v[i]);
    free_table(&t);
    if (ok && stat(l->path, &l->seen)) ok = im_fail(c, "%s: went away while it was read", l->path);
    if (ok) return l;
    im_lora_free(l);
    return NULL;
}

void im_lora_free(im_lora *l)
{
    if (!l) return;
    im_st_close(l->file);
    im_lora_config_free(l->config);
    free(l->given);
    free(l->path);
    free(l->name);
    free(l->v);
    free(l);
}

void im_lora_link(im_lora *l, float weight, im_lora *next)
{
    l->weight = weight;
    l->next = next;
}

bool im_lora_is_of(const im_lora *l, const char *path)
{
    struct stat now;
    return !strcmp(path, l->given) && !stat(l->path, &now) && now.st_dev == l->seen.st_dev && now.st_ino == l->seen.st_ino
        && now.st_size == l->seen.st_size && now.st_mtim.tv_sec == l->seen.st_mtim.tv_sec
        && now.st_mtim.tv_nsec == l->seen.st_mtim.tv_nsec;
}

im_lora *im_lora_next(const im_lora *l) { return l->next; }
const char *im_lora_name(const im_lora *l) { return l->name; }
const char *im_lora_hash(const im_lora *l) { return l->hash; }
float im_lora_weight(const im_lora *l) { return l->weight; }

/* ---------------------------------------------------------------- merging */

static const module *of_param(const im_lora *l, im_part part, const im_param *p)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i].part == part && !strcmp(l->v[i].param->t->name, p->t->name)) return &l->v[i];
    return NULL;
}

bool im_lora_changes(const im_lora *l, im_part part, const im_param *p)
{
    for (; l; l = l->next)
        if (of_param(l, part, p)) return true;
    return false;
}

/* w alpha / r, or w alpha / sqrt(r) */
static float scale_of(const im_lora *l, const module *m)
{
    double r = (double)m->down->shape[0];
    double alpha = 0;
    if (!m->alpha || !im_st_number(m->alpha, &alpha))
        alpha = im_lora_config_alpha(l->config, m->part, m->param->t->name, r);
    return (float)((double)l->weight * alpha / (im_lora_config_root(l->config, m->part) ? sqrt(r) : r));
}

/* The factors as they are in the file; values that are not finite would make the network's so, which is not to blame. */
static bool read_factors(im_ctx *c, const im_lora *l, const module *m, float *down, float *up)
{
    const im_st_entry *e[2] = { m->down, m->up };
    for (int i = 0; i < 2; i++) {
        float *to = i ? up : down;
        int64_t n = im_st_numel(e[i]);
        im_st_read_f32(e[i], 0, n, to);
        for (int64_t k = 0; k < n; k++)
            if (!isfinite(to[k]))
                return im_fail(c, "%s: %s holds values that are not finite; the LoRA's file is damaged: fetch or make it "
                                  "again", l->path, e[i]->name);
    }
    return true;
}

/* values += scale B A, as a linear layer of the engine: rows of B times rows of A transposed. */
static bool add_product(im_ctx *c, const im_lora *l, const module *m, float *values)
{
    int64_t r = m->down->shape[0], rows = m->up->shape[0], k = im_st_numel(m->down) / r;
    float *down = malloc((size_t)(r * k) * sizeof *down), *turned = malloc((size_t)(r * k) * sizeof *turned);
    float *up = malloc((size_t)(rows * r) * sizeof *up), *product = malloc((size_t)(rows * k) * sizeof *product);
    bool ok = (down && turned && up && product) || im_fail(c, "out of memory for a LoRA of %s", m->param->t->name);
    float scale = scale_of(l, m);
    ok = ok && read_factors(c, l, m, down, up);
    if (ok) {
        for (int64_t i = 0; i < r; i++)
            for (int64_t j = 0; j < k; j++) turned[j * r + i] = down[i * k + j];
        for (int64_t i = 0; i < rows * r; i++) up[i] *= scale;
        im_scope_push(c);
        im_tensor *b = im_from(c, IM_F32, 2, (int64_t[]){ rows, r }, up);
        im_tensor *a = im_from(c, IM_F32, 2, (int64_t[]){ k, r }, turned);
        ok = im_download(c, im_linear(c, b, a, NULL, NULL, IM_ACT_NONE), product);               /* (rows, k)         */
        im_scope_pop(c);
        bool finite = true;
        for (int64_t i = 0; ok && i < rows * k; i++) finite &= isfinite(product[i]) != 0;
        if (ok && !finite)
            ok = im_fail(c, "%s: what it adds to %s is beyond the numbers of f32 (B A times %g); give it a smaller weight",
                         l->path, m->param->t->name, (double)scale);
        for (int64_t i = 0; ok && i < rows * k; i++) values[i] += product[i];
    }
    free(down);
    free(turned);
    free(up);
    free(product);
    return ok;
}

bool im_lora_add(im_ctx *c, const im_lora *l, im_part part, const im_param *p, float *values)
{
    if (!l) return true;
    if (!im_lora_add(c, l->next, part, p, values)) return false;                        /* in the order they were given */
    const module *m = of_param(l, part, p);
    return !m || add_product(c, l, m, values);
}

/* ---------------------------------------------------------------- to be trained on */

int im_lora_modules(const im_lora *l) { return l->n; }

int im_lora_rank(const im_lora *l, im_part part, const im_param *p)
{
    const module *m = of_param(l, part, p);
    return m ? (int)m->down->shape[0] : 0;
}

bool im_lora_factors(im_ctx *c, const im_lora *l, im_part part, const im_param *p, float *a, float *b)
{
    const module *m = of_param(l, part, p);
    if (!m) return im_fail(c, "%s: has nothing for %s", l->path, p->t->name);
    float scale = scale_of(l, m);
    if (!read_factors(c, l, m, a, b)) return false;
    for (int64_t i = 0; i < im_st_numel(m->up); i++) b[i] *= scale;
    return true;
}
