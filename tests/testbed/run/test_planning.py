"""Planning from a topology or a recorded run; it needs no root."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.errors import InputError
from node_agent.models import Bundle, load_bundle
from node_agent.policies.loading import _module
from testbed.record.run_directory import Recorder
from testbed.run.planning import plan_replay, plan_run
from testbed.topology import choices, compiler, topology_file
from testbed.trace.error import TraceError
from testbed.trace.workload import Arrival, write_trace

QUICKSTART = Path(__file__).parents[3] / "topologies" / "quickstart.yaml"


def record(plan) -> Path:
    """Record a run of this plan without any tasks or events."""
    recorder = Recorder(
        plan.run_directory, topology_text=plan.topology_text, arrivals=plan.arrivals, labels=plan.model.labels,
        policy_file=plan.policy_file,
    )  # fmt: skip
    recorder.describe(run_id=plan.run_id, policy=plan.scenario.policy.name, **plan.facts)
    recorder.finish(None, "completed")
    plan.release()
    return plan.run_directory


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    return plan_run(QUICKSTART, duration_s=30.0, seed=5, policy="computing-first", out=out)


@pytest.fixture(scope="module")
def original(planned):
    return record(planned)


@pytest.fixture
def recorded(original, tmp_path):
    """A copy of the recorded run, for the test to damage."""
    return Path(shutil.copytree(original, tmp_path / "recorded"))


def edit_manifest(directory, **changes):
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_plan_holds_what_was_asked_for(planned):
    scenario = planned.scenario
    assert (scenario.name, scenario.seed, scenario.duration_s) == ("quickstart", 5, 30.0)
    assert scenario.policy.name == "computing-first"
    assert planned.topology_text == QUICKSTART.read_text()
    assert planned.facts["asked"] == {
        "seed": 5, "duration_s": 30.0, "policy_override": "computing-first", "model": None, "cut": None,
        "criterion": None,
    }  # fmt: skip
    assert (planned.facts["workload"], planned.facts["seed"]) == ("generated", 5)
    assert 0 <= planned.arrivals[0].time_s <= planned.arrivals[-1].time_s < 30
    assert len(planned.arrivals) == pytest.approx(18 * 30, rel=0.25)
    assert planned.run_directory.is_dir()


def test_nothing_asked_for_leaves_what_the_file_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plans = [plan_run(QUICKSTART) for _ in range(2)]
    assert plans[0].scenario == plans[1].scenario
    assert (plans[0].scenario.seed, plans[0].scenario.duration_s, plans[0].scenario.policy.name) == (1, 60.0, "dto-ee")
    assert plans[0].arrivals == plans[1].arrivals
    assert plans[0].run_id != plans[1].run_id
    assert [plan.run_directory.parent for plan in plans] == [Path("runs")] * 2
    assert all(plan.run_directory.is_dir() for plan in plans)


def test_a_trace_is_taken_as_it_is(tmp_path):
    arrivals = [Arrival(1.0, "west-1", 3), Arrival(2.0, "east-3", 4)]
    write_trace(tmp_path / "t.jsonl", arrivals)
    plan = plan_run(QUICKSTART, trace_path=tmp_path / "t.jsonl", out=tmp_path / "run")
    assert plan.arrivals == arrivals
    assert plan.facts["workload"] == str(tmp_path / "t.jsonl")


def test_a_replay_is_the_same_run(planned, original, tmp_path):
    replayed = plan_replay(original, out=tmp_path / "again")
    assert replayed.scenario == planned.scenario
    assert replayed.arrivals == planned.arrivals
    assert replayed.topology_text == planned.topology_text
    assert replayed.facts["asked"] == planned.facts["asked"]
    assert replayed.facts["workload"] == f"replay of {original}"
    twice = plan_replay(record(replayed), out=tmp_path / "and-again")
    assert (twice.scenario, twice.arrivals) == (planned.scenario, planned.arrivals)


def test_a_replay_draws_as_the_run_did(tmp_path):
    """Runs of versions that knew random draws only say nothing of them, neither in the topology nor in the manifest."""
    topology = tmp_path / "topology.yaml"
    topology.write_text(QUICKSTART.read_text().replace("policy:", "draws: random\npolicy:", 1))
    recorded = {draws: record(plan_run(path, out=tmp_path / draws)) for draws, path in
                (("smooth", QUICKSTART), ("random", topology))}  # fmt: skip
    for draws, directory in recorded.items():
        assert json.loads((directory / "manifest.json").read_text())["draws"] == draws
        assert plan_replay(directory, out=tmp_path / f"{draws}-again").scenario.draws == draws
    manifest = json.loads((recorded["smooth"] / "manifest.json").read_text())
    del manifest["draws"]
    (recorded["smooth"] / "manifest.json").write_text(json.dumps(manifest))
    old = plan_replay(recorded["smooth"], out=tmp_path / "old-again")
    assert old.scenario.draws == "random"
    assert plan_replay(record(old), out=tmp_path / "old-and-again").scenario.draws == "random"


def test_a_replay_may_change_the_policy_and_nothing_else(planned, original, tmp_path):
    replayed = plan_replay(original, policy="bandwidth-first", out=tmp_path / "again")
    assert replayed.scenario.policy.name == "bandwidth-first"
    assert replayed.arrivals == planned.arrivals
    assert (replayed.scenario.servers, replayed.scenario.links) == (planned.scenario.servers, planned.scenario.links)
    with pytest.raises(InputError, match="no-such"):
        plan_replay(original, policy="no-such", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


OWN_POLICY = "from node_agent.policies.base import PlainPolicy\n\nclass Mine(PlainPolicy):\n    pass\n"


@pytest.mark.parametrize("how", ["topology", "asked"])
def test_a_replay_runs_the_policy_file_that_ran(tmp_path, monkeypatch, how):
    (tmp_path / "mine.py").write_text(OWN_POLICY)
    text = QUICKSTART.read_text()
    if how == "topology":
        text = text.replace("policy: dto-ee", "policy: mine.py:Mine:threshold=0.7,label=My own")
    (tmp_path / "t.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    first = plan_run(Path("t.yaml"), policy=None if how == "topology" else "mine.py:Mine:threshold=0.7,label=My own")
    assert first.scenario.policy.name == f"{tmp_path}/mine.py:Mine"
    assert dict(first.scenario.policy.parameters) == {"threshold": 0.7}
    assert first.run_directory.parent == Path("runs")
    assert "-quickstart-My-own-" in first.run_directory.name
    recorded = record(first).resolve()
    monkeypatch.chdir("/")
    (tmp_path / "mine.py").write_text(OWN_POLICY + "    most_rounds = 7\n")  # the policy has changed since the run
    if how == "asked":
        (tmp_path / "mine.py").unlink()
    again = plan_replay(recorded, out=tmp_path / "again")
    assert again.scenario.policy.name == f"{recorded}/policy.py:Mine"
    assert (recorded / "policy.py").read_text() == OWN_POLICY
    twice = plan_replay(record(again), out=tmp_path / "and-again")
    for replayed in (again, twice):
        assert replace(replayed.scenario, policy=first.scenario.policy) == first.scenario
        assert replayed.scenario.policy.parameters == first.scenario.policy.parameters
        assert replayed.scenario.policy.label == "My own"
    assert plan_replay(recorded, policy="uniform", out=tmp_path / "other").scenario.policy.name == "uniform"
    (recorded / "policy.py").write_text("changed")
    with pytest.raises(InputError, match=r"policy\.py: changed since it was recorded"):
        plan_replay(recorded, out=tmp_path / "changed")


def test_another_policy_needs_nothing_of_the_one_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "pol").mkdir()
    (tmp_path / "pol" / "mine.py").write_text(OWN_POLICY)
    (tmp_path / "t.yaml").write_text(QUICKSTART.read_text().replace("policy: dto-ee", "policy: pol/mine.py:Mine"))
    recorded = record(plan_run(tmp_path / "t.yaml", out=tmp_path / "first"))
    monkeypatch.chdir("/")
    (tmp_path / "pol" / "mine.py").unlink()
    _module.cache_clear()  # as in a new process
    assert plan_replay(recorded, out=tmp_path / "again").scenario.policy.name == f"{recorded}/policy.py:Mine"
    assert plan_replay(recorded, policy="uniform", out=tmp_path / "other").scenario.policy.name == "uniform"
    assert plan_run(tmp_path / "t.yaml", policy="uniform", out=tmp_path / "new").scenario.policy.name == "uniform"
    with pytest.raises(InputError, match="there is no policy file"):
        plan_run(tmp_path / "t.yaml", out=tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_run_of_another_model_is_not_replayed(planned, recorded, tmp_path):
    said = json.loads((recorded / "manifest.json").read_text())["model_sha256"]
    assert said == planned.model.fingerprint()
    folder = Path(shutil.copytree(planned.model.folder, tmp_path / "model"))
    assert Bundle("model", folder).fingerprint() == said
    for name in ("card.json", "weights.safetensors", "exit_table.npz", "evaluation.npz", "evaluation_scores.npz"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole + b"\n")
        assert Bundle("model", folder).fingerprint() != said
        (folder / name).write_bytes(whole)
    edit_manifest(recorded, model_sha256="0" * 64)
    with pytest.raises(InputError, match="the model glyphs has changed since the run was recorded") as caught:
        plan_replay(recorded, out=tmp_path / "again")
    assert "--trace" in caught.value.hint
    assert not (tmp_path / "again").exists()
    edit_manifest(recorded, model_sha256=None)  # a run of an earlier version
    assert plan_replay(recorded, out=tmp_path / "again").arrivals == planned.arrivals


@pytest.mark.parametrize("other", [{"cut": (2, 4, 5)}, {"model": "deep", "cut": (2, 4, 7)}])
def test_a_replay_has_the_model_and_the_cut_that_ran(tmp_path, monkeypatch, other):
    """The topology in the run directory states another one; a model's path starts where the command was typed."""
    shutil.copytree(load_bundle("glyphs-deep").folder, tmp_path / "deep")
    monkeypatch.chdir(tmp_path)
    plan = plan_run(QUICKSTART, duration_s=20.0, out=Path("first"), **other)
    assert plan.scenario.model.cut == other["cut"]
    record(plan)
    monkeypatch.chdir("/")
    again = plan_replay(tmp_path / "first", out=tmp_path / "again")
    assert (again.scenario, again.arrivals) == (plan.scenario, plan.arrivals)
    asked = json.loads((tmp_path / "first" / "manifest.json").read_text())["asked"]
    model = str(tmp_path / "deep") if "model" in other else None
    assert (asked["model"], tuple(asked["cut"])) == (model, other["cut"])


