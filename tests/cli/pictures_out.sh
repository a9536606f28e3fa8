#!/bin/sh
# pictures_out.sh: pictures that `imago generate` writes as JPEG: by name and --format, in folders, sheets, what they say of
# their making to the AUTOMATIC1111 web interface and to --from. Bytes beside Pillow's: tests/test_picture_write.c.
#
#     tests/cli/pictures_out.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights
# shellcheck source=tests/shell.sh
. tests/shell.sh

draw() { run generate -m $model --steps 2 "$@"; }
is_jpeg() { [ "$(head -c 3 "$1" 2>/dev/null | od -An -tx1)" = " ff d8 ff" ]; }
is_png() { [ "$(head -c 4 "$1" 2>/dev/null | od -An -tx1)" = " 89 50 4e 47" ]; }
# told PNG JPEG: does the comment of the JPEG say what the PNG's text `parameters` says, and `imago` as one field more? Read
# as piexif.helper.UserComment.load and the web interface's parse_generation_parameters do.
told() {
    python3 - "$1" "$2" <<'PYTHON'
import json, re, struct, sys
png, jpeg = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read()
texts, at = {}, 8
while at < len(png):
    n, kind = int.from_bytes(png[at:at + 4], "big"), png[at + 4:at + 8]
    body = png[at + 8:at + 8 + n]
    if kind == b"tEXt": key, value = body.split(b"\0", 1); texts[key.decode()] = value.decode("latin-1")
    if kind == b"iTXt": key, value = body.split(b"\0", 1); texts[key.decode()] = value[4:].decode("utf-8")
    at += 12 + n
at, exif = 2, None
while jpeg[at] == 0xff and jpeg[at + 1] != 0xda:
    n = struct.unpack(">H", jpeg[at + 2:at + 4])[0]
    if jpeg[at + 1] == 0xe1 and jpeg[at + 4:at + 10] == b"Exif\0\0": exif = jpeg[at + 10:at + 2 + n]
    at += 2 + n
assert exif[:4] == b"MM\0*"
def entry(table, tag):
    for i in range(struct.unpack(">H", exif[table:table + 2])[0]):
        t, kind, count, value = struct.unpack(">HHII", exif[table + 2 + 12 * i:table + 14 + 12 * i])
        if t == tag: return kind, count, value
kind, count, value = entry(entry(8, 0x8769)[2], 0x9286)
assert kind == 7
comment = exif[value:value + count]
assert comment[:8] == b"UNICODE\0", comment[:8]
comment = comment[8:].decode("utf_16_be")
assert comment.startswith(texts["parameters"] + ", imago: \""), comment
*lines, last = comment.strip().split("\n")
fields = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
fields = {k: json.loads(v) if v[:1] == '"' else v for k, v in fields}
assert fields["Steps"] == "2" and fields["Seed"] == "7" and fields["Size"] == "64x64", fields
assert lines[0].startswith("a horse"), lines
was, now = json.loads(texts["imago"]), json.loads(fields["imago"])
assert now.pop("quality") == int(sys.argv[3] if len(sys.argv) > 3 else 95)
assert was == now, (was, now)
PYTHON
}

draw -q -p 'a horse, a 猫' -n 'ugly "text"' -s 7 -o "$dir/a.png"
[ "$rc" = 0 ] && is_png "$dir/a.png"; check "a PNG by name"
draw -q -p 'a horse, a 猫' -n 'ugly "text"' -s 7 -o "$dir/a.jpg"
[ "$rc" = 0 ] && is_jpeg "$dir/a.jpg"; check "a JPEG by name"
told "$dir/a.png" "$dir/a.jpg" 2>"$dir/err"; check "its comment is that of the web interface"
draw -q -p 'a horse, a 猫' -n 'ugly "text"' -s 7 -o "$dir/b.JPEG" --quality 95
cmp -s "$dir/a.jpg" "$dir/b.JPEG"; check "the same picture, the same bytes"
draw -q -p 'a horse, a 猫' -n 'ugly "text"' -s 7 -o "$dir/low.jpg" --quality 30
[ "$rc" = 0 ] && [ "$(wc -c <"$dir/low.jpg")" -lt "$(wc -c <"$dir/a.jpg")" ]; check "--quality 30 is smaller"

# --from reads it back, and the same JPEG comes out
for p in a low; do
    draw --from "$dir/$p.jpg" -o "$dir/$p-again.jpg"
    [ "$rc" = 0 ] && cmp -s "$dir/$p.jpg" "$dir/$p-again.jpg"; check "--from $p.jpg gives the same bytes"
    grep -q "the same picture as .*$p.jpg, bit for bit" "$dir/err"; check "... and says so"
