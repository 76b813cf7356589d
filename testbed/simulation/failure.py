"""How a simulation fails: in one line that names the node."""

from node_agent.errors import TestbedError, in_words


class SimulationFailed(TestbedError):
    """The simulated nodes cannot reach each other, or one of them cannot go on."""


def node_failed(node: str, error: BaseException) -> SimulationFailed:
    """What to raise when a node's own code has raised `error`, for example what its policy has failed with."""
    return SimulationFailed(f"node {node}: {in_words(error)}", hint=getattr(error, "hint", ""))
