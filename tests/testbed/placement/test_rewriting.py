"""The written topology of a candidate is the candidate: whatever the stated file holds."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.errors import InputError
from testbed.placement.candidates import Candidate
from testbed.placement.rewriting import rewritten, write_new
from testbed.placement.stated_site import read_site
from testbed.topology import load_topology, load_topology_text
from testbed.topology.overrides import parse_override

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
# Groups, ranges, a later link that overrides some of a group's, events of every kind, lists of receivers, a device that
# runs stage 1, and memory.
EVERYTHING = """
name: everything
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: dto-ee
slot: 3 s
duration: 40 s
seed: 5
devices:
  cam: {count: 2, rate: 1..2 /s}
  bell: {rate: 1 /s, runs: 1, capacity: 0.1 GFLOP/s, memory: 400 MiB}
servers:
  near: {stage: 1, count: 3, capacity: 0.2..0.3 GFLOP/s, memory: 512 MiB}
  mid: {stage: 2, count: 2, capacity: 0.1..0.2 GFLOP/s}
  core: {stage: 3, capacity: 0.3 GFLOP/s, memory: 1 GiB}
switches: [hub]
links:
  - {from: [cam, bell, near, mid, core], to: hub, rate: 20..50 Mbit/s, delay: 2..4 ms, jitter: 0.2 ms}
  - {from: near-2, to: [hub], rate: 5 Mbit/s, delay: 9 ms}
  - {from: near, to: mid, rate: 60..90 Mbit/s, delay: 1 ms}
  - {from: near-3, to: mid-1, rate: 7 Mbit/s, delay: 1 ms}
offload:
  cam-1: [near-1, near-2]
  near: [mid]
  near-3: [mid-2]
  bell: [near-1, mid]
events:
  - {at: 10 s, server: near, capacity: x0.5}
  - {at: 15 s, link: [near, mid], rate: x0.5}
  - {at: 16 s, link: [hub, near], delay: 5 ms}
  - {at: 20 s, node: mid, state: down}
  - {at: 25 s, node: mid, state: up}
  - {at: 30 s, device: cam, rate: x2}
