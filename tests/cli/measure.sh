#!/bin/sh
# measure.sh: `imago analyze`, `transfer` and `compare` on small sets of clones: fields, features that anyone can compute
# with again, what is refused. Values beside numpy's and scikit-learn's: tests/test_analysis.c. Prints what fails and, last,
# "N passed, N failed, N skipped".
#
#     tests/cli/measure.sh [PROGRAM]        default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh

printf '%s\n' 'strawberry | fruit' 'cat | animal' 'tree | plant' >"$dir/three.txt"
clones() {      # clones SET PICTURES SEED
    run synth -m tests/golden/models/a --classes "$dir/three.txt" --per-class "$2" --steps 1 --scheduler ddim -t 1 -q \
        -s "$3" -o "$dir/$1"
}
clones set 6 1 && [ "$rc" = 0 ] && clones other 5 2 && [ "$rc" = 0 ] &&
    run train resnet --data "$dir/set" --arch resnet18 --width 8 --small-stem --size 32 --batch 6 --epochs 2 --lr 0.01 -q \
        -t 1 -o "$dir/run"
[ "$rc" = 0 ]
check "sets of clones and a classifier"
same_numbers() {                                  # same_numbers VERB: but for the command, what VERB.json has
    grep -v '"command"' "$dir/out" >"$dir/now" && grep -v '"command"' "$dir/$1.json" | cmp -s - "$dir/now"
}
python_on() { python3 - "$@" 2>"$dir/err"; }

