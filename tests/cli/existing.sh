#!/bin/sh
# existing.sh: --skip-existing takes for done only what is the same picture: its own text says of what it was made. Prints
# what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/existing.sh [PROGRAM]              default: build/imago
# shellcheck disable=SC2319,SC2016 # check reads $? of the condition before it; backticks are text
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model -t 1 --steps 2 "$@"; }
# differs TEXT ARGUMENT...: over the picture of apple.png, refused with TEXT, and nothing is drawn
differs() {
    want=$1
    shift
    gives 1 "$want" generate -m $model -t 1 --steps 2 -s 1 --skip-existing -o "$dir/one/" -p apple "$@"
    [ "$(ls "$dir/one")" = 1.png ] && cmp -s "$dir/one/1.png" "$dir/apple.png"
    check "... and the picture stays as it was, alone"
}

draw -q -p apple -s 1 -o "$dir/apple.png" && mkdir "$dir/one" && cp "$dir/apple.png" "$dir/one/1.png"
draw -p apple -s 1 -o "$dir/one/" --skip-existing
[ "$rc" = 0 ] && grep -q '1 of 1 pictures were there already' "$dir/err" && cmp -s "$dir/one/1.png" "$dir/apple.png"
check "the same picture is passed over"
gives 1 'is another picture: its prompt is "apple", wanted "pear"; -o names another place' generate -m $model -t 1 \
    --steps 2 -s 1 --skip-existing -o "$dir/one/" -p pear
differs 'its negative prompt is "", wanted "blue"' -n blue
gives 1 'its number of steps is 2, wanted 3' generate -m $model -t 1 --steps 3 -s 1 --skip-existing -o "$dir/one/" \
    -p apple
differs 'its guidance is 7.5, wanted 7.1' -g 7.1
differs 'its scheduler is "pndm", wanted "ddim"' --scheduler ddim
differs 'its width is 64, wanted 72; its height is 64, wanted 56' -W 72 -H 56
differs 'its dtype is "f32", wanted "bf16"' --dtype bf16
differs 'its rng is "cpu", wanted "cuda"' --rng cuda
differs 'its device is "cpu", wanted "ref"' --device ref
differs 'its picture of -i, by its SHA-256, is none, wanted ' -i "$dir/apple.png"
gives 1 'its model, by its hash, is "' generate -m tests/golden/models/b -t 1 --steps 2 -s 1 --skip-existing \
    -o "$dir/one/" -p apple -W 64 -H 64
draw -q -p apple -s 9007199254740992 -o "$dir/large.png"
gives 1 'its seed is 9007199254740992, wanted 9007199254740993' generate -m $model -t 1 --steps 2 -p apple \
    -s 9007199254740993 --skip-existing -o "$dir/large.png"
draw -q -p apple -s 1 -o "$dir/half.png" --dtype bf16 --isa portable
mkdir "$dir/half" && cp "$dir/half.png" "$dir/half/1.png"
if "$imago" info --device cpu | grep -Eq 'avx2|avx512|neon'; then
    gives 1 'it was drawn with the instruction set portable, wanted ' generate -m $model -t 1 --steps 2 -p apple -s 1 \
        -o "$dir/half/" --dtype bf16 --skip-existing
fi

# what a picture says of its deep cache
draw -q -p apple -s 1 --deep-cache 2 -o "$dir/deep/" && draw -q --from "$dir/deep/1.png" -o "$dir/deep/again.png"
cmp -s "$dir/deep/1.png" "$dir/deep/again.png"
check "--from draws with the deep cache that the picture names"
draw -q -p apple -s 2 --token-merging 0.5 -o "$dir/merged/" && draw -q --from "$dir/merged/2.png" -o "$dir/merged/again.png"
cmp -s "$dir/merged/2.png" "$dir/merged/again.png" && grep -aq 'Token merging ratio: 0.5' "$dir/merged/2.png"
check "--from merges as many tokens as the picture says"
draw -q -p apple -s 3 --scheduler ddim --eta 0.5 -o "$dir/eta/" &&
    draw -q --from "$dir/eta/3.png" -o "$dir/eta/again.png" &&
    draw -q -p apple -s 3 --scheduler ddim -o "$dir/eta/none.png"
cmp -s "$dir/eta/3.png" "$dir/eta/again.png" && grep -aq 'Eta DDIM: 0.5' "$dir/eta/3.png" &&
    ! grep -aq 'Eta' "$dir/eta/none.png" && ! same_pixels "$dir/eta/3.png" "$dir/eta/none.png"
check "--from puts back as much noise as the picture says"
draw -q --from "$dir/eta/3.png" --scheduler pndm -o "$dir/eta/pndm.png" && ! grep -aq 'Eta' "$dir/eta/pndm.png"
check "... but with another scheduler"
gives 1 'its eta is 0.5, wanted none' generate -m $model -t 1 --steps 2 -p apple -s 3 -o "$dir/eta/" --scheduler ddim \
    --skip-existing
