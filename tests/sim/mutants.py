#!/usr/bin/env python3
"""mutants.py: takes one barrier, wait or bound check out of a kernel at a time, and looks whether its test notices: test_cuda
for those of src/cuda, test_hopper for tests/sim/hopper/hopper.cu, where they are moved by a line, too.

    tests/sim/mutants.py BUILD [COUNT]      COUNT: that many, drawn at random; else all (hours); one a processor at a time

Needs BUILD/tests/test_cuda and test_hopper built before. Results are appended to BUILD/mutants.txt as they come, and what stands there is
not tried again: a long run can be ended and resumed (delete the file to begin anew). In the environment: MUTANTS_ONLY=sync,
those whose file and piece match it; MUTANTS_SEED=3, the same draw every time, and nothing is kept.
Prints a line a mutant and the score; those that nobody notices are listed, and tests/sim/survivors.md has to explain each.
Ends with 1 where one is not explained, or fewer than 97 % of all are caught.
A mutant is one line of a kernel, without
    a barrier or wait   sync_block(); sync_warp(); copy.wait(); copy_wait<...>(); the commit of copies; for sm_90a also those
                        of HOPPER_WORDS, and these moved one line up or down
    a bound check       the comparison in `if (i >= n)` before a return, or one `a < b` of a condition or an assignment
"""
import functools
import glob
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

OPS = {  # the ops whose cases run a kernel (names of test cases of test_cuda)
    "attention.cu": ["attention"], "attention_backward.cu": ["attention"], "attention_mma.cu": ["mma"],
    "attention_backward_mma.cu": ["mma"], "batchnorm.cu": ["batchnorm", "batchnorm_res"],
    "conv.cu": ["conv2d", "mma"], "conv_backward.cu": ["conv2d"], "gate.cu": ["activate", "geglu"],
    "gaussian.cu": ["gaussian_sample", "kl"], "gemm.cu": ["linear", "geglu", "mma"],
    "load.cu": ["steps"], "loss.cu": ["cross_entropy", "mse", "l1"],
    "map.cu": ["activate", "add", "scale", "cast"], "movement.cu": ["copy", "concat", "embedding", "timestep"],
    "norm.cu": ["groupnorm", "layernorm"], "norm_backward.cu": ["groupnorm", "layernorm"], "normalize.cu": ["normalize"],
    "optimise.cu": ["steps"], "outer.cu": ["linear"], "pool.cu": ["maxpool", "avgpool"],
    "steps.cu": ["steps"],
    "tokens.cu": ["token_match", "token_merge", "token_spread"], "winograd.cu": ["device", "conv2d"],
    "winograd_dw.cu": ["device", "conv2d"],
}
HEADERS = {  # the kernels that a header is tried through, and the ops that run them
    "product.cuh": (["gemm.cu", "conv.cu"], ["linear", "conv2d"]), "product_mma.cuh": (["gemm.cu", "conv.cu"], ["mma"]),
    "outer.cuh": (["outer.cu"], ["linear"]), "outer_mma.cuh": (["outer.cu"], ["mma"]),
    "attention_mma.cuh": (["attention_mma.cu"], ["mma"]), "cores.cuh": (["gemm.cu", "conv.cu"], ["mma"]),
    "conv.cuh": (["conv.cu", "conv_backward.cu", "winograd_dw.cu"], ["conv2d"]),
    "row.cuh": (["norm.cu", "loss.cu"], ["layernorm", "cross_entropy"]),
}
HOPPER, HOPPER_TEST = "tests/sim/hopper/hopper.cu", "hopper/test_hopper.o"
HOPPER_WORDS = (r"\b(?:mbar_(?:fence|wait|arrive|arrive_at|arrive_expect|expect)|fence_async|sync_some|sync_cluster|sync_block|"
                r"tma_commit|tma_wait(?:_read)?<\d>|wgmma_(?:fence|commit|wait<\d>))\(.*\);")
SIMULATOR = ("block", "bulk", "count", "fiber", "mbarrier", "shadow", "stream", "tensor", "warp", "wgmma")
SECONDS = 120  # of a processor, for one case: who takes longer never ends. Wall time says nothing on a busy machine.
FLAGS = ["-std=c++17", "-O1", "-w", "-fPIC", "-ffp-contract=off", "-fno-exceptions", "-fsanitize=thread"]


def path_of(name):
    return HOPPER if name == os.path.basename(HOPPER) else f"src/cuda/{name}"


