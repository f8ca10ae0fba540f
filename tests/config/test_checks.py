"""Settings that contradict each other are refused; settings that nothing reads are said."""

import pytest

from launch.config.checks import ignored_by_engine
from launch.config.layers import Layers, resolve
from launch.config.schema import EngineKind
from launch.errors import ConfigError

from .conftest import Write


def refusal(*sets: str, preset: str = "production") -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(Layers(preset, sets=sets))
    return str(caught.value)


def warnings(*sets: str, preset: str = "production", cluster: str | None = None) -> tuple[str, ...]:
    return resolve(Layers(preset, cluster, sets=sets)).warnings


class TestGreedy:
    def test_a_flag_makes_a_presets_samples_one_aloud(self, write: Write) -> None:
        write("q.yaml", "sampling:\n  num_samples: 5\n")
        resolved = resolve(Layers("q.yaml", flags={"sampling.temperature": ("--temperature", 0.0)}))
        assert resolved.config.sampling.num_samples == 1
        assert resolved.origins["sampling.num_samples"] == "temperature 0, --temperature"
        assert resolved.warnings == (
            "--temperature: temperature 0 is greedy: num_samples becomes 1 (was 5, q.yaml:2).",
        )

    def test_the_default_becomes_one_aloud_and_is_recorded(self, write: Write) -> None:
        write("q.yaml", "sampling:\n  temperature: 0\n")
        resolved = resolve(Layers("q.yaml"))
        assert resolved.config.sampling.num_samples == 1
        assert resolved.warnings == ("q.yaml:2: temperature 0 is greedy: num_samples becomes 1.",)

    def test_a_child_counts_as_higher_than_its_parent(self, write: Write) -> None:
        write("q.yaml", "extends: production\nsampling:\n  temperature: 0\n")
        assert resolve(Layers("q.yaml")).config.sampling.num_samples == 1

    def test_the_same_command_line_contradicts_itself(self) -> None:
        flags = {"sampling.num_samples": ("--num_samples", 3)}
        with pytest.raises(ConfigError) as caught:
            resolve(Layers("production", flags=flags, sets=["sampling.temperature=0"]))
        assert str(caught.value) == (
            "--num_samples: sampling.num_samples: expected 1 with temperature 0 (--set"
            " sampling.temperature=0), got 3;"
            " greedy samples would be copies. Leave num_samples out or raise temperature."
        )

    def test_samples_above_a_greedy_preset_are_refused(self, write: Write) -> None:
        write("q.yaml", "sampling:\n  temperature: 0\n")
        message = refusal("sampling.num_samples=2", preset="q.yaml")
        assert message.startswith(
            "--set sampling.num_samples=2: sampling.num_samples: expected 1 with temperature 0"
        )

    def test_one_sample_says_nothing(self) -> None:
        assert warnings("sampling.temperature=0", preset="quick_test") == ()


class TestImpossible:
    def test_lengths(self) -> None:
        assert refusal("prompt.max_prompt_tokens=7681") == (
            "--set prompt.max_prompt_tokens=7681: prompt.max_prompt_tokens: 7681 and sampling.max_tokens"
            " 512 are more"
            " than engine.max_model_len 8192. Write at most 7680, or leave it out."
        )
        assert (
            resolve(Layers("production", sets=["prompt.max_prompt_tokens=7680"])).config.max_prompt_tokens
            == 7680
        )

    def test_no_room_for_a_prompt(self) -> None:
        assert refusal("sampling.max_tokens=8192") == (
            "--set sampling.max_tokens=8192: sampling.max_tokens: 8192 leaves no room for a prompt in"
            " engine.max_model_len 8192. Write less than 8192, or raise engine.max_model_len."
        )

    def test_defaults_that_a_model_len_breaks_name_what_was_set(self, write: Write) -> None:
        write("q.yaml", "engine:\n  max_model_len: 512\n")
        assert refusal(preset="q.yaml").startswith("q.yaml:2: sampling.max_tokens: 512 leaves no room")

    def test_gpus(self) -> None:
        assert refusal("resources.gpus_per_task=2") == (
            "--set resources.gpus_per_task=2: resources.gpus_per_task: expected 4"
            " (engine.tensor_parallel_size 4 x"
            " engine.engines_per_node 1) or 0 on a CPU, got 2. Leave it out."
        )
        assert resolve(Layers("production", sets=["resources.gpus_per_task=0"])).config.gpus_per_task == 0

    def test_lead(self) -> None:
        assert refusal("resources.time=2") == (
            "--set resources.time=2: resources.time: 2 is not longer than resources.signal_lead_s, 120 s."
            " Write a"
            " longer time, or a smaller lead."
        )

    @pytest.mark.parametrize(("section", "mem"), [("resources", "64G"), ("resources.merge", "4G")])
    def test_two_kinds_of_memory(self, section: str, mem: str) -> None:
        sets = [f"{section}.extra_sbatch.mem-per-cpu=4G", f"{section}.mem={mem}"]
        assert refusal(*sets) == (
            f"--set {sets[0]}: {section}.extra_sbatch.mem-per-cpu: Slurm takes it or --mem, and"
            f" {section}.mem is {mem}."
            f" Write one of them; {section}.mem: null unsets the other."
        )
        resolve(Layers("production", "slurm", sets=[sets[0], f"{section}.mem=null"]))

    def test_an_image_that_nothing_starts(self) -> None:
        image = "resources.environment=/images/vllm.sif"
        message = refusal(image, "resources.container=[apptainer, exec, other.sif]")
        assert message.startswith(
            "--set resources.environment=/images/vllm.sif: resources.environment: no word of"
            " resources.container is /images/vllm.sif"
        )
        assert "no word of resources.container" in refusal(image)
        resolve(Layers("production", sets=(image, "resources.container=[apptainer, exec, /images/vllm.sif]")))
        resolve(Layers("production", sets=("resources.environment=/envs/vllm.tar.zst",)))


