/* cmd_transfer.c: `imago transfer`: a linear classifier on the features of a frozen encoder (models/eval/transfer.c). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/measure.h"
#include "cli/session.h"
#include "cli/verbs.h"

enum { MOST_SHOTS = 32, MOST_PICTURES = 1000000 };

typedef struct transfer_options {
    common_options common;
    im_transfer_args a;
    const char *few_shot;
    int shots[MOST_SHOTS];
    bool json, quiet;
} transfer_options;

#define AT(field) offsetof(transfer_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "RUN|FILE", AT(a.measure.model), NULL,
             "the folder of a run (its model.safetensors, or its newest good checkpoint), or a safetensors file"),
    OPTION_TEXT(0, "train", "DIR|SHARDS", AT(a.train), NULL, "pictures in class folders, to train the last layer on"),
    OPTION_TEXT(0, "test", "DIR|SHARDS", AT(a.test), NULL, "pictures of the same classes, to test it on"),
    OPTION_CHOICE(0, "protocol", "NAME", AT(a.protocol), NULL, "logreg|sgd",
             "logreg: logistic regression by L-BFGS, for small sets; sgd: features of length 1, batch 1024"),
    OPTION_INT(0, "trials", "N", AT(a.trials), NULL, 1, 10000,
             "settings drawn; the best on a fifth of the training pictures, held out, is trained on all of them"),
    OPTION_REAL(0, "cost", "C", AT(a.cost), NULL, 0, 1e30, "logreg: C of scikit-learn, without trials; 0: by trials"),
    OPTION_REAL(0, "lr", "LR", AT(a.lr), NULL, 0, 1e6, "sgd: the rate; 0: by trials"),
    OPTION_REAL(0, "decay", "D", AT(a.decay), NULL, -1, 1e6, "sgd: weight decay; -1: by trials"),
    OPTION_INT(0, "epochs", "N", AT(a.epochs), NULL, 1, 100000, "sgd: epochs"),
    OPTION_TEXT(0, "few-shot", "N,N..", AT(few_shot), NULL, "also with N pictures of each class: 1,2,4,8, say"),
    OPTION_INT(0, "seeds", "N", AT(a.seeds), NULL, 1, 10000, "how often the pictures of --few-shot are drawn"),
    OPTION_SEED('s', "seed", "SEED", AT(a.seed), NULL,
             "decides which settings are tried, what is held out and what is drawn"),
    OPTION_TEXT(0, "classes", "FILE", AT(a.measure.classes), NULL, "a class a line, by which classes are numbered"),
    OPTION_TEXT(0, "save-features", "FILE", AT(a.save_features), NULL,
             "A.safetensors: write A.train.safetensors and A.test.safetensors: features (n, width), labels (n)"),
    MEASURE_OPTIONS,
    OPTION_END
};

/* "1,2,4": 0 with a line printed where it is no such list. */
static int read_shots(const arguments *v, transfer_options *o)
{
    const char *at = o->few_shot;
    int n = 0;
    for (; at && *at; n++) {
        char *end;
        long shots = strtol(at, &end, 10);
        if (end == at || shots < 1 || shots > MOST_PICTURES || (*end && (*end != ',' || !end[1])) || n == MOST_SHOTS)
            return usage_error(v->verb, "--few-shot %s: wanted up to %d whole numbers of 1 and above, with commas between "
                               "them: 1,2,4,8", o->few_shot, MOST_SHOTS);
        o->shots[n] = (int)shots;
        at = *end ? end + 1 : end;
    }
    o->a.shots = o->shots;
    o->a.n_shots = n;
    return CLI_OK;
}

/* ---------------------------------------------------------------- output */

static json_t *score_json(const transfer_options *o, const im_transfer_score *s)
{
    json_t *row = json_pack("{s:f, s:f, s:f, s:o}", "top1", s->top1, "mean_per_class", s->mean_per_class, "log_odds",
                            s->log_odds, "val_top1", measure_number(s->val_top1));
    if (!strcmp(o->a.protocol, "sgd")) {
        json_object_set_new(row, "lr", json_real(s->lr));
        json_object_set_new(row, "decay", json_real(s->decay));
    } else {
        json_object_set_new(row, "C", json_real(s->cost));
        json_object_set_new(row, "iterations", json_integer(s->iterations));
        json_object_set_new(row, "converged", json_boolean(s->converged));
    }
    return row;
}

/* Mean and deviation (n - 1) over draws of scores of so many shots; the first is at `from`. */
static double mean_of(const im_transfer_score *from, int n, double *deviation)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        sum += from[i].top1;
    for (int i = 0; i < n; i++)
        squares += (from[i].top1 - sum / n) * (from[i].top1 - sum / n);
    *deviation = n > 1 ? sqrt(squares / (n - 1)) : NAN;
    return sum / n;
}

static json_t *shots_json(const transfer_options *o, const im_transfer_score *from)
{
    double deviation, mean = mean_of(from, o->a.seeds, &deviation);
    json_t *draws = json_array();
    for (int i = 0; i < o->a.seeds; i++)
        json_array_append_new(draws, score_json(o, &from[i]));
    return json_pack("{s:i, s:f, s:o, s:o}", "shots", from->shots, "top1", mean, "deviation", measure_number(deviation),
                     "draws", draws);
}

