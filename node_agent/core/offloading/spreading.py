"""Spreading: which receiver gets the next task, so that the tasks follow the weights of a row.

Smooth draws keep a credit for each of the K receivers: the tasks that it should have got, minus those that it got. Each
draw adds the receiver's share p to its credit c, and takes one from that of the drawn receiver. A receiver is eligible
if its credit is at least e = 1 / (2K - 2). Drawn is the eligible receiver whose credit would exceed 1 - e first, after
(1 - e - c) / p further draws. With constant weights all credits then stay within -(1 - e) and 1 - e. So at any time
each receiver has got its share of the tasks, to less than one task. This is Tijdeman's solution of the chairman
assignment problem (Discrete Mathematics 32, 1980). Drawing the greatest credit does not keep that bound.

Random draws are independent of each other. They make a Poisson stream at each receiver of a Poisson stream of tasks.

Decision 097: tasks follow rows by smooth draws (docs/decisions/097-smooth-draws-and-their-price.md).
"""

import math
import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from node_agent.core.config import Draws
from node_agent.errors import InvalidState

MOST_SKIPPED = 8  # a start skips fewer draws than this for each receiver
ROUNDING = 1e-9  # rounding errors of credits are smaller [task]


class Spreading(Protocol):
    """Draws receivers, as indices 0..K-1, so that they follow weights."""

    def follow(self, weights: Sequence[float]) -> None:
        """Draw by these weights until the next call.

        Args:
            weights: K finite numbers >= 0, at least one above 0. Receivers of weight 0 are never drawn.
        """

    def one(self) -> int:
        """Draw the receiver of a task."""

    def several(self, most: int) -> list[int]:
        """Draw different receivers, of which one may get a task; fewer than `most` if fewer have a weight.

        A receiver of share p is among them in min(1, c p) of all draws, with one factor c >= 1 for all receivers.
        """

    def validate(self) -> None:
        """Raise InvalidState if the state contradicts itself."""


def spreading(draws: Draws, count: int, dice: random.Random) -> Spreading:
    """Return the spreading over `count` receivers that `draws` names; `dice` is the node's generator."""
    return SmoothSpreading(count, dice) if draws == "smooth" else RandomSpreading(dice)


