"""Bytes cost energy on every link of their way, and the device at the end of a link pays."""

import pytest

from testbed.energy.carried_bytes import CarriedBytes
from testbed.scenario import LinkShape
from testbed.topology import load_topology_text
from testbed.topology.event_kinds.link_shape import LinkChange
from tests.testbed.energy.networks import CHAIN


@pytest.fixture
def carried():
    return CarriedBytes(load_topology_text(CHAIN).resolve())


def test_a_device_pays_for_both_directions_of_its_link_and_other_links_for_themselves(carried):
    up, down = 438.39 * 8e-9, 51.97 * 8e-9
    assert carried.energy_j("cam-1", "post", 1000) == pytest.approx({"cam-1": 1000 * up, "access - post": 2e-5})
    assert carried.energy_j("post", "cam-1", 1000) == pytest.approx({"cam-1": 1000 * down, "access - post": 2e-5})
    assert carried.energy_j("cam-cpu-2", "hub", 10) == pytest.approx({"cam-2": 10 * up, "access - hub": 2e-7})
    assert carried.payers == ("access - post", "access - hub", "core - hub")


def test_a_device_and_its_own_processor_share_a_place(carried):
    assert carried.energy_j("cam-1", "cam-cpu-1", 1000) == {}


def test_watts_count_while_the_bytes_are_sent(carried):
    assert carried.energy_j("hub", "core", 50e6 / 8) == pytest.approx({"core - hub": 0.5})  # one second at 50 Mbit/s
    assert carried.energy_j("core", "hub", 1000) == pytest.approx({"core - hub": 1e-4})
    carried.change(LinkChange(5.0, ("hub", "core"), LinkShape(5.0, 0.002)))
    assert carried.energy_j("hub", "core", 50e6 / 8) == pytest.approx({"core - hub": 5.0})
