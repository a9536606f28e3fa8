#!/bin/sh
# explain.sh: `imago explain`: the page is one file that parses and asks for nothing; its tokens, its opened convolution and
# its gradient are those that other ways give; what is typed wrong. In headless Chromium, where there is one: the slider
# moves the pictures, nothing is wider than a phone, the page prints. Prints what fails and, last, the counts.
#
#     tests/cli/explain.sh [PROGRAM]         default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh

# ---------------------------------------------------------------- a whole page of the embedded model
run explain -p strawberry --steps 6 -s 1 -q -o "$dir/page.html"
[ "$rc" = 0 ] && [ -s "$dir/page.html" ] && grep -q "page.html" "$dir/out" && [ ! -s "$dir/err" ]
check "a page of the embedded model (found $rc)"
run tokenize --json -m weights/imago-small -- strawberry
cp "$dir/out" "$dir/ids.json"
python3 tests/explain_page.py "$dir/page.html" "$dir/ids.json" >"$dir/err" 2>&1
check "it parses, asks for nothing, and its numbers agree"
run generate -p strawberry --steps 6 -s 1 --guidance 5 -q -o "$dir/same.png"
python3 tests/explain_page.py --picture "$dir/page.html" "$dir/same.png" >"$dir/err" 2>&1
check "its picture is that of the command that it names"
python3 tests/explain_page.py --map "$dir/page.html" tests/golden/daam_strawberry.json >"$dir/err" 2>&1
check "its map of the word is the one made with diffusers"

# ---------------------------------------------------------------- another model, an odd size, one step, a long prompt
words=$(printf 'cat %.0s' $(seq 80))
run explain -m "$model" -p "$words" --other dog -n "a <b> & c" --steps 1 -g 1 -W 72 -H 40 -t 1 -q -o "$dir/small.html"
[ "$rc" = 0 ] && grep -q 'Cut, and not seen by the model: <b>.*cat cat</b>' "$dir/small.html" &&
    ! grep -q '<b> & c' "$dir/small.html"
check "one step, no guidance, an odd size, a long prompt (found $rc)"
python3 tests/explain_page.py "$dir/small.html" >"$dir/err" 2>&1
check "... parses, and its numbers agree"
run explain -m "$model" -p "" --steps 2 -t 1 -q --device ref -o "$dir/empty.html"
[ "$rc" = 0 ] && python3 tests/explain_page.py "$dir/empty.html" >"$dir/err" 2>&1
check "an empty prompt on the ref device (found $rc)"

# ---------------------------------------------------------------- what is typed wrong
gives 2 "-p TEXT is missing" explain -o "$dir/x.html"
gives 2 "-o PAGE.html is missing" explain -p cat
gives 2 "wanted one of them" explain -p cat --train "$dir" -o "$dir/x.html"
gives 1 "--force" explain -p cat -o "$dir/page.html"
gives 1 "no-such-folder" explain -m "$dir/no-such-folder" -p cat -q -o "$dir/x.html"
gives 1 "is a folder" explain -p cat -q -o "$dir"
touch "$dir/file"
gives 1 "$dir/file" explain -p cat -q -o "$dir/file/x.html"
gives 1 "/dev/full" explain -p cat -s -1 -q -o /dev/full
gives 2 '--seed is "-2"' explain -p cat -s -2 -o "$dir/x.html"
gives 1 'make one, or name another with --lora-dir, which generate, trace, synth and serve have' \
    explain -m "$model" -t 1 -q -p '<lora:x:1>' -o "$dir/x.html"
gives 2 "steps" explain -p cat --steps 0 -o "$dir/x.html"
gives 1 "no-such" explain -p cat -q --scheduler no-such -o "$dir/x.html"
gives 1 "scheduler euler has no eta" explain -p cat -q --scheduler euler --eta 0.5 -o "$dir/x.html"
[ ! -e "$dir/x.html" ]
check "nothing was written"

