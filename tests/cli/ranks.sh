#!/bin/sh
# ranks.sh: one training by several processes (docs/many-machines.md): mpirun -n 2 and -n 4 end with the files of
# --accumulate 4 on one process, byte for byte, for every kind of training; one rank killed, the others end within 10 s with
# a line that names it, and --resume on another number of ranks ends with the same files; other options, data and programs
# are refused by the name of the rank; only rank 0 prints. With each mpirun of Debian that is there.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/ranks.sh [PROGRAM]        default: build/imago
# shellcheck disable=SC2034,SC2086,SC2154,SC2319 # lists of options, some by eval; check reads $? of the condition before it
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset IMAGO_MPI OMPI_COMM_WORLD_RANK PMIX_RANK PMI_RANK SLURM_STEP_NUM_TASKS
model=tests/golden/models/a

python3 - "$dir" <<'PYTHON'
import json, os, sys
sys.path.insert(0, "tests")
from stripes import png
for n in range(24):
    os.makedirs(f"{sys.argv[1]}/set/class{n % 3}", exist_ok=True)
    png(f"{sys.argv[1]}/set/class{n % 3}/{n:02}.png", n, 32)
os.makedirs(sys.argv[1] + "/captions")
with open(sys.argv[1] + "/captions/metadata.jsonl", "w") as f:
    for n in range(24):
        png(f"{sys.argv[1]}/captions/{n:02}.png", n, 32)
        f.write(json.dumps({"file_name": f"{n:02}.png", "text": f"thing {n % 5}, drawing"}) + "\n")
PYTHON
check "drawing pictures"
cp -r "$dir/set" "$dir/other" && mv "$dir/other/class0/00.png" "$dir/other/class0/000.png"

common="--batch 2 --seed 5 --ema 0.9 --clip 1 --checkpoint-every 2 -t 1 --workers 1"
# plain: batch norm, momentum; dino: every norm sees two sizes of crops; 24 pictures: steps cross the ends of epochs
small="--arch resnet18 --width 8 --size 32 --data $dir/set $common"
short="train resnet --arch resnet18 --width 8 --size 32 --steps 1 $common"      # the data is not said
plain="train resnet $small --val $dir/set --augment plain --mixup 0.5 --epochs 2"
dino="train resnet $small --augment dino --locals 2 --head cosine --optimizer adamw --steps 4 --recompute"
autoencoder="train autoencoder --data $dir/set --config $model --size 32 --steps 4 $common"
decoder="train decoder --data $dir/set --vae $model --size 32 --width 8 --blocks 1 --steps 4 $common"
diffusion="train diffusion --data $dir/captions --config $model --vae $model --size 32 --steps 4 $common --drop-tags 0.2"
cached="$diffusion --cache-latents --views 2"
lora="$diffusion --init $model --lora 2 --lora-text --recompute"
# batch norms over all parts: every rank waits for the others in every norm
sync="train resnet $small --augment dino --locals 2 --mixup 0.5 --steps 4 --recompute --sync-batchnorm"

files() {       # files RUN: a hash of every file of a run that is a function of the training
    (cd "$dir/$1" && find . -type f ! -name 'log.jsonl' ! -name 'curves.*' | sort | xargs sha256sum
     sed 's/"img_per_s": [^,}]*//' log.jsonl) 2>&1
}
same() { [ -s "$dir/$1/log.jsonl" ] && files "$1" >"$dir/a" && files "$2" >"$dir/b" && diff "$dir/a" "$dir/b" >"$dir/err"; }
long="train resnet $small --augment plain --steps 80"
for kind in plain dino autoencoder decoder diffusion cached lora sync long; do
    eval "options=\$$kind"
    run $options --accumulate 4 -q -o "$dir/$kind"
    [ "$rc" = 0 ]
    check "$kind, one process of four parts a step (found $rc)"
done

# ---- --sync-batchnorm: parts are as one batch, to rounding
one="train resnet --arch resnet18 --width 8 --size 32 --small-stem --augment none --order listed --steps 2 --seed 5 -t 1 -q"
run $one --data "$dir/set" --batch 8 -o "$dir/whole"
run $one --data "$dir/set" --batch 4 --accumulate 2 --sync-batchnorm -o "$dir/halves"
python3 - "$dir" 2>"$dir/err" <<'PYTHON'
import json, sys
def losses(run):
    return [json.loads(line) for line in open(f"{sys.argv[1]}/{run}/log.jsonl")]
for a, b in zip(losses("whole"), losses("halves"), strict=True):
    assert abs(a["loss"] - b["loss"]) < 1e-4 * a["loss"], (a, b)
    assert abs(a["grad_norm"] - b["grad_norm"]) < 1e-3 * a["grad_norm"], (a, b)
