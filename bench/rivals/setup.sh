#!/bin/sh
# Makes the venv that the programs of bench/rivals run in.
#
#   bench/rivals/setup.sh [FOLDER [quick]]          default: build/venv-rivals
#
# stable-diffusion.cpp comes as source and is compiled for this processor, which takes minutes; `quick` leaves it out, and
# where it cannot be compiled the others are measured all the same.
# The wheel of torch on PyPI brings the CUDA libraries along (about 5 GB). Where PyTorch's own index can be
# reached, this takes the smaller one:
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu bench/rivals/setup.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../build/venv-rivals}
sdcpp=stable-diffusion-cpp-python==0.4.7

python3 -m venv "$folder"
if [ -n "${TORCH_INDEX:-}" ]; then
    # shellcheck disable=SC2046 # two packages
    "$folder/bin/pip" install -q $(grep -E '^torch(vision)?==' "$here/requirements.txt") --index-url "$TORCH_INDEX"
fi
"$folder/bin/pip" install -q -r "$here/requirements.txt"
if [ "${2:-}" != quick ]; then
    CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON" "$folder/bin/pip" install -q --no-deps "$sdcpp" ||
        echo "setup.sh: $sdcpp cannot be compiled here; it is left out" >&2
fi
echo "ready: $folder/bin/python $here/table.py"
