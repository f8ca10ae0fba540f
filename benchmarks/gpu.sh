#!/usr/bin/env bash
# Measurements on a GPU host without network, in parts that each end within ten minutes:
#
#   benchmarks/gpu.sh OUT TOKENIZER PART...     OUT: for results; TOKENIZER: a checkpoint whose tokenizer is taken
#
#   parts for one GPU: overhead-bf16 overhead-compiled overhead-fp8 hf one-bf16 one-fp8 search search-ragged startup startup-model staged
#                      invariance batch-invariance monitor task-cost-1 task-cost-2
#   parts for two GPUs: two tp2 tp2-default
#   multi: on all GPUs that are visible, one engine over all beside one for each, through submit.py
#   table: what is there so far, as one table and OUT/table.json
#
# An afternoon, one command after another (each may be cut; what is in OUT stays, and `search` and `multi` go on where they were):
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR overhead-bf16
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR overhead-compiled
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR overhead-fp8
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR hf
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR one-bf16 one-fp8
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR search       # until it says: nothing is left
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR search-ragged       # lengths that differ, and few sequences a step
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR startup startup-model       # 8 tiny engines on one GPU; one of the model
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR staged       # 15 GiB of weights, copied to the node and found there
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR invariance   # with and without batch-invariant kernels
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR batch-invariance   # vLLM alone: the small model and the 8B shape
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR monitor      # beside nvidia-smi
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR task-cost-1  # 8,000 samples as one task and as 8
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR task-cost-2  # as 64, of which 6 are run, and without us
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR two          # with two GPUs
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR tp2
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR tp2-default
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR multi        # tensor parallelism beside engines, 1,600 items a GPU; until nothing is left
#   benchmarks/gpu.sh /tmp/out SMOLLM2_DIR table
#
# On a host with several GPUs one command for each may run at a time, with CUDA_VISIBLE_DEVICES and an OUT of its own.
# The model has the shape of Llama-3.1-8B and random weights; 1024 prompt and 256 output tokens, 5 samples each.
# PYTHON=python3, LIMIT=580 (seconds of a part), USERS=400, ENGINES=8, TOKENS=256, TASKS=2 and GPU_TYPE=h200 may be set. For a try on a CPU with a tiny model too:
#   MODEL=DIR USERS=4 DTYPE=float32 SHAPE="--prompt-tokens 64 --output-tokens 8 --num-samples 2" \
#   ROOM="--max-model-len 512" BARE="--set enforce_eager=true" benchmarks/gpu.sh OUT DIR hf one-bf16 two table
set -uo pipefail
cd "$(dirname "$0")/.." || exit
usage="usage: benchmarks/gpu.sh OUT TOKENIZER PART..."
out=$(realpath -m "${1:?$usage}") tokenizer=${2:?$usage}
shift 2
: "${1:?$usage}"
python=${PYTHON:-python3} limit=${LIMIT:-580} users=${USERS:-400} dtype=${DTYPE:-bfloat16}
read -ra shape <<<"${SHAPE:---prompt-tokens 1024 --output-tokens 256 --num-samples 5}"
read -ra room <<<"${ROOM:---max-model-len 8192}"
read -ra bare_flags <<<"${BARE:-}"
model=${MODEL:-$out/llama-8b-shape}
fp8=(--set 'quantization="fp8"' --set 'kv_cache_dtype="fp8"')
no_fusion=(--set 'compilation_config={"pass_config": {"fuse_allreduce_rms": false}}')
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# Modules that were installed without compiled ones take every process twice as long to import; bare engines, too.
export PYTHONPYCACHEPREFIX="${PYTHONPYCACHEPREFIX:-$out/bytecode}"
unset PYTHONDONTWRITEBYTECODE
mkdir -p "$out"
[ -e "$model/config.json" ] || "$python" benchmarks/model_shape.py "$model" --tokenizer "$tokenizer" || exit

# Every engine start has its own limit, which kills the whole process group: a failed tensor-parallel start hangs.
run() { # run NAME MODULE ARGUMENTS...
    local name=$1 module=$2 status
    shift 2
    echo "== $name"
    timeout -s KILL "$limit" "$python" -m "benchmarks.$module" "$@" --out "$out/$name.json" >"$out/$name.log" 2>&1
    status=$?
    grep -vE ' (INFO|WARNING) ' "$out/$name.log" | tail -n 15
    echo "$name: exit $status" | tee "$out/$name.exit"
    return "$status"
}

