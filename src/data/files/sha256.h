/* sha256.h: SHA-256 (FIPS 180-4) through libcrypto. Used for the hash of a model and by checks of downloaded files. */
#ifndef IM_SHA256_H
#define IM_SHA256_H

#include "imago.h"

typedef struct im_sha256 im_sha256;
im_sha256 *im_sha256_new(im_ctx *c);
bool im_sha256_add(im_ctx *c, im_sha256 *s, const void *data, size_t bytes);
bool im_sha256_finish(im_ctx *c, im_sha256 *s, char hex[65]);  /* 64 lower-case hex digits; frees s                   */
void im_sha256_free(im_sha256 *s);                             /* only where finish was not called                    */

bool im_sha256_of(im_ctx *c, const void *data, size_t bytes, char hex[65]);
bool im_sha256_file(im_ctx *c, const char *path, char hex[65]);                     /* im_cancel ends it              */
bool im_sha256_file_once(im_ctx *c, const char *path, char hex[65]);                /* kept in the user's cache       */

#endif
