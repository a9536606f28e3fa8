#!/bin/sh
# train_lora.sh: `imago train diffusion --lora`: a run left alone, one that was stopped, and one with other threads that
# computes blocks again write the same file; `generate --lora` takes it, and so does diffusers, to the same picture
# (skipped where there is no diffusers: IMAGO_GOLDEN names a Python that has it); what does not go together is refused by
# name. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/train_lora.sh [PROGRAM]            default: build/imago
# shellcheck disable=SC2086,SC2319 # lists of options; check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
lora=pytorch_lora_weights.safetensors
# shellcheck source=tests/shell.sh
. tests/shell.sh

python3 - "$dir" <<'PYTHON'
import json, os, sys
sys.path.insert(0, "tests")
from stripes import png
os.makedirs(sys.argv[1] + "/set")
with open(sys.argv[1] + "/set/metadata.jsonl", "w") as f:
    for n in range(12):
        png(f"{sys.argv[1]}/set/{n:02}.png", n, 64)
        f.write(json.dumps({"file_name": f"{n:02}.png", "text": f"stripes {n % 5}, drawing"}) + "\n")
PYTHON
check "drawing pictures"
base="train diffusion --data $dir/set --init $model --size 64 --batch 2 --lr 1e-2 --ema 0.9 --seed 3 -q"
both="$base --lora 4 --lora-text --lora-alpha 6 --steps 8 --checkpoint-every 2"

run $both -t 1 -o "$dir/whole"
[ "$rc" = 0 ] && [ -s "$dir/whole/$lora" ] && [ ! -e "$dir/whole/model" ]
check "a run ends with the file of a LoRA, and no model (found $rc)"
python3 - "$dir/whole" <<'PYTHON'
import json, math, os, struct, sys
def sizes(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: math.prod(v["shape"]) for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
file = sizes(sys.argv[1] + "/pytorch_lora_weights.safetensors")
kept = sizes(sys.argv[1] + "/checkpoints/best.safetensors")
own = {k: v for k, v in kept.items() if k in file}
assert len(file) == 256 + 24 and own == file, (len(file), len(own))
assert sum(kept.values()) == 4 * sum(file.values())      # weights, two moments, averages, of adapters and of nothing else
PYTHON
check "a checkpoint holds the adapters and their state, and nothing of the model"
same() { [ "$rc" = 0 ] && cmp -s "$dir/whole/$lora" "$dir/$1/$lora"; check "$2: the same bits (found $rc)"; }
run $both -t 2 --workers 1 --recompute -o "$dir/other"
same other "two threads and --recompute"
cp -r "$dir/whole" "$dir/cut"
rm "$dir"/cut/$lora "$dir"/cut/checkpoints/step-00000006.safetensors "$dir"/cut/checkpoints/step-00000008.safetensors
run train diffusion --resume -q -t 1 -o "$dir/cut"
same cut "going on from step 4"
cp -r $model "$dir/moved"
rm "$dir"/cut/checkpoints/step-00000008.safetensors
run train diffusion --resume -q --init "$dir/moved" -o "$dir/cut"
same cut "a model that was moved"
for part in unet text_encoder; do
    cp -r $model "$dir/changed.$part"
    python3 - "$dir/changed.$part/$part" <<'PYTHON'
import glob, sys
path = glob.glob(sys.argv[1] + "/*.safetensors")[0]
data = bytearray(open(path, "rb").read())
data[-2] ^= 1
open(path, "wb").write(data)
PYTHON
    gives 1 'stands beside a model with other weights than that of --init now' train diffusion --resume -q \
        --init "$dir/changed.$part" -o "$dir/cut"
done
gives 1 '--lora is 4 there and 8 here' train diffusion --resume -q --lora 8 -o "$dir/cut"
gives 1 '--lora-alpha is 6 there and 4 here' train diffusion --resume -q --lora-alpha 4 -o "$dir/cut"
run $base --lora 2 --steps 2 --accumulate 2 --cache-latents --views 2 --dtype bf16 -o "$dir/unet"
[ "$rc" = 0 ] && ! grep -q text_encoder "$dir/unet/$lora" && grep -q '"lora-alpha": 2.0' "$dir/unet/config.json"
check "without --lora-text: the UNet alone, alpha is the rank; kept latents, parts, bf16"
printf 'stripes 1\n' >"$dir/prompts"
run $base --lora 2 --steps 2 --samples "$dir/prompts" -o "$dir/sampled"
[ "$rc" = 0 ] && [ "$(ls "$dir/sampled/samples")" = step-00000002.png ]
check "a sheet of samples, drawn with the LoRA"

# ---- on from a LoRA that is there
still="train diffusion --data $dir/set --init $model --size 64 --batch 2 --steps 1 --lr 1e-12 --ema 0 -q"
run $still --lora 4 --lora-text --lora-alpha 6 --lora-from "$dir/whole" -o "$dir/on"
[ "$rc" = 0 ] && python3 - "$dir/whole/$lora" "$dir/on/$lora" "$dir/alpha.safetensors" "$dir/more.safetensors" <<'PYTHON'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: (v["shape"], struct.unpack(f"<{(v['data_offsets'][1] - v['data_offsets'][0]) // 4}f",
            data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]))
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
def write(path, values):
    head, at = {}, 0
    for name, (shape, v) in values.items():
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * len(v)]}
        at += 4 * len(v)
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text +
                           b"".join(struct.pack(f"<{len(v)}f", *v) for _, v in values.values()))
