#!/bin/sh
# test_report.sh: `make model-report` as a whole, on a few drawn shapes, a tiny model and a tiny classifier: the figures are
# there and are those of the pictures; copies of training pictures are found; what does not fit is said.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     BUILD=build tests/test_report.sh
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
BUILD=${BUILD:-build}
# shellcheck source=tests/shell.sh
. tests/shell.sh

value() {       # value KEY...: of report.json
    python3 -c 'import json, sys
v = json.load(open(sys.argv[1]))
for key in sys.argv[2:]:
    v = v[int(key) if isinstance(v, list) else key]
print(v)' "$dir/report/report.json" "$@"
}
holds() {       # holds EXPRESSION: of the values in report.json, by name
    python3 -c 'import json, sys
sys.exit(not eval(sys.argv[2], json.load(open(sys.argv[1]))))' "$dir/report/report.json" "$1"
}
judge() {       # judge OPTION...: the second half again
    "$BUILD/model_report" judge --data "$dir/data" --model "$model" --classifier "$dir/run" -o "$dir/report" --count 3 \
        --least 4 -t 1 "$@" >"$dir/out" 2>"$dir/err"
}

model=tests/golden/models/a
mkdir "$dir/data" && "$BUILD/tests/test_learn" --draw "$dir/data/train" 0 8 2>"$dir/err" &&
    "$BUILD/tests/test_learn" --draw "$dir/data/heldout" 100 4 2>>"$dir/err"
check "drawing the pictures"
[ "$failed" = 0 ] || exit 1
"$BUILD/imago" train resnet --data "$dir/data/train" --arch resnet18 --width 8 --size 32 --augment drawing --batch 16 \
    --epochs 3 --optimizer adamw --lr 3e-3 -t 1 -q -o "$dir/run" 2>"$dir/err"
check "training the classifier"
${MAKE:-make} -s BUILD="$BUILD" all "$BUILD/model_report" >/dev/null 2>"$dir/err"      # says what it compiles
${MAKE:-make} -s model-report BUILD="$BUILD" MODEL_DATA="$dir/data" MODEL="$model" CLASSIFIER="$dir/run" COUNT=3 \
    STEPS=2 LEAST=4 THREADS=1 REPORT="$dir/report" FORM="a %s, drawn" >"$dir/out" 2>"$dir/err"
check "make model-report"
printf 'a circle, drawn\na cross, drawn\na square, drawn\na triangle, drawn\n' | cmp -s - "$dir/report/prompts.txt"
check "a prompt a category"
[ "$(find "$dir/report/pictures" -name '*.png' | wc -l)" = 12 ] && [ -s "$dir/report/nearest.png" ]
check "pictures and the sheet of nearest ones"
grep -q 'mean PSNR on held-out pictures' "$dir/out" && grep -q '^circle ' "$dir/out" &&
    cmp -s "$dir/out" "$dir/report/report.txt"
check "the table is printed"
top1=$("$BUILD/imago" eval -m "$dir/run" --data "$dir/data/heldout" --json -q -o "$dir/eval" 2>"$dir/err" |
       python3 -c 'import json, sys; print(json.load(sys.stdin)["top1"])')
[ "$(value top1_held_out_all_classes)" = "$top1" ] && [ "$(value top1_held_out)" = "$top1" ]
check "accuracy on held-out pictures is that of imago eval ($top1)"
holds 'categories == 4 and frechet_pictures == 12 and len(by_category) == 4 and by_category[0]["training"] == 8'
check "counts"
holds '0 < spread_training < 2 and 0 < spread_generated < 2 and frechet_generated > frechet_training > 0 and 3 < psnr < 60'
check "figures are in their ranges"
holds 'generated_to_training["near_copies"] == 0 and 0 < limit_features < 2 and 0 < limit_pixels < 255'
check "random pictures are no copies"

# ---- four of twelve pictures become copies of training pictures
for k in 2 4 6 7; do cp "$dir/data/train/square/000$k.png" "$dir/report/pictures/$k.png"; done 2>"$dir/err" &&
    judge -q
check "the second half alone"
holds 'abs(generated_to_training["near_copies"] - 4 / 12) < 1e-5 and generated_to_training["median_features"] > 0'
check "copies of training pictures are found ($(value generated_to_training near_copies))"

# ---- findings outlive a file that cannot be written
mv "$dir/report/report.json" "$dir/kept.json" && mkdir "$dir/report/report.json" && ! judge -q &&
    grep -q '^circle ' "$dir/out" && grep -q 'report.json: is a folder' "$dir/err"
check "the table is printed where report.json cannot be written"
rmdir "$dir/report/report.json"

# ---- training pictures that are all one: a ratio to 0
cp -r "$dir/data" "$dir/flat" && for k in "$dir"/flat/train/*/; do
    for f in "$k"*.png; do [ "$f" = "${k}0000.png" ] || cp "${k}0000.png" "$f"; done
done 2>"$dir/err" && judge -q --data "$dir/flat"
check "a training set of copies"
holds 'spread_training == 0 and spread_generated > 0 and spread_ratio is None and top1_held_out is not None' 2>"$dir/err" &&
    grep -q '^spread within a prompt.* cannot be said$' "$dir/out"
check "a ratio to 0 is null, and not reached"

# ---- what does not fit
mv "$dir/data/train/square" "$dir/data/train/box"
! judge && grep -q 'its class 0 is "box"' "$dir/err"
check "classes that are not the classifier's"
mv "$dir/data/train/box" "$dir/data/train/square"
rm "$dir/report/pictures/5.png"
! judge && grep -q '5.png' "$dir/err"
check "a picture that is missing"
! "$BUILD/model_report" prompts --data "$dir/data" -o "$dir/report" --least 4 --form "no place" 2>"$dir/err" &&
    grep -q 'no place' "$dir/err"
check "a form without a place for the category"
! judge --least 100 && grep -q 'lower --least' "$dir/err"
check "no category is large enough"
"$BUILD/model_report" judge --data "$dir/data" -o "$dir/report" 2>"$dir/err"
[ $? = 2 ] && grep -q usage "$dir/err"
check "used wrongly"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