done
draw --from "$dir/low.jpg" -o "$dir/again.png"
[ "$rc" = 0 ] && is_png "$dir/again.png" && grep -q 'bit for bit' "$dir/err"; check "--from a JPEG to a PNG"
draw --from "$dir/a.png" -o "$dir/again.jpg"
[ "$rc" = 0 ] && cmp -s "$dir/a.jpg" "$dir/again.jpg"; check "--from a PNG to the same JPEG"
draw --from "$dir/a.jpg" -s 8 -o "$dir/other.png"
[ "$rc" = 0 ] && grep -q 'values differ from' "$dir/err"; check "another seed is seen to differ"
gives 1 'photo.jpg: carries no text' generate -m $model --from tests/golden/photo.jpg -o "$dir/x.png"
run generate -m $model -q --steps 2 -p y -s 1 -i "$dir/a.jpg" -o "$dir/i.jpg"
[ "$rc" = 0 ] && is_jpeg "$dir/i.jpg"; check "a JPEG from a JPEG"

# folders, sheets, JSON
draw -q -p 'a horse' -s 1 -c 2 --format jpeg -o "$dir/many" --sheet "$dir/sheet.jpg" --json
[ "$rc" = 0 ] && is_jpeg "$dir/many/1.jpg" && is_jpeg "$dir/many/2.jpg"; check "JPEGs in a folder"
is_jpeg "$dir/sheet.jpg"; check "a sheet as JPEG"
python3 -c 'import json, sys
d = [json.loads(line) for line in open(sys.argv[1])]
sys.exit(not (d[0]["path"].endswith("many/1.jpg") and d[0]["quality"] == 95 and d[2]["pictures"] == 2))' "$dir/out"
check "JSON names them"
draw -q -p 'a horse' -s 1 -c 3 --format jpeg -o "$dir/many" --skip-existing --sheet "$dir/sheet3.jpg"
[ "$rc" = 0 ] && is_jpeg "$dir/many/3.jpg" && is_jpeg "$dir/sheet3.jpg"; check "--skip-existing reads JPEGs"
draw -q -p 'a horse' -s 1 -c 2 -o "$dir/pngs" --sheet "$dir/small.jpg" --quality 40
[ "$rc" = 0 ] && is_png "$dir/pngs/1.png" && [ "$(wc -c <"$dir/small.jpg")" -lt "$(wc -c <"$dir/sheet.jpg")" ]
check "PNGs in a folder, a sheet of quality 40"
mkdir "$dir/set" && cp "$dir/a.png" "$dir/a.jpg" "$dir/set"
run data "$dir/set" -o "$dir/set.jpg"
[ "$rc" = 0 ] && is_jpeg "$dir/set.jpg"; check "a sheet of imago data as JPEG"

# refused before anything is drawn
gives 2 'is named like a PNG, but --format is jpeg' generate -m $model -p x --format jpeg -o "$dir/x.png"
gives 2 'is named like a JPEG, but --format is png' generate -m $model -p x --format png -o "$dir/x.jpg"
gives 2 'wanted a name ending in .png or .jpg' generate -m $model -p x -o "$dir/x.webp"
gives 2 '--quality applies to JPEGs' generate -m $model -p x --quality 80 -o "$dir/x.png"
gives 2 '--quality' generate -m $model -p x --quality 0 -o "$dir/x.jpg"
gives 2 '--format' generate -m $model -p x --format webp -o "$dir/x.jpg"
gives 2 'names a file, but 2 pictures' generate -m $model -p x -c 2 -o "$dir/x.jpg"
gives 1 'x.webp: wanted a name for the sheet that ends in' generate -m $model -p x --sheet "$dir/x.webp" -o "$dir/x.png"
gives 1 'is there already' generate -m $model -p x -o "$dir/a.jpg"
long=$(head -c 20000 /dev/zero | tr '\0' x)
run generate -m $model -p "$long" -o "$dir/long.jpg"
[ "$rc" = 1 ] && grep -q 'long.jpg: its metadata takes .* bytes, and a JPEG holds at most 65533' "$dir/err"
check "a prompt that no JPEG can carry"
[ ! -e "$dir/x.jpg" ] && [ ! -e "$dir/x.png" ] && [ ! -e "$dir/long.jpg" ]; check "nothing was drawn"
cp "$dir/a.jpg" "$dir/kept.jpg"
rc=0
(ulimit -f 1; "$imago" generate -m $model -q --steps 2 -p x -o "$dir/kept.jpg" --force 2>"$dir/err") || rc=$?
[ "$rc" != 0 ] && cmp -s "$dir/a.jpg" "$dir/kept.jpg" && ! ls "$dir"/kept.jpg.* 2>/dev/null
check "a failed write leaves the old file"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
