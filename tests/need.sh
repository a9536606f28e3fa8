#!/bin/sh
# need.sh: are the headers and programs here that a step needs? Debian packages of missing ones are named or installed.
#
#     tests/need.sh build             fails with one line that names what is missing
#     tests/need.sh --install build   installs it first (apt-get; sudo when not root)
#
# Steps: build (the library and the program), check (its tests as well), art (the data of the embedded model),
# experiment, rivals (other engines to measure). Used by the Makefile.
set -u
cc=${CC:-gcc}
install=no
if [ "${1:-}" = --install ]; then install=yes; shift; fi
step=${1:-build}

header() {      # header PACKAGE FILE [DEFINE]: does the compiler find it?
    printf '%s\n#include <%s>\n' "${3:-}" "$2" | $cc -E -x c - >/dev/null 2>&1 || missing="$missing $1"
}
program() {     # program PACKAGE NAME
    command -v "$2" >/dev/null 2>&1 || missing="$missing $1"
}
file() {        # file PACKAGE PATTERN: does any file match?
    # shellcheck disable=SC2086 # the pattern is meant to be expanded
    ls $2 >/dev/null 2>&1 || missing="$missing $1"
}

# What tests can do without; they say so themselves.
wished() {
    missing=
    if [ "$step" = check ]; then
        program chromium chromium                           # the page of `imago serve`
        python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"    # its clients out of PyPI
    fi
}

look() {
    missing=
    program gcc "${cc%% *}"
    header libc6-dev stdio.h
    header libpng-dev png.h
    header libjpeg62-turbo-dev jpeglib.h '#include <stdio.h>'
    header zlib1g-dev zlib.h
    header libarchive-dev archive.h
    header libjansson-dev jansson.h
    header libpcre2-dev pcre2.h '#define PCRE2_CODE_UNIT_WIDTH 8'
    header libutf8proc-dev utf8proc.h
    header libssl-dev openssl/evp.h
    header libcairo2-dev cairo/cairo.h
    header libmicrohttpd-dev microhttpd.h
    header liblapacke-dev lapacke.h
    header liblbfgs-dev lbfgs.h
    if [ "$step" = art ]; then                  # the data of the embedded model: pictures, emoji, words
        file libfreetype-dev "/usr/include/freetype2/ft2build.h"
        program pkg-config pkg-config
        file openclipart-png "/usr/share/openclipart/png/animals"
        file fonts-noto-color-emoji "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
        file unicode-data "/usr/share/unicode/emoji/emoji-test.txt"
        file wordnet-base "/usr/share/wordnet/index.noun"
    fi
    if [ "$step" = experiment ] || [ "$step" = rivals ]; then program python3 python3; fi
    if [ "$step" = rivals ]; then               # other engines, out of PyPI; one of them is compiled
        file python3-venv "/usr/lib/python3*/ensurepip"
        program g++ g++
        program cmake cmake
    fi
    [ "$step" = check ] || return 0
    header check check.h
    file libsubunit-dev "/usr/lib/*/libsubunit.so"
    program python3 python3
    file python3-numpy "/usr/lib/python3/dist-packages/numpy"   # the binding for Python, and what installs it
    file python3-venv "/usr/lib/python3*/ensurepip"
    file python3-setuptools "/usr/lib/python3/dist-packages/setuptools"
    file python3-wheel "/usr/lib/python3/dist-packages/wheel"
    program g++ g++                                         # the simulator of a CUDA device
    file wordnet-base "/usr/share/wordnet/data.noun"        # classes by wnid
    program openmpi-bin mpirun.openmpi                      # trainings of several processes, under both families of MPI
    program mpich mpirun.mpich
    program clang clang
    file libclang-rt-dev "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a"
    # the tests of the neon kernels: a compiler for aarch64 and an emulator to run them (x86 machines only)
    case $(uname -m) in
    x86_64)
        program gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc
        program qemu-user qemu-aarch64
        file libc6-dev-arm64-cross "/usr/aarch64-linux-gnu/include/stdio.h"
        ;;
    esac
}

hint() {
    echo "imago: needs the Debian package(s)$missing: sudo apt-get install$missing" >&2
    exit 1
}

root=
can_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" = 0 ] && return 0
    root=sudo
    command -v sudo >/dev/null 2>&1
}
get() {         # installs $missing; leaves what was said in $log
    echo "installing$missing" >&2
    # shellcheck disable=SC2086 # a list of packages
    { $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1
}

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
look
if [ -n "$missing" ]; then
    [ "$install" = yes ] || hint
    can_install || hint
    if ! get; then
        tail -n 5 "$log" >&2
        hint
    fi
    look
    [ -z "$missing" ] || hint
fi
wished
if [ -n "$missing" ] && [ "$install" = yes ] && can_install; then
    get || echo "not to be had:$missing; tests that need them are skipped" >&2
fi
exit 0