def moves(lines, i):
    """The statement of line i one line down or up, past a statement of the same depth: (line, what, the new lines)."""
    def statement(line):
        return re.fullmatch(r"( *)(?!return|(?:const )?\w+ \*?\w+(?: =|;|,|\[))\S.*;(?: +/\*.*)?", line)

    # Whose order says nothing: bytes may come before they are expected (the arrival is still wanted); registers and memory
    # are fenced each for itself; an mbarrier is fenced for those who come later.
    free = [("mbar_arrive_expect", "tma_load|fetch"), ("mbar_wait", "wgmma_fence"), ("mbar_fence", "")]
    here, found = statement(lines[i]), []
    for other, where in ((i + 1, "down"), (i - 1, "up")):
        there = statement(lines[other])
        pair = [lines[i].strip(), lines[other].strip()]
        if any(re.match(a, x) and re.match(b, y) for a, b in free for x, y in (pair, pair[::-1])):
            continue
        before = lines[min(i, other) - 1]
        if here and there and here.group(1) == there.group(1) and not re.search(r"\b(if|for|else|while)\b.*[^{;]$", before):
            pair = [lines[other], lines[i]] if other > i else [lines[i], lines[other]]
            found.append((min(i, other), f"{lines[i].strip()} moved {where}", "\n".join(pair)))
    return found


def mutants_of(path):
    """(line number, what was taken out, the new line) of the kernels in a file; code of the host is left out. A move has two
    new lines."""
    lines, kernel, found = open(path).read().split("\n"), False, []
    words = r"\b(sync_block|sync_warp)\(\);|\bcopy\.(?:wait|commit)\(\);|copy_(?:wait<[^>]*>|commit)\(\);"
    for i, line in enumerate(lines):
        if re.match(r"(template|KERNEL|DEV)\b|.*\bKERNEL\(", line):
            kernel = "static int run_" not in line and "static int launch" not in line
        elif re.match(r"(int|static|struct|extern)\b", line):
            kernel = False
        if not kernel:
            continue
        m = re.search(HOPPER_WORDS if path == HOPPER else words, line)
        if m:
            found.append((i, m.group(0), line.replace(m.group(0), ";", 1)))
        if m and path == HOPPER:
            found += [x for x in moves(lines, i) if all((x[0], x[2]) != (y[0], y[2]) for y in found)]
        if path == HOPPER and " ^ 1" in line:
            found.append((i, "^ 1", line.replace(" ^ 1", "")))
        m = re.search(r"if \((.* >= .*)\)$", line)
        if m and "return" in lines[i + 1]:
            found.append((i, m.group(1), line.replace(m.group(1), "false", 1)))
        if not re.search(r"\bfor \(", line) and re.search(r"\bif \(|&&|\?| = .* < |\breturn .* < ", line):
            for m in re.finditer(r"[\w.\[\]]+(?: [+*] [\w.]+)* < [\w.]+(?:\[[^\]]*\])?", line):
                found.append((i, m.group(0), line[:m.start()] + "true" + line[m.end():]))
    return found


@functools.cache
def libs():
    return subprocess.run(["make", "-s", "--no-print-directory", "mutants-libs"], capture_output=True, text=True).stdout.split()


