#!/bin/sh
# serve.sh: `imago serve`: pictures over HTTP and their bits, every address, who is let in, and damaged requests; with real
# clients and a browser where they are installed. The tests are in tests/serve.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/serve.sh [PROGRAM]                default: build/imago; runs from the root of the repository
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
IMAGO=$imago DIR=$dir
export IMAGO DIR

for part in draw wildcards routes guard page; do
    python3 "tests/serve/$part.py" >"$dir/said" 2>&1
    grep -v '^[0-9]* passed, ' "$dir/said"
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$dir/said")
    # shellcheck disable=SC2086 # three numbers
    set -- ${counts:-0 1 0}
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
