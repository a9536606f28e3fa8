#!/bin/sh
# test_train.sh: `imago train` and `imago eval` as their users meet them: a run killed with SIGKILL at random instants and
# resumed ends with the same bits as one left alone; SIGTERM and SIGINT write a checkpoint and stop; files of a run;
# messages.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/test_train.sh [PROGRAM [DRAW]]        default: build/imago build/tests/test_learn
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
draw=${2:-build/tests/test_learn}
# shellcheck source=tests/shell.sh
. tests/shell.sh

without_speed() { sed 's/"img_per_s": [^,}]*//' "$1"; }
lines() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }

"$draw" --draw "$dir/shapes" 0 8 && "$draw" --draw "$dir/val" 100 4
check "drawing the pictures"

# ---- how it is used
gives 2 'train what? There is train resnet' train
gives 2 'there is no verb "train foo"' train foo
gives 0 '--accumulate N' help train resnet
gives 0 'confusion.csv' help eval
gives 2 '-o RUN is missing' train resnet --data "$dir/shapes"
gives 2 '--data DIR is missing' train resnet -o "$dir/x"
gives 2 'holds no run to resume' train resnet --resume -o "$dir/x"
gives 2 'wanted one of' train resnet --data "$dir/shapes" -o "$dir/x" --schedule linear
gives 1 'No such file' train resnet --data "$dir/nowhere" -o "$dir/x"
gives 1 'lower --batch' train resnet --data "$dir/shapes" -o "$dir/x" --batch 64
[ ! -e "$dir/x" ]
check "a run that never began leaves nothing"

# ---- killed at random instants
common="--data $dir/shapes --val $dir/val --arch resnet18 --size 32 --batch 4 --epochs 3 --checkpoint-every 2 --keep 2"
common="$common --seed 5 -t 2"
# shellcheck disable=SC2086 # a list of options
train() { run train resnet $common "$@"; }
train -q -o "$dir/alone"
[ "$rc" = 0 ]
check "a run left alone ends with 0 (found $rc)"
[ "$(grep -c '"val_top1": ' "$dir/alone/log.jsonl")" = 3 ]
check "the log has the score of --val at the end of every epoch"
steps=$(wc -l <"$dir/alone/log.jsonl")
[ "$steps" = 24 ]
check "3 epochs of 8 batches are 24 lines of the log (found $steps)"
for f in config.json log.jsonl curves.svg curves.png model.safetensors checkpoints/step-00000024.safetensors \
         checkpoints/best.safetensors; do
    [ -s "$dir/alone/$f" ]
    check "a run has $f"
done
[ "$(find "$dir/alone/checkpoints" -name 'step-*' | wc -l)" = 2 ]
check "two checkpoints are kept"
cp -r "$dir/shapes" "$dir/renamed" && mv "$dir/renamed/circle" "$dir/renamed/apple"
gives 1 'its class 0 is "apple"' train resnet --arch resnet18 --size 32 --batch 4 --data "$dir/renamed" \
    --init "$dir/alone/model.safetensors" -o "$dir/x"
killed=0 round=0
while [ "$killed" -lt 3 ] && [ "$round" -lt 12 ]; do
    round=$((round + 1))
    # some steps from here: three times five are fewer than the run has
    until=$(($(lines "$dir/killed/log.jsonl") + 1 + $(od -An -N1 -tu1 /dev/urandom) % 5))
    # shellcheck disable=SC2086
    "$imago" train resnet $common --resume -o "$dir/killed" >/dev/null 2>"$dir/err" </dev/null &
    pid=$!
    while [ "$(lines "$dir/killed/log.jsonl")" -lt "$until" ] && kill -0 $pid 2>/dev/null; do
        sleep 0.01
    done
    if kill -9 $pid 2>/dev/null; then killed=$((killed + 1)); fi
    wait $pid 2>/dev/null
    [ -e "$dir/killed/model.safetensors" ] && break
done
[ "$killed" -ge 3 ]
check "the run was killed three times before its end (found $killed)"
run train resnet --resume -o "$dir/killed"
[ "$rc" = 0 ] && grep -q 'goes on from its checkpoint of step' "$dir/err"
check "it goes on with nothing but --resume, and says from where"
for f in model.safetensors checkpoints/step-00000024.safetensors config.json; do
    cmp -s "$dir/alone/$f" "$dir/killed/$f"
    check "$f has the bits of the run left alone"
