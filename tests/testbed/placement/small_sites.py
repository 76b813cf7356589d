"""Small random networks for placements, and the values of all their candidates by brute force."""

import random
from collections.abc import Iterator
from functools import cache
from itertools import combinations, product
from pathlib import Path

from node_agent.errors import InputError
from testbed.optimum.bound import grid_for, offered_table
from testbed.optimum.flow_model import CutOff, flow_model, segments
from testbed.optimum.threshold_search import ThresholdSearch
from testbed.placement.candidates import Candidate
from testbed.placement.ranking import NOTHING, Key
from testbed.placement.stated_site import StatedSite, read_site
from testbed.topology import load_topology_text

EXITS = (2, 3, 4, 5)  # of the model glyphs


def topology_text(seed: int, stages: int, cut: tuple[int, ...] | None = None, hosted: dict | None = None) -> str:
    """A random topology: five servers on a switch or on direct links, some of them alike, some short of memory.

    `cut` and `hosted` (stage by server) replace those that the seed draws.
    """
    draw = random.Random(seed)
    names = [f"box-{number}" for number in range(1, 5)]
    speeds = draw.choice([(0.2, 0.2, 0.3, 0.3), (0.15, 0.3, 0.3, 0.45), (0.25, 0.25, 0.25, 0.5)])
    memory = [draw.choice(["", "", ", memory: 300 kB", ", memory: 700 kB"]) for _ in names]
    if draw.random() < 0.5:
        memory = [""] * len(names)
    rate = draw.choice([1, 2, 3])
    drawn = [1 + number % stages for number in range(len(names))]
    draw.shuffle(drawn)
    drawn_cut = (*sorted(draw.sample(EXITS[:-1], stages - 1)), 5)
    stage_of = dict(zip(names, drawn, strict=True)) if hosted is None else hosted
    links = []
    if draw.random() < 0.6:
        links.append("{from: [cam-1, cam-2, box-1, box-2, box-3, box-4], to: hub, rate: 20 Mbit/s, delay: 3 ms}")
        if draw.random() < 0.5:
            links.append("{from: box-1, to: box-4, rate: 80 Mbit/s, delay: 1 ms}")
    else:
        links.append("{from: [cam-1, cam-2], to: [box-1, box-2], rate: 20 Mbit/s, delay: 5 ms}")
        for one, other in combinations(names, 2):
            if draw.random() < 0.8 or other == "box-4":
                shape = f"rate: {draw.choice([5, 20, 80])} Mbit/s, delay: {draw.choice([1, 5, 20])} ms"
                links.append(f"{{from: {one}, to: {other}, {shape}}}")
    servers = "".join(
        f"  {name}: {{stage: {stage_of[name]}, capacity: {speed} GFLOP/s{held}}}\n"
        for name, speed, held in zip(names, speeds, memory, strict=True)
    )
    event = draw.choice(["", "events: [{at: 50 %, server: box-3, capacity: x0.5}]\n"])
    event = draw.choice([event, "events: [{at: 20 s, node: box-2, state: down}, {at: 30 s, node: box-2, state: up}]\n"])
    return (
        f"name: random-{seed}\nmodel: {{name: glyphs, cut: {list(cut or drawn_cut)}, activation: float16}}\n"
        f"policy: dto-ee\ntheta: 2 s\nslot: 3 s\nduration: 40 s\n"
        f"devices:\n  cam-1: {{rate: {rate} /s}}\n  cam-2: {{rate: 2 /s}}\n"
        f"servers:\n{servers}{'switches: [hub]' if 'hub' in links[0] else 'switches: []'}\n"
        f"links:\n" + "".join(f"  - {link}\n" for link in links) + event
    )


def small_site(folder: Path, seed: int, stages: int) -> StatedSite:
    """The site of a random topology."""
    path = folder / f"random-{seed}-{stages}.yaml"
    path.write_text(topology_text(seed, stages))
    return read_site(path)


@cache
def brute_force(seed: int, stages: int, thresholds: tuple[float, ...] | None) -> dict[Candidate, Key]:
    """The key of every candidate that the reader of topologies accepts, each from a file of its own."""
    found = {}
    for cut, hosted in _all(stages):
        named = {f"box-{number}": stage for number, stage in enumerate(hosted, start=1)}
        try:
            topology = load_topology_text(topology_text(seed, stages, cut, named))
        except InputError:
            continue
        found[Candidate(cut, hosted)] = key_of(topology.resolve(), thresholds)
    return found


def _all(stages: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    for early in combinations(EXITS[:-1], stages - 1):
        for hosted in product(range(1, stages + 1), repeat=4):
            yield (*early, 5), hosted


def key_of(scenario, thresholds: tuple[float, ...] | None) -> Key:
    """The key of a scenario: the best plan with a threshold per stage in each segment, by the optimum's own parts."""
    model, cut = scenario.model.open(), scenario.model.cut
    table = offered_table(scenario, model)
    grid = grid_for(model.exit_table(cut), table, thresholds)
    profiles = model.profiles(cut, scenario.model.activation)
    whole = unserved = sum_s = 0.0
    for segment in segments(scenario):
        counted_s = max(0.0, segment.end_s - max(segment.begin_s, scenario.warm_up_s))
        weight = counted_s * sum(device.rate_per_s for device in scenario.devices)
        whole += weight
        try:
            flows = flow_model(segment.scenario, profiles, table, down=segment.down)
        except CutOff:
            unserved += weight
            continue
        search = ThresholdSearch(flows, grid, scenario.theta_s, crowded=True)
        for _ in search.steps():
            pass
        best = search.best_solved
        if best is None:
            unserved += weight
        else:
            sum_s += weight * best.objective_s(scenario.theta_s)
    return NOTHING if whole == unserved else (unserved / whole, sum_s / (whole - unserved))
