#!/bin/bash
# Measures Longsight on several GPUs of one host against one of them; any number of GPUs. Nothing but the bundle is needed.
# usage: bash bench/gpu/multi.sh [STAGE...]      all stages if none is named; results: one JSON line a figure in $OUT/results.jsonl
# DEVICES: how many (default: what nvidia-smi lists). SPEED=1 leaves out the losses of one device with the batch of all.
# PLATFORM=cpu TINY=1 tries it on virtual devices of XLA's CPU plugin.
# Needs build/longsight-linux-x64.tar.xz (npm run bundle), a driver, and a python3 with the CUDA PJRT plugin.
set -u
. "$(dirname "$0")/host.sh"

export NCCL_NVLS_ENABLE=0 # NVLink multicast stays off
platform=${PLATFORM:-cuda}
devices=${DEVICES:-$(nvidia-smi --query-gpu=name --format=csv,noheader | wc -l)}
options=(--devices "$devices" --platform "$platform")
[ "$platform" = cpu ] && options+=(--precision f32)
[ -n "${TINY:-}" ] && options+=(--tiny)
[ -n "${SPEED:-}" ] && options+=(--speed)
multi() { note "$1" "multi ${*:2}" "$node" "$here/bench/gpu/multi.mjs" "$home" "${@:2}" "${options[@]}"; }

[ $# -eq 0 ] && set -- facts scale-main scale-s5 options-main large killed hosts nodes deterministic repeated
for stage in "$@"; do
  case $stage in
    facts)
      [ "$platform" = cpu ] || nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee -a "$log"
      [ "$platform" = cpu ] || nvidia-smi topo -m | tee -a "$log"
      echo "{\"figure\":\"host\",\"date\":\"$(date -u +%F)\",\"devices\":$devices,\"device\":\"$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | sort | uniq -c | xargs)\",\"cores\":$(nproc)}" | tee -a "$results"
      ;;
    # The speed of the links first, in the same process: from it follows what collectives would take alone.
    scale-main) multi 150 links scale-main ;;
    scale-s5) multi 200 links scale-s5 ;;
    options-main | large | deterministic) multi 200 "$stage" ;;
    killed | repeated | hosts)
      note 200 "$stage" "$node" "$here/bench/gpu/multi-runs.mjs" "$home" "$work/$stage" "$stage" --devices "$devices" --platform "$platform" ${TINY:+--tiny}
      cat "$work/$stage"/*.log >> "$log"
      ;;
    # A node killed at a random step twenty times, with parameters divided over the nodes.
    nodes) note 420 nodes env HOME_OF_BUNDLE="$home" "$node" "$here/bench/kill-nodes.mjs" "${KILLS:-20}" 7 kill "$devices" fsdp ;;
    *) echo "unknown stage $stage"; exit 2 ;;
  esac
done
