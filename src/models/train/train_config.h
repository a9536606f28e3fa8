/* train_config.h: the options of a run as config.json, and back: one table of fields says both. */
#ifndef IM_TRAIN_CONFIG_H
#define IM_TRAIN_CONFIG_H

#include "imago.h"

typedef enum { IM_FIELD_TEXT, IM_FIELD_INT, IM_FIELD_REAL, IM_FIELD_FLAG, IM_FIELD_SEED } im_field_kind;

typedef struct im_field {
    const char *name;                                          /* the option's; NULL ends a table                     */
    im_field_kind kind;                                        /* const char *, int, float, bool, uint64_t            */
    size_t at;                                                 /* offset in the struct of arguments                   */
    bool decides;                                              /* another value gives another result                  */
} im_field;

/* The fields of im_train_common at the beginning of a struct of arguments; each task adds a table of its own. */
extern const im_field im_train_common_fields[];

/* Shortest decimal that is this float, as a double: 0.1f is 0.1, not 0.10000000149. */
double im_decimal(float x);

typedef struct im_config_extra {                               /* what else stands in config.json; may be NULL, 0     */
    const char *task;                                          /* "resnet"                                            */
    const char *data_sha256, *vae_sha256, *config_sha256, *favour_sha256;
    const char *const *classes; int n_classes;
    int64_t pictures;
} im_config_extra;

/* JSON, malloc'd, ended by a newline. Texts that are files (data, init, val, classes, config, vae, favour) are written as
 * absolute paths: a run goes on from any folder. */
char *im_config_text(im_ctx *c, const im_field *const tables[], int n, const void *args, const im_config_extra *extra);

/* im_train_resnet_config for any task. defaults: the arguments where nothing is said. */
im_train_config *im_config_merge(im_ctx *c, const char *run, const char *task, const im_field *const tables[], int n,
                                 void *args, const void *defaults, bool (*given)(void *arg, const char *option),
                                 void *arg);

/* The set's hash and classes in RUN/config.json must be those of extra; fails and says what differs. */
bool im_config_same_data(im_ctx *c, const char *run, const im_config_extra *extra);

#endif
