#!/bin/sh
# wrong_input.sh: what people type and give by mistake, a line each: exit code, the words of the error, the command. Nothing
# may be left on disk by any of them. At the end: standard output that is full, closed, or read by somebody who has seen
# enough. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/wrong_input.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319,SC2086 # check reads $? of the condition before it; $train and $all are several words
set -u
imago=${1:-build/imago}
m=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh

w=$dir/w
mkdir -p "$w/folder" "$w/set/a" "$w/set/b" "$w/latin/x"
latin=$(printf 'b\344r')                          # Latin-1
: >"$w/empty" && : >"$w/empty.png" && : >"$w/empty.safetensors"
echo 'hello, is this a model?' >"$w/text.txt"
cp "$w/text.txt" "$w/text.png" && cp "$w/text.txt" "$w/text.safetensors"
printf '\377\377\377\377\377\377\377\177{}' >"$w/huge.safetensors"
printf 'a\n%s\n' "$latin" >"$w/latin.txt"
run generate -q -m $m -p x -s 1 -c 4 --steps 1 -t 1 -o "$w/out"
cp "$w/out/1.png" "$w/out/2.png" "$w/set/a" && cp "$w/out/3.png" "$w/out/4.png" "$w/set/b"
mkdir "$w/latin/$latin" && cp "$w/out/1.png" "$w/latin/$latin" && cp "$w/out/2.png" "$w/latin/x"
train='--arch resnet18 --width 4 --size 32 --batch 2 --steps 1 --augment none -t 1 -q'
run train resnet $train --data "$w/set" -o "$w/run"
[ "$rc" = 0 ]
check "a classifier to be used wrongly (found $rc)"
cp -r "$w/run" "$w/truncated" && printf '{"loss": ' >"$w/truncated/config.json"
list() { (cd "$w" && find . -exec ls -dln --time-style=+%s.%N {} + | sort -k 7; find . -type f -exec cksum {} +); }
before=$(list; git status --short 2>/dev/null)

# ---- options, for every verb
for verb in generate synth info init-weights convert trace tokenize bench 'bench train' data 'train resnet' \
            'train autoencoder' 'train decoder' 'train diffusion' eval; do
    gives 2 'there is no option --nonsense' $verb --nonsense
done
gives 2 'there is no verb "txt2image"' txt2image -p x
gives 2 'train what? There is train resnet' train
gives 2 'there is no verb "train vae"' train vae
gives 2 'wanted a verb before -p' -p x
gives 2 '--threads is "99999", wanted a whole number from 0 to 1024' generate -p x -t 99999
gives 2 '--width is "100000", wanted a whole number from 0 to 65536' generate -p x -W 100000
gives 2 '--count is "99999999999999999999"' generate -p x -c 99999999999999999999
gives 2 '--batch is "0x10"' generate -p x -b 0x10
gives 2 '--guidance is "7,5"' generate -p x -g 7,5
gives 2 '--rounds is "0", wanted a whole number from 1 to 10000' bench unet --rounds 0
gives 2 '--arch is "resnet7"' train resnet --data "$w/set" --arch resnet7 -o "$w/new"
gives 2 '--lr is "-1", wanted a number of at least 1e-12, or 0' train resnet --data "$w/set" --lr -1 -o "$w/new"
gives 2 '--set is "imagenet9"' eval -m "$w/run" --data "$w/set" --set imagenet9
gives 2 '--dtype is "u8", wanted one of keep|f32|f16|bf16' convert $m -o "$w/new" --dtype u8
gives 2 '--length is "1"' tokenize --length 1 x
gives 2 '-o RUN is missing' train resnet --data "$w/set"
gives 2 '--data DIR is missing' train resnet -o "$w/new"
gives 2 '--config FOLDER is missing' train autoencoder --data "$w/set" -o "$w/new"
gives 2 '--vae FOLDER is missing' train decoder --data "$w/set" -o "$w/new"
gives 2 '--data DIR is missing' eval -m "$w/run"
gives 2 '--classes FILE is missing' synth -o "$w/new"

# ---- files that are missing, empty, folders, or something else
gives 1 "$w/none: cannot open: No such file or directory" info "$w/none"
gives 1 'there is no such file or folder; a diffusers folder or a .safetensors file was expected' generate -p x -m "$w/none"
gives 1 '/dev/null: is neither a file nor a folder' generate -p x -m /dev/null
gives 1 "/model_index.json: is a part of the model in $m; give that folder" generate -p x -m "$m/model_index.json"
gives 1 "/unet/config.json: is a part of the model in $m; give that folder" info "$m/unet/config.json"
gives 1 'folder has no model_index.json' info "$w/folder"
gives 1 'folder has no model_index.json' convert "$w/folder" -o "$w/new"
gives 1 'empty.safetensors: has 0 bytes, which is too short for a safetensors file' generate -p x -m "$w/empty.safetensors"
gives 1 'text.safetensors: does not begin like a safetensors file' info "$w/text.safetensors"
gives 1 'huge.safetensors: does not begin like a safetensors file (header of 9223372036854775807 bytes' convert \
    "$w/huge.safetensors" -o "$w/new"
