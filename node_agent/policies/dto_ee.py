"""DTO-EE, the flagship: plans by marginal costs, and sends every task by what is known of the queues now."""

import msgspec

from node_agent.policies import dto_ee_static


class Parameters(dto_ee_static.Parameters, frozen=True):
    """The parameters of the plan."""


class DtoEe(dto_ee_static.DtoEeStatic):
    """Rows and thresholds by marginal costs that nodes report."""

    parameters_type: type[msgspec.Struct] = Parameters
