"""First exit: stage 1 answers every task; only the offloading adapts."""

import msgspec

from node_agent.policies.fixed_threshold import FixedThresholdDtoEe
from node_agent.policies.fixed_threshold import Parameters as FixedParameters


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class FirstExit(FixedThresholdDtoEe):
    """The offloading of dto-ee; every task leaves at the first exit: the least delay, at the accuracy of that exit."""

    parameters_type = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:  # noqa: ARG002
        super().__init__(FixedParameters(threshold=0.0), theta_s)
