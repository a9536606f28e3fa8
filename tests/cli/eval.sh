#!/bin/sh
# eval.sh: `imago eval --set`, --save-features and --json on a small set of clones with wnids for classes. Values beside
# torch's: tests/test_eval_sets.c. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/eval.sh [PROGRAM]        default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

# three classes of ImageNet-100, of which ImageNet-A has n01558993 and n01770393
run synth -m tests/golden/models/a --classes n01558993,n01692333,n01770393 --per-class 4 --steps 1 --scheduler ddim \
    -t 1 -q -o "$dir/set"
[ "$rc" = 0 ] && run train resnet --data "$dir/set" --arch resnet18 --width 8 --small-stem --size 32 --batch 4 --epochs 2 \
    --lr 0.01 -q -t 1 -o "$dir/run"
[ "$rc" = 0 ]
check "a classifier of clones"
value() { sed -n 's/^ "'"$1"'": \(.*[^,]\),*$/\1/p' "$dir/out"; }
run eval -m "$dir/run" --data "$dir/set" --json -q -t 1
[ "$rc" = 0 ] && [ "$(value set)" = '"folder"' ] && [ "$(value pictures)" = 12 ] && [ "$(value left_out)" = 0 ] &&
    [ -z "$(value aupr)" ]
check "--json: set, pictures, left_out"
python3 - "$dir/out" <<'PYTHON' 2>"$dir/err"
import json, sys
said = json.load(open(sys.argv[1]))
assert said["constants"] == {"size": 32, "resize": 36, "filter": "bilinear", "mean": [.485, .456, .406],
                             "std": [.229, .224, .225]}, said["constants"]
assert 0 <= said["top1"] <= said["top5"] == 1
PYTHON
check "--json: top1, top5 and the constants used"
cp "$dir/run/model.safetensors" "$dir/mine.safetensors"
gives 1 'is there already and holds no features' eval -m "$dir/run" --data "$dir/set" -q -t 1 \
    --save-features "$dir/mine.safetensors"
cmp -s "$dir/run/model.safetensors" "$dir/mine.safetensors"
check "--save-features takes no file that it did not write"
run eval -m "$dir/run" --data "$dir/set" --json -q -t 1
top1=$(value top1) top5=$(value top5) loss=$(value loss)
[ "$top5" = 1.0 ]
check "top5 of three classes is 1"
run eval -m "$dir/run" --data "$dir/set" --set imagenet --json -q -t 1 --save-features "$dir/f.safetensors" -o "$dir/res"
[ "$rc" = 0 ] && [ "$(value top1) $(value loss)" = "$top1 $loss" ] && [ "$(value classes_in_common)" = 3 ]
check "--set imagenet: the same figures"
python3 - "$dir/f.safetensors" <<'PYTHON' 2>"$dir/err"
import json, struct, sys
b = open(sys.argv[1], "rb").read()
head = json.loads(b[8:8 + struct.unpack("<Q", b[:8])[0]])
meta = head.pop("__metadata__")
assert set(head) == {"features", "labels"} and head["features"]["shape"] == [12, 64], head
assert head["labels"]["dtype"] == "I64", head
assert json.loads(meta["classes"]) == ["n01558993", "n01692333", "n01770393"]
names = json.loads(meta["names"])
assert len(names) == 12 and "n01692333/000003.png" in names, names
PYTHON
check "--save-features"
mkdir -p "$dir/v2" "$dir/a"
for k in n01558993:15 n01692333:45 n01770393:71; do cp -r "$dir/set/${k%:*}" "$dir/v2/${k#*:}"; done
cp -r "$dir/set/n01770393" "$dir/v2/9"            # a class that the classifier has not
run eval -m "$dir/run" --data "$dir/v2" --set imagenet-v2 --json -q -t 1 -o "$dir/res"
[ "$rc" = 0 ] && [ "$(value top1) $(value loss)" = "$top1 $loss" ] && [ "$(value left_out)" = 4 ]
check "--set imagenet-v2: folders by number, and one that is left out"
cp -r "$dir/set/n01558993" "$dir/set/n01770393" "$dir/a"
run eval -m "$dir/run" --data "$dir/a" --set imagenet-a --json -q -t 1 -o "$dir/res"
[ "$rc" = 0 ] && [ "$(value pictures)" = 8 ] && [ "$(value classes_in_common)" = 2 ]
check "--set imagenet-a"
gives 1 'is none of the 200 classes of imagenet-a' eval -m "$dir/run" --data "$dir/set" --set imagenet-a -q
gives 1 'is not a number below 1000' eval -m "$dir/run" --data "$dir/set" --set imagenet-v2 -q
gives 1 'was trained on 3' eval -m "$dir/run" --data "$dir/a" -q
gives 2 '--val DIR is missing' eval -m "$dir/run" --data "$dir/set" --set imagenet-o
gives 2 '--val goes with' eval -m "$dir/run" --data "$dir/set" --val "$dir/set"
gives 1 'Not a directory' eval -m "$dir/run" --data "$dir/set" --save-features "$dir/set/manifest.json/f.safetensors" -q
run eval -m "$dir/run" --data "$dir/set" --save-features "$dir/no/f.safetensors" -q
[ "$rc" = 0 ] && [ -s "$dir/no/f.safetensors" ]
check "--save-features makes the folder of its file"
# a file that names no classes, on folders 2, 9 and 10: torchvision has them as 10, 2, 9
PYTHONPATH=tests python3 - "$dir/run/model.safetensors" "$dir/plain.safetensors" <<'PYTHON'
import st_file, sys
st_file.write(sys.argv[2], st_file.read(sys.argv[1])[0])
PYTHON
mkdir -p "$dir/numbers"
cp -r "$dir/set/n01558993" "$dir/numbers/10"
cp -r "$dir/set/n01692333" "$dir/numbers/2"
cp -r "$dir/set/n01770393" "$dir/numbers/9"
run eval -m "$dir/plain.safetensors" --data "$dir/numbers" --size 32 -q -t 1 -o "$dir/res"
[ "$rc" = 0 ] && grep -q 'the folders are numbers: they count as numbers, 2 before 10' "$dir/err"
check "numbers as folders, and a classifier without names: a warning of the order"
printf '10\n2\n9\n' >"$dir/order"
run eval -m "$dir/plain.safetensors" --data "$dir/numbers" --classes "$dir/order" --size 32 --json -q -t 1 -o "$dir/res"
[ "$rc" = 0 ] && [ "$(value top1) $(value loss)" = "$top1 $loss" ] && [ ! -s "$dir/err" ]
check "... and none with --classes, which gives the figures of before"
run train resnet --data "$dir/numbers" --init "$dir/plain.safetensors" --arch resnet18 --width 8 --small-stem --size 32 \
    --batch 4 --steps 1 -q -t 1 -o "$dir/further"
[ "$rc" = 0 ] && grep -q 'the folders are numbers' "$dir/err"
check "... nor are they known to --init"
gives 1 '/proc/no: cannot make the folder' eval -m "$dir/run" --data "$dir/set" --save-features /proc/no/f.safetensors -q

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
