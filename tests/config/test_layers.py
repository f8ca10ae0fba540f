"""Presets, cluster files, flags and --set become one configuration with origins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.config.layers import Layers, overlay, resolve
from launch.config.presets import list_clusters, list_presets
from launch.config.schema import Scheduler
from launch.config.trees import leaves, merge
from launch.errors import ConfigError

from .conftest import Write

PRESETS = [name for name, _, _ in list_presets()]
CLUSTERS = [name for name, _, _ in list_clusters()]


def refusal(layers: Layers) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(layers)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_shipped_files_are_the_ones_the_readme_names() -> None:
    assert PRESETS == ["high_quality", "production", "quick_test", "single_node", "throughput"]
    assert CLUSTERS == ["example_gpu_partition", "none", "slurm"]
    assert all(description for _, description, _ in list_presets() + list_clusters())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_shipped_pair_resolves_without_a_warning(preset: str, cluster: str) -> None:
    resolved = resolve(Layers(preset, cluster))
    assert resolved.warnings == () and (resolved.preset, resolved.cluster) == (preset, cluster)
    assert (resolved.config.resources.scheduler is Scheduler.NONE) == (cluster == "none")


def test_production_and_what_extends_it() -> None:
    names = ("production", "high_quality", "throughput")
    production, high, throughput = (resolve(Layers(name)).config for name in names)
    engine, sampling = production.engine, production.sampling
    assert (engine.tensor_parallel_size, engine.gpu_memory_utilization, engine.max_model_len) == (
        4,
        0.9,
        8192,
    )
    assert sampling.num_samples == 5 and production.prompt.ablation_config == "profile_and_context"
    assert high.engine == engine
    assert (high.sampling.temperature, high.sampling.top_p, high.sampling.top_k) == (0.8, 0.95, 50)
    assert (high.sampling.max_tokens, high.sampling.seed, high.sampling.num_samples) == (512, 42, 5)
    assert (throughput.engine.tensor_parallel_size, throughput.gpus_per_task) == (1, 1)
    assert throughput.sampling == sampling


def test_quick_test_is_small() -> None:
    config = resolve(Layers("quick_test")).config
    assert (config.gpus_per_task, config.sampling.num_samples, config.sampling.max_tokens) == (1, 1, 32)
    assert config.data.limit_items == 12 and config.engine.enforce_eager is True


def test_order_and_origins(write: Write) -> None:
    write(
        "base.yaml",
        "sampling:\n  top_p: 0.1\n  top_k: 1\n  min_p: 0.1\n  max_tokens: 11\nresources:\n  qos: low\n",
    )
    write("child.yaml", "extends: base.yaml\nsampling:\n  top_k: 2\n  min_p: 0.2\n  max_tokens: 12\n")
    write(
        "here.yaml",
        "description: d\nscheduler: slurm\nqos: high\nmerge:\n  qos: m\nextra_sbatch: {nice: 1}\n",
    )
    flags = {"sampling.min_p": ("--min_p", 0.3), "sampling.max_tokens": ("--max_tokens", 13)}
    sets = ["sampling.max_tokens=14", "resources.extra_sbatch.exclude=n1"]
    resolved = resolve(Layers(Path("child.yaml"), "here.yaml", flags, sets))
    sampling, resources = resolved.config.sampling, resolved.config.resources
    assert (sampling.top_p, sampling.top_k, sampling.min_p, sampling.max_tokens) == (0.1, 2, 0.3, 14)
    assert resources.extra_sbatch == {"nice": 1, "exclude": "n1"}
    assert resources.qos == "high" and resources.merge.qos == "m"
    origins = resolved.origins
    assert origins["sampling.top_p"] == "base.yaml:2"
    assert origins["sampling.top_k"] == "child.yaml:3"
    assert origins["sampling.min_p"] == "--min_p"
    assert origins["sampling.max_tokens"] == "--set sampling.max_tokens=14"
    assert origins["resources.qos"] == "here.yaml:3"
    assert origins["resources.merge.qos"] == "here.yaml:5"
    assert origins["resources.extra_sbatch.nice"] == "here.yaml:6"
    assert origins["resources.extra_sbatch.exclude"] == "--set resources.extra_sbatch.exclude=n1"
    assert origins["sampling.seed"] == "default"
    assert set(origins) == set(leaves(resolved.config.model_dump(mode="json")))
    assert resolved.warnings == ("--max_tokens: ignored, for --set sampling.max_tokens=14 comes later.",)


def test_absent_is_not_null(write: Write) -> None:
    write("base.yaml", "engine:\n  max_num_seqs: 64\n  enforce_eager: true\n")
    write("child.yaml", "extends: base.yaml\nengine:\n  max_num_seqs: null\n")
    resolved = resolve(Layers(Path("child.yaml")))
    assert resolved.config.engine.max_num_seqs is None and resolved.config.engine.enforce_eager is True
    assert resolved.origins["engine.max_num_seqs"] == "child.yaml:3"
    assert resolve(Layers("base.yaml", sets=["engine.max_num_seqs=null"])).config.engine.max_num_seqs is None


def test_a_relative_extends_starts_at_its_file(write: Write) -> None:
    write("a/base.yaml", "sampling: {seed: 7}\n")
    assert resolve(Layers(write("a/child.yaml", "extends: ./base.yaml\n"))).config.sampling.seed == 7
    assert (
        resolve(Layers(write("a/own.yaml", "extends: production\n"))).config.engine.tensor_parallel_size == 4
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\n\nmodel:\n  dtype: bf16\n",
            "q.yaml:4: model.dtype: expected auto, bfloat16, float16 or float32, got 'bf16'. Write bfloat16.",
        ),
        (
            "sampling:\n  top_p: 2\n  temprature: 1\nmodel:\n  dtype: x\n",
            "q.yaml:2: sampling.top_p: expected at most 1, got 2. Mend it or leave it out for the default,"
            " 0.9."
            " (and 2 more)",
        ),
        (
            "sampling:\n  temprature: 1\n",
            "q.yaml:2: sampling.temprature: unknown key. Did you mean temperature?",
        ),
        (
            "engine:\n  dtype: auto\n",
            "q.yaml:2: engine.dtype: unknown key; there is model.dtype. Write it there.",
        ),
        (
            "engine:\n  temprature: 1\n",
            "q.yaml:2: engine.temprature: unknown key. Did you mean sampling.temperature?",
        ),
        ("top_p: 1\n", "q.yaml:1: top_p: unknown key; there is sampling.top_p. Write it there."),
        (
            "sampling.top_p: 1\n",
            "q.yaml:1: sampling.top_p: unknown key: dots are for --set. Write top_p below sampling,"
            " indented.",
        ),
        (
            f"sampling:\n  max_tokens: '{'1' * 5000}'\n",
            f"q.yaml:2: sampling.max_tokens: expected a whole number, got '{'1' * 56}.... Mend it or leave it"
            " out for the default, 512.",
        ),
        (
            "prompt:\n  chat_template_kwargs: {x: .inf}\n",
            "q.yaml:2: prompt.chat_template_kwargs.x: expected true or false, a whole number, a finite number"
            " or text, got inf. Write one of these.",
        ),
        ("extend: production\n", "q.yaml:1: extend: unknown key. Did you mean extends?"),
        (
            "xyz: 1\n",
            "q.yaml:1: xyz: unknown key. Write one of model, data, prompt, sampling, engine, resources,"
            " canary, publish,"
            " extends, description.",
        ),
        (
            "data:\n  qqqqq: 1\n",
            "q.yaml:2: data.qqqqq: unknown key. Write one of dataset, scenario_path, limit_users,"
            " limit_items.",
        ),
        (
            "sampling:\nmodel: {}\n",
            "q.yaml:1: sampling: expected settings under it, got null. Write settings under it, indented,"
            " or leave"
            " it out.",
        ),
        (
            "sampling: 5\n",
            "q.yaml:1: sampling: expected settings under it, got 5. Write settings under it, indented, or"
            " leave it"
            " out.",
        ),
        (
            "sampling:\n  top_p: null\n",
            "q.yaml:2: sampling.top_p: expected a number, got null. Leave it out for the default, 0.9.",
        ),
        (
            "sampling:\n  top_p: '0.5'\n",
            "q.yaml:2: sampling.top_p: expected a number, got '0.5'. Write 0.5 without quotes.",
        ),
        (
            "sampling:\n  temperature: true\n",
            "q.yaml:2: sampling.temperature: expected a number, got true. Mend it or leave it out for the"
            " default,"
            " 1.0.",
        ),
        (
            "sampling:\n  temperature: .inf\n",
            "q.yaml:2: sampling.temperature: expected a finite number, got inf. Mend it or leave it out for"
            " the"
            " default, 1.0.",
        ),
        ("sampling:\n  seed: 1.0\n", "q.yaml:2: sampling.seed: expected a whole number, got 1.0. Write 1."),
        (
            "sampling:\n  seed: '7'\n",
            "q.yaml:2: sampling.seed: expected a whole number, got '7'. Write 7 without quotes.",
        ),
        (
            "sampling:\n  seed: 010\n",
            "q.yaml:2: sampling.seed: expected a whole number, got '010'. Write 10.",
        ),
        (
            "sampling:\n  seed: 9223372036854775808\n",
            "q.yaml:2: 9223372036854775808 is no number of 64 bits. Write a smaller one, or quote it.",
        ),
        (
            "sampling:\n  stop_token_ids: [2, -1]\n",
            "q.yaml:2: sampling.stop_token_ids.1: expected at least 0, got -1. Mend it or leave it out.",
        ),
        (
            "sampling:\n  max_tokens: 0\n",
            "q.yaml:2: sampling.max_tokens: expected at least 1, got 0. Mend it or leave it out for the"
            " default, 512.",
        ),
        (
            "sampling:\n  top_p: 0\n",
            "q.yaml:2: sampling.top_p: expected more than 0, got 0. Mend it or leave it out for the"
            " default, 0.9.",
        ),
        ("sampling:\n  stop: END\n", "q.yaml:2: sampling.stop: expected a list, got 'END'. Write [END]."),
        (
            "resources:\n  container: apptainer exec --nv --bind /a,/b 'my x.sif'\n",
            "q.yaml:2: resources.container: expected a list, got \"apptainer exec --nv --bind /a,/b 'my"
            ' x.sif\'". Write [apptainer, exec, --nv, --bind, "/a,/b", my x.sif].',
        ),
        (
            "resources:\n  container: [apptainer exec --nv, x.sif]\n",
            "q.yaml:2: resources.container: expected a command as its first word, got 'apptainer exec --nv'."
            " Write [apptainer, exec, --nv, x.sif].",
        ),
        (
            "resources:\n  setup: |\n    module load x\n    export A=b\n",
            "q.yaml:2: resources.setup: expected a list, got 'module load x\\nexport A=b\\n'. Write one entry"
            " a line, each after `- `.",
        ),
        (
            "resources:\n  setup: 'echo a, b'\n",
            "q.yaml:2: resources.setup: expected a list, got 'echo a, b'. Write [\"echo a, b\"].",
        ),
        (
            "resources:\n  price_per_gpu_hour: 2.5\n",
            "q.yaml:2: resources.price_per_gpu_hour: expected an amount and three letters of a currency, got"
            " 2.5. Write such as 2.5 EUR.",
        ),
        (
            "resources:\n  price_per_gpu_hour: 2.5 Euro\n",
            "q.yaml:2: resources.price_per_gpu_hour: expected an amount and three letters of a currency, got"
            " '2.5 Euro'. Write such as 2.5 EUR.",
        ),
        (
            "sampling:\n  stop: [END,\n    5]\n",
            "q.yaml:3: sampling.stop.1: expected text, got 5. Write '5' in quotes.",
        ),
        (
            "sampling:\n  stop: ['']\n",
            "q.yaml:2: sampling.stop.0: expected text that is not empty, got ''. Mend it or leave it out.",
        ),
        (
            "model:\n  trust_remote_code: yes\n",
            "q.yaml:2: model.trust_remote_code: expected true or false, got 'yes'. Write true.",
        ),
        (
            "model:\n  engine: vlm\n",
            "q.yaml:2: model.engine: expected auto, vllm, transformers or stub, got 'vlm'. Write vllm.",
        ),
        (
            "model:\n  checkpoint: 5\n",
            "q.yaml:2: model.checkpoint: expected a path, got 5. Mend it or leave it out.",
        ),
        (
            "model:\n  checkpoint: ''\n",
            "q.yaml:2: model.checkpoint: expected a path, got ''. Leave it out, or write . for the current"
            " directory.",
        ),
        (
            "prompt:\n  chat_template_kwargs:\n    tokenize: true\n",
            "q.yaml:3: prompt.chat_template_kwargs.tokenize: tokenize is for vllm-launch to decide. Leave it"
            " out.",
        ),
        (
            "prompt:\n  ablation_config: profile\n",
            "q.yaml:2: prompt.ablation_config: expected profile_and_history_and_context, profile_and_history,"
            " profile_and_context, history_and_context, profile_only, history_only or context_only, got"
            " 'profile'."
            " Write profile_only.",
        ),
        (
            "prompt:\n  chat_template_kwargs:\n    a: [1]\n",
            "q.yaml:3: prompt.chat_template_kwargs.a: expected true or false, a whole number, a number or"
            " text, got"
            " [1]. Write one of these.",
        ),
        (
            "prompt:\n  chat_template_kwargs: [1]\n",
            "q.yaml:2: prompt.chat_template_kwargs: expected names with values, got [1]. Mend it or leave"
            " it out.",
        ),
        (
            "sampling:\n  temperature: 0\n  num_samples: 3\n",
            "q.yaml:3: sampling.num_samples: expected 1 with temperature 0, got 3; greedy samples would be"
            " copies."
            " Leave num_samples out or raise temperature.",
        ),
        (
            "resources:\n  time: 4h\n",
            "q.yaml:2: resources.time: expected a time limit above zero, got '4h'. Write minutes,"
            " hours:minutes:seconds or days-hours.",
        ),
        (
            "resources:\n  extra_sbatch:\n    gres: gpu:4\n",
            "q.yaml:3: resources.extra_sbatch.gres: vllm-launch writes --gres itself. Set"
            " resources.gpus_per_task,"
            " gpu_type and gpu_request.",
        ),
        ("extends: 5\n", "q.yaml:1: extends: expected text, got 5. Write a text."),
        ("description:\n", "q.yaml:1: description: expected text, got null. Write a text."),
        (
            "extends: prodcution\n",
            "q.yaml:1: extends: no preset named 'prodcution'. Did you mean production? Write one of"
            " high_quality,"
            " production, quick_test, single_node, throughput, or a file's path.",
        ),
        ("extends: none.yaml\n", "q.yaml:1: extends: no preset file 'none.yaml'. Check the path."),
        ("extends: q.yaml\n", "q.yaml:1: extends: a circle: q.yaml -> q.yaml. Remove one extends."),
        (
            "data:\n  dataset: Chamelon\n",
            "q.yaml:2: data.dataset: no dataset named 'Chamelon'. Did you mean Chameleons? Write one of"
            " Chameleons,"
            " DMSC, MovieLens, PERSONA-Bench, REALTALK, LovinkDialogue, LovinkQuestionnaire,"
            " RealPersonaChat, or give"
            " the scenario's path.",
        ),
    ],
)
def test_each_mistake_in_a_preset(write: Write, text: str, expected: str) -> None:
    write("q.yaml", text)
    assert refusal(Layers("q.yaml")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parition: x\n", "c.yaml:1: resources.parition: unknown key. Did you mean partition?"),
        (
            "partition: 'a b'\n",
            "c.yaml:1: resources.partition: expected one word without blanks or quotes, got 'a b'. Write it"
            " as Slurm"
            " does.",
        ),
        (
            "merge:\n  mem: 4GB\n",
            "c.yaml:2: resources.merge.mem: expected a number followed by K, M, G or T, got '4GB'."
            " Write 64G, or 0 for all of the node.",
        ),
        (
            "resources:\n  partition: x\n",
            "c.yaml:1: resources: a cluster file holds the section resources and nothing else. Write its"
            " keys at the"
            " top level.",
        ),
        (
            "scheduler: slurm\nengine:\n  max_num_seqs: 1\n",
            "c.yaml:2: engine: a cluster file holds the section resources and nothing else. Put it into a"
            " preset.",
        ),
        (
            "extends: slurm\n",
            "c.yaml:1: extends: a cluster file holds the section resources and nothing else. Write all keys"
            " out.",
        ),
        ("top_p: 1\n", "c.yaml:1: resources.top_p: unknown key; there is sampling.top_p. Write it there."),
    ],
)
def test_each_mistake_in_a_cluster_file(write: Write, text: str, expected: str) -> None:
    write("c.yaml", text)
    assert refusal(Layers("quick_test", "c.yaml")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "--set a: expected section.key=value. Write --set sampling.top_p=0.9."),
        ("=1", "--set =1: expected section.key=value. Write --set sampling.top_p=0.9."),
        ("a..b=1", "--set a..b=1: expected section.key=value. Write --set sampling.top_p=0.9."),
        (
            "data.dataset=",
            "--set data.dataset=: nothing after '='. Write null to unset it, or '\"\"' for an empty text.",
        ),
        (
            "sampling.top_p=[",
            "--set sampling.top_p=[: not YAML: did not find expected node content (column 1). Mend this"
            " line.",
        ),
        (
            "sampling.top_p=high",
            "--set sampling.top_p=high: sampling.top_p: expected a number, got 'high'. Mend it or leave it"
            " out for"
            " the default, 0.9.",
        ),
        (
            "extends=production",
            "--set extends=production: extends: only a file has extends. Write it in a preset.",
        ),
        (
            "sampling.stop.0=x",
            "--set sampling.stop.0=x: sampling.stop: expected a list, got {'0': 'x'}. Mend it or"
            " leave it out.",
        ),
        (
            "resources.partition=a\nb",
            "--set resources.partition=a\\U0000000Ab: resources.partition: expected one word without blanks"
            " or quotes,"
            " got 'a b'. Write it as Slurm does.",
        ),
    ],
)
def test_each_mistake_in_a_set(text: str, expected: str) -> None:
    assert refusal(Layers("quick_test", sets=[text])) == expected


def test_mistakes_of_all_layers_are_counted(write: Write) -> None:
    write("q.yaml", "sampling:\n  seed: -1\n")
    flags = {"sampling.top_p": ("--top_p", 7.0)}
    message = refusal(Layers("q.yaml", flags=flags, sets=["x=1"]))
    assert message.startswith("q.yaml:2: sampling.seed: expected at least 0, got -1.")
    assert message.endswith("(and 2 more)")


def test_a_mistake_that_a_later_layer_hides_is_still_named(write: Write) -> None:
    write("q.yaml", "sampling:\n  seed: -1\n")
    assert refusal(Layers("q.yaml", sets=["sampling.seed=1"])).startswith("q.yaml:2: sampling.seed: ")


def test_a_flag_is_named_as_typed() -> None:
    message = refusal(
        Layers("quick_test", flags={"prompt.ablation_config": ("--ablation_config", "context-only")})
    )
    assert message.startswith(
        "--ablation_config: prompt.ablation_config: expected profile_and_history_and_context,"
    )
    assert message.endswith("got 'context-only'. Write context_only.")


def test_unknown_preset_and_cluster(workspace: Path) -> None:
    assert refusal(Layers("quicktest")) == (
        "--preset: no preset named 'quicktest'. Did you mean quick_test? Write one of high_quality,"
        " production,"
        " quick_test, single_node, throughput, or a file's path."
    )
    assert refusal(Layers("quick_test", "zzz")) == (
        "--cluster: no cluster named 'zzz'. Write one of example_gpu_partition, none, slurm, or a file's"
        " path."
    )
    assert refusal(Layers("../q.yaml")) == "--preset: no preset file '../q.yaml'. Check the path."
    assert refusal(Layers(Path("q"))) == "--preset: no preset file 'q'. Check the path."


def test_a_longer_circle(write: Write) -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "b")):
        write(f"{name}.yaml", f"extends: {parent}.yaml\n")
    assert refusal(Layers("a.yaml")) == (
        "c.yaml:1: extends: a circle: a.yaml -> b.yaml -> c.yaml -> b.yaml. Remove one extends."
    )


def test_overlay_changes_only_what_is_given() -> None:
    config = resolve(Layers("production", "example_gpu_partition")).config
    assert overlay(config).config == config and overlay(config).warnings == ()
    changed = overlay(
        config, flags={"engine.max_num_seqs": ("--max_num_seqs", 8)}, sets=["resources.qos=low"]
    )
    assert (changed.config.engine.max_num_seqs, changed.config.resources.qos) == (8, "low")
    assert changed.config.resources.partition == config.resources.partition and changed.warnings == ()
    assert changed.origins["resources.qos"] == "--set resources.qos=low"
    assert changed.origins["resources.partition"] == "run"


def test_overlay_with_a_cluster_forgets_the_old_one() -> None:
    config = resolve(Layers("quick_test", "example_gpu_partition")).config
    changed = overlay(config, "none")
    assert changed.config.resources == resolve(Layers("production", "none")).config.resources
    assert changed.config.engine == config.engine and changed.warnings == ()


def test_overlay_refuses_as_resolve_does() -> None:
    greedy = resolve(Layers("quick_test", sets=["sampling.temperature=0"])).config
    with pytest.raises(
        ConfigError, match=r"^--set sampling.num_samples=2: .* with temperature 0 \(run\), got 2"
    ):
        overlay(greedy, sets=["sampling.num_samples=2"])
    with pytest.raises(ConfigError, match=r"^--set engine.max_model_len=16: .* leaves no room for a prompt"):
        overlay(greedy, sets=["engine.max_model_len=16"])
    with pytest.raises(ConfigError, match=r"^--set x=1: x: unknown key"):
        overlay(greedy, sets=["x=1"])


KEYS = st.sampled_from("abc")


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Partial trees of one shape: a.* and b.*.* hold values, c is a value; as validated layers are."""
    values = st.one_of(st.none(), st.integers(), st.lists(st.integers(), max_size=2))
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "a": st.dictionaries(KEYS, values),
                "b": st.dictionaries(KEYS, st.dictionaries(KEYS, values)),
                "c": values,
            },
        )
    )


def at(values: Mapping[str, Any], key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


@given(trees(), trees(), trees())
def test_merge_is_associative(one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(st.lists(trees(), min_size=1, max_size=5))
def test_the_last_layer_that_has_a_value_wins(layers: list[dict[str, Any]]) -> None:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer)
    last = {key: at(layer, key) for layer in layers for key in leaves(layer) if at(layer, key) != {}}
    assert {key: at(merged, key) for key in leaves(merged) if at(merged, key) != {}} == last


@given(trees(), trees())
def test_merge_changes_neither(one: dict[str, Any], two: dict[str, Any]) -> None:
    before = repr((one, two))
    merge(one, two)
    assert repr((one, two)) == before
