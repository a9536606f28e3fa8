#!/bin/sh
# large_numbers.sh: numbers in files that fit no int: none is cut to its lower 32 bits. Each is 2^32 more than one that
# would be taken, or as large. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/large_numbers.sh [PROGRAM]        default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
m=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
run generate -q -m $m -p x -s 1 -c 4 --steps 1 -t 1 -o "$dir/pics"
mkdir -p "$dir/set/a" "$dir/set/b" && cp "$dir/pics/1.png" "$dir/pics/2.png" "$dir/set/a"
cp "$dir/pics/3.png" "$dir/pics/4.png" "$dir/set/b"
run train resnet --arch resnet18 --width 4 --size 32 --batch 2 --steps 1 --augment none -t 1 -q --data "$dir/set" \
    -o "$dir/run"
[ "$rc" = 0 ]
check "a classifier (found $rc)"

# tensors SCRIPT: odd.safetensors, the classifier with t changed: {name: [dtype, shape, bytes]}, and meta, its texts
tensors() {
    python3 - "$dir/run/model.safetensors" "$dir/odd.safetensors" "$1" <<'PYTHON'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
meta = head.pop("__metadata__", {})
t = {k: [v["dtype"], v["shape"], data[8 + n:][slice(*v["data_offsets"])]] for k, v in head.items()}
exec(sys.argv[3])
head, at, body = {"__metadata__": meta}, 0, b""
for k, (dtype, shape, b) in t.items():
    head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(b)]}
    at, body = at + len(b), body + b
text = json.dumps(head).encode()
open(sys.argv[2], "wb").write(struct.pack("<Q", len(text)) + text + body)
PYTHON
}
odd() {         # odd TEXT SCRIPT: eval refuses it with TEXT
    tensors "$2"
    gives 1 "$1" eval -m "$dir/odd.safetensors" --data "$dir/set" -t 1
}
# put FILE KEY JSON: in a JSON file of m, a copy of the model
put() {
    rm -rf "$dir/m" && cp -r $m "$dir/m" && chmod -R u+w "$dir/m"
    python3 -c 'import json, sys
j = json.load(open(sys.argv[1]))
j[sys.argv[2]] = json.loads(sys.argv[3])
json.dump(j, open(sys.argv[1], "w"))' "$dir/m/$1" "$2" "$3"
    gives 1 "$4" generate -m "$dir/m" -p x -o "$dir/x.png"
}

# ---- JSON
odd '"size" is 4294967328; wanted a whole number from 1 to 65536' 'meta["config"] = "{\"size\": 4294967328}"'
odd '"size" is 1e30; wanted' 'meta["config"] = "{\"size\": 1e30}"'
odd '"size" is -4294967264; wanted' 'meta["config"] = "{\"size\": -4294967264}"'
odd '"size" is 32.5; wanted' 'meta["config"] = "{\"size\": 32.5}"'
put unet/config.json sample_size 4294967304 '"sample_size" is 4294967304; wanted a whole number from 1 to 65536'
put unet/config.json sample_size '[4294967304, 8]' '"sample_size[0]" is 4294967304'
put vae/config.json sample_size '[4294967360]' '"sample_size[0]" is 4294967360'
put vae/config.json scaling_factor 1e300 '"scaling_factor" is 1e300'
put unet/config.json layers_per_block 4294967298 '"layers_per_block" is 4294967298'
put text_encoder/config.json eos_token_id 4294967298 '"eos_token_id" is 4294967298'
put scheduler/scheduler_config.json num_train_timesteps 4294968296 '"num_train_timesteps" is 4294968296'
put scheduler/scheduler_config.json steps_offset 4294967297 '"steps_offset" is 4294967297'
put tokenizer/vocab.json 'odd</w>' 4294967298 '"odd</w>" has no id from 0 to'
rm -rf "$dir/m" && cp -r $m "$dir/m" && chmod -R u+w "$dir/m" || exit 2
echo '{"<odd>": 4294968310}' >"$dir/m/tokenizer/added_tokens.json"
gives 1 '"<odd>" has no id from 0 to' generate -m "$dir/m" -p x -o "$dir/x.png"
echo '{"prompt": "x", "seed": 18446744073709551617}' >"$dir/p.txt"
gives 1 'p.txt, line 1: "seed" is "18446744073709551617"; wanted a whole number from 0 to 18446744073709551615' \
    generate -m $m --prompts "$dir/p.txt" -o "$dir/x"
cp -r "$dir/run" "$dir/run2" && python3 -c 'import json, sys
j = json.load(open(sys.argv[1]))
j["batch"] += 2 ** 32
json.dump(j, open(sys.argv[1], "w"))' "$dir/run2/config.json"
gives 1 'batch' train resnet --resume -o "$dir/run2"
grep -q '4294967298' "$dir/err"
check "... with the number as it stands there"

# ---- shapes
odd 'conv1.weight has 4294967300 rows' 't["conv1.weight"] = ["F32", [2 ** 32 + 4, 0, 7, 7], b""]'
odd 'a first stage of 2147483647 channels; wanted 1 to 1024' 't["conv1.weight"] = ["F32", [2 ** 31 - 1, 0, 7, 7], b""]'
odd 'has no classes' 't["fc.weight"] = ["F32", [2 ** 32 + 2, 0], b""]'
odd 'names 2 classes, but its tensors have 2147483647' 't["fc.weight"] = ["F32", [2 ** 31 - 1, 0], b""]'

# ---- pictures, labels, names
python3 - "$dir/wide.png" <<'PYTHON'
import sys, zlib
def chunk(kind, body): return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
size = (2 ** 31 - 1).to_bytes(4, "big")
open(sys.argv[1], "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + b"\x08\x02\0\0\0") +
                              chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))
PYTHON
gives 1 'has 2147483647x2147483647 pixels, more than' generate -m $m -p x -i "$dir/wide.png" -o "$dir/x.png"
cp "$dir/pics/1.png" "$dir/0.png" && printf 4294967296 >"$dir/0.cls" && tar cf "$dir/shard.tar" -C "$dir" 0.png 0.cls
gives 1 'shard.tar/0.png: the label is 4294967296; wanted less than' data "$dir/shard.tar"
gives 1 'a number of {4294967296..4294967297} has more than 9 digits' data "$dir/shard{4294967296..4294967297}.tar"
[ ! -e "$dir/x.png" ] && [ ! -e "$dir/x" ]
check "nothing is drawn of all that"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
