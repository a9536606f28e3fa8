#!/bin/sh
# progress.sh: --progress json: every line of standard error is a JSON object with the fields that docs/progress.md names.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/progress.sh [PROGRAM]             default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh

cat >"$dir/events.py" <<'PYTHON'
# events.py KIND FILE EXPRESSION: over e, the events of the file; n, their names; of(name), those of a name
import json, re, sys
kind, path, test = sys.argv[1:]
known = {}
for line in open("docs/progress.md"):
    cells = [c.strip() for c in line.strip().strip("|").split("|")]
    if len(cells) == 3 and cells[0].startswith("`") and cells[1] in (kind, "all"):
        for name in re.findall("`(\\w+)`", cells[0]):
            known.setdefault(name, set()).update(re.findall("`(\\w+)`", cells[2]))
e = [json.loads(line) for line in open(path)]
for x in e:
    assert isinstance(x["time"], float) and 1.7e9 < x["time"] < 1e10, x
    fields = known[x["event"]]
    own = set(x) - {"event", "time"}
    none = x["event"] == "done" and not own and "--verify" in test      # where no set is drawn
    assert x["event"] == "picture" or none or own == fields, (x, fields)
times, n = [x["time"] for x in e], [x["event"] for x in e]
assert times == sorted(times)
of = lambda name: [x for x in e if x["event"] == name]
sys.exit(0 if eval("(" + test + ")") else 1)
PYTHON
events() { python3 "$dir/events.py" "$1" "$dir/err" "$2"; }

# ---- generate
draw() { run generate -m $model -t 1 --steps 2 --progress json "$@"; }
draw -p 'a "horse", süß' -s 1 -c 3 -b 2 -o "$dir/many"
[ "$rc" = 0 ] && [ ! -s "$dir/out" ] && events generate 'n[0] == "start" and n[-1] == "done"
    and e[0]["pictures"] == 3 and e[0]["verb"] == "generate" and of("load")[0]["model"] == "'$model'"
    and [(x["step"], x["steps"], x["first"], x["batch"], x["pictures"]) for x in of("step")]
        == [(i, 3, f, b, 3) for f, b in ((1, 2), (3, 1)) for i in range(4)]
    and of("step")[0]["seconds_left"] is None and of("step")[-1]["seconds_left"] == 0
    and [x["seed"] for x in of("picture")] == [1, 2, 3] and of("picture")[2]["path"].endswith("/3.png")
    and of("picture")[0]["prompt"] == "a \"horse\", süß" and of("picture")[0]["seconds"] > 0
    and "position_ids" in of("warning")[0]["text"] and n.index("picture") > n.index("step")
    and e[-1]["pictures"] == 3 and e[-1]["wanted"] == 3 and e[-1]["failed"] == 0 and e[-1]["stopped"] is False'
check "generate: start, load, steps, pictures, done"
rm "$dir/many/2.png"
draw -p 'a "horse", süß' -s 1 -c 3 -o "$dir/many" --skip-existing --json
[ "$rc" = 0 ] && events generate 'len(of("picture")) == 1 and of("start")[0]["pictures"] == 3
    and of("step")[0]["pictures"] == 1 and e[-1]["skipped"] == 2 and any("there already" in x["text"] for x in of("note"))'
