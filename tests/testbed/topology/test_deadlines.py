"""Deadlines in topologies: of which devices they are, and how options replace them."""

import pytest

from node_agent.errors import InputError
from testbed.topology import load_topology, resolve_text
from testbed.topology.overrides import parse_override
from tests.testbed import small

TEXT = small.SMALL.replace("rate: 5 /s", "rate: 5 /s, deadline: 250 ms").replace(
    "servers:\n", "  tv: {rate: 1 /s, deadline: 2 s}\n  meter: {rate: 1 /s}\nservers:\n"
)
TEXT += "  - {from: [tv, meter], to: near-1, rate: 20 Mbit/s, delay: 10 ms}\n"


def test_each_device_has_that_of_its_entry():
    scenario = resolve_text(TEXT)
    assert scenario.deadlines_s == {"cam-1": 0.25, "cam-2": 0.25, "tv": 2.0}
    assert scenario.group_of == {"cam-1": "cam", "cam-2": "cam", "tv": "tv", "meter": "meter"}
    assert scenario.utility == "accuracy"


def test_it_is_none_of_the_policies_business():
    """A bound on admission and a deadline are independent."""
    bounded = resolve_text(TEXT.replace("deadline: 2 s", "delay_bound: 1 s"))
    device = next(device for device in bounded.devices if device.name == "tv")
    assert (device.delay_bound_s, device.deadline_s) == (1.0, None)


def test_the_utility_may_count_them():
    assert resolve_text(f"{TEXT}utility: deadlines\n").utility == "deadlines"


def test_options_replace_them(tmp_path):
    path = tmp_path / "topology.yaml"
    path.write_text(small.SMALL)
    overrides = [parse_override(text) for text in ("devices.*.deadline=300 ms", "utility=deadlines")]
    scenario = load_topology(path, overrides=overrides).resolve()
    assert (scenario.deadlines_s, scenario.utility) == ({"cam-1": 0.3, "cam-2": 0.3}, "deadlines")
    with pytest.raises(InputError, match="no device has a deadline"):
        load_topology(path, overrides=overrides[1:]).resolve()