gives 1 'eta is 0.5, but scheduler pndm has no eta; leave it out, or choose ddim or tcd' generate -m $model -p apple \
    --eta 0.5 -o "$dir/eta/none/"
gives 2 '--eta is "1.5"' generate -p apple --eta 1.5
gives 1 'its share of merged tokens is 0.5, wanted none' generate -m $model -t 1 --steps 2 -p apple -s 2 -o "$dir/merged/" \
    --skip-existing
gives 2 '--token-merging is "1"' generate -p apple --token-merging 1
gives 1 'its deep cache is 2, wanted none' generate -m $model -t 1 --steps 2 -p apple -s 1 -o "$dir/deep/" --skip-existing

# files of that name that are no pictures of this program, or not whole
refused() {     # refused TEXT: of what lies at the name
    gives 1 "$1" generate -m $model -t 1 --steps 2 -p apple -s 1 --count 2 -o "$dir/odd" --skip-existing
    [ "$(ls "$dir/odd")" = 1.png ]
    check "... and the other picture of the list is not begun"
}
mkdir "$dir/odd" && cp tests/golden/init_64x64.png "$dir/odd/1.png"
refused 'odd/1.png is there already, and carries no text `imago`'
: >"$dir/odd/1.png"
refused 'odd/1.png: is empty; wanted a JPEG or PNG (--skip-existing passes over whole pictures only: remove this file, or'
echo 'no picture' >"$dir/odd/1.png"
refused 'odd/1.png'
head -c 2000 "$dir/apple.png" >"$dir/odd/1.png"
refused 'remove this file, or draw over it with --force in its place)'
python3 - "$dir/apple.png" "$dir/odd/1.png" <<'PYTHON'
import sys, zlib
sys.path.insert(0, "tests")
import png_parts
out = b"\x89PNG\r\n\x1a\n"
for kind, body in png_parts.chunks(sys.argv[1]):
    body = body.replace(b'"width":', b'"wide":') if kind in (b"tEXt", b"iTXt") and body.startswith(b"imago\0") else body
    out += len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
open(sys.argv[2], "wb").write(out)
PYTHON
refused 'odd/1.png is there already, but is another picture: its width is none'
gives 1 'odd/1.png: its text `imago`: "width" is missing; add it (the text was changed since; give what it no longer says' \
    generate -m $model --from "$dir/odd/1.png" -o "$dir/from.png"
rm "$dir/odd/1.png" && mkdir "$dir/odd/1.png"
refused 'odd/1.png'
rmdir "$dir/odd/1.png" && ln -s "$dir/nowhere" "$dir/odd/1.png"
refused 'odd/1.png'

# lists: all of it is looked at before anything is drawn
printf 'apple\npear\nplum\n' >"$dir/list.txt"
draw -q --prompts "$dir/list.txt" -s 1 -o "$dir/list" && rm "$dir/list/1.png"
printf 'apple\nPEAR\nPLUM\n' >"$dir/list.txt"
gives 1 'and 1 more of the 2 that are there' generate -m $model -t 1 --steps 2 --prompts "$dir/list.txt" -s 1 \
    -o "$dir/list" --skip-existing
[ ! -e "$dir/list/1.png" ]
check "of a list with others of these names nothing is drawn"
printf 'apple\npear\nplum\n' >"$dir/list.txt"
draw --prompts "$dir/list.txt" -s 1 -o "$dir/list" --skip-existing
[ "$rc" = 0 ] && [ -s "$dir/list/1.png" ] && grep -q '2 of 3 pictures were there already' "$dir/err"
check "of the same list the missing one is drawn"

# JPEGs carry it in their comment
draw -q -p 'a "horse", süß' -s 1 -c 2 --format jpeg --quality 80 -o "$dir/jpegs" && rm "$dir/jpegs/2.jpg"
draw -p 'a "horse", süß' -s 1 -c 2 --format jpeg --quality 80 -o "$dir/jpegs" --skip-existing
[ "$rc" = 0 ] && [ -s "$dir/jpegs/2.jpg" ] && grep -q '1 of 2 pictures were there already' "$dir/err"
check "JPEGs are told apart by their comment"
gives 1 'its quality as a JPEG is 80, wanted 90' generate -m $model -t 1 --steps 2 -p 'a "horse", süß' -s 1 -c 2 \
    --format jpeg --quality 90 -o "$dir/jpegs" --skip-existing
gives 1 'its prompt is "a \"horse\", süß", wanted "a"' generate -m $model -t 1 --steps 2 -p a -s 1 -c 2 \
    --format jpeg --quality 80 -o "$dir/jpegs" --skip-existing

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
