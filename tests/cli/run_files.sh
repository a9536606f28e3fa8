#!/bin/sh
# run_files.sh: the files of a training run, changed or of another kind than imago writes: refused by file and key, never
# trained on as something else; runs that get more steps; curves of a damaged log.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/run_files.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319,SC2154 # check reads $? of the condition before it, on purpose; $rc is run's
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

mkdir -p "$dir/set/a" "$dir/set/b"
for i in 1 2 3; do
    cp tests/golden/init_64x64.png "$dir/set/a/$i.png" && cp tests/golden/init_83x70.png "$dir/set/b/$i.png"
done
new() {         # new RUN OPTION...
    run=$dir/$1
    shift
    run train resnet --data "$dir/set" --arch resnet18 --width 4 --size 16 --batch 3 -q -t 1 -o "$run" "$@"
}
again() { run train resnet --resume -q -t 1 -o "$run" "$@"; }
says() {        # says CODE TEXT NAME: of the last command
    [ "$rc" = "$1" ] && grep -qF -- "$2" "$dir/err"
    check "$3 (found $rc)"
}
changed() {     # changed SED CODE TEXT: the run with a changed config.json
    cp "$dir/config.json" "$run/config.json"
    sed -i "$1" "$run/config.json"
    again
    says "$2" "$3" "config.json changed by $1"
}

new run --steps 3
[ "$rc" = 0 ] && cp "$run/config.json" "$dir/config.json"
check "a run of three steps"
grep -q '<path[^>]* d="M 340 ' "$run/curves.svg" && ! grep -q '<path[^>]* d="M [1-6][0-9]\.[^L]*L 340 ' "$run/curves.svg"
check "its curves begin at the first step"
changed 's/"schedule": "cosine"/"schedule": null/' 1 'config.json: "schedule" is null; wanted one of cosine|step|constant'
changed 's/"size": 16/"size": 4294967312/' 1 'config.json: "size" is 4294967312; wanted a whole number from 1 to 4096'
changed 's/"batch": 3/"batch": "3"/' 1 'config.json: "batch" is "3"; wanted a whole number from 1 to 65536'
changed 's/"momentum": 0.9/"momentum": NaN/' 1 '"momentum" is "NaN"; wanted a number'
changed 's/"momentum": 0.9/"momentum": 0.5/' 1 '--momentum is 0.9 there and 0.5 here; was config.json changed?'
changed 's/"data-sha256": "/"data-sha256": null, "x": "/' 1 '"data-sha256" is null'
changed 's/"nesterov": false/"nesterov": false, "nesterov": true/' 1 'duplicate object key'
changed '/"mixup"/d' 0 'does not say --mixup: the run is older than that'
cp "$dir/config.json" "$run/config.json"

printf '{"step": 1, "loss": "x"}\n{"step": 3, "loss": 1}\n' >"$run/log.jsonl"
again
says 0 'log.jsonl, line 1: "loss" is "x"; wanted a number' "curves of a log that was changed: a warning"

# ---- more steps
again --steps 5
says 1 '--steps is 3 there and 5 here' "a run with a cosine gets no other length"
grep -q 'falls along a cosine.*begin a new run with --init' "$dir/err"
check "and that is explained"
new long --steps 5 --schedule constant --warmup 1
new short --steps 2 --schedule constant --warmup 1 && again --steps 5
[ "$rc" = 0 ] && cmp -s "$dir/long/model.safetensors" "$dir/short/model.safetensors" &&
    grep -q '"steps": 5' "$run/config.json"
check "a run with a constant rate that gets more steps has the bits of one that had them from the beginning"
again
[ "$rc" = 0 ] && [ "$(wc -l <"$run/log.jsonl")" = 5 ]
check "and keeps its new length"
again --steps 4
says 1 'of step 5 is past the 4 steps asked for' "fewer steps than were made"

# ---- what cannot be
new x --steps 2 --ema 1
says 2 '--ema is "1", wanted a number of at least 0 and below 1' "an average that never moves"
new x --steps 2 --ema 0.9999999999
says 2 '--ema is' "an average that never moves, by rounding"
cp -r "$dir/set" "$dir/latin" && mv "$dir/latin/a" "$dir/latin/$(printf 'caf\351')"
run train resnet --data "$dir/latin" --arch resnet18 --width 4 --size 16 --batch 3 --steps 2 -q -t 1 -o "$dir/x"
says 1 'byte 3 (0xe9) is not UTF-8' "a class whose name is not UTF-8"
[ ! -e "$dir/x" ]
check "nothing is made of what is refused"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
