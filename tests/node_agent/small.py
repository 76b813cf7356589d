"""Configurations and samples of the smallest nodes: images of 64 bytes, one stage."""

from node_agent.core.config import NodeConfig, Timeouts
from node_agent.models.interface import Inputs
from node_agent.wire import InputForm, Tensor, TensorForm

IMAGE = TensorForm("uint8", (1, 8, 8))
PICTURE = Tensor(IMAGE, bytes(64))


def node_config(name, stage, *, offloaders=(), receivers=(), timeouts=None):
    return NodeConfig(
        name=name,
        stage=stage,
        stages=1,
        offloaders=offloaders,
        receivers=receivers,
        rank=0,
        peers_in_stage=1,
        declared_rate_per_s=20.0,
        slot_s=10.0,
        policy="computing-first",
        parameters={},
        theta_s=2.0,
        seed=1,
        input_form=InputForm(IMAGE) if stage else None,
        onward_form=None if stage else InputForm(IMAGE),
        timeouts=timeouts or Timeouts(),
    )


class Numbers(Inputs):
    """Samples whose pictures consist of their number, 0..255."""

    def tensor(self, sample):
        return Tensor(IMAGE, bytes([sample]) * IMAGE.byte_count)
