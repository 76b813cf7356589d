"""A made-up run for the tests of the monitors: the calls of an experiment, without an experiment."""

from itertools import pairwise

from cli.watch.lines import Frame
from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.fidelity.evidence import Evidence, NodeLoad
from testbed.fidelity.report import FidelityReport, FidelityState, Verdict
from testbed.host.load import HostUse
from testbed.network import NetworkStatistics, WatchedPath
from testbed.run.observer import RunObserver
from testbed.scenario import Device, ModelChoice, PolicyChoice, Scenario, Server
from tests.testbed.record.task_lines import task_line


def scenario(devices=("west-1", "west-2", "east-1"), servers=(3, 3, 2), duration_s=60.0, **changes):
    """A small scenario; `servers` are numbers by stage, and the stages are called near, mid and core."""
    stages = [
        [f"{name}-{number}" for number in range(1, count + 1)]
        for name, count in zip(("near", "mid", "core"), servers, strict=True)
    ]
    offload_to = dict.fromkeys(devices, tuple(stages[0]))
    for offloaders, receivers in pairwise(stages):
        offload_to |= dict.fromkeys(offloaders, tuple(receivers))
    values = {
        "name": "demo", "seed": 1, "duration_s": duration_s, "warm_up_s": 6.0, "slot_s": 3.0, "time_scale": 1.0,
        "compute": "paced", "arrivals": "poisson", "model": ModelChoice("glyphs", (2, 3, 5)),
        "policy": PolicyChoice("dto-ee"), "devices": tuple(Device(name, 3.0) for name in devices),
        "servers": tuple(Server(name, stage, 1e9) for stage, names in enumerate(stages, 1) for name in names),
        "switches": (), "links": (), "offload_to": offload_to, "events": (),
    }  # fmt: skip
    return Scenario(**{**values, **changes})


def big_scenario():
    """A scenario of 50 devices and 15 servers."""
    return scenario(tuple(f"camera-{number}" for number in range(1, 51)), (6, 5, 4))


def completed(number, at_s, delay_s=0.2, *, correct=True, exit_stage=1):
    return task_line(
        number, created_s=at_s - delay_s, completed_s=at_s, delay_s=delay_s, correct=correct, exit_stage=exit_stage
    )


def lost(number, status="lost"):
    return task_line(number, delay_s=None, reason="no result", status=status)


def sample(node, stage, at_s=1.0, **changes):
    values = {
        "queue_length": 2, "arrival_rate_per_s": 6.0, "utilisation": 0.5, "arrived": 6, "served": 6, "exits": 3,
        "forwarded": 3, "duplicates": 0, "overruns": 0, "cpu_s": 0.01, "threshold": 0.75 if stage else None,
        "busy_s": 0.5 if stage else 0.0,
    }  # fmt: skip
    return SampleRecord(at_s, node, stage, **{**values, **changes})


def decision(node, offload, at_s=2.5, threshold=0.75):
    return DecisionRecord(at_s, node, 0, 20, offload, threshold, {}, None, 6.0, 9.0)


def event(kind, node=None, detail="", at_s=1.0):
    return EventRecord(at_s, node, kind, detail)


def emulation(verdict: Verdict = "held", *reasons: str, network: bool = True, time_scale: float = 1.0) -> FidelityState:
    """A state of the emulation; without `network`, its counters are not known yet."""
    watched = [WatchedPath((end, "switch", "near-1"), 20, 0, excess_s, None) for end, excess_s in
               (("west-1", 0.0001), ("west-2", 0.0004), ("east-1", None))]  # fmt: skip
    counters = NetworkStatistics("userspace", 20_000, 30, 0.004, 0, 0, 1.0, realtime_priority=True)
    evidence = Evidence(
        time_scale=time_scale, servers={"near-1": NodeLoad(deadlines=1000, late_timers=4)}, watched=watched,
        network=counters if network else None,
    )  # fmt: skip
    return FidelityState(FidelityReport(verdict, reasons, evidence), HostUse(0.63, 0.0, 0.12, 0.0))


def play(observer: RunObserver, what: Scenario, seconds: int = 20) -> None:
    """Make all calls of an experiment in the first `seconds` of a run, the same for all nodes."""
    observer.phase("building the network")
    observer.phase("loading the model")
    observer.started(what, 1080)
    for node, receivers in what.offload_to.items():
        first, *others = receivers
        rest = {name: 0.4 / len(others) for name in others}
        observer.decision(decision(node, {first: 0.6, **rest}))
    for now in range(1, seconds + 1):
        for device in what.devices:
            observer.sample(sample(device.name, 0, now, queue_length=1, arrival_rate_per_s=3.0))
        for server in what.servers:
            observer.sample(sample(server.name, server.stage, now))
        for number in range(10):
            observer.task(completed(10 * now + number, now, correct=number > 0, exit_stage=number % 3 + 1))
        observer.tick(float(now))
    observer.event(event("node-down", "near-2", "agent killed", 12.0))
    observer.event(event("capacity-change", "near-1", "0.09 GFLOP/s", 15.0))


def texts(frame: Frame) -> list[str]:
    """The frame without its styles."""
    return ["".join(text for text, _ in line) for line in frame.lines]
