#!/bin/sh
# file_names.sh: paths that are not UTF-8, as Latin-1 names are: models of such names draw, and pictures are written.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/file_names.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319,SC2154 # check reads $? of the condition before it, on purpose; $rc is run's
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

model=$dir/$(printf 'mod\350le')
cp -r tests/golden/models/a "$model"
run generate -m "$model" -p x -s 1 --steps 1 -q -t 1 -o "$dir/a.png"
[ "$rc" = 0 ] && [ -s "$dir/a.png" ]
check "a model whose name is not UTF-8 (found $rc)"
run generate -m "$model" --from "$dir/a.png" -t 1 -o "$dir/b.png"
[ "$rc" = 0 ] && cmp -s "$dir/a.png" "$dir/b.png"
check "its picture is made again"
out=$dir/$(printf 'caf\351.png')
run generate -m tests/golden/models/a -p x -s 1 --steps 1 -q -t 1 --json -o "$out"
[ "$rc" = 0 ] && [ -s "$out" ] && python3 -c 'import json, sys
d = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert d[0]["path"].endswith("caf\ufffd.png"), d' "$dir/out" 2>"$dir/err"
check "a picture whose name is not UTF-8, and its JSON"

set=$dir/$(printf 'b\344r')
mkdir -p "$set/one" "$set/two" && cp "$dir/a.png" "$set/one" && cp "$dir/b.png" "$set/two"
mkdir "$dir/plain" && cp -r "$set/one" "$set/two" "$dir/plain"
run train resnet --data "$dir/plain" --arch resnet18 --width 4 --size 32 --batch 2 --steps 2 --checkpoint-every 1 \
    --augment none -t 1 -q -o "$set/run"
[ "$rc" = 0 ] && [ ! -s "$dir/err" ] && [ -s "$set/run/curves.svg" ] && [ -s "$set/run/curves.png" ]
check "a run whose name is not UTF-8, with its curves (found $rc)"
run eval -m "$set/run" --data "$dir/plain" -t 1
[ "$rc" = 0 ] && [ -s "$set/run/confusion.png" ]
check "... is evaluated (found $rc)"
run eval -m "$set/run" --data "$dir/plain" -t 1 --json
python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(not (d["model"].endswith("b\ufffdr/run/model.safetensors") and "\ufffd" in d["confusion_csv"] and
              d["loss"] > 0))' \
    "$dir/out"
check "... with its JSON"
run info --json "$set/run/model.safetensors"
python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))["files"]
sys.exit(not (len(d) == 1 and "\ufffd" in d[0]["file"] and d[0]["tensors"]))' "$dir/out"
check "... and is told of in JSON"
run train resnet --resume -o "$set/run" -t 1 -q
[ "$rc" = 0 ]
check "... and resumed (found $rc)"
rm -r "$set/run"
run train resnet --data "$set" --arch resnet18 --width 4 --size 32 --batch 2 --steps 1 --augment none -t 1 -q -o "$dir/new"
[ "$rc" = 1 ] && grep -q 'is not UTF-8' "$dir/err" && [ ! -e "$dir/new/model.safetensors" ]
check "a set whose name is not UTF-8 is refused before training, as RUN/config.json could not say it (found $rc)"


# ---- classes, lists of them and captions in Latin-1
latin=$dir/latin
mkdir -p "$latin/a" "$latin/$(printf 'b\344r')" && cp "$dir/a.png" "$latin/a" && cp "$dir/b.png" "$latin/$(printf 'b\344r')"
resnet='--arch resnet18 --width 4 --size 32 --batch 2 --steps 1 --augment none -t 1 -q'
# shellcheck disable=SC2086 # several words
gives 1 'the name of class 1, "b' train resnet $resnet --data "$latin" -o "$dir/new"
grep -q 'byte 1 (0xe4) is not UTF-8; write it as UTF-8' "$dir/err"
check "a class whose name is not UTF-8 is refused before training"
run data "$latin" --json "$dir/drawn.json" -o "$dir/drawn.png"
[ "$rc" = 0 ] && python3 -c 'import json, sys
d = json.load(open(sys.argv[1], encoding="utf-8"))
sys.exit(not (d["classes"] == ["a", "b\ufffdr"] and len(d["pictures"]) == 2 and
              sorted(p["class"] for p in d["pictures"]) == d["classes"]))' "$dir/drawn.json"
