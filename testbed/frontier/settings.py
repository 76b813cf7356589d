"""The settings at which a frontier runs each policy: several theta, several thresholds, or just itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from node_agent.errors import InputError
from node_agent.models.interface import Model
from node_agent.policies import make_policy, parse_policy, take_label
from node_agent.policies.parameters import read_parameters
from testbed.cells.policy_specs import PolicySpec
from testbed.scenario import Scenario
from testbed.topology.overrides import Override

Parameter = Literal["theta", "threshold"]

MOST_POINTS = 100
SPAN_OF_THETA = 8.0  # default thetas reach from the topology's / 8 to its times 8
SHARES_THAT_GO_ON = (0.05, 0.95)  # of answers at early exits, at the least and the greatest default threshold


@dataclass(frozen=True, slots=True)
class Setting:
    """A policy at one value of its parameter.

    Attributes:
        policy: label of the policy.
        spec: the policy as it runs there.
        parameter: "theta", "threshold", or None for a policy with neither.
        value: of the parameter; theta in seconds; None without parameter.
        overrides: what replaces values of the topology there.
    """

    policy: str
    spec: PolicySpec
    parameter: Parameter | None
    value: float | None
    overrides: tuple[Override, ...]

    @property
    def place(self) -> str:
        """Parameter and value in words; empty for a policy without parameter."""
        unit = " s" if self.parameter == "theta" else ""
        return "" if self.parameter is None else f"{self.parameter} {self.value:g}{unit}"

    @property
    def folder(self) -> str:
        """The folder of its runs in that of its policy; empty for a policy without parameter."""
        return "" if self.parameter is None else f"{self.parameter}-{self.value:g}"


def parameter_of(spec: PolicySpec) -> Parameter | None:
    """What traces the frontier of a policy.

    A policy with a true parameter `adapt_thresholds` follows theta. Another one with a parameter `threshold` has that,
    unless the user states it. A policy with neither is one point.

    Raises:
        InputError: the policy cannot be used.
    """
    name, parameters = parse_policy(spec.text)
    _, stated = take_label(name, parameters)
    kind = type(make_policy(name, stated)).parameters_type
    if getattr(read_parameters(name, stated, kind), "adapt_thresholds", False) is True:
        return "theta"
    return "threshold" if "threshold" in kind.__struct_fields__ and "threshold" not in stated else None


def settings_for(spec: PolicySpec, thetas_s: Sequence[float], thresholds: Sequence[float]) -> tuple[Setting, ...]:
    """The settings of a policy, by ascending value."""
    parameter = parameter_of(spec)
    if parameter == "theta":
        return tuple(Setting(spec.label, spec, parameter, value, (theta_override(value),)) for value in thetas_s)
    if parameter == "threshold":
        return tuple(Setting(spec.label, _with_threshold(spec, value), parameter, value, ()) for value in thresholds)
    return (Setting(spec.label, spec, None, None, ()),)


def theta_override(theta_s: float) -> Override:
    """What gives the topology this theta [s]."""
    return Override("theta", f"{theta_s!r} s")


def _with_threshold(spec: PolicySpec, value: float) -> PolicySpec:
    name, parameters = parse_policy(spec.text)
    head = name if name == spec.text.strip().rstrip(":") else spec.text.strip()
    return replace(spec, text=f"{head}{',' if parameters else ':'}threshold={value!r}")


def default_thetas(scenario: Scenario, points: int) -> tuple[float, ...]:
    """Theta [s] around that of the topology, in equal ratios, to three digits."""
    if points == 1:
        return (scenario.theta_s,)
    return tuple(
        dict.fromkeys(
            float(f"{scenario.theta_s * factor:.3g}")
            for factor in np.geomspace(1 / SPAN_OF_THETA, SPAN_OF_THETA, points).tolist()
        )
    )


def default_thresholds(scenario: Scenario, model: Model, points: int) -> tuple[float, ...]:
    """Thresholds at which shares of the answers at early exits go on that are evenly spaced, to three digits.

    So they fit any model and any exit criterion.
    """
    scores = np.asarray(model.exit_table(scenario.model.cut).confidence[:, :-1], dtype=np.float64)
    if scores.size == 0:
        return (0.8,)
    low, high = SHARES_THAT_GO_ON
    shares = np.linspace(low, high, points) if points > 1 else np.array([0.5])
    return tuple(sorted({min(1.0, float(f"{value:.3g}")) for value in np.quantile(scores, shares).tolist()}))


def check_thetas(thetas_s: Sequence[float]) -> tuple[float, ...]:
    """Sort theta [s]. Raises InputError unless all are above zero, and each is stated once."""
    return _checked(thetas_s, "theta", math.inf, "times above zero, such as 1s,3s,9s")


def check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Sort thresholds. Raises InputError unless all are from 0 to 1, and each is stated once."""
    return _checked(thresholds, "threshold", 1.0, "confidences from 0 to 1, such as 0.5,0.8")


def _checked(values: Sequence[float], what: str, most: float, hint: str) -> tuple[float, ...]:
    if not values or len(values) > MOST_POINTS:
        raise InputError(f"{len(values)} values of {what}", hint=f"1 to {MOST_POINTS}: {hint}")
    for value in values:
        above = value >= 0 if what == "threshold" else 0 < value < math.inf
        if not (above and value <= most):
            raise InputError(f"{what} {value:g} is out of range", hint=hint)
    if len({f"{value:g}" for value in values}) < len(values):
        raise InputError(f"a value of {what} is stated twice", hint="state each once, with up to six digits")
    return tuple(sorted(values))
