/* verbs.h: the verbs, each defined in its cmd_*.c. Used by main.c, help and completions, and by tests of them. */
#ifndef IM_CLI_VERBS_H
#define IM_CLI_VERBS_H

#include "cli/options.h"

extern const verb verb_generate, verb_info, verb_init_weights, verb_convert, verb_trace, verb_tokenize, verb_bench;
extern const verb verb_data, verb_train_resnet, verb_train_autoencoder, verb_train_decoder, verb_train_diffusion, verb_eval;
extern const verb verb_bench_train, verb_synth, verb_analyze, verb_transfer, verb_compare, verb_report, verb_serve,
                  verb_explain;

extern const verb *const all_verbs[];                          /* ends with NULL                                       */

/* The verb that argv[at] begins; NULL: none. */
const verb *verb_find(int argc, char **argv, int at);
int verb_unknown(int argc, char **argv, int at);               /* says so, and guesses; returns CLI_USAGE              */

#endif
