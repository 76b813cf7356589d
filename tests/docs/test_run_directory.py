"""docs/run-directory.md lists exactly the files and fields that runs, comparisons and agreements write."""

import ast
import csv
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from node_agent.records import EventKind
from testbed.agree.measures import TaskFrame, task_figures
from testbed.agree.recorded_pair import Recorded
from testbed.agree.repeats import gather
from testbed.agree.result_file import as_json as agreement_json
from testbed.assertions import parse_assertion
from testbed.compare.comparison import compare
from testbed.expectation.causes import Cause
from testbed.expectation.deviation import DelayFigure
from testbed.expectation.findings import Findings
from testbed.expectation.lateness_sums import LatenessSums
from testbed.expectation.measured_times import Measured
from testbed.expectation.steps import Lateness
from testbed.fidelity.report import FidelityReport
from testbed.record.run_figures import FIGURES
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from testbed.sweep import FailedRun, sweep
from tests.docs.field_docs import field_docs
from tests.docs.pages import DOCS, ROOT, rows, section
from tests.docs.reference import FILES, MORE, REFERENCE
from tests.testbed.agree.sides import UNIFORM, make_repeat
from tests.testbed.compare.topology import SMALL, write
from tests.testbed.energy.networks import CHAIN
from tests.testbed.fidelity.test_assessment import CALM
from tests.testbed.tables import table_of_glyphs

TEXT = (DOCS / "run-directory.md").read_text(encoding="utf-8")
Path_ = tuple[str, ...]
KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,), "number": (int, float), "text": (str,), "bool": (bool,), "list": (list,), "object": (dict,),
    "null": (type(None),), "any": (object,),
}  # fmt: skip


def documented(heading: str) -> dict[Path_, str]:
    """The types of the fields that a section lists, by path: ("paths", "[]", "delay_s"), "*" for any name."""
    return {path_of(cells[0].strip("`")): cells[1] for cells in rows(section(TEXT, heading))}


def path_of(text: str) -> Path_:
    parts = [part for dotted in text.split(".") for part in dotted.replace("[]", ".[]").split(".")]
    return tuple("*" if part.startswith("<") else part for part in parts)


def entries(value: Any, prefix: Path_ = ()) -> list[tuple[Path_, Any]]:
    """Every field of a JSON object and of the objects in it, with its path."""
    found: list[tuple[Path_, Any]] = []
    if isinstance(value, dict):
        for key, one in value.items():
            found += [((*prefix, key), one), *entries(one, (*prefix, key))]
    elif isinstance(value, list):
        for one in value:
            found += entries(one, (*prefix, "[]"))
    return found


def fits(path: Path_, pattern: Path_) -> bool:
    return len(path) == len(pattern) and all(want in ("*", part) for part, want in zip(path, pattern, strict=True))


def is_of(value: Any, text: str) -> bool:
    kinds = [one.split(" of ")[0] for one in text.replace("true or false", "bool").split(" or ")]
    return any(type(value) in KINDS[kind] or kind == "any" for kind in kinds)


def differences(heading: str, *contents: Any) -> list[str]:
    """The fields that only the section or only the contents have, and values of another type."""
    known = documented(heading)
    seen: set[Path_] = set()
    wrong: list[str] = []
    for path, value in (entry for content in contents for entry in entries(content)):
        fitting = [pattern for pattern in known if fits(path, pattern)]
        if not fitting and not any(fits(path, pattern[: len(path)]) for pattern in known):
            wrong.append(f"not documented: {path}")
        for pattern in fitting:
            seen.add(pattern)
            if not is_of(value, known[pattern]):
                wrong.append(f"{path} is {value!r}, documented as {known[pattern]}")
    return wrong + [f"never written: {path}" for path in known if path not in seen]


def content_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def simulate(topology: Path, out: Path, *, assertions: tuple[str, ...] = (), **options: Any) -> Path:
    plan = replace(plan_run(topology, out=out, **options), assertions=tuple(map(parse_assertion, assertions)))
    Simulation(plan, SilentObserver()).run()
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A simulated run with an event and a task that is lost."""
    folder = tmp_path_factory.mktemp("plain")
    text = f"{SMALL}events:\n  - {{at: 4 s, node: cam-1, state: down}}\n"
    text = text.replace("rate: 4..6 /s", "rate: 4..6 /s, deadline: 200 ms")
    return simulate(write(folder, text), folder / "run", assertions=("p95 < 1 s", "overloaded == true"))


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A simulated run with link traces, and with a policy from a file."""
    policy = f"{ROOT}/topologies/policies/nearest_first.py:NearestFirst:sharpness=2"
    out = tmp_path_factory.mktemp("rich") / "run"
    return simulate(ROOT / "topologies/commute.yaml", out, duration_s=6.0, policy=policy)


