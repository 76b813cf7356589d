"""Times on which decisions rest: exact on an exact machine, even in early slots; else off by the machine's lateness."""

import msgspec
import pytest

from node_agent.records import DecisionRecord
from testbed.expectation.measured_times import measured_off
from testbed.expectation.steps import steps_of
from testbed.expectation.verdict import judge
from testbed.fidelity.evidence import Evidence
from tests.testbed import small
from tests.testbed.expectation.runs import findings_of, tasks_of, world_of
from tests.testbed.simulated import simulate
from tests.testbed.varying import VaryingGlyphs

SMALL = small.SMALL.replace("duration: 8 s", "duration: 20 s").replace("delay: 3 ms", "delay: 15 ms")
CHANGES = """
events:
  - {at: 5 s, server: near-1, capacity: x0.5}
  - {at: 9 s, link: [cam-1, near-1], rate: 2 Mbit/s, delay: 40 ms}
  - {at: 13 s, server: near-1, capacity: x2}
  - {at: 15 s, link: [cam-1, near-1], rate: 20 Mbit/s, delay: 10 ms}
"""
DOWN = "\nevents:\n  - {at: 6 s, node: near-1, state: down}\n  - {at: 11 s, node: near-1, state: up}"
EXACT = {
    "steady": SMALL,
    "changes": SMALL + CHANGES,
    "a node down": SMALL + DOWN,
    "time scale": SMALL.replace("slot: 2 s", "slot: 2 s\ntime_scale: 3"),
    "jitter": SMALL.replace("ms}", "ms, jitter: 3 ms}"),
    "loss": SMALL.replace("ms}", "ms, loss: 2 %, jitter: 1 ms}"),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("seed", "model"), [(1, None), (2, None), (1, VaryingGlyphs()), (2, VaryingGlyphs())],
                         ids=["1", "2", "1, varying costs", "2, varying costs"])  # fmt: skip
def test_nodes_of_an_exact_machine_measure_what_they_should(tmp_path, name, seed, model):
    _, findings = findings_of(tmp_path, EXACT[name], seed=seed, model=model)
    assert len(findings.measured) >= 10
    for each in findings.measured:
        # Probes of a node that comes up share the links with the copies that waited for it.
        assert each.links_off < (0.04 if name == "a node down" else 0.005), each
        assert each.speed_off < 0.001, each
    assert not [reason for reason in judge(Evidence(), findings).reasons if reason.startswith("decisions")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder, world, decisions and steps of an exact run of 20 s."""
    outcome = simulate(tmp_path_factory.mktemp("run"), SMALL)
    world = world_of(outcome.run_directory)
    decisions = [msgspec.json.decode(line, type=DecisionRecord)
                 for line in (outcome.run_directory / "decisions.jsonl").read_bytes().splitlines()]  # fmt: skip
    return outcome.run_directory, world, decisions, steps_of(world, tasks_of(outcome)).late


def changed(decisions, node, change):
    """Return the decisions, those of a node (of all, if None) changed."""
    return [change(record) if node in (None, record.node) else record for record in decisions]


def test_a_link_time_that_is_off_weighs_as_a_share_of_the_price_where_the_tasks_go(run):
    _, world, decisions, late = run

    def slower(record):
        return msgspec.structs.replace(record, link_s={to: at_s + 0.03 for to, at_s in record.link_s.items()})

    for each in measured_off(world, changed(decisions, "cam-1", slower), late):
        records = [record for record in decisions if record.slot == each.slot]
        (cam,) = (record for record in records if record.node == "cam-1")
        share = sum(share * 0.03 / cam.prices[to] for to, share in cam.offload.items() if share)
        weight = cam.arrival_rate_per_s / sum(record.arrival_rate_per_s for record in records)
        assert each.links_off == pytest.approx(weight * share, abs=0.002)
        assert each.links_off > 0.01
        assert each.speed_off < 0.001
        assert each.worst == "cam-1"


def test_the_first_decisions_are_judged_before_any_task_was_sent(run):
    """Slot 0 rests on probes, which are compared with an idle link."""
    _, world, decisions, late = run
    first = [record for record in decisions if record.slot == 0]
    assert min(step.at_s for step in late) > max(record.time_s for record in first) - world.scenario.slot_s
    doubled = changed(first, None, lambda record: msgspec.structs.replace(
        record, link_s={to: 2 * at_s for to, at_s in record.link_s.items()}))  # fmt: skip
    (exact,), (off,) = (measured_off(world, records, ()) for records in (first, doubled))
    assert exact.links_off < 0.005
    assert off.links_off > 0.05


def test_overruns_while_estimates_are_young_show_in_the_first_slots(tmp_path):
    """The first services of near-1 take three times as long, as on a machine that is busy when a run begins."""
    served = []

    def slow_at_first(server, paced_s):
        served.append(server)
        return paced_s * (3 if server == "near-1" and served.count(server) <= 12 else 1)

    _, findings = findings_of(tmp_path, SMALL, service_time=slow_at_first)
    first, last = findings.measured[:3], findings.measured[-4:]
    assert max(each.speed_off for each in first) > 0.15
    assert {each.worst for each in first if each.speed_off > 0.05} == {"near-1"}
    assert all(each.speed_off < 0.001 for each in last)
    reasons = judge(Evidence(), findings).reasons
    told = [reason for reason in reasons if reason.startswith("decisions of the first slots rested on service times")]
    assert len(told) == 1
    assert "at near-1" in told[0]


def test_a_server_that_does_not_follow_its_capacity_is_off(tmp_path):
    """The scenario halves near-1 at 5 s; its process goes on as before."""
    first_s = {}

    def as_before(server, paced_s):
        return first_s.setdefault(server, paced_s)

    text = SMALL + "\nevents:\n  - {at: 5 s, server: near-1, capacity: x0.5}"
    _, findings = findings_of(tmp_path, text, service_time=as_before)
    slot_s = 2
    for each in findings.measured:
        if each.slot * slot_s < 5:
            assert each.speed_off < 0.001
        elif each.slot * slot_s > 8:
            assert each.speed_off > 0.1
            assert each.worst == "near-1"


def test_what_jitter_explains_is_allowed_for_and_no_more(run):
    """With 5 ms of jitter, an estimate of several tasks may be off by some 9 ms, but not by 60."""
    folder, _, decisions, late = run
    jittery = world_of(folder, jitter_s=0.005)

    def by(added_s):
        return changed(decisions, "cam-1", lambda record: msgspec.structs.replace(
            record, link_s={to: at_s + added_s for to, at_s in record.link_s.items()}))  # fmt: skip

    assert max(each.links_off for each in measured_off(jittery, by(0.005), late)) == 0
    assert min(each.links_off for each in measured_off(jittery, by(0.06), late)) > 0.02


def test_links_that_lose_frames_are_left_out(run):
    folder, world, decisions, late = run
    lossy = world_of(folder, loss=0.01)
    slower = changed(decisions, None, lambda record: msgspec.structs.replace(
        record, link_s={to: at_s + 0.2 for to, at_s in record.link_s.items()}))  # fmt: skip
    assert min(each.links_off for each in measured_off(world, slower, late)) > 0.2
    assert max(each.links_off for each in measured_off(lossy, slower, late)) == 0
