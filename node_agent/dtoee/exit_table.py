"""The exit table: the confidence of every exit in held-out samples, and whether its answer was right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class ExitTable:
    """Held-out rows n = 1..N, one column per stage h = 1..H (index h - 1); the last column is the final exit.

    A table equals only itself, so it can be the key of a cache (`thresholds`).
    """

    confidence: npt.NDArray[np.float64]  # (N, H), 0..1
    correct: npt.NDArray[np.bool_] | npt.NDArray[np.float64]  # (N, H), whether an exit was right, or its chance

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def stages(self) -> int:
        """Number of exits H, the final one included."""
        return int(self.confidence.shape[1])

    def outcome(self, thresholds: Sequence[float]) -> tuple[npt.NDArray[np.float64], float]:
        """Share of rows that leave at each stage 1..H, shape (H,), and the accuracy, 0..1.

        A row leaves at the first stage where its confidence reaches the threshold; the last stage answers the rest.

        Args:
            thresholds: one per early exit, H - 1 of them.

        Raises:
            ValueError: the number of thresholds is not H - 1.
        """
        if len(thresholds) != self.stages - 1:
            raise ValueError(f"{self.stages - 1} thresholds needed, got {len(thresholds)}")
        leaves = np.ones(self.correct.shape, dtype=np.bool_)
        leaves[:, :-1] = self.confidence[:, :-1] >= np.asarray(thresholds, dtype=np.float64)
        taken = leaves.argmax(axis=1)
        share = np.bincount(taken, minlength=self.stages) / len(taken)
        return share, float(self.correct[np.arange(len(taken)), taken].mean())
