#!/bin/sh
# tokens.sh: models with tokens beside the vocabulary: their ids, the rows of the text encoder, conversions; the text that a
# prompt is cut to. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/tokens.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 1014 tokens
# shellcheck source=tests/shell.sh
. tests/shell.sh

rows() {        # rows N: the text encoder of $dir/m gets N rows more, and its configuration says so
    python3 - "$dir/m/text_encoder" "$1" <<'PYTHON'
import json, struct, sys
folder, more = sys.argv[1], int(sys.argv[2])
path = folder + "/model.safetensors"
data = open(path, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head, body, out = json.loads(data[8:8 + n]), data[8 + n:], b""
for k, v in head.items():
    if k == "__metadata__": continue
    b = body[slice(*v["data_offsets"])]
    if k.endswith("token_embedding.weight"):
        b += struct.pack("<e", 0.25) * (more * v["shape"][1])
        v["shape"][0] += more
    v["data_offsets"] = [len(out), len(out) + len(b)]
    out += b
text = json.dumps(head).encode()
text += b" " * (-len(text) % 8)
open(path, "wb").write(struct.pack("<Q", len(text)) + text + out)
j = json.load(open(folder + "/config.json"))
j["vocab_size"] += more
json.dump(j, open(folder + "/config.json", "w"))
PYTHON
}
ids() {         # ids MODEL TEXT: the ids without padding
    "$imago" tokenize --json -m "$1" -- "$2" 2>"$dir/err" | python3 -c 'import json, sys
i = json.load(sys.stdin)["ids"]
print(*i[1:i.index(1013)])'
}
draw() { run generate -m "$1" -q -t 1 -s 5 --steps 1 -p "a <cat-toy> horse" -o "$2" --force; }
cp -r "$model" "$dir/m" && chmod -R u+w "$dir/m"
plain=$(ids "$dir/m" "a <cat-toy> horse")
echo '{"<cat-toy>": 1014}' >"$dir/m/tokenizer/added_tokens.json"
[ "$(ids "$dir/m" "a <cat-toy> horse")" = "320 1014 71 523 611" ] && [ "$plain" != "320 1014 71 523 611" ]
check "added_tokens.json is read"
draw "$dir/m" "$dir/o.png"
[ "$rc" = 1 ] && grep -q "its tokenizer has 1015 tokens, but its text encoder knows 1014" "$dir/err"
check "a token without a row of the text encoder is refused (found $rc)"
rows 1
draw "$dir/m" "$dir/o.png"
[ "$rc" = 0 ]
check "with its row it is drawn (found $rc)"
cp "$dir/o.png" "$dir/want.png"
rm "$dir/m/tokenizer/added_tokens.json"
draw "$dir/m" "$dir/o.png"
[ "$rc" = 0 ] && ! cmp -s "$dir/o.png" "$dir/want.png"
check "without it the words are drawn"
echo '{"<cat-toy>": 1014}' >"$dir/m/tokenizer/added_tokens.json"
run convert "$dir/m" -o "$dir/one.safetensors"
draw "$dir/one.safetensors" "$dir/o.png"
[ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/want.png"
check "a single file takes the token along (found $rc)"
[ "$(ids "$dir/one.safetensors" "a <cat-toy> horse")" = "320 1014 71 523 611" ]
check "... and tokenize reads it there"
run convert "$dir/one.safetensors" -o "$dir/back"
draw "$dir/back" "$dir/o.png"
[ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/want.png" && [ -s "$dir/back/tokenizer/added_tokens.json" ]
check "... and back into a folder (found $rc)"

# the same token in the two other layouts
rm "$dir/m/tokenizer/added_tokens.json"
python3 - "$dir/m/tokenizer/tokenizer_config.json" <<'PYTHON'
import json, sys
j = json.load(open(sys.argv[1]))
j["added_tokens_decoder"] = {"1014": dict(content="<cat-toy>", lstrip=True, rstrip=False, normalized=True,
                                          single_word=False)}
json.dump(j, open(sys.argv[1], "w"))
PYTHON
draw "$dir/m" "$dir/o.png"
[ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/want.png"
check "added_tokens_decoder of tokenizer_config.json (found $rc)"
cp "$model/tokenizer/tokenizer_config.json" "$dir/m/tokenizer/" && chmod u+w "$dir/m/tokenizer/tokenizer_config.json"
python3 - "$dir/m/tokenizer" <<'PYTHON'
import json, os, sys
d = sys.argv[1]
j = json.load(open("tests/golden/models/b_resaved/tokenizer/tokenizer.json"))
j["added_tokens"].append(dict(id=1014, content="<cat-toy>", lstrip=False, rstrip=False, normalized=True,
                              single_word=False, special=False))
json.dump(j, open(d + "/tokenizer.json", "w"))
for f in ("vocab.json", "merges.txt", "special_tokens_map.json"): os.remove(d + "/" + f)
PYTHON
draw "$dir/m" "$dir/o.png"
[ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/want.png"
check "tokenizer.json (found $rc)"

# ---------------------------------------------------------------- damaged vocabularies
rm -rf "$dir/m"
cp -r "$model" "$dir/m" && chmod -R u+w "$dir/m"
for lines in 0 1 200 500; do
    head -n $lines "$model/tokenizer/merges.txt" >"$dir/m/tokenizer/merges.txt"
    draw "$dir/m" "$dir/cut.png"
    [ "$rc" = 1 ] && grep -q "merges.txt: .* come from none of its .* the file is cut off or belongs" "$dir/err" &&
        [ ! -e "$dir/cut.png" ]
    check "merges.txt cut to $lines lines is refused (found $rc)"
done
{ printf '\357\273\277'; cat "$model/tokenizer/merges.txt"; } >"$dir/m/tokenizer/merges.txt"
[ "$(ids "$dir/m" "a horse")" = "$(ids "$model" "a horse")" ]
check "merges.txt with a byte order mark"

# ---------------------------------------------------------------- what is cut
words=$(printf 'a %.0s' $(seq 74))
run generate -m "$model" -q -t 1 --steps 1 -p "${words}A  <|ENDOFTEXT|> In The Garden" -o "$dir/o.png" --force
[ "$rc" = 0 ] && grep -qF 'left out: "<|ENDOFTEXT|> In The Garden"' "$dir/err"
check "the warning quotes what is cut as it was written (found $rc)"
run tokenize -m "$model" -- "${words}A  In THE Garden"
[ "$rc" = 0 ] && grep -qF 'cut: "In THE Garden"' "$dir/err"
check "... by tokenize as well (found $rc)"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
