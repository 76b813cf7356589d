"""The cost of loss and jitter for a message, as the flow model counts it."""

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest

from testbed.scenario import LinkShape
from testbed.simulation.transfers import is_troubled, joined, most_byte_per_s, outside_validation, transfers
from testbed.topology.event_kinds.link_shape import LinkChange
from tests.testbed.network.scenarios import scenario

MS = 1e-3


def test_links_in_a_row_lose_and_delay_what_all_of_them_do():
    one = joined([LinkShape(50.0, 0.010, 0.003, 0.1), LinkShape(20.0, 0.005, 0.004, 0.2)])
    assert (one.rate_mbit_per_s, one.delay_s) == (20.0, pytest.approx(0.015))
    assert one.jitter_s == pytest.approx(0.005)
    assert one.loss == pytest.approx(1 - 0.9 * 0.8)
    assert is_troubled([one])
    assert not is_troubled([LinkShape(50.0, 0.010)])


def test_jitter_costs_a_single_segment_nothing_on_average_and_several_the_slowest_of_them():
    shape = LinkShape(1000.0, 0.050, jitter_s=0.005)
    assert transfers([shape], 1000, 1.0).mean_late_s == pytest.approx(0, abs=1e-9)
    several = transfers([shape], 10 * 1448, 1.0)
    # The mean of the greatest of ten normal deviations is 1.5388.
    assert several.mean_late_s == pytest.approx(1.5388 * 5 * MS, rel=0.03)
    assert several.rate_per_s == pytest.approx(1e9 / 8 / 14_480)


def test_loss_costs_a_single_segment_its_time_out_now_and_then():
    late = transfers([LinkShape(50.0, 0.020, loss=0.02)], 1000, 1.0)
    share = mean(each > 1 * MS for each in late.late_s)
    assert share == pytest.approx(0.02, abs=0.01)
    lost = [each for each in late.late_s if each > 1 * MS]
    assert lost[1] > (40 + 200) * MS  # except one interpolated between a lost message and another
    assert late.mean_late_s == pytest.approx(sum(lost) / len(late.late_s), abs=0.2 * MS)


def test_more_loss_and_more_delay_cost_more_and_let_less_through():
    def found(loss, delay_s):
        return transfers([LinkShape(50.0, delay_s, loss=loss)], 16_384, 1.0)

    for one, other in (((0.01, 0.02), (0.03, 0.02)), ((0.01, 0.02), (0.01, 0.05))):
        assert found(*one).mean_late_s < found(*other).mean_late_s
        assert found(*one).rate_per_s > found(*other).rate_per_s


def test_between_the_delays_of_the_grid_the_figures_are_interpolated():
    """20 ms lies between two delays of the grid. Simulated directly, it costs as much, within the error of a mean."""
    from testbed.simulation.transfers import _simulated

    shape = LinkShape(50.0, 0.020, loss=0.03)
    direct = _simulated(shape, 12_500, 1.0)
    error_s = np.std(direct.late_s) / len(direct.late_s) ** 0.5
    assert transfers([shape], 12_500, 1.0).mean_late_s == pytest.approx(direct.mean_late_s, abs=4 * error_s)


def test_equal_links_have_equal_figures():
    shape = LinkShape(50.0, 0.021, loss=0.03)
    assert transfers([shape], 1000, 1.0) is transfers([shape], 1000, 1.0) or (
        transfers([shape], 1000, 1.0) == transfers([shape], 1000, 1.0)
    )


@pytest.mark.parametrize("loss", [0.4, 0.95])
def test_where_most_is_lost_next_to_nothing_gets_through(loss):
    found = transfers([LinkShape(20.0, 0.005, loss=loss)], 1000, 1.0)
    assert 0 < found.rate_per_s < 0.5
    assert 1 < found.mean_late_s < float("inf")


@pytest.mark.parametrize(("loss", "delay_s"), [(0.01, 0.002), (0.01, 0.06), (0.03, 0.02), (0.1, 0.02), (0.1, 0.002)])
def test_the_estimate_of_what_tcp_gets_through_is_near_what_is_simulated(loss, delay_s):
    shape = LinkShape(50.0, delay_s, loss=loss)
    simulated = transfers([shape], 1000, 1.0).rate_per_s * 1000
    assert simulated == pytest.approx(most_byte_per_s([shape], 1.0), rel=0.35)


