#!/usr/bin/env bash
# FP8 against bfloat16 on a GPU host: the same items, greedy, through launch/submit.py with cluster none; then
# `vllm-launch compare`. FP8 is vLLM's own rounding at load (--quantization fp8); with a checkpoint that
# `vllm-launch quantize --scheme fp8` made, that one is compared too.
#   benchmarks/fp8_compare.sh CHECKPOINT WORK_DIR RESULTS_DIR [FP8_CHECKPOINT]
# ITEMS (default: all of the scenario), MAX_TOKENS (64) and LIMIT_S (seconds a run may take, 400) may be set.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
usage="usage: fp8_compare.sh CHECKPOINT WORK_DIR RESULTS_DIR [FP8_CHECKPOINT]"
checkpoint=${1:?$usage}
work=${2:?$usage}
results=${3:?$usage}
fp8=${4:-}
mkdir -p "$work" "$results"

run() { # run NAME SUBMIT_ARGUMENTS...: the published directory is $work/NAME
    local name=$1
    shift
    timeout -s KILL "${LIMIT_S:-400}" python3 launch/submit.py --preset quick_test --cluster none --name "$name" \
        --dataset Chameleons --data-root demo/scenarios --runs-dir "$work/runs" --output-dir "$work/$name" \
        --limit-items "${ITEMS:-null}" --temperature 0 --max-tokens "${MAX_TOKENS:-64}" "$@" 2>&1 |
        tee "$results/$name.log"
    local status=${PIPESTATUS[0]}
    echo "$name: exit $status"
    cp "$work/$name/inference_summary.json" "$results/$name.summary.json" 2>/dev/null ||
        tail -n 40 "$work"/runs/"$name"/tasks/1/*/*/*.log
    return "$status"
}

against() { # against NAME: NAME compared with bfloat16, as a table and as JSON
    python3 -m launch.cli.app compare "$work/bf16" "$work/$1" --show 3 | tee "$results/bf16-$1.txt"
    local status=${PIPESTATUS[0]}
    python3 -m launch.cli.app compare "$work/bf16" "$work/$1" --json >"$results/bf16-$1.json" || status=1
    return "$status"
}

failed=0
run bf16 --checkpoint "$checkpoint" --dtype bfloat16 || exit 1
{ run fp8-online --checkpoint "$checkpoint" --dtype bfloat16 --quantization fp8 && against fp8-online; } || failed=1
if [ -n "$fp8" ]; then
    { run fp8-checkpoint --checkpoint "$fp8" --dtype bfloat16 && against fp8-checkpoint; } || failed=1
fi
exit "$failed"
