#!/bin/sh
# check_layers.sh: the layer rules. An include may only point down: cli > models > data > tensor; inside src/tensor the
# ops never name a backend, and the backends (ref, cpu, src/cuda) are blind to each other. Prints every line that breaks
# a rule, with the rule; ends with 1 if there was one.
#
#     tests/check_layers.sh [ROOT]
set -u
cd "${1:-$(dirname "$0")/..}" || exit 2
found=$(mktemp) || exit 2
trap 'rm -f "$found"' EXIT
hit() {         # hit RULE: lines on stdin break it
    awk -v rule="$1" '{ print $0 "    <- " rule }' >>"$found"
}
sources() {     # sources DIR: its C files, not those of folders in it
    find "$1" -maxdepth 1 -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.def' \) 2>/dev/null
}

# may DIR REGEX: quoted includes of the files right in DIR are of this form, and no other
may() {
    sources "$1" | sort | xargs -r grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
        grep -vE "include[[:space:]]*\"($2)\"" | hit "src/${1#src/} includes only $2"
}
may src            'imago(_engine|_generate|_train)\.h'
may src/tensor     'imago_engine\.h|tensor/[a-z0-9_]+\.(h|def)'
may src/tensor/ops 'imago_engine\.h|tensor/[a-z0-9_]+\.h'
may src/tensor/ref 'imago_engine\.h|tensor/(device|host|int8|parallel|half|memory|peak)\.h|tensor/ref/[a-z0-9_]+\.h'
may src/tensor/cpu 'imago_engine\.h|tensor/(compute|copies|device|host|int8|parallel|half|memory|peak)\.h|'\
'tensor/cpu/[a-z0-9_]+\.h'
may src/tensor/far 'imago_engine\.h|tensor/(device|host)\.h'
may src/cuda       'imago_engine\.h|tensor/(device|parallel|half|memory|memory_pool|peak)\.h|'\
'cuda/[a-z0-9_]+\.cuh?|cuda/[a-z0-9_]+\.h'
# The rooms of src/data and src/models are floors: data: files < images, text < sets; models: nets, schedulers <
# checkpoints < pipelines, eval (blind to each other) < train.
low='imago\.h|tensor/(parallel|half|memory)\.h'
may src/data              'none'
may src/data/files        "$low|data/files/[a-z0-9_]+\.h|structs\.h"
may src/data/images       "$low|data/(files|images)/[a-z0-9_]+\.h"
may src/data/text         "$low|data/(files|text)/[a-z0-9_]+\.h"
may src/data/sets         "$low|data/[a-z]+/[a-z0-9_]+\.h"
may src/models            'none'
may src/models/nets       'imago_engine\.h|data/files/mix64\.h|models/nets/[a-z0-9_]+\.h'
may src/models/schedulers 'imago_engine\.h|models/schedulers/[a-z0-9_]+\.h'
may src/models/checkpoints 'imago\.h|data/[a-z]+/[a-z0-9_]+\.h|models/(nets|schedulers|checkpoints)/[a-z0-9_]+\.h'
above='imago\.h|data/[a-z]+/[a-z0-9_]+\.h|models/(nets|schedulers|checkpoints'
may src/models/pipelines  "$above|pipelines)/[a-z0-9_]+\.h"
may src/models/eval       "$above|eval)/[a-z0-9_]+\.h"
may src/models/train      'imago\.h|data/[a-z]+/[a-z0-9_]+\.h|models/[a-z]+/[a-z0-9_]+\.h'
may src/cli        'imago\.h|bench/measure\.h|data/[a-z]+/[a-z0-9_]+\.h|cli/[a-z0-9_]+\.h|commit\.h'
may src/cli/serve  'imago\.h|data/[a-z]+/[a-z0-9_]+\.h|cli/(serve/)?[a-z0-9_]+\.h'
# the benchmarks are of the program, but see the inside of the engine and of training
may bench          'imago\.h|bench/[a-z]+\.h|tensor/[a-z]+\.h|models/train/[a-z0-9_]+\.h'

# never RULE PATHS REGEX [EXCEPT]: no line under PATHS has REGEX, but in files that EXCEPT names
never() {
    # shellcheck disable=SC2086 # a list of folders
    grep -rnHE --include='*.[ch]' --include='*.cu' --include='*.cuh' "$3" $2 2>/dev/null |
        grep -vE "^(${4:-nothing}):" | hit "$1"
}
include='#[[:space:]]*include[[:space:]]*[<"]'
never 'vector intrinsics belong into src/tensor/cpu' src \
      "$include(immintrin|[a-z]*mmintrin|x86intrin|arm_neon|arm_sve)\.h" 'src/tensor/cpu/[a-z0-9_]+\.h'
never 'OpenMP belongs into src/tensor/parallel.c' src \
      "${include}omp\.h|#[[:space:]]*pragma[[:space:]]+omp|omp_get_|omp_set_" 'src/tensor/parallel\.c'
never 'CUDA belongs into src/cuda' src "$include(cuda|cublas|nccl|mma)[A-Za-z0-9_]*\.h" \
      'src/cuda/[a-z0-9_/]+\.(c|h|cu|cuh)'
never 'an op calls its kernel through the table' src/tensor/ops 'im_(ref|cpu|cuda)_|\<(avx2|avx512|neon|cuda)\>'
never 'ref is blind to the other backends' src/tensor/ref 'im_(cpu|cuda)_'
never 'cpu is blind to the other backends' src/tensor/cpu 'im_(ref|cuda)_'
never 'far is blind to the other backends, but for the table of ref' src/tensor/far 'im_(cpu|cuda)_|im_ref_[a-jl-z]'
never 'cuda is blind to the other backends' src/cuda 'im_(ref|cpu)_'
never 'only tensor touches the memory of tensors: im_upload, im_download' 'src/data src/models src/cli' \
      '\<im_data\>|storage->data'
never 'only tensor sees what a context holds' 'src/data src/models src/cli' '(->|\.)dev\.k\.|c->(dev|scope|mode|plan)\>'
library='src/tensor src/data src/models src/cuda'
never 'the library never exits' "$library" '\<(exit|_exit|abort|quick_exit)[[:space:]]*\('
never 'the library never prints' "$library" \
      '\<(printf|puts|putchar|perror|vprintf)[[:space:]]*\(|\<(stdout|stderr)\>'

# Nothing is switched by the preprocessor: features are chosen at link time or by a table. Left are include guards, the
# language and compiler in headers, and the instruction set in src/tensor/cpu.
sources_all() { find src -name '*.[ch]' | sort; }
sources_all | xargs -r grep -nHE '^[[:space:]]*#[[:space:]]*(if|ifdef|ifndef|elif)\>' |
    grep -vE '^[^:]+\.h:[0-9]+:#ifndef [A-Z0-9_]+_H$|__cplusplus|__GNUC__|__clang__|^src/tensor/cpu/' |
    hit 'no #if for features'

sed 's/^/  /' "$found"
[ ! -s "$found" ] || { echo "check_layers: $(wc -l <"$found") line(s) break a rule"; exit 1; }
echo "check_layers: $(sources_all | wc -l) files keep the layers"
