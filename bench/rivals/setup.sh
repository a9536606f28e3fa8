#!/bin/sh
# Makes the venv that the programs of bench/rivals run in.
#
#   bench/rivals/setup.sh [FOLDER]          default: build/venv-rivals
#
# The wheel of torch on PyPI brings the CUDA libraries along (about 5 GB). Where PyTorch's own index can be
# reached, this takes the smaller one:
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu bench/rivals/setup.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../build/venv-rivals}

python3 -m venv "$folder"
if [ -n "${TORCH_INDEX:-}" ]; then
    # shellcheck disable=SC2046 # two packages
    "$folder/bin/pip" install $(grep -E '^torch(vision)?==' "$here/requirements.txt") --index-url "$TORCH_INDEX"
fi
"$folder/bin/pip" install -r "$here/requirements.txt"
echo "ready: $folder/bin/python $here/torch_sd.py --rounds 3 --imago build/imago"
