"""Lines of tasks.jsonl: their columns are documented, and files of earlier versions can be read."""

import json
import re
from inspect import cleandoc
from pathlib import Path

import msgspec
import pytest

from node_agent.errors import InputError
from node_agent.records import DEVICE_DOWN, TaskRecord, lost_task
from node_agent.wire import Handover, Hop
from testbed.record.reading import read_lines
from testbed.record.task_line import HopLine, TaskLine, way_of
from tests.testbed.record.task_lines import task_line

ROOT = Path(__file__).parents[3]
EARLIER = sorted((ROOT / "tests/compatibility/a9cbd93").rglob("tasks.jsonl"))
# Bytes that version 8b54805 wrote: while a live run went on, at its end, and of a lost task.
WHOLE = (
    b'{"id":7,"device":"cam-1","sample":3,"label":16,"prediction":16,"correct":true,"exit_stage":2,"created_s":0.00001,'
    b'"completed_s":0.17953539498483692,"delay_s":0.1795253949848369,"status":"completed","attempts":2,'
    b'"offers":[["near-2",0.001,false],["near-1",0.0501,true]],"hops":[{"node":"near-1","received_s":0.0513,'
    b'"started_s":0.0513,"finished_s":0.1,"sent_s":0.1,"late_s":0.0,"failed":[["mid-1",0.1,true]]},{"node":"mid-2",'
    b'"received_s":0.15,"started_s":0.15,"finished_s":0.17,"sent_s":0.17,"late_s":0.0004}],"lateness_s":-1.25e-6,'
    b'"forced_exit":false,"reason":null}'
)
ENDED = WHOLE[:-1] + (
    b',"expected_delay_s":0.178,"repeats":[[{"node":"near-2","received_s":0.2,"started_s":0.2,"finished_s":0.25,'
    b'"sent_s":0.25,"late_s":0.0}]]}'
)
LOST = (
    b'{"id":8,"device":"cam-1","sample":0,"label":4,"prediction":null,"correct":null,"exit_stage":null,"created_s":2.0,'
    b'"completed_s":null,"delay_s":null,"status":"lost","attempts":0,"offers":[],"hops":[],"lateness_s":0.0,'
    b'"forced_exit":false,"reason":"its device was down","expected_delay_s":null}'
)


def test_what_devices_tell_is_written_byte_by_byte():
    """Other programs read these lines, so their columns must not change."""
    first = Hop("near-1", 0.0513, 0.0513, 0.1, 0.1, 0.0, (Handover("mid-1", 0.1, taken=True),))
    done = TaskRecord(
        id=7, device="cam-1", sample=3, prediction=16, exit_stage=2, created_s=1e-5, completed_s=0.17953539498483692,
        status="completed", reason=None, attempts=2, lateness_s=-1.25e-6, forced_exit=False,
        hops=(first, Hop("mid-2", 0.15, 0.15, 0.17, 0.17, 0.0004)),
        offers=(Handover("near-2", 0.001), Handover("near-1", 0.0501, taken=True)),
    )  # fmt: skip
    line = TaskLine.of(done, 16)
    assert msgspec.json.encode(line) == WHOLE
    repeats = (way_of([Hop("near-2", 0.2, 0.2, 0.25, 0.25, 0.0)]),)
    assert msgspec.json.encode(msgspec.structs.replace(line, expected_delay_s=0.178, repeats=repeats)) == ENDED
    lost = TaskLine.of(lost_task(8, "cam-1", 0, 2.0, DEVICE_DOWN), 4)
    assert msgspec.json.encode(msgspec.structs.replace(lost, expected_delay_s=None)) == LOST


def test_the_ways_of_a_task_begin_with_its_offers():
    task = msgspec.json.decode(ENDED, type=TaskLine)
    first, second = task.ways
    assert first is task.hops
    assert [hop.node for hop in first + second] == ["near-1", "mid-2", "near-2"]
    assert task.offer_of(first) == Handover("near-1", 0.0501, taken=True)
    assert task.offer_of(second) == Handover("near-2", 0.001)
    assert msgspec.json.decode(WHOLE, type=TaskLine).ways == (first,)
    assert task_line().offer_of(first) is None  # runs of earlier versions have no offers
    assert task.service_lateness_s == 0.0004


def test_lines_of_earlier_versions_are_read_and_nothing_of_them_is_lost(tmp_path):
    recent = tmp_path / "tasks.jsonl"
    recent.write_bytes(b"\n".join((WHOLE, ENDED, LOST)))
    assert len(EARLIER) == 11
    for file in (recent, *EARLIER):
        stated = [json.loads(line) for line in file.read_bytes().splitlines()]
        written = [json.loads(msgspec.json.encode(line)) for line in read_lines(file, TaskLine)]
        assert [{name: line[name] for name in before} for before, line in zip(stated, written, strict=True)] == stated
        assert len(stated) > 2


def test_a_line_that_lacks_a_column_is_refused(tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_bytes(LOST + b"\n" + LOST.replace(b'"attempts":0,', b""))
    lines = read_lines(file, TaskLine)
    assert next(lines).id == 8
    with pytest.raises(InputError, match=r"tasks\.jsonl:2: not as this version records it: .*`attempts`") as caught:
        next(lines)
    assert caught.value.hint


@pytest.mark.parametrize("kind", [TaskLine, HopLine])
def test_every_column_is_documented(kind):
    documented = re.findall(r"^    (\w+): ", cleandoc(kind.__doc__), re.MULTILINE)
    assert tuple(documented) == kind.__struct_fields__
    seconds = [name for name in documented if name.endswith("_s")]
    assert re.findall(r"^    (\w+): [^:]*\[s\]", cleandoc(kind.__doc__), re.MULTILINE) == seconds
