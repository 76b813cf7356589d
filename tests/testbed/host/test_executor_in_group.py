"""A sub-model's process inside a control group: slowed down, and ended above its memory limit."""

import os
import select
import time

import numpy as np
import pytest

from node_agent.core.events import ComputeFinished
from node_agent.errors import TestbedError
from node_agent.models.tensors import as_tensor
from node_agent.process.executor import QuotaExecutor
from node_agent.wire import Tensor
from tests.node_agent.process.test_executor import IMAGE, answer, child_of, collect

pytestmark = pytest.mark.timing


@pytest.mark.root
def test_a_control_group_slows_the_process_and_not_its_parent(tmp_path):
    from testbed.host.cpu_quota import CpuCgroup, hierarchies
    from testbed.host.ledger import Ledger

    if hierarchies() is None:
        pytest.skip("no control groups for the CPU here")

    def burn(tensor: Tensor) -> ComputeFinished:
        end_s = time.process_time() + 0.02
        while time.process_time() < end_s:
            pass
        return answer(tensor)

    def median_s(executor: QuotaExecutor) -> float:
        times_s = []
        for _ in range(9):
            time.sleep(0.02)  # until the last job no longer counts against the quota
            began_s = time.monotonic()
            executor.start(IMAGE, 0.0, 0.0)
            collect(executor)
            times_s.append(time.monotonic() - began_s)
        return sorted(times_s)[4]

    with Ledger(f"test-quota-{os.getpid()}", root=tmp_path) as ledger:
        group = CpuCgroup.create("server", 0.2, ledger)
        executor = QuotaExecutor(burn, [str(path) for path in group.procs_paths])
        executor.start(IMAGE, 0.0, 0.0)
        collect(executor)
        assert group.procs_path.read_text().split() == [str(child_of(executor))]
        assert 0.07 < median_s(executor) < 0.2  # 20 ms of work at a fifth of a CPU
        group.set_quota(0.5)
        assert 0.03 < median_s(executor) < 0.075
        executor.close()
        assert group.procs_path.read_text() == ""
        group.remove()


@pytest.mark.root
def test_a_sub_model_above_its_memory_limit_ends_and_the_error_says_so(tmp_path):
    from testbed.host.cpu_quota import CpuCgroup, hierarchies
    from testbed.host.ledger import Ledger

    if (found := hierarchies()) is None or found.memory is None:
        pytest.skip("no memory controller here")
    with Ledger(f"test-memory-{os.getpid()}", root=tmp_path) as ledger:
        group = CpuCgroup.create("server", 1.0, ledger, memory_bytes=32 << 20)
        executor = QuotaExecutor(
            lambda tensor: answer(tensor, activation=as_tensor(np.ones(50 << 20, np.uint8))),
            [str(path) for path in group.procs_paths],
        )
        executor.start(IMAGE, 0.0, 0.0)
        assert select.select([executor.fileno()], [], [], 10.0)[0]
        with pytest.raises(TestbedError) as caught:
            executor.collect(0.0)
        assert "memory limit" in caught.value.hint
        executor.close()
        group.remove()
