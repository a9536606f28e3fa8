#!/bin/sh
# folders.sh: `imago convert` and `init-weights` over a folder that is there: the model in it is the old or the new one,
# never less, and what is the user's own stays. What can be cut off at any instant: tests/test_folders.c. Prints what fails
# and, last, "N passed, N failed, N skipped".
#
#     tests/cli/folders.sh [PROGRAM]              default: build/imago
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

sums() { (cd "$1" && find . -type f -exec cksum {} + | sort); }
alone() { [ "$(cd "$dir" && echo m*)" = m ]; }     # nothing beside the folder

"$imago" convert tests/golden/models/c -o "$dir/m" 2>"$dir/err"
mkdir "$dir/m/mine" && echo mine >"$dir/m/mine/notes.txt" && echo mine >"$dir/m/unet/notes.txt"
sums "$dir/m" >"$dir/before"
"$imago" convert "$dir/m" -o "$dir/m" --force 2>"$dir/err" && sums "$dir/m" | cmp -s - "$dir/before" && alone
check "a model converted onto itself is the same, with the user's files"

(ulimit -f 300 && exec "$imago" convert "$dir/m" -o "$dir/m" --force --dtype f32) >"$dir/out" 2>"$dir/err"
rc=$?
[ $rc = 1 ] && grep -q "model.safetensors: cannot write: File too large.*($dir/m is as it was)$" "$dir/err" &&
    sums "$dir/m" | cmp -s - "$dir/before" && alone
check "a file that gets too large: the old model stays as it was, and the error says so ($rc)"

"$imago" convert "$dir/m" -o "$dir/m" --force --max-file 200K 2>"$dir/err" &&
    [ -f "$dir/m/unet/diffusion_pytorch_model.safetensors.index.json" ] &&
    "$imago" init-weights --like tests/golden/models/c -o "$dir/m" -f 2>"$dir/err" && [ -f "$dir/m/mine/notes.txt" ] &&
    [ "$(cd "$dir/m/unet" && echo *)" = "config.json diffusion_pytorch_model.safetensors notes.txt" ] &&
    "$imago" info "$dir/m" >/dev/null 2>"$dir/err"
check "shards of an old model go, the user's files stay"

mkdir -p "$dir/m.tmp.999999999.0/unet" && "$imago" convert "$dir/m" -o "$dir/m" --force 2>"$dir/err" && alone
check "what a killed process left is removed"

mkdir "$dir/empty" && program=$(realpath "$imago") && model=$(realpath tests/golden/models/c) &&
    (cd "$dir/empty" && "$program" convert "$model" -o . && [ -f model_index.json ]) 2>"$dir/err"
check "-o . in an empty folder"
(cd "$dir/empty" && ! "$program" convert . -o . --force 2>"$dir/err") && grep -q 'is the folder you are in' "$dir/err"
check "-o . --force in a model is refused by name"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
