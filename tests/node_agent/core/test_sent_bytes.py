"""Nodes count the bytes that they send to each peer, if their configuration says so."""

from node_agent.core.outbox import Outbox
from node_agent.wire import Probe, Status, Tensor, TensorForm, message_bytes

FORM = TensorForm("uint8", (1000,))


def test_an_outbox_counts_messages_with_their_tensors_by_peer():
    outbox = Outbox("a")
    outbox.sent_bytes = {}
    probe = Probe(1, FORM)
    outbox.send_data("b", probe, Tensor(FORM, bytes(1000)))
    outbox.send_control("b", Status(3))
    outbox.send_control("c", Status(3))
    status_bytes = message_bytes(Status(3), None)
    assert outbox.take_sent_bytes() == {"b": message_bytes(probe, 1000) + status_bytes, "c": status_bytes}
    assert outbox.take_sent_bytes() == {}


def test_it_counts_nothing_unless_it_is_asked():
    outbox = Outbox("a")
    outbox.send_control("b", Status(3))
    assert outbox.take_sent_bytes() == {}
