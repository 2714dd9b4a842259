#!/bin/bash
# A whole Slurm cluster on this machine, for tests: munged, slurmctld, and two nodes on loopback, each with a host name of its own (a UTS
# namespace), so that programs see two hosts. As root, with Debian's slurm-wlm and munge.
#
#   cluster.sh start FOLDER       makes the cluster in an empty FOLDER; use it with SLURM_CONF=FOLDER/slurm.conf
#   cluster.sh stop FOLDER        ends all of it
#   cluster.sh down FOLDER NODE   cuts the power of node-a or node-b: kills all that runs there
#   cluster.sh up FOLDER NODE     starts it again
set -eu
what=$1
dir=$(realpath "$2")
export SLURM_CONF="$dir/slurm.conf"

slurmd_of() { cat "$dir/slurmd-$1.pid"; }

up() {
  unshare --uts sh -c 'hostname "$1" && exec slurmd -f "$SLURM_CONF" -N "$1"' sh "$1"
}

# Everything in the node's namespace: the daemon, the daemons of its jobs, and what they have started.
down() {
  local space process
  space=$(readlink "/proc/$(slurmd_of "$1")/ns/uts" || true)
  # Never this machine's own, whatever has the number of a daemon that is gone.
  if [ -z "$space" ] || [ "$space" = "$(readlink /proc/self/ns/uts)" ]; then return; fi
  for _ in 1 2 3; do
    for process in /proc/[0-9]*; do
      if [ "$(readlink "$process/ns/uts" 2>/dev/null)" = "$space" ]; then kill -KILL "${process#/proc/}" 2>/dev/null || true; fi
    done
  done
}

start() {
  local port=$((20000 + RANDOM % 10000))
  mkdir -p "$dir/state" "$dir/spool-node-a" "$dir/spool-node-b" "$dir/log"
  chmod 700 "$dir" # munge takes no folder that others may write to
  head -c 1024 /dev/urandom >"$dir/munge.key"
  chmod 600 "$dir/munge.key"
  cat >"$SLURM_CONF" <<CONF
ClusterName=longsight
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$port
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.sock
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=6
SlurmctldTimeout=10
MessageTimeout=5
KillWait=20
MinJobAge=3600
NodeName=node-a NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 RealMemory=1000 State=UNKNOWN
NodeName=node-b NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP
CONF
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.sock" --pid-file="$dir/munged.pid" \
    --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed"
  slurmctld -f "$SLURM_CONF"
  up node-a
  up node-b
  for _ in $(seq 100); do
    if [ "$(sinfo --noheader --Node --states=idle --partition=low --format=%N 2>/dev/null | wc -l)" = 2 ]; then return; fi
    sleep 0.2
  done
  echo "the nodes did not come up; see $dir/log" >&2
  return 1
}

stop() {
  local name pid
  for name in node-a node-b; do
    if [ -e "$dir/slurmd-$name.pid" ] && kill -0 "$(slurmd_of "$name")" 2>/dev/null; then down "$name"; fi
  done
  for name in slurmctld munged; do
    if [ -e "$dir/$name.pid" ]; then
      pid=$(cat "$dir/$name.pid")
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 50); do
        if ! kill -0 "$pid" 2>/dev/null; then break; fi
        sleep 0.1
      done
      kill -KILL "$pid" 2>/dev/null || true
    fi
  done
}

case $what in
  start | stop) $what ;;
  up | down) $what "$3" ;;
  *) echo "cluster.sh start|stop FOLDER, or up|down FOLDER NODE" >&2; exit 2 ;;
esac
