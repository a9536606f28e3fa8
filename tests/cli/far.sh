#!/bin/sh
# far.sh: the whole program on the device "far" (src/tensor/far/far.c), whose memory nobody may touch but kernels and
# transfers: pictures from text and from pictures, every training with a resume, eval, convert and trace, each with the bits
# that the device "ref" gives. Whoever follows a pointer into a tensor instead of downloading it ends here.
#
#     tests/cli/far.sh [PROGRAM [NEAR FAR]]   default: build/imago ref far; beside it tests/test_learn, which draws.
#                                             cuda.sh: the same of "cuda" in the simulator, beside "cpu"
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago} near=${2:-ref} far=${3:-far}
draw=$(dirname "$imago")/tests/test_learn
# shellcheck source=tests/shell.sh
. tests/shell.sh
model=tests/golden/models/a

# same A B: pixels of pictures, tensors of safetensors, lines of a log but for its speeds.
same() {
    python3 -c 'import json, re, struct, sys, zlib
def values(path):
    b = open(path, "rb").read()
    if path.endswith(".png"):
        at, data = 8, b""
        while at < len(b):
            n, kind = struct.unpack(">I4s", b[at:at + 8])
            data += b[at + 8:at + 8 + n] if kind == b"IDAT" else b""
            at += 12 + n
        return zlib.decompress(data)
    if path.endswith(".safetensors"):
        n = struct.unpack("<Q", b[:8])[0]
        head = json.loads(b[8:8 + n])
        head.pop("__metadata__", None)
        return head, b[8 + n:]
    return re.sub(rb"\"img_per_s\": [^,}]*", b"", b)
sys.exit(values(sys.argv[1]) != values(sys.argv[2]))' "$1" "$2"
}
# both NAME FILE COMMAND...: on ref and on far, in which @ stands for a folder of the device; FILE is to be the same.
both() {
    what=$1 of=$2
    shift 2
    for device in $near $far; do
        mkdir -p "$dir/$device"
        echo "$@" | sed "s|@|$dir/$device|g" >"$dir/line"
        # shellcheck disable=SC2046 # words
        run $(cat "$dir/line") --device "$device" -t 1
        [ "$rc" = 0 ]
        check "$what on $device ends with 0 (found $rc)"
    done
    same "$dir/$near/$of" "$dir/$far/$of"
    check "$what: $of has the bits of $near"
}

"$draw" --draw "$dir/shapes" 0 2 && "$draw" --draw "$dir/more" 50 4 && mv "$dir/more/circle" "$dir/captions" && (
    cd "$dir/captions" && for f in *.png; do echo "{\"file_name\": \"$f\", \"text\": \"a circle, shape\"}"; done \
        >metadata.jsonl)
check "drawing the pictures"

both "generate" a.png generate -m $model -p horse -s 1 --steps 3 -o @/a.png
gives 0 'to the device: ' generate -m $model -p horse -s 1 --steps 1 --device "$far" -t 1 --profile \
    -o "$dir/$far/p.png"
grep -qE 'to the device: [1-9][0-9]* uploads, .* MB; back: [1-9][0-9]* downloads, .* MB; waited for it [1-9]' "$dir/err"
check "--profile counts what went to the device and back"
gives 0 '"syncs":' generate -m $model -p horse -s 1 --steps 1 --device "$far" -t 1 --profile --json -o "$dir/$far/q.png"
both "generate with noise in every step" n.png generate -m $model -p horse -s 2 --steps 3 --scheduler euler_a \
    --guidance 1 -o @/n.png
both "generate with activations in f16" h.png generate -m $model -p horse -s 1 --steps 2 --activations f16 -o @/h.png
both "image to image" b.png generate -m $model -p cat -s 1 --steps 4 --strength 0.5 -i "$dir/$near/a.png" -o @/b.png
both "trace" t.safetensors trace -m $model -p horse -o @/t.safetensors

small="--batch 4 --steps 4 --checkpoint-every 2 --keep 9 --seed 5 -q"
# trained NAME FILE OPTION...: a run, and one that goes on from its second step: the same files.
trained() {
    name=$1 file=$2 kind=$3
    shift 3
    # shellcheck disable=SC2086 # options
    both "train $kind" "$name/$file" train "$kind" "$@" $small -o "@/$name"
    same "$dir/$near/$name/log.jsonl" "$dir/$far/$name/log.jsonl"
    check "train $kind: the log has the numbers of $near"
    cp -r "$dir/$far/$name" "$dir/$far/resumed-$name" && rm "$dir/$far/resumed-$name"/checkpoints/step-00000004.safetensors
    run train "$kind" --resume --device "$far" -t 1 -q -o "$dir/$far/resumed-$name"
    [ "$rc" = 0 ] && same "$dir/$far/$name/$file" "$dir/$far/resumed-$name/$file"
    check "train $kind goes on from a checkpoint on $far, to the same bits (found $rc)"
}
trained resnet model.safetensors resnet --data "$dir/shapes" --val "$dir/shapes" --arch resnet18 --width 8 --small-stem \
    --size 16 --mixup 0.5 --clip 1 --ema 0.9 --accumulate 2
trained vae vae/diffusion_pytorch_model.safetensors autoencoder --data "$dir/shapes" --config $model --size 16 --ema 0.9 \
    --val "$dir/shapes"
trained sd model/unet/diffusion_pytorch_model.safetensors diffusion --data "$dir/captions" --config $model \
    --vae "$dir/$near/vae/vae" --size 16 --accumulate 2
both "train diffusion on kept latents" kept/model/unet/diffusion_pytorch_model.safetensors train diffusion \
    --data "$dir/captions" --config $model --vae "$dir/$near/vae/vae" --init $model --text frozen --cache-latents \
    --views 2 --size 16 --batch 4 --steps 2 -q -o @/kept
run convert "$dir/$far/sd/model" -o "$dir/one.safetensors" --dtype f16
[ "$rc" = 0 ]
check "what was trained on $far is converted"
export IMAGO_COMPUTE=f32                         # tile registers split f16 weights, and have bits of their own then
both "generate from one file in f16" o.png generate -m "$dir/one.safetensors" -p circle -s 3 --steps 2 -W 16 -H 16 \
    --dtype f16 -o @/o.png
unset IMAGO_COMPUTE
both "generate with a LoRA and names of a classifier" latents.safetensors generate -m $model -p castle -s 4 --steps 2 \
    --lora tests/golden/lora.safetensors --classify "$dir/$near/resnet" --json --save-latents @/latents.safetensors \
    -o @/c.png
"${imago%/*}/tests/test_clip" --write "$dir" >"$dir/err" 2>&1
check "a folder with CLIP"
printf 'circle\ncross\nsquare\ntriangle\n' >"$dir/names.txt"
both "eval of CLIP" zero/confusion.csv eval -m "$dir/clip" --data "$dir/shapes" --zero-shot "$dir/names.txt" -o @/zero
both "eval" eval/confusion.csv eval -m "$dir/$near/resnet" --data "$dir/shapes" --size 16 -o @/eval

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
