#!/bin/sh
# experiment.sh: "Fake it till you make it" (arXiv 2212.08420) at the size of a desk: the embedded model draws clones of
# twelve categories from their names, classifiers are trained on them and on real drawings, and all are tested on drawings
# of families that neither the model nor any training has seen, on emoji and on line drawings.
#
#     make experiment                     everything: hours
#     make experiment QUICK=1             four trainings with little of everything: minutes
#
# Stopped at any point and run again it goes on from what is on the disk. From the environment: OUT (build/experiment, or
# build/experiment-quick), MODEL_DATA (build/model-data), IMAGO (build/imago), QUICK, THREADS (0: all).
#
#     OUT/data      train, test, emoji, lines: the twelve categories; other-train, other-test: ten more, for transfer
#     OUT/sets      synthetic sets       OUT/runs    TRAINING-sSEED, with results/*.json
#     OUT/uses.txt  every evaluation of a test set, a line each: the tests are sealed
#     OUT/page.html
set -eu
cd "$(dirname "$0")/.."

imago=${IMAGO:-build/imago}
art=${MODEL_DATA:-build/model-data}
quick=${QUICK:-}
out=${OUT:-build/experiment${quick:+-quick}}
threads=${THREADS:-0}
classes=scripts/experiment-classes.txt

# ---- the constants
SEEDS="1 2 3"
STEPS=400                               # of every training, whatever it is trained on
NET="--arch resnet18 --width 32 --size 64 --batch 64"
PER_CLASS=54                            # pictures a class of a set of size 1x: as many as there are real ones
BUDGET=630                              # pictures of a mix; the real set has 637
DRAW_STEPS=12                           # of dpmpp_2m
GUIDANCE=5                              # where it is not what is varied: what the embedded model draws best with
SWEEP="1 2 7.5"
LARGER="5 10"                           # times 1x; the last is drawn, the others are its first pictures
TRIALS=30
SHOTS=1,2,4
if [ -n "$quick" ]; then
    STEPS=120
    NET="--arch resnet18 --width 16 --size 64 --batch 32"
    PER_CLASS=16 BUDGET=192 DRAW_STEPS=10 SWEEP='' LARGER='' TRIALS=8 SHOTS=1,4
fi
# ----

say() { echo "experiment: $*" >&2; }
fail() { say "$*"; exit 1; }
[ -x "$imago" ] || fail "$imago is missing: run make"
[ -f "$art/heldout/metadata.jsonl" ] || fail "$art holds no pictures: make model-data"
mkdir -p "$out/sets" "$out/runs"
stamp="$(cksum <"$0") $STEPS $NET $PER_CLASS $BUDGET $DRAW_STEPS $TRIALS $SHOTS $(cksum <"$classes")"
if [ -f "$out/settings" ] && [ "$(cat "$out/settings")" != "$stamp" ]; then
    fail "$out was begun with other settings, or by another version of this script; remove it, or name another with OUT"
fi
echo "$stamp" >"$out/settings"

# once FILE COMMAND...: what COMMAND prints, whole or not at all
once() {
    [ -s "$1" ] && return
    file=$1
    shift
    mkdir -p "$(dirname "$file")"
    "$@" >"$file.new" && mv "$file.new" "$file"
}

# ---- real drawings in class folders, sorted by manner. The held-out half has other families.
if [ ! -d "$out/data" ]; then
    say "sorting the drawings"
    rm -rf "$out/data.new"
    python3 - "$art" "$out/data.new" "$classes" <<'PYTHON'
import json, os, shutil, sys
art, out, classes = sys.argv[1:]
known = [line.split(" | ")[0] for line in open(classes)]
spoken = {"meal": "food"}
others = ["boat", "bug", "face", "flag", "hand", "household", "plant", "reptile", "sky", "toy"]
for half in ("train", "heldout"):
    for line in open(f"{art}/{half}/metadata.jsonl"):
        row = json.loads(line)
        name, manner = spoken.get(row["label"], row["label"]), row["text"].split(", ")[-1]
        if name in known and half == "train":
            part = {"clip art": "train"}.get(manner)
        elif name in known:
            part = {"clip art": "test", "emoji": "emoji", "line drawing": "lines"}.get(manner)
        else:
            part = ("other-" + half.replace("heldout", "test")) if name in others and manner == "clip art" else None
        if part:
            folder = f"{out}/{part}/{name}"
            os.makedirs(folder, exist_ok=True)
            shutil.copy(f"{art}/{half}/{row['file_name']}", folder)
PYTHON
    mv "$out/data.new" "$out/data"
fi

# ---- sets: draw NAME RECIPE GUIDANCE PER_CLASS [OPTION...]
draw() {
    set_=$out/sets/$1 recipe=$2 guidance=$3 each=$4
    shift 4
    if [ ! -f "$set_/metadata.jsonl" ] || ! grep -q metadata_hash "$set_/manifest.json"; then
        say "drawing $set_"
        "$imago" synth --classes "$classes" --recipe "$recipe" --guidance "$guidance" --per-class "$each" \
            --steps $DRAW_STEPS --scheduler dpmpp_2m --batch 16 -t "$threads" -o "$set_" "$@"
    fi
    once "$out/sets-compared/compare-${set_##*/}.json" "$imago" compare --json -q -t "$threads" "$out/data/train" "$set_"
}

