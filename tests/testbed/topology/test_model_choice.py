"""The model of a topology: name, file or table, its cut, and the costs of another architecture."""

import shutil
from pathlib import Path

import pytest

from node_agent.errors import InputError
from node_agent.models import load_bundle
from node_agent.models.published import published
from testbed.scenario import CostChoice, ModelChoice
from testbed.topology import TopologyError, load_topology_text
from testbed.topology.model_choice import with_other_model
from tests.testbed.topology.test_errors import GOOD, problems_of

MODEL = "{name: glyphs, cut: [3, 5]}"


def of(model: str) -> str:
    """The good topology with another model."""
    return GOOD.replace(MODEL, model)


@pytest.mark.parametrize(
    ("model", "said", "advised"),
    [
        ("{cut: [3, 5]}", "2:8: `name` is missing", "or state a file or a table"),
        ("{name: glyphs}", "2:8: `cut` is missing", "for example cut: [2, 3, 5]"),
        ("{name: glyphs, file: 'a.py:A', cut: [3, 5]}", "2:8: states name and file, but one model runs", "keep one"),
        ("{name: glyphs, cut: null}", "2:28: `cut`: the value is missing", "remove the key"),
        ("{name: 'tiny.py:Tiny', cut: [3, 5]}", "2:15: 'tiny.py:Tiny' is no name of a model", "file: tiny.py:Tiny"),
        ("{name: vit.npz, cut: [3, 5]}", "2:15: 'vit.npz' is no name of a model", "table: vit.npz"),
        ("{table: x.npz, cost: resnet101}", "2:8: `cost` does not apply to a table", "remove"),
        ("{name: glyphs, cut: [3, 5], cost: resnet10}", "2:42: unknown published costs 'resnet10'", "resnet101"),
        ("{name: glyphs, cut: [3, 5], cost: {}}", "2:42: `name` is missing", ""),
        ("{name: glyphs, cut: [3, 5], cost: {name: gpt2, token: 4}}", "2:55: unknown key `token`", "`tokens`?"),
        (
            "{name: glyphs, cut: [3, 5], cost: {name: gpt2, tokens: 4000}}",
            "2:42: gpt2: a task cannot have 4000",
            "1024",
        ),
        (
            "{name: glyphs, cut: [3, 5], cost: {name: gpt2, cut: [12]}}",
            "2:42: the cost's cut [12] and the model's cut [3, 5] differ in length",
            "",
        ),
        (
            "{name: smollm, cut: [10, 30], activation: int8}",
            "2:50: activation int8 does not suit smollm",
            "use float16",
        ),
        ("{name: glyphs, cut: [3, 5], cost: {name: gpt2, cut: [9, 4]}}", "2:42: gpt2: cut [9, 4] does not rise", ""),
    ],
)
def test_a_wrong_model_is_reported_with_its_place(model: str, said: str, advised: str) -> None:
    ((found, hint),) = problems_of(of(model))
    assert found.startswith(said)
    assert advised in hint


@pytest.mark.parametrize(
    ("stated", "cost"),
    [
        ("resnet101", CostChoice("resnet101")),
        ("{name: gpt2, tokens: 64}", CostChoice("gpt2", None, 64)),
        ("{name: gpt2, cut: [4, 12]}", CostChoice("gpt2", (4, 12), None)),
    ],
)
def test_costs_reach_the_model(stated: str, cost: CostChoice) -> None:
    scenario = load_topology_text(of(f"{{name: glyphs, cut: [3, 5], cost: {stated}}}")).resolve()
    assert scenario.model == ModelChoice("glyphs", (3, 5), cost=cost)
    architecture = published(cost.name)
    expected = architecture.stages(cost.cut or architecture.default_cut(2), cost.tokens)
    profiles = scenario.model.open().profiles((3, 5), "float32")
    assert [profile.flop for profile in profiles] == [stage.flop for stage in expected]


def test_memory_is_that_of_the_architecture() -> None:
    """Stage 2 of GPT-2 takes hundreds of megabytes, the last blocks of glyphs less than one."""
    text = GOOD.replace("capacity: 2 GFLOP/s}", "capacity: 2 GFLOP/s, memory: 100 MB}")
    load_topology_text(text)
    with pytest.raises(TopologyError, match=r"its sub-model needs 3[0-9]{8} bytes of memory"):
        load_topology_text(text.replace(MODEL, "{name: glyphs, cut: [3, 5], cost: gpt2}"))


def test_a_limit_on_cpu_time_needs_the_models_own_work() -> None:
    text = of("{name: glyphs, cut: [3, 5], cost: gpt2}") + "compute: quota\n"
    ((found, hint),) = problems_of(text)
    assert found == "15:10: quota limits the CPU time of real work, but the model has the costs of another architecture"
    assert hint == "use compute: paced"
    load_topology_text(GOOD + "compute: quota\n")


def test_another_model_takes_the_place_of_the_topologys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(load_bundle("glyphs-deep").folder, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)

    def chosen(**other: object) -> ModelChoice:
        return load_topology_text(GOOD, folder="/", **other).resolve().model  # type: ignore[arg-type]

    assert chosen(cut=(4, 5)) == ModelChoice("glyphs", (4, 5))
    assert chosen(model="glyphs-deep", cut=(3, 7)) == ModelChoice("glyphs-deep", (3, 7))
    assert chosen(model="mine", cut=(3, 7)) == ModelChoice(str(tmp_path / "mine"), (3, 7))
    kept = load_topology_text(of("{name: glyphs, cut: [3, 5], activation: float16, cost: gpt2}"), model="glyphs")
    assert kept.resolve().model == ModelChoice("glyphs", (3, 5), "float16", CostChoice("gpt2"))


@pytest.mark.parametrize(
    ("other", "said", "advised"),
    [
        ({"model": "glyps"}, "unknown model 'glyps'", "did you mean glyphs?"),
        ({"model": "tiny.py"}, "tiny.py' names no class", "tiny.py:Class"),
        ({"model": "glyphs-deep"}, "exits after blocks 2, 3, 4, 5, 7: which 2 of them?", "--cut"),
        ({"cut": (1, 5)}, "block 1 of model 'glyphs' has no exit", "exits after blocks 2, 3, 4, 5"),
        ({"cut": (5, 3)}, "the cut must rise", ""),
        ({"model": "glyphs-deep", "cut": (3, 5)}, "the last sub-model ends at block 5", "end the cut with 7"),
    ],
)
def test_another_model_that_does_not_fit_is_refused(other: dict, said: str, advised: str) -> None:
    with pytest.raises(InputError) as caught:
        load_topology_text(GOOD, **other)
    assert said in str(caught.value)
    assert advised in caught.value.hint
    assert caught.value.exit_code == 3


def test_all_exits_make_the_cut_of_a_model_that_has_one_for_each_stage() -> None:
    """Four stages of glyphs' four exits; the stated blocks are those of another model."""
    stated = load_topology_text(of("{name: glyphs-deep, cut: [5, 7]}")).document.model.model_copy(
        update={"cut": [2, 4, 5, 7]}
    )
    assert with_other_model(stated, "/", "glyphs").cut == [2, 3, 4, 5]
