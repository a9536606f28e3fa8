#!/bin/sh
# generate_usage.sh: generate at the edges of its options: no step at all, as many steps as there are, a list of one prompt,
# marks of other programs in a prompt, signals.
#
#     tests/cli/generate_usage.sh [PROGRAM]          default: build/imago; runs from the root of the repository
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model -t 1 -s 1 "$@"; }
small='-W 16 -H 16'

# ---- strength 0 keeps the picture: what the VAE makes of it, whatever the scheduler
draw -p 'a horse' -i tests/golden/init_64x64.png --strength 0 --json -o "$dir/kept.png"
[ "$rc" = 0 ] && [ -s "$dir/kept.png" ] && grep -q '"strength":0.0' "$dir/out"
check "--strength 0 draws the picture that it was given"
for scheduler in euler_a heun unipc; do
    draw -q -p 'a horse' -i tests/golden/init_64x64.png --strength 0 --scheduler $scheduler -f \
        --save-latents "$dir/$scheduler.safetensors" -o "$dir/other.png"
    [ "$rc" = 0 ] || break
done
[ "$rc" = 0 ] && cmp -s "$dir/euler_a.safetensors" "$dir/heun.safetensors" &&
    cmp -s "$dir/euler_a.safetensors" "$dir/unipc.safetensors"
check "--strength 0: no scheduler has a hand in it"

# ---- the largest number of steps is the scheduler's
gives 1 'scheduler pndm: found 1000 steps, wanted 1 to 999: the model was trained with 1000 times' generate -m $model -p x \
    --steps 1000 -o "$dir/x.png"
gives 1 'scheduler unipc: found 1000 steps, wanted 1 to 999' generate -m $model -p x --steps 1000 --scheduler unipc \
    -o "$dir/x.png"
gives 1 'scheduler euler: found 2000 steps, wanted 1 to 1000' generate -m $model -p x --steps 2000 --scheduler euler \
    -o "$dir/x.png"
# shellcheck disable=SC2086 # two options
draw -q -p x $small --steps 1000 --scheduler euler -g 1 -o "$dir/thousand.png"
[ "$rc" = 0 ] && [ ! -e "$dir/x.png" ]
check "1000 steps are made where the scheduler has them"

# ---- --prompts with one line
echo 'a horse' >"$dir/one"
draw -q --prompts "$dir/one" --steps 1 -o "$dir/folder"
[ "$rc" = 0 ] && [ "$(ls "$dir/folder")" = 1.png ]
check "--prompts with one line writes into the folder that it was given"
draw -q --prompts "$dir/one" --steps 1 -o "$dir/file.png"
cmp -s "$dir/folder/1.png" "$dir/file.png"
check "or to the file"

# ---- marks of other programs are text, and that is said
gives 0 '"<lora:add_detail:0.8>" in the negative prompt is read as text' generate -m $model -t 1 --steps 1 \
    -p 'a horse' -n '<lora:add_detail:0.8>' -o "$dir/lora.png"
for tag in '<LORA:x:1>' '<Lora:x>' '< lora:x:1>' '<lora:x:1'; do
    gives 0 "\"$tag\" in the prompt is read as text" generate -m $model -t 1 --steps 1 -p "a horse, $tag" -f \
        -o "$dir/tag.png"
done
gives 0 '"(red hair:1.3)" in the negative prompt is read as text' generate -m $model -t 1 --steps 1 \
    -p 'a horse' -n 'ugly, (red hair:1.3), (blue:0.5)' -o "$dir/weight.png"
[ "$(grep -c 'is read as text' "$dir/err")" = 1 ]
check "once a prompt"
draw -p 'a clock (12: at noon), (a:b), 5 < 6 > 4, (really)' --steps 1 -o "$dir/plain.png"
[ "$rc" = 0 ] && ! grep -q 'is read as text' "$dir/err"
check "other brackets are no marks"

# ---- signals, in a run that would take hours. Where these tests themselves run under nohup, SIGHUP is ignored, which no
# shell can undo. What no signal has ended after half a minute is killed, so that it fails and does not hang.
ended() {       # ended: waits for $pid, its exit code in rc
    tries=0
    while kill -0 $pid 2>/dev/null && [ $tries -lt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
    [ $tries -lt 600 ] || kill -KILL $pid
    wait $pid
    rc=$?
}
stopped() {     # stopped SIGNAL CODE: ends with that code
    rm -rf "$dir/long" "$dir/out" && mkdir "$dir/long"
    env --default-signal=HUP "$imago" generate -m $model -t 1 -p x -s 1 --steps 2 --count 100000 --json -o "$dir/long" \
        >"$dir/out" 2>"$dir/err" &
    pid=$!
    tries=0
    while [ ! -s "$dir/out" ] && [ $tries -lt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -"$1" $pid
    ended
    [ "$rc" = "$2" ] && grep -q '^imago: stopped' "$dir/err" && grep -q '"stopped":true' "$dir/out"
    check "SIG$1 ends generate with $2 (found $rc)"
}
stopped INT 130
stopped TERM 143
stopped HUP 129
: >"$dir/out"
(trap '' HUP && exec "$imago" generate -m $model -t 1 -p x -s 1 --steps 2 --count 3000 --json -o "$dir/nohup") >"$dir/out" \
    2>"$dir/err" &
pid=$!
tries=0
while [ ! -s "$dir/out" ] && [ $tries -lt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
kill -HUP $pid
before=$(wc -l <"$dir/out") tries=0
while [ "$(wc -l <"$dir/out")" -lt $((before + 3)) ] && [ $tries -lt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
[ $tries -lt 600 ] && kill -TERM $pid
ended
[ "$rc" = 143 ]
check "under nohup SIGHUP changes nothing, and SIGTERM ends it as ever"
for verb in trace synth; do
    wanted=130
    case $verb in
    trace) set -- trace -m $model -p x --steps 2 -W 2048 -H 2048 -o "$dir/t.safetensors" ;;
    synth) wanted=75                    # its own: the same command goes on
           printf 'cat\ndog\n' >"$dir/classes"
           set -- synth --classes "$dir/classes" --per-class 1000000 --prompts-only -q ;;
    esac
    "$imago" "$@" >/dev/null 2>"$dir/err" &
    pid=$!
    sleep 1
    kill -INT $pid
    ended
    [ "$rc" = $wanted ]
    check "SIGINT ends $verb with $wanted (found $rc)"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
