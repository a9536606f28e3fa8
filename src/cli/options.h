/* options.h: one table a verb says everything about its options: it parses them, prints the help and the man page.
 * Used by main.c and by every cmd_*.c. */
#ifndef IM_CLI_OPTIONS_H
#define IM_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "data/files/fields.h"

/* Exit codes of the program. Stopped by a signal: its number behind CLI_SIGNAL, as shells have it (Ctrl-C 130); or
 * CLI_STOPPED, where the same command goes on (EX_TEMPFAIL of sysexits.h). */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_STOPPED = 75, CLI_SIGNAL = 128 };

typedef enum {
    OPT_FLAG,                                                  /* bool                                                 */
    OPT_TEXT,                                                  /* const char *, not empty                              */
    OPT_LIST,                                                  /* option_list: may be given several times              */
    OPT_PHRASE,                                                /* const char *, perhaps empty                          */
    OPT_INT,                                                   /* int, within the range                                */
    OPT_SEED,                                                  /* uint64_t                                             */
    OPT_DRAWN_SEED,                                            /* option_seed; -1: one that is drawn                   */
    OPT_SIZE,                                                  /* uint64_t; K, M, G behind it: times 1024, 1024^2, ^3  */
    OPT_REAL,                                                  /* float, within the range                              */
    OPT_CHOICE,                                                /* const char *, one of the words of `choices`          */
    OPT_FIELD                                                  /* in tables only: kind, place and range are those of   */
} opt_kind;                                                    /* the verb's field of this name                        */

enum { OPTION_LIST_MOST = 16 };
typedef struct option_list { const char *v[OPTION_LIST_MOST]; int n; } option_list;
typedef struct option_seed { uint64_t value; bool drawn; } option_seed;

typedef struct option {
    char letter;                                               /* 0: long form only                                    */
    const char *name;                                          /* NULL ends a table                                    */
    opt_kind kind;
    const char *value;                                         /* its name in the help: "FILE"; NULL for flags         */
    size_t offset;                                             /* of its field in the verb's struct                    */
    const char *fallback;                                      /* used when not given; NULL: what the verb's `defaults` */
    const char *help;                                          /* puts there, else zero                                */
    im_range range;                                            /* INT, REAL                                            */
    const char *choices;                                       /* "f32|f16|bf16"                                       */
} option;

/* Rows of a table: letter (0: none), name, [name of the value,] offset, [fallback, limits or choices,] help. The help adds
 * limits, choices and default itself. */
#define OPTION_FLAG(l, n, at, h)                 { .letter = l, .name = n, .kind = OPT_FLAG, .offset = at, .help = h }
#define OPTION_VALUED(l, n, k, v, at, f, h, ...) \
    { .letter = l, .name = n, .kind = k, .value = v, .offset = at, .fallback = f, .help = h, __VA_ARGS__ }
#define OPTION_TEXT(l, n, v, at, f, h)           OPTION_VALUED(l, n, OPT_TEXT, v, at, f, h, .choices = NULL)
#define OPTION_LIST(l, n, v, at, h)              OPTION_VALUED(l, n, OPT_LIST, v, at, NULL, h, .choices = NULL)
#define OPTION_PHRASE(l, n, v, at, f, h)         OPTION_VALUED(l, n, OPT_PHRASE, v, at, f, h, .choices = NULL)
#define OPTION_SEED(l, n, v, at, f, h)           OPTION_VALUED(l, n, OPT_SEED, v, at, f, h, .choices = NULL)
#define OPTION_DRAWN_SEED(l, n, v, at, h)        OPTION_VALUED(l, n, OPT_DRAWN_SEED, v, at, NULL, h, .choices = NULL)
#define OPTION_SIZE(l, n, v, at, f, h)           OPTION_VALUED(l, n, OPT_SIZE, v, at, f, h, .choices = NULL)
#define OPTION_INT(l, n, v, at, f, lo, hi, h)    OPTION_VALUED(l, n, OPT_INT, v, at, f, h, .range = { lo, hi })
#define OPTION_REAL(l, n, v, at, f, lo, hi, h)   OPTION_VALUED(l, n, OPT_REAL, v, at, f, h, .range = { lo, hi })
#define OPTION_CHOICE(l, n, v, at, f, words, h)  OPTION_VALUED(l, n, OPT_CHOICE, v, at, f, h, .choices = words)
#define OPTION_FIELD(l, n, v, h)                 { .letter = l, .name = n, .kind = OPT_FIELD, .value = v, .help = h }
#define OPTION_END                               { .name = NULL }

typedef struct common_options {                                /* the first member of the struct of a verb             */
    const char *device, *isa, *dtype, *activations, *variant, *progress;
    int threads;
    bool strict;
} common_options;

enum { OPT_DEVICE = 1, OPT_DTYPE = 2,                          /* which of the common options a verb takes             */
       OPT_VARIANT = 4, OPT_STRICT = 8, OPT_MODEL = 12, OPT_PROGRESS = 16, OPT_ACTIVATIONS = 32 };

typedef struct arguments arguments;
typedef struct verb {
    const char *name;                                          /* "info", or two words: "train resnet"                 */
    const char *operands, *summary, *about, *examples;         /* operands: "MODEL|FILE" for the usage line            */
    int min_operands, max_operands;                            /* max -1: any number                                   */
    unsigned common;
    const option *options;
    size_t size;                                               /* of its struct                                        */
    void (*defaults)(void *values);                            /* the library's own, before options; or NULL           */
    const im_field *const *(*fields)(void);                    /* of OPT_FIELD: tables up to NULL, ...                 */
    size_t fields_at;                                          /* and where their struct lies in the verb's            */
    int (*run)(const arguments *a);                            /* returns an exit code                                 */
} verb;

struct arguments {
    const verb *verb;
    void *values;                                              /* the verb's struct, filled                            */
    const bool *given;                                         /* by index of the verb's table, then the common one    */
    const char **operands;
    int n_operands;
    int argc; char **argv;                                     /* as typed, from the program's name on                 */
};

int verb_words(const verb *v);                                 /* "train resnet" has two                               */
/* Parses what follows the verb's words; false: a line was printed and the exit code is CLI_USAGE. */
bool options_parse(const verb *v, int argc, char **argv, arguments *out);
void options_free(arguments *a);
bool option_given(const arguments *a, const char *name);       /* on the command line, not by default                  */
/* The verb's own table, then the common options that it takes: number i, or the one of this name. False: there is none. */
bool option_at(const verb *v, int i, option *out);
bool option_find(const verb *v, const char *name, option *out);
/* The option that a word on the command line begins: --steps, --steps=3, -s, -s3, or a neighbour's name for it. */
bool option_typed(const verb *v, const char *word, option *out);
bool option_allows(const option *o, const char *word);         /* of an OPT_CHOICE                                     */
/* What the option is when it is not given, as it would be typed: "7.5"; "" where there is nothing to say. */
const char *option_default(const verb *v, const option *o, char *out, size_t size);

/* Prints "imago VERB: ..." and where the help is; returns CLI_USAGE. */
int usage_error(const verb *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* help.c */
void help_program(FILE *f, const verb *const verbs[]);
void help_verb(FILE *f, const verb *v);
void help_man(FILE *f, const verb *const verbs[]);             /* roff of imago(1)                                     */

#endif
