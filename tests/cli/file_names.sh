#!/bin/sh
# file_names.sh: paths that are no UTF-8, as Latin-1 names are: models of such names draw, and pictures are written.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/file_names.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319,SC2154 # check reads $? of the condition before it, on purpose; $rc is run's
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

model=$dir/$(printf 'mod\350le')
cp -r tests/golden/models/a "$model"
run generate -m "$model" -p x -s 1 --steps 1 -q -t 1 -o "$dir/a.png"
[ "$rc" = 0 ] && [ -s "$dir/a.png" ]
check "a model whose name is no UTF-8 (found $rc)"
run generate -m "$model" --from "$dir/a.png" -t 1 -o "$dir/b.png"
[ "$rc" = 0 ] && cmp -s "$dir/a.png" "$dir/b.png"
check "its picture is made again"
out=$dir/$(printf 'caf\351.png')
run generate -m tests/golden/models/a -p x -s 1 --steps 1 -q -t 1 --json -o "$out"
[ "$rc" = 0 ] && [ -s "$out" ] && python3 -c 'import json, sys
d = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert d[0]["path"].endswith("caf\ufffd.png"), d' "$dir/out" 2>"$dir/err"
check "a picture whose name is no UTF-8, and its JSON"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
