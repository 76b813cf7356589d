"""The figures of README and docs/ are those of the kept results, and the simulated ones are those of the code."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from tests.bench import (
    admission,
    city,
    convergence,
    fidelity,
    models,
    onboard,
    pages,
    picture,
    policies,
    results,
    simulated,
    theta,
    thresholds,
)
from tests.bench.__main__ import BENCHES, _run
from tests.bench.blocks import BLOCKS
from tests.bench.results import RESULTS, Result, keep, load
from tests.bench.simulations import Ask, summary_of
from tests.bench.table import FAILED, INVALID, row, text, verdict
from tests.docs.pages import texts
from tests.docs.reference import REFERENCE
from tests.node_agent.dtoee.network import random_network
from tests.node_agent.dtoee.sweeps import Sweeps

TEXTS = texts()
TEXT = TEXTS["README.md"]
ALL = [*BLOCKS, *REFERENCE]
KEPT = sorted(path.stem for path in RESULTS.glob("*.json"))
AGAIN = "make it anew with `python -m tests.bench {} --keep`, and tell what moved it"
# A figure of a measurement: a number with a unit of time, memory or share, or several decimals. What the topology, the
# commands and the bounds say about units stands elsewhere.
FIGURE = re.compile(r"\d[\d,.]*\s?(?:ms|us|MiB|%|points)(?! intervals)|(?<![\w.])\.\d{2}\b")


def test_every_block_is_in_one_page_once():
    found = [name for text in TEXTS.values() for name in pages.names(text)]
    assert sorted(found) == sorted(ALL)
    comments = [text.count(f"<!-- {kind}") for text in TEXTS.values() for kind in ("figures ", "fields ", "end of ")]
    assert sum(comments) == 2 * len(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_page_says_what_the_kept_results_or_the_docstrings_say(name):
    assert any(pages.block(name) in text for text in TEXTS.values()), "`python -m tests.bench --render` writes it"


@pytest.mark.parametrize("page", TEXTS)
def test_rendering_a_page_changes_nothing(page):
    assert pages.rendered(TEXTS[page]) == TEXTS[page]


def test_a_figure_changed_by_hand_does_not_pass():
    together = "".join(TEXTS.values())
    changed = together.replace("| dto-ee | ", "| dto-ee | 1", 1)
    assert changed != together
    assert pages.rendered(changed) == together


def test_nobody_types_figures_where_measurements_are_told():
    measured = pages.without_blocks(TEXTS["docs/benchmarks.md"])
    readme = re.sub(r"```.*?```", "", pages.without_blocks(TEXT), flags=re.DOTALL)
    assert len(measured) > 500
    assert FIGURE.findall(measured) == []
    assert set(FIGURE.findall(readme)) == {"2 %", "10 %"}  # the bounds of the verdict


def test_the_picture_shows_the_monitor_that_was_kept():
    lines = load("quickstart").text("monitor")
    drawn = picture.PICTURE.read_text(encoding="utf-8")
    assert picture.texts(drawn) == [re.sub(r"\s", "", line) for line in lines]
    assert picture.plain(load("quickstart").text("monitor in colour")) == lines
    assert picture.texts(
        picture.svg(load("quickstart").text("monitor in colour"), max(map(len, lines)))
    ) == picture.texts(drawn)
    assert set(re.findall(r"\w+://[^\s\"]+", drawn)) == {"http://www.w3.org/2000/svg"}  # nothing is loaded


def test_readme_is_short_and_its_first_screen_says_what_it_is():
    lines = TEXT.splitlines()
    assert len(lines) <= 200
    first_screen = "\n".join(lines[:40])
    for part in ("docs/monitor.svg", "./setup.sh && ", "./setup.sh --dev && ", "**For whom.**", "**What it needs.**"):
        assert part in first_screen


@pytest.mark.parametrize("line", ["mean 309 ms", "| 1.2 % |", "ratio .53", "11.5 MiB", "0.3 points"])
def test_figures_are_recognised(line):
    assert FIGURE.search(line)


def test_every_kept_result_is_of_a_bench_and_the_other_way_round():
    wanted = {bench for benches, _ in BLOCKS.values() for bench in benches}
    assert wanted <= set(BENCHES)
    assert set(KEPT) == wanted
    assert {f"city.{part}" for part in city.PARTS} | {f"fidelity.{part}" for part in fidelity.PARTS} <= wanted


@pytest.mark.parametrize("bench", KEPT)
def test_kept_results_say_where_they_come_from(bench):
    result = load(bench)
    assert result.bench == bench
    assert result.command == f"python -m tests.bench {bench} --keep"
    assert re.match(r"[0-9a-f]{7}\b", result.commit)
    assert result.machine["processors"] >= 1
    assert result.rows
    assert not [entry["name"] for entry in result.rows if verdict(entry) == "invalid"]
    assert results.written(result) == results.file_of(bench).read_text(encoding="utf-8")


def held_against(bench: str, entries: list[dict]) -> list[str]:
    """The names of rows that differ from the kept ones, with both figures."""
    kept = {entry["name"]: entry["value"] for entry in load(bench).rows}
    return [f"{entry['name']}: kept {kept.get(entry['name'])}, now {entry['value']}" for entry in entries
            if entry["value"] != pytest.approx(kept.get(entry["name"]), rel=1e-6)]  # fmt: skip


def test_figures_of_the_models_are_as_kept():
    entries = list(models.rows())
    assert len(entries) == len(load("models").rows)
    assert held_against("models", entries) == [], AGAIN.format("models")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "metro" else name for name in simulated.NAMES]
)
def test_topologies_simulate_as_kept(name):
    entries = simulated.rows_of(name, summary_of(simulated.ask_topology(name)))
    assert held_against("simulated", entries) == [], AGAIN.format("simulated")


@pytest.mark.parametrize("policy", simulated.POLICIES)
def test_policies_on_quickstart_simulate_as_kept(policy):
    entries = []
    for seed in simulated.SEEDS:
        summary = summary_of(simulated.ask_policy(policy, seed))
        entries += simulated.rows_of(f"quickstart, {policy}, seed {seed}", summary)
    assert held_against("simulated", entries) == [], AGAIN.format("simulated")


def test_quickstart_at_another_theta_simulates_as_kept(tmp_path):
    entries = simulated.rows_of("quickstart, theta 0.25 s", summary_of(theta.asks(tmp_path)[0]))
    assert held_against("theta", entries) == [], AGAIN.format("theta")


def test_doorbells_without_processors_simulate_as_kept():
    """The case whose topology the bench makes; it answers as the one with processors does."""
    case, kept = "boxes at full speed, threshold 0.7", load("onboard")
    found = onboard.figures_of(0.7, own=False, events=False)
    assert found.delay_s * 1e3 == pytest.approx(kept.value(f"{case}, {onboard.WITHOUT}: mean delay"), rel=1e-6)
    assert found.accuracy == kept.value(f"{case}, {onboard.WITH}: accuracy")
    assert found.link_bytes / 1e3 == pytest.approx(kept.value(f"{case}, {onboard.WITHOUT}: bytes per task"))


def test_surge_with_a_bound_simulates_as_kept():
    bound = admission.COMPARED
    entries = list(
        admission.rows_of(
            admission.name_of(bound), [admission.simulated(admission.surge(bound), admission.AS_IT_IS, 1)]
        )
    )
    assert held_against("admission", entries) == [], AGAIN.format("admission")


def test_ways_to_know_of_queues_are_put_back():
    """The bench changes the code for the options that were rejected, and only for them."""
    before = vars(admission.statuses)["STATUS_EVERY_S"], admission.Statuses.send, admission.DeviceTasks.arrive
    for way in admission.WAYS.values():
        with way():
            pass
    assert before == (admission.statuses.STATUS_EVERY_S, admission.Statuses.send, admission.DeviceTasks.arrive)


@pytest.mark.slow
@pytest.mark.parametrize(("load_of_stages", "policy", "seed"), [
    (0.42, "dto-ee", 1), (0.48, "ngto", 3), (0.55, "dto-ee", 5), (0.55, "shortest-expected-delay", 2),
])  # fmt: skip
def test_a_sample_of_the_policies_on_the_city_simulates_as_kept(load_of_stages, policy, seed, tmp_path):
    topology = policies.variant(policies.CITY, tmp_path, factor=policies.LOADS[load_of_stages])
    delay_ms = summary_of(Ask(topology, policy, seed))["delay_s"]["mean"] * 1e3
    entry = load("policies").row(f"city, load {load_of_stages:.2f}: {policy} mean delay")
    assert len(entry["samples"]) == policies.SEEDS
    assert delay_ms == pytest.approx(entry["samples"][seed - 1], rel=1e-6), AGAIN.format("policies")


@pytest.mark.slow
def test_a_fixed_threshold_on_the_city_simulates_as_kept(tmp_path):
    topology = policies.variant(policies.CITY, tmp_path, factor=0.9999)
    asks = [Ask(topology, "fixed-threshold:threshold=0.8", seed) for seed in range(1, thresholds.CURVE_SEEDS + 1)]
    accuracy = fmean(summary["accuracy"] for summary in map(summary_of, asks))
    kept = load("thresholds").value("city: fixed threshold 0.8: accuracy")
    assert accuracy == pytest.approx(kept, rel=1e-6), AGAIN.format("thresholds")


@pytest.mark.slow
def test_rounds_from_a_cold_start_are_as_kept():
    counts = []
    for seed in range(convergence.INSTANCES):
        network, fixed = random_network(seed, load=0.5, sizes=convergence.SIZES, spread=4)
        sweeps = Sweeps(network, network.speed_rows(), fixed, convergence.RULE)
        best_s = convergence.optimum_s(network, fixed)
        counts.append(convergence.rounds_to(sweeps, best_s, (0.05, 0.01), Sweeps.round))
    kept = {entry["name"]: entry["value"] for entry in load("convergence").rows if entry["rival"] is None}
    for entry in convergence.counted("cold start, load 0.5", counts, None):
        assert entry["value"] == kept[entry["name"]], AGAIN.format("convergence")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_keeping_reads_back_equal(elsewhere):
    entries = [row("a", 1.5, "ms", most=2, interval=(1.0, 2.0), samples=[1.0, 2.0]), text("monitor", ["x", " y"])]
    path = keep("some", entries, "0123abc")
    assert path == elsewhere / "some.json"
    found = load("some")
    assert list(found.rows) == entries
    assert found.commit == "0123abc"
    assert found.text("monitor") == ["x", " y"]
    assert len(path.read_text().splitlines()) > len(entries)
    assert json.loads(path.read_text())["machine"]["kernel"]


@pytest.mark.parametrize("entries", [[], [row("a", 1.0, "s"), row("b", -1.0, "s", most=2)]])
def test_what_tells_nothing_does_not_replace_a_kept_result(elsewhere, entries):
    keep("some", [row("a", 7.0, "s")], "0123abc")
    with pytest.raises(ValueError, match="some"):
        keep("some", entries, "4567def")
    assert load("some").value("a") == 7.0
    assert elsewhere.exists()


def test_figures_that_are_missing_twice_there_or_invalid_are_not_rendered():
    entries = [row("a", 1.0, ""), row("b", 1.0, ""), row("b", 2.0, ""), row("c", None, "s"), row("d", 1, "", rival="x")]
    result = Result("some", "make some", "0123abc", "2026-01-01", {}, tuple(entries))
    assert result.value("a") == 1.0
    assert result.value("d", "x") == 1.0
    for name in ("b", "c", "nothing"):
        with pytest.raises(KeyError, match="some"):
            result.value(name)
    with pytest.raises(KeyError, match="no row matches"):
        result.values("nothing.*")
    with pytest.raises(KeyError, match="invalid"):
        result.values("[ac]")


def test_one_command_measures_keeps_and_ends_with_the_verdict(elsewhere, capsys):
    assert _run(["models"], None, keeps=True) == 0
    assert load("models").rows == tuple(models.rows())
    assert f"kept in {elsewhere / 'models.json'}" in capsys.readouterr().out


def test_invalid_figures_are_not_kept_and_a_bench_that_fails_spares_the_others(elsewhere, monkeypatch, capsys):
    monkeypatch.setattr(models, "rows", lambda: iter([row("a", -1.0, "s", most=2.0)]))
    monkeypatch.setattr(convergence, "rows", lambda: iter([]))
    assert _run(["models"], None, keeps=True) == INVALID
    assert "not kept: 1 figures of models are invalid" in capsys.readouterr().out
    assert _run(["convergence", "models"], elsewhere.parent / "rows.json", keeps=True) == FAILED
    assert not elsewhere.exists()
    assert [entry["bench"] for entry in json.loads((elsewhere.parent / "rows.json").read_text())] == ["models"]
