/* carried_lists.h: lists of names that the program carries: the classes of ImageNet and of the sets that test it, and the
 * scenes of Places365.
 *   imagenet.txt    the 1000 wnids of ILSVRC 2012, sorted: the line is the label. Letters behind one name the lists that
 *                   have it, too: c ImageNet-100 (Tian et al. 2019), a ImageNet-A, o ImageNet-O (Hendrycks et al. 2021),
 *                   r ImageNet-R
 *   places365.txt   the 365 categories of Places365 (Zhou et al. 2017) as words: "outdoor apartment building"
 * Used by class_list.c, prompts.c and by eval/sets.c. */
#ifndef IM_CARRIED_LISTS_H
#define IM_CARRIED_LISTS_H

#include <stddef.h>

enum { IM_IMAGENET_CLASSES = 1000, IM_WNID_BYTES = 10, IM_PLACES = 365, IM_PLACE_BYTES = 64 };
typedef enum { IM_IMAGENET_1K, IM_IMAGENET_100, IM_IMAGENET_A, IM_IMAGENET_R, IM_IMAGENET_O } im_imagenet;

/* The wnids of a list, sorted, and their labels among the 1000 (label may be NULL); returns their number. */
int im_imagenet_wnids(im_imagenet which, char wnid[IM_IMAGENET_CLASSES][IM_WNID_BYTES], int label[IM_IMAGENET_CLASSES]);

void im_place(int i, char out[IM_PLACE_BYTES]);                /* 0 .. IM_PLACES - 1                                  */

#endif
