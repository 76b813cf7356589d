"""Return times of results: nodes measure them, and choose receivers by them."""

from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace

from node_agent.core.config import NodeConfig
from node_agent.core.events import Send
from node_agent.core.offloading.neighbour import UNHEARD
from node_agent.core.outbox import Outbox
from node_agent.core.returns import LEAST_PROBES, SLOTS_TO_ALL, UNUSED_PROBES, ReturnTimes
from node_agent.dtoee.receiver import Overload
from node_agent.dtoee.staged import StagedNetwork
from node_agent.policies import make_policy
from node_agent.policies.base import Candidate, KnownReceiver, Prospect
from node_agent.policies.ga import Parameters, Population, Search, layers_of
from node_agent.problem import Place, Problem
from node_agent.wire import Probe, ProbeAck, State
from tests.node_agent.dtoee.network import complete_tier
from tests.node_agent.virtual import World, synthetic_table

DEVICES = tuple(f"d{i}" for i in range(50))


class Measured:
    """The return times of one server, its probes answered by hand."""

    def __init__(self, devices=DEVICES) -> None:
        config = NodeConfig(
            name="core", stage=2, stages=2, offloaders=("near",), receivers=(), rank=0, peers_in_stage=1,
            declared_rate_per_s=1.0, slot_s=5.0, policy="dto-ee-static", parameters={}, theta_s=1.0, seed=1,
            input_form=None, onward_form=None, devices=tuple(devices),
        )  # fmt: skip
        self.outbox = Outbox("core")
        self.times = ReturnTimes(config, self.outbox)

    def slot(self, *arrived: str) -> list[tuple[str, int]]:
        """Let tasks of these devices arrive and a slot begin; return the devices probed, with the probes' numbers."""
        for device in arrived:
            self.times.arrived(device)
        self.times.start_slot()
        return self.sent()

    def sent(self) -> list[tuple[str, int]]:
        return [
            (effect.peer, effect.message.sequence)
            for effect in self.outbox.drain()
            if isinstance(effect, Send) and isinstance(effect.message, Probe)
        ]

    def answer(self, probe: tuple[str, int], time_s: float) -> None:
        """Answer a probe, and its repeat if there is one, as if each took `time_s`."""
        device, sequence = probe
        self.times.answered(device, ProbeAck(sequence, self.outbox.now_s + time_s))
        for _, again in self.sent():
            self.times.answered(device, ProbeAck(again, self.outbox.now_s + time_s))


class TestProbes:
    def test_all_devices_have_their_turn_in_some_slots(self):
        measured = Measured()
        probed = Counter(device for _ in range(2 * SLOTS_TO_ALL) for device, _ in measured.slot("d1"))
        assert set(probed) == set(DEVICES)
        assert set(probed.values()) <= {2, 3}

    def test_few_devices_are_measured_in_every_slot(self):
        measured = Measured(DEVICES[:LEAST_PROBES])
        for _ in range(3):
            assert {device for device, _ in measured.slot("d1")} == set(DEVICES[:LEAST_PROBES])

    def test_a_server_without_tasks_rests_once_it_knows_all(self):
        measured = Measured()
        counts = [len(measured.slot()) for _ in range(SLOTS_TO_ALL + 2)]
        assert min(counts[: SLOTS_TO_ALL - 1]) >= LEAST_PROBES
        assert counts[-2:] == [UNUSED_PROBES, UNUSED_PROBES]

    def test_none_are_sent_without_devices(self):
        assert Measured(()).slot() == []
        assert Measured(()).times.mean_s == 0.0


class TestMean:
    def test_devices_count_alike_until_tasks_come_and_then_by_their_tasks(self):
        measured = Measured(("d1", "d2"))
        for probe in measured.slot():
            measured.answer(probe, {"d1": 0.010, "d2": 0.090}[probe[0]])
        assert measured.times.mean_s == pytest.approx(0.050)
        measured.times.arrived("d1")
        assert measured.times.mean_s == pytest.approx(0.050)  # all rounds of a slot see the same weights
        measured.slot("d1", "d1", "d2")
        assert measured.times.mean_s == pytest.approx((3 * 0.010 + 0.090) / 4)

    def test_older_tasks_count_less(self):
        measured = Measured(("d1", "d2"))
        for probe in measured.slot():
            measured.answer(probe, {"d1": 0.010, "d2": 0.090}[probe[0]])
        measured.slot(*["d1"] * 100)
        for _ in range(30):
            measured.slot(*["d2"] * 100)
        assert measured.times.mean_s == pytest.approx(0.090, rel=0.01)

    def test_a_device_that_is_not_known_counts_for_nothing(self):
        measured = Measured(("d1",))
        measured.answer(measured.slot()[0], 0.010)
        measured.slot("stranger", "d1")
        assert measured.times.mean_s == pytest.approx(0.010)


