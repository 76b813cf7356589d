"""DTO-EE: every node shifts its offloading probabilities and its confidence threshold by reported marginal costs."""

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
STALL_ROUNDS = 2  # of which the gaps are compared with those of as many before
STALL_SHARE = 0.9  # a gap that has kept more than this share of itself falls no further
STALL_GAPS = 5.0  # times the stopping gap: above it a plan is too far from good to be content with


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a topology may set; times in seconds."""

    threshold: Threshold = 0.8  # where every server's threshold starts
    adapt_thresholds: bool = True
    threshold_steps: Annotated[int, Meta(ge=1, le=100)] = thresholds.MOST_STEPS  # grid points in one move
    move_turns: Annotated[int, Meta(ge=1, le=1000)] = 3  # groups in which the servers of a stage move in turn
    most_rounds: Annotated[int, Meta(ge=1, le=1000)] = 24
    move_every: Annotated[int, Meta(ge=1, le=1000)] = 2
    stop_gap: Annotated[float, Meta(ge=0, le=1)] = 0.02  # 0: play all rounds
    hysteresis: Annotated[float, Meta(ge=0, le=1e6)] = 0.0005
    update: Update = _RULE.update  # of the rows: with momentum, or Gallager's
    momentum: Annotated[float, Meta(ge=0, lt=1)] = _RULE.momentum
    first_step: Annotated[float, Meta(gt=0, le=10)] = _RULE.first_step
    floor: Annotated[float, Meta(gt=0, lt=0.1)] = _RULE.floor


def stalled(gaps: Sequence[float], most: float) -> bool:
    """Whether the gap, at most `most`, has stopped falling: over two rounds it is hardly smaller than over two before.

    Such a gap measures how far prices jump from round to round, since rates, services and links are measured, and not
    what the row could still gain: further rounds would only follow the noise. The gap that is published stays what it
    is, a bound on what better rows could save at the prices of the last round; a plan is certified to `stop_gap` only
    where it is that small.

    Decision: it ends the rounds. Simulated with the same seeds as without (five; slowdown twelve), rounds, mean delay
    and utility change by: city -4 %, -0.06 %, +0.01 %; surge -11 %, -0.01 %, +0.07 %; slowdown -4 %, +0.20 % (standard
    error 0.27), 0.00 %; linkdrop -13 %, -0.57 %, +0.09 %; and where services scatter by a tenth, as on a busy machine,
    city (four seeds) -24 %, +0.26 % (0.35), 0.00 %. The 20 s after an event show no difference beyond chance. Nor does
    it where a server has a task every second or so and is measured as seldom (200 devices at 0.01 task/s, a slow-down
    in between, nine seeds of 600 s): rounds -19 %, delay +0.1 % (1.7). Rejected:
    a stopping gap of 5 % (city: -43 %, but +0.8 % delay), six rounds at most (-28 %, +1.7 %), services and links as
    measured at the slot's start (slowdown: +10 % delay, as a slow server is found out a slot later), and stalling at
    any gap, however large, which on a machine with no processor to spare ended slots at gaps of 40 %.
    """
    lately, before = gaps[-STALL_ROUNDS:], gaps[-2 * STALL_ROUNDS : -STALL_ROUNDS]
    return len(before) == STALL_ROUNDS and gaps[-1] <= most and sum(lately) > STALL_SHARE * sum(before)


class DtoEe(PlainPolicy):
    """Rows and thresholds by marginal costs that nodes tell each other; `update=gallager` for the update of 1977.

    One node's share of DTO-EE; see `node_agent.dtoee` for the mathematics.
    """

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
        self._stepping = Stepping(self._rule)
        self._stalled = False

    def start_slot(self) -> None:
        """Keep the row, forget momentum and step: the prices may have jumped."""
        self._stalled = False
        self._stepping.start_slot()

    def update_row(self, row: Array, prospect: Prospect) -> Array:
        """One DTO-O step; the first one ever starts from rows in proportion to the receivers' speeds."""
        # The links' own curvature is left out: small beside the servers' unless a link is nearly full.
        bent = [known.report.offloaders * known.report.curvature_s2 for known in prospect.receivers]
        scale = Scale(prospect.leaving_per_s, bent)
        return self._stepping.next_row(row, prospect, [known.delta_s for known in prospect.receivers], scale)

    def gap(self, row: Array, prospect: Prospect) -> float:
        """(Omega - m) / Omega over the living receivers: the optimality certificate, local to each device."""
        mean, best = cost_to_go(*prospect.living(row))
        return (mean - best) / mean if mean > 0 else 0.0

    def stop_gap(self) -> float:
        """As configured."""
        return self.parameters.stop_gap

    def settled(self, gaps: Sequence[float]) -> bool:
        """Once the gap is small, or has stopped falling; the latter counts for the rest of the slot."""
        stop_gap = self.parameters.stop_gap
        self._stalled = self._stalled or (stop_gap > 0 and stalled(gaps, STALL_GAPS * stop_gap))
        return self._stalled or super().settled(gaps)

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
