"""DTO-EE's offloading at a fixed confidence threshold: shows its gain without adaptive exits."""

import msgspec

from node_agent.policies import dto_ee
from node_agent.policies.base import ThresholdView
from node_agent.policies.parameters import Threshold


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The only parameter is the threshold."""

    threshold: Threshold = 0.8


class FixedThresholdDtoEe(dto_ee.DtoEe):
    """The offloading of dto-ee, with every threshold fixed at `threshold`."""

    parameters_type: type[msgspec.Struct] = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        super().__init__(dto_ee.Parameters(threshold=parameters.threshold, adapt_thresholds=False), theta_s)

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold unchanged."""
        return view.threshold
