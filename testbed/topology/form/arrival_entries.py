"""The value of `arrivals` in topology.yaml: the name of an arrival process, or a map with its parameters."""

from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from node_agent.errors import InputError
from testbed.scenario import ArrivalProcess
from testbed.topology.form.values import complaint
from testbed.trace.processes.registry import PROCESSES, process_from

_NAMES = list(PROCESSES)
_PARAMETERS = sorted({key for process in PROCESSES.values() for key in process.readers})
_EXAMPLES = [*_NAMES[:2], "flash-crowd:at=20 s,peak=x8"]
_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": rf"^({'|'.join(_NAMES)})(:.*)?$", "examples": _EXAMPLES},
        {
            "type": "object",
            "properties": {"process": {"enum": _NAMES}, **{key: {"type": ["string", "array"]} for key in _PARAMETERS}},
            "required": ["process"],
            "additionalProperties": False,
        },
    ]
}


def _read(value: object) -> ArrivalProcess:
    try:
        return process_from(value)
    except InputError as error:
        raise complaint(str(error), error.hint) from None


Arrivals = Annotated[ArrivalProcess, PlainValidator(_read), WithJsonSchema(_SCHEMA)]
