#!/bin/sh
# test_sheet.sh: `imago generate --sheet` and --classify: where pictures and texts stand on the sheet, odd prompts, what the
# classifier says beside what `imago eval` says of the same picture, messages. Prints what fails and, last,
# "N passed, N failed, N skipped".
#
#     tests/test_sheet.sh [PROGRAM [DRAW]]        default: build/imago build/tests/test_learn
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
draw=${2:-build/tests/test_learn}
model=tests/golden/models/a                       # 64x64 pixels, random weights
# shellcheck source=tests/shell.sh
. tests/shell.sh

python() {      # python ARGUMENT...: a script from standard input that may import `sheets`, below
    PYTHONPATH=$dir PYTHONDONTWRITEBYTECODE=1 python3 - "$@" 2>"$dir/err"
}
cat >"$dir/sheets.py" <<'PYTHON'
import json, struct, zlib

PICTURE, GAP, TITLE, LINE = 192, 16, 40, 17       # of src/cli/sheet.c, for pictures of 64x64

def png(path):
    """(width, height, rows), a row a bytes object of RGB"""
    data, at, packed = open(path, "rb").read(), 8, b""
    while at < len(data):
        n, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        body = data[at + 8:at + 8 + n]
        if kind == b"IHDR":
            w, h, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 2), (depth, colour)
        packed += body if kind == b"IDAT" else b""
        at += 12 + n
    raw, last, rows = zlib.decompress(packed), bytearray(3 * w), []
    for y in range(h):
        kind, row = raw[y * (3 * w + 1)], bytearray(raw[y * (3 * w + 1) + 1:(y + 1) * (3 * w + 1)])
        for i in range(3 * w if kind else 0):     # PNG specification, 9.2
            a, b, c = row[i - 3] if i > 2 else 0, last[i], last[i - 3] if i > 2 else 0
            p = (abs(b - c), abs(a - c), abs(a + b - 2 * c))
            paeth = a if p[0] <= p[1] and p[0] <= p[2] else b if p[1] <= p[2] else c
            row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        rows.append(bytes(row))
        last = row
    return w, h, rows

def ink(rows, x0, x1, y0, y1, blue=False):
    """how many pixels are not white; blue: how many are blue"""
    pixels = [row[3 * x:3 * x + 3] for row in rows[y0:y1] for x in range(x0, x1)]
    return sum(p[2] - p[0] > 60 if blue else p != b"\xff\xff\xff" for p in pixels)

def baseline(row, line, cell_h):
    """of a line of text in a row of cells, counted from 0"""
    return GAP + TITLE + row * cell_h + PICTURE + (line + 1) * LINE

def with_metadata(path, out, change, patch=None):
    """a safetensors file with another config in its metadata, or one tensor's bytes replaced"""
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head, body = json.loads(data[8:8 + n]), bytearray(data[8 + n:])
    config = json.loads(head["__metadata__"]["config"])
    head["__metadata__"] = change(config)
    if patch:
        a, b = head[patch[0]]["data_offsets"]
        body[a:b] = (patch[1] * (b - a))[:b - a]
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(out, "wb").write(struct.pack("<Q", len(text)) + text + body)
PYTHON

"$draw" --draw "$dir/shapes" 0 4 && "$imago" train resnet --data "$dir/shapes" --arch resnet18 --size 32 --batch 8 \
    --epochs 1 --lr 0.01 --checkpoint-every 100 --keep 1 -q -o "$dir/run" >"$dir/out" 2>"$dir/err"
check "a classifier of shapes"

