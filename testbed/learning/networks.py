"""Random networks for training: other ones than those of topologies/, and no two alike."""

import random
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

from node_agent.models import load_bundle

CUTS: Final = ((3, 5), (2, 5), (2, 3, 5), (2, 4, 5))  # blocks of the model glyphs
THRESHOLD: Final = 0.8  # for which the loads are meant
DURATION_S: Final = 24.0


class Stage(NamedTuple):
    """The work of a stage under `THRESHOLD`."""

    flop: float  # work of a task [FLOP]
    share: float  # share of all tasks that reach the stage, 0..1


def random_network(seed: int) -> str:
    """The text of a topology: two or three stages, unequal servers and links, load .3 to .65, and changes.

    Each offloader has at least two receivers. In the middle of most runs a server slows, the arrivals rise, or a link
    worsens; later it recovers.

    Args:
        seed: draws everything; the topology also states it.
    """
    dice = random.Random(f"random network {seed}")
    stages = _stages(cut := dice.choice(CUTS))
    devices = [f"d{number}" for number in range(dice.randint(4, 9))]
    rates_per_s = [dice.uniform(1, 3.5) for _ in devices]
    layers, servers = [devices], []
    for number, stage in enumerate(stages, start=1):
        speeds = [dice.uniform(1, 4) for _ in range(dice.randint(2, 4))]
        needed_flop_per_s = sum(rates_per_s) * stage.share * stage.flop / dice.uniform(0.3, 0.65)
        layers.append([f"s{number}x{place}" for place in range(len(speeds))])
        for name, speed in zip(layers[-1], speeds, strict=True):
            capacity = needed_flop_per_s * speed / sum(speeds) / 1e9
            servers.append(f"  {name}: {{stage: {number}, capacity: {capacity:.6f} GFLOP/s}}")
    ways = [(one, other) for here, there in pairwise(layers) for one in here
            for other in dice.sample(there, dice.randint(2, len(there)))]  # fmt: skip
    links = [
        f"  - {{from: {one}, to: {other}, rate: {dice.uniform(8, 50):.1f} Mbit/s,"
        f" delay: {10 ** dice.uniform(0, 1.7):.1f} ms, jitter: 0.2 ms}}"
        for one, other in ways
    ]
    _join_the_unreached(dice, layers, ways, links)
    events = _changes(dice, layers, ways)
    lines = [
        f"name: random-{seed}", f"model: {{name: glyphs, cut: {list(cut)}, activation: float16}}",
        "policy: shortest-expected-delay", "theta: 0.001 s",  # accuracy does not depend on the receivers
        "slot: 3 s", f"duration: {DURATION_S:g} s", "warm_up: 2 s", f"seed: {seed}",
        "devices:",
        *(f"  {name}: {{rate: {rate:.3f} /s}}" for name, rate in zip(devices, rates_per_s, strict=True)),
        "servers:", *servers, "links:", *links, *(["events:", *events] if events else []),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _join_the_unreached(
    dice: random.Random, layers: list[list[str]], ways: list[tuple[str, str]], links: list[str]
) -> None:
    """Add a link to each server that no offloader can reach."""
    reached = {other for _, other in ways}
    for here, there in pairwise(layers):
        for name in there:
            if name not in reached:
                one = dice.choice(here)
                ways.append((one, name))
                links.append(f"  - {{from: {one}, to: {name}, rate: 20 Mbit/s, delay: 10 ms, jitter: 0.2 ms}}")


def _changes(dice: random.Random, layers: list[list[str]], ways: list[tuple[str, str]]) -> list[str]:
    """Entries of `events`: a change in the middle, and the recovery; none for one network in five."""
    begins, ends = f"{dice.randint(25, 45)} %", f"{dice.randint(60, 85)} %"
    match dice.randrange(5):
        case 0 | 1:
            name = dice.choice([name for layer in layers[1:] for name in layer])
            worse = f"server: {name}, capacity: x{dice.uniform(0.3, 0.6):.2f}"
            better = f"server: {name}, capacity: x1"
        case 2:
            name = dice.choice(layers[0])
            worse = f"device: {name}, rate: x{dice.uniform(1.5, 3):.1f}"
            better = f"device: {name}, rate: x1"
        case 3:
            one, other = dice.choice(ways)
            worse = f"link: [{one}, {other}], rate: 2 Mbit/s, delay: {dice.randint(20, 80)} ms"
            better = f"link: [{one}, {other}], rate: x1, delay: x1"
        case _:
            return []
    return [f"  - {{at: {begins}, {worse}}}", f"  - {{at: {ends}, {better}}}"]


@cache
def _stages(cut: tuple[int, ...]) -> tuple[Stage, ...]:
    """The work of each stage of glyphs, cut like this."""
    model = load_bundle("glyphs")
    exits, _ = model.exit_table(cut).outcome([THRESHOLD] * (len(cut) - 1))
    reached = [1.0 - float(sum(exits[:stage])) for stage in range(len(cut))]
    profiles = model.profiles(cut, "float16")
    return tuple(Stage(float(each.flop), share) for each, share in zip(profiles, reached, strict=True))
