"""The figures behind a verdict, as summary.json holds them: times and rates emulated, CPU times real."""

from collections.abc import Sequence

import numpy as np

from testbed.fidelity.evidence import Evidence, NodeLoad
from testbed.json_values import without_infinities
from testbed.network import LinkStatistics, MeasuredPath, NetworkStatistics, WatchedPath


def figures_of(evidence: Evidence) -> dict[str, object]:
    """Return all figures of the evidence; unknown and infinite ones are None."""
    tasks, scale = evidence.tasks, evidence.time_scale
    figures = {
        **_network(evidence.network, scale),
        "agents_cpu_s": evidence.agents_cpu_s,
        "host_cpu_share": evidence.host.cpu_share,
        "compute_overruns": evidence.overruns,
        "service_time_ratio_p50": evidence.service_time_ratio_p50,
        "replay_lateness_p50_s": _percentile(tasks.replay_lateness_s, 50),
        "replay_lateness_p99_s": _percentile(tasks.replay_lateness_s, 99),
        "replay_lateness_worst_s": max(tasks.replay_lateness_s, default=None),
        "tasks_touched": tasks.touched,
        "tasks_touched_share": tasks.touched_share,
        "added_delay_share": tasks.added_share,
        "timers": evidence.deadlines,
        "timers_late": evidence.late_timers,
        "worst_timer_lateness_s": evidence.worst_timer_s if evidence.deadlines else None,
        "longest_silence_s": max(evidence.silences_s.values(), default=None),
        "changes": {
            "injected": evidence.changes.injected,
            "skipped": evidence.changes.skipped,
            "lateness_p99_s": evidence.changes.lateness_s(0.99),
            "worst_lateness_s": evidence.changes.worst_s,
        },
        "host": {
            "cpu_share": evidence.host.cpu_share,
            "steal_share": evidence.host.steal_share,
            "pressure_some_share": evidence.host.pressure_some_share,
            "pressure_full_share": evidence.host.pressure_full_share,
            "relay_cpu_s": evidence.network.relay_cpu_s if evidence.network else None,
            "agents_cpu_s": evidence.agents_cpu_s,
        },
        "paths": _paths(evidence.measured, evidence.watched, scale),
        "links": [_link(link, scale) for link in evidence.network.links] if evidence.network else [],
        "nodes": {name: _node(load) for name, load in evidence.servers.items()},
    }
    return {name: without_infinities(value) for name, value in figures.items()}


def _network(network: NetworkStatistics | None, scale: float) -> dict[str, object]:
    if network is None:
        return {}  # it died; the run's exit reason says so
    return {
        "network_backend": network.backend,
        "frames_relayed": network.frames_relayed,
        "frames_late": network.frames_late,
        "frames_lost": network.frames_lost,
        "frames_dropped": network.frames_dropped,
        "worst_frame_lateness_s": network.worst_lateness_s / scale,
        "relay_cpu_s": network.relay_cpu_s,
        "relay_realtime_priority": network.realtime_priority,
    }


def _paths(measured: Sequence[MeasuredPath], watched: Sequence[WatchedPath], scale: float) -> list[dict[str, object]]:
    """Return, for each path, the stated values, those measured before the run, and those seen during the run."""
    seen = {path.path: path for path in watched}
    return [
        {
            "path": list(path.path),
            "delay_s": path.delay_s / scale,
            "measured_delay_s": _over(path.measured_delay_s, scale),
            "rate_mbit_per_s": path.rate_mbit_per_s * scale,
            "measured_rate_mbit_per_s": _over(path.measured_rate_mbit_per_s, 1 / scale),
            "probes_during": now.probes if (now := seen.get(path.path)) else None,
            "probes_lost_during": now.lost if now else None,
            "excess_p10_s": _over(now.excess_p10_s, scale) if now else None,
            "excess_p50_s": _over(now.excess_p50_s, scale) if now else None,
        }
        for path in measured
    ]


def _link(link: LinkStatistics, scale: float) -> dict[str, object]:
    return {
        "ends": list(link.ends),
        "frames": link.frames,
        "bytes": link.bytes,
        "lost": link.lost,
        "dropped": link.dropped,
        "late": link.late,
        "lateness_p50_s": _over(link.lateness_p50_s, scale),
        "lateness_p99_s": _over(link.lateness_p99_s, scale),
        "worst_lateness_s": _over(link.worst_lateness_s, scale),
    }


def _node(load: NodeLoad) -> dict[str, object]:
    return {
        "capacity_flop_per_s": load.stated_flop_per_s,
        "served_flop_per_s": load.served_flop_per_s,
        "host_flop_per_s": load.host_flop_per_s,
        "served": load.served,
        "overruns": load.overruns,
        "timers": load.deadlines,
        "timers_late": load.late_timers,
        "worst_timer_lateness_s": load.worst_timer_s,
        "longest_silence_s": load.silence_s,
    }


def _over(value: float | None, factor: float) -> float | None:
    return None if value is None else value / factor


def _percentile(values: Sequence[float], q: float) -> float | None:
    return float(np.percentile(values, q)) if values else None
