"""Networks that change: the shipped ones, the city at a higher load, and a city whose servers fail and return."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from testbed.topology import load_topology
from tests.bench.policies import variant

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
HIGHER = 1.5  # factor on the devices' rates: 63 % load of every stage at thresholds of 0.8
SHORT_S = 60.0  # of large networks, which the suite simulates some hundred times
CHURN_EVERY_S = 10.0
MOST_DOWN = 2  # servers at a time, each of another stage


Make = Callable[[Path], Path]  # writes a topology into a folder and returns its path


def _shipped(name: str) -> Make:
    return lambda _: TOPOLOGIES / f"{name}.yaml"


def _shortened(name: str) -> Make:
    """A shipped topology that runs for `SHORT_S`."""

    def make(folder: Path) -> Path:
        return written(folder / f"{name}.yaml", TOPOLOGIES / f"{name}.yaml", duration=f"{SHORT_S:g} s")

    return make


def written(path: Path, source: Path, *, events: str = "", **values: str) -> Path:
    """Write the topology `source` to `path`, with other values of top-level keys and with further lines at its end."""
    text = source.read_text(encoding="utf-8")
    for key, value in values.items():
        text, count = re.subn(rf"(?m)^{key}: .*$", f"{key}: {value}", text)
        assert count == 1, f"{source} states {key} {count} times"
    path.write_text(text + events, encoding="utf-8")
    return path


def higher_load(folder: Path) -> Path:
    """The city with the rates of its devices times `HIGHER`, for `SHORT_S`."""
    busier = variant(TOPOLOGIES / "city.yaml", folder, factor=HIGHER)
    return written(folder / "busy.yaml", busier, name="busy", duration=f"{SHORT_S:g} s")


def churn(folder: Path) -> Path:
    """The city in which a server fails or returns every `CHURN_EVERY_S`."""
    source = TOPOLOGIES / "city.yaml"
    scenario = load_topology(source).resolve()
    stages = {server.name: server.stage for server in scenario.servers}
    lines = [f"  - {{at: {at_s:g} s, node: {node}, state: {state}}}\n"
             for at_s, node, state in comings_and_goings(stages, scenario.duration_s)]  # fmt: skip
    return written(folder / "churn.yaml", source, name="churn", events=f"\nevents:\n{''.join(lines)}")


def comings_and_goings(stages: dict[str, int], duration_s: float, seed: int = 1) -> Iterator[tuple[float, str, str]]:
    """Time [s], server and new state, one every `CHURN_EVERY_S`; at most `MOST_DOWN` servers are down, of two stages.

    Args:
        stages: the stage of each server, by name.
        duration_s: length of the run [s].
        seed: of the draws.
    """
    draw, down, at_s = random.Random(seed), list[str](), CHURN_EVERY_S
    while at_s < duration_s:
        if len(down) == MOST_DOWN or (down and draw.random() < 0.5):
            server, state = down.pop(0), "up"
        else:
            spared = {stages[name] for name in down}
            server, state = draw.choice([name for name in stages if stages[name] not in spared]), "down"
            down.append(server)
        yield at_s, server, state
        at_s += CHURN_EVERY_S


SCENARIOS: dict[str, Make] = {
    **{name: _shipped(name) for name in ("quickstart", "slowdown", "surge", "linkdrop", "campus", "commute")},
    "city": _shortened("city"),
    "city, higher load": higher_load,
    "city with churn": churn,
    "metro": _shortened("metro"),
}
