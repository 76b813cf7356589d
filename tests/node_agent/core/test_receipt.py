"""A node reports when a message arrived, not when the node came to handle it."""

import pytest

from node_agent.core.events import ComputeFinished, Received, RunStarted, Send
from node_agent.core.machine import ServerCore
from node_agent.wire import Ack, Offer, Probe, ProbeAck, Report, Result, Task
from tests.node_agent.small import IMAGE, PICTURE, node_config
from tests.node_agent.virtual import synthetic_table

CAME_S, NOW_S = 3.0, 3.25


@pytest.fixture
def server() -> ServerCore:
    core = ServerCore(node_config("server", 1, offloaders=("cam",)), synthetic_table(1))
    core.handle(RunStarted(), 0.0)
    return core


def sent(effects, kind):
    return [effect.message for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def test_of_a_task_in_its_acknowledgement_and_its_hop(server):
    task = Task(1, "cam", 1, 1, 2.9, (), IMAGE)
    (ack,) = sent(server.handle(Received("cam", task, PICTURE, CAME_S), NOW_S), Ack)
    assert ack.received_s == CAME_S
    (result,) = sent(server.handle(ComputeFinished(1, 0.9, None, overrun=False), 3.5), Result)
    assert (result.hops[0].received_s, result.hops[0].started_s) == (CAME_S, NOW_S)


def test_of_a_probe(server):
    (ack,) = sent(server.handle(Received("cam", Probe(7, IMAGE), PICTURE, CAME_S), NOW_S), ProbeAck)
    assert ack.received_s == CAME_S


def test_of_an_offer_as_the_time_of_its_link(server):
    offer = Offer(0, 0, 5.0, ((5.0, ()),), 2.98, False, True)
    (report,) = sent(server.handle(Received("cam", offer, None, CAME_S), NOW_S), Report)
    assert report.offer_s == pytest.approx(0.02)
