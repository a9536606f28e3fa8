#!/bin/sh
# marks.sh: what pictures say of their origin, in XMP: of generate, sheets, synth and serve; --no-mark; sets that were begun
# before there were marks. exiftool reads it back where it is installed. Prints what fails and, last, "N passed, N failed, N
# skipped".
#
#     tests/cli/marks.sh [PROGRAM]                 default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh

# source FILE: the last part of the digital source type that its XMP tells, read as RDF; nothing where it has no XMP.
source_of() {
    python3 - "$1" <<'PYTHON'
import sys
import xml.etree.ElementTree as xml

import png_parts
data = open(sys.argv[1], "rb").read()
if data[:2] == b"\xff\xd8":
    name, at, found = b"http://ns.adobe.com/xap/1.0/\0", 2, []
    while data[at + 1] != 0xda:
        n = int.from_bytes(data[at + 2:at + 4], "big")
        if data[at + 1] == 0xe1 and data[at + 4:at + 2 + n].startswith(name):
            found.append(data[at + 4 + len(name):at + 2 + n].decode())
        at += 2 + n
else:
    found = [v for k, v in png_parts.texts(sys.argv[1]).items() if k == "XML:com.adobe.xmp"]
    kinds = [kind for kind, body in png_parts.chunks(sys.argv[1]) if body.startswith(b"XML:com.adobe.xmp\0")]
    assert kinds == [b"iTXt"] * len(found), kinds
if found:
    packet, = found
    about, = xml.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    kind = about.attrib["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"]
    before = "http://cv.iptc.org/newscodes/digitalsourcetype/"
    assert kind.startswith(before), kind
    print(kind[len(before):])
PYTHON
}
says() {        # says FILE KIND: does it tell this, and exiftool the same?
    found=$(source_of "$1" 2>&1)
    [ -s "$1" ] && [ "$found" = "$2" ]
    check "$1 says \"$2\" (found \"$found\")"
    if [ -z "$(command -v exiftool)" ]; then
        echo "SKIP exiftool and $2: it is not installed (Debian: libimage-exiftool-perl)"
        skipped=$((skipped + 1))
    else
        [ "$(exiftool -s3 -XMP-iptcExt:DigitalSourceType "$1")" = \
          "${2:+http://cv.iptc.org/newscodes/digitalsourcetype/$2}" ]
        check "exiftool finds it in $1"
    fi
}

drawn=trainedAlgorithmicMedia both=compositeWithTrainedAlgorithmicMedia
draw() { run generate -m $model --steps 2 -s 3 -q -p 'a horse, a 猫' "$@"; }
draw -o "$dir/a.png" --sheet "$dir/sheet.png"
says "$dir/a.png" $drawn
says "$dir/sheet.png" $drawn
draw -o "$dir/a.jpg"
says "$dir/a.jpg" $drawn
draw -i "$dir/a.jpg" -o "$dir/i.png"
says "$dir/i.png" $both
draw -i "$dir/a.jpg" --mask tests/golden/mask_64x64.png -o "$dir/m.jpg"
says "$dir/m.jpg" $both
draw --no-mark -o "$dir/n.png" --sheet "$dir/n-sheet.jpg"
says "$dir/n.png" ""
says "$dir/n-sheet.jpg" ""
draw --no-mark -o "$dir/n.jpg"
says "$dir/n.jpg" ""
same_pixels "$dir/a.png" "$dir/n.png"
check "the pixels are the same"
gives 0 'the same picture as ' generate -m $model --from "$dir/a.jpg" -o "$dir/again.jpg"
cmp -s "$dir/a.jpg" "$dir/again.jpg"
check "--from gives the same bytes"
mkdir "$dir/set" && cp "$dir/n.png" "$dir/set/3.png"
draw --skip-existing -o "$dir/set"
[ "$rc" = 0 ] && cmp -s "$dir/n.png" "$dir/set/3.png"
check "--skip-existing passes over a picture without a mark"

# ---- sets
printf '%s\n' 'cat | animal' 'tree | plant' >"$dir/two.txt"
synth() { run synth -m $model --classes "$dir/two.txt" --per-class 2 --steps 1 --scheduler ddim -q "$@"; }
synth -o "$dir/marked"
says "$dir/marked/cat/000000.png" $drawn
grep -q "\"mark\": \"$drawn\"" "$dir/marked/manifest.json"
check "the manifest tells it"
synth --no-mark -o "$dir/bare"
says "$dir/bare/cat/000000.png" ""
! grep -q '"mark"' "$dir/bare/manifest.json"
check "its manifest is that of a set from before there were marks"
gives 0 "" synth --verify -o "$dir/bare"
# begun before, and killed: goes on to the same bytes, and says what differs where another is asked for
mkdir -p "$dir/old/cat" && cp "$dir/bare/cat/000000.png" "$dir/old/cat" &&
    python3 -c 'import json, sys
m = json.load(open(sys.argv[1] + "/bare/manifest.json"))
del m["pictures"], m["metadata_hash"]
json.dump(m, open(sys.argv[1] + "/old/manifest.json", "w"))' "$dir"
run synth -m $model --classes "$dir/two.txt" -q -o "$dir/old"
[ "$rc" = 0 ] && diff -r "$dir/bare" "$dir/old" >"$dir/err"
check "a set that was begun without marks ends without"
gives 0 "" synth --verify -o "$dir/old"
gives 1 'mark is given there and not here' synth -m $model --classes "$dir/two.txt" --no-mark -q -o "$dir/marked"
run synth -m $model --one cat:1 -o "$dir/bare"
[ "$rc" = 0 ] && grep -q 'same' "$dir/out" "$dir/err"
check "--one draws the same bytes again"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