check "--skip-existing"
python3 -c 'import json, sys
d = [json.loads(line) for line in open(sys.argv[1])]
sys.exit(not (len(d) == 2 and d[0]["seed"] == 2 and d[1]["summary"]))' "$dir/out"
check "... and --json has standard output for itself"
draw -p x -s 1 -o "$dir/p.png" --profile
[ "$rc" = 0 ] && events generate 'n[-1] == "done"' && grep -q 'GFLOP/s' "$dir/out"
check "the table of --profile goes to standard output"
draw -p x -s 1 -m "$dir/none" -o "$dir/q.png"
[ "$rc" = 2 ]
check "wrong use is told in plain text"
run generate -m "$dir/none" -p x -o "$dir/q.png" --progress json
[ "$rc" = 1 ] && events generate 'n == ["start", "load", "error"] and e[-1]["code"] == 1 and "/none" in e[-1]["text"]'
check "an error is the last event"
run generate -m $model -p x -o "$dir/q.png" --progress json --device cuda
[ "$rc" = 1 ] && events generate 'n == ["error"] and "CUDA" in e[0]["text"]'
check "... also of the device"
odd=$(printf '%s/b\377d' "$dir")
run generate -m "$odd" -p x -o "$dir/q.png" --progress json
[ "$rc" = 1 ] && events generate '"b\ufffdd" in e[-1]["text"] and "b\ufffdd" in of("load")[0]["model"]'
check "a name that is not UTF-8 keeps the line JSON"
gives 2 'cannot be combined' generate -m $model -p x -q --progress json
gives 2 '--progress is "xml", wanted one of bar|json' generate -m $model -p x --progress xml
cp -r $model "$dir/nan" && chmod -R u+w "$dir/nan"
python3 - "$dir/nan/vae/diffusion_pytorch_model.safetensors" <<'PYTHON'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
t = head["decoder.conv_out.bias"]
a, b = t["data_offsets"]
data[8 + n + a:8 + n + b] = (b"\0\x7e" if t["dtype"] == "F16" else b"\0\0\xc0\x7f") * t["shape"][0]
open(sys.argv[1], "wb").write(data)
PYTHON
run generate -m "$dir/nan" -p x -c 2 -s 1 --steps 1 -o "$dir/bad" --progress json
[ "$rc" = 1 ] && events generate 'len(of("picture")) == 2 and all("not finite" in x["error"] for x in of("picture"))
    and "2 of 2 pictures did not come out" in e[-1]["text"] and n[-1] == "error"'