# ---- analyze
run analyze -m "$dir/run" --data "$dir/other" --json -q -t 1 --save-features "$dir/f.safetensors"
[ "$rc" = 0 ]
check "analyze --json"
python_on "$dir/out" "$dir/f.safetensors" <<'PYTHON'
import json, math, struct, sys
said = json.load(open(sys.argv[1]))
b = open(sys.argv[2], "rb").read()
n = struct.unpack("<Q", b[:8])[0]
head = json.loads(b[8:8 + n])
def tensor(name, code):
    at, end = (8 + n + x for x in head[name]["data_offsets"])
    return struct.unpack("<%d%s" % ((end - at) // struct.calcsize(code), code), b[at:end])
flat, labels = tensor("features", "f"), tensor("labels", "q")
rows = [flat[64 * i:64 * i + 64] for i in range(15)]
assert said["pictures"] == 15 and said["width"] == 64 and said["classes"] == 3, said
threshold = said["constants"]["sparsity_threshold"]
assert threshold == 1e-5 and said["constants"]["coding_length_eps2"] == .5 and said["constants"]["size"] == 32
sparsity = sum(abs(v) < threshold for v in flat) / len(flat)
assert abs(said["sparsity"] - sparsity) < 1e-9, (said["sparsity"], sparsity)
unit = [[v / math.sqrt(sum(w * w for w in r)) for v in r] for r in rows]
means = []
for k in range(3):
    own = [r for r, label in zip(unit, labels) if label == k]
    far = [math.dist(a, b) for i, a in enumerate(own) for b in own[:i]]
    means.append(sum(far) / len(far))
assert abs(said["intra_class_distance"] - sum(means) / 3) < 1e-5
assert [round(r["intra_class_distance"], 5) for r in said["per_class"]] == [round(m, 5) for m in means]
assert abs(sum(r["gap"] for r in said["per_class"])) < 1e-9 and 0 <= said["top1"] <= 1
assert 0 < said["feature_redundancy"] < 1 and said["coding_length"] > 0
PYTHON
check "analyze: sparsity and distances are those of the features it saves"
[ -n "$(ls "$dir/run/features" 2>/dev/null)" ]
check "features are kept beside the weights"
run analyze -m "$dir/run" --against "$dir/run" --data "$dir/other" --json -q -t 1
python_on "$dir/out" <<'PYTHON'
import json, sys
said = json.load(open(sys.argv[1]))
assert all(r["gap"] == 0 for r in said["per_class"]) and said["against"]["sparsity"] == said["sparsity"]
PYTHON
check "analyze --against itself: no gap"
mkdir "$dir/renamed" && cp -r "$dir/other/cat" "$dir/renamed/lynx" && cp -r "$dir/other/tree" "$dir/renamed/bush"
run analyze -m "$dir/run" --data "$dir/renamed" --json -q -t 1
[ "$rc" = 0 ] && grep -q '"top1": null' "$dir/out" && grep -q '"gap": null' "$dir/out"
check "analyze: classes that the classifier has not: no top-1"
gives 2 'DIR is missing' analyze -m "$dir/run"
gives 1 'cannot be opened' analyze -m "$dir/run" --data "$dir/none" -q
gives 1 'is a wnid of ImageNet' analyze -m "$dir/run" --data "$dir/other" --set imagenet-a -q
gives 1 'Not a directory' analyze -m "$dir/run" --data "$dir/other" --save-features "$dir/three.txt/f" -q
mkdir "$dir/broken" && cp -r "$dir/other/cat" "$dir/other/tree" "$dir/broken" && echo no >"$dir/broken/cat/no.png" &&
    head -c 300 "$dir/other/cat/000000.png" >"$dir/broken/cat/000000.png"
gives 1 'features need every one' analyze -m "$dir/run" --data "$dir/broken" -q

cp "$dir/run/model.safetensors" "$dir/nan.safetensors"
python_on "$dir/nan.safetensors" <<'PYTHON'
import json, struct, sys
f = open(sys.argv[1], "r+b")
n = struct.unpack("<Q", f.read(8))[0]
f.seek(8 + n + json.loads(f.read(n))["fc.bias"]["data_offsets"][0])
f.write(struct.pack("<f", float("nan")))
PYTHON
gives 1 'that is not finite with' analyze -m "$dir/nan.safetensors" --data "$dir/other" -q
gives 1 'that is not finite with' compare -m "$dir/nan.safetensors" "$dir/set" "$dir/other" -q

# ---- transfer
run transfer -m "$dir/run" --train "$dir/set" --test "$dir/other" --trials 4 --few-shot 1,3 --seeds 2 --json -q -t 1 \
    --save-features "$dir/t.safetensors"
[ "$rc" = 0 ]
check "transfer --json"
cp "$dir/out" "$dir/transfer.json"
python_on "$dir/out" <<'PYTHON'
import json, sys
said = json.load(open(sys.argv[1]))
assert said["pictures"] == 15 and said["train_pictures"] == 18 and said["classes"] == 3 and said["width"] == 64
k = said["constants"]
assert k["held_out"] == 3 and k["trials"] == 4 and k["C_range"] == [1e-5, 1e6] and k["filter"] == "bicubic", k
assert said["verb"] == "transfer" and said["command"].startswith("imago transfer -m /"), said["command"]
assert k["max_iterations"] == 2000 and k["size"] == k["resize"] == 32
assert 1e-5 <= said["C"] <= 1e6 and 0 <= said["top1"] <= 1 and 0 <= said["val_top1"] <= 1
assert [(r["shots"], len(r["draws"])) for r in said["few_shot"]] == [(1, 2), (3, 2)]
for row in said["few_shot"]:
    tops = [d["top1"] for d in row["draws"]]
    assert abs(row["top1"] - sum(tops) / 2) < 1e-12
PYTHON
check "transfer: fields and constants"
[ -s "$dir/t.train.safetensors" ] && [ -s "$dir/t.test.safetensors" ]
check "transfer --save-features"
run transfer -m "$dir/run" --train "$dir/set" --test "$dir/other" --trials 4 --few-shot 1,3 --seeds 2 --json -q -t 2 -b 7
same_numbers transfer
check "transfer: the same on two threads and at another batch"
run transfer -m "$dir/run" --train "$dir/set" --test "$dir/set" --cost 1e6 --json -q -t 1
grep -q '"top1": 1.0' "$dir/out" && grep -q '"val_top1": null' "$dir/out"
check "transfer --cost: pictures that it was trained on are right"
run transfer -m "$dir/run" --train "$dir/set" --test "$dir/other" --protocol sgd --trials 2 --epochs 3 --json -q -t 1
[ "$rc" = 0 ] && grep -q '"lr":' "$dir/out" && grep -q '"momentum": 0.9' "$dir/out"
check "transfer --protocol sgd"
gives 1 'too few for --few-shot 6' transfer -m "$dir/run" --train "$dir/set" --test "$dir/other" --few-shot 2,6 -q
gives 2 'wanted up to' transfer -m "$dir/run" --train "$dir/set" --test "$dir/other" --few-shot 2,x
gives 2 '--cost belongs' transfer -m "$dir/run" --train "$dir/set" --test "$dir/other" --protocol sgd --cost 1
gives 2 '--test DIR is missing' transfer -m "$dir/run" --train "$dir/set"
gives 1 'was trained on 3' transfer -m "$dir/run" --train "$dir/set" --test "$dir/renamed" -q
mkdir "$dir/one" && cp -r "$dir/set/cat" "$dir/one/cat" && mkdir "$dir/one/tree" &&
    cp "$dir/set/tree/000000.png" "$dir/one/tree"
gives 1 'class "tree" has 1 picture:' transfer -m "$dir/run" --train "$dir/one" --test "$dir/one" -q

# ---- compare
run compare "$dir/set" "$dir/other" -m "$dir/run" --k 2 --json -q -t 1 --save-features "$dir/c.safetensors"
[ "$rc" = 0 ]
check "compare --json"
cp "$dir/out" "$dir/compare.json"
python_on "$dir/out" <<'PYTHON'
import json, sys
said = json.load(open(sys.argv[1]))
assert [s["pictures"] for s in said["sets"]] == [18, 15] and said["constants"]["k"] == 2
assert said["feature_net"].endswith("/run/model.safetensors") and said["recognizer"] == said["feature_net"]
assert said["frechet"] > 0 and all(0 <= said[k] <= 1 for k in ("precision", "recall", "coverage", "recognizability"))
assert 1 < said["vendi"] == said["sets"][1]["vendi"] <= 15
PYTHON
check "compare: fields and constants"
[ -s "$dir/c.1.safetensors" ] && [ -s "$dir/c.2.safetensors" ]
check "compare --save-features"
run compare "$dir/set" "$dir/other" -m "$dir/run" --k 2 --json -q -t 2 -b 5
same_numbers compare
check "compare: the same on two threads and at another batch"
run compare "$dir/set" "$dir/set" -m "$dir/run" --json -q -t 1
python_on "$dir/out" <<'PYTHON'
import json, sys
said = json.load(open(sys.argv[1]))
assert abs(said["frechet"]) < 1e-6 and said["precision"] == said["recall"] == said["coverage"] == 1, said
PYTHON
check "compare: a set beside itself"
run eval -m "$dir/run" --data "$dir/other" --json -q -t 1
top1=$(sed -n 's/^ "top1": \(.*\),$/\1/p' "$dir/out")
grep -q "^ \"recognizability\": $top1,$" "$dir/compare.json"
check "compare: recognizability is top-1"
cp -r "$dir/other/cat" "$dir/flat"
run compare "$dir/set" "$dir/flat" -m "$dir/run" --recognizer "$dir/run" --k 2 --json -q -t 1
[ "$rc" = 0 ] && grep -q '^ "recognizability": null' "$dir/out"
check "compare: pictures without classes"
IMAGO_WEIGHTS=$PWD/weights run compare "$dir/set" "$dir/other" -q -t 1
[ "$rc" = 0 ] && grep -q 'imago-small/classifier' "$dir/out"
check "compare without -m: the embedded classifier, named"
gives 1 'more than 5' compare -m "$dir/run" "$dir/set" "$dir/flat" -q
gives 2 'SET|DIR SET|DIR is missing' compare "$dir/set"

# ---- CLIP
"${imago%/*}/tests/test_clip" --write "$dir" >"$dir/err" 2>&1
check "a folder with CLIP"
run compare "$dir/set" "$dir/other" -m "$dir/run" --k 2 --clip "$dir/clip" --json -q -t 1
[ "$rc" = 0 ] && grep -q '^ "cmmd": [0-9]' "$dir/out" && grep -q '"cmmd": null' "$dir/compare.json"
check "compare --clip: CMMD"
run compare "$dir/set" "$dir/set" -m "$dir/run" --clip "$dir/clip" --json -q -t 2
python_on "$dir/out" <<'PYTHON'
import json, sys
assert abs(json.load(open(sys.argv[1]))["cmmd"]) < 1e-6
PYTHON
check "compare --clip: a set beside itself"
run eval -m "$dir/clip" --data "$dir/other" --zero-shot "$dir/three.txt" --json -q -t 1 -o "$dir"
[ "$rc" = 0 ] && grep -q '"template": "a photo of a %s."' "$dir/out" && grep -q '"pictures": 15' "$dir/out"
check "eval --zero-shot"
cp "$dir/out" "$dir/eval.json"
run eval -m "$dir/clip" --data "$dir/other" --zero-shot "$dir/three.txt" --json -q -t 2 -b 4 -o "$dir"
same_numbers eval
check "eval --zero-shot: the same on two threads and at another batch"
gives 2 '--template goes with --zero-shot' eval -m "$dir/run" --data "$dir/other" --template '%s'
gives 1 'config.json' eval -m "$dir/run" --data "$dir/other" --zero-shot "$dir/three.txt"
run synth -m tests/golden/models/a --classes "$dir/three.txt" --per-class 4 --steps 1 --scheduler ddim -t 1 -q \
    --filter "clip=$dir/clip:keep=.5" -o "$dir/sifted"
python_on "$dir/sifted" <<'PYTHON'
import json, sys
gone = [json.loads(l) for l in open(sys.argv[1] + "/dropped.jsonl")]
assert len(gone) == 6 and all(-1 <= r["score"] <= 1 for r in gone) and len({r["score"] for r in gone}) == 6, gone
assert json.load(open(sys.argv[1] + "/manifest.json"))["filter"].startswith("clip ")
PYTHON
check "synth --filter clip=DIR:keep=.5"

# ---- report: two seeds of one training, one of another
cp -r "$dir/run" "$dir/real-s1"
for r in real-s2 "synth <b>"; do
    run train resnet --data "$dir/set" --arch resnet18 --width 8 --small-stem --size 32 --batch 6 --epochs 2 --lr 0.01 -q \
        -t 1 -s ${#r} -o "$dir/$r"
done
for r in real-s1 real-s2 "synth <b>"; do
    mkdir -p "$dir/$r/results"
    for test in set other renamed; do
        data=$test
        [ $test = renamed ] && data=other
        "$imago" eval -m "$dir/$r" --data "$dir/$data" --json -q -t 1 -o "$dir" >"$dir/$r/results/eval-$test.json"
    done
    "$imago" analyze -m "$dir/$r" --data "$dir/other" --json -q -t 1 >"$dir/$r/results/analyze-other.json"
    "$imago" transfer -m "$dir/$r" --train "$dir/set" --test "$dir/other" --trials 2 --few-shot 1,2 --seeds 2 --json -q \
        -t 1 >"$dir/$r/results/transfer-other.json"
done 2>"$dir/err"
run report "$dir/real-s1" "$dir/real-s2" "$dir/synth <b>" "$dir/compare.json" --title 'A & B' --plots "$dir/plots" \
    -o "$dir/page.html"
[ "$rc" = 0 ]
check "report"
cp -r "$dir/real-s1" "$dir/real-s3"
gives 1 'have the same seed and pictures: one result would count twice' report "$dir/real-s1" "$dir/real-s3" \
    -o "$dir/p2.html"
gives 1 'is there already and is no page of HTML' report "$dir/real-s1" -o "$dir/compare.json"
python_on "$dir/page.html" "$dir/plots" <<'PYTHON'
import base64, os, re, struct, sys
page, names = open(sys.argv[1], encoding="utf-8").read(), sorted(os.listdir(sys.argv[2]))
plots = [base64.b64decode(b) for b in re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page)]
assert len(names) == 2 * len(plots) and "01-tests-synth-b-.svg" in names, names
for i, plot in enumerate(plots):
    png, svg = names[2 * i:2 * i + 2]
    assert png[:-4] == svg[:-4] and png.startswith("%02d-" % (i + 1)), names
    assert open(f"{sys.argv[2]}/{svg}", "rb").read() == plot, svg          # the plots of the page
    size = re.search(rb'width="(\d+)(?:pt|)" height="(\d+)', plot).groups()
    data = open(f"{sys.argv[2]}/{png}", "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == tuple(map(int, size)), png
PYTHON
check "report --plots: every plot as SVG and PNG"
python_on "$dir/page.html" "$dir" <<'PYTHON'
import base64, json, re, statistics, sys
from html.parser import HTMLParser
page, folder = open(sys.argv[1], encoding="utf-8").read(), sys.argv[2]
class Reader(HTMLParser):
    void = {"meta", "img"}
    def __init__(self):
        super().__init__()
        self.open, self.cells, self.images, self.text = [], [], [], ""
    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        if tag == "tr":
            self.cells.append([])
        if tag not in self.void:
            self.open.append(tag)
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th") and self.cells:
            self.cells[-1].append(data)
reader = Reader()
reader.feed(page)
assert not reader.open, reader.open
assert "A & B" in reader.text and "synth <b>" in reader.text and "imago train resnet" in reader.text
assert not re.search(r'(src|href)="(?!data:)', page) and "url(" not in page          # nothing from elsewhere
rows = {row[0]: row for row in reader.cells if row}
def top1(run):
    return 100 * json.load(open(f"{folder}/{run}/results/eval-other.json"))["top1"]
mean = statistics.mean([top1("real-s1"), top1("real-s2")])
first = [row for row in reader.cells if row and row[0] == "real"][0]
assert first[1] == "2" and any(cell.startswith("%.2f" % mean) for cell in first), (first, mean)
kinds = [src.split(";")[0] for src in reader.images]
assert kinds.count("data:image/svg+xml") == 1 + 3 + 1 + 1, kinds       # spider, bars, few-shot, loss
assert kinds.count("data:image/jpeg") == 18, kinds
for src in reader.images:
    data = base64.b64decode(src.split(",", 1)[1], validate=True)
    assert data[:2] == b"\xff\xd8" or b"<svg" in data[:200]
assert "strawberry" in reader.text and '"k":2' in reader.text           # prompts, constants
PYTHON
check "report: its numbers, pictures, prompts; well-formed; nothing from elsewhere"
(cd "$dir" && case $imago in /*) ;; *) imago=$OLDPWD/$imago ;; esac && "$imago" report real-s1 real-s2 -o here.html) \
    2>"$dir/err" && ! grep -q "$dir" "$dir/here.html" && grep -q '<h3>set</h3>' "$dir/here.html"
check "report: paths below this folder are relative"
mkdir "$dir/more" && cp -r "$dir/real-s2" "$dir/more/real-s3" &&
    sed -i 's/"batch": 6/"batch": 7/' "$dir/more/real-s3/config.json"
gives 1 'and their --batch differs' report "$dir/real-s1" "$dir/more/real-s3" -o "$dir/p.html"
gives 2 'is missing' report
gives 2 '-o PAGE.html is missing' report "$dir/run"
gives 1 'config.json' report "$dir/set" -o "$dir/p.html"
gives 1 "$dir/page.html" report "$dir/real-s1" --plots "$dir/page.html" -o "$dir/p.html"
gives 1 'is no run' report "$dir/compare.json" -o "$dir/p.html"
echo '{"verb": "sing"}' >"$dir/sing.json"
gives 1 'wanted what eval' report "$dir/run" "$dir/sing.json" -o "$dir/p.html"
[ ! -e "$dir/p.html" ]
check "no page where a report is refused"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
