#!/bin/sh
# pictures_in.sh: pictures that a user gives, to `imago generate -i` and to sets: JPEG and PNG, turned by EXIF, without an
# end, with 16 bits, in formats that are not read. Values beside Pillow's: tests/test_picture.c.
#
#     tests/cli/pictures_in.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights
# shellcheck source=tests/shell.sh
. tests/shell.sh

# up.png, and the same picture stored in eight ways with the orientation that turns it upright; cut.png without its end,
# half.png without half of it; grey.png with 16 bits a value; others by their first bytes
python3 - "$dir" <<'PYTHON' || exit 2
import struct, sys, zlib
def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
def png(rows, depth=8, colour=2, extra=b""):
    h, w = len(rows), len(rows[0])
    head = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra
            + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + b"".join(r) for r in rows))) + chunk(b"IEND", b""))
def exif(k): return chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x112, 3, 1, k, 0) + b"\0\0\0\0")
up = [[bytes((2 * x, 3 * y, (x * y) % 256)) for x in range(96)] for y in range(64)]
mirrored, turned = [r[::-1] for r in up], [r[::-1] for r in up[::-1]]
across = [list(r) for r in zip(*up)]                                      # the transposed picture
stored = {1: up, 2: mirrored, 3: turned, 4: up[::-1], 5: across, 6: across[::-1], 7: [r[::-1] for r in across[::-1]],
          8: [r[::-1] for r in across]}
def put(name, data): open(sys.argv[1] + "/" + name, "wb").write(data)
put("up.png", png(up))
for k, rows in stored.items(): put("turned%d.png" % k, png(rows, extra=exif(k)))
put("cut.png", png(up)[:-12])
put("half.png", png(up)[:-3000])
put("grey.png", png([[struct.pack(">H", 300 * x) for x in range(96)]] * 64, 16, 0))
put("a.webp", b"RIFF\0\0\0\0WEBPVP8 ")
put("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0")
put("a.avif", b"\0\0\0\x18ftypavif\0\0\0\0")
put("a.gif", b"GIF89a")
put("huge.png",
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"")
    + chunk(b"IEND", b""))
PYTHON

from() { run generate -m $model -q --steps 2 -p x -s 1 --strength 0.5 -i "$1" -o "$2"; }

from "$dir/up.png" "$dir/want.png"
[ "$rc" = 0 ]; check "a picture from an upright one"
want=$(pixels "$dir/want.png")
for k in 1 2 3 4 5 6 7 8; do
    from "$dir/turned$k.png" "$dir/o$k.png"
    [ "$rc" = 0 ] && [ "$(pixels "$dir/o$k.png")" = "$want" ]; check "-i of orientation $k is turned upright"
done
from "$dir/cut.png" "$dir/cut_out.png"
[ "$rc" = 0 ] && [ "$(pixels "$dir/cut_out.png")" = "$want" ]; check "-i without the last chunk"
from "$dir/grey.png" "$dir/grey_out.png"
[ "$rc" = 0 ] && grep -q 'grey.png: is grey with 16 bits per value, and .* the 99 % of its values above 255' "$dir/err"
check "-i with 16 bits warns"
from tests/golden/photo.jpg "$dir/jpeg_out.png"
[ "$rc" = 0 ] && [ -s "$dir/jpeg_out.png" ]; check "-i of a JPEG"
gives 1 'half.png: is a damaged PNG: the file ends too early' generate -m $model -p x -i "$dir/half.png" -o "$dir/x.png"
gives 1 'a.webp: is a WebP; convert it to JPEG or PNG' generate -m $model -p x -i "$dir/a.webp" -o "$dir/x.png"
gives 1 'a.heic: is a HEIC; convert it to JPEG or PNG' generate -m $model -p x -i "$dir/a.heic" -o "$dir/x.png"
gives 1 'a.avif: is an AVIF; convert it to JPEG or PNG' generate -m $model -p x -i "$dir/a.avif" -o "$dir/x.png"
gives 1 'a.gif: is a GIF; convert it to JPEG or PNG' generate -m $model -p x -i "$dir/a.gif" -o "$dir/x.png"
gives 1 'huge.png: has 60000x60000 pixels, more than the 178956970 that are read' \
    generate -m $model -p x -i "$dir/huge.png" -o "$dir/x.png"
[ ! -e "$dir/x.png" ]; check "nothing is drawn from what is not a picture"

# the same pictures as a set
mkdir -p "$dir/set/a" "$dir/set/b"
cp "$dir/turned6.png" "$dir/grey.png" "$dir/cut.png" "$dir/a.webp" "$dir/a.heic" "$dir/a.avif" "$dir/a.gif" "$dir/set/a"
cp "$dir/up.png" "$dir/set/b"
run data "$dir/set" --order listed
[ "$rc" = 0 ] && grep -q '4 pictures' "$dir/out" && grep -q '^broken: 4' "$dir/out"; check "a set of such pictures"
grep -q 'a/a.webp: is a WebP; convert it' "$dir/out" && grep -q 'a/a.heic: is a HEIC' "$dir/out"; check "... names formats"
[ "$(grep -c 'grey with 16 bits' "$dir/err")" = 1 ] && grep -q 'said once' "$dir/err"; check "... warns once of 16 bits"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
