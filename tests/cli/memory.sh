#!/bin/sh
# memory.sh: memory that does not suffice: whatever asked for it last, the error says what needs it and what helps; exit
# code 1, and nothing is left. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/memory.sh [PROGRAM]               default: build/imago
# shellcheck disable=SC2319,SC3045 # dash has ulimit -v; check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

# within KIB DTYPE: draws with the embedded model in so much address space; code in $rc
within() {
    (ulimit -v "$1" && exec "$imago" generate -q -p x -s 1 --steps 1 -t 1 --dtype "$2" -f -o "$dir/x.png") \
        >"$dir/out" 2>"$dir/err" </dev/null
    rc=$?
}
for dtype in f32 f16; do
    weights=0 failures=0 odd='' kib=60000
    while [ $kib -lt 400000 ]; do
        within $kib $dtype
        if [ "$rc" = 0 ]; then break; fi
        if ! grep -q 'shared librar\|shared object' "$dir/err"; then      # the loader of the system, before imago begins
            failures=$((failures + 1))
            if grep -q 'out of memory for the weights' "$dir/err"; then weights=$((weights + 1)); fi
            if [ "$rc" != 1 ] || [ -e "$dir/x.png" ] || ! grep -q "memory" "$dir/err"; then
                odd="$odd $kib: $rc, $(tail -n 1 "$dir/err");"
            fi
            if grep 'weights of the' "$dir/err" | grep -q 'dtype f16' && [ $dtype = f16 ]; then odd="$odd f16 advised;"; fi
            if ! grep -q 'dtype f16' "$dir/err" && grep -q 'weights of the' "$dir/err" && [ $dtype = f32 ]; then
                odd="$odd f16 not advised;"
            fi
        fi
        kib=$((kib + 4000))
    done
    [ "$rc" = 0 ] && [ "$failures" -gt 3 ] && [ "$weights" -gt 1 ] && [ -z "$odd" ]
    check "$dtype: $failures fail for memory, $weights of them for the weights, with advice that fits$odd"
    rm -f "$dir/x.png"
done
gives 1 'of memory are free; make fewer at once (--batch)' generate -m tests/golden/models/a -p x -s 1 --steps 1 -c 4096 \
    -b 4096 -W 1024 -H 1024 -o "$dir/many"
gives 1 'of memory are free; ask for a smaller size' generate -m tests/golden/models/a -p x -W 65536 -H 65536 \
    -o "$dir/x.png"
gives 1 'of memory are free; ask for a smaller size, and for fewer at once (--batch)' generate \
    -m tests/golden/models/a -p x -c 4096 -b 4096 -W 65536 -H 65536 -o "$dir/many"
[ ! -e "$dir/many" ] && [ ! -e "$dir/x.png" ]
check "nothing is left of them"

# ---- trainings: what is certain is an error before the weights are there, what is probable a warning before the first
# step. The folder of the run cannot be made, so that no step is begun.
mkdir -p "$dir/set/one" "$dir/set/two" "$dir/captions"
: >"$dir/file"
for i in 1 2 3 4; do
    cp tests/golden/init_64x64.png "$dir/set/one/$i.png"
    cp tests/golden/init_64x64.png "$dir/captions/$i.png"
    echo "{\"file_name\": \"$i.png\", \"text\": \"a horse\"}" >>"$dir/captions/metadata.jsonl"
done
cp tests/golden/init_64x64.png "$dir/set/two/1.png"
if [ "$(awk '/^MemTotal/ { print int($2 / 1048576) }' /proc/meminfo)" -lt 100 ]; then
    gives 1 'to train, whatever the batch' train resnet -q -t 1 --data "$dir/set" --arch resnet101 --width 1024 --batch 2 \
        --steps 1 --augment none -o "$dir/large"
    grep -q 'of memory are free; wanted a smaller network, or a machine' "$dir/err" && [ ! -e "$dir/large" ]
    check "a network that is larger than memory: refused before it is made"
    warns() {       # warns NAME ARGUMENT...
        name=$1
        shift
        run train "$@" -q -t 1 --steps 1 -o "$dir/file/run"
        [ "$rc" = 1 ] && grep -q 'warning: a step takes about .* MiB more .*the system may end the run; ' "$dir/err" &&
            grep -q 'cannot make the folder' "$dir/err"
        check "$name"
    }
    warns 'activations of large pictures' resnet --data "$dir/set" --arch resnet50 --size 4096 --batch 4 --augment none
    warns 'of an autoencoder' autoencoder --data "$dir/captions" --size 4096 --batch 4 --config weights/imago-small/vae
    warns 'of a diffusion model' diffusion --data "$dir/captions" --size 4096 --batch 4 --config weights/imago-small \
        --vae weights/imago-small/vae
else
    skipped=$((skipped + 4))
fi
run train resnet -q -t 1 --data "$dir/set" --arch resnet18 --width 4 --size 32 --batch 2 --steps 1 --augment none \
    -o "$dir/small"
[ "$rc" = 0 ] && [ ! -s "$dir/err" ]
check "a small training is not warned of"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
