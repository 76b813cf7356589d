"""The flow model of small scenarios, against figures computed by hand."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from node_agent.models import load_bundle
from node_agent.wire import Hop, Task, Tensor, TensorForm, encode
from testbed.network.routes import Ways
from testbed.optimum.flow_model import CutOff, flow_model, lateness, segments, transfer_s
from testbed.scenario import Link, LinkShape
from testbed.sizes import result_bytes, task_bytes
from testbed.topology import load_topology, resolve_text
from testbed.topology.event_kinds.device_rate import RateChange
from testbed.topology.event_kinds.link_shape import LinkChange
from testbed.topology.event_kinds.node_state import NodeChange
from testbed.topology.event_kinds.server_capacity import CapacityChange
from testbed.trace.workload import Arrival
from tests.testbed.onboard import SHARED
from tests.testbed.optimum.flow_models import random_model, random_rows

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
BUNDLE = load_bundle("glyphs")


def model_of(scenario, **options):
    cut, activation = scenario.model.cut, scenario.model.activation
    return flow_model(scenario, BUNDLE.profiles(cut, activation), BUNDLE.exit_table(cut), **options)


@pytest.fixture(scope="module")
def quickstart():
    return replace(load_topology(TOPOLOGIES / "quickstart.yaml").resolve(), events=())


@pytest.fixture(scope="module")
def campus():
    return replace(load_topology(TOPOLOGIES / "campus.yaml").resolve(), events=())


class TestTransfer:
    def test_one_link(self):
        assert transfer_s([LinkShape(8.0, 0.01)], 10_000) == pytest.approx(0.01 + 0.01)

    def test_a_small_message_is_stored_and_forwarded(self):
        assert transfer_s([LinkShape(8.0, 0.01), LinkShape(4.0, 0.02)], 1000) == pytest.approx(0.03 + 0.001 + 0.002)

    def test_a_large_one_flows_through_in_segments(self):
        shapes = [LinkShape(8.0, 0.01), LinkShape(4.0, 0.02), LinkShape(16.0, 0.0)]
        for order in (shapes, shapes[::-1]):
            assert transfer_s(order, 14_480) == pytest.approx(0.03 + 0.02896 + 0.001448 + 0.000724)

    def test_bytes_are_those_of_real_messages(self):
        hops = (Hop("near-1", 12.345678, 12.5, 12.6, 12.7, 0.001),)
        form = TensorForm("float16", (1, 24, 16, 16))
        task = Task(421, "west-1", 1, 1, 12.7, hops, form)
        sent = sum(len(frame) for frame in encode(task, Tensor(form, bytes(form.byte_count))))
        assert task_bytes(2, form.byte_count) == pytest.approx(sent, abs=60)
        assert task_bytes(2, 100) > task_bytes(1, 100) > 100
        assert result_bytes(3) > result_bytes(1) > 50


class TestModel:
    def test_quickstart(self, quickstart):
        model = model_of(quickstart)
        network = model.network
        assert model.names[0] == ("west-1", "west-2", "west-3", "east-1", "east-2", "east-3")
        assert model.names[1:] == (
            ("near-1", "near-2", "near-3"), ("mid-1", "mid-2", "mid-3"), ("core-1", "core-2"),
        )  # fmt: skip
        assert network.device_rate_per_s.tolist() == [3.0] * 6
        assert network.service_per_s[0] == pytest.approx(np.array([0.27e9, 0.2e9, 0.14e9]) / 14353344)
        near_2 = 0.005 + task_bytes(1, 1024) * 8 / 10e6
        assert network.tiers[0].transfer_s[0][1] == pytest.approx(near_2)
        assert network.tiers[0].link_rate_per_s[0][1] == pytest.approx(10e6 / 8 / task_bytes(1, 1024))
        jittered = lateness([LinkShape(30.0, 0.002, jitter_s=0.0002)], task_bytes(2, 12288), 1.0)
        assert 0 < jittered.mean_late_s < 0.0002
        assert network.tiers[1].transfer_s[0][0] == pytest.approx(
            0.002 + task_bytes(2, 12288) * 8 / 30e6 + jittered.mean_late_s
        )
        assert model.return_s[0][1] == pytest.approx(np.repeat([0.005, 0.04], 3) + result_bytes(1) * 8 / 10e6, rel=1e-9)

    @pytest.mark.slow
    def test_a_route_through_a_switch(self, campus):
        tier = model_of(campus).network.tiers[0]
        shapes = {frozenset(link.ends): link.shape for link in campus.links}
        access, hall = shapes[frozenset(("phone-2", "access"))], shapes[frozenset(("access", "hall-3"))]
        count = task_bytes(1, 1024)
        assert tier.transfer_s[1][2] == pytest.approx(
            access.delay_s + 0.012 + count * 8e-6 / access.rate_mbit_per_s + count * 8e-6 / 20
            + lateness((access, hall), count, 1.0).mean_late_s
        )  # fmt: skip
        slowest = min(access.rate_mbit_per_s, hall.rate_mbit_per_s)
        late = lateness((access, hall), count, 1.0)
        assert tier.link_rate_per_s[1][2] == pytest.approx(min(slowest * 1e6 / 8 / count, late.rate_per_s))
        assert late.rate_per_s < 1.01 * slowest * 1e6 / 8 / count

    def test_a_link_that_changes_does_not_change_routes(self, quickstart):
        slow = LinkShape(0.1, 2.0)
        ends = ("west-1", "near-1")
        changed = replace(
            quickstart, links=tuple(Link(k.ends, slow if k.ends == ends else k.shape) for k in quickstart.links)
        )
        model = model_of(changed, ways=Ways(quickstart))
        assert model.network.tiers[0].transfer_s[0][0] > 2.0
        assert model.return_s[0][0][0] > 2.0

    def test_nodes_that_are_down_or_lead_nowhere_are_left_out(self, quickstart):
        only = dict(quickstart.offload_to) | {"mid-3": ("core-2",), "near-3": ("mid-3",)}
        model = model_of(replace(quickstart, offload_to=only), down=frozenset({"core-2", "west-2"}))
        assert model.names[1:] == (("near-1", "near-2"), ("mid-1", "mid-2"), ("core-1",))
        assert "west-2" not in model.names[0]
        assert [tier.exists.shape for tier in model.network.tiers] == [(5, 2), (2, 2), (2, 1)]
        assert all(tier.exists.all() for tier in model.network.tiers)

    def test_a_device_that_offers_nothing_is_left_out(self, quickstart):
        devices = (replace(quickstart.devices[0], rate_per_s=0.0), *quickstart.devices[1:])
        assert model_of(replace(quickstart, devices=devices)).names[0][0] == "west-2"

    def test_an_own_processor_costs_no_transfer_and_answers_its_device_only(self):
        model = model_of(resolve_text(SHARED))
        assert model.names[1] == ("post", "cam-cpu-1", "cam-cpu-2")
        first, second = model.network.tiers[:2]
        assert first.receivers[:2].tolist() == [[1, 0], [2, 0]]
        assert first.exists.tolist() == [[True, True], [True, True], [True, False]]
        assert first.transfer_s[:2, 0].tolist() == [0.0, 0.0]
        assert np.isinf(first.link_rate_per_s[:2, 0]).all()
        assert first.transfer_s[0, 1] > 0.006
        assert second.transfer_s[1] == pytest.approx(second.transfer_s[2])
        assert second.transfer_s[1, 0] > second.transfer_s[0, 0], "over the device's slower link"
        assert model.return_s[0][1:].tolist() == [[0.0, 0.0, 0.0]] * 2
        assert (model.return_s[0][0] > 0.006).all()

    def test_cut_off(self, quickstart):
        with pytest.raises(CutOff, match="'west-1' reaches no living chain"):
            model_of(quickstart, down=frozenset({"core-1", "core-2"}))
        silent = replace(quickstart, devices=tuple(replace(d, rate_per_s=0.0) for d in quickstart.devices))
        with pytest.raises(CutOff, match="no device offers"):
            model_of(silent)


class TestReturns:
    @pytest.mark.parametrize("seed", range(3))
    def test_every_way_back_is_counted(self, seed):
        model = random_model(seed)
        network, rows = model.network, random_rows(model, np.random.default_rng(seed))
        flows = network.flows(rows, network.uniform_thresholds(0.5, 0.6))
        ratios = [ratio[0] for ratio in flows.remaining]
        total = 0.0
        first, second, third = (self.matrix(tier, row) for tier, row in zip(network.tiers, rows, strict=True))
        for i, j, k, m in product(*(range(len(names)) for names in model.names)):
            way = network.device_rate_per_s[i] * first[i, j] * second[j, k] * third[k, m]
            back = (1 - ratios[0]) * model.return_s[0][j, i]
            back += ratios[0] * (1 - ratios[1]) * model.return_s[1][k, i]
            back += ratios[0] * ratios[1] * model.return_s[2][m, i]
            total += way * back
        whole = model.with_returns(flows, rows).cost_tasks(flows)
        assert whole - network.cost_tasks(flows) == pytest.approx(total, rel=1e-9)

    @staticmethod
    def matrix(tier, row):
        dense = np.zeros((len(row), tier.receivers.max() + 1))
        for i, places in enumerate(tier.receivers):
            dense[i, places] = row[i]
        return dense


class TestSegments:
    def test_every_kind_of_event(self, quickstart):
        slow = LinkShape(1.0, 0.1)
        events = (
            CapacityChange(10.0, "near-1", 1e8),
            NodeChange(20.0, "mid-1", False),
            LinkChange(20.0, ("near-1", "mid-2"), slow),
            RateChange(30.0, "west-1", 9.0),
            NodeChange(40.0, "mid-1", True),
        )
        found = segments(replace(quickstart, events=events))
        assert [(s.begin_s, s.end_s) for s in found] == [(0, 10), (10, 20), (20, 30), (30, 40), (40, 60)]
        capacities = [s.scenario.servers[0].capacity_flop_per_s for s in found]
        assert capacities == [quickstart.servers[0].capacity_flop_per_s, *[1e8] * 4]
        assert [s.down for s in found] == [frozenset(), frozenset(), {"mid-1"}, {"mid-1"}, frozenset()]
        assert [s.scenario.devices[0].rate_per_s for s in found] == [3.0, 3.0, 3.0, 9.0, 9.0]
        shapes = [next(k.shape for k in s.scenario.links if k.ends == ("near-1", "mid-2")) for s in found]
        assert [shape == slow for shape in shapes] == [False, False, True, True, True]
        assert not any(s.scenario.events for s in found)

    def test_nothing_happens(self, quickstart):
        (whole,) = segments(quickstart)
        assert (whole.begin_s, whole.end_s, whole.scenario) == (0.0, 60.0, quickstart)

    def test_rates_are_counted_in_a_trace(self, quickstart):
        events = (CapacityChange(20.0, "near-1", 1e8),)
        times = [*np.arange(0, 20, 2.0), *np.arange(20, 60.1, 1.0)]
        arrivals = [Arrival(t, "west-1", 0) for t in times] + [Arrival(20.0, "east-1", 0)]
        first, second = segments(replace(quickstart, events=events), arrivals)
        assert [d.rate_per_s for d in first.scenario.devices] == [0.5, 0, 0, 0, 0, 0]
        assert [d.rate_per_s for d in second.scenario.devices] == pytest.approx([41 / 40, 0, 0, 1 / 40, 0, 0])
