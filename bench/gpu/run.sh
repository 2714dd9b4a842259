#!/bin/bash
# Checks and measures Longsight on a GPU host without Node or network, side by side with JAX and PyTorch.
# usage: bash bench/gpu/run.sh STAGE...      results: one JSON line each in $OUT/results.jsonl (OUT: ./build/out if unset)
# Needs build/longsight-linux-x64.tar.xz (npm run bundle) and build/gpu (npx tsc -p bench/gpu/tsconfig.json), a driver, and a
# python3 with the CUDA PJRT plugin; jax and torch for their stages.
set -u
. "$(dirname "$0")/host.sh"

longsight() { note "$1" "longsight $*" "$node" "$here/bench/gpu/longsight.mjs" "$home" train "${@:2}"; }
prepare() { "$node" "$here/bench/gpu/longsight.mjs" "$home" prepare "$work/$1" "$1" >> "$log" 2>&1; }
jax() { note 240 "jax $*" python3 "$here/bench/peers/jax_gpu.py" "$@"; }
torch() { note 300 "torch $*" python3 "$here/bench/peers/torch_gpu.py" "$@"; }
packed_torch=${PACKED_TORCH:-packed-s1-swa-128 packed-main}
packed_kernels() { note "$1" "$2" env UV_THREADPOOL_SIZE=16 "$node" "$here/bench/gpu/packed-kernels.mjs" "$home" "${@:3}"; }
packed() { note "$1" "packed ${*:2}" "$node" "$here/bench/gpu/packed.mjs" "$home" "${@:2}"; }
# The configurations of flash-linear-attention's kernels, compiled side by side for at most so many seconds.
compile_fla() { # limit mixer:processes...
  local limit=$1 begin=$SECONDS pair i
  shift
  for pair in "$@"; do
    for ((i = 0; i < ${pair#*:}; i++)); do
      timeout "$limit" python3 "$here/bench/peers/fla_gpu.py" --unguarded --mixers "${pair%:*}" --tuned "$work/tuned" \
        --slice "$i/${pair#*:}" >> "$OUT/fla-compile.txt" 2>&1 &
    done
  done
  wait
  echo "-- fla compiled $(ls "$work/tuned" | wc -l) configurations, $((SECONDS - begin)) s"
}
tuned() { XLA_FLAGS="--xla_gpu_enable_triton_gemm=false" "$@"; }

for stage in "$@"; do
  case $stage in
    facts) nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader | tee -a "$log" ;;
    doctor) timeout 200 "$home/bin/longsight" doctor --json 2>> "$log" | tee -a "$results" | cut -c1-1500 ;;
    attention) note 240 attention "$node" "$home/gpu/test/gpu/check.js" cuda attention kernels ;;
    f32) note 400 f32 "$node" "$home/gpu/test/gpu/check.js" cuda f32 > "$OUT/f32.txt"; tail -2 "$OUT/f32.txt"; grep '"ok":false' "$OUT/f32.txt" ;;
    bf16) note 400 bf16 "$node" "$home/gpu/test/gpu/check.js" cuda bf16 > "$OUT/bf16.txt"; tail -2 "$OUT/bf16.txt"; grep '"ok":false' "$OUT/bf16.txt" ;;
    main) prepare main; longsight 240 main --in "$work/main" ;;
    again) longsight 120 main --in "$work/main" --label 'longsight, second start' ;;
    idle) note 120 idle "$node" "$here/bench/gpu/longsight.mjs" "$home" idle main ${SPANS:+--spans "$SPANS"} ;;
    losses) longsight 240 main --in "$work/main" --losses 200 --label 'longsight, losses' ;;
    jax) prepare main; jax "$work/main" ;;
    jax-tuned) tuned jax "$work/main" --label 'jax, triton gemm off' ;;
    jax-losses) jax "$work/main" --losses 200 --label 'jax, losses' ;;
    torch) prepare main; torch "$work/main" ;;
    torch-losses) torch "$work/main" --losses 200 --label 'torch, losses' ;;
    long) longsight 300 long-16k long-64k swa-4k swa-16k swa-64k --steps 5 ;;
    jax-long) for c in long-16k long-64k; do prepare $c; jax "$work/$c" --steps 5; done ;;
    torch-long) for c in long-16k long-64k; do prepare $c; torch "$work/$c" --steps 5; done ;;
    sizes) longsight 500 s1 s2 s3 s4 s5 --steps 5; longsight 300 s1 s2 s3 s4 s5 --steps 5 --rounds 1 --label 'longsight, second start' ;;
    hybrids) # HYBRIDS: cases
      longsight 300 ${HYBRIDS:-hybrid-swa hybrid-lightning hybrid-gla hybrid-mamba2 hybrid-gdn hybrid-kda hybrid-rwkv7} --steps 5 ;;
    recurrence-check) note 200 recurrence-check "$node" "$home/gpu/test/gpu/check.js" cuda recurrences ;;
    recurrences) # each mixer alone; MIXERS, FORMS and TOKENS: these
      "$node" "$here/bench/gpu/recurrences.mjs" "$home" "$work/recurrences"
      note 400 recurrences python3 "$here/bench/gpu/recurrences.py" "$work/recurrences" --stages check,time,profile \
        --forms "${FORMS:-kernels}" ${MIXERS:+--mixers "$MIXERS"} ${TOKENS:+--tokens "$TOKENS"} ;;
    fla) # its package on PYTHONPATH; FLA: mixers and the processes that compile for each
      shares=(${FLA:-lightning:2 gla:2 mamba2:3 gdn:3 kda:6 rwkv7:6})
      mixers=$(IFS=,; echo "${shares[*]%:*}")
      compile_fla "${LIMIT:-150}" "${shares[@]}"
      note 300 fla python3 "$here/bench/peers/fla_gpu.py" --unguarded --tuned "$work/tuned" --mixers "$mixers" ;;
    # Packed documents: `packed-first packed-tune packed-speed packed-torch packed-more`, the most wanted first. PACKED and
    # PACKED_TORCH: cases, the most wanted first.
    packed-first) # compiles side by side for what follows, PyTorch too; at most 130 s; nothing is timed
      for c in $packed_torch; do prepare "$c"; done
      for c in $packed_torch; do
        timeout "${WARM:-125}" python3 "$here/bench/peers/torch_gpu.py" "$work/$c" --steps 1 --rounds 1 >> "$log" 2>&1 &
      done
      packed_kernels 120 packed-compile --compile-only
      wait ;;
    packed-tune) # the kernels cut in several ways; the fastest that is right goes to packed-speed; at most 60 s
      packed_kernels 60 packed-tune --choose "$OUT/packed-tuning.json" ;;
    packed-speed) # steps against rows of one document, about 17 s a case
      [ -f "$OUT/packed-tuning.json" ] && chosen=(--tuning "$OUT/packed-tuning.json") || chosen=()
      for c in ${PACKED:-row-s1-swa-128 row-s1-full main}; do packed 45 "$c" "${chosen[@]}"; done ;;
    packed-more) PACKED="row-s1-gdn row-s1-mamba2" bash "$0" packed-speed ;;
    packed-torch) # after packed-first, 20 to 40 s a case
      for c in $packed_torch; do prepare "$c"; note 120 "torch $c" python3 "$here/bench/peers/torch_gpu.py" "$work/$c"; done ;;
    packed-losses)
      for c in $packed_torch; do
        prepare "$c"
        longsight 120 "$c" --in "$work/$c" --losses 60
        torch "$work/$c" --losses 60
      done ;;
    study) # eight small runs, kills, a shared device, a real run, precision of evaluation
      note 300 study "$node" "$here/bench/gpu/study.mjs" "$home" "$work/study" ${STUDY:-killed undisturbed shared real eval-precision}
      mkdir -p "$OUT/study"; cp "$work"/study/*.log "$OUT/study/" ;;
    real-text) # a study of C code (FILE of presets/studies) on shards in SHARDS; again: goes on; LIMIT: seconds; RUNS: these alone
      timeout -s INT "${LIMIT:-560}" "$home/bin/longsight" study "$here/presets/studies/${FILE:-real-text-short}.yaml" \
        ${RUNS:+--only "$RUNS"} --set "data.path=$SHARDS" --out "$work/real-text" > "$OUT/real-text.log" 2>&1
      echo "-- real-text: exit $?"; tail -c 1500 "$OUT/real-text.log" ;;
    share) # how much of the runs of real-text was no training step
      note 30 share "$node" "$here/bench/gpu/share.mjs" "$work/real-text" ;;
    real-text-analyze) # what carries the recall; LIMIT: seconds
      timeout -s INT "${LIMIT:-100}" "$home/bin/longsight" analyze "$work/real-text" --only "${ONLY:-limits,masking}" > "$OUT/analyze.log" 2>&1
      echo "-- real-text-analyze: exit $?"; tail -c 900 "$OUT/analyze.log" ;; # its last lines: the mean time of each analysis
    real-text-records) # everything but checkpoints, in pieces below 16 MiB
      "$home/bin/longsight" report "$work/real-text" > "$OUT/report.log" 2>&1
      tar -C "$work" --exclude=checkpoints -cJf - real-text | split -b 15000000 - "$OUT/real-text.tar.xz." ; ls -la "$OUT" ;;
    eval-precision) note 200 eval-precision "$node" "$here/bench/gpu/study.mjs" "$home" "$work/study" eval-precision ;;
    packed-check) # results, about 75 s
      note 110 packed-check "$node" "$home/gpu/test/gpu/check.js" cuda packed > "$OUT/packed-check.txt"
      tail -2 "$OUT/packed-check.txt"
      grep '"ok":false' "$OUT/packed-check.txt" | cut -c1-600 ;;
    packed-cudnn) prepare packed-s1-swa-128; note 90 cudnn-packed python3 "$here/bench/peers/cudnn_packed.py" "$work/packed-s1-swa-128" ;;
    sweep) # what was tried
      longsight 120 main --in "$work/main" --label 'triton gemm on' --xla xla_gpu_enable_triton_gemm=true
      longsight 120 main --in "$work/main" --label 'flat moments' --moments flat ;;
    prompts) # reading prompts and decoding beside Transformers, RULER samples; at most 200 s; PROMPTS: cases, the most wanted first
      for c in main qwen3; do "$node" "$here/bench/gpu/prompts.mjs" "$home" prepare "$work/prompts" "$c" >> "$log" 2>&1 & done
      wait
      for c in ${PROMPTS:-main qwen3}; do
        if [ "$c" = main ]; then limits=(75 65 55 45); parts=prompts,decode,check,ruler; peer=16x4096,1x65536
        else limits=(32 24 22 14); parts=prompts,decode,check; peer=16x4096; fi
        note "${limits[0]}" "prompts $c" "$node" "$here/bench/gpu/prompts.mjs" "$home" measure "$work/prompts" "$c" \
          --parts "$parts" --seconds "${limits[1]}"
        note "${limits[2]}" "prompts of the peer, $c" python3 "$here/bench/peers/prompts_gpu.py" "$work/prompts/$c" \
          --prompts "$peer" --seconds "${limits[3]}"
      done ;;
    *) echo "unknown stage $stage"; exit 2 ;;
  esac
done
