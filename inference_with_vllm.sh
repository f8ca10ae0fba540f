#!/usr/bin/env bash
# Runs inference_vllm.py for one or more checkpoints, datasets and ablations, with a log file for each. Edit the
# calls at the end. 对多个模型、数据集或消融配置依次运行 inference_vllm.py，每次运行各有日志；请修改文件末尾的调用。
#
#   run_vllm_inference TASK CHECKPOINT DATASET ABLATION OUTPUT [TP] [SAMPLES] [FLAG ...]
#
# TASK names the log file; further flags go to inference_vllm.py as they are. DATASET is a name of
# configs/datasets.yaml below $VLLM_LAUNCH_DATA_ROOT, or give --scenario_path DIR among the flags.
# With arguments, this script makes that one call:  bash inference_with_vllm.sh TASK CHECKPOINT DATASET ...
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTHON=${PYTHON:-python}          # of the environment that has vLLM
LOG_DIR=${LOG_DIR:-"$root/slurm_logs"}

say() { printf '%(%F %T)T %s\n' -1 "$*"; }
fail() { say "error: $*" >&2; return 2; }

count_gpus() {
    if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
        local ids
        IFS=, read -ra ids <<<"$CUDA_VISIBLE_DEVICES"
        echo "${#ids[@]}"
    elif command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=index --format=csv,noheader | wc -l
    else
        echo 0
    fi
}

check_vllm() {
    "$PYTHON" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("vllm") is None)' ||
        fail "vLLM is not installed for $PYTHON. Activate its environment, or set PYTHON; see README.md, Install."
}

check_gpus() {
    local wanted=$1 gpus
    gpus=$(count_gpus)
    if ((gpus == 0)); then
        say "no GPU is visible: vLLM runs on the CPU, if its CPU build is installed"
    elif ((gpus < wanted)); then
        fail "$gpus GPUs are visible, tensor parallel $wanted needs $wanted. Lower TP, or see CUDA_VISIBLE_DEVICES."
    fi
}

run_vllm_inference() {
    if (($# < 5)); then
        fail "usage: run_vllm_inference TASK CHECKPOINT DATASET ABLATION OUTPUT [TP] [SAMPLES] [FLAG ...]"
        return
    fi
    local task=$1 checkpoint=$2 dataset=$3 ablation=$4 output=$5 tp=${6:-1} samples=${7:-5}
    shift $(($# < 7 ? $# : 7))
    [[ $tp =~ ^[1-9][0-9]*$ ]] || { fail "TP: expected a number of GPUs, got '$tp'"; return; }
    check_vllm || return
    check_gpus "$tp" || return
    [[ -d $checkpoint || $checkpoint != /* ]] || { fail "$checkpoint: no such checkpoint directory"; return; }
    [[ -n $task && $task != */* ]] || { fail "TASK: expected a name for the log file, got '$task'"; return; }
    if ! mkdir -p "$LOG_DIR" 2>/dev/null || [[ ! -w $LOG_DIR ]]; then
        fail "$LOG_DIR: cannot write logs there. Set LOG_DIR."
        return
    fi
    local log="$LOG_DIR/$task.log" status=0
    say "$task: $dataset, $ablation -> $output (log: $log)"
    "$PYTHON" "$root/inference_vllm.py" \
        --checkpoint_dir "$checkpoint" --dataset "$dataset" --ablation_config "$ablation" \
        --output_dir "$output" --tensor_parallel_size "$tp" --num_samples "$samples" "$@" 2>&1 |
        tee -a "$log" || status=${PIPESTATUS[0]}
    say "$task: ended with $status"
    return "$status"
}

if (($# > 0)); then
    run_vllm_inference "$@"
    exit
fi

# ------------------------------------------------------------------------------------------------ edit from here
# export VLLM_LAUNCH_DATA_ROOT=/data/GIDigitalTwinBench
# run_vllm_inference chameleons /models/Llama-3.1-8B-Instruct Chameleons profile_and_context outputs/chameleons 1 5
# run_vllm_inference dmsc       /models/Qwen2.5-72B-Instruct  DMSC       profile_and_history outputs/dmsc       4 5
say "nothing to do: edit the calls at the end of ${BASH_SOURCE[0]}"
