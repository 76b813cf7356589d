"""Random networks for training are valid topologies of the promised kind, and repeat themselves."""

from collections import Counter

from testbed.learning.networks import DURATION_S, random_network
from testbed.topology import resolve_text

SCENARIOS = [resolve_text(random_network(seed)) for seed in range(40)]


def test_each_is_valid_and_gives_every_offloader_a_choice():
    for seed, scenario in enumerate(SCENARIOS):
        assert scenario.seed == seed
        assert scenario.duration_s == DURATION_S
        counts = [len(receivers) for receivers in scenario.offload_to.values() if receivers]
        assert 2 <= min(counts) <= max(counts) <= 4
        reached = {name for receivers in scenario.offload_to.values() for name in receivers}
        assert reached == {server.name for server in scenario.servers}


def test_they_differ_in_size_load_and_changes():
    assert {scenario.stages for scenario in SCENARIOS} == {2, 3}
    kinds = Counter("".join(sorted({type(event).__name__ for event in each.events})) for each in SCENARIOS)
    assert len(kinds) == 4  # a server, a device, a link, or nothing changes
    capacities = [sum(s.capacity_flop_per_s for s in each.servers_of_stage(1)) for each in SCENARIOS]
    assert max(capacities) > 2 * min(capacities)
    assert len(set(map(random_network, range(40)))) == 40


def test_a_seed_repeats_its_network():
    assert random_network(7) == random_network(7)
