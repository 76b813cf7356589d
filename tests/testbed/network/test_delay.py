"""What a delay's counters mean when links change."""

from testbed.network.delay import DropCount


def test_drops_belong_to_the_shape_they_happened_under():
    count = DropCount(loses=False)
    assert count.so_far(3) == (0, 3)
    count.book(5, loses=True)
    assert count.so_far(12) == (7, 5)
    count.book(20, loses=False)
    assert count.so_far(21) == (15, 6)
    assert count.so_far(20) == (15, 5)


def test_the_kernels_counter_may_begin_again():
    count = DropCount(loses=True)
    count.book(2**32 - 2, loses=False)
    assert count.so_far(3) == (2**32 - 2, 5)