class RandomSpreading:
    """Draws that are independent of each other."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._weights: Sequence[float] = ()
        self._cumulative: list[float] = []

    def follow(self, weights: Sequence[float]) -> None:
        """Draw by these weights until the next call, see `Spreading`."""
        self._weights, self._cumulative = weights, list(accumulate(weights))

    def one(self) -> int:
        """Draw the receiver of a task."""
        return self._dice.choices(range(len(self._cumulative)), cum_weights=self._cumulative)[0]

    def several(self, most: int) -> list[int]:
        """Draw different receivers one after the other, each by its weight among those that are left."""
        left = {index: weight for index, weight in enumerate(self._weights) if weight > 0}
        drawn: list[int] = []
        while left and len(drawn) < most:
            index = self._dice.choices(list(left), list(left.values()))[0]
            drawn.append(index)
            del left[index]
        return drawn

    def validate(self) -> None:
        """Raise InvalidState unless there are weights to draw by, or none yet."""
        sums = self._cumulative
        if sums and (sums != sorted(sums) or sums[-1] <= 0):
            raise InvalidState("spreading", f"receivers are drawn by {sums}, which does not rise")


class SmoothSpreading:
    """Draws that follow the weights as evenly as possible."""

    def __init__(self, count: int, dice: random.Random) -> None:
        """Spread over `count` receivers. `dice` draws the start, so that nodes with equal rows do not march in step."""
        self._skipped = dice.randrange(MOST_SKIPPED * count) if count else 0  # draws before the first one that counts
        self._weights: Sequence[float] = ()
        self._one = Credits(count)
        self._several = Credits(count)
        self._most = 0  # of the last call of `several` since the weights changed

    @property
    def credits(self) -> tuple[float, ...]:
        """Tasks that each receiver should have got from `one`, minus those that it got [task], (K,)."""
        return tuple(self._one.credits)

    def follow(self, weights: Sequence[float]) -> None:
        """Draw by these weights until the next call, see `Spreading`."""
        self._weights, self._most = weights, 0
        self._one.follow(inclusions(weights, 1))
        skipped, self._skipped = self._skipped, 0
        for _ in range(skipped):
            self._one.draw()

    def one(self) -> int:
        """Draw the receiver of a task."""
        return self._one.draw()

    def several(self, most: int) -> list[int]:
        """Draw different receivers at once, see `Spreading`. These draws do not count as draws of `one`."""
        if most != self._most:
            self._most = most
            self._several.follow(inclusions(self._weights, most))
        return self._several.draw_several()

    def validate(self) -> None:
        """Raise InvalidState if a receiver has got some tasks too many or too few."""
        for credits in (self._one, self._several):
            credits.validate()


class Credits:
    """Tasks that K receivers should have got, minus those that they got; see the module's docstring.

    A receiver that loses its share keeps its credit until it gets a share again: so it never has to make up for more
    than a task or two. Meanwhile the others advance or wait together by what its credit holds back, in proportion to
    their shares, as if draws had been made or taken back: these advances make the credits in use sum to zero.
    """

    def __init__(self, count: int) -> None:
        self.credits = [0.0] * count  # advances included
        self._advances = [0.0] * count
        self._shares: Sequence[float] = ()
        self._sharing: list[int] = []  # the receivers that have a share
        self._at_once = 0  # receivers of one draw
        self._eligible = 0.0

    def follow(self, shares: Sequence[float]) -> None:
        """Draw by these shares (K,) from now on; each is at most one, and they sum to the receivers of one draw."""
        self._shares, self._at_once = shares, round(sum(shares))
        self._sharing = [index for index, share in enumerate(shares) if share > 0]
        self._eligible = 1 / (2 * len(self._sharing) - 2) if len(self._sharing) > 1 else 0.0
        owed = [max(-1.0, min(1.0, c - a)) for c, a in zip(self.credits, self._advances, strict=True)]
        lacking = -sum([owed[index] for index in self._sharing]) / self._at_once
        self._advances = [lacking * share for share in shares]
        self.credits = [c + a for c, a in zip(owed, self._advances, strict=True)]

    def draw(self) -> int:
        """Draw one receiver. The shares must sum to one."""
        credits, shares, eligible = self.credits, self._shares, self._eligible
        chosen, earliest = self._sharing[0], math.inf
        for index in self._sharing:
            credits[index] = credit = credits[index] + shares[index]
            if credit >= eligible - ROUNDING and (due := (1 - eligible - credit) / shares[index]) < earliest:
                chosen, earliest = index, due
        credits[chosen] -= 1
        return chosen

    def draw_several(self) -> list[int]:
        """Draw different receivers; their number is the sum of the shares."""
        credits, shares, eligible = self.credits, self._shares, self._eligible
        order = []
        for index in self._sharing:
            credits[index] = credit = credits[index] + shares[index]
            order.append((credit < eligible - ROUNDING, (1 - eligible - credit) / shares[index], index))
        order.sort()
        drawn = [index for _, _, index in order[: self._at_once]]
        for index in drawn:
            credits[index] -= 1
        return drawn

    def validate(self) -> None:
        """Raise InvalidState if a credit is no number, or if those of the receivers with a share do not sum to zero."""
        total = sum([self.credits[index] for index in self._sharing])
        if not abs(total) < ROUNDING * max(1, len(self._sharing)):  # not finite, or too large
            raise InvalidState(
                "spreading", f"the credits {self.credits} of {self._sharing} sum to {total}, not to zero"
            )


def inclusions(weights: Sequence[float], most: int) -> list[float]:
    """Return the share of draws in which each receiver is one of `most`: min(1, c p), with c such that they sum to it.

    Args:
        weights: K finite numbers >= 0, at least one above 0.
        most: receivers of one draw, from 1; all with a weight are included if there are no more.

    >>> inclusions([0.5, 0.25, 0.25, 0.0], 2)
    [1.0, 0.5, 0.5, 0.0]
    """
    shares = [0.0] * len(weights)
    left = sorted([index for index, weight in enumerate(weights) if weight > 0], key=lambda index: weights[index])
    places = min(most, len(left))
    while left and places * weights[left[-1]] >= sum([weights[index] for index in left]):
        shares[left.pop()] = 1.0
        places -= 1
    total = sum([weights[index] for index in left])
    for index in left:
        shares[index] = places * (weights[index] / total)
    return shares
