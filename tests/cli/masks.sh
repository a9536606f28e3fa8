#!/bin/sh
# masks.sh: --mask with --mask-blur, --mask-fill and --mask-only: what they change, what a picture says of them, what is
# refused. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/masks.sh [PROGRAM]                 default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
init=tests/golden/init_64x64.png
mask=tests/golden/mask_64x64.png
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model --steps 4 -s 3 -q -f -p castle -i $init "$@"; }

# a mask with one white pixel, and a picture of 3x3
python3 - "$dir" <<'PYTHON'
import sys, zlib
def write(name, width, height, white):
    rows = b"".join(b"\0" + bytes(255 if (x, y) == white else 0 for x in range(width)) for y in range(height))
    out = b"\x89PNG\r\n\x1a\n"
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"
    for kind, body in (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""):
        out += len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    open(sys.argv[1] + "/" + name, "wb").write(out)
write("dot.png", 64, 64, (31, 31))
write("small.png", 3, 3, None)
PYTHON
gives 1 'the picture to begin from (-i) has 3x3 pixels; wanted at least 8x8: enlarge it, or say with --width' \
    generate -m $model -p a -i "$dir/small.png" -o "$dir/no.png"
draw -o "$dir/whole.png"
draw --mask $mask --mask-blur 12 -o "$dir/part.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/whole.png" "$dir/part.png" &&
    grep -aq '"mask_sha256":"[0-9a-f]*","mask_blur":12.0' "$dir/part.png"
check "a mask changes the picture, which says so"
draw --mask $mask -o "$dir/sharp.png"
! same_pixels "$dir/sharp.png" "$dir/part.png"
check "so does its blur"
gives 0 'the same picture as ' generate -m $model --from "$dir/part.png" -i $init --mask $mask --mask-blur 12 \
    -o "$dir/a.png"
gives 1 'was made with --mask (SHA-256 ' generate -m $model --from "$dir/part.png" -i $init -o "$dir/no.png"
mkdir "$dir/set" && cp "$dir/part.png" "$dir/set/3.png"
gives 1 'its mask, by the SHA-256 of its pixels, is ' generate -m $model --steps 4 -s 3 -p castle -i $init --skip-existing \
    -o "$dir/set/"
gives 2 '--mask needs the picture that it is for' generate -m $model -p a --mask $mask -o "$dir/no.png"
gives 1 'blurred by 64 pixels the mask has no white part any more' generate -m $model -p a -i $init --steps 2 \
    --mask "$dir/dot.png" --mask-blur 64 -o "$dir/no.png"
gives 2 '--mask-blur needs --mask' generate -m $model -p a -i $init --mask-blur 2 -o "$dir/no.png"
size() { od -An -tu1 -j16 -N8 "$1" | awk '{ print $4 + 256 * $3 "x" $8 + 256 * $7 }'; }
for fill in fill noise nothing; do
    draw --mask $mask --mask-fill $fill -o "$dir/$fill.png"
    [ "$rc" = 0 ] && grep -aq "\"mask_fill\":\"$fill\"" "$dir/$fill.png" && ! same_pixels "$dir/sharp.png" "$dir/$fill.png"
    check "--mask-fill $fill changes the picture, which says so"
done
draw --mask $mask --mask-fill original -o "$dir/original.png"
same_pixels "$dir/sharp.png" "$dir/original.png" && ! grep -aq mask_fill "$dir/original.png"
check "--mask-fill original is what there is without it"
draw --mask $mask --mask-fill fill --mask-only 4 -W 32 -H 32 -o "$dir/only.png"
[ "$rc" = 0 ] && [ "$(size "$dir/only.png")" = 64x64 ] &&
    grep -aq '"width":32.*"mask_fill":"fill","mask_only":4' "$dir/only.png" &&
    grep -aq 'Inpaint area: Only masked, Masked area padding: 4, Masked content: fill' "$dir/only.png"
check "--mask-only keeps the size of the picture, and is told"
gives 0 'the same picture as ' generate -m $model --from "$dir/only.png" -i $init --mask $mask -o "$dir/b.png"
run generate -m $model --steps 2 -s 3 -q -p castle -i $init --mask $mask --grid mask-fill=fill,noise \
    mask-only=-1,4 -o "$dir/g.png"
[ "$rc" = 0 ] && [ -s "$dir/g.png" ]
check "--grid takes both"
gives 2 '--mask-only needs --mask' generate -m $model -p a -i $init --mask-only 2 -o "$dir/no.png"
gives 2 'original|fill|noise' generate -m $model -p a -i $init --mask $mask --mask-fill paint -o "$dir/no.png"
gives 1 'found other proportions, wanted the same' generate -m $model -p a -i $init --mask tests/golden/init_83x70.png \
    -o "$dir/no.png"
gives 1 'absent.png' generate -m $model -p a -i $init --mask absent.png -o "$dir/no.png"
mkdir "$dir/nine" && for part in model_index.json scheduler text_encoder tokenizer vae; do
    cp -r $model/$part "$dir/nine/"
done && cp -r tests/golden/inpaint_unet "$dir/nine/unet"
run generate -m "$dir/nine" --steps 2 -s 3 -q -p castle -i $init --mask $mask -W 64 -H 64 -o "$dir/nine.png"
[ "$rc" = 0 ] && [ -s "$dir/nine.png" ]
check "an inpainting model draws"
gives 1 'this is an inpainting model' generate -m "$dir/nine" -p a -o "$dir/no.png"
gives 0 'unet' info "$dir/nine"
[ ! -e "$dir/no.png" ]
check "nothing is drawn where something is wrong"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
