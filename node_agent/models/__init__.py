"""Early-exit models: the network and its sub-models, training, exit tables and measured costs.

Samples, exit tables and the list of exits load without torch, for devices and the check of a topology. The network
loads when its sub-models are needed.
"""

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models.bundle import Bundle, available_models, load_bundle
from node_agent.models.tables import Inference, Samples

__all__ = ["Bundle", "ExitTable", "Inference", "Samples", "available_models", "load_bundle"]
