"""Arrival processes by name, with their parameters: `flash-crowd:peak=x8,at=20 s`, or the same as a mapping."""

from collections.abc import Mapping

from node_agent.errors import InputError
from node_agent.suggest import closest
from testbed.scenario import ArrivalProcess
from testbed.trace.processes.bursty import Bursty
from testbed.trace.processes.diurnal import Diurnal
from testbed.trace.processes.flash_crowd import FlashCrowd
from testbed.trace.processes.mmpp import Mmpp
from testbed.trace.processes.poisson import Poisson
from testbed.trace.processes.ramp import Ramp

PROCESSES: Mapping[str, type[ArrivalProcess]] = {
    each.name: each for each in (Poisson, Bursty, Diurnal, FlashCrowd, Ramp, Mmpp)
}
_HINT = "for example flash-crowd, or {process: flash-crowd, peak: x8, at: 20 s}"


def process_from(value: object) -> ArrivalProcess:
    """Return the arrival process that a topology or a command states.

    Args:
        value: a name; or text, `NAME:KEY=VALUE,...`; or a mapping with the name at `process` and the parameters.

    Raises:
        InputError: there is no such process or parameter, or a value is wrong.

    >>> process_from("diurnal:peak=x1.5").peak
    1.5
    """
    if isinstance(value, ArrivalProcess):
        return value
    name, parameters = _split(value)
    kind = PROCESSES.get(name)
    if kind is None:
        guess = closest(name, PROCESSES)
        hint = f"did you mean {guess}?" if guess else f"known are {', '.join(PROCESSES)}"
        raise InputError(f"there is no arrival process {name[:40]!r}", hint=hint)
    found = {}
    for key, given in parameters.items():
        reader = kind.readers.get(str(key))
        if reader is None:
            known = ", ".join(kind.readers)
            hint = f"known are {known}" if known else f"leave it out: {name} has no parameters"
            raise InputError(f"{name} has no parameter {str(key)[:40]!r}", hint=hint)
        try:
            found[str(key)] = reader(given)
        except InputError as error:
            raise InputError(f"{key}: {error}", hint=error.hint) from None
    return kind(**found)


def _split(value: object) -> tuple[str, Mapping[object, object]]:
    """The name and the parameters, as they are stated."""
    if isinstance(value, Mapping):
        if not isinstance(value.get("process"), str):
            raise InputError("the entry does not name its process", hint=_HINT)
        return value["process"], {key: given for key, given in value.items() if key != "process"}
    if not isinstance(value, str):
        raise InputError(f"{str(value)[:40]!r} is no arrival process", hint=_HINT)
    name, _, rest = value.partition(":")
    parameters: dict[object, object] = {}
    for part in filter(None, rest.split(",")):
        key, equals, given = part.partition("=")
        if not equals:
            raise InputError(f"{part.strip()[:40]!r} is no KEY=VALUE", hint="for example flash-crowd:peak=x8,at=20 s")
        if key.strip() in parameters:
            raise InputError(f"{key.strip()[:40]} is stated twice", hint="keep one of them")
        parameters[key.strip()] = given.strip()
    return name.strip(), parameters
