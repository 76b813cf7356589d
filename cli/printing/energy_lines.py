"""The energy of a run, for people: how much, where, and which batteries are empty."""

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.wording import joules, percent, seconds

MOST_NODES = 3  # named, those with the most energy
MOST_BATTERIES = 2  # named, those that were empty first
_PARTS = {"idle_j": "idle", "computing_j": "computing", "transfer_j": "transfers"}


def energy_lines(energy: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of `energy` of summary.json; none if the run did not count energy."""
    if not energy:
        return
    total_j = energy["total_j"]
    per_task, per_correct = joules(energy["per_task_j"]), joules(energy["per_correct_j"])
    yield f"{joules(total_j)}: {per_task} a task, {per_correct} a correct answer"
    if total_j > 0:
        parts = ", ".join(f"{name} {percent(energy[part] / total_j)}" for part, name in _PARTS.items())
        nodes = {name: node["total_j"] for name, node in energy["nodes"].items() if node["total_j"] > 0}
        most = sorted(nodes, key=lambda name: -nodes[name])[:MOST_NODES]
        yield parts
        yield f"most: {', '.join(f'{name} {joules(nodes[name])}' for name in most)}"
    if batteries := energy["batteries"]:
        yield _batteries(batteries)


def _batteries(batteries: Mapping[str, Mapping[str, Any]]) -> str:
    empty_s = {device: found["empty_s"] for device, found in batteries.items() if found["empty_s"] is not None}
    if not empty_s:
        least, left = min(((device, each["left_j"] / each["capacity_j"]) for device, each in batteries.items()),
                          key=lambda pair: pair[1])  # fmt: skip
        return f"no battery empty; the lowest is {least} at {percent(left)}"
    first = sorted(empty_s, key=lambda device: empty_s[device])[:MOST_BATTERIES]
    named = ", ".join(f"{device} after {seconds(empty_s[device], '.1f')}" for device in first)
    more = f" and {len(empty_s) - len(first)} more" if len(empty_s) > len(first) else ""
    return f"battery empty: {named}{more}"
