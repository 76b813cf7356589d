"""Early-exit models: the network and its cutting, training, exit tables and measured costs.

What a device or the topology check needs (samples, exit tables, which exits exist) loads without torch; the network
itself loads when sub-models are asked for.
"""

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models.bundle import Bundle, available_models, load_bundle
from node_agent.models.tables import Inference, Samples

__all__ = ["Bundle", "ExitTable", "Inference", "Samples", "available_models", "load_bundle"]
