"""A sub-model without its modules against the modules themselves."""

from collections.abc import Sequence

import torch
from torch import nn

from node_agent.models.networks.early_exit import EarlyExitModel


def same_as_modules(network: EarlyExitModel, ends: Sequence[int], x: torch.Tensor) -> None:
    """Assert that the straight form of each sub-model of a cut answers bit for bit as its modules do."""
    for begin, end in zip((0, *ends), ends, strict=False):
        body, head = [network.part(block) for block in range(begin + 1, end + 1)], network.head(end)
        before = x.clone()
        with torch.inference_mode():
            onward = nn.Sequential(*body)(x)
            logits = head(onward)
            found, found_logits = network.straight(body, head)(x)
        assert torch.equal(x, before)  # what it is given stays as it was
        assert torch.equal(found_logits, logits)
        assert torch.equal(found, onward)
        x = onward
