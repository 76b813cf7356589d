"""Early-exit models: networks and their sub-models, families, training, exit tables and measured costs.

Samples, exit tables and the list of exits load without torch, for devices and the check of a topology. A network loads
when its sub-models are needed.
"""

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models.bundles.bundle import Bundle
from node_agent.models.bundles.loading import load_bundle
from node_agent.models.bundles.shipped import available_models
from node_agent.models.data_types import Samples
from node_agent.models.lookup import load_model

__all__ = ["Bundle", "ExitTable", "Samples", "available_models", "load_bundle", "load_model"]
