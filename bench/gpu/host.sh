# Sourced by the scripts beside it: unpacks the bundle of LONGSIGHT_BUILD (./build if unset), finds NVIDIA's libraries, and has
# `note`, which runs and records.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OUT=${OUT:-$here/build/out}
build=${LONGSIGHT_BUILD:-$here/build}
work=${LONGSIGHT_BENCH_FOLDER:-/tmp/longsight-bench}
mkdir -p "$OUT" "$work"
export LONGSIGHT_CACHE=$work/cache PYTHONUNBUFFERED=1
results=$OUT/results.jsonl
log=$OUT/log.txt

if [ ! -x "$work/longsight/bin/node" ]; then
  python3 -c "import sys, tarfile; tarfile.open(sys.argv[1], 'r:xz').extractall(sys.argv[2])" \
    "$build/longsight-linux-x64.tar.xz" "$work" || exit 1
  [ -d "$build/gpu" ] && cp -r "$build/gpu" "$work/longsight/gpu"
  # A newer build than the bundle's, where there is one.
  [ -d "$build/dist" ] && rm -rf "$work/longsight/dist" && cp -r "$build/dist" "$work/longsight/dist"
fi
home=$work/longsight
node=$home/bin/node
nvidia=$(python3 -c "
import glob, site, sys
folders = site.getsitepackages() + [site.getusersitepackages()]
print(':'.join(sorted(p for f in folders for p in glob.glob(f + '/nvidia/**/lib', recursive=True))))")
export LD_LIBRARY_PATH=$nvidia${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# Runs a command under a time limit; its JSON lines are results, the rest goes to the log.
note() { # limit name command...
  local limit=$1 name=$2 begin=$SECONDS
  shift 2
  echo "== $name: $*" >> "$log"
  timeout "$limit" "$@" 2>> "$log" | tee -a "$log" | grep '^{' | tee -a "$results" | cut -c1-420
  echo "-- $name: exit ${PIPESTATUS[0]}, $((SECONDS - begin)) s"
}
