"""The delays that a recorded run should have had, computed apart from the product's own expectation.

Every task goes once more along the servers that served it: over links that are a rate, a delay and a first-come-
first-served transmitter each, through servers that take work / capacity for a task. Jitter, and what else shares the
links, are left out. Shapes, capacities and events are read from the run's topology, costs from its manifest. Only for
networks of direct links in which every task was offered once, as in an undisturbed run; one that was offered again is
expected from when it was created, like all.
"""

import heapq
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import yaml

HEADER_BYTES = {"task": 90, "hop": 65, "result": 60}  # what messages hold beside the tensor, to some bytes
UNITS = {"Mbit/s": 1e6 / 8, "ms": 1e-3, "s": 1.0, "GFLOP/s": 1e9}
Figure = Callable[[np.ndarray], float]
FIGURES: dict[str, Figure] = {
    "mean": np.mean,
    "p50": lambda x: float(np.percentile(x, 50)),
    "p95": lambda x: float(np.percentile(x, 95)),
    "p99": lambda x: float(np.percentile(x, 99)),
}


def quantity(text: str) -> float:
    """A number with one of the units above, in base units."""
    number, unit = str(text).split()
    return float(number) * UNITS[unit]


def members(stated: dict) -> dict[str, dict]:
    """Every node of a section, groups resolved."""
    found: dict[str, dict] = {}
    for name, options in stated.items():
        count = (options or {}).get("count")
        names = [f"{name}-{k + 1}" for k in range(count)] if count else [name]
        found |= dict.fromkeys(names, options or {})
    return found


def neighbours(topology: dict) -> dict[tuple[str, str], tuple[float, float]]:
    """(byte/s, delay s) by directed pair of nodes that a link joins."""
    nodes = members(topology["devices"]) | members(topology["servers"])

    def ends(stated: object) -> list[str]:
        names = stated if isinstance(stated, list) else [stated]
        return [node for name in names for node in nodes if node == name or node.startswith(f"{name}-")]

    found = {}
    for link in topology["links"]:
        for one in ends(link["from"]):
            for other in ends(link["to"]):
                found[one, other] = found[other, one] = (quantity(link["rate"]), quantity(link["delay"]))
    return found


def capacities(topology: dict, duration_s: float) -> dict[str, list[tuple[float, float]]]:
    """(from when on, FLOP/s) by server."""
    found = {name: [(0.0, quantity(each["capacity"]))] for name, each in members(topology["servers"]).items()}
    for event in topology.get("events", []):
        at = event["at"]
        at_s = float(at.split()[0]) / 100 * duration_s if at.endswith("%") else quantity(at)
        if "capacity" in event:
            first = found[event["server"]][0][1]
            factor = float(event["capacity"][1:])
            found[event["server"]].append((at_s, first * factor))
    return found


def hops_between(links: dict[tuple[str, str], tuple[float, float]], begin: str, end: str) -> list[tuple[str, str]]:
    """The way of fewest links, of those the one of least delay."""
    queue: list[tuple[int, float, str, list[tuple[str, str]]]] = [(0, 0.0, begin, [])]
    seen: set[str] = set()
    while queue:
        steps, delay_s, node, way = heapq.heappop(queue)
        if node == end:
            return way
        if node in seen:
            continue
        seen.add(node)
        for (one, other), (_, link_s) in links.items():
            if one == node:
                heapq.heappush(queue, (steps + 1, delay_s + link_s, other, [*way, (one, other)]))
    raise AssertionError(f"no way from {begin} to {end}")


class Exact:
    """An event at a time: messages over transmitters, tasks through servers."""

    def __init__(self, run: Path) -> None:
        self.manifest = json.loads((run / "manifest.json").read_text())
        topology = yaml.safe_load((run / "topology.yaml").read_text())
        self.duration_s = self.manifest["asked"]["duration_s"] or quantity(topology["duration"])
        self.links = neighbours(topology)
        self.capacity = capacities(topology, self.duration_s)
        self.stage = {name: each["stage"] for name, each in members(topology["servers"]).items()}
        self.models = self.manifest["sub_models"]
        self.tasks = [json.loads(line) for line in (run / "tasks.jsonl").read_text().splitlines()]
        self.free_s: dict[object, float] = {}
        self.ways: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def delays_s(self) -> dict[int, float]:
        """Expected delay by task."""
        order, delays_s = count(), {}
        queue = [(task["created_s"], next(order), "send", task, 0, task["device"])
                 for task in self.tasks if task["hops"]]  # fmt: skip
        heapq.heapify(queue)
        while queue:
            now_s, _, what, task, at, node = heapq.heappop(queue)
            hops = task["hops"]
            if what == "serve":
                end_s = self.service_end_s(node, max(now_s, self.free_s.get(node, 0.0)))
                self.free_s[node] = end_s
                heapq.heappush(queue, (end_s, next(order), "send", task, at, node))
                continue
            if what == "end":
                delays_s[task["id"]] = now_s - task["created_s"]
                continue
            last = at == len(hops)
            receiver = task["device"] if last else hops[at]["node"]
            size = HEADER_BYTES["result"] if last else HEADER_BYTES["task"] + self.models[at]["input_bytes"]
            size += HEADER_BYTES["hop"] * at
            arrival_s = self.arrival_s(node, receiver, size, now_s)
            step = ("end", task, at, receiver) if last else ("serve", task, at + 1, receiver)
            heapq.heappush(queue, (arrival_s, next(order), *step))
        return delays_s

    def arrival_s(self, sender: str, receiver: str, size_bytes: float, now_s: float) -> float:
        way = self.ways.setdefault((sender, receiver), hops_between(self.links, sender, receiver))
        for link in way:
            byte_per_s, delay_s = self.links[link]
            begin_s = max(now_s, self.free_s.get(link, 0.0))
            self.free_s[link] = begin_s + size_bytes / byte_per_s
            now_s = self.free_s[link] + delay_s
        return now_s

    def service_end_s(self, server: str, now_s: float) -> float:
        left = self.models[self.stage[server] - 1]["flop"]
        for (_, capacity), until_s in zip(
            self.capacity[server], [at for at, _ in self.capacity[server][1:]] + [1e9], strict=True
        ):
            if now_s < until_s:
                if now_s + left / capacity <= until_s:
                    return now_s + left / capacity
                left -= (until_s - now_s) * capacity
                now_s = until_s
        raise AssertionError("time has no end")


def figures(run: Path) -> dict[str, tuple[float, float]]:
    """(emulated, expected) delay [s] of the tasks that count, by name of the figure."""
    exact = Exact(run)
    expected_s = exact.delays_s()
    warm_up_s = json.loads((run / "summary.json").read_text())["warm_up_s"]
    counted = [task for task in exact.tasks if task["status"] == "completed" and task["created_s"] >= warm_up_s]
    emulated = np.array([task["delay_s"] for task in counted])
    expected = np.array([expected_s[task["id"]] for task in counted])
    found = {name: float(figure(emulated)) for name, figure in FIGURES.items()}
    return {name: (emulated_s, nearest(expected, name, emulated_s)) for name, emulated_s in found.items()}


def nearest(expected: np.ndarray, name: str, emulated_s: float) -> float:
    """The expected figure; of a quantile the one nearest to the emulated that it could be with a task more or less."""
    if name == "mean":
        return float(expected.mean())
    ordered, rank = np.sort(expected), float(name[1:]) / 100 * (len(expected) - 1)
    low, high = ordered[max(0, int(rank) - 1)], ordered[min(len(ordered) - 1, int(np.ceil(rank)) + 1)]
    return float(np.clip(emulated_s, low, high))
