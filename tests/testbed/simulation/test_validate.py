"""A simulation checks itself: broken on purpose, it fails in one line, with the node's story in the run directory."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cli.main import main
from node_agent.core.device import DeviceTasks
from node_agent.core.machine import NodeStateMachine
from node_agent.errors import InvalidState
from testbed.run.observer import SilentObserver
from testbed.scenario import LinkShape
from testbed.simulation.failure import NodeFailed
from testbed.simulation.links import Connection, Direction, Transit
from testbed.simulation.nodes import SimulatedNode
from testbed.simulation.processor import Processor, paced
from testbed.simulation.simulator import Simulation
from testbed.simulation.tcp.connection import Endpoint
from testbed.simulation.tcp.flight import Flight, Segment
from testbed.simulation.tcp.receiver import Receiver
from testbed.simulation.tcp.sender import Sender
from testbed.virtual_time import Calendar
from tests.testbed.simulated import plan
from tests.testbed.small import SMALL

LINE = r" *-?\d+\.\d{6} [<>] [A-Z]\w+\(.*(\)|\.\.\.)"


def lose_count(monkeypatch):
    """Break devices: from 3 s on, each counts one task too many for every task that it gets."""
    arrive = DeviceTasks.arrive

    def miscounts(self, event):
        arrive(self, event)
        self.arrived += event.created_s > 3.0

    monkeypatch.setattr(DeviceTasks, "arrive", miscounts)


def story_in(log: str) -> list[str]:
    lines = [line for line in log.splitlines() if re.fullmatch(LINE, line)]
    assert len(lines) == 200
    return lines


def test_a_fault_is_found_at_once_and_told_with_the_story(tmp_path, monkeypatch):
    lose_count(monkeypatch)
    with pytest.raises(NodeFailed) as caught:
        Simulation(plan(tmp_path, SMALL), SilentObserver()).run()
    counts = r"(\d+) arrived, but (\d+) completed \(\3 known\) \+ 0 lost \+ 0 refused \+ (\d+) owned"
    said = re.fullmatch(rf"node ([\w-]+): tasks: {counts}", str(caught.value))
    assert said
    assert int(said[2]) == int(said[3]) + int(said[4]) + 1
    log = tmp_path / "run" / "agents.log"
    where = f"the last events of the node are in {log}"
    assert caught.value.hint == f"this is a fault of the program: please report it; {where}"
    text = log.read_text()
    assert text.startswith(f"--- {said[1]}\nTraceback")
    assert text.splitlines()[-1].startswith(f"{caught.value}; ")
    assert " < TaskArrived(" in "".join(story_in(text)[-6:])
    assert 3.0 < float(story_in(text)[-1].split()[0]) < 6.0


def test_without_debug_a_fault_goes_unnoticed(tmp_path, monkeypatch):
    lose_count(monkeypatch)
    outcome = Simulation(replace(plan(tmp_path, SMALL), debug=False), SilentObserver()).run()
    assert outcome.exit_reason == "completed"
    assert not (tmp_path / "run" / "agents.log").exists()


def test_a_failure_without_debug_is_played_again_for_its_story(tmp_path, monkeypatch):
    """Traceback and message are those of --debug; of the second run only the story is kept."""
    breaks = DeviceTasks.arrive

    def broken(self, event):
        if event.created_s > 4.0:
            raise RuntimeError("broken")
        breaks(self, event)

    monkeypatch.setattr(DeviceTasks, "arrive", broken)
    logs = []
    for debug in (True, False):
        folder = tmp_path / str(debug)
        with pytest.raises(NodeFailed, match=r"^node cam-\d: RuntimeError: broken$") as caught:
            Simulation(replace(plan(folder, SMALL), debug=debug), SilentObserver()).run()
        log = folder / "run" / "agents.log"
        assert caught.value.hint == f"the last events of the node are in {log}"
        logs.append(story_in(log.read_text()))
        assert log.read_text().endswith(f"\n{caught.value}\n")
    assert logs[0] == logs[1]


def test_debug_changes_no_result(tmp_path):
    files = []
    for debug in (True, False):
        wanted = replace(plan(tmp_path / str(debug), SMALL), debug=debug)
        outcome = Simulation(wanted, SilentObserver()).run()
        files.append({path.name: path.read_bytes() for path in outcome.run_directory.glob("*.jsonl")})
    assert files[0] == files[1]
    assert files[0]["tasks.jsonl"]


@pytest.mark.parametrize("verb", ["simulate", "replay"])
def test_the_option_has_every_node_check_itself(tmp_path, monkeypatch, capsys, verb):
    topology, first = tmp_path / "topology.yaml", tmp_path / "first"
    topology.write_text(SMALL)
    simulate = ["simulate", str(topology), "--monitor", "off"]
    with pytest.raises(SystemExit) as ended:
        main([*simulate, "--out", str(first)])
    assert ended.value.code == 0
    checked = []
    validate = NodeStateMachine.validate
    monkeypatch.setattr(NodeStateMachine, "validate", lambda self: (checked.append(self.config.name), validate(self)))
    again = simulate if verb == "simulate" else ["replay", str(first), "--simulate", "--monitor", "off"]
    for debug in ([], ["--debug"]):
        with pytest.raises(SystemExit) as ended:
            main([*again, *debug, "--out", str(tmp_path / f"out{len(debug)}")])
        assert ended.value.code == 0, capsys.readouterr().err
        assert bool(checked) == bool(debug)
    assert len(set(checked)) > 2
    assert (tmp_path / "out0" / "tasks.jsonl").read_bytes() == (tmp_path / "out1" / "tasks.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda node: node._timers.pop(("sample",)), r"timers: \[.*\] are set, the node has set \[.*\('sample',\).*\]"),
        (lambda node: node.processor.abandon(), r"processor of [\w-]+: busy: False, but the node has it busy: True"),
    ],
)
def test_timers_and_processor_are_as_the_node_has_them(tmp_path, monkeypatch, spoil, said):
    handle = SimulatedNode.handle

    def spoils(self, event, now_s=None):
        handle(self, event, now_s)
        if self.started and self._agenda.now_s > 3.0 and self.processor is not None and self.processor._entry:
            spoil(self)
            self.validate()

    monkeypatch.setattr(SimulatedNode, "handle", spoils)
    with pytest.raises(NodeFailed, match=rf"^node [\w-]+: {said}$"):
        Simulation(plan(tmp_path, SMALL), SilentObserver()).run()
    story_in((tmp_path / "run" / "agents.log").read_text())


def processor(**values) -> Processor:
    made = Processor("s", 1, capacity_flop_per_s=1.0, answers=None, agenda=Calendar(),
                     service_time=paced)  # fmt: skip
    made._wait(2.0)
    made.validate(busy=True)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"_entry": None}, "processor of s: busy: False, but the node has it busy: True"),
        ({"_due_s": 3.0}, "processor of s: due at 3.0 s, entered for 2.0 s, and it is 0.0 s"),
        ({"_capacity": 0.0}, "processor of s: its capacity is 0.0 FLOP/s"),
    ],
)
def test_a_processor_has_its_end_entered(values, said):
    with pytest.raises(InvalidState, match=f"^{re.escape(said)}$"):
        processor(**values).validate(busy=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda calendar: calendar._heap.reverse(), r"calendar: the heap of span 0.0 is out of order: \[\[0.2, 2\], "),
        (lambda calendar: setattr(calendar, "now_s", 0.15), r"calendar: it is 0.15 s, but entries \[\[0.1, 1\]\] "),
        (lambda calendar: setattr(calendar, "_span", 9.0), r"calendar: span 9.0 is in the heap, but spans \[4.0\] "),
    ],
)
def test_a_calendar_is_in_order(spoil, said):
    calendar = Calendar()
    calendar.at(0.0, lambda _: None, None)
    calendar.run(0.0, 1)
    for at_s in (0.1, 0.2, 1.0):
        calendar.at(at_s, lambda _: None, None)
    calendar._heap = [[0.1, 1, print, None], [0.2, 2, print, None]]
    calendar.validate()
    spoil(calendar)
    with pytest.raises(InvalidState, match=said):
        calendar.validate()


@pytest.mark.parametrize(
    ("name", "value"), [("byte_per_s", 0.0), ("byte_per_s", float("nan")), ("delay_s", -1.0), ("loss", 1.5)]
)
def test_a_link_has_a_rate_and_a_delay(name, value):
    direction = Direction(LinkShape(10.0, 0.01), changes=True)
    direction.validate("link")
    setattr(direction, name, value)
    with pytest.raises(InvalidState, match=r"^link: .* byte/s; delay, jitter, loss, bucket: "):
        direction.validate("link")


def test_messages_leave_a_link_after_they_came():
    direction = Direction(LinkShape(10.0, 0.01), changes=True)
    transit = Transit(Connection("a", (direction,), print, urgent=False), 100, None)
    direction.transits.append(transit)
    transit.begin_s, transit.end_s, transit.arrival_s = 1.0, 2.0, 3.0
    direction.validate("link")
    transit.end_s = 0.5
    with pytest.raises(InvalidState, match=r"^link: messages begin, end and arrive at \[\(1.0, 0.5, 3.0\)\]$"):
        direction.validate("link")


def flight() -> Flight:
    made = Flight()
    for seq in (10, 20, 30):
        made.segments.append(Segment(seq, seq + 10))
    made.mark_lost(made.head)
    made.mark_again(made.head)
    made.validate("c", 10, 40)
    return made


@pytest.mark.parametrize("spoil", ["sacked", "lost", "again"])
def test_counts_of_a_flight_are_those_of_its_segments(spoil):
    made = flight()
    setattr(made, spoil, 2)
    with pytest.raises(InvalidState, match=r"^c: sacked, lost, again: \(.*2.*\) counted, \(0, 1, 1\) in the flight$"):
        made.validate("c", 10, 40)


@pytest.mark.parametrize(("una", "nxt"), [(0, 40), (10, 50), (20, 40)])
def test_a_flight_is_what_was_sent_and_not_acknowledged(una, nxt):
    with pytest.raises(InvalidState, match=rf"^c: the flight is not {una} to {nxt} without gaps: \[10, 20, 20, 30, "):
        flight().validate("c", una, nxt)


def test_a_sender_acknowledges_what_it_sent_and_sends_what_was_written():
    sender = Sender(Calendar(), lambda _: None, rtt_s=0.1)
    sender.write(5000)
    sender.validate("c")
    sender.window.cwnd = 0
    with pytest.raises(InvalidState, match=r"^c: 0 acknowledged, 5000 sent, 5000 written, a window of 0$"):
        sender.validate("c")
    sender.window.cwnd, sender.written = 10, 4000
    with pytest.raises(InvalidState, match=r"^c: 0 acknowledged, 5000 sent, 4000 written"):
        sender.validate("c")


@pytest.mark.parametrize(("ranges", "told"), [([(10, 20)], 0), ([(40, 50), (20, 30)], 0), ([], 11)])
def test_a_receiver_keeps_what_lies_beyond_a_gap(ranges, told):
    receiver = Receiver(Calendar(), lambda _: None, lambda _: None)
    receiver.next, receiver.ranges = 10, [(20, 30)]
    receiver.validate("c")
    receiver.ranges, receiver._told = ranges, told
    with pytest.raises(InvalidState, match=rf"^c: {told} acknowledged, 10 in order, beyond it "):
        receiver.validate("c")


def test_messages_end_where_bytes_were_written():
    agenda = Calendar()
    wire = SimpleNamespace(carry=lambda _: bool)
    endpoint = Endpoint(agenda, wire, rtt_s=0.1, time_scale=1.0)
    for size_bytes in (100, 200):
        endpoint.send(size_bytes, print, None)
    endpoint.validate("c")
    endpoint.sent.reverse()
    with pytest.raises(InvalidState, match=r"^c: messages end at \[300, 100\], but 300 bytes are written$"):
        endpoint.validate("c")
