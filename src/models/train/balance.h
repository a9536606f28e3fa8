/* balance.h: how often a training shows each picture of a set whose captions are tags (captions.h): rare things as often as
 * common ones, and things of a list more often than all else. Used by train_diffusion.c. */
#ifndef IM_BALANCE_H
#define IM_BALANCE_H

#include "data/sets/dataset.h"
#include "imago.h"

typedef struct im_balance {
    float power;                                               /* p >= 0: n pictures of one thing have weight n^-p     */
    const char *favour;                                        /* file, a thing a line; NULL: none                    */
    float favour_share;                                        /* 0 .. 1, of all that is shown: pictures of those      */
} im_balance;

/* The line of `things` (n of them) that a first tag of `length` bytes shows: the longest that is the tag or ends it at a
 * word, before " with ": "brown fish" and "fish with a hat" show "fish". -1: none. Capitals of ASCII do not count. */
int im_balance_thing(const char *tag, int length, const char *const *things, int n);

/* For im_order_draw: sums of weights, (count), malloc'd. Pictures of the same listed thing, or else of the same first tag,
 * are one thing. hash, if not NULL: of the file. Errors: a file that cannot be read, is empty, lists things of which no
 * picture is. */
double *im_balance_sums(im_ctx *c, const im_dataset *d, const im_balance *b, char hash[65]);

#endif