"""


@pytest.fixture
def stated(tmp_path):
    path = tmp_path / "everything.yaml"
    path.write_text(EVERYTHING)
    return read_site(path)


def test_the_stated_candidate_is_the_stated_scenario(stated):
    site = stated.site
    assert site.placed(site.stated) == load_topology_text(EVERYTHING).resolve()
    found = rewritten(stated, site.stated)
    assert (found.changes, found.overrides) == ((), ())
    assert load_topology_text(found.text).resolve() == site.placed(site.stated)


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_a_candidate_is_read_as_it_was_placed(tmp_path, stages):
    path = tmp_path / "everything.yaml"
    path.write_text(EVERYTHING)
    stated = read_site(path, stages=stages)
    site, draw = stated.site, random.Random(stages)
    split = dropped = whole = 0
    for _ in range(25):
        candidate = Candidate(draw.choice(site.cuts), tuple(draw.randint(1, stages) for _ in site.servers))
        if site.trouble(candidate) is not None:
            continue
        found = rewritten(stated, candidate)
        scenario = load_topology_text(found.text).resolve()
        assert _by_name(scenario) == _by_name(site.placed(candidate))
        split += len(set(candidate.stages[:3])) > 1
        dropped += any("dropped" in change for change in found.changes)
        if found.overrides:
            whole += 1
            overrides = [parse_override(each) for each in found.overrides]
            assert load_topology_text(EVERYTHING, overrides=overrides).resolve() == scenario
    assert min(split, dropped) > 2


def _by_name(scenario):
    """A scenario whose links, events and receivers do not depend on the order of entries."""
    return replace(
        scenario,
        links=tuple(sorted((_turned(link) for link in scenario.links), key=lambda link: link.ends)),
        events=tuple(sorted(scenario.events, key=lambda event: (event.at_s, str(_turned_event(event))))),
        offload_to={name: frozenset(receivers) for name, receivers in scenario.offload_to.items()},
    )


def _turned(link):
    return replace(link, ends=tuple(sorted(link.ends)))


def _turned_event(event):
    return sorted(map(sorted, event.shapes)) or event


def test_whole_groups_need_only_overrides(tmp_path):
    path = tmp_path / "groups.yaml"
    path.write_text(EVERYTHING.replace(EVERYTHING[EVERYTHING.index("offload:") : EVERYTHING.index("events:")], ""))
    stated = read_site(path)
    candidate = Candidate((3, 4, 5), (2, 2, 2, 1, 1, 3))
    found = rewritten(stated, candidate)
    assert found.overrides == ("model.cut=[3, 4, 5]", "servers.near.stage=2", "servers.mid.stage=1")
    assert found.changes == ("cut [2, 3, 5] -> [3, 4, 5]", "near: stage 1 -> 2", "mid: stage 2 -> 1")
    overrides = [parse_override(each) for each in found.overrides]
    assert load_topology(path, overrides=overrides).resolve() == stated.site.placed(candidate)


def test_lists_hold_as_far_as_they_can(stated):
    site = stated.site
    kept = site.kept_lists(site.stage_of(Candidate((2, 3, 5), (1, 2, 1, 2, 2, 3))))
    assert kept["cam-1"] == ("near-1",)  # near-2 left stage 1
    assert kept["near-1"] == ("mid-1", "mid-2")
    assert kept["near-3"] == ("mid-2",)
    assert "near-2" not in kept  # neither of its servers hosts stage 3, so it follows the links
    assert set(kept["bell"]) == {"near-1", "mid-1", "mid-2"}
    placed = site.placed(Candidate((2, 3, 5), (1, 2, 1, 2, 2, 3)))
    assert placed.offload_to["near-2"] == ("core",)
    assert placed.offload_to["near-1"] == ("mid-1", "mid-2")


def test_seed_and_duration_are_stated_if_they_were_given(stated):
    found = rewritten(stated, stated.site.stated, seed=9, duration_s=30.5, note="one\ntwo")
    assert found.text.startswith("# one\n# two\nname: everything\n")
    scenario = load_topology_text(found.text).resolve()
    assert (scenario.seed, scenario.duration_s) == (9, 30.5)


def test_another_model_stays_in_the_text(tmp_path):
    path = tmp_path / "everything.yaml"
    path.write_text(EVERYTHING)
    stated = read_site(path, model="glyphs-deep", cut=(3, 5, 7), criterion="margin")
    text = rewritten(stated, stated.site.stated).text
    assert (
        load_topology_text(text).resolve()
        == load_topology(path, model="glyphs-deep", cut=(3, 5, 7), criterion="margin").resolve()
    )


def test_paths_lead_from_the_new_folder(tmp_path):
    stated = read_site(TOPOLOGIES / "commute.yaml")
    found = rewritten(stated, stated.site.stated, folder=str(tmp_path))
    (tmp_path / "there.yaml").write_text(found.text)
    here, there = (load_topology(path).resolve() for path in (TOPOLOGIES / "commute.yaml", tmp_path / "there.yaml"))
    assert [link.shape for link in here.links] == [link.shape for link in there.links]
    assert here.events == there.events


def test_a_policy_of_ones_own_keeps_its_file(tmp_path):
    policy = next((TOPOLOGIES / "policies").glob("*.py"))
    kind = "NearestFirst"
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.py").write_text(policy.read_text())
    (home / "net.yaml").write_text(EVERYTHING.replace("policy: dto-ee", f"policy: mine.py:{kind}"))
    stated = read_site(home / "net.yaml")
    found = rewritten(stated, stated.site.stated, folder=str(tmp_path))
    scenario = load_topology_text(found.text, folder=str(tmp_path)).resolve()
    assert scenario.policy.name == f"{home / 'mine.py'}:{kind}"


def test_slots_must_hold_a_round_of_more_stages(tmp_path):
    path = tmp_path / "quick.yaml"
    path.write_text(EVERYTHING.replace("slot: 3 s", "slot: 130 ms").replace("delay: 9 ms", "delay: 15 ms"))
    assert read_site(path).site.stages == 3
    with pytest.raises(InputError, match=r"a slot of 0\.13 s is too short for 4 stages") as caught:
        read_site(path, stages=4)
    assert "--slot" in caught.value.hint


def test_a_new_file_replaces_nothing(tmp_path):
    path = tmp_path / "new.yaml"
    write_new(path, "one")
    with pytest.raises(InputError, match="exists"):
        write_new(path, "two")
    assert path.read_text() == "one"
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_new(tmp_path / "no" / "new.yaml", "three")