done
without_speed "$dir/alone/log.jsonl" >"$dir/a.log"
without_speed "$dir/killed/log.jsonl" | cmp -s "$dir/a.log" -
check "its log is that of the run left alone, but for the speed"
mv "$dir/killed/checkpoints" "$dir/killed/away"
cp "$dir/killed/log.jsonl" "$dir/b.log"
gives 1 'there is no checkpoint to go on from, and the first was due after step' train resnet --resume -o "$dir/killed"
cmp -s "$dir/b.log" "$dir/killed/log.jsonl" && cmp -s "$dir/alone/model.safetensors" "$dir/killed/model.safetensors"
check "without its checkpoints a run that was over is not begun anew: log and model stay"
rm -r "$dir/killed/checkpoints" && mv "$dir/killed/away" "$dir/killed/checkpoints"
[ -z "$(find "$dir/killed" -name '*.tmp.*')" ]
check "nothing half-written is left"

# ---- the same of autoencoder and diffusion
caption() {     # caption DIR: metadata.jsonl for the pictures in it
    python3 -c 'import json, os, sys
os.chdir(sys.argv[1])
names = sorted(os.listdir("."))
rows = [json.dumps({"file_name": n, "text": "a circle, shape, drawing"}) for n in names]
open("metadata.jsonl", "w").write("\n".join(rows) + "\n")' "$1"
}
mkdir "$dir/captions"
cp "$dir"/shapes/circle/*.png "$dir/captions" && caption "$dir/captions"
check "writing captions"
model=tests/golden/models/a
small="--size 64 --batch 4 --steps 60 --checkpoint-every 5 --seed 5 --ema 0.9 -t 2"
killed_run() {  # killed_run RUN KIND OPTION...: a run left alone and one killed after every few steps: the same files
    name=$1 kind=$2
    shift 2
    run train "$kind" "$@" -q -o "$dir/$name"
    [ "$rc" = 0 ]
    check "a run of train $kind ($name) left alone ends with 0 (found $rc)"
    killed=0 over=0
    while [ "$killed" -lt 3 ] && [ "$over" = 0 ]; do
        "$imago" train "$kind" "$@" --resume -q -o "$dir/$name.killed" >/dev/null 2>"$dir/err" </dev/null &
        pid=$!
        before=$(lines "$dir/$name.killed/log.jsonl")
        while [ "$(lines "$dir/$name.killed/log.jsonl")" -lt $((before + 7)) ] && kill -0 $pid 2>/dev/null; do
            sleep 0.02
        done
        if kill -9 $pid 2>/dev/null; then killed=$((killed + 1)); else over=1; fi
        wait $pid 2>/dev/null
    done
    (cd / && "$program" train "$kind" --resume -o "$dir/$name.killed" >"$dir/out" 2>"$dir/err" </dev/null) &&
        [ "$killed" -ge 1 ] && grep -q 'goes on from its checkpoint of step' "$dir/err"
    check "train $kind ($name), killed $killed times, goes on from any folder"
    (cd "$dir/$name" && find . -type f ! -name 'log.jsonl' ! -name 'curves.*' | sort) >"$dir/files"
    while read -r f; do
        cmp -s "$dir/$name/$f" "$dir/$name.killed/$f"
        check "train $kind ($name): $f has the bits of the run left alone"
    done <"$dir/files"
    grep -q best "$dir/files" && grep -q diffusion_pytorch_model "$dir/files" &&
        [ -z "$(find "$dir/$name.killed" -name '*.tmp.*')" ]
    check "train $kind ($name) wrote its files, and left nothing half-written"
    without_speed "$dir/$name/log.jsonl" >"$dir/a.log"
    without_speed "$dir/$name.killed/log.jsonl" | cmp -s "$dir/a.log" -
    check "train $kind ($name): its log is that of the run left alone, but for the speed"
}
program=$(realpath "$imago")
# shellcheck disable=SC2086
killed_run autoencoder autoencoder --data "$dir/shapes" --config $model $small
killed_run decoder autoencoder --data "$dir/shapes" --config $model --train decoder --init "$dir/autoencoder/vae" \
    --size 32 --batch 4 --steps 40 --checkpoint-every 5 --ema 0.9 -t 2
cmp -s "$dir/autoencoder/vae/config.json" "$dir/decoder/vae/config.json"
check "training the decoder alone leaves config.json as it was"
echo circle >"$dir/things"
# shellcheck disable=SC2086
killed_run diffusion diffusion --data "$dir/captions" --config $model --vae "$dir/autoencoder/vae" $small \
    --cache-latents --views 2 --drop-tags 0.3 --drop-first 0.1 --balance 0.5 --favour "$dir/things" --snr-gamma 5 \
    --snr-power 0.5
grep -q '"dtype": "float32"' "$dir/diffusion/model/text_encoder/config.json"
check "diffusers loads the text encoder in the type of the UNet"
printf '\357\273\277a circle\n\na square\n' >"$dir/prompts"
cp -r "$dir/diffusion" "$dir/sampled" && rm "$dir"/sampled/checkpoints/step-00000060.safetensors
run train diffusion --resume --samples "$dir/prompts" -q -o "$dir/sampled"
[ "$rc" = 0 ] && [ "$(ls "$dir/sampled/samples")" = step-00000060.png ] &&
    cmp -s "$dir/sampled/model/unet/diffusion_pytorch_model.safetensors" \
           "$dir/diffusion/model/unet/diffusion_pytorch_model.safetensors"
check "samples are drawn after a checkpoint, and change nothing else"
echo square >>"$dir/things"
gives 1 'those of --favour now' train diffusion --resume -q -o "$dir/sampled"
sed -i '/"favour/d' "$dir/sampled/config.json"
gives 1 'those of --favour now' train diffusion --resume --favour "$dir/things" -q -o "$dir/sampled"
gives 1 'has no prompts' train diffusion --resume --samples /dev/null -q -o "$dir/sampled"
printf 'a circle\ra \344\n' >"$dir/prompts"
gives 1 'prompts, line 2: ' train diffusion --resume --samples "$dir/prompts" -q -o "$dir/sampled"
small="--size 32 --batch 4 --steps 4 --checkpoint-every 2 -t 2"
run train autoencoder --data "$dir/shapes" --config $model --size 32 --batch 4 --steps 2 --schedule constant \
    --checkpoint-every 2 -q -o "$dir/full"
rm -r "$dir/full/vae" && : >"$dir/full/vae"            # what is in the way stands for a full disk
gives 1 'warning: after step 4: ' train autoencoder --resume --steps 6 -q -o "$dir/full"
[ "$(wc -l <"$dir/full/log.jsonl")" = 6 ] && rm "$dir/full/vae"
check "a folder that cannot be written does not end the run before its last step"
gives 0 'goes on from its checkpoint of step 6 of 6' train autoencoder --resume -o "$dir/full"
[ -s "$dir/full/vae/config.json" ]
check "a run whose last checkpoint is written gets its folder"
cp -r $model "$dir/small" && sed -i 's/"vocab_size": [0-9]*/"vocab_size": 100/' "$dir/small/text_encoder/config.json"
# shellcheck disable=SC2086
gives 1 'vocab_size is 100' train diffusion --data "$dir/captions" --config "$dir/small" $small \
    --vae "$dir/autoencoder/vae" -o "$dir/x"