def test_a_server_without_memory_for_its_sub_model_is_refused(planned, tmp_path):
    profile = planned.model.profiles(planned.scenario.model.cut, "float16")[0]
    needed = profile.parameters_bytes + profile.input_bytes + profile.output_bytes
    text = QUICKSTART.read_text()
    assert planned.scenario.model.activation == "float16"
    (tmp_path / "t.yaml").write_text(text.replace("memory: 512 MiB", f"memory: {needed} B", 1))
    plan_run(tmp_path / "t.yaml", out=tmp_path / "enough")
    (tmp_path / "t.yaml").write_text(text.replace("memory: 512 MiB", f"memory: {needed - 1} B", 1))
    said = rf"server near-1: its sub-model needs {needed} bytes of memory, and the topology gives it {needed - 1}$"
    with pytest.raises(InputError, match=rf"t\.yaml:\d+:\d+: {said}") as caught:
        plan_run(tmp_path / "t.yaml", out=tmp_path / "run")
    assert caught.value.exit_code == 3
    assert "give it more memory" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_check_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_run(QUICKSTART, make_directory=False)
    assert (plan.run_directory.parent, list(tmp_path.iterdir())) == (Path("runs"), [])
    assert plan_run(QUICKSTART, out=Path("there"), make_directory=False).run_directory == Path("there")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["topology.yaml", "trace.jsonl"])
