#!/bin/sh
# int8.sh: --dtype int8: pictures with their own bits, the same in a batch, on any number of threads and instruction set,
# and from a folder that convert wrote; what it is not for. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/int8.sh [PROGRAM]           default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate --steps 3 -q "$@"; }

draw -m $model -p pear -s 2 -o "$dir/f32.png"
draw -m $model -p pear -s 2 --dtype int8 -o "$dir/int8.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/int8.png" "$dir/f32.png"
check "int8: other bits than f32"
gives 0 'the same picture as ' generate -m $model --from "$dir/int8.png" -o "$dir/again.png"
cmp -s "$dir/int8.png" "$dir/again.png"
check "--from draws it again, to the byte"
draw -m $model -p pear -s 1 -c 3 -b 3 -t 1 --dtype int8 -o "$dir/batch/"
cmp -s "$dir/int8.png" "$dir/batch/2.png"
check "the same bytes in a batch of three, on one thread"
# A set that this machine lacks is the best below it. portable has no fused multiply-add, by which what stays in f32 is
# rounded (norms, the first and the last convolution); its integers are compared in test_int8.c.
draw -p pear -s 2 --dtype int8 -o "$dir/small-int8.png"
for isa in avx2 avx512 avx512bf16 avx512amx neon; do
    IMAGO_ISA=$isa draw -m $model -p pear -s 2 --dtype int8 -o "$dir/$isa.png"
    if [ "$rc" = 0 ]; then
        same_pixels "$dir/$isa.png" "$dir/int8.png"
        check "the same pixels on $isa or what is below it"
        IMAGO_ISA=$isa draw -p pear -s 2 --dtype int8 -o "$dir/small-$isa.png"
        [ "$rc" = 0 ] && same_pixels "$dir/small-$isa.png" "$dir/small-int8.png"
        check "the same pixels of the embedded model on $isa or what is below it"
    fi
done
draw -m $model -p pear -s 2 --dtype int8 --activations f16 -o "$dir/act.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/act.png" "$dir/int8.png"
check "with activations in f16"
cp -r $model "$dir/copy" && draw -m "$dir/copy" -p pear -s 2 --dtype int8 --cache-weights -o "$dir/kept.png"
draw -m "$dir/copy" -p pear -s 2 --dtype int8 --cache-weights -o "$dir/mapped.png"
[ "$rc" = 0 ] && ls "$dir"/copy/imago-cache/unet-int8-*.weights >/dev/null && same_pixels "$dir/mapped.png" "$dir/int8.png"
check "packed weights are kept in int8 and mapped"

run convert $model -o "$dir/folder" --dtype int8
draw -m "$dir/folder" -p pear -s 2 -o "$dir/folder.png"
[ "$rc" = 0 ] && same_pixels "$dir/folder.png" "$dir/int8.png"
check "a folder in int8 is int8 without --dtype, and the same picture"
gives 0 '"dtype": "I8"' info "$dir/folder" --json
gives 0 '"dtype": "int8"' info "$dir/folder" --json
gives 0 'conv1.weight_scale' info "$dir/folder"
run convert "$dir/folder" -o "$dir/kept"
cmp -s "$dir/kept/unet/diffusion_pytorch_model.safetensors" "$dir/folder/unet/diffusion_pytorch_model.safetensors"
check "convert keeps int8 as it is"
gives 0 'its weights are int8; as f32 they have the same values, not those that they were rounded from' \
    convert "$dir/folder" -o "$dir/wide" --dtype f32
draw -m "$dir/wide" -p pear -s 2 --dtype int8 -o "$dir/wide.png"
[ "$rc" = 0 ] && same_pixels "$dir/wide.png" "$dir/int8.png"
check "widened and rounded again it is the same"
draw -m "$dir/folder" -p pear -s 2 --dtype f32 -o "$dir/as-f32.png"
draw -m "$dir/wide" -p pear -s 2 --dtype f32 -o "$dir/wide-f32.png"
[ "$rc" = 0 ] && same_pixels "$dir/as-f32.png" "$dir/wide-f32.png"
check "--dtype f32 of a folder in int8 computes with its values in f32"
gives 1 'weights in int8 are written into a folder' convert $model -o "$dir/one.safetensors" --dtype int8
gives 1 'weights in int8 are written into a folder' convert "$dir/folder" -o "$dir/one.safetensors"
[ ! -e "$dir/one.safetensors" ]
check "nothing is written then"
run convert "$dir/folder" -o "$dir/one.safetensors" --dtype f16
[ "$rc" = 0 ]
check "a single file in f16 of a folder in int8"

