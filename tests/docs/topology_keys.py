"""The tables of the keys and units of topology.yaml, rendered from its JSON Schema and from `testbed.units`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from testbed import units
from testbed.topology.topology_file import topology_json_schema_text
from tests.bench.markdown import table

ENTRIES = {
    "ModelEntry": "model", "CostEntry": "model.cost",
    "PolicyEntry": "policy", "DeviceEntry": "devices.NAME", "ServerEntry": "servers.NAME",
    "PowerEntry": "power of devices and servers", "LinkEnergyEntry": "energy of links",
    "LinkEntry": "links[]", "TracedLinkEntry": "links[] with a trace", "TraceEntry": "links[].trace",
    "TracePair": "links[].trace, two directions", "DeviceEvent": "events[] of a device",
    "ServerEvent": "events[] of a server", "LinkEvent": "events[] of a link", "NodeEvent": "events[] of a node",
}  # fmt: skip


def keys() -> list[str]:
    """The keys of each entry, with their meaning, an example or the choices, and whether they are needed."""
    schema = json.loads(topology_json_schema_text())
    definitions = schema["$defs"]
    rows = list(_rows("", schema, definitions))
    for definition, place in ENTRIES.items():
        rows += _rows(place, definitions[definition], definitions)
    return table(("entry", "key", "meaning", "value", "default"), rows)


def _rows(place: str, entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for number, (key, field) in enumerate(entry["properties"].items()):
        described = field if "description" in field else definitions[field["$ref"].rpartition("/")[2]]
        line = described["description"]
        default = "**needed**" if key in entry.get("required", []) else _default(field.get("default"))
        yield (f"`{place}`" if place and not number else "", f"`{key}`", line, _value(field), default)


def _default(value: Any) -> str:
    return "" if value is None else f"`{json.dumps(value)}`".replace('"', "")


def _value(field: Mapping[str, Any]) -> str:
    """An example of what may stand there, or the choices."""
    if "enum" in field:
        return " or ".join(f"`{choice}`" for choice in field["enum"])
    forms = [each for each in field.get("anyOf", [field]) if "const" not in each]
    examples = dict.fromkeys(f"`{example}`" for form in forms for example in form.get("examples", []))
    if examples:
        return ", ".join(examples)
    kinds = {
        "integer": "whole number", "number": "number", "boolean": "true or false", "array": "list", "object": "map",
        "string": "text",
    }  # fmt: skip
    named = dict.fromkeys(kinds.get(form.get("type", ""), "") for form in forms)
    return " or ".join(filter(None, named))


def dimensions() -> list[str]:
    """The units of each kind of quantity."""
    rows = [
        (dimension.bare_name, ", ".join(f"`{unit}`" for unit in dimension.units if unit.isascii()),
         f"`{dimension.example}`")
        for dimension in units.DIMENSIONS
    ]  # fmt: skip
    return table(("quantity", "units", "example"), rows)
