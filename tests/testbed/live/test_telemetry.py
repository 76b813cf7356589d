"""Telemetry, with real sockets in the agents' place."""

import time

import msgspec
import pytest
import zmq

from node_agent.errors import TestbedError
from node_agent.records import (
    EventRecord,
    Ready,
    SetCapacity,
    Start,
    Stop,
    command_decoder,
    record_encoder,
)
from testbed.live.telemetry import Telemetry

pytestmark = [pytest.mark.timing, pytest.mark.company]


@pytest.fixture
def telemetry(tmp_path):
    with Telemetry(tmp_path) as made:
        yield made


@pytest.fixture
def connect(telemetry):
    """Return a function that connects as the agent of a name; all connections end with the test."""
    context = zmq.Context()

    def begin(name):
        agent = context.socket(zmq.DEALER)
        agent.setsockopt_string(zmq.IDENTITY, name)
        agent.setsockopt(zmq.LINGER, 500)
        agent.connect(telemetry.endpoint)
        return agent

    yield begin
    context.destroy(linger=0)


def listen(telemetry, count):
    """Wait for `count` records; return them in order of arrival."""
    records, deadline_s = [], time.monotonic() + 5
    while len(records) < count and time.monotonic() < deadline_s:
        records += telemetry.listen(0.1)
    assert len(records) == count
    return records


def test_what_agents_tell_comes_in_order(telemetry, connect):
    near = connect("near")
    events = [EventRecord(1.0, "near", "unsent", "1"), EventRecord(2.0, "near", "dropped", "2")]
    batches = [[Ready("near", ())], [], events]
    for batch in batches:
        near.send(record_encoder.encode(batch))
    assert listen(telemetry, 3) == [record for batch in batches for record in batch]


def test_listening_waits_as_long_as_told_and_no_longer(telemetry, connect):
    began_s = time.monotonic()
    assert telemetry.listen(0.0) == []
    assert time.monotonic() - began_s < 0.05
    assert telemetry.listen(0.15) == []
    assert 0.14 < time.monotonic() - began_s < 0.5
    near = connect("near")
    near.send(record_encoder.encode([Ready("near", ())]))
    began_s = time.monotonic()
    assert telemetry.listen(5.0) == [Ready("near", ())]
    assert time.monotonic() - began_s < 1.0


def test_only_who_has_spoken_can_be_told(telemetry, connect):
    near, far = connect("near"), connect("far")
    time.sleep(0.1)
    assert not telemetry.tell("nobody", Stop())
    near.send(record_encoder.encode([Ready("near", ())]))
    far.send(record_encoder.encode([Ready("far", ())]))
    listen(telemetry, 2)
    assert telemetry.tell("near", Start(12.5))
    assert telemetry.tell("near", SetCapacity(1e9))
    assert telemetry.tell("far", Stop())
    assert [command_decoder.decode(near.recv()) for _ in range(2)] == [Start(12.5), SetCapacity(1e9)]
    assert command_decoder.decode(far.recv()) == Stop()
    assert not near.poll(50)


def test_who_has_gone_cannot_be_told(telemetry, connect):
    near = connect("near")
    near.send(record_encoder.encode([Ready("near", ())]))
    listen(telemetry, 1)
    near.close()
    deadline_s = time.monotonic() + 5
    while telemetry.tell("near", Stop()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not telemetry.tell("near", Stop())


def test_an_agent_that_was_started_anew_hears_what_is_meant_for_it(telemetry, connect):
    near = connect("near")
    near.send(record_encoder.encode([Ready("near", ("far",))]))
    assert listen(telemetry, 1) == [Ready("near", ("far",))]
    near.close()
    again = connect("near")
    again.send(record_encoder.encode([Ready("near", ())]))
    assert listen(telemetry, 1) == [Ready("near", ())]
    assert telemetry.tell("near", Start(1.0))
    assert again.poll(2000)
    assert command_decoder.decode(again.recv()) == Start(1.0)


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"\xc1",
        b"hello",
        msgspec.msgpack.encode({"type": "ready", "node": "near"}),
        msgspec.msgpack.encode([{"type": "unheard-of"}]),
        msgspec.msgpack.encode([{"type": "ready", "node": 3, "unreachable": []}]),
        record_encoder.encode([Ready("near", ())])[:-3],
        record_encoder.encode([Ready("near", ())]).replace(b"near", b"n\xff\xfe\xfd"),
    ],
    ids=["empty", "bad-code", "text", "no-list", "unknown", "wrong-type", "cut", "no-text"],
)
def test_telemetry_of_no_meaning_becomes_an_event(telemetry, connect, batch):
    near = connect("near")
    near.send(batch)
    near.send(record_encoder.encode([Ready("near", ())]))
    event, ready = listen(telemetry, 2)
    assert (event.node, event.kind) == ("near", "foreign-telemetry")
    assert event.detail
    assert ready == Ready("near", ())


def test_messages_of_another_form_are_an_error(telemetry, connect):
    connect("near").send_multipart([b"two", b"frames"])
    with pytest.raises(TestbedError, match="no telemetry"):
        telemetry.listen(2.0)
