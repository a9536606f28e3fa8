#!/usr/bin/env python3
"""The figures of an experiment (scripts/experiment.sh) as tables.

    experiment_table.py OUT FOLDER      reads OUT/runs/*/results and OUT/sets-compared; writes FOLDER/runs.csv (a row a
                                        run), FOLDER/sets.csv (a row a set) and FOLDER/test.svg (bars of top-1) and prints
                                        both tables as Markdown, means over seeds

Rows that FOLDER has already stay, so that machines can share the trainings of one experiment: in f32 their bits are the
same. A row that both have must be the same to the last digit.

Top-1 and top-5 are shares, 0 to 1, in the CSV and per cent in the tables; +- is the standard deviation over seeds (n - 1).
"""
import csv
import json
import os
import re
import statistics
import sys

ORDER = ("real real-dino name hypernym multiple three-recipes name-guidance-1 name-guidance-2 name-guidance-7.5 name-5x "
         "name-10x name-dino name-filtered real-75 half-half real-25").split()
TESTS = ("test", "emoji", "lines")
FEATURES = ("sparsity", "intra_class_distance", "feature_redundancy", "coding_length")
OF_SETS = ("frechet", "precision", "recall", "density", "coverage", "vendi", "recognizability")


def read(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def runs_of(out):
    """A dict of figures for every run that has all its results."""
    rows = []
    for folder in os.listdir(f"{out}/runs"):
        name, seed = re.fullmatch(r"(.+)-s(\d+)", folder).groups()
        results = f"{out}/runs/{folder}/results"
        if not os.path.exists(f"{results}/transfer-other.json"):
            continue
        row = {"training": name, "seed": int(seed)}
        for test in TESTS:
            found = read(f"{results}/eval-{test}.json")
            row |= {f"{test}_top1": found["top1"], f"{test}_top5": found["top5"]}
        transfer = read(f"{results}/transfer-other.json")
        row["transfer_top1"] = transfer["top1"]
        row |= {f"transfer_top1_{few['shots']}_shot": few["top1"] for few in transfer["few_shot"]}
        analysis = read(f"{results}/analyze-test.json")
        rows.append(row | {key: analysis[key] for key in FEATURES})
    return rows


def sets_of(out):
    rows = []
    for file in sorted(os.listdir(f"{out}/sets-compared")):
        found = read(f"{out}/sets-compared/{file}")
        name = re.fullmatch(r"compare-(.+)\.json", file).group(1)
        rows.append({"set": name, "pictures": found["sets"][1]["pictures"]} | {key: found[key] for key in OF_SETS})
    return rows


def with_earlier(path, rows, keys, order):
    """The rows and those of the file that have other keys, sorted."""
    found = {tuple(str(row[k]) for k in keys): row for row in rows}
    if os.path.exists(path):
        for line in csv.DictReader(open(path, encoding="utf-8")):
            key = tuple(line[k] for k in keys)
            if key not in found:
                found[key] = {k: v if k in ("training", "set") else int(v) if k in ("seed", "pictures") else float(v)
                              for k, v in line.items()}
            elif {k: text(v) for k, v in found[key].items()} != line:
                sys.exit(f"{path}: {' '.join(key)} was something else there: {line}")
    return sorted(found.values(), key=order)


def by_training(row):
    return (ORDER.index(row["training"]) if row["training"] in ORDER else 99, row["training"], row["seed"])


def text(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as f:
        out = csv.DictWriter(f, rows[0], lineterminator="\n")
        out.writeheader()
        out.writerows({k: text(v) for k, v in row.items()} for row in rows)


def mean(rows, key, scale=1.0, digits=1):
    values = [row[key] * scale for row in rows]
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def markdown(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def chart(path, groups):
    """Top-1 on the test: the mean of each training as a bar with a line of one standard deviation, a dot a seed."""
    left, scale, step = 150, 8.0, 22                           # pixels: of names, a per cent, a bar
    height = step * len(groups) + 40
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{height}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="#fff"/>']
    for tick in range(0, 50, 10):
        x = left + scale * tick
        lines.append(f'<path d="M{x:g} 4V{height - 34}" stroke="#ddd"/><text x="{x:g}" y="{height - 20}" fill="#555" '
                     f'text-anchor="middle">{tick}</text>')
    lines.append(f'<text x="{left}" y="{height - 5}" fill="#555">top-1 on real drawings, %</text>')
    for i, (name, rows) in enumerate(groups.items()):
        values, y = [100 * row["test_top1"] for row in rows], step * i + 15
        middle, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0
        lines += [f'<text x="4" y="{y + 4}">{name}</text>',
                  f'<rect x="{left}" y="{y - 7}" width="{scale * middle:.1f}" height="14" fill="#72a7d1"/>',
                  f'<path d="M{left + scale * (middle - spread):.1f} {y}h{2 * scale * spread:.1f}" stroke="#000"/>']
        lines += [f'<circle cx="{left + scale * v:.1f}" cy="{y}" r="2.5"/>' for v in values]
        lines.append(f'<text x="550" y="{y + 4}" text-anchor="end">{middle:.1f}</text>')
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n</svg>\n")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    runs = with_earlier(f"{folder}/runs.csv", runs_of(out), ("training", "seed"), by_training)
    sets = with_earlier(f"{folder}/sets.csv", sets_of(out), ("set",), lambda row: row["set"])
    write_csv(f"{folder}/runs.csv", runs)
    write_csv(f"{folder}/sets.csv", sets)
    groups = {}
    for row in runs:
        groups.setdefault(row["training"], []).append(row)
    chart(f"{folder}/test.svg", groups)
    markdown(["trained on", "seeds", "test", "emoji", "lines", "transfer", "transfer, 4 a class"],
             [[name, str(len(rows))] + [mean(rows, f"{t}_top1", 100) for t in TESTS]
              + [mean(rows, "transfer_top1", 100), mean(rows, "transfer_top1_4_shot", 100)]
              for name, rows in groups.items()])
    markdown(["trained on", "sparsity", "intra-class distance", "redundancy", "coding length"],
             [[name] + [mean(rows, key, 1, 3 if key != "coding_length" else 1) for key in FEATURES]
              for name, rows in groups.items()])
    markdown(["set", "pictures", "Frechet"] + list(OF_SETS[1:]),
             [[row["set"], str(row["pictures"]), f"{row['frechet']:.1f}"] + [f"{row[key]:.3f}" for key in OF_SETS[1:]]
              for row in sets])


if __name__ == "__main__":
    main()
