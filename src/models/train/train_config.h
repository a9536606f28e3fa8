/* train_config.h: the options of a run as config.json, and back: one table of fields (data/files/fields.h) says both. What
 * imago wrote is read strictly: an option that config.json has must be one that could have been typed. An option that it
 * has not is younger than the run, and stands where it stands today when nothing is said. */
#ifndef IM_TRAIN_CONFIG_H
#define IM_TRAIN_CONFIG_H

#include "data/files/fields.h"

/* The fields of im_train_common at the beginning of a struct of arguments; each task adds a table of its own. Lists of
 * tables end with NULL. */
extern const im_field im_train_common_fields[];

typedef struct im_config_extra {                               /* what else stands in config.json; may be NULL, 0     */
    const char *task;                                          /* "resnet"                                            */
    const char *data_sha256, *vae_sha256, *config_sha256, *favour_sha256, *base_sha256;
    const char *const *classes; int n_classes;
    int64_t pictures;
} im_config_extra;

/* JSON, malloc'd, ended by a newline. Texts that are files (IM_PATH) are written as absolute paths: a run goes on from any
 * folder. NULL with an error where a path or the name of a class is no UTF-8, which JSON cannot hold. */
char *im_config_text(im_ctx *c, const im_field *const tables[], const void *args, const im_config_extra *extra);

/* im_train_resnet_config for any task. theirs: a struct like args with the defaults, which becomes what the run has. */
im_train_config *im_config_merge(im_ctx *c, const char *run, const char *task, const im_field *const tables[], void *args,
                                 void *theirs, bool (*given)(void *arg, const char *option), void *arg);

/* The set's hash and classes in RUN/config.json must be those of extra; fails and says what differs. */
bool im_config_same_data(im_ctx *c, const char *run, const im_config_extra *extra);

/* ours: the text of config.json as this process has it; theirs: that of the checkpoint in the file `path`, which goes on
 * only where all that decides is the same: config.json was not changed by hand. An option that theirs does not have is
 * younger than the checkpoint. */
bool im_config_same_run(im_ctx *c, const im_field *const tables[], const char *ours, const char *theirs, const char *path);

/* What of theirs is other than in ours, "--batch is 4 there and 8 here"; "": nothing that decides. Of two processes of one
 * training, so the instruction set counts, too. path: for errors. */
bool im_config_differences(im_ctx *c, const im_field *const tables[], const char *ours, const char *theirs,
                           const char *path, char *out, size_t size);

/* May a run of this schedule go on to another last step? Not with the cosine, where every rate depends on it. */
bool im_config_may_grow(const im_train_common *a);
/* epochs, steps and warmup of RUN/config.json */
bool im_config_length(im_ctx *c, const char *run, im_train_common *out);

#endif