PYTHON
check "--sync-batchnorm: two parts have the losses of one batch"

# ---- what one process says of an environment without MPI, and of what does not fit
launched() {
    OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 IMAGO_MPI=$1 "$imago" $plain -q -o "$dir/x" >"$dir/out" 2>"$dir/err"
}
launched "$dir/nowhere.so"
[ $? = 1 ] && grep -q 'OMPI_COMM_WORLD_RANK says that this is one of several .* there is no MPI library' "$dir/err"
check "an MPI environment without a library is an error"
launched none && [ -s "$dir/x/model.safetensors" ]
check "IMAGO_MPI=none trains alone"
SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 "$imago" $plain -q -o "$dir/y" >"$dir/out" 2>"$dir/err"
[ $? = 1 ] && grep -q 'imago: rank 1: srun has started 2 tasks' "$dir/err" && [ ! -e "$dir/y" ]
check "tasks of srun without MPI are told of --mpi"

lines() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }
# ranks N COMMAND...: leaves $rc, $dir/out and $dir/err
ranks() {
    n=$1
    shift
    timeout 120 $launch -n "$n" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    rc=$?
}
refused() {     # refused NAME TEXT COMMAND...: by all, with this text
    name=$1 text=$2
    shift 2
    ranks "$@"
    [ "$rc" != 0 ] && grep -qF -- "$text" "$dir/err" && [ ! -e "$dir/$mpi.x" ]
    check "$mpi: $name: \"$text\" (found $rc)"
}
# A rank of a run that is under way gets a signal. OpenMPI's mpirun is told to leave the others alone; MPICH's kills them
# itself, perhaps before they can speak, and then names the first process that it finds ended, in order of rank: one that
# it has killed itself, perhaps. tests/test_rank_watch.c shows without a launcher that the right one is named.
signal_a_rank() { # signal_a_rank SIGNAL VICTIM LAUNCHER...: leaves $pid, $seconds and $killed
    signal=$1 victim=$2
    shift 2
    rm -rf "$dir/$mpi.dead"
    timeout 120 "$@" -n 4 "$imago" $long --accumulate 4 -q -o "$dir/$mpi.dead" >"$dir/out" 2>"$dir/err" </dev/null &
    launcher=$!
    n=0
    while [ $n -lt 600 ] && [ "$(lines "$dir/$mpi.dead/log.jsonl")" -lt 3 ]; do
        sleep 0.05
        n=$((n + 1))
    done
    pid=$(python3 - "$dir/$mpi.dead" "$victim" <<'PYTHON'
import os, sys
for p in filter(str.isdigit, os.listdir("/proc")):
    try:
        args = open(f"/proc/{p}/cmdline").read().split("\0")
        env = open(f"/proc/{p}/environ").read().split("\0")
    except OSError:
        continue
    if sys.argv[1] in args and args[0].endswith("imago"):
        if {"OMPI_COMM_WORLD_RANK=" + sys.argv[2], "PMI_RANK=" + sys.argv[2]} & set(env):
            print(p)
PYTHON
)
    before=$(date +%s)
    kill "-$signal" "$pid" 2>>"$dir/err"
    killed=$?
    wait $launcher
    seconds=$(($(date +%s) - before))
}
kill_a_rank() { # kill_a_rank VICTIM LAUNCHER...: by SIGKILL
    signal_a_rank KILL "$@"
    [ $killed = 0 ] && [ $seconds -le 10 ]
    check "$mpi: the others end within 10 s of the death of rank $victim (found $seconds s)"
    grep -q "imago: .*rank $victim (.*, process $pid) is gone" "$dir/err" ||
        { [ $mpi = mpich ] && grep -q "PID [0-9]* RUNNING AT" "$dir/out" "$dir/err"; }
    check "$mpi: a line names rank $victim and its process, or the launcher was quicker"
}

