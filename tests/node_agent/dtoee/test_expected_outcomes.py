"""Expected outcomes: the chance of each exit, and better thresholds from the same number of samples."""

import numpy as np
import pytest

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.expected_outcomes import expected
from node_agent.dtoee.thresholds import grid


def drawn(rows: int, seed: int) -> tuple[ExitTable, np.ndarray]:
    """A table of two exits, and the true chance of each exit in each row."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0.5, 1.5, (rows, 1))
    logits = ease + rng.normal(0, 0.7, (rows, 2)) + [0.0, 1.0]
    chance = 1 / (1 + np.exp(-logits))
    score = 1 / (1 + np.exp(-1.4 * logits))  # too sure of itself
    return ExitTable(score, rng.uniform(size=(rows, 2)) < chance), chance


class TestExpected:
    def test_chances_are_close_to_the_true_ones(self):
        table, chance = drawn(2000, 1)
        found = expected(table)
        assert found.confidence is table.confidence
        assert np.abs(found.correct - chance).mean() < 0.03
        assert np.abs(table.correct - chance).mean() > 0.2

    def test_the_accuracy_of_each_exit_stays(self):
        table, _ = drawn(500, 2)
        assert expected(table).correct.mean(axis=0) == pytest.approx(table.correct.mean(axis=0), abs=0.005)

    def test_a_table_is_computed_once(self):
        table, _ = drawn(50, 3)
        assert expected(table) is expected(table)

    def test_exits_that_are_always_or_never_right_and_scores_of_one_value(self):
        score = np.column_stack([np.linspace(0, 1, 40), np.full(40, 0.5), np.full(40, 1.0)])
        correct = np.column_stack([np.arange(40) % 2 == 0, np.ones(40, bool), np.zeros(40, bool)])
        found = expected(ExitTable(score, correct)).correct
        assert np.isfinite(found).all()
        assert found[:, 0] == pytest.approx(0.5, abs=0.15)
        assert found[:, 1].min() > 0.9
        assert found[:, 2].max() < 0.1

    def test_thresholds_by_expected_outcomes_lose_less_than_those_by_seen_ones(self):
        """Chosen by tables of 2,000 rows, judged by the true chances in many others."""
        judge, chance = drawn(20_000, 4)
        theta_s, price_s = 5.0, 0.6

        def regret_s(table: ExitTable) -> float:
            """Utility lost against the best threshold, which the true chances show."""
            points = grid(judge, 1, 100)

            def utility_s(threshold: float, score: np.ndarray, right: np.ndarray) -> float:
                goes = score[:, 0] < threshold
                return float(np.where(goes, theta_s * right[:, 1] - price_s, theta_s * right[:, 0]).mean())

            chosen = max(points, key=lambda c: utility_s(c, table.confidence, table.correct))
            true = [utility_s(c, judge.confidence, chance) for c in points]
            return max(true) - utility_s(chosen, judge.confidence, chance)

        tables = [drawn(2000, seed)[0] for seed in range(10, 25)]
        seen = np.mean([regret_s(table) for table in tables])
        by_chance = np.mean([regret_s(expected(table)) for table in tables])
        assert by_chance < 0.5 * seen