# ---- where things stand
cat >"$dir/prompts.txt" <<'TEXT'
{"prompt": ""}
süße Früchte, 馬 and a text that is far too long for a cell, so that it is wrapped to three lines and cut in the third
{"prompt": "one\tline"}
averyveryverylongwordwithoutanyspacethatmustbebrokenbetweenitscharactersäöüß
TEXT
many() {        # many NAME ARGUMENT...: the four pictures in $dir/NAME, the sheet in $dir/NAME.png
    name=$1
    shift
    run generate -m $model --steps 2 --prompts "$dir/prompts.txt" -s 1 --batch 4 -o "$dir/$name" \
        --sheet "$dir/$name.png" "$@"
}
many plain
[ "$rc" = 0 ] && grep -q '^4 pictures in .* per second$' "$dir/err" && grep -qF "$dir/plain.png  all 4" "$dir/err"
check "--sheet: time, pictures per second and the path of the sheet are said"
python "$dir/plain.png" "$dir/plain" <<'PYTHON'
import sys
from sheets import *
w, h, rows = png(sys.argv[1])
cell_h = PICTURE + 4 * LINE + GAP                 # three lines of prompt, the seed
assert (w, h) == (GAP + 2 * (PICTURE + GAP), TITLE + GAP + 2 * cell_h), (w, h)
assert ink(rows, GAP, w, GAP, GAP + 24) > 200, "no title"
lines = []
for i in range(4):
    x, y = GAP + i % 2 * (PICTURE + GAP), GAP + TITLE + i // 2 * cell_h
    small = png("%s/%d.png" % (sys.argv[2], i + 1))[2]
    for k in range(PICTURE):                      # every pixel is a square of three
        want = b"".join(small[k // 3][j:j + 3] * 3 for j in range(0, 3 * 64, 3))
        assert rows[y + k][3 * x:3 * (x + PICTURE)] == want, (i, k)
    at = [baseline(i // 2, k, cell_h) for k in range(4)]
    lines.append([ink(rows, x, x + PICTURE, b - 8, b) for b in at])
    assert ink(rows, x + PICTURE, x + PICTURE + GAP, y, y + cell_h) == 0, "a text leaves its cell"
    assert ink(rows, x, x + PICTURE, y + PICTURE, y + cell_h, blue=True) == 0, "a guess without a classifier"
assert all(c[3] for c in lines), "a seed is missing"
assert lines[0][:3] == [0, 0, 0] and all(lines[1][:3]), lines
assert lines[2][0] and not lines[2][1] and not lines[2][2] and lines[3][0] and lines[3][1], lines
PYTHON
check "pictures enlarged three times, prompts wrapped beneath them, seeds below; an empty prompt, one too long, UTF-8"
printf 'a\n%.0s' 1 2 3 4 5 6 7 >"$dir/seven.txt"
run generate -m $model --steps 1 --prompts "$dir/seven.txt" -s 1 --batch 7 -q -o "$dir/seven" --sheet "$dir/seven.png"
python "$dir/seven.png" <<'PYTHON'
import sys
from sheets import *
head = open(sys.argv[1], "rb").read(24)
assert struct.unpack(">II", head[16:24]) == (GAP + 4 * (PICTURE + GAP), TITLE + GAP + 2 * (PICTURE + 2 * LINE + GAP))
PYTHON
check "seven pictures stand four in a row"
mkdir "$dir/set" && cp tests/golden/init_64x64.png "$dir/set/$(printf 'x\377').png"
gives 0 '1 picture' data "$dir/set" --size 32 -o "$dir/set.png"
[ -s "$dir/set.png" ]
check "a sheet of files whose names are not UTF-8"

# ---- what a classifier says
many named --classify "$dir/run" --json
[ "$rc" = 0 ] && grep -q '/2.png  seed 2, .*, taken for [a-z]* [0-9]* %$' "$dir/err" && cp "$dir/out" "$dir/named.json"
check "--classify: a name and a probability in the line of each picture"
for k in 1 2 3 4; do
    cmp -s "$dir/plain/$k.png" "$dir/named/$k.png"
    check "--classify leaves picture $k as it is"
done
python "$dir/named.png" <<'PYTHON'
import sys
from sheets import *
w, h, rows = png(sys.argv[1])
cell_h = PICTURE + 5 * LINE + GAP
assert (w, h) == (GAP + 2 * (PICTURE + GAP), TITLE + GAP + 2 * cell_h), (w, h)
for i in range(4):
    x = GAP + i % 2 * (PICTURE + GAP)
    blue = [ink(rows, x, x + PICTURE, b - 8, b, blue=True) for b in (baseline(i // 2, k, cell_h) for k in range(5))]
    assert blue[3] > 40 and not any(blue[:3]) and not blue[4], (i, blue)
PYTHON
check "the sheet has a line for it, between prompt and seed"
rm "$dir/named.png" && cp "$dir/named/2.png" "$dir/2.png" && rm "$dir/named/2.png"
many named --classify "$dir/run/model.safetensors" --skip-existing
[ "$rc" = 0 ] && cp "$dir/named.png" "$dir/again.png" && many other --classify "$dir/run" &&
    cmp -s "$dir/other.png" "$dir/again.png"
check "the same sheet from pictures that were there already"

# one picture of every class, and with one more of the class that was guessed: the losses differ by -log p
for k in "$dir"/shapes/*/; do
    mkdir -p "$dir/one/$(basename "$k")" && cp "$dir/2.png" "$dir/one/$(basename "$k")/"
done
guess=$(sed -n '2s/.*"class":"\([a-z]*\)".*/\1/p' "$dir/named.json")
cp -r "$dir/one" "$dir/two" && cp "$dir/2.png" "$dir/two/$guess/more.png"
for k in one two; do "$imago" eval -m "$dir/run" --data "$dir/$k" -q --json >"$dir/$k.json"; done
python "$dir" <<'PYTHON'
import json, math, sys
said = [json.loads(line) for line in open(sys.argv[1] + "/named.json")]
one, two = (json.load(open(sys.argv[1] + "/" + k)) for k in ("one.json", "two.json"))
names = [c["class"] for c in one["per_class"]]
assert len(said) == 5 and said[4]["pictures"] == 4 and "class" not in said[4]
assert all(d["class"] in names and 1 / len(names) <= d["class_probability"] <= 1 for d in said[:4]), said
assert [c["class"] for c in one["per_class"] if c["top1"] == 1] == [said[1]["class"]], one["per_class"]
# losses are means of 4 and 5 in f64; 1e-6 is far above what their digits in JSON lose
loss = 5 * two["loss"] - 4 * one["loss"]
assert abs(loss + math.log(said[1]["class_probability"])) < 1e-6, (loss, said[1])
PYTHON
check "class and probability are those of imago eval"

python "$dir/run/model.safetensors" "$dir" <<'PYTHON'
import sys
from sheets import *
path, out = sys.argv[1], sys.argv[2]
with_metadata(path, out + "/nameless.safetensors", lambda c: {})
with_metadata(path, out + "/own.safetensors", lambda c: {"config": json.dumps({"class-names": c["class-names"]})})
with_metadata(path, out + "/64.safetensors",
              lambda c: {"config": json.dumps({"class-names": c["class-names"], "size": 64})})
with_metadata(path, out + "/few.safetensors",
              lambda c: {"config": json.dumps({"class-names": c["class-names"][1:], "size": 64})})
with_metadata(path, out + "/nan.safetensors", lambda c: {"config": json.dumps(c)}, ("fc.bias", b"\xff\xff\xff\x7f"))
PYTHON
check "files of other kinds"
one() { run generate -m $model --steps 2 -p x -s 2 -o "$dir/x.png" --json --force --classify "$1"; }
probability() { grep -o '"class_probability":[^,}]*' "$dir/out"; }
one "$dir/own.safetensors" && own=$(probability) && one "$dir/64.safetensors" && at64=$(probability)
one "$dir/run" && at32=$(probability)
[ -n "$own" ] && [ "$own" = "$at64" ] && [ "$own" != "$at32" ]
check "the size at which it was trained, and that of the picture where the file does not tell ($own $at64 $at32)"

# ---- what is refused, before anything is drawn
rm -f "$dir/x.png"
refused() { gives 1 "$1" generate -m $model --steps 2 -p x -s 2 -o "$dir/x.png" --classify "$2"; }
refused 'does not tell the names of its 4 classes' "$dir/nameless.safetensors"
refused 'names 3 classes, but its tensors have 4' "$dir/few.safetensors"
refused 'its tensors are not those of' $model/unet/diffusion_pytorch_model.safetensors
refused 'does not begin like a safetensors file' README.md
refused 'has no model.safetensors and no good checkpoint' $model
refused 'nowhere: cannot open' "$dir/nowhere"
gives 2 'shows its names nowhere' generate -m $model -p x -q -o "$dir/x.png" --classify "$dir/run"
[ ! -e "$dir/x.png" ]
check "nothing is drawn for a classifier that is refused"
gives 1 'found a logit that is not finite' generate -m $model --steps 1 -p x -o "$dir/x.png" \
    --classify "$dir/nan.safetensors"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
