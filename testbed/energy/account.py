"""The energy account of a node or a link: the integral of its power over its states, and the energy of its bytes."""

from dataclasses import dataclass


@dataclass(slots=True)
class Account:
    """The energy that a node or a link has used so far.

    A node uses `idle_w` while it is up, and `computing_w` more while it serves a task. One that is down uses nothing.
    """

    idle_w: float = 0.0  # power while it is up [W]
    computing_w: float = 0.0  # power that computing adds [W]
    up_since_s: float | None = 0.0  # when it last came up [s]; None while it is down
    earlier_s: float = 0.0  # time for which it was up before that [s]
    busy_s: float = 0.0  # time in service [s]
    transfer_j: float = 0.0  # energy of the bytes that it pays [J]

    def up_s(self, at_s: float) -> float:
        """Return the time for which it has been up at `at_s` [s]."""
        return self.earlier_s + (0.0 if self.up_since_s is None else max(0.0, at_s - self.up_since_s))

    def goes_down(self, at_s: float) -> None:
        """Stop counting idle power at `at_s` [s]."""
        self.earlier_s, self.up_since_s = self.up_s(at_s), None

    def comes_up(self, at_s: float) -> None:
        """Begin to count idle power again at `at_s` [s]."""
        if self.up_since_s is None:
            self.up_since_s = at_s

    @property
    def computing_j(self) -> float:
        """The energy that computing added [J]."""
        return self.computing_w * self.busy_s

    def idle_j(self, at_s: float) -> float:
        """Return the energy of its idle power until `at_s` [J]."""
        return self.idle_w * self.up_s(at_s)

    def used_j(self, at_s: float) -> float:
        """Return all energy used until `at_s` [J]."""
        return self.idle_j(at_s) + self.computing_j + self.transfer_j

    def reaches_s(self, used_j: float, at_s: float) -> float:
        """Return the time at which idle power alone brings the energy to `used_j` [J]; infinity if it never does.

        It is `at_s` [s], the present time, if the account has that much already.
        """
        left_j = used_j - self.used_j(at_s)
        if left_j <= 0:
            return at_s
        return at_s + left_j / self.idle_w if self.idle_w > 0 and self.up_since_s is not None else float("inf")
