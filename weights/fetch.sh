#!/bin/sh
# fetch.sh: gets Stable Diffusion v1.4 and checks it. Can be stopped and run again: what is there is not fetched twice.
#
#     weights/fetch.sh [FOLDER]            default: weights/sd-v1-4
#     weights/fetch.sh --check FOLDER      only checks
set -eu
here=$(cd "$(dirname "$0")" && pwd)
manifest=$here/sd-v1-4.manifest
site=https://huggingface.co/CompVis/stable-diffusion-v1-4
check_only=no
if [ "${1:-}" = --check ]; then check_only=yes; shift; fi
folder=${1:-$here/sd-v1-4}

fail() { echo "fetch.sh: $*" >&2; exit 1; }
command -v sha256sum >/dev/null || fail "sha256sum is missing: install coreutils"
[ "$check_only" = yes ] || command -v curl >/dev/null || fail "curl is missing: install it"

# fetch FILE: into FILE.part, continued where it stopped; a weight file is checked against the publisher's LFS pointer
fetch() {
    [ ! -e "$folder/$1" ] || return 0
    mkdir -p "$(dirname "$folder/$1")"
    echo "$1"
    case $1 in
    *.safetensors)
        pointer=$(curl -fsSL "$site/raw/main/$1") || fail "$1: its pointer cannot be read from $site"
        sum=$(printf '%s\n' "$pointer" | sed -n 's/^oid sha256:\([0-9a-f]\{64\}\)$/\1/p')
        size=$(printf '%s\n' "$pointer" | sed -n 's/^size \([0-9]*\)$/\1/p')
        if [ -z "$sum" ] || [ -z "$size" ]; then fail "$1: $site/raw/main/$1 is no LFS pointer"; fi
        found=0
        [ ! -e "$folder/$1.part" ] || found=$(wc -c <"$folder/$1.part")
        [ "$found" -le "$size" ] ||
            fail "$folder/$1.part has $found bytes, wanted $size at most, so it is not that file; remove it, run this again"
        # a complete one has no rest to ask for: the site would answer with an error
        [ "$found" -eq "$size" ] || curl -fL -C - --retry 3 -o "$folder/$1.part" "$site/resolve/main/$1" ||
            fail "$1: cannot be fetched from $site; run this again to continue"
        found=$(wc -c <"$folder/$1.part")
        [ "$found" -eq "$size" ] || fail "$1: has $found bytes, wanted $size; run this again to continue"
        found=$(sha256sum "$folder/$1.part" | cut -d ' ' -f 1)
        [ "$found" = "$sum" ] || fail "$1: has SHA-256 $found, wanted $sum; remove $folder/$1.part and run this again"
        ;;
    *) curl -fsSL --retry 3 -o "$folder/$1.part" "$site/resolve/main/$1" || fail "$1: cannot be fetched from $site" ;;
    esac
    mv "$folder/$1.part" "$folder/$1"
}

# header FILE TENSORS VALUES: the safetensors header fits the file, and holds what the manifest says
header() {
    command -v python3 >/dev/null || { echo "    (python3 is missing: its header is not checked)"; return 0; }
    python3 - "$@" <<'PYTHON' || fail "$1 is not what the manifest says"
import json, struct, sys
path, tensors, values = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "rb") as f:
    size = f.seek(0, 2)
    f.seek(0)
    length = struct.unpack("<Q", f.read(8))[0]
    if length > size - 8:
        sys.exit(f"{path}: header of {length} bytes in a file of {size}")
    entries = json.loads(f.read(length))
entries.pop("__metadata__", None)
entries = {n: e for n, e in entries.items() if e["dtype"] != "I64"}     # position_ids of the text encoder: no weight
end = max(e["data_offsets"][1] for e in entries.values())
count = 0
for e in entries.values():
    product = 1
    for n in e["shape"]:
        product *= n
    count += product
if 8 + length + end > size:
    sys.exit(f"{path}: {size} bytes, its header wants {8 + length + end}")
if (len(entries), count) != (tensors, values):
    sys.exit(f"{path}: {len(entries)} tensors of {count} values, wanted {tensors} of {values}")
PYTHON
}

grep -v '^#' "$manifest" | while read -r file tensors values; do
    [ "$check_only" = yes ] || fetch "$file"
    [ -e "$folder/$file" ] || fail "$folder/$file is missing"
    [ -z "$tensors" ] || header "$folder/$file" "$tensors" "$values"
done
(cd "$folder" && grep -v '^#' "$manifest" | while read -r file _; do sha256sum "$file"; done)
echo "complete: $folder"