class TestDoubts:
    def known(self) -> Measured:
        measured = Measured(("d1",))
        measured.answer(measured.slot("d1")[0], 0.010)
        assert measured.times.mean_s == pytest.approx(0.010)
        return measured

    def test_a_probe_that_waited_for_its_device_measures_nothing(self):
        measured = self.known()
        device, sequence = measured.slot("d1")[0]
        measured.outbox.now_s = 3.0
        measured.times.answered(device, ProbeAck(sequence, 3.0))  # the device was down for 3 s
        ((device, again),) = measured.sent()
        assert measured.times.mean_s == pytest.approx(0.010)
        measured.times.answered(device, ProbeAck(again, 3.012))
        assert measured.times.mean_s == pytest.approx(0.012)

    def test_a_way_that_has_become_longer_is_believed_the_second_time(self):
        measured = self.known()
        measured.answer(measured.slot("d1")[0], 0.300)
        assert measured.times.mean_s == pytest.approx(0.300)

    def test_a_way_that_has_become_shorter_is_believed_at_once(self):
        measured = self.known()
        device, sequence = measured.slot("d1")[0]
        measured.times.answered(device, ProbeAck(sequence, 0.004))
        assert measured.sent() == []
        assert measured.times.mean_s == pytest.approx(0.004)

    def test_answers_to_earlier_probes_and_of_strangers_are_ignored(self):
        measured = self.known()
        device, old = measured.slot("d1")[0]
        measured.slot("d1")
        measured.times.answered(device, ProbeAck(old, 0.001))
        measured.times.answered("stranger", ProbeAck(old, 0.001))
        assert measured.times.mean_s == pytest.approx(0.010)


def ways(back: dict[tuple[str, str], float], usual_s: float = 0.005):
    """Return link times that are equal but for messages from these servers to these devices."""
    return lambda a, b, _size: back.get((a, b), usual_s)


class TestNodes:
    def test_every_device_prices_its_own_way_back_and_the_server_the_mean(self):
        """Servers differ only in their return times: for each device, another server takes 150 ms."""
        back = {("s1", "d1"): 0.150, ("s2", "d1"): 0.005, ("s1", "d2"): 0.005, ("s2", "d2"): 0.150}
        world = World({"s1": (1, 40.0), "s2": (1, 40.0)}, {"d1": 6.0, "d2": 2.0}, link_s=ways(back))
        world.run(30.0)
        last = {d.node: d for d in world.decisions}
        assert last["d1"].offload["s2"] > 0.95
        assert last["d2"].offload["s1"] > 0.95
        for (server, device), back_s in back.items():
            rounds = world.nodes[server].rounds
            own = 1 / 40 + 0.005 + back_s
            # The rest is waiting: a few milliseconds at this load.
            assert last[device].prices[server] == pytest.approx(own, abs=0.015)
            flows = {peer: offer.flow_per_s for peer, offer in rounds._offers.items()}
            mean_s = sum(flow * back[server, peer] for peer, flow in flows.items()) / sum(flows.values())
            assert rounds.pricing.return_s == pytest.approx(mean_s)

    def test_a_server_behind_the_first_stage_knows_the_mean_over_its_tasks(self):
        """Results take their own ways: the server is 5 ms away for its offloader, but 200 ms for one device."""
        back = {("core", "d1"): 0.010, ("core", "d2"): 0.200}
        world = World(
            {"s1": (1, 40.0), "core": (2, 40.0)}, {"d1": 9.0, "d2": 3.0}, policy="no-early-exit", link_s=ways(back)
        )
        world.run(60.0)
        expected = (9 * 0.010 + 3 * 0.200) / 12
        assert world.nodes["core"].rounds.pricing.return_s == pytest.approx(expected, rel=0.15)
        told = world.nodes["s1"].routing.receivers["core"].report
        assert told.return_s == world.nodes["core"].rounds.pricing.return_s
        assert told.onward_delay_s == pytest.approx(told.return_s)
        assert told.marginal_s == pytest.approx(told.local_s + told.return_s)

    @pytest.mark.parametrize("far", ["b1", "b2"])
    def test_tasks_keep_away_from_a_server_whose_results_take_long(self, far):
        back = {(far, "d1"): 0.300}
        world = World({"a1": (1, 40.0), "b1": (2, 40.0), "b2": (2, 40.0)}, {"d1": 6.0}, policy="dto-ee-static",
                      parameters={"threshold": 0.9, "adapt_thresholds": False}, link_s=ways(back))  # fmt: skip
        world.run(30.0)
        assert last_row(world, "a1")[far] < 0.02

    def test_a_way_that_changes_is_followed_there_and_back(self):
        back = {("b1", "d1"): 0.005}
        world = World({"a1": (1, 40.0), "b1": (2, 40.0), "b2": (2, 40.0)}, {"d1": 6.0}, policy="dto-ee-static",
                      parameters={"threshold": 0.9, "adapt_thresholds": False}, link_s=ways(back))  # fmt: skip
        seen = {}
        world.plan = [
            (30.0, lambda _: back.update({("b1", "d1"): 0.300})),
            (45.0, lambda world: seen.update(slow=last_row(world, "a1")["b1"])),
            (45.0, lambda _: back.update({("b1", "d1"): 0.005})),
        ]
        world.run(90.0)
        assert seen["slow"] < 0.02
        assert last_row(world, "a1")["b1"] > 0.3

    def test_thresholds_weigh_the_way_back_from_here_against_that_from_there(self):
        """With a server per stage, tasks exit early where that saves the results a long way, and continue otherwise."""

        def threshold(here_s: float, there_s: float) -> float:
            back = {("a1", "d1"): here_s, ("b1", "d1"): there_s}
            world = World({"a1": (1, 40.0), "b1": (2, 40.0)}, {"d1": 6.0}, link_s=ways(back), theta_s=0.1)
            world.run(30.0)
            return next(d.threshold for d in reversed(world.decisions) if d.node == "a1")

        assert threshold(0.5, 0.005) > threshold(0.005, 0.005) > threshold(0.005, 0.5)


