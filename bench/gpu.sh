#!/bin/sh
# gpu.sh: what a GPU does with this engine, in under five minutes: stages in the order of what they are worth, each under a
# limit of its own, every row in the file as soon as it is there. A run that is cut off leaves what it has measured.
#
#     bench/gpu.sh [BUILD]          BUILD (default build) holds imago; rows, a JSON object each, go to
#                                   bench/results/DATE-gpu.jsonl, or to ROWS of the environment
#     PYTHON=python3                where torch, diffusers and torchvision are, the same is measured with them beside it
#
# Without a device: one line, and 0, as there is nothing to measure.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:-build}
imago=$build/imago
python=${PYTHON:-python3}
model=$build/sd-v1-4
rows=${ROWS:-bench/results/$(date +%Y-%m-%d)-gpu.jsonl}
began=$(date +%s)

if ! why=$("$imago" info --device cuda --json 2>&1 >"$build/gpu-device.json"); then
    echo "gpu-bench: nothing is measured: ${why#imago: }"
    exit 0
fi
say() {
    printf '%4d s  %s\n' $(($(date +%s) - began)) "$1"
}
# stage NAME SECONDS COMMAND...: its output is JSON, a row a line, and goes to the file line by line
stage() {
    name=$1 limit=$2
    shift 2
    say "$name"
    timeout "$limit" "$@" 2>"$build/gpu-stage.err" | while IFS= read -r line; do
        printf '{"stage": "%s", "row": %s}\n' "$name" "$line" >>"$rows"
        printf '        %s\n' "$line"
    done
    [ ! -s "$build/gpu-stage.err" ] || sed 's/^/        ! /' "$build/gpu-stage.err" | tail -n 3
}
flat() {        # a JSON text of several lines as one
    tr -d '\n'
    echo
}
has_torch() {
    timeout 60 "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null
}

mkdir -p "$(dirname "$rows")"
printf '{"stage": "device", "row": %s}\n' "$(flat <"$build/gpu-device.json")" >>"$rows"
say "rows go to $rows"

# Are the numbers right? A fast kernel that is wrong is worth nothing.
if ! timeout 40 "$imago" info --device cuda --check >"$build/gpu-check.txt"; then
    tail -n 3 "$build/gpu-check.txt"
    exit 1
fi
[ -d "$model" ] || timeout 120 "$imago" init-weights --like sd-v1-4 -s 1 -o "$model" || exit 1

torch=no
has_torch && torch=yes
[ $torch = no ] || stage peaks 30 "$python" bench/rivals/torch_gpu.py peaks
stage "products bf16" 25 "$build/gpu-products" bf16
for batch in 1 4 16; do         # pictures; with guidance each is two samples of the UNet
    stage "unet bf16, $batch" 25 "$imago" bench unet -m "$model" --device cuda --dtype bf16 -b $((2 * batch)) -r 5 --json
    [ $torch = no ] || stage "torch unet bf16, $batch" 30 "$python" bench/rivals/torch_gpu.py unet $((2 * batch))
done
stage "resnet50 bf16, 64" 30 "$imago" bench train -a resnet50 -b 64 --size 224 --dtype bf16 --from none --device cuda \
    -r 5 --json
[ $torch = no ] || stage "torch resnet50 bf16, 64" 30 "$python" bench/rivals/torch_gpu.py resnet50 64
stage "unet-small bf16, 32" 20 "$imago" bench train -a unet-small -b 32 --dtype bf16 --from none --device cuda -r 5 --json
stage "unet f16, 1" 20 "$imago" bench unet -m "$model" --device cuda --dtype f16 -b 2 -r 5 --json
stage "vae bf16, 1" 20 "$imago" bench vae -m "$model" --device cuda --dtype bf16 -r 5 --json
stage "generate bf16, 1" 40 "$imago" bench generate -m "$model" --device cuda --dtype bf16 --steps 20 -r 2 --json
stage "unet f32, 1" 30 "$imago" bench unet -m "$model" --device cuda --dtype f32 -b 2 -r 3 --json
say "done"
"$python" bench/gpu_shares.py "$rows" 2>/dev/null || echo "        no shares of peaks: those are measured by PyTorch"