def end_session(leader):
    """Kills the processes of a session: Check's children have groups of their own."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == leader:
                os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def caught(build, name, text, tmp):
    """How the test notices: the way in one word; None: it does not."""
    os.makedirs(tmp + "/cuda", exist_ok=True)
    open(f"{tmp}/cuda/{name}", "w").write(text)
    hopper = path_of(name) == HOPPER
    units, ops = ([name], ["hopper"] if hopper else OPS[name]) if name.endswith(".cu") else HEADERS[name]
    objects = []
    for unit in units:
        source = f"{tmp}/cuda/{unit}" if unit == name else path_of(unit)
        objects.append(f"{tmp}/{unit}.o")
        math = ["-mfma", "-mf16c"] if os.uname().machine == "x86_64" else []
        flags = [*FLAGS, *math, "-fno-tree-loop-distribute-patterns", "-Itests/sim/hopper"] if hopper else [*FLAGS, *math]
        if subprocess.run(["g++", *flags, f"-I{tmp}", "-Itests/sim", "-Isrc", "-x", "c++", "-c", source, "-o",
                           objects[-1]]).returncode:
            return "compiler"
    simulator = [f"{build}/sim/{o}.o" for o in SIMULATOR]
    rest = [o for o in glob.glob(f"{build}/sim/checked/*.o") + glob.glob(f"{build}/sim/host/*.o") + simulator
            + glob.glob(f"{build}/tests/cases*.o") + [f"{build}/tests/sim/{o}.o" for o in ("test_cuda", "device_case", "device_steps")]
            if os.path.basename(o)[:-2] + ".cu" not in units and not re.match("faults|fragments|ladder_", os.path.basename(o))]
    if hopper:
        rest = simulator + [f"{build}/sim/{HOPPER_TEST}"]
    subprocess.run(["g++", "-fopenmp", "-o", f"{tmp}/test", *objects, *rest, f"{build}/libimago.a", *libs()], check=True)
    for op in ops:
        how = noticed(tmp, op)
        if how:
            return how
    return None


def noticed(tmp, op):
    """How the case `op` of tmp/test notices; the first fault, or the first test that fails, is enough."""
    tap, said = f"{tmp}/tap", open(f"{tmp}/said", "w+b")
    env = {**os.environ, "CK_TIMEOUT_MULTIPLIER": "100", "CK_RUN_CASE": op, "CK_TAP_LOG_FILE_NAME": tap}
    test = subprocess.Popen(["sh", "-c", f"ulimit -t {SECONDS}; exec {tmp}/test"], env=env, stdout=subprocess.DEVNULL,
                            stderr=said, start_new_session=True)
    ended, how = False, None
    while not ended and not how:
        ended = test.poll() is not None                        # before the files are read, so that they are whole
        fault = re.search(r"sim: (\w+):", open(said.name, errors="replace").read())
        failed = os.path.exists(tap) and re.search(r"^not ok.*", open(tap, errors="replace").read(), re.M)
        if fault:
            how = fault.group(1)
        elif failed:
            how = "endless" if "signal 24" in failed.group(0) else "value"
        elif ended and test.returncode:
            how = "value"
        time.sleep(0 if ended or how else 0.2)
    if not ended:
        end_session(test.pid)
        test.wait()
    return how


def key_of(name, i, what):
    """What a result is kept under: the file as it is, and the mutant."""
    text = open(path_of(name)).read()
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]} {name}:{i + 1} {what}"


def result_of(build, name, i, what, line, known_results, kept):
    """How a mutant is noticed, or "": as it is known, or tried now and appended to the file `kept`."""
    text, key = open(path_of(name)).read().split("\n"), key_of(name, i, what)
    if key in known_results:
        return known_results[key]
    text[i:i + 1 + line.count("\n")] = [line]
    with tempfile.TemporaryDirectory() as tmp:
        how = caught(build, name, "\n".join(text), tmp) or ""
    if kept:
        with open(kept, "a") as f:
            f.write(f"{how}\t{key}\n")
    return how


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    build, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else 0
    seed, kept, known_results = os.environ.get("MUTANTS_SEED"), f"{build}/mutants.txt", {}
    files = sorted(list(OPS) + list(HEADERS)) + [os.path.basename(HOPPER)]
    every = [(f, *m) for f in files for m in mutants_of(path_of(f))]
    every = [m for m in every if re.search(os.environ.get("MUTANTS_ONLY", ""), m[0] + " " + m[2])]
    some = random.Random(seed).sample(every, count) if 0 < count < len(every) else every
    if seed is None and os.path.exists(kept):
        known_results = dict(reversed(line.rstrip("\n").split("\t")) for line in open(kept))
    explained, missed, unexplained = " ".join(open("tests/sim/survivors.md").read().split()), 0, 0    # lines may be broken
    with ThreadPoolExecutor(os.cpu_count()) as pool:           # the work is done by programs: one a processor
        results = pool.map(lambda m: result_of(build, *m, known_results, seed is None and kept), some)
        for (name, i, what, line), how in zip(some, results):
            before = open(path_of(name)).read().split("\n")[i].strip()
            known = " ".join(f"`{name}`: `{before}` without `{what}`".split()) in explained
            missed += not how
            unexplained += not how and not known
            print(f"{how or ('SURVIVES, explained' if known else 'SURVIVES'):20} {name}:{i + 1}: {before}   without   {what}",
                  flush=True)
    score = 100 * (len(some) - missed) / len(some)
    print(f"{len(some)} of {len(every)} mutants, {missed} not noticed, {unexplained} of them unexplained: {score:.1f} % caught")
    sys.exit(unexplained > 0 or (len(some) == len(every) and score < 97))


main()