def last_row(world: World, node: str) -> dict[str, float]:
    return next(d.offload for d in reversed(world.decisions) if d.node == node)


class TestPolicies:
    def test_a_policy_that_looks_at_queues_adds_the_way_back(self):
        near, far = (
            Candidate(0.5, link_s, backlog=0, service_per_s=speed, onward_delay_s=back_s, exit_return_s=back_s)
            for link_s, speed, back_s in ((0.001, 15.0, 0.001), (0.050, 100.0, 0.05))
        )
        assert far.expected_delay_s < near.expected_delay_s
        assert make_policy("shortest-expected-delay").pick((far, near), None) == 1

    def test_a_prospect_made_without_returns_corrects_nothing(self):
        receiver = KnownReceiver("a", True, UNHEARD, 0.1, 0.1, 0.0, 0)
        assert receiver.way_s == 0.1
        assert Prospect((receiver,), False, 1.0).onward_delay_s.tolist() == [UNHEARD.onward_delay_s]

    def test_a_device_adds_what_its_own_results_take_to_price_and_delay(self):
        receiver = KnownReceiver("a", True, replace(UNHEARD, marginal_s=1.0, onward_delay_s=2.0), 0.1, 0.2, 0.0, 0, 0.5)
        prospect = Prospect((receiver,), False, 1.0)
        assert prospect.delta_s.tolist() == [0.2 + 0.5 + 1.0]
        assert prospect.onward_delay_s.tolist() == [2.5]
        assert prospect.mean_delay_s(np.ones(1)) == pytest.approx(0.1 + 1.0 + 2.5)

    def test_the_genetic_algorithm_counts_returns_as_the_staged_network_does(self):
        """Compare the cost of random members with the whole network's objective, stage 1's returns in its links."""
        table, dice = synthetic_table(2), np.random.default_rng(5)
        devices, first, last = ("d1", "d2", "d3"), ("a1", "a2"), ("b1", "b2")
        back, return_s = dice.uniform(0, 0.3, (3, 2)), dice.uniform(0, 0.3, 2)
        places = {name: Place(0, first) for name in devices} | {name: Place(1, last) for name in first}
        places |= {name: Place(2, ()) for name in last}
        speeds = {"a1": 30.0, "a2": 10.0, "b1": 20.0, "b2": 8.0}
        states = {name: State(0, 3.0, 0.0, dict.fromkeys(first, 0.01), dict(zip(first, back[i].tolist(), strict=True)))
                  for i, name in enumerate(devices)}  # fmt: skip
        states |= {name: State(0, speeds[name], 0.0, dict.fromkeys(last, 0.02), {}, 0.5) for name in first}
        states |= {name: State(0, speeds[name], 0.0, {}, {}, float(s)) for name, s in zip(last, return_s, strict=True)}
        search = Search(layers_of(Problem(0, 2, places, states, 2.0)), table, Parameters(), 2.0, seed=0)
        for index in (3, 12):
            member = Population([dice.random((1, 3, 2)), dice.random((1, 2, 2))], np.array([[index]]))
            threshold = float(search._grids[0][index])
            exits = 1 - float((table.confidence[:, 0] < threshold).mean())
            network = StagedNetwork(
                np.full(3, 3.0), (complete_tier(0.01 + exits * back), complete_tier(np.full((2, 2), 0.02))),
                (np.array([30.0, 10.0]), np.array([20.0, 8.0])), (np.zeros(2), np.zeros(2)), Overload(), table,
                (np.zeros(2), return_s),
            )  # fmt: skip
            flows = network.flows(tuple(row[0] for row in search.rows(member)), network.uniform_thresholds(threshold))
            assert search.cost(member)[0] == pytest.approx(network.objective_s(flows, 2.0))
