"""DTO-EE: every node shifts its offloading probabilities and its confidence threshold by reported marginal costs."""

import dataclasses
from typing import Annotated

import msgspec
from msgspec import Meta

from node_agent.dtoee import thresholds
from node_agent.dtoee.offloader import RowState, Scale, StepRule, Update, published, restrict, shift
from node_agent.dtoee.queueing import Array
from node_agent.dtoee.receiver import cost_to_go
from node_agent.errors import InputError
from node_agent.policies.base import PlainPolicy, Prospect, ThresholdView, proportional

_RULE = StepRule()


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a topology may set; times in seconds."""

    threshold: Annotated[float, Meta(ge=0, le=2)] = 0.8  # where every server's threshold starts
    adapt_thresholds: bool = True
    threshold_steps: Annotated[int, Meta(ge=1, le=100)] = thresholds.MOST_STEPS  # grid points in one move
    move_turns: Annotated[int, Meta(ge=1, le=1000)] = 3  # groups in which the servers of a stage move in turn
    most_rounds: Annotated[int, Meta(ge=1, le=1000)] = 24
    move_every: Annotated[int, Meta(ge=1, le=1000)] = 2
    stop_gap: Annotated[float, Meta(ge=0, le=1)] = 0.02
    hysteresis: Annotated[float, Meta(ge=0, le=1e6)] = 0.0005
    update: Update = _RULE.update  # of the rows: with momentum, or Gallager's
    momentum: Annotated[float, Meta(ge=0, lt=1)] = _RULE.momentum
    first_step: Annotated[float, Meta(gt=0, le=10)] = _RULE.first_step
    floor: Annotated[float, Meta(gt=0, lt=0.1)] = _RULE.floor


class DtoEe(PlainPolicy):
    """One node's share of DTO-EE; see `node_agent.dtoee` for the mathematics."""

    parameters_type: type[msgspec.Struct] = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        """`theta_s`: seconds of mean delay that one unit (100 points) of accuracy is worth."""
        momentum = (parameters.momentum, parameters.first_step) != (_RULE.momentum, _RULE.first_step)
        if parameters.update == "gallager" and momentum:
            raise InputError(
                "policy dto-ee: momentum and first_step have no meaning for update: gallager",
                hint="its step is scaled by curvature: leave them out",
            )
        self.parameters = parameters
        self._theta_s = theta_s
        self.first_threshold = parameters.threshold
        self.most_rounds = parameters.most_rounds
        self.move_every = parameters.move_every
        self.move_turns = parameters.move_turns
        self._rule = StepRule(
            momentum=parameters.momentum,
            # Gallager's step is scaled by curvature: one is the whole way.
            first_step=parameters.first_step if parameters.update == "momentum" else 1.0,
            floor=parameters.floor,
            update=parameters.update,
        )
        self._state: RowState | None = None

    def start_slot(self) -> None:
        """Keep the row, forget momentum and step: the prices may have jumped."""
        if self._state is not None:
            self._state = RowState.at_rest(self._state.row, self._rule)

    def update_row(self, row: Array, prospect: Prospect) -> Array:  # noqa: ARG002 - the row is part of the state
        """One DTO-O step; the first one ever starts from rows in proportion to the receivers' speeds."""
        if self._state is None:
            start = proportional(prospect.service_per_s, prospect.alive)
            self._state = RowState.at_rest(restrict(start, prospect.alive, self._rule.floor), self._rule)
        else:
            # The links' own curvature is left out: small beside the servers' unless a link is nearly full.
            scale = Scale(prospect.leaving_per_s, prospect.offloaders * prospect.curvature_s2)
            self._state = shift(
                self._state, prospect.delta_s, prospect.alive, self._rule, stale=prospect.stale, scale=scale
            )
        return self._state.row

    def gap(self, row: Array, prospect: Prospect) -> float:
        """(Omega - m) / Omega over the living receivers: the optimality certificate, local to each device."""
        mean, best = cost_to_go(*prospect.living(row))
        return (mean - best) / mean if mean > 0 else 0.0

    def stop_gap(self) -> float:
        """As configured."""
        return self.parameters.stop_gap

    def executed(self, row: Array) -> Array:
        """The row without the receivers that only the probing floor keeps in it."""
        return published(row, self._rule.floor)

    def move_threshold(self, view: ThresholdView) -> float:
        """Some steps on the threshold grid, if the objective is predicted to fall."""
        if not self.parameters.adapt_thresholds:
            return view.threshold
        return thresholds.best_jump(
            view.table,
            view.stage,
            view.paths,
            view.arrival_per_s,
            dataclasses.replace(view.onward, curvature_s2=view.onward.curvature_s2 * view.movers),
            view.threshold,
            theta_s=self._theta_s,
            eps_s=self.parameters.hysteresis,
            most_steps=self.parameters.threshold_steps,
        )
