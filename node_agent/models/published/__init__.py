"""The costs of large architectures, from their published dimensions: FLOP, activations and parameters of each stage.

A topology with `cost: resnet101` paces its servers and fills its messages by these costs, while another model answers
the tasks. Loads no torch. One module per kind of architecture; `published` finds one by its name.
"""

from node_agent.errors import InputError
from node_agent.models.published.costs import PublishedCosts, StageCost, Work
from node_agent.models.published.decoder import GPT2, LLAMA_7B
from node_agent.models.published.encoder import BERT_BASE
from node_agent.models.published.resnet import RESNET101
from node_agent.models.published.vit import VIT_B16
from node_agent.suggest import advice

__all__ = ["PublishedCosts", "StageCost", "Work", "available_costs", "published"]

_KNOWN = {costs.name: costs for costs in (RESNET101, VIT_B16, BERT_BASE, GPT2, LLAMA_7B)}


def available_costs() -> tuple[str, ...]:
    """Names of the architectures whose costs are known, images first."""
    return tuple(_KNOWN)


def published(name: str) -> PublishedCosts:
    """The costs of the architecture called `name`, such as "resnet101".

    Raises:
        InputError: its costs are not known.
    """
    if name not in _KNOWN:
        raise InputError(f"unknown published costs {name!r}", hint=advice(name, _KNOWN))
    return _KNOWN[name]
