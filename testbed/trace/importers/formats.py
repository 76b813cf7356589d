"""The formats of workload traces that can be imported, by name and by the first line of a file."""

from collections.abc import Mapping

from testbed.trace.error import TraceError
from testbed.trace.importers.contract import Columns, Importer
from testbed.trace.importers.csv_table import shown
from testbed.trace.importers.json_lines import Mooncake, OwnTrace
from testbed.trace.importers.minute_tables import AzureFunctions2019
from testbed.trace.importers.stamp_tables import AzureFunctions2021, AzureLlm, BurstGpt, StampedCsv, is_link_header
from testbed.trace.peeked import PeekedFile

# In the order in which they are asked: the general table is the last one.
IMPORTERS: Mapping[str, Importer] = {
    importer.name: importer
    for importer in (
        AzureFunctions2019(), AzureFunctions2021(), AzureLlm(), BurstGpt(), Mooncake(), OwnTrace(), StampedCsv(),
    )
}  # fmt: skip


def is_importable(first: bytes) -> bool:
    """True if the first line of a file is one of requests in a format other than the testbed's own."""
    if not first or is_link_header(first):
        return False
    return any(each.recognises(first) for each in IMPORTERS.values() if not isinstance(each, OwnTrace))


def importer_of(file: PeekedFile, form: str | None, columns: Columns) -> Importer:
    """Return the importer of a format, or of the format that a file's first line has.

    Raises:
        TraceError: the first line is one of no format.
    """
    if form is not None:
        return IMPORTERS[form]
    if not file.first:
        raise TraceError([f"{file.source}:1: empty"], hint="the file has no request")
    if is_link_header(file.first):
        message = f"{file.source}:{file.first_line}: a network trace, not requests"
        raise TraceError([message], hint="let a link follow it: trace under links; or state --format csv")
    for importer in IMPORTERS.values():
        if importer.recognises(file.first):
            return importer
    if columns.time is not None:
        return IMPORTERS["csv"]
    begin = shown(file.first[:200].decode(errors="replace"))
    message = f"{file.source}:{file.first_line}: no known format begins so: {begin}"
    hint = f"a table of requests needs --time-column NAME; known are {', '.join(IMPORTERS)}"
    raise TraceError([message], hint=hint)
