#!/bin/bash
# A whole Slurm cluster on this machine, for tests: munged, slurmctld, and two nodes on loopback, each with a host name of its own (a UTS
# namespace) and by its name reached from the other, so that programs see two hosts; each has two GPUs in name only. As root, with Debian's slurm-wlm and munge; with slurmdbd and mariadb-server it keeps accounts.
#
#   cluster.sh start FOLDER       makes the cluster in an empty FOLDER; use it with SLURM_CONF=FOLDER/slurm.conf
#   cluster.sh stop FOLDER        ends all of it
#   cluster.sh down FOLDER NODE   cuts the power of node-a or node-b: kills all that runs there
#   cluster.sh up FOLDER NODE     starts it again
#   cluster.sh forget FOLDER      has squeue forget jobs soon after their end, not after an hour
set -eu
what=$1
dir=$(realpath "$2")
export SLURM_CONF="$dir/slurm.conf"

slurmd_of() { cat "$dir/slurmd-$1.pid"; }

up() {
  unshare --uts --mount sh -c 'hostname "$1" && mount --bind "$2" /etc/hosts && exec slurmd -f "$SLURM_CONF" -N "$1"' sh "$1" "$dir/hosts"
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

keeps_accounts() {
  command -v slurmdbd >/dev/null && command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null
}

# The database, and the daemon that keeps accounts in it; needs munged.
start_accounts() {
  local port=$1
  mariadb-install-db --no-defaults --datadir="$dir/database" --user=root --auth-root-authentication-method=normal >"$dir/log/database.log" 2>&1
  setsid mariadbd --no-defaults --datadir="$dir/database" --user=root --socket="$dir/database.sock" --pid-file="$dir/mariadbd.pid" \
    --bind-address=127.0.0.1 --port="$port" --innodb-buffer-pool-size=32M >>"$dir/log/database.log" 2>&1 &
  for _ in $(seq 100); do
    if mariadb --no-defaults --socket="$dir/database.sock" --execute='select 1' >/dev/null 2>&1; then break; fi
    sleep 0.2
  done
  mariadb --no-defaults --socket="$dir/database.sock" \
    --execute="create user slurm@'%' identified by 'slurm'; create user slurm@localhost identified by 'slurm'; grant all on slurm.* to slurm@'%'; grant all on slurm.* to slurm@localhost"
  cat >"$dir/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/munge.sock
DbdHost=$(hostname)
DbdAddr=127.0.0.1
DbdPort=$((port + 1))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$port
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile=$dir/slurmdbd.pid
LogFile=$dir/log/slurmdbd.log
CONF
  chmod 600 "$dir/slurmdbd.conf"
  slurmdbd
  for _ in $(seq 100); do
    if sacctmgr --immediate add cluster longsight >"$dir/log/sacctmgr.log" 2>&1; then return; fi
    sleep 0.2
  done
  echo "slurmdbd did not come up; see $dir/log" >&2
  return 1
}

start() {
  local port=$((20000 + RANDOM % 10000)) accounts=AccountingStorageType=accounting_storage/none
  if keeps_accounts; then
    accounts="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 4))
AccountingStoragePass=$dir/munge.sock"
  fi
  mkdir -p "$dir/state" "$dir/spool-node-a" "$dir/spool-node-b" "$dir/log"
  chmod 700 "$dir" # munge takes no folder that others may write to
  { cat /etc/hosts && echo "127.0.0.1 node-a node-b"; } >"$dir/hosts"
  # Slurm takes devices only.
  ln -s /dev/null "$dir/gpu-0"
  ln -s /dev/zero "$dir/gpu-1"
  echo "Name=gpu File=$dir/gpu-[0-1]" >"$dir/gres.conf"
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
$accounts
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
GresTypes=gpu
NodeName=node-a Gres=gpu:2 NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 RealMemory=1000 State=UNKNOWN
NodeName=node-b Gres=gpu:2 NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP
CONF
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.sock" --pid-file="$dir/munged.pid" \
    --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed"
  if keeps_accounts; then start_accounts $((port + 3)); fi
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
  for name in slurmctld slurmdbd mariadbd munged; do
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

forget() {
  sed --in-place 's/^MinJobAge=.*/MinJobAge=2/' "$SLURM_CONF"
  scontrol reconfigure
}

case $what in
  start | stop | forget) $what ;;
  up | down) $what "$3" ;;
  *) echo "cluster.sh start|stop|forget FOLDER, or up|down FOLDER NODE" >&2; exit 2 ;;
esac