check "pictures that do not come out"
: >"$dir/err"
"$imago" generate -m $model -t 1 -p x -s 1 --steps 10 -c 40000 --progress json -o "$dir/stop" 2>"$dir/err" &
pid=$!
tries=0
while ! grep -q '"event":"picture"' "$dir/err" && [ $tries -lt 1200 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -INT $pid
wait $pid
[ $? = 130 ] && events generate 'n[-1] == "error" and e[-1]["code"] == 130
    and any("to go on: imago generate" in x["text"] for x in of("note"))'
check "Ctrl-C: how to go on is a note, and the code 130"

# ---- synth
printf 'cat | animal\ntree | plant\n' >"$dir/two.txt"
set_() { run synth -t 1 --progress json "$@"; }
drawn() { set_ -m $model --classes "$dir/two.txt" --per-class 3 --steps 2 --scheduler ddim "$@"; }
drawn -b 4 -o "$dir/drawn"
[ "$rc" = 0 ] && [ ! -s "$dir/out" ] && events synth 'n[0] == "start" and n[-1] == "done" and e[0]["verb"] == "synth"
    and e[0]["set"].endswith("/drawn") and of("load")[0]["model"] == "'$model'"
    and [(x["step"], x["batch"]) for x in of("step")] == [(i, b) for b in (4, 2) for i in range(3)] + [(2, 2)]
    and all(x["steps"] == 2 and x["pictures"] == 6 and x["there"] == 0 for x in of("step"))
    and of("step")[0]["seconds_left"] is None and of("step")[-1]["seconds_left"] == 0
    and of("step")[0]["drawn"] == 0 and of("step")[-1]["drawn"] == 6 and of("step")[-1]["img_per_s"] > 0
    and any(" pictures of 2 classes" in x["text"] for x in of("note")) and "position_ids" in of("warning")[0]["text"]
    and (e[-1]["pictures"], e[-1]["there"], e[-1]["wanted"]) == (6, 0, 6) and e[-1]["seconds"] > 0'
check "synth: start, load, steps, notes, done"
set_ -m $model -o "$dir/drawn"
[ "$rc" = 0 ] && events synth 'not of("step") and (e[-1]["pictures"], e[-1]["there"], e[-1]["wanted"]) == (0, 6, 0)'
check "... where nothing is left to do"
rm "$dir/drawn/cat/000001.png"
set_ --verify -o "$dir/drawn"
[ "$rc" = 1 ] && events synth '"--verify" and n[0] == "start" and not of("load")
    and [x["text"] for x in of("note")] == ["cat/000001.png is missing"] and e[-1]["code"] == 1'
check "synth --verify: what is wrong is a note each"
set_ -m $model --one cat:1 -o "$dir/drawn"
[ "$rc" = 0 ] && events synth '"--verify" and of("load") and set(e[-1]) == {"event", "time"}
    and of("note")[-1]["text"].endswith("/cat/000001.png: written")'
check "synth --one"
SLURM_PROCID=1 SLURM_NTASKS=2 "$imago" synth --prompts-only -o "$dir/drawn" --progress json >"$dir/out" 2>"$dir/err"
events synth '"--verify" and of("note")[0]["text"].startswith("part 2/2") and n[-1] == "done"' &&
    [ "$(wc -l <"$dir/out")" = 3 ]
check "synth --prompts-only: its lines have standard output for themselves"
set_ -m $model -o "$dir/drawn" --steps 3
[ "$rc" = 1 ] && events synth 'n[-1] == "error" and "steps is 2 there and 3 here" in e[-1]["text"]'
check "synth: an error is the last event"
: >"$dir/err"
"$imago" synth -m $model --classes "$dir/two.txt" --per-class 5000 --steps 2 -b 2 -t 1 --progress json \
    -o "$dir/stopped" 2>"$dir/err" &
pid=$!
tries=0
while ! grep -q '"drawn":[1-9]' "$dir/err" && [ $tries -lt 1200 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -TERM $pid
wait $pid
[ $? = 75 ] && events synth 'n[-1] == "error" and e[-1]["code"] == 75 and "the same command goes on" in e[-1]["text"]'
check "synth stopped in order: the code 75"
gives 2 '-o SET is missing' synth --classes "$dir/two.txt" --per-class 1 --progress json
gives 2 '--classes FILE is missing' synth --progress json -o "$dir/none"
gives 2 'cannot be combined' synth --classes "$dir/two.txt" --per-class 1 -q --progress json -o "$dir/none"

# ---- the trainings
mkdir -p "$dir/set/one" "$dir/set/two"
cp "$dir/many/1.png" "$dir/many/2.png" "$dir/set/one" && cp "$dir/many/3.png" "$dir/p.png" "$dir/set/two"
run train resnet --data "$dir/set" --arch resnet18 --width 4 --size 32 --batch 2 --epochs 2 --augment none -t 1 \
    --progress json -o "$dir/run"
[ "$rc" = 0 ] && [ ! -s "$dir/out" ] && events train 'n[0] == "start" and n[-1] == "done"
    and e[0]["verb"] == "train resnet" and e[0]["resume"] is False and of("load")[0]["data"].endswith("/set")
    and [(x["step"], x["epoch"]) for x in of("step")] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    and all(x["steps"] == 4 and x["epochs"] == 2 and x["loss"] > 0 and x["top1"] is not None for x in of("step"))
    and [(x["epoch"], x["step"]) for x in of("epoch")] == [(1, 2), (2, 4)] and len(of("checkpoint")) >= 1
    and of("checkpoint")[-1]["step"] == 4'
check "train resnet"
run train resnet --resume -o "$dir/run" --progress json
events train 'n[-1] == "done" and e[0]["resume"] is True and of("load")[0]["data"]'
check "... resumed"
run train autoencoder --data "$dir/set" --config $model --size 32 --batch 2 --steps 2 -t 1 --progress json -o "$dir/ae"
[ "$rc" = 0 ] && events train 'e[0]["verb"] == "train autoencoder" and [x["step"] for x in of("step")] == [1, 2]
    and all(x["top1"] is None for x in of("step")) and n[-1] == "done"'
check "train autoencoder"
for i in 1 2; do cp "$dir/many/$i.png" "$dir/set/"; echo "{\"file_name\": \"$i.png\", \"text\": \"a horse\"}"; done \
    >"$dir/set/metadata.jsonl"
run train diffusion --data "$dir/set" --config $model --vae "$dir/ae/vae" --size 32 --batch 1 --epochs 1 -t 1 \
    --progress json -o "$dir/sd"
[ "$rc" = 0 ] && events train 'e[0]["verb"] == "train diffusion" and len(of("step")) == 2 and n[-1] == "done"'
check "train diffusion"
run train resnet --data "$dir/none" -o "$dir/run2" --progress json
[ "$rc" = 1 ] && events train 'n[-1] == "error" and "/none" in e[-1]["text"]'
check "a set that is not there"
gives 2 'cannot be combined' train resnet --data "$dir/set" -q --progress json -o "$dir/run3"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
