#!/bin/sh
# environment.sh: what the program reads of the environment: a wrong value is an error that names the variable, and never
# another model or another way of computing. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/environment.sh [PROGRAM]          default: build/imago
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
unset IMAGO_WEIGHTS IMAGO_WINOGRAD

draws() { gives "$1" "$2" generate -p strawberry -s 1 --steps 1 -t 1 -o "$dir/$3.png"; }
mkdir "$dir/empty"
draws 0 one.png one
IMAGO_WEIGHTS=$dir/none draws 1 "IMAGO_WEIGHTS is \"$dir/none\", which is not a folder; wanted the folder of a model" none
IMAGO_WEIGHTS=$dir/empty draws 1 "IMAGO_WEIGHTS is \"$dir/empty\", in which there is no model; wanted" empty
[ ! -e "$dir/none.png" ] && [ ! -e "$dir/empty.png" ]
check "a wrong IMAGO_WEIGHTS draws nothing"
IMAGO_WEIGHTS=weights draws 0 two.png two
IMAGO_WEIGHTS=weights/imago-small draws 0 three.png three
IMAGO_WEIGHTS='' draws 0 four.png four
cmp -s "$dir/one.png" "$dir/two.png" && cmp -s "$dir/one.png" "$dir/three.png" && cmp -s "$dir/one.png" "$dir/four.png"
check "IMAGO_WEIGHTS as the folder of the model, as the one above it, and empty"
IMAGO_ISA=sse9 draws 1 'instruction set "sse9" (--isa or IMAGO_ISA)' isa
IMAGO_WINOGRAD=off draws 1 'IMAGO_WINOGRAD is "off"; wanted 0' winograd
IMAGO_ISA='' IMAGO_WINOGRAD='' draws 0 five.png five
TMPDIR=$dir/none gives 1 'set TMPDIR to a folder' bench train --arch loader --from jpeg -r 1

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
