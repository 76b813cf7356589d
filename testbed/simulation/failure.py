"""How a simulation fails: in one line that names the node, and the place in the user's own policy if it lies there."""

import traceback
from pathlib import Path

from node_agent.errors import TestbedError
from node_agent.policies.loading import is_file


class SimulationFailed(TestbedError):
    """The simulated nodes cannot reach each other, or one of them cannot go on."""


def node_failed(node: str, policy: str, error: BaseException) -> SimulationFailed:
    """What to raise when a node's own code has raised `error`; `policy` is the name of its policy."""
    hint = error.hint if isinstance(error, TestbedError) else ""
    what = str(error) if isinstance(error, TestbedError) else f"{type(error).__name__}: {error}"
    return SimulationFailed(f"node {node}: {what}", hint=_place_in_policy(policy, error) or hint)


def _place_in_policy(policy: str, error: BaseException) -> str:
    """File and line where the error left the user's policy file; empty if it never was there."""
    if not is_file(policy):
        return ""
    path = Path(policy.rpartition(":")[0]).resolve()
    frames = traceback.extract_tb(error.__traceback__, limit=-100)  # of an endless recursion the end is enough
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path]
    return f"it was raised by {path}, line {lines[-1]}" if lines else ""
