/* reading.h: how a model reads prompts, and what is added to it for them: the options that the verbs which take a prompt
 * share. Used by cmd_generate.c, cmd_trace.c, cmd_tokenize.c and serve/. */
#ifndef IM_CLI_READING_H
#define IM_CLI_READING_H

#include "cli/options.h"
#include "imago.h"

typedef struct reading {
    const char *syntax, *lora_dir;
    int clip_skip;
    option_list loras, embeddings;
} reading;

/* Rows for the member `reading` of the verb's struct `type`. */
#define READING_AT(type, field) (offsetof(type, reading) + offsetof(reading, field))
#define SYNTAX_OPTION(type) \
    OPTION_CHOICE(0, "prompt-syntax", "SYNTAX", READING_AT(type, syntax), "plain", "plain|a1111", \
                  "plain: every letter is text, cut where the model's positions end. a1111: (a:1.2), (a), [a], \\( and " \
                  "BREAK weigh and part it as the AUTOMATIC1111 web interface does, at any length")
#define CLIP_SKIP_OPTION(type) \
    OPTION_INT(0, "clip-skip", "N", READING_AT(type, clip_skip), "1", 1, 1000, \
               "which layer of the text encoder the model sees, from the end: 1 is the last. diffusers counts from 0")
#define LORA_OPTIONS(type) \
    OPTION_LIST(0, "lora", "FILE[:WEIGHT]", READING_AT(type, loras), \
                "a LoRA (diffusers, PEFT or kohya) to add to the weights, 1 times, or WEIGHT times; may be given several " \
                "times"), \
    OPTION_TEXT(0, "lora-dir", "FOLDER", READING_AT(type, lora_dir), NULL, \
                "where the LoRAs lie that prompts name: <lora:NAME:WEIGHT>, NAME without .safetensors, is taken out of " \
                "the text in either syntax; without it, loras/ in the model's folder or beside the model")
#define EMBEDDING_OPTION(type) \
    OPTION_LIST(0, "embedding", "FILE|FOLDER", READING_AT(type, embeddings), \
                "a word of textual inversion, .safetensors of diffusers or AUTOMATIC1111, or a folder of them, used by " \
                "its name in prompts; may be given several times. embeddings/ in or beside the model needs no option")

im_prompt_syntax reading_syntax(const reading *r);
/* Gives the model the LoRAs and words of the options. False: its context has failed. */
bool reading_add(im_sd *sd, const reading *r);

#endif
