import re
from dataclasses import replace

import pytest
from rich.console import Console

from cli.watch.frame import draw
from cli.watch.lines import bar, sparkline
from cli.watch.state import ViewState
from testbed.breakdown.parts import Parts
from testbed.scenario import ModelChoice, Server
from tests.cli.watched import big_scenario, decision, event, lost, play, sample, scenario
from tests.testbed.record.task_lines import task_line

SIZES = [(80, 24), (120, 40), (200, 60)]


def rendered(state, width, height):
    """The lines as they appear on a terminal of this size, which cuts lines that are too wide."""
    console = Console(width=width, height=height, force_terminal=True, color_system=None, _environ={})
    with console.capture() as capture:
        console.print(draw(state, width, height), no_wrap=True)
    return capture.get().rstrip("\n").split("\n")


def played(what):
    state = ViewState(clock=lambda: 0.0)
    play(state, what)
    return state


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("what", [scenario(), big_scenario()], ids=["small", "big"])
def test_everything_that_matters_fits(what, width, height):
    lines = rendered(played(what), width, height)
    text = "\n".join(lines)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    assert "demo  dto-ee" in lines[0]
    assert "slot 6" in lines[0]
    assert lines[0].endswith("0:20 / 1:00")
    assert "200 of 1080 tasks completed  0 lost" in lines[1]
    for label in ("devices", "stage 1", "stage 2", "stage 3", "delay p50   200 ms", "accuracy    90.0 %"):
        assert label in text
    assert "stage 1 40 %  stage 2 30 %  stage 3 30 %" in text
    assert re.search(r"near-2 +down", text)
    assert re.search(r"core-1 .* 50 % +2 +6.0/s +50 % +0.75", text)
    assert "15.0 s  capacity-change  near-1  0.09 GFLOP/s" in text


def test_the_share_in_time_stands_beside_the_counts_if_there_are_deadlines():
    state = played(scenario())
    assert "in time" not in rendered(state, *SIZES[0])[1]
    for number, delay_s in enumerate((0.1, 0.1, 0.9)):
        state.task(task_line(3000 + number, delay_s=delay_s, deadline_s=0.5))
    assert "tasks completed  0 lost  67 % in time  " in rendered(state, *SIZES[0])[1]


def test_the_running_split_stands_above_the_events_where_there_is_room():
    state = played(scenario())
    state.split(state.now_s, Parts(0.0, 0.0, 0.025, 0.0, 0.1, 0.2, 0.0001))
    lines = rendered(state, 80, 40)
    (place,) = [number for number, line in enumerate(lines) if line.startswith("parts ")]
    assert re.search(r"parts +transfer 25 +queueing 100 +service 200 +ms", lines[place])
    assert any("capacity-change" in line for line in lines[place + 1 :])
    assert not any(line.startswith("parts ") for line in rendered(state, 80, 12))


def test_refused_tasks_are_counted_beside_lost_ones():
    state = played(scenario())
    state.task(lost(2000, "refused"))
    assert "200 of 1080 tasks completed  0 lost  1 refused" in rendered(state, *SIZES[0])[1]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_probabilities_stand_below_their_receivers(width, height):
    state = ViewState(clock=lambda: 0.0)
    play(state, scenario())
    state.decision(decision("near-1", {"mid-1": 0.07, "mid-2": 0.93, "mid-3": 0.0}))
    lines = rendered(state, width, height)
    heading = next(line for line in lines if line.startswith("stage 1"))
    row = next(line for line in lines if line.startswith("near-1"))
    shown = {name: row[: heading.index(name) + len(name)].split()[-1] for name in ("mid-1", "mid-2", "mid-3")}
    assert shown == {"mid-1": "7", "mid-2": "93", "mid-3": "·"}


