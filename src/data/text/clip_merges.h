/* clip_merges.h: the merges of CLIP's tokenizer, carried in the program (clip_merges.txt.gz, from openai/CLIP). */
#ifndef IM_CLIP_MERGES_H
#define IM_CLIP_MERGES_H

extern const char im_clip_merges[] __attribute__((visibility("hidden")));
extern const char im_clip_merges_end[] __attribute__((visibility("hidden")));

#endif
