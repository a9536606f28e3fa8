#!/bin/sh
# train.sh: trains the embedded model from the pictures of `make model-data`: the autoencoder, then the text encoder and
# the noise predictor in its latents, then f16; and a tiny VAE for its latents, `--vae tiny`. Stopped at any point and run
# again, it goes on where it was.
#
#     make model-train                    the whole recipe
#     make model-train STEPS=200          the same path, short: shows that it works, not what can be learnt
#
# From the environment: STEPS (of all trainings; without it those below), RUNS (build/model-train: where runs and model
# go; other options need another), MODEL_DATA (build/model-data), SHAPE (weights/art/model), THINGS (weights/art/things.txt:
# what is to be shown the most), IMAGO (build/imago).
set -eu
cd "$(dirname "$0")/.."

# ---- the recipe; `imago help train autoencoder`, `... diffusion`, `... decoder` explain the options
AUTOENCODER_STEPS=6000
AUTOENCODER="--size 64 --batch 16 --lr 1e-3 --warmup 2 --ema 0.999 --dtype bf16 --cache ram --checkpoint-every 500"
DIFFUSION_STEPS=60000
DIFFUSION="--size 64 --batch 32 --lr 6e-4 --warmup 5 --ema 0.999 --snr-gamma 5 --snr-power 0.5 --clip 2 --drop-tags 0.5 \
           --drop-first 0.15 --flip 0 --balance 0.6 --favour-share 0.75 --dtype bf16 --checkpoint-every 1000"
TINY_STEPS=5000
TINY="--size 64 --width 32 --blocks 2 --batch 8 --lr 1e-3 --ema 0.999 --dtype bf16 --cache ram --checkpoint-every 500"
VIEWS=8                                 # copies of a picture whose latents are kept; 1 where STEPS is given
# ----

imago=${IMAGO:-build/imago}
data=${MODEL_DATA:-build/model-data}
shape=${SHAPE:-weights/art/model}
things=${THINGS:-weights/art/things.txt}
runs=${RUNS:-build/model-train}
ae_steps=${STEPS:-$AUTOENCODER_STEPS}
sd_steps=${STEPS:-$DIFFUSION_STEPS}
tiny_steps=${STEPS:-$TINY_STEPS}
[ -z "${STEPS:-}" ] || VIEWS=1

fail() { echo "train.sh: $*" >&2; exit 1; }
[ -x "$imago" ] || fail "$imago is missing: run make"
if [ ! -d "$data/train" ] || [ ! -d "$data/tokenizer" ]; then
    fail "$data holds no pictures of the embedded model: make model-data"
fi

# The shape with the vocabulary of these pictures is what both trainings are given.
mkdir -p "$runs"
rm -rf "$runs/shape"
cp -R "$shape" "$runs/shape"
cp "$data/tokenizer/vocab.json" "$data/tokenizer/merges.txt" "$runs/shape/tokenizer/"

echo "1 of 4: the autoencoder, $ae_steps steps, into $runs/autoencoder"
# shellcheck disable=SC2086 # a list of options
"$imago" train autoencoder --resume --data "$data/train" --val "$data/heldout" --config "$runs/shape" $AUTOENCODER \
    --steps "$ae_steps" -o "$runs/autoencoder"

echo "2 of 4: text encoder and noise predictor, $sd_steps steps, into $runs/diffusion"
# shellcheck disable=SC2086
"$imago" train diffusion --resume --data "$data/train" --config "$runs/shape" --vae "$runs/autoencoder/vae" \
    --favour "$things" --cache-latents --views $VIEWS $DIFFUSION --steps "$sd_steps" -o "$runs/diffusion"

echo "3 of 4: its averaged weights in f16, no file above 16 MiB"
"$imago" convert "$runs/diffusion/model" -o "$runs/imago-small" --dtype f16 --max-file 16M --force

echo "4 of 4: a tiny VAE for its latents, $tiny_steps steps, into $runs/tiny"
# shellcheck disable=SC2086
"$imago" train decoder --resume --data "$data/train" --val "$data/heldout" --vae "$runs/autoencoder/vae" $TINY \
    --steps "$tiny_steps" -o "$runs/tiny"
"$imago" convert "$runs/tiny/vae" -o "$runs/imago-small/tiny" --dtype f16 --force

echo "the model: $runs/imago-small"
echo "  $imago generate -m $runs/imago-small -p apple -o apple.png"
echo "  TINY=$runs/tiny weights/release.sh $runs/diffusion $runs/autoencoder        puts it into weights/"
