/* exif_comment.h: the user's comment in an EXIF block, where JPEGs of the AUTOMATIC1111 web interface say how they were
 * made (exif_comment.c). Used by picture_write.c and picture.c. */
#ifndef IM_EXIF_COMMENT_H
#define IM_EXIF_COMMENT_H

#include "imago.h"

enum { IM_EXIF_MAX_BYTES = 65533 };                            /* of an APP1 segment of a JPEG                        */

/* "Exif\0\0" and a block with the text as its UserComment, malloc'd; text: UTF-8. NULL with an error, which begins with
 * `name`, when it is longer than a JPEG can hold. */
uint8_t *im_exif_comment_new(im_ctx *c, const char *name, const char *text, size_t *bytes);

/* The UserComment of an EXIF block ("Exif\0\0" before it or not) as UTF-8, malloc'd; NULL when it has none. */
char *im_exif_comment(im_ctx *c, const uint8_t *p, size_t n);

/* Texts in one comment: that of the key "parameters" as it is, and behind its last line the others, each as one more of
 * its fields: , key: "the text in quotes, as JSON". So a reader of that interface's text finds fields it does not know. */
char *im_comment_of_texts(im_ctx *c, const im_text *texts, int n);
/* The text of a key: "parameters" is the whole comment. malloc'd; NULL when absent. */
char *im_comment_text(im_ctx *c, const char *comment, const char *key);

#endif
