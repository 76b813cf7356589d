"""Load figures from files of /proc, written by hand and real."""

import os
import time

import pytest

from testbed.host.load import HostMeter, HostUse


def write(proc, *, stat=None, some=None, full=0):
    (proc / "pressure").mkdir(exist_ok=True)
    if stat is not None:
        (proc / "stat").write_text(f"cpu  {' '.join(map(str, stat))}\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    if some is not None:
        line = "avg10=0.00 avg60=0.00 avg300=0.00 total="
        (proc / "pressure" / "cpu").write_text(f"some {line}{some}\nfull {line}{full}\n")


def test_shares_are_those_since_the_meter_was_made(tmp_path):
    # user, nice, system, idle, iowait, irq, softirq, steal, and guest, which user holds already
    write(tmp_path, stat=[1000, 0, 500, 9000, 10, 0, 0, 5, 700, 0], some=1_000_000)
    meter = HostMeter(tmp_path)
    write(tmp_path, stat=[1020, 10, 505, 9040, 15, 1, 4, 20, 800, 0], some=1_000_000)
    use = meter.so_far()
    assert use.cpu_share == pytest.approx((20 + 10 + 5 + 1 + 4) / 100)
    assert use.steal_share == pytest.approx(15 / 100)
    assert (use.pressure_some_share, use.pressure_full_share) == (0.0, 0.0)


def test_pressure_is_a_share_of_the_time_that_has_passed(tmp_path):
    write(tmp_path, stat=[0] * 10, some=0)
    meter = HostMeter(tmp_path)
    time.sleep(0.01)
    write(tmp_path, some=10**9)  # more than the span: the counters are read one after the other
    assert meter.so_far().pressure_some_share == 1.0
    assert meter.so_far().cpu_share is None  # no tick has passed


def test_lately_begins_anew_at_every_reading(tmp_path):
    write(tmp_path, stat=[0, 0, 0, 0, 0, 0, 0, 0], some=0)
    meter = HostMeter(tmp_path)
    write(tmp_path, stat=[100, 0, 0, 0, 0, 0, 0, 0])
    assert meter.lately().cpu_share == 1.0
    write(tmp_path, stat=[100, 0, 0, 100, 0, 0, 0, 0])
    assert meter.lately().cpu_share == 0.0
    assert meter.so_far().cpu_share == 0.5


@pytest.mark.parametrize("content", [None, "", "nonsense", "cpu 1 2 3\n", "some avg10=0.00\n"])
def test_what_the_kernel_does_not_tell_is_unknown(tmp_path, content):
    if content is not None:
        (tmp_path / "pressure").mkdir()
        (tmp_path / "stat").write_text(content)
        (tmp_path / "pressure" / "cpu").write_text(content)
    assert HostMeter(tmp_path).so_far() == HostUse()


@pytest.mark.timing
def test_a_busy_loop_shows_on_this_machine():
    meter = HostMeter()
    end_s = time.monotonic() + 0.3
    while time.monotonic() < end_s:
        pass
    share = meter.so_far().cpu_share
    assert share is not None
    assert share > 0.5 / os.cpu_count()  # this one processor was busy for most of the time
