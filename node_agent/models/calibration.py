"""Measures of confidences: expected calibration error and AUROC of correctness (numpy only)."""

import numpy as np
import numpy.typing as npt

BINS = 15
Figures = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def expected_calibration_error(confidence: Figures, correct: Flags, bins: int = BINS) -> float:
    """Return the mean gap between confidence and accuracy, 0..1, over `bins` equal bins of confidence.

    ECE = sum over bins of |bin| / N |accuracy(bin) - confidence(bin)|: Guo et al., On Calibration of Modern Neural
    Networks, ICML 2017, equation 3. A bin includes its upper edge.

    Args:
        confidence: of each answer (N,), 0..1.
        correct: whether each answer is right (N,).
        bins: the number of bins.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(index, weights=correct.astype(float) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def correctness_auroc(confidence: Figures, correct: Flags) -> float | None:
    """Return the probability, 0..1, that a right answer is more confident than a wrong one; ties count half.

    It is the statistic of Mann and Whitney (1947) over the number of pairs: (R - n (n + 1) / 2) / (n m), where R is the
    sum of the ranks of the n right answers among all n + m. None if all answers are right, or all wrong.

    Args:
        confidence: of each answer (N,), 0..1.
        correct: whether each answer is right (N,).
    """
    right = int(correct.sum())
    wrong = len(correct) - right
    if not right or not wrong:
        return None
    _, inverse, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    ranks = mean_rank[inverse][correct].sum()
    return float((ranks - right * (right + 1) / 2) / (right * wrong))
