"""The meter of a run: the energy of every node and link, from the records of the nodes.

    node:  idle W * time up + (busy - idle) W * time in service                                    [J]
    link:  sum over its directions of bytes carried * J/byte                                       [J]

Idle power counts from time zero to the end of the workload: what a run waits for results afterwards is no figure of the
plan. Services and bytes count whenever they happen. A direction with watts instead of J/byte has watts * 8 / rate per
byte, at the rate in force when the sender reports its bytes.

Live and simulated runs use the same records: samples state the time in service and the bytes sent since the one before.

Decision 112: energy is counted from samples, and a device pays for its links
(docs/decisions/112-energy-from-samples.md).
"""

from collections.abc import Iterator, Sequence

from node_agent.records import SampleRecord
from testbed.energy.account import Account
from testbed.energy.carried_bytes import CarriedBytes
from testbed.energy.energy_line import EnergyLine
from testbed.record.task_line import TaskLine
from testbed.scenario import Event, Scenario

ROUNDING = 1e-9  # share of a battery that counts as nothing


class EnergyMeter:
    """The energy accounts of a run, and the batteries of its devices."""

    def __init__(self, scenario: Scenario) -> None:
        self._price_s_per_j = scenario.energy_price_s_per_j
        self._end_s = scenario.duration_s
        self._carried = CarriedBytes(scenario)
        powers = {device.name: device.power for device in scenario.devices}
        powers |= {server.name: server.power for server in scenario.servers}
        self.accounts = {
            name: Account() if power is None else Account(power.idle_w, power.computing_w)
            for name, power in powers.items()
        }
        self._links = self._carried.payers
        self.accounts |= {name: Account() for name in self._links}
        self._parts = {device.name: [device.name] for device in scenario.devices}  # a device, and its processor
        for server in scenario.own_processors:
            assert server.device is not None
            self._parts[server.device].append(server.name)
        self._batteries_j = {d.name: d.battery_j for d in scenario.devices if d.battery_j is not None}
        self._empty_s: dict[str, float] = {}  # when batteries were used up, by device
        self._last: dict[str, tuple[float, float]] = {}  # time [s] and energy [J] of each account's last line

    # Records

    def sampled(self, record: SampleRecord) -> EnergyLine:
        """Take a node's sample; return its line of energy.jsonl."""
        self.accounts[record.node].busy_s += record.busy_s
        for peer, byte_count in record.sent_bytes.items():
            for payer, energy_j in self._carried.energy_j(record.node, peer, byte_count).items():
                self.accounts[payer].transfer_j += energy_j
        return self._line(record.node, record.time_s)

    def changed(self, event: Event) -> None:
        """Take an event of the scenario that has come into force."""
        self._carried.change(event)

    def went_down(self, node: str, now_s: float) -> None:
        """Note that a node's agent was killed at `now_s` [s]."""
        self.accounts[node].goes_down(self._counted_s(now_s))

    def came_up(self, node: str, now_s: float) -> None:
        """Note that a node's agent was started again at `now_s` [s]."""
        self.accounts[node].comes_up(self._counted_s(now_s))

    def stop(self, at_s: float) -> None:
        """Note that the run was cut short at `at_s` [s]."""
        self._end_s = min(self._end_s, max(0.0, at_s))

    def _counted_s(self, at_s: float) -> float:
        """Return the time until which idle power counts [s]."""
        return min(max(0.0, at_s), self._end_s)

    # Batteries

    def next_empty_s(self, now_s: float) -> float | None:
        """Return when the next battery is used up, if its device only idles from now on [s]; None if none is."""
        times_s = [self._empties_s(device, now_s) for device in self._batteries_j if device not in self._empty_s]
        earliest_s = min(times_s, default=float("inf"))
        return earliest_s if earliest_s <= max(now_s, self._end_s) else None

    def _empties_s(self, device: str, now_s: float) -> float:
        left_j = self._left_j(device, now_s)
        if left_j <= ROUNDING * self._batteries_j[device]:
            return now_s
        account = self.accounts[device]
        return account.reaches_s(account.used_j(self._counted_s(now_s)) + left_j, self._counted_s(now_s))

    def _left_j(self, device: str, at_s: float) -> float:
        """Return the energy that is left in a battery [J]; below zero if a sample came too late for its end."""
        counted_s = self._counted_s(at_s)
        return self._batteries_j[device] - sum(self.accounts[part].used_j(counted_s) for part in self._parts[device])

    def emptied(self, now_s: float) -> list[str]:
        """Return the devices whose battery has been used up since the last call, and mark it as empty."""
        found = [
            device for device, battery_j in self._batteries_j.items()
            if device not in self._empty_s and self._left_j(device, now_s) <= ROUNDING * battery_j
        ]  # fmt: skip
        self._empty_s |= dict.fromkeys(found, now_s)
        return found

    def parts(self, device: str) -> tuple[str, ...]:
        """Return a device, and its own processor if it has one."""
        return tuple(self._parts[device])

    def battery_j(self, device: str) -> float:
        """Return the energy of a device's full battery [J]."""
        return self._batteries_j[device]

    def is_empty(self, node: str) -> bool:
        """True if the node is a device with an empty battery, or the processor of one."""
        return any(node in self._parts[device] for device in self._empty_s)

    # Results

    def _line(self, name: str, at_s: float) -> EnergyLine:
        energy_j = self.accounts[name].used_j(self._counted_s(at_s))
        before_s, before_j = self._last.get(name, (0.0, 0.0))
        self._last[name] = at_s, energy_j
        power_w = (energy_j - before_j) / (at_s - before_s) if at_s > before_s else None
        left_j = max(0.0, self._left_j(name, at_s)) if name in self._batteries_j else None
        return EnergyLine(at_s, name, energy_j, power_w, left_j)

    def closing_lines(self, now_s: float) -> Iterator[EnergyLine]:
        """Yield a last line for each node and link: the energy of the whole run."""
        for name in self.accounts:
            yield self._line(name, max(now_s, self._last.get(name, (0.0, 0.0))[0]))

    def per_task_j(self, tasks: Sequence[TaskLine]) -> float | None:
        """Return the energy of the run over the tasks completed [J]; None without any."""
        return self._over(sum(task.status == "completed" for task in tasks))

    def _over(self, count: int) -> float | None:
        return self._total_j() / count if count else None

    def _total_j(self) -> float:
        return sum(account.used_j(self._end_s) for account in self.accounts.values())

    def figures(self, tasks: Sequence[TaskLine]) -> dict[str, object]:
        """Return the object `energy` of summary.json, see docs/run-directory.md; `tasks` are all tasks offered."""
        end_s = self._end_s
        found = {
            name: {
                "total_j": account.used_j(end_s),
                "idle_j": account.idle_j(end_s),
                "computing_j": account.computing_j,
                "transfer_j": account.transfer_j,
                "up_s": account.up_s(end_s),
                "busy_s": account.busy_s,
            }
            for name, account in self.accounts.items()
        }
        return {
            "total_j": self._total_j(),
            **{part: sum(each[part] for each in found.values()) for part in ("idle_j", "computing_j", "transfer_j")},
            "per_task_j": self.per_task_j(tasks),
            "per_correct_j": self._over(sum(task.correct is True for task in tasks)),
            "price_s_per_j": self._price_s_per_j,
            "counted_s": end_s,
            "nodes": {name: each for name, each in found.items() if name not in self._links},
            "links": {name: found[name]["transfer_j"] for name in self._links},
            "batteries": {
                device: {
                    "capacity_j": battery_j,
                    "left_j": max(0.0, self._left_j(device, end_s)),
                    "empty_s": self._empty_s.get(device),
                }
                for device, battery_j in self._batteries_j.items()
            },
        }