bare() { # bare NAME USERS ARGUMENTS...
    local name=$1 users=$2
    shift 2
    run "$name" bare_engine --checkpoint "$model" --users "$users" "${shape[@]}" "${room[@]}" \
        "${bare_flags[@]}" "$@"
}

overhead() { # overhead NAME ARGUMENTS...
    local name=$1
    shift
    run "$name" engine_overhead --checkpoint "$model" --load-format dummy --users "$users" "${shape[@]}" \
        "${room[@]}" --dtype "$dtype" "$@"
}

task_cost() { # task_cost PART...
    run task-cost task_cost --checkpoint "$model" --load-format dummy --gpu-type "${GPU_TYPE:-h200}" \
        --users $((4 * users)) "${shape[@]}" --dtype "$dtype" "$@"
}

one_of_two() { # one_of_two GPU: one of two engines at one time
    CUDA_VISIBLE_DEVICES=$1 bare "two-gpu$1" "$users" --beside 2 --meet "$meet"
}

for part in "$@"; do
    case $part in
    overhead-bf16) overhead overhead-bf16 ;;
    overhead-compiled) overhead overhead-compiled --torch-compile true ;;
    overhead-fp8) overhead overhead-fp8 --quantization fp8 --kv-cache-dtype fp8 ;;
    hf) run hf hf_baseline --checkpoint "$model" "${shape[@]}" --dtype "$dtype" --max-seconds $((limit - 100)) ;;
    one-bf16) bare one-bf16 "$users" ;;
    one-fp8) bare one-fp8 "$users" "${fp8[@]}" ;;
    two)
        meet=$out/meet.$$
        one_of_two 0 &
        one_of_two 1
        wait
        rm -rf "$meet"
        ;;
    tp2) bare tp2 $((2 * users)) --set tensor_parallel_size=2 "${no_fusion[@]}" ;;
    tp2-default) bare tp2-default $((2 * users)) --set tensor_parallel_size=2 ;;
    search)
        "$python" -m benchmarks.defaults_search --checkpoint "$model" --out "$out/search" --budget-s "$limit" \
            --shape --users "$users" "${shape[@]}" "${room[@]}" "${bare_flags[@]}"
        ;;
    search-ragged)
        "$python" -m benchmarks.defaults_search --checkpoint "$model" --out "$out/search-ragged" \
            --budget-s "$limit" --only defaults uncompiled full-graphs seqs-128 uncompiled-seqs-128 \
            twice-graphs-seqs-128 seqs-256 uncompiled-seqs-256 twice-graphs-seqs-256 \
            --shape --users "$users" --ragged "${shape[@]}" "${room[@]}" "${bare_flags[@]}"
        ;;
    startup) run startup startup --engines "${ENGINES:-8}" ;;
    startup-model) run startup-model startup --engines 1 --checkpoint "$model" --load-format dummy \
        --max-num-seqs 1024 ;;
    staged)
        weights=${WEIGHTS:-$out/weights}
        [ -e "$weights/config.json" ] ||
            "$python" -m benchmarks.model_shape "$weights" --tokenizer "$tokenizer" --weights || exit
        run staged startup --engines 1 --rounds 1 --checkpoint "$weights" --max-num-seqs 1024 together staged warm
        ;;
    invariance)
        run invariance invariance --engines vllm --batch-invariant --checkpoint "$tokenizer" --items 0 --num-samples 5 \
            --max-tokens "${TOKENS:-256}" --max-num-seqs 256 --tasks "${TASKS:-2}" "${room[@]}"
        ;;
    batch-invariance)
        run batch-invariance batch_invariance "$tokenizer"
        run batch-invariance-8b batch_invariance "$model" --load-format dummy
        ;;
    task-cost-1) task_cost warm one 8 ;;
    task-cost-2) task_cost --measured 6 64 bare ;;
    multi)
        gpus=$("$python" -c 'from benchmarks.record import list_gpus; print(max(1, len(list_gpus())))')
        run multi-gpu multi_gpu "$out/multi" --checkpoint "$model" --load-format dummy --dtype "$dtype" \
            --users $((gpus * 4 * users)) "${shape[@]}" "${room[@]}" --budget-s $((limit - 20)) --set "${no_fusion[1]}" \
            one throughput production uncompiled fused bare texts
        ;;
    monitor) run monitor gpu_monitor --real --seconds 60 ;;
    table) "$python" -m benchmarks.gpu_table "$out" ;;
    *) echo "$part: no such part. $usage" >&2; exit 2 ;;
    esac
done
