"""The power of nodes and links in a topology: values, profiles, ranges and errors."""

import pytest

from testbed.power import LinkEnergy, Power
from testbed.topology import load_topology_text
from testbed.topology.form.power_profiles import POWER_PROFILES, RADIO_PROFILES
from testbed.topology.topology_file import topology_json_schema
from tests.testbed.topology.test_errors import problems_of

TEXT = """\
name: small
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
duration: 60 s
energy_price: 0.1 s/J
devices:
  cam: {count: 2, rate: 3 /s, power: {idle: 500 mW}, battery: 1..2 kJ}
  bell: {rate: 3 /s, runs: 1, capacity: 1 GFLOP/s, power: raspberry-pi-zero}
servers:
  near: {stage: 1, count: 2, capacity: 1 GFLOP/s, power: {idle: 2..4 W, busy: 6..9 W}}
  core: {stage: 2, capacity: 2 GFLOP/s}
links:
  - {from: cam, to: near, rate: 20 Mbit/s, delay: 2 ms, energy: wifi}
  - {from: bell, to: core, rate: 20 Mbit/s, delay: 2 ms, energy: 10..20 nJ/bit}
  - {from: near, to: core, rate: 20 Mbit/s, delay: 2 ms, energy: {up: 0.8 W, down: 1 uJ/byte}}
"""


def test_what_a_topology_states_of_energy():
    scenario = load_topology_text(TEXT).resolve()
    devices = {device.name: device for device in scenario.devices}
    servers = {server.name: server for server in scenario.servers}
    assert scenario.energy_price_s_per_j == 0.1
    assert devices["cam-1"].power == Power(0.5, 0.5)
    assert 1000 <= devices["cam-1"].battery_j <= 2000
    assert devices["cam-1"].battery_j != devices["cam-2"].battery_j
    assert (devices["bell"].power, devices["bell"].battery_j) == (Power(0.4, 1.2), None)
    assert servers["bell-cpu"].power == Power(0.0, pytest.approx(0.8))
    for near in ("near-1", "near-2"):
        assert 2 <= servers[near].power.idle_w <= 4
        assert 6 <= servers[near].power.busy_w <= 9
    assert servers["near-1"].power != servers["near-2"].power
    assert servers["core"].power is None
    energies = {link.ends: link.energies for link in scenario.links}
    assert energies["cam-1", "near-2"] == (LinkEnergy(pytest.approx(2.26536e-6)), LinkEnergy(pytest.approx(1.09608e-6)))
    up, down = energies["bell", "core"]
    assert up == down
    assert 8e-8 <= up.j_per_byte <= 16e-8
    assert energies["near-1", "core"] == (LinkEnergy(transmit_w=0.8), LinkEnergy(1e-6))
    assert scenario.states_energy
    assert scenario.states_link_energy


def test_energy_moves_no_other_draw():
    bare = TEXT.replace(", power: {idle: 2..4 W, busy: 6..9 W}", "").replace("energy_price: 0.1 s/J\n", "")
    drawn = [load_topology_text(text.replace("3 /s", "1..9 /s", 1)).resolve() for text in (TEXT, bare)]
    assert [d.rate_per_s for d in drawn[0].devices] == [d.rate_per_s for d in drawn[1].devices]


def test_a_topology_that_states_none_counts_none():
    text = TEXT.replace("energy_price: 0.1 s/J\n", "")
    for part in (", power: {idle: 500 mW}, battery: 1..2 kJ", ", power: raspberry-pi-zero", ", energy: wifi",
                 ", power: {idle: 2..4 W, busy: 6..9 W}", ", energy: 10..20 nJ/bit",
                 ", energy: {up: 0.8 W, down: 1 uJ/byte}"):  # fmt: skip
        assert part in text
        text = text.replace(part, "")
    scenario = load_topology_text(text).resolve()
    assert not scenario.states_energy
    assert scenario.energy_price_s_per_j == 0