check "imago data leaves out neither the class nor its pictures (found $rc)"
printf 'a\nb\344r\n' >"$dir/classes.txt"
# shellcheck disable=SC2086 # several words
gives 1 'classes.txt: line 2: byte 1 (0xe4) is not UTF-8' train resnet $resnet --data "$latin" \
    --classes "$dir/classes.txt" -o "$dir/new"
# shellcheck disable=SC2086 # several words
run train resnet $resnet --data "$dir/plain" -o "$dir/resnet"
gives 1 "classes.txt: line 2: byte 1 (0xe4) is not UTF-8" eval -m "$dir/resnet" --data "$latin" --classes "$dir/classes.txt"
cp "$dir/a.png" "$dir/0.png" && printf 'b\344r' >"$dir/0.txt" && cp "$dir/b.png" "$dir/1.png" && echo ok >"$dir/1.txt"
tar cf "$dir/shard.tar" -C "$dir" 0.png 0.txt 1.png 1.txt
gives 1 'shard.tar/0.png: its caption: byte 1 (0xe4) is not UTF-8' train diffusion --data "$dir/shard.tar" \
    --config tests/golden/models/a --vae tests/golden/models/a --batch 1 --steps 1 -q -t 1 -o "$dir/new"
run data "$dir/shard.tar" --json "$dir/drawn.json" -f
[ "$rc" = 0 ] && python3 -c 'import json, sys
d = json.load(open(sys.argv[1], encoding="utf-8"))
sys.exit(sorted(p["caption"] for p in d["pictures"]) != ["b\ufffdr", "ok"])' "$dir/drawn.json"
check "... and imago data shows it (found $rc)"
[ ! -e "$dir/new" ]
check "nothing is left of what was refused"

# ---- what a terminal would obey is shown: in names of files, tensors and classes, in tables, warnings and errors
red=$(printf '\033[31mred')
shown() {       # shown TEXT NAME: of the last run
    ! grep -q "$(printf '[\001-\010\013-\037]')" "$dir/out" "$dir/err" && cat "$dir/out" "$dir/err" | grep -qF -- "$1"
    check "$2"
}
mkdir -p "$dir/odd/$red" "$dir/odd/$(printf 'two\nlines')"
for folder in "$dir/odd"/*; do cp "$dir/a.png" "$folder"; cp "$dir/a.png" "$folder/b.png"; done
: >"$dir/odd/$red/empty.png"
run data "$dir/odd"
shown '\u001b[31mred .. two\nlines' "classes of a set"
shown '\u001b[31mred/empty.png: ' "a broken picture of it"
run train resnet --data "$dir/odd" --arch resnet18 --width 4 --size 32 --batch 2 --steps 1 --augment none -t 1 -q \
    -o "$dir/odd.run"
run eval -m "$dir/odd.run" --data "$dir/odd" -t 1 -q
shown '\u001b[31mred' "classes of an evaluation"
run generate -m "$dir/$red" -p x -o "$dir/no.png"
shown '\u001b[31mred' "a path in an error"
run generate --"$red" -p x
shown '\u001b[31mred' "an option that is none"
python3 - "$dir/odd.safetensors" <<'PYTHON'
import json, struct, sys
head = json.dumps({n: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
                   for i, n in enumerate(["\x1b[31mred", "a\x9bb", "two\nlines", "caf\u00e9"])}).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(head)) + head + bytes(16))
PYTHON
run info "$dir/odd.safetensors"
shown '\u001b[31mred  F32' "names of tensors"
[ "$(grep -c ' F32 ' "$dir/out")" = 4 ] && grep -qF 'a\u009bb ' "$dir/out" && grep -qF 'café ' "$dir/out" &&
    [ "$(grep ' F32 ' "$dir/out" | sed 's/é/e/; s/F32.*//' | awk '{ print length($0) }' | sort -u | wc -l)" = 1 ]
check "in columns"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