class TestIgnored:
    def test_a_budget_for_nothing(self) -> None:
        budget = "resources.stage_budget_gib=7"
        assert warnings(budget) == (
            "--set resources.stage_budget_gib=7: resources.stage_budget_gib: ignored, nothing is staged.",
        )
        assert warnings(budget, "resources.stage_weights=true") == ()

    @pytest.mark.parametrize(
        ("other", "reason"),
        [
            ("engine.enforce_eager=true", "engine.enforce_eager has no CUDA graphs"),
            ("engine.torch_compile=true", "with torch.compile vLLM has graphs of its own"),
            ("engine.batch_invariant=true", "such graphs are off with batch invariance"),
            ("engine.tensor_parallel_size=2", "such graphs are off with tensor parallelism"),
        ],
    )
    def test_graphs_that_will_not_be(self, other: str, reason: str) -> None:
        graphs = "engine.full_cuda_graphs=true"
        assert warnings(graphs, other, preset="throughput") == (
            f"--set {graphs}: engine.full_cuda_graphs: ignored, {reason}.",
        )
        for more in ((), ("engine.torch_compile=false",)):
            assert warnings(graphs, *more, preset="throughput") == ()

    def test_slurm_settings_without_slurm(self) -> None:
        sets = ["resources.partition=gpu", "resources.merge.mem=8G", "resources.extra_sbatch.nice=1"]
        assert warnings(*sets) == (
            "--set resources.partition=gpu: resources.partition, resources.merge.mem and"
            " resources.extra_sbatch.nice: ignored, resources.scheduler is none.",
        )
        assert warnings(*sets, cluster="slurm") == ()

    def test_time_and_python_without_slurm(self) -> None:
        sets = ["resources.time=01:00:00", "resources.python=/opt/python"]
        assert warnings(*sets) == (
            "--set resources.time=01:00:00: resources.time: ignored, but for the number of tasks:"
            " resources.scheduler is none.",
            "--set resources.python=/opt/python: resources.python: ignored, resources.scheduler is none, and"
            " there is no container.",
        )
        assert warnings(*sets, cluster="slurm") == ()
        assert len(warnings(*sets, "resources.container=[podman]")) == 1

    def test_sampling_controls_when_greedy(self, write: Write) -> None:
        write(
            "q.yaml", "sampling:\n  num_samples: 1\n  temperature: 0\n  top_k: 5\n  top_p: 0.5\n  seed: 1\n"
        )
        assert warnings(preset="q.yaml") == (
            "q.yaml:4: sampling.top_k and sampling.top_p: ignored, temperature is 0.",
        )

    def test_what_the_ablation_leaves_out(self) -> None:
        sets = [
            "prompt.ablation_config=profile_only",
            "prompt.max_history_entries=3",
            "prompt.max_context_turns=3",
        ]
        assert warnings(*sets, preset="quick_test") == (
            "--set prompt.max_history_entries=3: prompt.max_history_entries: ignored, profile_only has no"
            " history.",
            "--set prompt.max_context_turns=3: prompt.max_context_turns: ignored, profile_only has no"
            " context.",
        )

    def test_idle_gpus(self) -> None:
        assert warnings("resources.gpus_per_task=6") == (
            "--set resources.gpus_per_task=6: resources.gpus_per_task: 2 of 6 GPUs will idle; the engines"
            " take 4.",
        )

    def test_whole_nodes(self) -> None:
        sets = ("resources.scheduler=slurm", "resources.whole_node_gpus=8")
        assert warnings(*sets) == ()
        assert warnings(*sets, "engine.engines_per_node=1") == (
            "--set resources.whole_node_gpus=8: resources.whole_node_gpus: 4 of 8 GPUs will idle; the engines"
            " take 4.",
        )
        assert warnings("resources.whole_node_gpus=8") == (
            "--set resources.whole_node_gpus=8: resources.whole_node_gpus: ignored, resources.scheduler is"
            " none.",
        )
        assert refusal("resources.scheduler=slurm", "resources.whole_node_gpus=2").endswith(
            ": resources.whole_node_gpus: a node has 2, and a task needs 4 (engine.tensor_parallel_size 4 x 1"
            " engines). Lower one of them."
        )
        one_engine = ("engine.engines_per_node=1", "engine.tensor_parallel_size=8")
        assert refusal(*sets, *one_engine, "resources.gpus_per_task=16").endswith(
            ": resources.gpus_per_task: got 16, and a node has resources.whole_node_gpus 8. Write 8 or less,"
            " or leave it out."
        )

    def test_what_only_vllm_reads(self) -> None:
        places = {"engine.enforce_eager": "q.yaml:3", "engine.max_model_len": "q.yaml:4"}
        assert ignored_by_engine(EngineKind.TRANSFORMERS, places) == [
            "q.yaml:3: engine.enforce_eager: ignored, the engine is transformers."
        ]
        assert ignored_by_engine(EngineKind.VLLM, places) == []
