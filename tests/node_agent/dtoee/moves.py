"""The gain of a threshold's move, one move at a time, from its definition: the reference for `best_jump`."""

import numpy as np

from node_agent.dtoee import thresholds


def leaves_right(table, stage, row, passed):
    """True if a table row is right at its exit, given the thresholds `passed` from `stage` onwards."""
    for column, threshold in enumerate(passed, stage - 1):
        if table.confidence[row, column] >= threshold:
            return bool(table.correct[row, column])
    return bool(table.correct[row, -1])


def accuracy_onward(table, stage, weights, paths):
    """Accuracy of the rows weighted by `weights` when they go on from `stage`, row by row."""
    right = sum(
        share * weights[row] * leaves_right(table, stage, row, passed)
        for share, passed in paths for row in np.flatnonzero(weights)
    )  # fmt: skip
    return right / weights.sum()


def share_continuing(table, stage, weights, paths):
    """Share of `weights` that does not exit at `stage`."""
    going = sum(share * weights[table.confidence[:, stage - 1] < c[0]].sum() for share, c in paths if c)
    return going / weights.sum()


def move_score(table, stage, weights, arrival_per_s, onward, move, theta_s):
    """Change of the objective [task] if the server at `stage` moves its threshold from move[0] to move[1]."""
    low, high = min(move), max(move)
    confidence = table.confidence[:, stage - 1]
    moved = np.where((confidence >= low) & (confidence < high), weights, 0.0)
    fraction = moved.sum()
    if fraction <= 0:
        return 0.0
    sign = 1.0 if move[1] > move[0] else -1.0
    continuing = np.array([share_continuing(table, stage + 1, moved, paths) for paths in onward.paths])
    accuracy = np.array([accuracy_onward(table, stage + 1, moved, paths) for paths in onward.paths])
    own = moved @ table.correct[:, stage - 1] / fraction
    flow = arrival_per_s * fraction
    there_s = onward.link_marginal_s + onward.local_s
    there_s = there_s + continuing * onward.onward_s + (1 - continuing) * onward.return_s
    delay = sign * flow * (onward.row @ there_s - onward.own_return_s)
    delay += (flow * onward.row) ** 2 @ onward.curvature_s2 / 2
    return float(delay - theta_s * sign * flow * (onward.row @ accuracy - own))


def best_move(table, stage, paths, arrival_per_s, onward, threshold, *, theta_s, eps_s):
    """The better of the two neighbouring grid points if it gains enough, else the same threshold."""
    points = thresholds.grid(table, stage)
    lower, higher = points[points < threshold - 1e-12], points[points > threshold + 1e-12]
    weights = thresholds.row_weights(table, paths)
    scores = {
        float(c): move_score(table, stage, weights, arrival_per_s, onward, (threshold, c), theta_s)
        for c in (*lower[-1:], *higher[:1])
    }
    best = min(scores, key=scores.get)
    return best if scores[best] < -eps_s * arrival_per_s else threshold
