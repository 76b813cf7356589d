"""The public names of the testbed, for notebooks and other programs (docs/library.md has a list and an example).

These names stay; names of other modules may change. Each name loads its module when it is first used, so that importing
this package is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node_agent.errors import EnvironmentLacking, InputError, TestbedError
    from node_agent.models import Bundle, Samples, available_models, load_bundle, load_model
    from node_agent.models.data_types import Input
    from node_agent.models.images import (
        ImageSet,
        read_cifar,
        read_folder,
        read_idx,
        read_medmnist,
    )
    from node_agent.models.interface import Model
    from node_agent.models.networks.early_exit import EarlyExitModel, Recipe
    from node_agent.policies.base import (
        Candidate,
        PlainPolicy,
        Policy,
        ProportionalPolicy,
        Prospect,
        QueuePolicy,
        ThresholdView,
    )
    from testbed.agree import Agreement, agree
    from testbed.assertions import Assertion, parse_assertion
    from testbed.compare import Comparison, compare
    from testbed.learning.environment import OffloadingEnv
    from testbed.live.experiment import Experiment
    from testbed.optimum.bound import Optimum, bound_for, bound_for_run
    from testbed.record.reading import RecordedRun, read_recorded
    from testbed.record.task_line import TaskLine
    from testbed.run.observer import RunObserver, SilentObserver
    from testbed.run.plan import Outcome, Plan
    from testbed.run.planning import plan_replay, plan_run
    from testbed.scenario import Scenario
    from testbed.simulation.simulator import Simulation
    from testbed.sweep import Sweep, sweep
    from testbed.topology import Topology, TopologyError, load_topology
    from testbed.topology.overrides import Override

_HOMES = {
    "node_agent.errors": ("EnvironmentLacking", "InputError", "TestbedError"),
    "node_agent.models": ("Bundle", "Samples", "available_models", "load_bundle", "load_model"),
    "node_agent.models.networks.early_exit": ("EarlyExitModel", "Recipe"),
    "node_agent.models.images": (
        "ImageSet",
        "read_cifar",
        "read_folder",
        "read_idx",
        "read_medmnist",
    ),
    "node_agent.models.interface": ("Model",),
    "node_agent.models.data_types": ("Input",),
    "node_agent.policies.base": (
        "Candidate",
        "PlainPolicy",
        "Policy",
        "ProportionalPolicy",
        "Prospect",
        "QueuePolicy",
        "ThresholdView",
    ),
    "testbed.agree": ("Agreement", "agree"),
    "testbed.assertions": ("Assertion", "parse_assertion"),
    "testbed.compare": ("Comparison", "compare"),
    "testbed.learning.environment": ("OffloadingEnv",),
    "testbed.live.experiment": ("Experiment",),
    "testbed.optimum.bound": ("Optimum", "bound_for", "bound_for_run"),
    "testbed.record.reading": ("RecordedRun", "read_recorded"),
    "testbed.record.task_line": ("TaskLine",),
    "testbed.run.observer": ("RunObserver", "SilentObserver"),
    "testbed.run.plan": ("Outcome", "Plan"),
    "testbed.run.planning": ("plan_replay", "plan_run"),
    "testbed.scenario": ("Scenario",),
    "testbed.simulation.simulator": ("Simulation",),
    "testbed.sweep": ("Sweep", "sweep"),
    "testbed.topology": ("Topology", "TopologyError", "load_topology"),
    "testbed.topology.overrides": ("Override",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agreement",
    "Assertion",
    "Bundle",
    "Candidate",
    "Comparison",
    "EarlyExitModel",
    "EnvironmentLacking",
    "Experiment",
    "ImageSet",
    "Input",
    "InputError",
    "Model",
    "OffloadingEnv",
    "Optimum",
    "Outcome",
    "Override",
    "PlainPolicy",
    "Plan",
    "Policy",
    "ProportionalPolicy",
    "Prospect",
    "QueuePolicy",
    "Recipe",
    "RecordedRun",
    "RunObserver",
    "Samples",
    "Scenario",
    "SilentObserver",
    "Simulation",
    "Sweep",
    "TaskLine",
    "TestbedError",
    "ThresholdView",
    "Topology",
    "TopologyError",
    "agree",
    "available_models",
    "bound_for",
    "bound_for_run",
    "compare",
    "load_bundle",
    "load_model",
    "load_topology",
    "parse_assertion",
    "plan_replay",
    "plan_run",
    "read_cifar",
    "read_folder",
    "read_idx",
    "read_medmnist",
    "read_recorded",
    "sweep",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module. Raises AttributeError for any other name."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
