#!/bin/sh
# outputs.sh: files that the program writes: folders that are missing are made, and gone again after a failure; what was
# computed is shown although a file beside it cannot be written; what cannot be written is known before the work. Prints
# what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/outputs.sh [PROGRAM]              default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
small="-m $model --steps 2 -t 1 -q"

# ---- folders that are missing
# shellcheck disable=SC2086 # options of several words
{
run generate $small -p x -o "$dir/a/b/c.png" --sheet "$dir/s/t/sheet.png" --save-latents "$dir/l/latents.safetensors"
[ "$rc" = 0 ] && [ -s "$dir/a/b/c.png" ] && [ -s "$dir/s/t/sheet.png" ] && [ -s "$dir/l/latents.safetensors" ]
check "generate makes the folders of picture, sheet and latents"
run generate $small -p x -s 1 --count 2 -o "$dir/p/q"
[ "$rc" = 0 ] && [ -s "$dir/p/q/1.png" ] && [ -s "$dir/p/q/2.png" ]
check "generate makes the folder of several pictures"
run trace -m $model -p x -t 1 -o "$dir/u/v/trace.safetensors"
[ "$rc" = 0 ] && [ -s "$dir/u/v/trace.safetensors" ]
check "trace makes the folder of its file"
run convert $model -o "$dir/k/m/model.safetensors"
[ "$rc" = 0 ] && [ -s "$dir/k/m/model.safetensors" ]
check "convert makes the folder of a single file"
run data "$dir/p" --size 32 -o "$dir/d/sheet.png" --dump "$dir/e/dump.safetensors" --json "$dir/f/g/drawn.json"
[ "$rc" = 0 ] && [ -s "$dir/d/sheet.png" ] && [ -s "$dir/e/dump.safetensors" ] && [ -s "$dir/f/g/drawn.json" ]
check "data makes the folders of sheet, tensors and JSON"
run generate $small -p x -W 63 -o "$dir/none/at/all.png"
[ "$rc" = 1 ] && [ ! -e "$dir/none" ]
check "a run that is refused makes no folder"
(ulimit -f 1 && exec "$imago" generate $small -p x -o "$dir/none/at/all.png") 2>"$dir/err"
[ $? = 1 ] && grep -q 'all.png: cannot write: File too large' "$dir/err" && [ ! -e "$dir/none" ]
check "a picture that cannot be written leaves no folder"
run generate $small -p x -o "$dir/a/b/c.png/d.png"
[ "$rc" = 1 ] && grep -q 'c.png/d.png: cannot write: Not a directory' "$dir/err"
check "a file is not a folder"
gives 2 'names the file of a picture of this run' generate $small -p x -s 41 --count 3 -o "$dir/new/many" \
    --sheet "$dir/new/x/..//many/./42.png"
ln -s nowhere "$dir/link.safetensors" && ln -s nowhere "$dir/link.png"
gives 1 'link.safetensors: is a link to a file that is not there; use --force' convert $model \
    -o "$dir/link.safetensors"
gives 1 'link.png is a link to a file that is not there; --force writes in its place' generate $small -p x \
    -o "$dir/link.png"
mkdir "$dir/way.png"
gives 1 'way.png: is a folder' generate $small -p x -s 1 -o "$dir/kept.png" --sheet "$dir/way.png"
[ ! -e "$dir/kept.png" ]
check "a sheet that cannot be written is known before the pictures"

# ---- each of several files, whatever becomes of the others: a limit that only the sheet exceeds
(ulimit -f 60 && exec "$imago" generate $small -p x -s 1 --count 4 -o "$dir/four" --sheet "$dir/four/sheet.png" \
    --save-latents "$dir/four/latents.safetensors") >"$dir/out" 2>"$dir/err"
[ $? = 1 ] && grep -q 'sheet.png: cannot write: File too large' "$dir/err" && [ -s "$dir/four/4.png" ] &&
    [ ! -e "$dir/four/sheet.png" ] && [ -s "$dir/four/latents.safetensors" ]
check "latents are written although the sheet is not"
}

# ---- an evaluation is shown although its files cannot be written
mkdir -p "$dir/set/one" "$dir/set/two" && cp "$dir/p/q/1.png" "$dir/set/one/" && cp "$dir/p/q/2.png" "$dir/set/two/"
run train resnet --data "$dir/set" --arch resnet18 --width 4 --size 32 --batch 2 --steps 1 --augment none -t 1 -q \
    -o "$dir/run"
[ "$rc" = 0 ]
check "training a classifier"
mkdir "$dir/run/confusion.csv"
run eval -m "$dir/run" --data "$dir/set" -t 1
[ "$rc" = 1 ] && grep -q '^all  *2 ' "$dir/out" && grep -q '^imago: .*confusion.csv: is a folder' "$dir/err" &&
    grep -q '^imago: warning: .*confusion.csv: is a folder.*-o FOLDER' "$dir/err" && [ -s "$dir/run/confusion.png" ]
check "eval prints its figures, writes the other file, and ends with the name of the one that cannot be written ($rc)"
run eval -m "$dir/run" --data "$dir/set" -t 1 --json -o "$dir/p/q/1.png"
[ "$rc" = 1 ] && grep -q '"top1"' "$dir/out" && grep -q '^imago: .*1.png/confusion.csv: ' "$dir/err"
check "eval --json prints its object where -o is not a folder"
run eval -m "$dir/run" --data "$dir/set" -t 1 -o "$dir/new/eval"
[ "$rc" = 0 ] && [ -s "$dir/new/eval/confusion.csv" ] && grep -qx "$dir/new/eval/confusion.png" "$dir/out"
check "eval makes the folder of its files"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
