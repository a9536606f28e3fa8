#!/bin/sh
# release.sh: puts a trained model into weights/, as it is committed:
#
#     weights/release.sh RUN_DIFFUSION [RUN_AUTOENCODER [RUN_RESNET]]
#
#     weights/imago-small/                    RUN_DIFFUSION/model in f16, no file above 16 MiB; with RUN_AUTOENCODER its
#                                             decoder, which may have learnt on (--train decoder): encoders must be equal
#     weights/imago-small/classifier/         RUN_RESNET's weights in f16; without RUN_RESNET the one that is there stays
#     weights/imago-small/tiny/               with TINY, a run of `imago train decoder`, its VAE in f16; without it the one
#                                             that is there stays
#     weights/runs/{diffusion,autoencoder,decoder,classifier,tiny}/    config.json and log.jsonl of the runs, logs above
#                                             20 kB thinned; of a RUN_AUTOENCODER with --train decoder also the run
#                                             before it
#
# Paths in what is written are relative to the repository; one that lies outside is refused. From the environment: IMAGO
# (build/imago), ROOT (the repository that the runs were made in; this one), TO (weights), TINY (none).
set -eu
cd "$(dirname "$0")/.."
imago=${IMAGO:-build/imago}
root=$(realpath "${ROOT:-.}")
to=${TO:-weights}
file_most=16777216 all_most=41943040 log_most=20000

fail() { echo "release.sh: $*" >&2; exit 1; }
if [ $# -lt 1 ] || [ $# -gt 3 ]; then fail "usage: weights/release.sh RUN_DIFFUSION [RUN_AUTOENCODER [RUN_RESNET]]"; fi
[ -x "$imago" ] || fail "$imago is missing: run make"
command -v python3 >/dev/null || fail "python3 is missing: install it"
[ -f "$1/model/model_index.json" ] || fail "$1: has no model/; wanted the folder of \`imago train diffusion\`"
for run in "$@" ${TINY:+"$TINY"}; do
    if [ ! -f "$run/config.json" ] || [ ! -s "$run/log.jsonl" ]; then
        fail "$run: has no config.json and log.jsonl; wanted the folder of a run"
    fi
done

new=$to/.release
trap 'rm -rf "$new"' EXIT
rm -rf "$new"
mkdir -p "$new/runs"

# log FROM TO: first and last line and every k-th, k the least that makes it small enough
log() {
    bytes=$(wc -c <"$1")
    awk -v k=$(((bytes + log_most - 1) / log_most)) '{ last = $0 } NR % k == 1 || k == 1 { print; shown = NR }
        END { if (shown != NR) print last }' "$1" >"$2"
}

# logs RUN NAME: config.json without the machine's paths, the log
logs() {
    mkdir -p "$new/runs/$2"
    python3 - "$root/" "$1/config.json" "$new/runs/$2/config.json" <<'END'
import sys
root, path, out = sys.argv[1:]
text = open(path).read().replace('"' + root, '"')
if '": "/' in text:
    sys.exit("release.sh: %s: has a path outside %s: %s; make the runs inside the repository, or set ROOT" % (
        path, root, [l.strip() for l in text.split("\n") if '": "/' in l]))
open(out, "w").write(text)
END
    log "$1/log.jsonl" "$new/runs/$2/log.jsonl"
}

# unpath FILE: the same in the metadata of a safetensors file, in which a classifier names its classes
unpath() {
    python3 - "$root/" "$1" <<'END'
import json, struct, sys
root, path = sys.argv[1:]
data = open(path, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
meta = header.get("__metadata__", {})
for key in meta:
    meta[key] = meta[key].replace('"' + root, '"')
    if '": "/' in meta[key]:
        sys.exit("release.sh: %s: its metadata has a path outside %s; make the run inside the repository, or set ROOT" % (
            path, root))
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
open(path, "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
END
}

# same_encoder VAE VAE: the same latents, bit for bit, and the same scaling_factor but for how f32 is written
same_encoder() {
    python3 - "$1" "$2" <<'END'
import json, struct, sys
def encoder(folder):
    data = open(folder + "/diffusion_pytorch_model.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    at = {k: v["data_offsets"] for k, v in json.loads(data[8:8 + n]).items() if k.startswith(("encoder.", "quant_conv."))}
    return {k: data[8 + n + a:8 + n + b] for k, (a, b) in at.items()}
def scaling(folder):
    return json.load(open(folder + "/config.json")).get("scaling_factor", 0.18215)
one, two = sys.argv[1:]
a, b, x, y = encoder(one), encoder(two), scaling(one), scaling(two)
if not a or a != b or abs(x - y) > 1e-6 * abs(x):
    sys.exit("release.sh: %s has another encoder than %s, or another scaling_factor (%r, %r): the diffusion model was not "
             "trained on its latents" % (two, one, y, x))
END
}

cp -R "$1/model" "$new/model"
if [ $# -gt 1 ]; then
    same_encoder "$1/model/vae" "$2/vae"
    cp "$2/vae/diffusion_pytorch_model.safetensors" "$new/model/vae/"
fi
"$imago" convert "$new/model" -o "$new/imago-small" --dtype f16 --max-file $file_most
rm -rf "$new/model"
logs "$1" diffusion
if [ $# -gt 1 ] && grep -q '"train": "decoder"' "$2/config.json"; then
    logs "$2" decoder
    before=$(sed -n 's|^ *"init": "\(.*\)/vae",$|\1|p' "$2/config.json")
    [ -f "$before/config.json" ] || fail "$2: began with $before/vae, and the log of that run is not there"
    logs "$before" autoencoder
elif [ $# -gt 1 ]; then
    logs "$2" autoencoder
fi
if [ $# -gt 2 ]; then
    mkdir "$new/imago-small/classifier"
    "$imago" convert "$3" -o "$new/imago-small/classifier/model.safetensors" --dtype f16
    unpath "$new/imago-small/classifier/model.safetensors"
    logs "$3" classifier
elif [ -d "$to/imago-small/classifier" ]; then
    cp -R "$to/imago-small/classifier" "$new/imago-small/"
fi

if [ -n "${TINY:-}" ]; then
    "$imago" convert "$TINY/vae" -o "$new/imago-small/tiny" --dtype f16
    logs "$TINY" tiny
elif [ -d "$to/imago-small/tiny" ]; then
    cp -R "$to/imago-small/tiny" "$new/imago-small/"
fi

large=$(find "$new" -type f -size +${file_most}c)
[ -z "$large" ] || fail "larger than 16 MiB: $large"
all=$(find "$new" -type f -exec cat {} + | wc -c)
[ "$all" -le $all_most ] || fail "$all bytes together; wanted at most 40 MiB ($all_most)"
if grep -rnE '"(/|[A-Za-z]:\\)[A-Za-z]' "$new" --include='config.json' --include='model_index.json'; then
    fail "the lines above hold paths of this machine"
fi

# All is there: in its place.
rm -rf "$to/imago-small"
mv "$new/imago-small" "$to/imago-small"
mkdir -p "$to/runs"
for run in "$new"/runs/*; do
    rm -rf "$to/runs/${run##*/}"
    mv "$run" "$to/runs/"
done
echo "$to/imago-small and $to/runs: $all bytes"
find "$to/imago-small" "$to/runs" -type f -exec ls -l {} + | awk '{ printf "%10d %s\n", $5, $9 }'