# --calibrate: the embedded UNet has channels that are far larger than others, so that one evaluation comes nearer to f32
printf 'strawberry\nhouse\n' >"$dir/prompts"
run convert weights/imago-small -o "$dir/plain" --dtype int8
run convert weights/imago-small -o "$dir/even" --dtype int8 --calibrate "$dir/prompts" --steps 4
[ "$rc" = 0 ] && grep -qE '^[0-9]+ of 154 products have multipliers' "$dir/out"
check "convert --calibrate (found $rc)"
for m in weights/imago-small "$dir/plain" "$dir/even"; do
    run trace -m "$m" -p "a red strawberry" -s 1 --steps 20 -o "$dir/$(basename "$m").trace"
done
python3 - "$dir" 2>"$dir/err" <<'PYTHON'
import array, json, sys
def noise(model):
    data = open(f"{sys.argv[1]}/{model}.trace", "rb").read()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + size])
    begin, end = head["conv_out"]["data_offsets"]
    return array.array("f", data[8 + size + begin:8 + size + end])
def off(a, b):
    return (sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b)) ** 0.5
want = noise("imago-small")
plain, even = off(noise("plain"), want), off(noise("even"), want)
assert 0.004 < plain < 0.008 and even < 0.75 * plain, (plain, even)
PYTHON
check "the noise of one evaluation is nearer to f32's"
gives 0 'conv_shortcut.weight_multiplier' info "$dir/even"
run convert "$dir/even" -o "$dir/even-again"
cmp -s "$dir/even/unet/diffusion_pytorch_model.safetensors" "$dir/even-again/unet/diffusion_pytorch_model.safetensors"
check "convert keeps multipliers as they are"
run convert "$dir/even" -o "$dir/even-wide" --dtype f32
draw -m "$dir/even-wide" -p pear -s 2 --dtype f32 -o "$dir/even-wide.png"
draw -m "$dir/even" -p pear -s 2 --dtype f32 -o "$dir/even-f32.png"
[ "$rc" = 0 ] && same_pixels "$dir/even-wide.png" "$dir/even-f32.png"
check "its values in f32 are the same in a folder and in memory"
draw -m "$dir/even" -p pear -s 2 -o "$dir/even.png"
draw -m "$dir/even" -p pear -s 2 --cache-weights -o "$dir/even-kept.png"
draw -m "$dir/even" -p pear -s 2 --cache-weights -o "$dir/even-mapped.png"
[ "$rc" = 0 ] && same_pixels "$dir/even.png" "$dir/even-mapped.png" && ! same_pixels "$dir/even.png" "$dir/even-f32.png"
check "multipliers are kept with packed weights and mapped"
gives 1 'its weights are int8 already' convert "$dir/even" -o "$dir/x" --dtype int8 --calibrate "$dir/prompts"
gives 2 '--calibrate is for --dtype int8; found --dtype f16' \
    convert $model -o "$dir/x" --dtype f16 --calibrate "$dir/prompts"
gives 1 "$dir/none" convert $model -o "$dir/x" --dtype int8 --calibrate "$dir/none"
: >"$dir/empty"
gives 1 'empty' convert $model -o "$dir/x" --dtype int8 --calibrate "$dir/empty"
[ ! -e "$dir/x" ]
check "nothing is written then"

gives 0 'int8 dot products' info --device cpu
gives 0 'int8' bench unet -m $model --rounds 1 --dtype int8
gives 0 'tensors' trace -m $model -p pear --dtype int8 -o "$dir/t.safetensors"
run generate -m $model -p pear --steps 2 -q --dtype int8 --device ref -W 16 -H 16 -o "$dir/ref.png"
[ "$rc" = 0 ]
check "on the device ref"
gives 2 '"int8", wanted one of f32|bf16' train resnet --data "$dir" --dtype int8 -o "$dir/run"
gives 1 'weights cannot be written as int8' init-weights --like tiny --dtype int8 -o "$dir/init"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
