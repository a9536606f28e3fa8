#!/bin/sh
# neon_root.sh: the libraries that imago and its tests link, for aarch64, unpacked into a folder for cross-compiling.
#
#     tests/neon_root.sh FOLDER         FOLDER/usr/include, FOLDER/usr/lib/aarch64-linux-gnu/*.a
#
# They are Debian's own packages, had by apt-get with lists of its own: nothing is installed on this machine, no
# architecture is added to it, and root is not needed.
set -eu
root=$1
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "imago: the neon tests fetch Debian packages with apt-get, which is not here; NEON=no leaves them out" >&2
    exit 1
fi
rm -rf "$root" "$root.new"
mkdir -p "$root.new/apt/lists/partial" "$root.new/apt/archives/partial"
cd "$root.new"
new=$(pwd)
apt() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$new/apt" \
        -o Dir::State::status=/dev/null -o Dir::Cache="$new/apt" -o APT::Sandbox::User="$(id -un)" "$@" >>log 2>&1 ||
        { tail -n 5 log >&2
          echo "imago: apt-get $1 for arm64 failed; NEON=no leaves the neon tests out" >&2
          exit 1; }
}
apt update
apt download zlib1g-dev libpng-dev libjpeg62-turbo-dev libarchive-dev libjansson-dev libpcre2-dev \
    libutf8proc-dev libssl-dev check libsubunit-dev
for package in *.deb; do
    dpkg-deb -x "$package" .
done
rm -rf apt log ./*.deb
mv "$new" "../$(basename "$root")"
