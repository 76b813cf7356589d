"""Builds agents from their configurations."""

from node_agent.core.machine import DeviceCore, ServerCore
from node_agent.dtoee.exit_table import ExitTable
from node_agent.models.interface import Inputs, SubModel
from node_agent.policies.loading import is_file
from node_agent.process.agent import Agent, AgentConfig
from node_agent.process.executor import PacedExecutor, QuotaExecutor, inference
from node_agent.process.planner import Planner
from node_agent.process.punctual import Priority
from node_agent.wire import Tensor


def make_device(config: AgentConfig, inputs: Inputs) -> Agent:
    """Return the agent of an end device that offers `inputs`."""
    return Agent(config, DeviceCore(config.node), _priority(config), inputs=inputs)


def make_server(config: AgentConfig, sub_model: SubModel, table: ExitTable) -> Agent:
    """Return the agent of an edge server that hosts `sub_model`; `table` is the exit table of the cut.

    Forks if compute is limited by quota, or if the server is the coordinator. Call it before this process has threads.
    """
    infer = inference(sub_model)
    priority = _priority(config)
    executor: PacedExecutor | QuotaExecutor
    if not config.quota_procs_paths:
        executor = PacedExecutor(infer, config.capacity_flop_per_s, config.time_scale, priority)
    else:
        executor = QuotaExecutor(infer, config.quota_procs_paths)
    if config.node.input_form is not None:
        form = config.node.input_form.usual
        executor.warm_up(Tensor(form, bytes(form.byte_count)))
    core = ServerCore(config.node, table)
    coordinates = config.node.coordinator == config.node.name
    planner = Planner(core.routing.policy, table) if coordinates else None
    return Agent(config, core, priority, executor=executor, planner=planner)


def _priority(config: AgentConfig) -> Priority:
    """Return real-time priority; normal priority for a user's own policy, which may compute for long."""
    return Priority(real_time=not is_file(config.node.policy))