gives 1 'out/1.png: does not begin like a safetensors file' trace -m "$w/out/1.png" -p x -o "$w/new.safetensors"
gives 1 'out/1.png: does not begin like a safetensors file' tokenize -m "$w/out/1.png" x
gives 1 'its name is that of a PyTorch pickle' generate -p x -m "$w/sd.ckpt" -o "$w/new.png"
gives 1 'its name is that of a PyTorch pickle' train resnet $train --data "$w/set" --init "$w/resnet.pth" -o "$w/new"
gives 1 'text.png: is not a picture; wanted a JPEG or PNG' generate -p x -m $m -i "$w/text.png" -o "$w/new.png"
gives 1 'empty.png: is empty; wanted a JPEG or PNG' generate -p x -m $m -i "$w/empty.png" -o "$w/new.png"
gives 1 'folder: is a folder; wanted a file' generate -p x -m $m -i "$w/folder" -o "$w/new.png"
gives 1 'folder: is a folder; wanted a file' generate -m $m --from "$w/folder" -o "$w/new.png"
gives 1 'text.png: is not a picture' generate -m $m --from "$w/text.png" -o "$w/new.png"
gives 1 'folder: is a folder; wanted a file' generate -p x -m $m --latents "$w/folder" -o "$w/new.png"
gives 1 'folder: Is a directory; wanted a file with one prompt per line' generate -m $m --prompts "$w/folder" -o "$w/new"
gives 1 'empty: has no prompts' generate -m $m --prompts "$w/empty" -o "$w/new"
gives 1 'out/1.png, line 1: byte 0 (0x89) is not UTF-8' generate -m $m --prompts "$w/out/1.png" -o "$w/new"
gives 1 'text.txt: does not begin like a safetensors file' generate -p x -m $m --classify "$w/text.txt" -o "$w/new.png"
gives 1 'is neither "sd-v1-4" nor a folder' init-weights --like "$w/none" -o "$w/new"
gives 1 'found no vocab.json and no tokenizer.json' tokenize -m "$w/folder" x
gives 1 'none: cannot be opened: No such file or directory; wanted a folder of pictures, or tar shards' data "$w/none"
gives 1 'text.txt: byte 0: is not a tar header' data "$w/text.txt"
gives 1 'folder: holds no pictures' data "$w/folder"
gives 1 'folder: holds no pictures' train resnet $train --data "$w/folder" -o "$w/new"
gives 1 'none: cannot be opened' train resnet $train --data "$w/set" --val "$w/none" -o "$w/new"
gives 1 'folder: is a folder; wanted a file' train resnet $train --data "$w/set" --classes "$w/folder" -o "$w/new"
gives 1 'text.txt: does not begin like a safetensors file' train resnet $train --data "$w/set" --init "$w/text.txt" \
    -o "$w/new"
gives 1 'set: holds 4 pictures and a batch has 100: no batch is whole; lower --batch' train resnet --data "$w/set" \
    --batch 100 -o "$w/new"
gives 1 'there is a run in this folder already' train resnet $train --data "$w/set" -o "$w/run"
gives 2 'folder holds no run to resume' train resnet --resume -o "$w/folder"
gives 1 'truncated/config.json:1: column 9: is not valid JSON' train resnet --resume -o "$w/truncated"
gives 1 'none: No such file or directory; wanted a file with one prompt per line' train diffusion --data "$w/set" \
    --config $m --vae $m --samples "$w/none" -o "$w/new"
gives 1 'text.txt: does not begin like a safetensors file' eval -m "$w/text.txt" --data "$w/set"
gives 1 'folder: holds no pictures' eval -m "$w/run" --data "$w/folder"

# ---- numbers that are too large for the model or the memory, or do not fit it
gives 1 'wanted 1 to 999' generate -p x -m $m --steps 5000 -o "$w/new.png"
gives 1 'width: found 63 pixels, wanted a multiple of 8, such as 56 or 64' generate -p x -m $m -W 63 -o "$w/new.png"
gives 1 'width: found 63 pixels, wanted a multiple of 8, such as 56 or 64' bench unet -m $m -W 63
gives 1 'height: found 7 pixels, wanted a multiple of 8, such as 8' info $m -H 7
gives 1 'of memory are free; ask for a smaller size' generate -p x -m $m -W 65536 -H 65536 -o "$w/new.png"
gives 1 'one evaluation of 65536x65536 needs about ' bench unet -m $m -W 65536 -H 65536