def test_own_processors_share_a_column_and_stand_in_groups_where_there_is_no_room():
    devices = tuple(f"bell-{n}" for n in range(1, 9))
    plain = scenario(devices, (2, 1, 1))
    own = tuple(Server(f"bell-cpu-{n}", 1, 1e8, device=f"bell-{n}") for n in range(1, 9))
    rows = {f"bell-{n}": (f"bell-cpu-{n}", "near-1", "near-2") for n in range(1, 9)}
    what = replace(plain, servers=(*plain.servers, *own), offload_to={
        **plain.offload_to, **rows, **{server.name: ("mid-1",) for server in own}})  # fmt: skip
    state = ViewState(clock=lambda: 0.0)
    state.started(what, 100)
    for n in range(1, 9):
        state.sample(sample(f"bell-{n}", 0, queue_length=1, arrival_rate_per_s=3.0))
        state.sample(sample(f"bell-cpu-{n}", 1, queue_length=1, arrival_rate_per_s=1.5))
        state.decision(decision(f"bell-{n}", {f"bell-cpu-{n}": 0.5, "near-1": 0.3, "near-2": 0.2}))
    large = rendered(state, 120, 60)
    (heading,) = (line for line in large if line.startswith("devices"))
    assert heading.split("→")[1].split() == ["(own)", "near-1", "near-2"]
    (row,) = (line for line in large if line.startswith("bell-3 "))
    assert row.split()[-3:] == ["50", "30", "20"]
    assert any(re.match(r"bell-cpu-8 .* 50 % +1 +1.5/s", line) for line in large)
    small = rendered(state, 80, 24)
    assert any(re.match(r"bell ×8 .* 24.0/s .* 50 +30 +20", line) for line in small)
    assert any(re.match(r"bell-cpu ×8 .* 50 % +8 +12.0/s", line) for line in small)
    assert not any(line.startswith("bell-cpu-8") for line in small)


def test_devices_stand_alone_where_there_is_room_and_in_groups_elsewhere():
    state = ViewState(clock=lambda: 0.0)
    play(state, scenario(tuple(f"west-{n}" for n in range(1, 4)) + tuple(f"east-{n}" for n in range(1, 4))))
    assert any(re.match(r"east-3 +1 +3.0/s", line) for line in rendered(state, 120, 40))
    small = rendered(state, 80, 24)
    assert not any(line.startswith("east-3") for line in small)
    assert any(re.match(r"east ×3 +3 +9.0/s", line) for line in small)


def test_a_low_terminal_puts_servers_together_and_keeps_their_sums():
    lines = rendered(played(big_scenario()), 80, 24)
    together = [re.match(r"(\d) more .* (\d+) +(\d+\.\d)/s", line) for line in lines]
    assert any(together)
    for found in filter(None, together):
        count, queue, rate = int(found[1]), int(found[2]), float(found[3])
        up = queue / 2  # each server has two tasks
        assert up <= count
        assert rate == pytest.approx(6.0 * up)


def test_receivers_without_a_column_share_the_last_one():
    lines = rendered(played(big_scenario()), 80, 24)
    assert lines[2].split("→")[1].split() == ["near-", "1", "2", "3", "4", "+2"]
    assert lines[3].split()[-5:] == ["60", "8", "8", "8", "16"]


@pytest.mark.parametrize("width", [1, 10, 20, 40, 60])
@pytest.mark.parametrize("height", [1, 2, 5, 10, 15])
@pytest.mark.parametrize("what", [scenario(), big_scenario()], ids=["small", "big"])
def test_tiny_terminals_get_what_fits(what, width, height):
    state = played(what)
    frame = draw(state, width, height)
    assert 0 < len(frame.lines) <= height
    assert all(sum(len(text) for text, _ in line) <= width for line in frame.lines)


def test_before_the_start_the_steps_of_the_set_up_are_shown():
    now_s = 0.0
    state = ViewState(clock=lambda: now_s)
    state.phase("building the network")
    now_s = 1.5
    state.phase("loading the model")
    now_s = 2.0
    lines = rendered(state, 80, 24)
    assert lines[1].split() == ["✓", "building", "the", "network", "1.5", "s"]
    assert lines[2].endswith("loading the model  0.5 s")
    state.progress("agents forked", 40, 65)
    assert rendered(state, 80, 24)[2].endswith("loading the model  agents forked: 40 of 65  0.5 s")
    state.phase("starting agents")
    assert rendered(state, 80, 24)[2].endswith("loading the model  0.5 s")


