/* version.c: the commit of this build, alone in a file so that a new commit recompiles nothing else.
 * Used by `imago --version` and in the rows of `imago bench`. */
#include "cli/session.h"
#include "commit.h"

const char *commit_name(void)
{
    return IM_COMMIT;
}
