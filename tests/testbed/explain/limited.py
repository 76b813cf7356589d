"""Twelve networks, each made so that one place is the bottleneck, with the name of that place.

Policies have fixed rows, so that tasks do not avoid it.
"""

BASE = """
name: limited
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: uniform
slot: 2 s
duration: 30 s
warm_up: 2 s
devices:
  cam: {count: 3, rate: 5 /s}
servers:
  near-1: {stage: 1, capacity: 0.5 GFLOP/s}
  near-2: {stage: 1, capacity: 0.5 GFLOP/s}
  mid-1: {stage: 2, capacity: 0.4 GFLOP/s}
  mid-2: {stage: 2, capacity: 0.4 GFLOP/s}
  core: {stage: 3, capacity: 1.2 GFLOP/s}
links:
  - {from: cam, to: [near-1, near-2], rate: 20 Mbit/s, delay: 5 ms}
  - {from: [near-1, near-2], to: mid-1, rate: 40 Mbit/s, delay: 3 ms}
  - {from: [near-1, near-2], to: mid-2, rate: 40 Mbit/s, delay: 3 ms}
  - {from: [mid-1, mid-2], to: core, rate: 40 Mbit/s, delay: 4 ms}
"""


def _but(*changes: tuple[str, str], events: str = "") -> str:
    text = BASE
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after)
    return text + (f"events:\n{events}" if events else "")


TRUNK = (
    "  - {from: [mid-1, mid-2], to: core, rate: 40 Mbit/s, delay: 4 ms}",
    "  - {from: [mid-1, mid-2], to: hub, rate: 40 Mbit/s, delay: 2 ms}\n"
    "  - {from: hub, to: core, rate: 0.7 Mbit/s, delay: 2 ms}\nswitches: [hub]",
)
UPLINK = (
    "  - {from: cam, to: [near-1, near-2], rate: 20 Mbit/s, delay: 5 ms}",
    "  - {from: cam, to: near-1, rate: 20 Mbit/s, delay: 5 ms}\n"
    "  - {from: [cam-2, cam-3], to: near-2, rate: 20 Mbit/s, delay: 5 ms}\n"
    "  - {from: cam-1, to: near-2, rate: 0.028 Mbit/s, delay: 5 ms}",
)
BETWEEN = (
    "  - {from: [near-1, near-2], to: mid-1, rate: 40 Mbit/s, delay: 3 ms}",
    "  - {from: near-1, to: mid-1, rate: 40 Mbit/s, delay: 3 ms}\n"
    "  - {from: near-2, to: mid-1, rate: 0.31 Mbit/s, delay: 3 ms}",
)
LOSSY = (
    "  - {from: [near-1, near-2], to: mid-2, rate: 40 Mbit/s, delay: 3 ms}",
    "  - {from: near-1, to: mid-2, rate: 40 Mbit/s, delay: 3 ms}\n"
    "  - {from: near-2, to: mid-2, rate: 40 Mbit/s, delay: 3 ms, loss: 8 %}",
)
ONBOARD = (
    "  cam: {count: 3, rate: 5 /s}",
    "  cam: {count: 2, rate: 5 /s}\n  bell: {rate: 5 /s, runs: 1, capacity: 0.085 GFLOP/s}",
)
HUB = (
    "  - {from: [mid-1, mid-2], to: core",
    "  - {from: bell, to: [mid-1, mid-2], rate: 20 Mbit/s, delay: 5 ms}\n  - {from: [mid-1, mid-2], to: core",
)
LIMITED = {
    "server of stage 1": (
        _but(("near-1: {stage: 1, capacity: 0.5", "near-1: {stage: 1, capacity: 0.12")),
        ("server", ("near-1",)),
    ),
    "server of stage 2": (
        _but(("mid-2: {stage: 2, capacity: 0.4", "mid-2: {stage: 2, capacity: 0.055")),
        ("server", ("mid-2",)),
    ),
    "server of stage 3": (
        _but(("core: {stage: 3, capacity: 1.2", "core: {stage: 3, capacity: 0.17")),
        ("server", ("core",)),
    ),
    "own processor": (_but(ONBOARD, HUB), ("server", ("bell-cpu",))),
    "server that slows down": (
        _but(events="  - {at: 12 s, server: near-2, capacity: x0.15}\n  - {at: 16 s, server: near-2, capacity: x1}\n"),
        ("server", ("near-2",)),
    ),
    "bursts at a server": (
        _but(
            ("near-1: {stage: 1, capacity: 0.5", "near-1: {stage: 1, capacity: 0.2"),
            ("warm_up: 2 s", "warm_up: 2 s\narrivals: bursty"),
        ),
        ("server", ("near-1",)),
    ),
    "uplink of a device": (_but(UPLINK), ("link", ("cam-1", "near-2"))),
    "link between servers": (_but(BETWEEN), ("link", ("near-2", "mid-1"))),
    "trunk behind a switch": (_but(TRUNK), ("link", ("hub", "core"))),
    "link that drops": (
        _but(
            events="  - {at: 10 s, link: [mid-1, core], rate: 0.1 Mbit/s}\n"
            "  - {at: 15 s, link: [mid-1, core], rate: 40 Mbit/s}\n"
        ),
        ("link", ("mid-1", "core")),
    ),
    "link that loses frames": (_but(LOSSY), ("link", ("near-2", "mid-2"))),
    "server that dies": (
        _but(
            events="".join(
                f"  - {{at: {at} %, node: mid-1, state: down}}\n  - {{at: {at + 7} %, node: mid-1, state: up}}\n"
                for at in (20, 40, 60, 80)
            )
        ),
        ("receiver", ("mid-1",)),
    ),
}
