/* sheet.h: lays pictures out in a labelled grid (--sheet). Texts may hold any bytes. */
#ifndef IM_CLI_SHEET_H
#define IM_CLI_SHEET_H

#include "imago.h"

typedef struct sheet_cell {
    const im_image *picture;                                   /* NULL: left empty                                     */
    const char *label;                                         /* wrapped to a few lines                               */
    const char *guess, *note;                                  /* a line each below it; NULL: none                     */
} sheet_cell;

typedef struct sheet_axes {                                    /* of a table: cells row by row                         */
    int columns, rows;                                         /* rows 0: one, without a name                          */
    char *const *column, *const *row;                          /* names, above and at the left                         */
} sheet_axes;

/* Whether such a sheet can be drawn, before there are pictures: of these only width and height are looked at. axes NULL: as
 * many columns as look well. */
bool sheet_fits(im_ctx *c, const sheet_cell cells[], int n, const sheet_axes *axes);
/* A PNG, or a JPEG where its name says so; other names are refused. quality 0: im_picture_how's. */
bool sheet_save(im_ctx *c, const char *path, const im_image *sheet, int quality, im_origin mark, bool force);
bool sheet_named(im_ctx *c, const char *path);                 /* ends in .png, .jpg or .jpeg; else an error           */
im_image *sheet_draw(im_ctx *c, const char *title, const sheet_cell cells[], int n, const sheet_axes *axes);

#endif
