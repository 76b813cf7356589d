"""No early exit: every task goes through the whole model; only the offloading adapts."""

import msgspec

from node_agent.dtoee.thresholds import NEVER
from node_agent.policies.fixed_threshold import FixedThresholdDtoEe
from node_agent.policies.fixed_threshold import Parameters as FixedParameters


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class NoEarlyExit(FixedThresholdDtoEe):
    """The offloading of dto-ee without early exits: the accuracy of the whole model, at its full cost."""

    parameters_type = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:  # noqa: ARG002
        super().__init__(FixedParameters(threshold=NEVER), theta_s)