# first NAME OF PER_CLASS: the first pictures of every class of a larger set. A picture depends on its class and index, not
# on how many are drawn, so these are what synth draws for a smaller set.
first() {
    set_=$out/sets/$1
    if [ ! -d "$set_" ]; then
        rm -rf "$set_.new"
        python3 - "$out/sets/$2" "$set_.new" "$3" <<'PYTHON'
import json, os, sys
larger, out, each = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.mkdir(out)
with open(f"{out}/metadata.jsonl", "w") as rows:
    for line in open(f"{larger}/metadata.jsonl"):
        row = json.loads(line)
        if row["index"] < each:
            os.makedirs(f"{out}/{os.path.dirname(row['file_name'])}", exist_ok=True)
            os.link(f"{larger}/{row['file_name']}", f"{out}/{row['file_name']}")
            rows.write(line)
manifest = json.load(open(f"{larger}/manifest.json"))
manifest.pop("metadata_hash")
json.dump(manifest | {"per_class": each}, open(f"{out}/manifest.json", "w"), indent=1)
PYTHON
        mv "$set_.new" "$set_"
    fi
    once "$out/sets-compared/compare-$1.json" "$imago" compare --json -q -t "$threads" "$out/data/train" "$set_"
}

# ---- trainings: train NAME OPTION...: three seeds, each tested and analysed
train() {
    name=$1
    shift
    for seed in $SEEDS; do
        run=$out/runs/$name-s$seed
        if [ ! -f "$run/model.safetensors" ]; then
            say "training $run"
            # shellcheck disable=SC2086 # a list of options
            "$imago" train resnet --resume $NET --steps $STEPS --warmup 1 --checkpoint-every 200 --keep 1 --cache ram -q \
                --seed "$seed" -t "$threads" "$@" -o "$run"
        fi
        for test in test emoji lines; do
            [ -s "$run/results/eval-$test.json" ] || echo "$name-s$seed $test" >>"$out/uses.txt"
            once "$run/results/eval-$test.json" "$imago" eval -m "$run" --data "$out/data/$test" --json -q -t "$threads"
        done
        once "$run/results/analyze-test.json" "$imago" analyze -m "$run" --data "$out/data/test" --json -q -t "$threads"
        once "$run/results/transfer-other.json" "$imago" transfer -m "$run" --train "$out/data/other-train" \
            --test "$out/data/other-test" --trials $TRIALS --few-shot $SHOTS --seeds 3 --json -q -t "$threads"
    done
}

real=$out/data/train
train real --data "$real" --augment plain
if [ -z "$quick" ]; then
    for times in $LARGER; do most=$times; done
    draw "name-${most}x" name $GUIDANCE $((most * PER_CLASS))
    for times in $LARGER; do
        [ "$times" = "$most" ] || first "name-${times}x" "name-${most}x" $((times * PER_CLASS))
    done
    first name "name-${most}x" $PER_CLASS
else
    draw name name $GUIDANCE $PER_CLASS
fi
train name --data "$out/sets/name" --augment plain
draw hypernym hypernym $GUIDANCE $PER_CLASS
train hypernym --data "$out/sets/hypernym" --augment plain
train half-half --mix "real=$real:0.5,synth=$out/sets/name:0.5" --budget $BUDGET --augment plain
if [ -z "$quick" ]; then
    draw multiple multiple $GUIDANCE $PER_CLASS
    train multiple --data "$out/sets/multiple" --augment plain
    third="name=$out/sets/name:0.334,hypernym=$out/sets/hypernym:0.333,multiple=$out/sets/multiple:0.333"
    train three-recipes --mix "$third" --budget $BUDGET --augment plain
    for g in $SWEEP; do
        draw "name-g$g" name "$g" $PER_CLASS
        train "name-guidance-$g" --data "$out/sets/name-g$g" --augment plain
    done
    for times in $LARGER; do
        train "name-${times}x" --data "$out/sets/name-${times}x" --augment plain
    done
    train real-dino --data "$real" --augment dino --locals 4
    train name-dino --data "$out/sets/name" --augment dino --locals 4
    train real-75 --mix "real=$real:0.75,synth=$out/sets/name:0.25" --budget $BUDGET --augment plain
    train real-25 --mix "real=$real:0.25,synth=$out/sets/name:0.75" --budget $BUDGET --augment plain
    draw name-filtered name $GUIDANCE $((2 * PER_CLASS)) --filter "classifier=$out/runs/real-s1:keep=.5"
    train name-filtered --data "$out/sets/name-filtered" --augment plain
fi

# In the order of the trainings, so that real drawings come first.
set --
for name in real name hypernym multiple three-recipes name-guidance-1 name-guidance-2 name-guidance-7.5 name-5x name-10x \
            real-dino name-dino real-75 half-half real-25 name-filtered; do
    for seed in $SEEDS; do
        if [ -d "$out/runs/$name-s$seed" ]; then set -- "$@" "$out/runs/$name-s$seed"; fi
    done
done
"$imago" report "$@" "$out"/sets-compared/*.json -o "$out/page.html" \
    --title "Trained on drawings that a small Stable Diffusion made"
say "the tests were used $(wc -l <"$out/uses.txt") times (3 a run): $out/uses.txt"
echo "$out/page.html"
