"""Disturbances of a run behind its back, each at a moment of its own: each is a function of the run's manifest."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from testbed.topology import load_topology
from tests.bench.verdict.truth import neighbours
from tests.hogs import hogs

RELAY_COMMAND, AGENT_COMMAND = "relay/process.py", "testbed.live.agent_parents"


@dataclass(frozen=True, slots=True)
class Disturbed:
    """The disturbance: a word for it, and the causes that may rightly be named (kind, and what where it matters)."""

    what: str
    rightly: tuple[tuple[str, tuple[str, ...] | None], ...]


def agent_of(namespace: str) -> int:
    """The process of the agent in a namespace."""
    inode = os.stat(namespace).st_ino
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            inside = os.stat(f"/proc/{process.pid}/ns/net").st_ino == inode
            if inside and AGENT_COMMAND in " ".join(process.cmdline()):
                return process.pid
    raise AssertionError(f"no agent in {namespace}")


@dataclass(frozen=True, slots=True)
class Run:
    """A run that goes on: its manifest, its topology, and chance."""

    nodes: dict[str, dict[str, str]]
    topology: dict
    path: Path
    chance: random.Random

    def namespace(self, node: str) -> str:
        """Of a node, as nsenter takes it."""
        return self.nodes[node]["namespace"]

    def agent(self, node: str) -> int:
        """The process of a node's agent."""
        return agent_of(self.namespace(node))

    def interface(self, node: str, peer: str) -> str:
        """Of the link to a peer: nodes number them in the order of the links."""
        order = [link.ends for link in load_topology(self.path).resolve().links]
        mine = [ends for ends in order if node in ends]
        number = next(place for place, ends in enumerate(mine) if peer in ends)
        return f"n{list(self.nodes).index(node)}-eth{number}"

    def tc(self, node: str, *words: str) -> str:
        """A tc command inside a node; its output."""
        command = ["nsenter", f"--net={self.namespace(node)}", "tc", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def stopped(pid: int, seconds: float) -> None:
    """Let a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def agent_stopped(run: Run) -> Disturbed:
    """A busy server's agent stands still for 1.8 s."""
    node = run.chance.choice([name for name in run.nodes if name.startswith(("near", "mid", "core"))])
    stopped(run.agent(node), 1.8)
    return Disturbed(f"agent of {node} stopped", (("agent", (node,)),))


def device_stopped(run: Run) -> Disturbed:
    """A device's agent stands still for 1.8 s."""
    node = run.chance.choice([name for name in run.nodes if name.startswith(("west", "east"))])
    stopped(run.agent(node), 1.8)
    return Disturbed(f"agent of {node} stopped", (("agent", (node,)),))


def relay_stopped(run: Run) -> Disturbed:
    """The relay stands still for 1.2 to 2 s."""
    stopped(_relay(), run.chance.uniform(1.2, 2.0))
    return Disturbed("relay stopped", (("relay", None),))


def _relay() -> int:
    """The process of the relay of a run that this process has started."""
    below = psutil.Process(os.getpid()).children(recursive=True)
    return next(each.pid for each in below if RELAY_COMMAND in " ".join(each.cmdline()))


def _used_link(run: Run) -> tuple[str, str]:
    """A link that many tasks go over: the busiest so far, or one of the next two."""
    counts: dict[tuple[str, str], int] = {}
    links = neighbours(run.topology)
    for line in (run.path.parent / "tasks.jsonl").read_text().splitlines():
        task = json.loads(line)
        way = (task["device"], *(hop["node"] for hop in task["hops"]))
        for pair in pairwise(way):
            if pair in links:
                counts[pair] = counts.get(pair, 0) + 1
    return run.chance.choice(sorted(counts, key=lambda pair: -counts[pair])[:3])


def link_dead(run: Run) -> Disturbed:
    """A busy link carries nothing, either way, for 5 s: its middle is taken down."""
    one, other = _used_link(run)
    ends = [set(link.ends) for link in load_topology(run.path).resolve().links]
    number = ends.index({one, other})
    middle = f"--net=/proc/{_relay()}/ns/net"
    for state in ("down", "up"):
        for side in "ab":
            subprocess.run(["nsenter", middle, "ip", "link", "set", f"l{number}{side}", state], check=True)
        if state == "down":
            time.sleep(5)
    return Disturbed(f"link {one} - {other} dead", (("link", (one, other)), ("link", (other, one))))


def rate_cut(run: Run) -> Disturbed:
    """A busy link's rate is a hundredth, from one end, for 8 s."""
    one, other = _used_link(run)
    interface = run.interface(one, other)
    classes = [line.split() for line in run.tc(one, "class", "show", "dev", interface).splitlines()]
    for divisor in (100.0, 1.0):
        for words in classes:
            place = words[words.index("parent") :][:2] if "parent" in words else []
            rate = max(1000.0, _bit_per_s(words[words.index("rate") + 1]) / divisor)
            burst = ["burst", words[words.index("burst") + 1], "cburst", words[words.index("cburst") + 1]]
            run.tc(one, "class", "change", "dev", interface, *place, "classid", words[2], "htb", "rate",
                   f"{rate:.0f}bit", "ceil", f"{rate:.0f}bit", *burst)  # fmt: skip
        if divisor > 1:
            time.sleep(8)
    return Disturbed(f"rate of {one} - {other} cut", (("link", (one, other)),))


def _bit_per_s(text: str) -> float:
    for unit, factor in (("Gbit", 1e9), ("Mbit", 1e6), ("Kbit", 1e3), ("bit", 1.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise AssertionError(text)


def machine_taken(_run: Run) -> Disturbed:
    """Real-time busy loops on every processor, for 6 s."""
    with hogs(0, realtime=os.cpu_count() or 1):
        time.sleep(6)
    return Disturbed("processors taken", (("agent", None), ("relay", None), ("link", None)))


def calm(_run: Run) -> Disturbed:
    """Nothing."""
    return Disturbed("nothing", ())


ALL: Sequence[tuple[str, Callable[[Run], Disturbed]]] = (
    ("calm", calm), ("agent of a server stopped 1.8 s", agent_stopped),
    ("agent of a device stopped 1.8 s", device_stopped),
    ("relay stopped 1.2 to 2 s", relay_stopped), ("link dead 5 s", link_dead), ("rate cut to 1 %", rate_cut),
    ("processors taken 6 s", machine_taken),
)  # fmt: skip