[ ! -e "$dir/x" ]
check "ids beyond the vocabulary are found before the run begins"

# shellcheck disable=SC2086
run train autoencoder --data "$dir/shapes" --config $model $small -q -o "$dir/vae2"
gives 1 'its autoencoder had other weights' train diffusion --resume -o "$dir/diffusion" --vae "$dir/vae2/vae"
cp -r $model "$dir/wide" && sed -i 's/"latent_channels": 4/"latent_channels": 8/' "$dir/wide/vae/config.json"
# shellcheck disable=SC2086
gives 1 'has not the shape of' train autoencoder --data "$dir/shapes" --config "$dir/wide" $small \
    --init "$dir/vae2/vae" -o "$dir/x"

# ---- diffusion: what decides a run, sets that are shown as listed, broken pictures
diffusion="--size 32 --batch 4 --vae $dir/vae2/vae -t 2"
cp -r $model "$dir/other"
sed -i 's/"beta_end": [0-9.]*/"beta_end": 0.02/' "$dir/other/scheduler/scheduler_config.json"
# shellcheck disable=SC2086
run train diffusion --data "$dir/captions" --config $model $diffusion --steps 2 --order listed -q -o "$dir/listed"
gives 1 'tokenizer or scheduler of --config were others' train diffusion --resume --config "$dir/other" -o "$dir/listed"
sed -i '/"drop-tags"/d' "$dir/listed/config.json"
gives 0 'of step 2 of 2' train diffusion --resume --drop-tags 0 -o "$dir/listed"
gives 1 '--drop-tags is 0 there and 0.7 here' train diffusion --resume --drop-tags 0.7 -o "$dir/listed"
sed -i 's/"beta_end"/"prediction_type": "v_prediction", "beta_end"/' "$dir/other/scheduler/scheduler_config.json"
# shellcheck disable=SC2086
gives 1 'wanted epsilon' train diffusion --data "$dir/captions" --config "$dir/other" $diffusion -o "$dir/x"
mkdir "$dir/five"
for i in 0 1 2 3 4; do cp "$dir/captions/000$i.png" "$dir/five/$i.png"; done
caption "$dir/five"
five() {        # five LOG OPTION...: the losses of some steps on five pictures, without what was in the memory before
    log=$1
    shift
    # shellcheck disable=SC2086
    "$imago" train diffusion --data "$dir/five" --config $model $diffusion --steps 4 -q -o "$dir/five.run" "$@" \
        2>"$dir/err" </dev/null && without_speed "$dir/five.run/log.jsonl" >"$log"
    rc=$?
    rm -rf "$dir/five.run"
    return $rc
}
MALLOC_PERTURB_=85 five "$dir/a.log" --order listed && MALLOC_PERTURB_=170 five "$dir/b.log" --order listed &&
    cmp "$dir/a.log" "$dir/b.log" 2>"$dir/err"
