"""DTO-EE by slots: nodes move rows and thresholds by reported marginal costs, in the rounds of each slot."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from node_agent.dtoee import thresholds
from node_agent.dtoee.offloader import Scale, StepRule, Update, published
from node_agent.dtoee.queueing import Array
from node_agent.dtoee.receiver import cost_to_go
from node_agent.errors import InputError
from node_agent.policies.base import PlainPolicy, Prospect, ThresholdView
from node_agent.policies.parameters import Threshold
from node_agent.policies.stepping import Stepping

_RULE = StepRule()
STALL_ROUNDS = 2  # number of latest gaps that are compared with as many before them
STALL_SHARE = 0.9  # a gap that keeps more than this share of itself counts as stalled
STALL_GAPS = 5.0  # times the stopping gap: with a larger gap a plan is too far from the optimum to stop


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters that a topology may set; times in seconds."""

    threshold: Threshold = 0.8  # every server's threshold at the start
    adapt_thresholds: bool = True
    threshold_steps: Annotated[int, Meta(ge=1, le=100)] = thresholds.MOST_STEPS  # most grid points of one move
    move_turns: Annotated[int, Meta(ge=1, le=1000)] = 3  # groups in which the servers of a stage move in turn
    most_rounds: Annotated[int, Meta(ge=1, le=1000)] = 24  # of a slot
    move_every: Annotated[int, Meta(ge=1, le=1000)] = 2  # rounds from one threshold move to the next
    stop_gap: Annotated[float, Meta(ge=0, le=1)] = 0.02  # 0: play all rounds
    hysteresis: Annotated[float, Meta(ge=0, le=1e6)] = 0.0005  # least gain of a threshold move [s]
    update: Update = _RULE.update  # of the rows: with momentum, or Gallager's
    momentum: Annotated[float, Meta(ge=0, lt=1)] = _RULE.momentum  # beta
    first_step: Annotated[float, Meta(gt=0, le=10)] = _RULE.first_step  # eta at the start of a slot
    floor: Annotated[float, Meta(gt=0, lt=0.1)] = _RULE.floor  # least share of a living receiver


def stalled(gaps: Sequence[float], most: float) -> bool:
    """True if the gap is at most `most` and has stopped falling: the last two are hardly smaller than the two before.

    Rates, services and links are measured, so prices jump from round to round. A stalled gap measures these jumps, not
    a possible gain of the row: further rounds would only follow the noise. The published gap remains a bound on the
    saving of better rows at the prices of the last round. A plan is certified to `stop_gap` only if its gap is that
    small.

    Decision 018: a stalled gap ends the rounds of a slot (docs/decisions/018-stalled-rounds.md).

    Args:
        gaps: the gap after every round of this slot so far, the latest one last; at least one.
        most: a larger gap never counts as stalled.
    """
    lately, before = gaps[-STALL_ROUNDS:], gaps[-2 * STALL_ROUNDS : -STALL_ROUNDS]
    return len(before) == STALL_ROUNDS and gaps[-1] <= most and sum(lately) > STALL_SHARE * sum(before)


class DtoEeStatic(PlainPolicy):
    """Rows and thresholds by marginal costs that nodes report; `update=gallager` selects the row update of 1977.

    This is the part of DTO-EE that one node runs; `node_agent.dtoee` has the mathematics.
    """

    parameters_type: type[msgspec.Struct] = Parameters

    def __init__(self, parameters: Parameters, theta_s: float) -> None:
        """`theta_s` is the seconds of mean delay that one unit (100 points) of accuracy is worth.

        Raises:
            InputError: momentum or first_step is stated with the update "gallager".
        """
        momentum = (parameters.momentum, parameters.first_step) != (_RULE.momentum, _RULE.first_step)
        if parameters.update == "gallager" and momentum:
            raise InputError(
                "momentum and first_step have no meaning for update: gallager",
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
            # Gallager's step is scaled by curvature: 1 is the full step.
            first_step=parameters.first_step if parameters.update == "momentum" else 1.0,
            floor=parameters.floor,
            update=parameters.update,
        )
        self._stepping = Stepping(self._rule)
        self._stalled = False

    def start_slot(self) -> None:
        """Reset momentum and step, since prices may have jumped; the row stays."""
        self._stalled = False
        self._stepping.start_slot()

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """The row (K,) after one DTO-O step; the first call returns a row in proportion to the receivers' speeds."""
        # The links' own curvature is ignored: it is small compared with the servers' unless a link is nearly full.
        bent = [known.report.offloaders * known.report.curvature_s2 for known in prospect.receivers]
        scale = Scale(prospect.leaving_per_s, bent)
        return self._stepping.next_row(row, prospect, [known.delta_s for known in prospect.receivers], scale)

    def gap(self, row: Array, prospect: Prospect) -> float:
        """(Omega - m) / Omega over the living receivers: the device's own part of the optimality certificate, 0..1."""
        mean, best = cost_to_go(*prospect.living(row))
        return (mean - best) / mean if mean > 0 else 0.0

    def stop_gap(self) -> float:
        """The parameter `stop_gap`."""
        return self.parameters.stop_gap

    def settled(self, gaps: Sequence[float]) -> bool:
        """True once the gap is small, or has stalled; once stalled, it stays settled for the rest of the slot."""
        stop_gap = self.parameters.stop_gap
        self._stalled = self._stalled or (stop_gap > 0 and stalled(gaps, STALL_GAPS * stop_gap))
        return self._stalled or super().settled(gaps)

    def executed(self, row: Array) -> Array:
        """The row (K,) with 0 at receivers that only the floor keeps in it."""
        return published(row, self._rule.floor)

    def move_threshold(self, view: ThresholdView) -> float:
        """The threshold after a few steps on its grid; unchanged unless the objective is predicted to fall."""
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
