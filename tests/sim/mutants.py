#!/usr/bin/env python3
"""mutants.py: takes one barrier, wait or bound check out of a kernel of src/cuda at a time, and looks whether test_cuda notices.

    tests/sim/mutants.py BUILD [COUNT]      COUNT: that many, drawn at random; else all of them (an hour or two)

MUTANTS_ONLY=sync in the environment: those whose file and piece match it. Needs BUILD/tests/test_cuda built before. Prints a line a mutant and the score; those that nobody notices are listed, and
tests/sim/survivors.md has to explain each. Ends with 1 where one is not explained, or fewer than 97 % of all are caught.
A mutant is one line of a kernel, without
    a barrier or wait   sync_block(); sync_warp(); copy_wait<...>();
    a bound check       the comparison in `if (i >= n)` before a return, or one `a < b` of a condition
"""
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

OPS = {  # the ops whose cases run a kernel (names of test cases of test_cuda)
    "attention.cu": ["attention"], "attention_backward.cu": ["attention"], "batchnorm.cu": ["batchnorm", "batchnorm_res"],
    "conv.cu": ["conv2d", "mma"], "conv_backward.cu": ["conv2d"], "gate.cu": ["activate", "geglu"],
    "gaussian.cu": ["gaussian_sample", "kl"], "gemm.cu": ["linear", "geglu", "mma"], "loss.cu": ["cross_entropy", "mse", "l1"],
    "map.cu": ["activate", "add", "scale", "cast"], "movement.cu": ["copy", "concat", "embedding", "timestep"],
    "norm.cu": ["groupnorm", "layernorm"], "norm_backward.cu": ["groupnorm", "layernorm"], "normalize.cu": ["normalize"],
    "optimise.cu": ["device"], "outer.cu": ["linear"], "pool.cu": ["maxpool", "avgpool"], "winograd.cu": ["device", "conv2d"],
    "winograd_dw.cu": ["device", "conv2d"],
}
HEADERS = {  # the kernels that a header is tried through
    "product.cuh": ["gemm.cu", "conv.cu"], "product_mma.cuh": ["gemm.cu", "conv.cu"], "outer.cuh": ["outer.cu"],
}
FLAGS = ["-std=c++17", "-O1", "-w", "-fPIC", "-ffp-contract=off", "-fno-exceptions", "-fsanitize=thread"]


def mutants_of(path):
    """(line number, what was taken out, the new line) of the kernels in a file; code of the host is left out."""
    lines, kernel, found = open(path).read().split("\n"), False, []
    for i, line in enumerate(lines):
        if re.match(r"(template|KERNEL|DEV)\b|.*\bKERNEL\(", line):
            kernel = "static int run_" not in line and "static int launch" not in line
        elif re.match(r"(int|static|struct|extern)\b", line):
            kernel = False
        if not kernel:
            continue
        m = re.search(r"\b(sync_block|sync_warp)\(\);|copy_wait<[^>]*>\(\);", line)
        if m:
            found.append((i, m.group(0), line.replace(m.group(0), ";", 1)))
        m = re.search(r"if \((.* >= .*)\)$", line)
        if m and "return" in lines[i + 1]:
            found.append((i, m.group(1), line.replace(m.group(1), "false", 1)))
        if not re.search(r"\bfor \(", line) and re.search(r"\bif \(|&&|\?", line):
            for m in re.finditer(r"[\w.\[\]]+(?: [+*] [\w.]+)* < [\w.]+(?:\[[^\]]*\])?", line):
                found.append((i, m.group(0), line[:m.start()] + "true" + line[m.end():]))
    return found


def caught(build, name, text, tmp):
    """How the test notices: the way in one word; None: it does not."""
    os.makedirs(tmp + "/cuda", exist_ok=True)
    open(f"{tmp}/cuda/{name}", "w").write(text)
    units, objects = ([name] if name.endswith(".cu") else HEADERS[name]), []
    for unit in units:
        source = f"{tmp}/cuda/{unit}" if unit == name else f"src/cuda/{unit}"
        objects.append(f"{tmp}/{unit}.o")
        math = ["-mfma", "-mf16c"] if os.uname().machine == "x86_64" else []
        if subprocess.run(["g++", *FLAGS, *math, f"-I{tmp}", "-Itests/sim", "-Isrc", "-x", "c++", "-c", source, "-o",
                           objects[-1]]).returncode:
            return "compiler"
    rest = [o for o in glob.glob(f"{build}/sim/checked/*.o") + glob.glob(f"{build}/sim/host/*.o")
            + [f"{build}/sim/{o}.o" for o in ("block", "count", "fiber", "shadow", "stream", "tensor")]
            + glob.glob(f"{build}/tests/cases*.o") + [f"{build}/tests/sim/{o}.o" for o in ("test_cuda", "device_case")]
            if os.path.basename(o)[:-2] + ".cu" not in units and os.path.basename(o) != "faults.o"]
    libs = subprocess.run(["make", "-s", "--no-print-directory", "mutants-libs"], capture_output=True, text=True).stdout.split()
    subprocess.run(["g++", "-fopenmp", "-o", f"{tmp}/test", *objects, *rest, f"{build}/libimago.a", *libs], check=True)
    for unit in units:
        for op in OPS[unit]:
            try:
                r = subprocess.run([f"{tmp}/test"], env={**os.environ, "CK_RUN_CASE": op, "OMP_WAIT_POLICY": "passive"},
                                   capture_output=True, text=True, errors="replace", timeout=300)
            except subprocess.TimeoutExpired:
                return "deadlock"
            if r.returncode:
                m = re.search(r"sim: (\w+):", r.stderr)
                return m.group(1) if m else "value"
    return None


def main():
    build, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else 0
    every = [(f, *m) for f in sorted(list(OPS) + list(HEADERS)) for m in mutants_of(f"src/cuda/{f}")]
    every = [m for m in every if re.search(os.environ.get("MUTANTS_ONLY", ""), m[0] + " " + m[2])]
    some = random.Random(os.environ.get("MUTANTS_SEED")).sample(every, count) if 0 < count < len(every) else every
    explained, missed, unexplained = open("tests/sim/survivors.md").read(), 0, 0
    for name, i, what, line in some:
        text = open(f"src/cuda/{name}").read().split("\n")
        before, text[i] = text[i].strip(), line
        tmp = tempfile.mkdtemp()
        how = caught(build, name, "\n".join(text), tmp)
        shutil.rmtree(tmp)
        known = f"`{name}`: `{before}` without `{what}`" in explained
        missed += how is None
        unexplained += how is None and not known
        print(f"{how or ('SURVIVES, explained' if known else 'SURVIVES'):20} {name}:{i + 1}: {before}   without   {what}",
              flush=True)
    score = 100 * (len(some) - missed) / len(some)
    print(f"{len(some)} of {len(every)} mutants, {missed} not noticed, {unexplained} of them unexplained: {score:.1f} % caught")
    sys.exit(unexplained > 0 or (len(some) == len(every) and score < 97))


main()