def test_changed_inputs_are_not_replayed(recorded, tmp_path, name):
    path = recorded / name
    path.write_text(path.read_text().replace("0.27", "0.28").replace('"sample":1', '"sample":2'))
    with pytest.raises(InputError, match=f"{name}: changed since it was recorded"):
        plan_replay(recorded, out=tmp_path / "again")
    path.unlink()
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        plan_replay(recorded, out=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_foreign_directory_is_not_replayed(tmp_path):
    with pytest.raises(InputError, match="cannot be read") as caught:
        plan_replay(tmp_path)
    assert caught.value.hint == "give the directory of a recorded run"
    with pytest.raises(InputError, match="cannot be read"):
        plan_replay(tmp_path / "absent")
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(InputError, match="not a manifest"):
        plan_replay(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"asked": None}, r"does not say how it was run: .* - at `\$.asked`"),
        ({"asked": {"seed": 1, "duration_s": None}}, "does not say .* missing required field `policy_override`"),
        ({"asked": {"seed": "one", "duration_s": None, "policy_override": None}}, r"`\$.asked.seed`"),
        ({"asked": {"seed": 1, "duration_s": "long", "policy_override": None}}, r"`\$.asked.duration_s`"),
        ({"asked": {"seed": 1, "duration_s": None, "policy_override": 3}}, r"`\$.asked.policy_override`"),
        ({"topology_folder": 7}, "topology_folder"),
        ({"policy_parameters": [1]}, "policy_parameters"),
        ({"exit_reason": None}, "exit_reason"),
        ({"asked": "everything"}, "does not say"),
        ({"asked": 5}, "does not say"),
        ({"asked": ["seed"]}, "does not say"),
        ({"inputs_sha256": None}, "does not say"),
        ({"inputs_sha256": "abc"}, "does not say"),
        ({"inputs_sha256": {}}, "does not say"),
        ({"inputs_sha256": {"topology.yaml": "0" * 64}}, "topology.yaml: changed"),
        ({"schema": 99}, "not a manifest of schema 1"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_manifest_that_lacks_something_is_not_replayed(recorded, tmp_path, changes, said):
    edit_manifest(recorded, **changes)
    with pytest.raises(InputError, match=said):
        plan_replay(recorded, out=tmp_path / "again")


def test_a_directory_in_use_is_refused(original, tmp_path):
    (tmp_path / "kept").write_text("precious")
    for plan in (lambda: plan_run(QUICKSTART, out=tmp_path), lambda: plan_replay(original, out=tmp_path)):
        with pytest.raises(InputError, match="is not empty") as caught:
            plan()
        assert "--out" in caught.value.hint
    with pytest.raises(InputError, match="is not empty"):
        plan_replay(original, out=original)  # a run never replaces the one it repeats
    assert (tmp_path / "kept").read_text() == "precious"


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        ([Arrival(1.0, "north-1", 3)], "no device 'north-1'"),
        ([Arrival(1.0, "west-1", 10**6)], "does not exist"),
        ([Arrival(61.0, "west-1", 0)], "beyond the duration"),
        ([], "offers no task"),
    ],
)
def test_a_trace_that_does_not_suit_is_refused_before_anything_is_made(tmp_path, arrivals, said):
    write_trace(tmp_path / "t.jsonl", arrivals)
    with pytest.raises(TraceError, match=said) as caught:
        plan_run(QUICKSTART, trace_path=tmp_path / "t.jsonl", out=tmp_path / "run")
    # An empty trace was just generated: the hint must not suggest generating it again, or importing a part of it.
    assert any(f"trace {verb}" in caught.value.hint for verb in ("generate", "import")) == bool(arrivals)
    assert ("raise the devices' rates" in caught.value.hint) == (not arrivals)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": "best"}, "best"),
        ({"duration_s": 0.0}, "duration"),
        ({"duration_s": float("nan")}, "duration"),
        ({"duration_s": 5.0}, "event"),  # its events come later
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_made(tmp_path, options, said):
    # Events at a percentage of the duration move with it; this one is at a fixed time.
    text = QUICKSTART.read_text().replace("at: 50 %", "at: 30 s")
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        plan_run(tmp_path / "t.yaml", **options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["topology", "asked"])
def test_a_recorded_run_keeps_what_nobody_may_state_any_more(tmp_path, monkeypatch, how):
    """Earlier versions accepted thresholds above 1 and a slot longer than the run."""
    text = QUICKSTART.read_text().replace("slot: 3 s", "slot: 90 s")
    asked = "fixed-threshold:threshold=1.01"
    if how == "topology":
        text = text.replace("policy: dto-ee", f"policy: {asked}")
    (tmp_path / "t.yaml").write_text(text)
    policy = None if how == "topology" else asked
    with pytest.raises(InputError):
        plan_run(tmp_path / "t.yaml", policy=policy, out=tmp_path / "refused")
    with monkeypatch.context() as earlier:  # as such a version wrote it
        earlier.setattr(compiler.Compiler, "_check_times", lambda _: None)
        for module in (compiler, topology_file):
            lenient = lambda asked_for, recorded=False: choices.policy_problem(asked_for, recorded=True)  # noqa: E731, ARG005
            earlier.setattr(module, "policy_problem", lenient)
        recorded = record(plan_run(tmp_path / "t.yaml", policy=policy, out=tmp_path / "first"))
    again = plan_replay(recorded, out=tmp_path / "again")
    assert (again.scenario.slot_s, dict(again.scenario.policy.parameters)) == (90.0, {"threshold": 1.01})
    with pytest.raises(InputError, match=r"the threshold 1.2 lies outside 0\.\.1"):
        plan_replay(recorded, policy="fixed-threshold:threshold=1.2", out=tmp_path / "other")


def test_the_hint_for_a_short_slot_names_one_that_is_just_long_enough(tmp_path):
    for delay, slot in (("10 ms", "1 ms"), ("333 ms", "1.9 s"), ("16.6 ms", "90 ms")):
        text = QUICKSTART.read_text().replace("slot: 3 s", f"slot: {slot}").replace("delay: 5 ms", f"delay: {delay}")
        (tmp_path / "t.yaml").write_text(text)
        with pytest.raises(InputError, match="is too short: one round of messages") as caught:
            plan_run(tmp_path / "t.yaml", make_directory=False)
        least = caught.value.hint.removeprefix("state a slot of ").removesuffix(" or more")
        bound_s = float(str(caught.value).partition("takes up to ")[2].split()[0])
        assert bound_s < float(least.split()[0]) <= 1.1 * bound_s
        (tmp_path / "t.yaml").write_text(text.replace(f"slot: {slot}", f"slot: {least}"))
        plan_run(tmp_path / "t.yaml", make_directory=False)
