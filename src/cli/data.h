/* data.h: what cmd_data.c and data_output.c share: one batch and the files that show it. */
#ifndef IM_CLI_DATA_H
#define IM_CLI_DATA_H

#include "cli/options.h"
#include "data/sets/loader.h"

typedef struct data_options {
    common_options common;
    const char *augment, *order, *classes, *sheet, *dump, *json;
    int size, locals, local_size, count, epoch, threads;
    uint64_t seed;
    bool strict, shrink, force;
} data_options;

typedef struct data_view {                                     /* what is shown                                       */
    im_ctx *c;
    const data_options *o;
    const im_dataset *d;
    const im_recipe *r;
    const im_batch *b;                                         /* u8                                                  */
    const im_broken *broken; int64_t n_broken;
} data_view;

bool data_write_sheet(const data_view *v);
bool data_write_dump(const data_view *v);
bool data_write_json(const data_view *v);

#endif
