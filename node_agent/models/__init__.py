"""Early-exit models: networks and their sub-models, families, training, exit tables and measured costs.

Samples, exit tables and the list of exits load without torch, for devices and the check of a topology. A network loads
when its sub-models are needed.
"""

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models.bundle import Bundle, available_models, load_bundle
from node_agent.models.finding import load_model
from node_agent.models.tables import Samples

__all__ = ["Bundle", "ExitTable", "Samples", "available_models", "load_bundle", "load_model"]
