"""Sub-models of a network that has no bundle."""

from collections.abc import Sequence

from node_agent.models.bundles.card import parts_of
from node_agent.models.bundles.part_costs import CutCosts
from node_agent.models.data_types import ActivationFormat, check_cut
from node_agent.models.networks.cost import measure_parts
from node_agent.models.networks.early_exit import EarlyExitModel
from node_agent.models.networks.hosted import NetworkSubModel, cut


def pieces(
    network: EarlyExitModel, positions: Sequence[int], activation: ActivationFormat = "float32"
) -> tuple[NetworkSubModel, ...]:
    """The sub-models of a folded network, with the costs that it has here."""
    check_cut(positions, network.exits)
    parts = parts_of({"exits": list(network.exits), "costs": measure_parts(network)}, network.input)
    costs = CutCosts(parts, positions, network.input, None, activation)
    work = [lambda length, stage=stage: costs.work(stage, length) for stage in range(len(positions))]
    return cut(network, positions, costs.forms(), activation, work)