check "a last batch that is not full holds its own pictures and nothing else"
truncate -s 400 "$dir/five/2.png"
five "$dir/a.log" --cache-latents && sed -i '3s/circle/square/' "$dir/five/metadata.jsonl" &&
    five "$dir/b.log" --cache-latents && cmp "$dir/a.log" "$dir/b.log" 2>"$dir/err"
check "the caption of a broken picture goes with no other picture"

# ---- weights/train.sh and release.sh: from pictures to a folder in f16, and what is committed of it
made=$dir/made
mkdir -p "$made/data" "$made/weights"
"$draw" --draw "$dir/many" 0 32 && mv "$dir/many/circle" "$made/data/train" && caption "$made/data/train"
cp -r "$dir/val" "$made/data/heldout"
cp -r $model/tokenizer "$made/data/tokenizer"
recipe() {      # recipe STEPS
    STEPS=$1 RUNS=$made/runs MODEL_DATA=$made/data SHAPE=$model THINGS=$dir/things IMAGO=$program \
        weights/train.sh >"$dir/out" 2>"$dir/err" </dev/null
}
recipe 2 && run info "$made/runs/imago-small" && grep -q ' F16 ' "$dir/out"
check "weights/train.sh makes a model in f16"
cp -r "$made/runs/imago-small" "$made/first"
recipe 2 && grep -q "the model: $made/runs/imago-small" "$dir/out" &&
    diff -r "$made/first" "$made/runs/imago-small" >>"$dir/err"
check "weights/train.sh, run again, goes on where it was"
! recipe 3 && grep -q 'this is another run: --steps is 2 there and 3 here' "$dir/err"
check "weights/train.sh does not go on with other steps"
release() {     # release ROOT [RUN]
    ROOT=$1 TO=$made/weights TINY=$made/runs/tiny IMAGO=$program weights/release.sh "$made/runs/diffusion" \
        "$made/runs/${2:-autoencoder}" >"$dir/out" 2>"$dir/err" </dev/null
}
! release "$dir/val" && grep -q 'has a path outside' "$dir/err" && [ -z "$(ls -A "$made/weights")" ]
check "weights/release.sh writes nothing where a path would be one of this machine"
mkdir -p "$made/weights/imago-small/classifier" "$made/weights/imago-small/old"
release "$dir" && diff -r "$made/first" "$made/weights/imago-small" >"$dir/diff"
[ "$(cat "$dir/diff")" = "Only in $made/weights/imago-small: classifier" ]
check "weights/release.sh puts the model in its place, and keeps its classifier"
for run in diffusion autoencoder tiny; do
    # shellcheck disable=SC2015 # both are one test
    cmp -s "$made/runs/$run/log.jsonl" "$made/weights/runs/$run/log.jsonl" &&
        grep -q '"data": "made/data/train"' "$made/weights/runs/$run/config.json" &&
        ! grep -q '"/' "$made/weights/runs/$run/config.json"
    check "weights/release.sh keeps log and config of $run, without paths of this machine"