for mpi in openmpi mpich; do
    launch=mpirun.$mpi
    if ! command -v "$launch" >/dev/null 2>&1; then
        skipped=$((skipped + 1))
        echo "SKIP ranks under $mpi: there is no $launch"
        continue
    fi
    alone=
    if [ $mpi = openmpi ]; then launch="$launch --oversubscribe" alone=--enable-recovery; fi

    # ---- the same bits
    for n in 2 4; do
        for kind in plain dino autoencoder decoder diffusion cached lora sync; do
            case $mpi$n$kind in *plain | openmpi2* | openmpi4diffusion | mpich4sync) ;; *) continue ;; esac
            eval "options=\$$kind"
                    ranks $n "$imago" $options --accumulate 4 -o "$dir/$mpi.$kind.$n"
            [ "$(grep -c '^epoch .* step 1/' "$dir/err")" = 1 ]
            check "$mpi: $kind on $n ranks: one of them prints"
            [ "$rc" = 0 ] && same $kind "$mpi.$kind.$n"
            check "$mpi: $kind on $n ranks has the files of one process (found $rc)"
        done
    done
    ranks 4 "$imago" $plain -o "$dir/$mpi.noted"
    [ "$rc" = 0 ] && grep -q '4 ranks: after its backward a step waits .* for the sums of gradients' "$dir/err" &&
        same plain "$mpi.noted"
    check "$mpi: one part a rank: gradients are summed while backward goes on, to the same bits"
    ranks 4 "$imago" $plain -q -o "$dir/$mpi.default"
    [ "$rc" = 0 ] && same plain "$mpi.default"
    check "$mpi: without --accumulate every rank has a part"

    # ---- devices whose memory is out of reach: one for tests, the simulator of a GPU, where it was built
    sim=$(dirname "$imago")/imago-sim
    tiny=$(echo "$short" | sed 's/--size 32 //; s/--steps 1 //')
    tiny="$tiny --steps 2 --size 16 --data $dir/set --accumulate 2 -q"
    if [ $mpi = openmpi ]; then
        run $tiny --device far -o "$dir/far"
        ranks 2 "$imago" $tiny --device far -o "$dir/far.2"
        [ "$rc" = 0 ] && same far far.2
        check "$mpi: two ranks on a device out of reach have the files of one process (found $rc)"
    fi
    if [ $mpi = openmpi ] && [ -x "$sim" ]; then
        tiny="$tiny --device cuda"
        "$sim" $tiny -o "$dir/sim" >"$dir/out" 2>"$dir/err"
        check "the simulator trains"
        ranks 2 "$sim" $tiny -o "$dir/sim.2"
        [ "$rc" = 0 ] && same sim sim.2
        check "$mpi: two ranks on simulated GPUs have the files of one process (found $rc)"
    fi

    # ---- what is refused
    refused "three branches of four parts" '--accumulate 4 on 3 ranks' 3 "$imago" $plain --accumulate 4 -q -o "$dir/$mpi.x"
    refused "other options" '--lr is 0.25 there and 0.5 here' 1 "$imago" $plain --lr 0.5 -q -o "$dir/$mpi.x" : \
        -n 1 "$imago" $plain --lr 0.25 -q -o "$dir/$mpi.x"
    grep -q '^imago: rank 1: rank 1 (.*, process [0-9]*) does not train what rank 0 trains' "$dir/err"
    check "$mpi: the rank is named, and says so itself"
    refused "other data" 'data-sha256 is ' 1 "$imago" $short --data "$dir/set" -q -o "$dir/$mpi.x" : \
        -n 1 "$imago" $short --data "$dir/other" -q -o "$dir/$mpi.x"
    cp "$imago" "$dir/imago" && echo >>"$dir/imago"
    refused "another program" 'runs another program than rank 0' 1 "$imago" $plain -q -o "$dir/$mpi.x" : \
        -n 1 "$dir/imago" $plain -q -o "$dir/$mpi.x"
    refused "an error of one" 'imago: rank 1: ' 1 "$imago" $short --data "$dir/set" -q -o "$dir/$mpi.x" : \
        -n 1 "$imago" $short --data "$dir/nowhere" -q -o "$dir/$mpi.x"

    # ---- a rank dies
    kill_a_rank 2 $launch $alone
    ranks 2 "$imago" train resnet --resume -q -o "$dir/$mpi.dead"
    [ "$rc" = 0 ] && same long "$mpi.dead"
    check "$mpi: killed on four ranks, resumed on two: the files of one process left alone (found $rc)"
    if [ $mpi = mpich ]; then continue; fi
    kill_a_rank 0 $launch $alone
    run train resnet --resume -q -o "$dir/$mpi.dead"
    [ "$rc" = 0 ] && same long "$mpi.dead"
    check "$mpi: killed on four ranks, resumed alone: the files of one process left alone (found $rc)"
    signal_a_rank USR1 1 $launch
    [ $killed = 0 ] && [ "$(grep -c 'imago: .*stopped after step' "$dir/err")" -ge 1 ]
    check "$mpi: one rank is told to stop: all stop after a step"
    step=$(sed -n 's/^imago: .*stopped after step \([0-9]*\) .*/\1/p' "$dir/err" | head -n 1)
    [ -s "$dir/$mpi.dead/checkpoints/step-$(printf %08d "$step").safetensors" ]
    check "$mpi: rank 0 has written the checkpoint of that step"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
