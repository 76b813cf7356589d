"""The registry of delay backends, and the choice of one for a run."""

from collections.abc import Mapping

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.suggest import advice
from testbed.network.delays.backend import DelayBackend
from testbed.network.delays.netem_delay import NetemDelay
from testbed.network.delays.relay_delay import RelayDelay

AUTO = "auto"
_BACKENDS: tuple[type[DelayBackend], ...] = (NetemDelay, RelayDelay)
# By name, in the order in which `auto` prefers them; `auto` takes the last if no other works.
BACKENDS: Mapping[str, type[DelayBackend]] = {backend.name: backend for backend in _BACKENDS}


def choose_backend(wanted: str) -> DelayBackend:
    """The backend of this name, or for `auto` the first that works on this machine.

    Raises:
        InputError: there is no backend of this name.
        EnvironmentLacking: the named backend does not work here.
    """
    *preferred, last = BACKENDS.values()
    if wanted == AUTO:
        return next((backend for backend in preferred if backend.trial().works), last)()
    if wanted not in BACKENDS:
        raise InputError(f"there is no delay backend {wanted!r}", hint=advice(wanted, [AUTO, *BACKENDS]))
    found = BACKENDS[wanted].trial()
    if not found.works:
        others = " or ".join(name for name in BACKENDS if name != wanted)
        mend = f"load the module {found.module}, or " if found.module else ""
        raise EnvironmentLacking(f"{wanted} cannot be used: {found.trouble}", hint=f"{mend}choose the {others} backend")
    return BACKENDS[wanted]()
