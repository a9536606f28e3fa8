#!/usr/bin/env python3
"""What the rows of bench/gpu.sh are of the peaks that were measured in the same run.

    gpu_shares.py FILE.jsonl      a line a row: stage, it/s or img/s, TFLOP/s, % of the product's peak; ends with 1 without peaks
"""
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1])]
peaks = {r["row"].get("dtype"): r["row"]["tflops"] for r in rows if r["row"].get("peak") == "product"}
if not peaks:
    sys.exit(1)
for r in rows:
    row = r["row"]
    if "gflops" in row:
        peak = peaks.get(row["dtype"])
        share = f"{row['gflops'] / 10 / peak:.1f} % of {peak:.0f} TFLOP/s" if peak else ""
        print(f"{r['stage']:24} {1000 / row['ms']:9.2f} calls/s {row['gflops'] / 1000:8.2f} TFLOP/s  {share}")
    elif "img_per_s" in row:
        print(f"{r['stage']:24} {row['img_per_s']:9.2f} img/s")
    elif "ms" in row:
        print(f"{r['stage']:24} {1000 / row['ms']:9.2f} calls/s")
