"""Fixtures for tests on the real kernel: each backend that works here, and proof that nothing stays behind."""

import os
import uuid

import psutil
import pytest

from testbed.host.ledger import Ledger, ledger_root
from testbed.network import EmulatedNetwork
from testbed.network.delays.choice import BACKENDS
from tests import belongings


@pytest.fixture(params=list(BACKENDS)[::-1])
def backend(request):
    found = BACKENDS[request.param].trial()
    if not found.works:
        if os.environ.get(f"DTOEE_REQUIRE_{request.param.upper()}"):
            pytest.fail(f"{request.param} is required here: {found.trouble}")
        pytest.skip(f"no {request.param} on this machine: {found.trouble}")
    return request.param


@pytest.fixture
def build(backend):
    """A function that starts a network for a scenario; the network is stopped afterwards, and must leave nothing."""
    children = {process.pid for process in psutil.Process().children(recursive=True)}
    interfaces = belongings.interfaces()
    started, used = [], set()

    def start(scenario):
        ledger = Ledger(f"test-{uuid.uuid4().hex[:8]}")
        network = EmulatedNetwork(scenario, run_id=ledger.run_id, ledger=ledger, backend=backend)
        started.append((network, ledger))
        network.start()
        assert network.backend == backend
        assert belongings.interfaces() <= interfaces, "something was made in the root namespace"
        used.update(os.stat(network.namespace_path(name)).st_ino for name in network.plan.short)
        return network

    yield start
    for network, ledger in started:
        network.stop()
        network.stop()
        assert ledger.close() == [], "stop left this to the ledger"
        assert not (ledger_root() / ledger.run_id).exists()
    left = {process.pid for process in psutil.Process().children(recursive=True)} - children
    assert not left
    assert not used & belongings.namespaces()