# ---------------------------------------------------------------- a training
python3 - "$dir/set" <<'PYTHON'
import os, random, struct, sys, zlib
random.seed(1)
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
for k in "ab":
    os.makedirs(f"{sys.argv[1]}/{k}")
    for i in range(4):
        rows = b"".join(b"\0" + bytes(random.randrange(256) for _ in range(96)) for _ in range(32))
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) + \
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        open(f"{sys.argv[1]}/{k}/{i}.png", "wb").write(png)
PYTHON
run train resnet --data "$dir/set" --arch resnet18 --width 8 --size 32 --augment plain --batch 4 --epochs 3 -t 1 -q \
    -o "$dir/run"
[ "$rc" = 0 ]
check "a small training (found $rc)"
run explain --train "$dir/run" -o "$dir/run.html"
[ "$rc" = 0 ] && python3 tests/explain_page.py --train "$dir/run.html" "$dir/run/log.jsonl" >"$dir/err" 2>&1
check "its page parses, and its epochs are those of the log (found $rc)"
gives 1 "--force" explain --train "$dir/run" -o "$dir/run.html"
rm "$dir/run.html" "$dir/run/log.jsonl"
run explain --train "$dir/run" -o "$dir/run.html"
[ "$rc" = 1 ] && grep -q "log.jsonl" "$dir/err" && [ ! -e "$dir/run.html" ]
check "a run without a log (found $rc)"
run explain --train "$dir/no-run" -o "$dir/run.html"
[ "$rc" = 1 ] && grep -q "no-run" "$dir/err" && [ ! -e "$dir/run.html" ]
check "a run that is not there (found $rc)"

# ---------------------------------------------------------------- in a browser
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
chrome() {
    "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$dir/chrome" "$@" 2>/dev/null
}
if [ -z "$browser" ] || ! chrome --dump-dom "data:text/html,<p>here" | grep -q here; then
    echo "SKIP the page in a browser: no chromium here that starts"
    skipped=$((skipped + 1))
else
    # what the browser finds is written into the title by a script behind the page's own
    cat >"$dir/script" <<'SCRIPT'
<script>(function () {
  var s = document.getElementById("slider-steps"), f = document.querySelector("[data-film=steps]"), a = [];
  function place() { return getComputedStyle(f).backgroundPositionX; }
  a.push(place());
  s.value = 0;
  s.dispatchEvent(new Event("input"));
  a.push(place(), document.querySelector("output").textContent, document.documentElement.scrollWidth, innerWidth);
  document.title = a.join(";");
})()</script>
SCRIPT
    { sed '/<.body>/d' "$dir/page.html"; cat "$dir/script"; echo '</body></html>'; } >"$dir/moved.html"
    title=$(chrome --window-size=500,800 --dump-dom "file://$dir/moved.html" |
            sed -n 's|.*<title>\([^<]*\)</title>.*|\1|p' | head -n 1)
    echo "$title" | awk -F ';' '{ exit !($1 != $2 && $3 == "1 of 7") }' 2>"$dir/err"
    check "the slider moves picture and text (found $title)"
    echo "$title" | awk -F ';' '{ exit !($4 > 0 && $4 <= $5) }'
    check "nothing is wider than a narrow window (found $title)"
    chrome --window-size=500,4000 --screenshot="$dir/last.png" "file://$dir/page.html"
    chrome --window-size=500,4000 --screenshot="$dir/first.png" "file://$dir/moved.html"
    [ -s "$dir/last.png" ] && [ -s "$dir/first.png" ] && ! cmp -s "$dir/last.png" "$dir/first.png"
    check "... and what is seen changes with it"
    chrome --no-pdf-header-footer --print-to-pdf="$dir/page.pdf" "file://$dir/page.html"
    [ "$(head -c 5 "$dir/page.pdf")" = "%PDF-" ] && [ "$(wc -c <"$dir/page.pdf")" -gt 50000 ]
    check "it prints"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