done
awk 'BEGIN { for (i = 1; i <= 9000; i++) printf "{\"step\": %d, \"loss\": 0.123456789, \"lr\": 0.0012345}\n", i }' \
    >"$made/runs/diffusion/log.jsonl"
log=$made/weights/runs/diffusion/log.jsonl
release "$dir" && [ "$(wc -c <"$log")" -le 20000 ] && [ "$(wc -c <"$log")" -gt 10000 ] &&
    [ "$(head -n 1 "$log" | grep -c '"step": 1,')$(tail -n 1 "$log" | grep -c '"step": 9000,')" = 11 ]
check "weights/release.sh thins a long log, between its first and its last line"

run train autoencoder --data "$made/data/train" --config "$made/runs/shape" --train decoder \
    --init "$made/runs/autoencoder/vae" --size 64 --steps 2 -q -o "$made/runs/decoder"
release "$dir" decoder && [ -s "$made/weights/runs/decoder/log.jsonl" ] && [ -s "$made/weights/runs/autoencoder/log.jsonl" ]
check "weights/release.sh takes a decoder that has learnt on, and the logs of both runs"
diff -r "$made/first" "$made/weights/imago-small" >"$dir/diff"
[ "$(grep -c differ "$dir/diff")" = 1 ] && grep -q '/vae/diffusion_pytorch_model.safetensors differ' "$dir/diff"
check "weights/release.sh changes nothing but the decoder"
cp -r "$dir/vae2" "$made/runs/other"
! release "$dir" other && grep -q 'another encoder' "$dir/err"
check "weights/release.sh refuses another encoder"

# ---- the same draws, however pictures are dealt into batches
for batch in 2 4; do
    run train autoencoder --data "$dir/shapes" --config $model --size 32 --batch $batch --accumulate $((4 / batch)) \
        --steps 3 -q -t 2 -o "$dir/deal$batch"
done
python3 -c 'import json, sys
a, b = ([json.loads(l)["loss"] for l in open(sys.argv[1] + "/deal%d/log.jsonl" % n)] for n in (2, 4))
assert len(a) == 3 and all(abs(x - y) < 1e-5 * y for x, y in zip(a, b)), (a, b)' "$dir" 2>"$dir/err"
check "two batches of 2 train as one of 4"

