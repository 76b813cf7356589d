"""A small network, built and measured as in a run."""

import os
import statistics
import time

from node_agent.errors import TestbedError
from testbed.doctor.finding import Finding
from testbed.host.ledger import Ledger
from testbed.network import EmulatedNetwork
from testbed.scenario import Device, Link, LinkShape, ModelChoice, PolicyChoice, Scenario, Server
from testbed.trace.processes.poisson import Poisson
from testbed.wording import milliseconds

NAME = "trial network"
DELAY_S = 0.010
RATE_MBIT_PER_S = 20.0
ROUNDS = 5


def trial_scenario() -> Scenario:
    """A scenario of two nodes and one link."""
    return Scenario(
        name="doctor",
        seed=1,
        duration_s=1.0,
        warm_up_s=0.0,
        slot_s=1.0,
        time_scale=1.0,
        compute="paced",
        arrivals=Poisson(),
        model=ModelChoice("none", (1,)),
        policy=PolicyChoice("none"),
        devices=(Device("device", 1.0),),
        servers=(Server("server", 1, 1e9),),
        switches=(),
        links=(Link(("device", "server"), LinkShape(RATE_MBIT_PER_S, DELAY_S)),),
        offload_to={"device": ("server",)},
        events=(),
    )


def trial_network() -> Finding:
    """Probe the link both ways: its round trip, and its rate."""
    try:
        with (
            Ledger(f"doctor-{os.getpid()}-{time.monotonic_ns()}") as ledger,
            EmulatedNetwork(trial_scenario(), run_id=ledger.run_id, ledger=ledger) as network,
        ):
            trips_s, rates = [], []
            for _ in range(ROUNDS):
                paths = network.measure_links()
                times_s = [path.measured_delay_s for path in paths if path.measured_delay_s is not None]
                if len(times_s) == len(paths):
                    trips_s.append(sum(times_s))
                rates += [path.measured_rate_mbit_per_s for path in paths if path.measured_rate_mbit_per_s is not None]
            numbers = network.statistics()
    except (TestbedError, OSError) as error:
        return Finding(NAME, "missing", str(error), getattr(error, "hint", ""), "no run is possible")
    if not trips_s or not rates:
        return Finding(NAME, "missing", "probes got lost", "run `dtoee-testbed doctor` again", "links lose frames")
    trip_s, rate = statistics.median(trips_s), statistics.median(rates)
    priority = "" if numbers.realtime_priority else ", without real-time priority"
    return Finding(
        NAME,
        "ok",
        f"round trip {milliseconds(trip_s, '.2f')} over a link of {milliseconds(DELAY_S, 'g')} each way, "
        f"{rate:.1f} of {RATE_MBIT_PER_S:g} Mbit/s ({numbers.backend}{priority})",
        figures={
            "backend": numbers.backend,
            "round_trip_s": trip_s,
            "configured_round_trip_s": 2 * DELAY_S,
            "rate_mbit_per_s": rate,
            "configured_rate_mbit_per_s": RATE_MBIT_PER_S,
        },
    )
