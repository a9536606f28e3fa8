#!/bin/sh
# embeddings.sh: --embedding and embeddings/ beside the model: files, folders, what a picture says of them, what is refused.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/embeddings.sh [PROGRAM]            default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
words=tests/golden/embeddings
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model --steps 2 -s 3 -q -f "$@"; }

draw -p 'a wool hat' -o "$dir/none.png"
draw -p 'a wool hat' --embedding $words/wool.safetensors -o "$dir/wool.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/none.png" "$dir/wool.png" &&
    grep -aq '"embeddings":\[{"name":"wool","sha256":"' "$dir/wool.png"
check "a word, and the picture says so"
draw -p 'a wool hat' --embedding $words -o "$dir/folder.png"
same_pixels "$dir/folder.png" "$dir/wool.png" && ! grep -aq '<blob>' "$dir/folder.png"
check "a folder of them; what no text uses is not told of"
draw -p 'a hat' --embedding $words -o "$dir/unused.png" && draw -p 'a hat' -o "$dir/hat.png"
same_pixels "$dir/unused.png" "$dir/hat.png"
check "without the word the picture is as without the file"
cp -r $model "$dir/model" && cp -r $words "$dir/model/embeddings" && : >"$dir/model/embeddings/old.pt"
run generate -m "$dir/model" --steps 2 -s 3 -q -p 'a wool hat' -o "$dir/own.png"
[ "$rc" = 0 ] && same_pixels "$dir/own.png" "$dir/wool.png" && grep -q 'left out: old.pt' "$dir/err"
check "embeddings/ in the model's folder, without its pickles"
gives 0 'the same picture as ' generate -m $model --from "$dir/wool.png" --embedding $words -o "$dir/again.png"
gives 1 'was made with the embedding wool (SHA-256 ' generate -m $model --from "$dir/wool.png" -o "$dir/no.png"
gives 0 'was made without the embeddings that its words name here' generate -m $model --from "$dir/none.png" \
    --embedding $words -o "$dir/other.png"
mkdir "$dir/set" && cp "$dir/none.png" "$dir/set/3.png"
gives 1 'its list of embeddings is none, wanted ' generate -m $model --steps 2 -s 3 -p 'a wool hat' --embedding $words \
    --skip-existing -o "$dir/set/"
gives 1 'its vectors have 48 values' generate -p wool --embedding $words/wool.safetensors -o "$dir/no.png"
gives 1 'pickle' generate -m $model -p a --embedding "$dir/a.pt" -o "$dir/no.png"
gives 1 'there is an embedding "wool" already' generate -m $model -p a --embedding $words --embedding \
    $words/wool.safetensors -o "$dir/no.png"
gives 1 'has no embedding for this model' generate -m $model -p a --embedding "$dir/set" -o "$dir/no.png"
gives 1 'is it of another kind of model?' generate -m $model -p a --embedding tests/golden/lora.safetensors \
    -o "$dir/no.png"
[ ! -e "$dir/no.png" ]
check "nothing is drawn then"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
