#!/bin/sh
# model_hash.sh: the text `parameters` of a picture as the AUTOMATIC1111 web interface reads it: the hash of a single file
# is that of sha256sum, computed once; a folder has none; names with commas, colons, quotes and line breaks come back
# whole. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/model_hash.sh [PROGRAM]           default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
XDG_CACHE_HOME=$dir/cache

# setting NAME: what that interface reads under it; its modules/infotext_utils.py has this pattern and this rule.
setting() {
    python3 - "$dir/o.png" "$1" <<'PYTHON' 2>>"$dir/err"
import json, re, sys
from png_parts import texts as texts_of
texts = texts_of(sys.argv[1])
found = {}
for k, v in re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', texts["parameters"].split("\n")[-1]):
    found[k] = json.loads(v) if v[:1] == '"' and v[-1:] == '"' else v
print(found.get(sys.argv[2], "none"))
PYTHON
}
draws() { run generate -m "$1" -p x -s 5 --steps 1 -t 1 -f -o "$dir/o.png"; [ "$rc" = 0 ]; }
sum() { sha256sum "$1" | cut -c1-10; }
kept() { cat "$dir"/cache/imago/sha256/*.json; }

"$imago" convert tests/golden/models/a -o "$dir/m.safetensors" && draws "$dir/m.safetensors"
[ "$(setting 'Model hash')" = "$(sum "$dir/m.safetensors")" ] && [ "$(setting Model)" = m.safetensors ]
check "the hash of a single file is the file's ($(setting 'Model hash'))"
kept | grep -q "$(sha256sum "$dir/m.safetensors" | cut -d ' ' -f 1)"
check "it is kept in the user's cache"
sed -i 's/"sha256": "[0-9a-f]*"/"sha256": "'"$(printf '%064d' 7)"'"/' "$dir"/cache/imago/sha256/*.json
draws "$dir/m.safetensors" && [ "$(setting 'Model hash')" = 0000000000 ]
check "and not computed again"
cp -p "$dir/m.safetensors" "$dir/other" && printf x | dd of="$dir/other" bs=1 seek=200000 conv=notrunc 2>/dev/null &&
    touch -r "$dir/m.safetensors" "$dir/other" && mv "$dir/other" "$dir/m.safetensors" && draws "$dir/m.safetensors"
[ "$(setting 'Model hash')" = "$(sum "$dir/m.safetensors")" ]
check "but for another file of the same name, size and time"
echo '{"sha256": 5' | tee "$dir"/cache/imago/sha256/*.json >/dev/null && draws "$dir/m.safetensors"
[ "$(setting 'Model hash')" = "$(sum "$dir/m.safetensors")" ]
check "a damaged cache is made anew"
XDG_CACHE_HOME=/proc/none && draws "$dir/m.safetensors" && [ "$(setting 'Model hash')" = "$(sum "$dir/m.safetensors")" ]
check "a cache that cannot be written is no error"
(unset HOME XDG_CACHE_HOME && "$imago" generate -m "$dir/m.safetensors" -p x -s 5 --steps 1 -f -o "$dir/o.png") \
    2>"$dir/err" && [ "$(setting 'Model hash')" = "$(sum "$dir/m.safetensors")" ]
check "nor is it to have none"
XDG_CACHE_HOME=$dir/cache2
draws tests/golden/models/a && [ "$(setting 'Model hash')" = none ] && [ "$(setting Model)" = a ] && [ ! -e "$dir/cache2" ]
check "a folder has no such hash"

for name in 'plain' 'flat anime, CFG scale: 12, v2' 'mix 3:1' 'two
lines' 'a "b" c' '"quoted"' 'back\slash, "and" more' 'é, ü'; do
    ln -s "$PWD/tests/golden/models/a" "$dir/$name" && draws "$dir/$name"
    [ "$(setting Model)" = "$name" ] && [ "$(setting Seed)" = 5 ] && [ "$(setting 'CFG scale')" = 7.5 ]
    check "a model named $name"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
