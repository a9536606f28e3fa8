#!/bin/sh
# activations.sh: --activations: the picture says what it was drawn in, --from draws it again with the same bits, alone and
# in a batch. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/activations.sh [PROGRAM]           default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model --steps 3 -q "$@"; }

draw -p pear -s 2 -o "$dir/f32.png"
draw -p pear -s 2 --activations f32 -o "$dir/plain.png"
cmp -s "$dir/f32.png" "$dir/plain.png"
check "f32 is what is taken without the option"
for type in f16 bf16; do
    draw -p pear -s 2 --activations $type -o "$dir/$type.png"
    [ "$rc" = 0 ] && ! same_pixels "$dir/$type.png" "$dir/f32.png"
    check "$type: other bits than f32"
    gives 0 'the same picture as ' generate -m $model --from "$dir/$type.png" -o "$dir/$type-again.png"
    cmp -s "$dir/$type.png" "$dir/$type-again.png"
    check "$type: --from draws it again, to the byte"
    draw -p pear -s 1 -c 3 -b 3 -t 1 --activations $type -o "$dir/$type/"
    cmp -s "$dir/$type.png" "$dir/$type/2.png"
    check "$type: the same bytes in a batch of three, on one thread"
done
gives 1 'its type of activations is "f16", wanted none' generate -m $model --steps 3 -p pear -s 1 -c 3 -o "$dir/f16/" \
    --skip-existing
gives 2 'wanted one of f32|f16|bf16' generate -m $model -p pear --activations f8 -o "$dir/no.png"
gives 0 'activations f16' bench unet -m $model --rounds 1 --dtype f32 --activations f16
gives 0 'tensors' trace -m $model -p pear --activations bf16 -o "$dir/t.safetensors"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