one, two = tensors(sys.argv[1]), tensors(sys.argv[2])
assert sorted(one) == sorted(two)
for name in one:                                               # a step of no length; alpha / rank goes out and in again
    a, b = one[name][1], two[name][1]
    assert all(abs(x - y) < 2e-7 * max(map(abs, a)) + 1e-11 for x, y in zip(a, b)), name
unet = {k: v for k, v in one.items() if k.startswith("unet.")}
# the same adapters with alpha 8: twice the rank, so B is half
halved = {k: (s, [x / 2 for x in v] if ".lora_B." in k else v) for k, (s, v) in unet.items()}
write(sys.argv[3], halved | {k.replace(".lora_A.weight", ".alpha"): ([1], [8.0]) for k in unet if ".lora_A." in k})
ff = "unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2."
write(sys.argv[4], unet | {ff + "lora_A.weight": ([4, 64], [0.0] * 256), ff + "lora_B.weight": ([16, 4], [0.0] * 64)})
PYTHON
check "--lora-from begins where that LoRA ended (found $rc)"
run $still --lora 4 --lora-from "$dir/alpha.safetensors" -o "$dir/alpha"
[ "$rc" = 0 ] && python3 - "$dir/whole/$lora" "$dir/alpha/$lora" <<'PYTHON'
import struct, sys, json
def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]
            for k, v in json.loads(data[8:8 + n]).items() if k.startswith("unet.")}
one, two = tensors(sys.argv[1]), tensors(sys.argv[2])
assert sorted(one) == sorted(two)
for name in one:
    n = len(one[name]) // 4
    a, b = (struct.unpack(f"<{n}f", x[name]) for x in (one, two))
    assert all(abs(x - y) < 2e-7 * max(map(abs, a)) + 1e-11 for x, y in zip(a, b)), name
PYTHON
check "alpha of the file is in the factors (found $rc)"
cp -r "$dir/on" "$dir/on2" && rm -r "$dir/alpha.safetensors"
gives 0 'goes on from its checkpoint of step 1 of 1' train diffusion --resume -o "$dir/on2"
gives 1 'an adapter of rank 4, and --lora is 2' $base --lora 2 --lora-from "$dir/whole" -o "$dir/x"
gives 1 'no adapter: rank 0, and --lora is 2; wanted one of every layer that is trained, or without --lora-text' $base \
    --lora 2 --lora-text --lora-from "$dir/unet" -o "$dir/x"
gives 1 'has adapters of 140 layers, and 128 are trained' $base --lora 4 --lora-from "$dir/whole" -o "$dir/x"
gives 1 'has adapters of 129 layers, and 128 are trained' $base --lora 4 --lora-from "$dir/more.safetensors" -o "$dir/x"
gives 1 "$dir/absent" $base --lora 4 --lora-from "$dir/absent" -o "$dir/x"
gives 1 'wanted --lora RANK with it' $base --lora-from "$dir/whole" -o "$dir/x"

# ---- what it draws
draw() { run generate -m $model --steps 4 -p 'stripes 1, drawing' -s 3 -W 64 -H 64 -q -f "$@"; }
draw -o "$dir/plain.png"
draw --lora "$dir/whole" -o "$dir/folder.png" && draw --lora "$dir/whole/$lora" -o "$dir/file.png"
[ "$rc" = 0 ] && same_pixels "$dir/folder.png" "$dir/file.png" && ! same_pixels "$dir/plain.png" "$dir/file.png"
check "generate --lora takes the run, and draws something else"
python=${IMAGO_GOLDEN:-python3}
if PYTHONPATH=tests/golden "$python" -c 'import diffusers, peft, torch' 2>/dev/null; then
    PYTHONPATH=tests/golden "$python" tests/drawn_as_diffusers.py lora $model \
        "$dir/whole" "$dir/file.png" "$dir/plain.png" 2>"$dir/err"
    check "load_lora_weights of diffusers takes the run, and draws the same picture"
else
    skipped=$((skipped + 1))
    echo "SKIP diffusers loads the LoRA: there is no diffusers here (IMAGO_GOLDEN names a Python that has it)"
fi

# ---- what does not go together
gives 1 'wanted --init MODEL, a diffusers folder' train diffusion --data "$dir/set" --config $model --lora 4 -o "$dir/x"
gives 2 '--init MODEL to train on, is missing' train diffusion --data "$dir/set" --lora 4 -o "$dir/x"
gives 1 'wanted --lora RANK with it' $base --lora-text -o "$dir/x"
gives 1 'wanted --lora RANK with it' $base --lora-alpha 4 -o "$dir/x"
gives 2 '--lora-text trains adapters in the text encoder too' $base --lora 4 --text train -o "$dir/x"
gives 2 'from 0 to 4096' $base --lora -1 -o "$dir/x"
[ ! -e "$dir/x" ]
check "nothing is begun then"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
