"""Agents as a run makes them: with the shipped model, and at their own priority."""

import mmap
import os
import time

import msgspec
import pytest

from node_agent.core.events import ComputeFinished
from node_agent.models import load_bundle
from node_agent.process import assemble
from node_agent.process.assemble import make_device, make_server
from node_agent.process.executor import inference
from node_agent.process.punctual import REAL_TIME
from node_agent.records import Ready, Start
from node_agent.wire import Result, Task, Tensor
from tests.node_agent.process.addresses import fresh_address
from tests.node_agent.small import Numbers, node_config
from tests.node_agent.virtual import synthetic_table

pytestmark = [pytest.mark.timing, pytest.mark.company]

SAMPLES = range(0, 1900, 100)
OWN = """
from node_agent.policies.base import PlainPolicy

class Own(PlainPolicy):
    pass
"""


def test_a_live_server_answers_what_the_bundle_records(stage):
    """Real work: prediction and confidence, picture by picture."""
    bundle = load_bundle("glyphs")
    scores, (sub_model,) = bundle.scores((5,)), bundle.sub_models((5,), "float32")
    picture = sub_model.input_form.usual
    node = msgspec.structs.replace(node_config("server", 1, offloaders=("cam",)), input_form=sub_model.input_form)
    config = stage.config(node, fresh_address(), {}, ())
    stage.start(config, make_server(config, sub_model, synthetic_table(1)))
    cam = stage.peer("cam", {"server": config.address})
    stage.wait(Ready)
    stage.tell("server", Start(time.monotonic()))
    for row in SAMPLES:
        image = bundle.evaluation.images[row : row + 1]
        cam.say("server", Task(row, "cam", 1, 1, 0.0, (), picture), Tensor(picture, image.tobytes()))
    results = [cam.hear(Result) for _ in SAMPLES]
    assert [result.task_id for result in results] == list(SAMPLES)
    assert [result.prediction for result in results] == scores.prediction[list(SAMPLES), 0].tolist()
    confidences = [result.confidence for result in results]
    assert confidences == pytest.approx(scores.confidence[list(SAMPLES), 0].tolist(), abs=1e-4)
    assert len(set(confidences)) == len(SAMPLES)


@pytest.mark.parametrize(("quota", "least"), [(False, 2), (True, 1)], ids=["paced", "quota"])
def test_a_server_is_warm_before_it_is_ready(stage, tmp_path, monkeypatch, quota, least):
    """The sub-model has answered once, in the serving process, before a task can reach it."""
    (sub_model,) = load_bundle("glyphs").sub_models((5,), "float32")
    count = mmap.mmap(-1, 8)  # shared with the process that computes under a quota

    def counted(sub_model):
        # torch hangs in a child that is forked by a process in which it has threads, as this one.
        infer = (lambda _: ComputeFinished(1, 0.9, None, overrun=False)) if quota else inference(sub_model)

        def counting(tensor):
            finished = infer(tensor)
            count[0] += 1
            return finished

        return counting

    monkeypatch.setattr(assemble, "inference", counted)
    node = msgspec.structs.replace(node_config("server", 1, offloaders=("cam",)), input_form=sub_model.input_form)
    config = stage.config(node, fresh_address(), {}, ())
    if quota:
        (tmp_path / "procs").touch()
        config = msgspec.structs.replace(config, quota_procs_paths=(str(tmp_path / "procs"),))
    agent = make_server(config, sub_model, synthetic_table(1))
    assert quota or count[0] == least  # under a quota it may still be under way
    stage.start(config, agent)
    stage.wait(Ready)
    assert count[0] == least


@pytest.mark.root
def test_an_agent_with_a_policy_of_the_users_own_runs_at_normal_priority(stage, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (sub_model,) = load_bundle("glyphs").sub_models((5,), "float32")
    policies = {"shipped": ("computing-first", REAL_TIME), "own": (f"{tmp_path}/own.py:Own", os.SCHED_OTHER)}
    for name, (policy, _) in policies.items():
        for stage_number, kind in enumerate(("device", "server")):
            node = msgspec.structs.replace(node_config(f"{name}-{kind}", stage_number), input_form=None)
            config = stage.config(msgspec.structs.replace(node, policy=policy), fresh_address(), {}, ())
            if kind == "device":
                agent = make_device(config, Numbers())
            else:
                agent = make_server(config, sub_model, synthetic_table(1))
            stage.start(config, agent)
    stage.wait(Ready, 4)
    for name, (_, priority) in policies.items():
        assert [stage.priority(f"{name}-{kind}") for kind in ("device", "server")] == [priority, priority]