def test_the_time_of_a_long_step_of_the_set_up_stays_on_the_screen():
    state = ViewState(clock=lambda: 0.0)
    state.phase("building the network: 345 nodes, 872 links")
    state.progress("interfaces and addresses in namespaces", 1200, 1744)
    line = rendered(state, 80, 24)[1]
    assert len(line) == 80
    assert line.endswith("…  0.0 s")
    assert "interfaces and addresses" in line


def test_a_run_that_has_told_nothing_yet_can_be_drawn():
    state = ViewState(clock=lambda: 0.0)
    state.started(scenario(time_scale=2.0), 0)
    lines = rendered(state, 80, 24)
    assert "2 s for each emulated one" in lines[0]
    assert any(line.split()[:3] == ["delay", "p50", "-"] for line in lines)


def test_a_node_that_is_down_is_red():
    state = ViewState(clock=lambda: 0.0)
    play(state, scenario())
    state.event(event("node-down", "core-1"))
    styles = {style for line in draw(state, 80, 24).lines for text, style in line if text.startswith("core-1")}
    assert "bold red" in styles


@pytest.mark.parametrize(("share", "drawn"), [(0, "    "), (1, "████"), (0.5, "██  "), (0.625, "██▌ "), (7, "████")])
def test_bar(share, drawn):
    assert bar(share, 4) == drawn


def test_sparkline_grows_from_below_and_leaves_gaps():
    assert sparkline([0.0, None, 1.0, 0.5], 0.0, 1.0) == ["▁ █▄"]
    assert sparkline([0.5, 1.0, 0.75], 0.0, 1.0, rows=2) == [" █▄", "███"]
    assert sparkline([3.0], 3.0, 3.0) == ["▁"]


def classes(name, count):
    return [f"{name}-{size}-{number}" for size in ("small", "large") for number in range(1, count + 1)]


def crowded():
    """Six devices and 24 servers in two stages, the large ones busy."""
    stages = [classes("near", 6), classes("core", 6)]
    devices = [f"device-{number}" for number in range(1, 7)]
    servers = tuple(Server(name, stage, 1e9) for stage, names in enumerate(stages, 1) for name in names)
    state = ViewState(clock=lambda: 0.0)
    offload_to = dict.fromkeys(devices, tuple(stages[0])) | dict.fromkeys(stages[0], tuple(stages[1]))
    planned = scenario(tuple(devices), servers=(1, 1, 1))
    model = ModelChoice("glyphs", (2, 5))
    state.started(replace(planned, servers=servers, offload_to=offload_to, model=model), 10)
    for stage, names in enumerate(stages, 1):
        for name in names:
            state.sample(sample(name, stage, utilisation=0.9 if "large" in name else 0.1))
    for name, names in zip(("device-1", "near-small-1"), stages, strict=True):
        state.decision(decision(name, dict.fromkeys(names, 1 / len(names))))
    return state


def test_long_names_of_receivers_become_initials():
    heading = next(line for line in rendered(crowded(), 120, 40) if line.startswith("devices"))
    assert heading.split("→")[1].split()[:7] == ["ns1", "ns2", "ns3", "ns4", "ns5", "ns6", "nl1"]


def test_the_busiest_servers_keep_their_lines():
    shown = [line.split()[0] for line in rendered(crowded(), 100, 26) if line.startswith(("near-", "core-"))]
    for stage in ("near", "core"):
        of_stage = [name for name in shown if name.startswith(stage)]
        assert 0 < len(of_stage) < 12
        assert of_stage[:6] == [f"{stage}-large-{number}" for number in range(1, 7)][: len(of_stage)]