def test_the_estimate_knows_when_hardly_anything_gets_through_and_never_exceeds_the_rate():
    assert most_byte_per_s([LinkShape(50.0, 0.005, loss=0.4)], 1.0) < 500
    assert most_byte_per_s([LinkShape(8.0, 0.005, loss=1e-6)], 1.0) == 1e6
    assert most_byte_per_s([LinkShape(8.0, 0.005)], 1.0) == 1e6


@pytest.mark.parametrize(
    ("shape", "time_scale", "said"),
    [
        (LinkShape(50.0, 0.5), 1.0, ()),  # neither loss nor jitter
        (LinkShape(50.0, 0.060, 0.010, 0.05), 1.0, ()),
        (LinkShape(50.0, 0.002, 0.0, 0.001), 1.0, ()),
        (LinkShape(50.0, 0.020, 0.0, 0.08), 1.0, ("loss 8 % (a - b)",)),
        (LinkShape(50.0, 0.020, 0.012, 0.0), 1.0, ("jitter 12 ms (a - b)",)),
        (LinkShape(50.0, 0.100, 0.0, 0.01), 1.0, ("delay 100 ms (a - b)",)),
        (LinkShape(20.0, 0.020, 0.0, 0.01), 1.0, ()),
        (LinkShape(0.5, 0.020, 0.0, 0.01), 1.0, ("rate 0.5 Mbit/s (a - b)",)),
        (LinkShape(50.0, 0.010, 0.0, 0.01), 5.0, ("rate 10 Mbit/s in real time (a - b)",)),
        (LinkShape(0.5, 0.020), 1.0, ()),
        (LinkShape(0.05, 0.020, 0.0, 0.01, lull=True), 1.0, ("outages (a - b)",)),
        (LinkShape(60.0, 0.030, 0.0, 0.01), 3.0, ("delay 90 ms in real time (a - b)",)),
    ],
)
def test_what_lies_outside_the_validated_range_is_said(shape, time_scale, said):
    planned = scenario(["a", "b"], {("a", "b"): shape}, time_scale=time_scale)
    assert outside_validation(planned, 16_384) == said


def test_later_shapes_and_large_messages_count_too():
    planned = scenario(["a", "b"], {("a", "b"): LinkShape(50.0, 0.02)})
    later = replace(planned, events=(LinkChange(1.0, ("a", "b"), LinkShape(50.0, 0.02, loss=0.5)),))
    assert outside_validation(later, 16_384) == ("loss 50 % (a - b)",)
    lossy = scenario(["a", "b"], {("a", "b"): LinkShape(50.0, 0.02, loss=0.01)})
    assert outside_validation(lossy, 200 * 1024) == ("messages of 200 KiB",)
    assert outside_validation(planned, 200 * 1024) == ()


def test_an_outage_counts_where_its_link_loses_frames_at_another_time():
    still = LinkChange(0.5, ("a", "b"), LinkShape(0.05, 0.02, lull=True), traced=True)
    for loss, said in ((0.01, ("outages (a - b)",)), (0.0, ())):
        planned = scenario(["a", "b"], {("a", "b"): LinkShape(50.0, 0.02, loss=loss)})
        assert outside_validation(replace(planned, events=(still,)), 16_384) == said


def test_both_directions_of_a_link_count():
    fine = LinkShape(50.0, 0.02)
    planned = scenario(["a", "b"], {("a", "b"): (fine, replace(fine, loss=0.08))})
    assert outside_validation(planned, 16_384) == ("loss 8 % (b - a)",)


def test_several_lossy_links_of_a_route_count_together():
    lossy = LinkShape(50.0, 0.02, loss=0.03)
    links = {("a", "s"): lossy, ("s", "b"): lossy}
    planned = replace(scenario(["a", "b"], links, switches=["s"]), offload_to={"a": ("b",)})
    assert outside_validation(planned, 16_384) == ("loss 5.9 % together (a to b)",)
    less = {ends: replace(lossy, loss=0.025) for ends in links}
    planned = replace(scenario(["a", "b"], less, switches=["s"]), offload_to={"a": ("b",)})
    assert outside_validation(planned, 16_384) == ()
    back = {ends: (replace(lossy, loss=0.0), replace(lossy, loss=0.05)) for ends in links}
    planned = replace(scenario(["a", "b"], back, switches=["s"]), offload_to={"a": ("b",)})
    assert outside_validation(planned, 16_384) == ("loss 9.8 % together (b to a)",)