# ---- text that is not UTF-8
gives 1 'the prompt: byte 1 (0xe4) is not UTF-8; write it as UTF-8' generate -m $m -p "$latin" -o "$w/new.png"
gives 1 'the negative prompt: byte 1 (0xe4) is not UTF-8' generate -m $m -p x -n "$latin" -o "$w/new.png"
gives 1 'the prompt: byte 1 (0xe4) is not UTF-8' trace -m $m -p "$latin" -o "$w/new.safetensors"
gives 1 'prompt: byte 1 (0xe4) is not UTF-8' tokenize "$latin"
gives 1 'byte 1 (0xe4) is not UTF-8' train resnet $train --data "$w/latin" -o "$w/new"
gives 1 'byte 1 (0xe4) is not UTF-8' synth --classes "$w/latin.txt" --per-class 1 --prompts-only

# ---- places where nothing can be written; /proc is for root as well
gives 1 '/proc/new.png: cannot write' generate -p x -m $m --steps 1 -o /proc/new.png
gives 1 '/proc/new: cannot make the folder' generate -p x -m $m --steps 1 -o /proc/new/1.png
gives 1 '/proc/new: cannot make the folder' convert $m -o /proc/new
gives 1 '/proc/new: cannot make the folder' init-weights --like $m -o /proc/new
gives 1 '/proc/new/checkpoints: cannot make the folder' train resnet $train --data "$w/set" -o /proc/new
gives 1 'a file of this name is in the way' train resnet $train --data "$w/set" -o "$w/text.txt"
gives 1 'a file of this name is in the way' convert $m -o "$w/out/1.png"
gives 1 'out/1.png/new: cannot make the folder: Not a directory' convert $m -o "$w/out/1.png/new"
gives 1 'out: exists already and is not empty; use --force' init-weights --like $m -o "$w/out"
gives 1 '/dev/full: is not a regular file' trace -m $m -p x -o /dev/full
gives 1 '/dev/full: is not a regular file' generate -p x -m $m -o "$w/new.png" --save-latents /dev/full
gives 1 'out: is a folder; wanted the name of a file to write' trace -m $m -p x -o "$w/out"
gives 2 'wanted a name ending in .png or .jpg' generate -p x -m $m -o "$w/new.gif"
gives 1 'wanted a name for the sheet that ends in .png, .jpg or .jpeg' data "$w/set" -o "$w/new.gif"
if [ "$(id -u)" = 0 ]; then
    skipped=$((skipped + 1))
    echo "SKIP a folder without write permission: root may write anywhere"
else
    mkdir "$dir/locked" && chmod a-w "$dir/locked"
    gives 1 'Permission denied' generate -p x -m $m --steps 1 -o "$dir/locked/1.png"
    gives 1 'Permission denied' convert $m -o "$dir/locked/model"
    gives 1 'Permission denied' train resnet $train --data "$w/set" -o "$dir/locked/run"
fi
[ "$before" = "$(list; git status --short 2>/dev/null)" ]
check "none of all that has left, changed or touched a file"

# ---- standard output
: >"$w/classes.txt" && echo apple >"$w/classes.txt"
all="help|help generate|help --man|--version|help --completion bash|info $m|info --json $m|info --ops|info --device cpu
info $w/run/model.safetensors|tokenize x|tokenize --json -m $m x|data $w/set|eval -m $w/run --data $w/set -t 1
eval -m $w/run --data $w/set --json -t 1|bench peak --rounds 1|bench unet -m $m --rounds 1 --json
synth --classes $w/classes.txt --per-class 3 --prompts-only|train resnet $train --trace-tape --data $w/set -o $dir/new
generate -q --json -m $m -p x --steps 1 -t 1 -f -o $dir/new.png"
printf '%s\n' "$all" | tr '|' '\n' >"$dir/all"
while read -r words; do
    rm -rf "$dir/new"
    "$imago" $words >/dev/full 2>"$dir/err" </dev/null
    [ $? = 1 ] && [ "$(tail -n 1 "$dir/err")" = \
        'imago: cannot write to standard output; is it closed, or the disk full?' ]
    check "imago $words, to a full disk"
    rm -rf "$dir/new"
    "$imago" $words >&- 2>"$dir/err" </dev/null
    [ $? = 1 ] && grep -q '^imago: cannot write to standard output; is it closed' "$dir/err"
    check "imago $words, to nobody"
    rm -rf "$dir/new"
    { "$imago" $words 2>"$dir/err" </dev/null; echo "$?" >"$dir/code"; } | head -n 1 >/dev/null
    ! grep -v warning "$dir/err" | grep -q . && grep -qx '0\|141' "$dir/code"
    check "imago $words | head -n 1: says nothing (found $(cat "$dir/code"))"
done <"$dir/all"
rm -f "$dir/new.png"
"$imago" generate -q --json -m $m -p x -s 1 --steps 1 -t 1 -o "$dir/new.png" >&- 2>&- <&-
"$imago" generate -q -m $m -p x -s 1 --steps 1 -t 1 -o "$dir/same.png" 2>/dev/null
cmp -s "$dir/new.png" "$dir/same.png"
check "with all three closed the picture holds nothing but the picture"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
