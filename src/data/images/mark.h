/* mark.h: what a file says of a picture's origin to those who look for it: XMP with IPTC's "digital source type" (mark.c).
 * Used by picture_write.c. */
#ifndef IM_MARK_H
#define IM_MARK_H

#include "imago.h"

#define IM_MARK_MODEL "trainedAlgorithmicMedia"                 /* IPTC's terms                                         */
#define IM_MARK_COMPOSITE "compositeWithTrainedAlgorithmicMedia"
#define IM_XMP_KEY "XML:com.adobe.xmp"                         /* of its text in a PNG                                 */
const char *im_mark_xmp(im_origin mark);                       /* NULL: IM_ORIGIN_UNSAID                               */
/* The same as the content of a JPEG's APP1 segment, malloc'd. NULL without an error: IM_ORIGIN_UNSAID. */
uint8_t *im_mark_block(im_ctx *c, im_origin mark, size_t *bytes);

#endif