@pytest.mark.parametrize(
    ("old", "new", "said", "advised"),
    [
        ("idle: 500 mW", "idle: 500", "`idle`: 500 has no unit; a power needs one", "W, mW, kW"),
        ("idle: 500 mW", "idle: 0.5 watts", "'watts' is not a unit of power", "did you mean W?"),
        ("idle: 500 mW", "idel: 500 mW", "unknown key `idel`", "did you mean `idle`?"),
        ("{idle: 500 mW}", "{}", "`idle` is missing", "power: {idle: 2.7 W"),
        ("{idle: 500 mW}", "5 W", "power needs two figures, idle and busy", "power: {idle: 2.7 W, busy: 6.4 W}"),
        ("power: {idle: 500 mW}, ", "", "a device without `power` does not use up its battery", "power: {idle: 1 W}"),
        ("battery: 1..2 kJ", "battery: 0 J", "an energy must be above zero", "2 kJ"),
        ("battery: 1..2 kJ", "battery: 2 kW", "'kW' is not a unit of energy", "J, mJ, kJ"),
        ("raspberry-pi-zero", "raspberry-pi-zerro", "unknown power profile", "did you mean raspberry-pi-zero?"),
        ("power: raspberry-pi-zero", "power: {idle: 1 W}", "a node that serves tasks needs", "busy: 6.4 W"),
        ("busy: 6..9 W", "busy: 3..9 W", "the busy power (3 W) is below the idle power (4 W)", "raise it"),
        ("energy: wifi", "energy: wi-fi", "unknown radio profile 'wi-fi'", "did you mean wifi?"),
        ("energy: wifi", "energy: 5", "the energy of a link needs a unit", "500 nJ/byte"),
        ("energy: wifi", "energy: 5 nJ/B", "'nJ/B' is not a unit of energy per byte", "did you mean nJ/byte?"),
        ("energy: wifi", "energy: {up: 1 W}", "`down` is missing", "energy: {up: 3 uJ/byte"),
        ("energy: wifi", "energy: {up: 1 W, dwn: 1 W}", "unknown key `dwn`", "did you mean `down`?"),
        ("energy_price: 0.1 s/J", "energy_price: 0.1 s", "'s' is not a unit of price of energy", "s/J"),
        ("energy_price: 0.1 s/J", "energy_price: -1 s/J", "must not be negative", "0.1 s/J"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(old, new, said, advised):
    assert old in TEXT
    found = problems_of(TEXT.replace(old, new, 1))
    assert any(said in message and advised in hint for message, hint in found), found


def test_a_price_without_any_energy_is_refused():
    text = "energy_price: 1 s/J\n" + TEXT.partition("energy_price")[0]
    text += """\
devices: {cam: {rate: 3 /s}}
servers:
  near: {stage: 1, capacity: 1 GFLOP/s}
  core: {stage: 2, capacity: 2 GFLOP/s}
links:
  - {from: cam, to: near, rate: 20 Mbit/s, delay: 2 ms}
  - {from: near, to: core, rate: 20 Mbit/s, delay: 2 ms}
"""
    ((message, _),) = problems_of(text)
    assert message == "1:15: a price of energy (1 s/J), but no node states power and no link energy"


def test_each_profile_names_its_source_and_the_schema_offers_it():
    definitions = topology_json_schema()["$defs"]
    for entry, key, profiles in (
        ("DeviceEntry", "power", POWER_PROFILES), ("ServerEntry", "power", POWER_PROFILES),
        ("LinkEntry", "energy", RADIO_PROFILES),
    ):  # fmt: skip
        offered = {form["const"]: form["description"] for form in definitions[entry]["properties"][key]["anyOf"]
                   if "const" in form}  # fmt: skip
        assert offered == {name: f"{each.title}: {each.source}" for name, each in profiles.items()}
    assert all(0 < each.idle_w < each.busy_w and each.source for each in POWER_PROFILES.values())
    assert all(0 < each.down_j_per_byte < each.up_j_per_byte and each.source for each in RADIO_PROFILES.values())
