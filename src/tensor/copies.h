/* copies.h: a weight in training in other forms: in 16 bits, in panels, turned around. Master weights are f32 and change
 * once a step, but each product wants its factor in its own form: forward, backward, again where a block is computed again
 * and for every part of an accumulated step. A form is made when it is first wanted and kept with the storage of the weight
 * until that changes (im_storage_changed). Kernels of host devices ask here. */
#ifndef IM_COPIES_H
#define IM_COPIES_H

#include "tensor/weight.h"

struct im_device;

/* Which form. It is compared byte by byte, so all of it is 8 bytes wide: nothing lies in between. */
typedef struct im_copy_key {
    const void *data;                            /* of the weight or of the view of it                                  */
    int64_t dtype, n, k, ld, lk, geglu;          /* of the copy, and how the weight was read                            */
    int64_t taps[4];                             /* turned (conv_dx.c): rows and columns of taps, the first, the stride */
} im_copy_key;

im_copies *im_copies_new(void);                                /* NULL: out of memory                                  */
void im_copies_free(struct im_device *dev, im_copies *c);      /* NULL is fine                                         */
void im_copies_change(im_copies *c);                           /* what was copied has other values now                 */

/* Memory for the copy of that key, `bytes` as ever for it; *made: it is there already, else the caller makes it now.
 * NULL: out of memory. */
void *im_copies_get(struct im_device *dev, im_copies *c, const im_copy_key *key, size_t bytes, bool *made);

#endif
