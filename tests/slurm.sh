#!/bin/sh
# slurm.sh: the batch files of scripts/slurm on a real Slurm: a controller and two nodes, all on this machine, in a folder
# of their own, with ports and a key of their own. An array of `imago synth` is requeued in the middle, and ends with the
# bytes of the set made in one go; a training by srun on two nodes has the files of one process, and one that is told to
# stop by scancel -s USR1 goes on after its requeue to the same files. Needs Debian's slurm-wlm, munge and openmpi-bin, and
# root. By hand, not in `make check`: it takes five minutes, most of them the wait of Slurm before a requeue.
#
#     tests/slurm.sh [PROGRAM]            default: build/imago
# shellcheck disable=SC2086,SC2154,SC2319 # lists of options; $dir is of shell.sh; check reads $? of the condition before it
set -u
imago=$(realpath "${1:-build/imago}")
# shellcheck source=tests/shell.sh
. tests/shell.sh
for p in munged slurmctld slurmd srun mpirun.openmpi; do
    PATH=$PATH:/usr/sbin command -v $p >/dev/null || { echo "SKIP Slurm: there is no $p"; exit 0; }
done
[ "$(id -u)" = 0 ] || { echo "SKIP Slurm: its daemons want root here"; exit 0; }
PATH=$PATH:/usr/sbin
IMAGO=$imago SLURM_CONF=$dir/slurm.conf
export PATH IMAGO SLURM_CONF
model=$PWD/tests/golden/models/a
host=$(hostname)

# ---- the cluster
chmod 755 "$dir" && (cd "$dir" && mkdir state spool.one spool.two tmp.one tmp.two)
(umask 077 && dd if=/dev/urandom of="$dir/munge.key" bs=1024 count=1 2>/dev/null)
cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=27017
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
TmpFS=$dir/tmp.%n
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=27018 CPUs=2
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=27019 CPUs=2
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
CONF
daemons=
cleanup() {
    for d in $daemons; do kill "$d" 2>/dev/null; done
    sleep 1
    for d in $daemons; do kill -9 "$d" 2>/dev/null; done
    rm -rf "$dir"
}
trap cleanup EXIT
start() { # start NAME COMMAND...
    "$@" >"$dir/$1.out" 2>&1 </dev/null &
    daemons="$daemons $!"
}
start munged --foreground --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munge.pid" \
    --log-file="$dir/munge.log" --seed-file="$dir/munge.seed"
wait_for() { # wait_for SECONDS COMMAND...: until it succeeds
    left=$(($1 * 5))
    shift
    while ! "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.2
    done
}
wait_for 10 munge -n --socket="$dir/munge.socket"
check "munged answers"
start slurmctld -D -i
start slurmd -D -N one
start slurmd -D -N two
up() { [ "$(sinfo -h -N -o '%T' | grep -c idle)" = 2 ]; }
wait_for 30 up
check "the controller and two nodes are up"
if ! up; then
    tail -n 5 "$dir"/*.log "$dir"/*.out
    exit 1
fi

# ---- pictures by an array job, requeued in the middle
for k in 1 2 3 4 5 6; do echo "thing $k | object"; done >"$dir/classes"
drawn="-m $model --classes $dir/classes --recipe hypernym --per-class 40 --steps 2 --scheduler ddim -t 1"
run synth $drawn -q -o "$dir/whole"
[ "$rc" = 0 ]
check "the set in one go"
submit() { sbatch --parsable --cpus-per-task=1 --time=10 -o "$dir/job.%j.%a.out" "$@"; }
over() { [ -z "$(squeue -h -j "$1" 2>/dev/null)" ]; }
started() { [ "$(find "$dir/array" -name '*.png' 2>/dev/null | wc -l)" -gt 5 ]; }
job=$(submit --array=0-1 scripts/slurm/synth.sbatch $drawn -o "$dir/array")
check "sbatch takes an array job"
wait_for 60 started
check "its tasks draw"
scancel -b -s USR1 "${job}_1" && scontrol requeue "${job}_0"        # one asks for it itself; one is just taken away
check "a signal to one task, the other requeued"
[ "$(find "$dir/array" -name '*.png' | wc -l)" -lt 240 ]
check "in the middle of the work"
wait_for 300 over "$job"
check "the array job ends"
diff -r "$dir/whole" "$dir/array" >"$dir/err" 2>&1
check "the set has the bytes of the one made in one go"
[ "$(cat "$dir"/job.*.1.out | grep -c 'part 2/2, as SLURM_ARRAY_TASK_ID')" = 2 ] &&
    [ "$(find "$dir/array" -name '*.png' | wc -l)" = 240 ]
check "the task that was told to stop asked for its requeue itself; all pictures are there"

# ---- a training by srun on two nodes
mkdir "$dir/set" && for k in 1 2 3; do mkdir "$dir/set/$k" && cp "$dir/whole/"*"$k"/*.png "$dir/set/$k/"; done
trained="resnet --data $dir/set --arch resnet18 --width 8 --size 32 --batch 4 --accumulate 4 --seed 5 --workers 1"
run train $trained --steps 60 --checkpoint-every 10 -t 1 -q -o "$dir/one"
[ "$rc" = 0 ]
check "the training on one process"
job=$(submit --nodes=2 scripts/slurm/train.sbatch $trained --steps 60 --checkpoint-every 10 -o "$dir/two")
trains() { [ "$(wc -l <"$dir/two/log.jsonl")" -gt 3 ]; }
wait_for 60 trains
check "srun trains on two nodes"
scancel -s USR1 "$job"
check "a signal to all its ranks"
wait_for 300 over "$job"
grep -q 'stopped after step' "$dir/job.$job".*.out && grep -q 'goes on from its checkpoint' "$dir/job.$job".*.out
check "it stopped with a checkpoint, and went on after its requeue"
cmp -s "$dir/one/model.safetensors" "$dir/two/model.safetensors"
check "the network has the bits of the one trained by one process"
srun -N 2 -n 2 --mpi=none "$imago" train $trained --steps 2 -q -o "$dir/none" >"$dir/out" 2>"$dir/err"
grep -q 'srun has started 2 tasks that cannot speak to each other' "$dir/err"
check "srun without MPI is told of --mpi"

if [ $failed -gt 0 ]; then tail -n 8 "$dir"/*.log "$dir"/*.out; fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