@pytest.fixture(scope="module")
def sweep_directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    sweep(write(folder), ["theta=1s,2s"], repeats=1, simulate=True, duration_s=10.0, out=folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    text = f"{SMALL}events:\n  - {{at: 10 s, server: near-1, capacity: x0.5}}\n"
    compare(write(folder, text), ["uniform", "dto-ee"], repeats=2, simulate=True, out=folder / "out", jobs=1)
    return folder / "out"


@pytest.fixture(scope="module")
def powered(tmp_path_factory):
    """A simulated run that counts energy."""
    folder = tmp_path_factory.mktemp("powered")
    return simulate(write(folder, CHAIN.replace("busy: 1.2 W}", "busy: 1.2 W}, battery: 6 J")), folder / "run")


def listed(heading: str) -> list[str]:
    return [cells[0].strip("`") for cells in rows(section(TEXT, heading))]


def names_in(folder: Path) -> set[str]:
    return {re.sub(r"link-trace-\d+\.\w+", "link-trace-N.*", path.name) for path in folder.iterdir()}


def test_the_files_of_a_run(plain, rich):
    always = {cells[0].strip("`") for cells in rows(section(TEXT, "Files")) if cells[2].startswith("always")}
    assert names_in(plain) == always | {"summary.json"}
    assert names_in(rich) == always | {"summary.json", "policy.py", "link-trace-N.*"}
    assert set(listed("Files")) == names_in(rich) | {"agents.log", "energy.jsonl"}


def test_the_manifest_of_simulations(plain, rich, comparison, sweep_directory):
    runs = (plain, rich, comparison / "uniform/seed-7", sweep_directory / "theta=1s/dto-ee/seed-7")
    contents = [content_of(run / "manifest.json") for run in runs]
    only_live = [f"never written: {path_of(name)}" for name in
                 ("setup_s.<step>", "nodes.<node>.address", "nodes.<node>.namespace")]  # fmt: skip
    assert differences("manifest.json", *contents) == only_live


def test_the_manifest_of_live_runs():
    tree = ast.parse((ROOT / "testbed/live/experiment.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    (described,) = [call for call in calls if call.func.attr == "describe"]  # type: ignore[attr-defined]
    facts = {keyword.arg: keyword.value for keyword in described.keywords}
    known = documented("manifest.json")
    assert facts.keys() <= {path[0] for path in known}
    for name in ("nodes", "backends"):
        (literal,) = [node for node in ast.walk(facts[name]) if isinstance(node, ast.Dict)]
        keys = {key.value for key in literal.keys if isinstance(key, ast.Constant)}
        assert keys == {path[-1] for path in known if path[0] == name}
    laps = {call.args[0].value for call in calls if call.func.attr == "_lap"}  # type: ignore[attr-defined]
    (row,) = [cells for cells in rows(section(TEXT, "manifest.json")) if cells[0] == "`setup_s.<step>`"]
    assert set(re.findall(r"`(\w+)`", row[3])) == laps


@pytest.fixture(scope="module")
def borrowed(tmp_path_factory):
    """Simulated runs: answers of a table; borrowed costs and another criterion; labels that a model gave."""
    folder = tmp_path_factory.mktemp("borrowed")
    table_of_glyphs(folder / "glyphs.npz", cut=(3, 5))
    models = (
        "{table: glyphs.npz}",
        "{name: glyphs, cut: [3, 5], cost: resnet101, criterion: margin}",
        "{name: smollm, cut: [20, 30], cost: resnet101}",
    )
    topologies = [SMALL.replace("{name: glyphs, cut: [3, 5]}", model) for model in models]
    return [simulate(write(folder, text), folder / f"run-{number}") for number, text in enumerate(topologies)]


def test_the_summary(plain, rich, borrowed):
    contents = [content_of(run / "summary.json") for run in (plain, rich, *borrowed)]
    assert differences("fidelity of a simulation", *(content["fidelity"] for content in contents)) == []
    bare = [{**content, "fidelity": {}} for content in contents]
    entries_of = [entry for content in bare for entry in content.pop("assertions", ())]
    assert differences("summary.json", *bare, {"setup_s": {"network": 0.1}, "assertions": []}, {"energy": {}}) == []
    assert [set(entry) for entry in entries_of] == [fields_of("summary.json.assertions")] * 2


def test_the_energy_of_a_run(powered):
    energy = content_of(powered / "summary.json")["energy"]
    assert differences("energy of a run", energy) == []
    fields = {one.name for one in field_docs(FILES["energy.jsonl"])}
    lines = [json.loads(line) for line in (powered / "energy.jsonl").read_text().splitlines()]
    assert all(set(line) == fields for line in lines)
    samples = [json.loads(line) for line in (powered / "timeseries.jsonl").read_text().splitlines()]
    assert any(line["sent_bytes"]["post"] > 0 for line in samples if line["node"] == "cam-1" and "sent_bytes" in line)


def test_the_fidelity_of_live_runs():
    steps = [Lateness(1, "transfer", ("cam", f"near-{number}"), 1.0, 0.1) for number in range(60)]
    steps += [Lateness(1, "queue", (f"near-{number}",), 1.0, 0.1) for number in range(60)]
    findings = Findings(
        figures=(DelayFigure("mean", 0.11, 0.1),),
        causes=(Cause("link", ("cam", "near"), 0.1, 3, 1.0, 2.0, 1.5),),
        measured=(Measured(0, 0.01, 0.01, "cam"),),
        lateness=LatenessSums.of(steps),
        took_s=0.1,
    )
    full = FidelityReport("strained", ("late",), CALM, findings.as_dict()).as_dict()
    nothing = FidelityReport("unknown", ("no task",), replace(CALM, network=None), Findings().as_dict()).as_dict()
    fidelity = json.loads(json.dumps([full, nothing]))
    assert differences("fidelity of a live run", *fidelity) == []


@pytest.mark.parametrize("name", ["trace.jsonl", "tasks.jsonl", "decisions.jsonl", "timeseries.jsonl", "events.jsonl"])
def test_the_lines_of_a_run(plain, name):
    lines = [json.loads(line) for line in (plain / name).read_text().splitlines()]
    assert lines
    fields = {one.name for one in field_docs(FILES[name])}
    # Of live runs, and of devices with a bound.
    absent = {"expected_delay_s", "repeats", "predicted_delay_s"} if name == "tasks.jsonl" else {"sent_bytes"}
    assert all(set(line) == fields - absent for line in lines)


def test_every_kind_of_event_is_listed():
    kinds = re.findall(r"^\| `([\w-]+)` \|", "\n".join(REFERENCE["events.jsonl.kinds"][1]()), re.MULTILINE)
    assert tuple(kinds) == EventKind.__args__


def test_the_files_of_a_comparison(comparison):
    files = set(listed("The directory of a comparison")) - {"<policy>/seed-<seed>/"}
    assert {path.name for path in comparison.iterdir()} == files | {"uniform", "dto-ee"}
    assert {path.name for path in (comparison / "uniform").iterdir()} == {"seed-7", "seed-8"}


def fields_of(block: str) -> set[str]:
    return {cells[0].strip("`") for cells in rows("\n".join(REFERENCE[block][1]()))}


def test_compare_json(comparison):
    content = content_of(comparison / "compare.json")
    assert set(content) == fields_of("compare.json")
    assert set(content["rows"][0]) == fields_of("compare.json.rows")
    assert set(content["table"][1]) == fields_of("compare.json.table")
    assert set(content["table"][1]["delay_mean_s"]) == fields_of("compare.json.estimate")
    assert set(content["table"][1]["first_ahead_by"]) == fields_of("compare.json.first_ahead_by")
    assert set(content["recoveries"][0]) == fields_of("compare.json.recoveries")
    assert set(content["recoveries"][0]["events"][0]) == fields_of("compare.json.recoveries.events")
    assert all(one.name in content or one.name in content["table"][0] for more in MORE.values() for one in more)


def test_the_tables_of_a_comparison(comparison):
    def columns(name: str) -> set[str]:
        return {re.sub(r"exit_share_\d", "exit_share", column)
                for column in next(csv.reader((comparison / name).open()))}  # fmt: skip

    further = {figure.column for figure in FIGURES}
    assert columns("compare.csv") == fields_of("compare.json.rows") - {"figures"} | further
    text = " ".join(section(TEXT, "compare-summary.csv").split())
    counts, estimates = text.split("Then come three columns")
    names = re.findall(r"`([a-z_]\w+)`", estimates.partition(" figures of")[2])
    spread = {f"{re.sub('_1$', '', name)}{end}" for name in names for end in ("", "_low", "_high")}
    assert columns("compare-summary.csv") == set(re.findall(r"`(\w+)`", counts)) | spread | {
        f"{column}{end}" for column in further - set(re.findall(r"`(\w+)`", counts)) for end in ("", "_low", "_high")
    }


def test_the_files_of_a_sweep(sweep_directory):
    names = {path.name for path in sweep_directory.iterdir()}
    swept = {"sweep-theta-mean", "sweep-theta-accuracy"}
    files = {name for name in listed("The directory of a sweep") if "<" not in name}
    pictures = {f"{name}.{ending}" for name in swept for ending in ("png", "svg")}
    assert names == files | pictures | {"theta=1s", "theta=2s"}
    assert {path.name for path in (sweep_directory / "theta=1s/dto-ee").iterdir()} == {"seed-7"}


def test_sweep_json(sweep_directory):
    content = content_of(sweep_directory / "sweep.json")
    assert set(content) == fields_of("sweep.json")
    assert set(content["keys"][0]) == fields_of("sweep.json.keys")
    assert set(content["points"][0]) == fields_of("sweep.json.points")
    assert set(content["points"][0]["table"][0]) == fields_of("compare.json.table")
    assert set(content["rows"][0]) == fields_of("sweep.json.rows")
    assert set(content["rows"][0]["run"]) == fields_of("compare.json.rows")
    failed = FailedRun(0, {}, "ngto", 1, "run", "why", "hint")
    assert set(asdict(failed)) == fields_of("sweep.json.failed")


def test_the_table_of_a_sweep(sweep_directory):
    found = next(csv.reader((sweep_directory / "sweep.csv").open()))
    columns = {re.sub(r"exit_share_\d", "exit_share", column) for column in found}
    further = {figure.column for figure in FIGURES}
    assert found[:2] == ["theta", "point"]
    assert columns == {"theta", "point"} | fields_of("compare.json.rows") - {"figures"} | further


def test_agree_json(tmp_path):
    cell, plan = make_repeat(tmp_path, UNIFORM.replace("duration: 24 s", "duration: 12 s"))
    content = json.loads(json.dumps(agreement_json(gather(tmp_path, plan, (1,), [cell]))))
    assert set(content) == fields_of("agree.json")
    assert set(content["repeats"][0]) == fields_of("agree.json.repeats")
    assert set(content["figures"]["accuracy"]) == fields_of("agree.json.figures")
    assert set(content["decisions"]) == fields_of("agree.json.decisions")
    every = content["decisions"]["every"]
    assert set(every) == fields_of("agree.json.decisions.nodes")
    assert set(every["probabilities"]) == fields_of("agree.json.decisions.apart")
    assert set(every["probabilities"]["apart"]) == fields_of("agree.json.decisions.single")
    listed_figures = [name for cells in rows(section(TEXT, "agree.json")) if "fields" not in cells[0]
                      for name in re.findall(r"`(\w+)`", cells[0])]  # fmt: skip
    figures = set(content["figures"])
    assert {re.sub(r"(share|stage)_\d", r"\1_H", name) for name in figures} <= set(listed_figures)
    assert {name for name in listed_figures if "_H" in name or name.startswith(("delay", "gap"))} <= {
        re.sub(r"(share|stage)_\d", r"\1_H", name) for name in figures
    }
    assert set(task_figures(TaskFrame(0.0, 1.0, 2), [(Recorded((), ()), Recorded((), ()))])) <= figures


def test_every_field_of_the_reference_has_a_meaning():
    ours = [name for name in REFERENCE if name in FILES or name.startswith("wire.")]
    empty = [f"{name}: {cells[0]}" for name in ours for cells in rows("\n".join(REFERENCE[name][1]()))
             if not cells[-1]]  # fmt: skip
    assert empty == [], "state it in the class's docstring, or in the comment behind the field"
