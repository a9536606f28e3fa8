#!/bin/sh
# grid.sh: --grid: each picture has the bytes of the same drawn alone; the sheet holds its pixels, row by row; what is
# refused. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/grid.sh [PROGRAM]                  default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model -q "$@"; }
grid() { draw -p 'a cat, asleep' -s 7 "$@"; }

grid --grid steps=1,2,3 guidance=1,7.5 -o "$dir/set" --batch 4 --json
[ "$rc" = 0 ] && [ "$(find "$dir/set" -name '7-p*.png' | wc -l)" = 6 ] && [ -s "$dir/set/grid.png" ]
check "six pictures and their grid in a folder"
n=0
for guidance in 1 7.5; do
    for steps in 1 2 3; do
        n=$((n + 1))
        grid --steps $steps --guidance $guidance -o "$dir/one.png" -f
        cmp -s "$dir/one.png" "$dir/set/7-p$n.png"
        check "picture $n: steps $steps, guidance $guidance, as drawn alone"
        cp "$dir/one.png" "$dir/one-$n.png"
    done
done
# Each picture, enlarged three times, lies on the sheet, in rows of three, one column left of the next.
python3 - "$dir" <<'PYTHON' 2>"$dir/err"
import sys, zlib
import png_parts
def pixels(path):
    data, size = b"", None
    for kind, body in png_parts.chunks(path):
        if kind == b"IHDR": size = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
        if kind == b"IDAT": data += body
    raw, (w, h), rows, above = zlib.decompress(data), size, [], bytes(3 * size[0])
    for y in range(h):
        f, line, out = raw[y * (3 * w + 1)], raw[y * (3 * w + 1) + 1:(y + 1) * (3 * w + 1)], bytearray()
        for i, v in enumerate(line):
            a, b, c = (out[i - 3] if i > 2 else 0), above[i], (above[i - 3] if i > 2 else 0)
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            out.append(v + (0, a, b, (a + b) // 2, paeth)[f] & 255)
        rows.append(bytes(out))
        above = rows[-1]
    return w, h, rows
w, h, sheet = pixels(sys.argv[1] + "/set/grid.png")
places = []
for n in range(1, 7):
    pw, ph, picture = pixels("%s/one-%d.png" % (sys.argv[1], n))
    large = [b"".join(row[3 * x:3 * x + 3] * 3 for x in range(pw)) for row in picture]
    at = [(sheet[y].find(large[0]) // 3, y) for y in range(h) if large[0] in sheet[y]]
    x, y = at[0]
    assert all(sheet[y + 3 * k + j][3 * x:9 * pw + 3 * x] == large[k] for k in range(ph) for j in range(3)), n
    places.append((x, y))
columns, rows = {x for x, _ in places}, {y for _, y in places}
assert len(columns) == 3 and len(rows) == 2 and places == [(x, y) for y in sorted(rows) for x in sorted(columns)], places
assert min(columns) > 16 and min(rows) > 56, places                  # names of rows at the left, of columns above
PYTHON
check "the sheet has them in rows and columns, to the pixel"
grid --grid steps=1,2,3 guidance=1,7.5 -o "$dir/grid.png"
[ "$rc" = 0 ] && cmp -s "$dir/grid.png" "$dir/set/grid.png" && [ "$(find "$dir" -maxdepth 1 -name '7*' | wc -l)" = 0 ]
check "a file: the same grid, and no single pictures"
gives 0 '6 of 6 pictures were there already' generate -m $model -p 'a cat, asleep' -s 7 --grid steps=1,2,3 \
    --grid guidance=1,7.5 -o "$dir/set" --sheet "$dir/other.png" --skip-existing
cmp -s "$dir/other.png" "$dir/grid.png"
check "--skip-existing and --sheet: the same grid of what is there"

draw -p x -s 3 --steps 1 --grid 'scheduler=euler,ddim' 'prompt=a cat, red|a dog' -o "$dir/texts"
draw -p 'a dog' -s 3 --steps 1 --scheduler ddim -o "$dir/dog.png"
[ "$rc" = 0 ] && cmp -s "$dir/dog.png" "$dir/texts/3-p4.png"
check "prompts and schedulers"
draw -p x -s 3 --steps 2 --scheduler ddim --grid eta=0,0.5 -o "$dir/eta"
draw -p x -s 3 --steps 2 --scheduler ddim --eta 0.5 -o "$dir/eta.png"
[ "$rc" = 0 ] && cmp -s "$dir/eta.png" "$dir/eta/3-p2.png" && ! cmp -s "$dir/eta.png" "$dir/eta/3-p1.png"
check "noise that is put back"
draw -p x --steps 1 --grid seed=5,6 width=64,32 -o "$dir/sizes"
draw -p x --steps 1 -s 6 -W 32 -o "$dir/small.png"
[ "$rc" = 0 ] && cmp -s "$dir/small.png" "$dir/sizes/6-p4.png"
check "seeds and sizes"
draw -p x -s 2 --steps 4 -i tests/golden/init_64x64.png --grid strength=0.5,1 -o "$dir/one"
draw -p x -s 2 --steps 4 -i tests/golden/init_64x64.png --strength 0.5 -o "$dir/half.png"
[ "$rc" = 0 ] && cmp -s "$dir/half.png" "$dir/one/2-p1.png"
check "one option alone"

gives 2 'wanted OPTION=VALUE,VALUE' generate -p x --grid colour=1 -o "$dir/no.png"
gives 2 'wanted OPTION=VALUE,VALUE' generate -p x --grid steps -o "$dir/no.png"
gives 2 '--steps is "many"' generate -p x --grid steps=1,many -o "$dir/no.png"
gives 2 '--steps is ""' generate -p x --grid steps=1, -o "$dir/no.png"
gives 2 'takes one or two options' generate -p x --grid steps=1 --grid seed=2 guidance=3 -o "$dir/no.png"
gives 2 'both options are --steps' generate -p x --grid steps=1 steps=3 -o "$dir/no.png"
gives 2 'is of one picture; leave --count out' generate -p x --grid steps=1 -c 2 -o "$dir/no.png"
gives 2 '"guidance=1" is one argument too many' generate -p x guidance=1 -o "$dir/no.png"
gives 2 'names the grid, and so does --sheet' generate -p x --grid steps=1 --sheet "$dir/s.png" -o "$dir/no.png"
gives 2 '--strength needs a picture to begin from: -i PICTURE' generate -p x --grid strength=0.5,1 -o "$dir/no.png"
gives 2 '--strength needs a picture to begin from' generate -p x --grid steps=1,2 strength=0.5,1 -o "$dir/no.png"
for axis in mask-blur=0,4 mask_fill=noise,fill mask-only=-1,8; do
    gives 2 'needs --mask' generate -p x -i tests/golden/init_64x64.png --grid $axis -o "$dir/no.png"
done
gives 1 'steps' generate -m $model -p x --grid steps=1,5000 -o "$dir/no.png"
[ ! -e "$dir/no.png" ]
check "nothing is drawn where something is wrong"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