static json_t *constants_json(const transfer_options *o, const im_transfer_result *r)
{
    json_t *k = measure_seen(r->size, true);
    bool sgd = !strcmp(o->a.protocol, "sgd");
    json_object_set_new(k, "seed", json_integer((json_int_t)o->a.seed));
    json_object_set_new(k, "held_out", json_integer((json_int_t)r->validation));
    json_object_set_new(k, "trials", json_integer(r->validation ? o->a.trials : 0));
    if (sgd)
        json_object_update_new(k, json_pack("{s:b, s:i, s:i, s:f, s:[f,f], s:[f,f]}", "unit_features", 1, "batch", 1024,
                               "epochs", o->a.epochs, "momentum", 0.9, "lr_range", 0.1, 100.0, "decay_range", 1e-12, 1e-4));
    else
        json_object_update_new(k, json_pack("{s:b, s:i, s:[f,f]}", "unit_features", 0, "max_iterations", 2000, "C_range",
                               1e-5, 1e6));
    return k;
}

static void print_json(const arguments *v, const im_transfer_result *r)
{
    const transfer_options *o = v->values;
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:i}", "model", r->weights, "train", o->a.train, "test",
                             o->a.test, "protocol", o->a.protocol, "train_pictures", (json_int_t)r->train, "pictures",
                             (json_int_t)r->test, "classes", r->classes, "width", r->width);
    json_object_update_new(root, score_json(o, &r->scores[0]));
    json_t *list = json_array();
    for (int i = 0; i < o->a.n_shots; i++)
        json_array_append_new(list, shots_json(o, &r->scores[1 + i * o->a.seeds]));
    json_object_set_new(root, "few_shot", list);
    json_object_set_new(root, "constants", constants_json(o, r));
    measure_print(root, v);
}

static void print_table(const transfer_options *o, const im_transfer_result *r)
{
    const im_transfer_score *all = r->scores;
    printf("%s: %lld pictures of %d classes, tested on %lld\n", r->weights, (long long)r->train, r->classes,
           (long long)r->test);
    printf("top-1 %.2f%%, mean of classes %.2f%%, log odds %.3f; ", 100 * all->top1, 100 * all->mean_per_class,
           all->log_odds);
    if (strcmp(o->a.protocol, "sgd"))
        printf("C %.4g, %d iterations%s", all->cost, all->iterations, all->converged ? "" : " (not at its end yet)");
    else
        printf("lr %.4g, decay %.4g", all->lr, all->decay);
    if (!isnan(all->val_top1))
        printf(", held out %.2f%%", 100 * all->val_top1);
    putchar('\n');
    for (int i = 0; i < o->a.n_shots; i++) {
        double deviation, mean = mean_of(&r->scores[1 + i * o->a.seeds], o->a.seeds, &deviation);
        printf("%4d a class: top-1 %.2f%%", o->shots[i], 100 * mean);
        if (!isnan(deviation))
            printf(" +- %.2f over %d draws", 100 * deviation, o->a.seeds);
        putchar('\n');
    }
}

static void defaults(void *values)
{
    ((transfer_options *)values)->a = im_transfer_defaults();
}

static int run(const arguments *v)
{
    transfer_options *o = v->values;
    if (!o->a.measure.model || !o->a.train || !o->a.test)
        return usage_error(v->verb, "%s is missing", !o->a.measure.model ? "-m RUN|FILE" : o->a.train ? "--test DIR"
                                                                                                      : "--train DIR");
    bool sgd = !strcmp(o->a.protocol, "sgd");
    if (sgd ? option_given(v, "cost") : option_given(v, "lr") || option_given(v, "decay") || option_given(v, "epochs"))
        return usage_error(v->verb, sgd ? "--cost belongs to --protocol logreg"
                                        : "--lr, --decay and --epochs belong to --protocol sgd");
    int rc = read_shots(v, o);
    if (rc)
        return rc;
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    if (!o->quiet && isatty(STDERR_FILENO))
        o->a.measure.progress = measure_progress;
    im_transfer_result r;
    if (im_transfer(c, &o->a, &r)) {
        if (o->json)
            print_json(v, &r);
        else
            print_table(o, &r);
        im_transfer_result_free(&r);
    }
    return session_close(c);
}

const verb verb_transfer = {
    .name = "transfer", .common = OPT_DEVICE, .options = options, .size = sizeof(transfer_options), .run = run,
    .defaults = defaults,
    .summary = "what the features of a classifier are worth for other classes",
    .about = "Trains a linear classifier on the features of a frozen encoder and tests it once. Settings (C, or rate and "
             "decay) are drawn log-uniformly, and the best on a fifth of each class of the training pictures is taken. "
             "Logistic regression minimises C times the sum of losses plus half the squared norm, as scikit-learn's. "
             "Pictures are resized whole (bicubic) and cut in the centre. Features are kept beside the weights for the "
             "next time.",
    .examples = "  imago transfer -m RUN --train DTD/train --test DTD/test\n"
                "  imago transfer -m RUN --train A --test B --few-shot 1,2,4,8,16 --seeds 5 --json\n"
                "  imago transfer -m RUN --train A --test B --protocol sgd --trials 30",
};