# ---- polite signals
common="--data $dir/shapes --arch resnet18 --size 32 --batch 4 --epochs 1000 --checkpoint-every 1000 -t 2"
for signal in TERM INT; do
    # by way of python: a shell gives its background children SIGINT ignored
    # shellcheck disable=SC2086
    python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$imago" train resnet $common -o "$dir/$signal" >/dev/null 2>"$dir/err" &
    pid=$!
    while [ "$(lines "$dir/$signal/log.jsonl")" -lt 2 ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
    kill -$signal $pid
    wait $pid
    rc=$?
    last=$(tail -n 1 "$dir/$signal/log.jsonl" | sed 's/{"step": \([0-9]*\),.*/\1/')
    [ "$rc" = "$([ $signal = INT ] && echo 130 || echo 143)" ] && grep -q "stopped after step $last of" "$dir/err" &&
        [ -s "$dir/$signal/checkpoints/$(printf 'step-%08d' "$last").safetensors" ]
    check "SIG$signal writes a checkpoint of the last step and stops (exit code $rc, step $last)"
done

# ---- the tape, bf16, evaluation
common="--data $dir/shapes --arch resnet18 --size 32 --batch 4 --steps 2 -t 2"
train -q --trace-tape --dtype bf16 -o "$dir/tape"
[ "$rc" = 0 ] && grep -q 'conv2d .*layer4.1.conv2.weight .*(4, 1, 1, 512)' "$dir/out" && grep -q 'nodes in all' "$dir/out"
check "--trace-tape prints a row a node"
run eval -m "$dir/alone" --data "$dir/val" --json
[ "$rc" = 0 ] && python3 -c 'import csv, json, sys
d = json.load(open(sys.argv[1]))
rows = list(csv.reader(open(d["confusion_csv"])))
assert d["pictures"] == 16 and d["classes"] == 4 and len(d["per_class"]) == 4, d
assert rows[0][1:] == ["circle", "cross", "square", "triangle"] == [r[0] for r in rows[1:]], rows
assert sum(int(x) for r in rows[1:] for x in r[1:]) == 16
assert abs(sum(int(rows[i + 1][i + 1]) for i in range(4)) / 16 - d["top1"]) < 1e-9
assert open(d["confusion_png"], "rb").read(4) == b"\x89PNG"' "$dir/out"
check "eval --json, confusion.csv and confusion.png agree"
run eval -m "$dir/alone/checkpoints/best.safetensors" --data "$dir/val" -o "$dir/best"
[ "$rc" = 0 ] && [ -s "$dir/best/confusion.csv" ] && grep -q '^all  *16' "$dir/out"
check "eval of a checkpoint, with -o"
train -q --head cosine -o "$dir/cosine"
for device in cpu ref; do
    run eval -m "$dir/cosine" --data "$dir/val" --json --device $device
    [ "$rc" = 0 ] && cp "$dir/out" "$dir/$device.json"
    check "eval of a cosine head on $device"
done
python3 -c 'import json, sys
a, b = (json.load(open(f))["loss"] for f in sys.argv[1:])
assert abs(a - b) < 1e-4 * b, (a, b)' "$dir/cpu.json" "$dir/ref.json" 2>"$dir/err"
check "both devices find the same loss"
gives 1 'No such file' eval -m "$dir/nowhere" --data "$dir/val"
cp "$dir/alone/model.safetensors" "$dir/nan.safetensors"
python3 -c 'import json, struct, sys
f = open(sys.argv[1], "r+b")
n = struct.unpack("<Q", f.read(8))[0]
f.seek(8 + n + json.loads(f.read(n))["fc.bias"]["data_offsets"][0])
f.write(struct.pack("<f", float("nan")))' "$dir/nan.safetensors" 2>"$dir/err"
gives 1 'a logit that is not finite' eval -m "$dir/nan.safetensors" --data "$dir/val" -o "$dir/best" --json

# ---- broken pictures
cp -r "$dir/shapes" "$dir/broken"
head -c 200 "$dir/shapes/circle/0001.png" >"$dir/broken/circle/0001.png"
: >"$dir/broken/circle/0002.png"
common="--data $dir/broken --arch resnet18 --size 32 --batch 4 --epochs 1 -t 2"
train -q -o "$dir/b"
[ "$rc" = 0 ] && grep -q '0001.png' "$dir/b/broken.txt" && grep -q '0002.png' "$dir/b/broken.txt"
check "broken pictures are passed over and listed in broken.txt"
train -q --strict -o "$dir/strict"
[ "$rc" = 1 ] && grep -q 'circle/000' "$dir/err"
check "--strict stops at a broken picture and names it"

# ---- several sets as one
cp -r "$dir/shapes" "$dir/synth"
mixed="--arch resnet18 --width 8 --small-stem --size 32 --batch 4 --epochs 2 --seed 5 -q -t 1"
# shellcheck disable=SC2086 # a list of options
(cd "$dir" && case $imago in /*) ;; *) imago=$OLDPWD/$imago ;; esac &&
    "$imago" train resnet $mixed --mix real=shapes:0.25,synth=synth:0.75 --budget 16 --head trex --steps 4 -o mix) \
    2>"$dir/err"
check "--mix of two sets with a budget, --head trex"
grep -q "\"mix\": \"real=$dir/shapes:0.25,synth=$dir/synth:0.75\"" "$dir/mix/config.json" &&
    grep -q '"pictures": 16' "$dir/mix/config.json" && grep -q '"budget": 16' "$dir/mix/config.json"
check "config.json has the mix with whole paths, and the budget"
gives 0 'of step 4 of 4' train resnet --resume -o "$dir/mix"
gives 1 'this is another run: it saw 16 pictures' train resnet --resume --budget 20 -o "$dir/mix"
# shellcheck disable=SC2086 # a list of options
run train resnet $mixed --mix "real=$dir/shapes,synth=$dir/synth" -o "$dir/added"
[ "$rc" = 0 ] && grep -q '"pictures": 64' "$dir/added/config.json"
check "--mix without shares: all pictures of both"
gives 2 'stands in the place of --data' train resnet --data "$dir/shapes" --mix "a=$dir/shapes" -o "$dir/x"
gives 1 '--budget belongs to --mix' train resnet --data "$dir/shapes" --budget 8 -o "$dir/x"
gives 1 'lower --budget or the share' train resnet --mix "a=$dir/shapes:1" --budget 800 -o "$dir/x"
[ ! -e "$dir/x" ]
check "a mix that is refused leaves nothing"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
