#!/bin/sh
# serve_clients.sh: `imago serve` with the clients that people use (tests/serve/clients.py). They are looked for in the
# Python of $IMAGO_CLIENTS, else put into an environment in build/; where PyPI is out of reach, they are skipped by name.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/serve_clients.sh [PROGRAM]        default: build/imago; runs from the root of the repository
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
IMAGO=$imago DIR=$dir
export IMAGO DIR
venv=${BUILD:-build}/venv-clients

python=${IMAGO_CLIENTS:-$venv/bin/python}
if [ ! -x "$python" ]; then
    rm -rf "$venv"
    { python3 -m venv "$venv" && timeout 300 "$venv/bin/pip" install -q --timeout 20 openai webuiapi sd-backend-client; } \
        >"$dir/pip" 2>&1 || { tail -n 1 "$dir/pip"; rm -rf "$venv"; python=python3; }
fi
"$python" tests/serve/clients.py
