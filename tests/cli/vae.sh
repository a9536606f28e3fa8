#!/bin/sh
# vae.sh: generate --vae: the pictures are those of a model that has this VAE; what a picture says of it, what is refused.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/vae.sh [PROGRAM]                   default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate --steps 2 -p castle -s 3 -W 64 -H 64 -q -f "$@"; }

# A VAE with other weights and another scaling_factor, by itself and in a model.
cp -r $model "$dir/other"
python3 - "$dir/other/vae" <<'PYTHON'
import glob, json, struct, sys
path = glob.glob(sys.argv[1] + "/*.safetensors")[0]
data = bytearray(open(path, "rb").read())
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
at, end = (8 + n + x for x in head["decoder.conv_in.weight"]["data_offsets"])
for i in range(at + 1, end, 2):
    data[i] ^= 0x80                                            # the sign of every value
open(path, "wb").write(data)
config = json.load(open(sys.argv[1] + "/config.json"))
json.dump(config | {"scaling_factor": 0.25}, open(sys.argv[1] + "/config.json", "w"))
PYTHON
draw -m $model -o "$dir/own.png" && draw -m "$dir/other" -o "$dir/other.png"
draw -m $model --vae "$dir/other" -o "$dir/model.png"
[ "$rc" = 0 ] && same_pixels "$dir/model.png" "$dir/other.png" && ! same_pixels "$dir/own.png" "$dir/other.png"
check "the VAE of another model: its pictures"
draw -m $model --vae "$dir/other/vae" -o "$dir/alone.png"
[ "$rc" = 0 ] && same_pixels "$dir/alone.png" "$dir/other.png"
check "one by itself"
draw -m "$dir/other" -i tests/golden/init_64x64.png --strength 0.6 -o "$dir/init.png"
draw -m $model --vae "$dir/other/vae" -i tests/golden/init_64x64.png --strength 0.6 -o "$dir/init2.png"
[ "$rc" = 0 ] && same_pixels "$dir/init.png" "$dir/init2.png"
check "from a picture: its encoder and its scaling_factor"
draw -m $model --vae $model -o "$dir/same.png"
same_pixels "$dir/own.png" "$dir/same.png" && grep -aq '"vae":"a","vae_sha256":"' "$dir/same.png" &&
    ! grep -aq '"vae_sha256"' "$dir/own.png"
check "the model's own, and the picture says so"

gives 0 'the same picture as ' generate --from "$dir/alone.png" -m $model --vae "$dir/other" -o "$dir/again.png"
gives 1 'was made with --vae (SHA-256 ' generate --from "$dir/alone.png" -m $model -o "$dir/no.png"
gives 0 'was made without --vae: the pixels will differ' generate --from "$dir/own.png" -m $model --vae "$dir/other" \
    -o "$dir/differs.png"
mkdir "$dir/set" && cp "$dir/own.png" "$dir/set/3.png"
gives 1 'its VAE, by the SHA-256 of its weights, is none' generate --steps 2 -p castle -s 3 -W 64 -H 64 --skip-existing \
    -m $model --vae "$dir/other" -o "$dir/set/"
gives 1 'wanted 4 and 8' generate -m $model --vae tests/golden/models/b -p a -o "$dir/no.png"
gives 1 'is not a folder' generate -m $model --vae $model/vae/config.json -p a -o "$dir/no.png"
sed -i 's/AutoencoderKL/AutoencoderTiny/' "$dir/other/vae/config.json"
gives 1 'AutoencoderTiny' generate -m $model --vae "$dir/other/vae" -p a -o "$dir/no.png"
[ ! -e "$dir/no.png" ]
check "nothing is drawn then"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
