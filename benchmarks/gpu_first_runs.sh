#!/usr/bin/env bash
# The first runs on a GPU host, through launch/submit.py with cluster none: quick_test with SmolLM2, and production
# with tensor parallel cut to the GPUs at hand on an 8B shape with random weights.
#   benchmarks/gpu_first_runs.sh SMOLLM2_DIR WORK_DIR RESULTS_DIR
# Every run has its own time limit; results are the summaries, the manifests and the plan table as printed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
small=${1:?usage: gpu_first_runs.sh SMOLLM2_DIR WORK_DIR RESULTS_DIR}
work=${2:?usage: gpu_first_runs.sh SMOLLM2_DIR WORK_DIR RESULTS_DIR}
results=${3:?usage: gpu_first_runs.sh SMOLLM2_DIR WORK_DIR RESULTS_DIR}
mkdir -p "$work" "$results"
python3 benchmarks/model_shape.py "$work/llama-8b-shape" --tokenizer "$small"
gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader | wc -l)

run() { # run NAME SECONDS SUBMIT_ARGUMENTS...: the published directory is $work/NAME
    local name=$1 limit=$2
    shift 2
    timeout -s KILL "$limit" python3 launch/submit.py --cluster none --data-root demo/scenarios \
        --runs-dir "$work/outputs/runs" --output-dir "$work/$name" --name "$name" "$@" 2>&1 |
        tee "$results/$name.log"
    local status=${PIPESTATUS[0]}
    echo "$name: exit $status"
    cp "$work/$name/inference_summary.json" "$results/$name.summary.json" 2>/dev/null ||
        tail -n 40 "$work"/outputs/runs/"$name"/tasks/1/*/*/*.log
    return "$status"
}

failed=0
run quick-test 300 --preset quick_test --checkpoint "$small" --dataset Chameleons || failed=1
run production 400 --preset production --checkpoint "$work/llama-8b-shape" --dataset Chameleons \
    --load-format dummy --tensor-parallel-size "$gpus" || failed=1
exit "$failed"
