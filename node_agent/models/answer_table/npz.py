"""Tables in numpy's npz format."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from node_agent.errors import InputError
from node_agent.models.answer_table.arrays import MOST_BYTES, PLAN_ROWS, Values, check_layouts, check_names, short
from node_agent.models.npz_archive import NpzArchive

_MOST_FILE_BYTES = MOST_BYTES + 2**16  # with headers and the table of contents
_REMAKE = "write it again, with numpy.savez or with the script of: dtoee-testbed model exporter"


def read_npz(stream: BinaryIO, file: str, *, from_columns: bool = False) -> dict[str, Values]:
    """Return the arrays of a table by name, with the types that the file has. Their values are not checked.

    Args:
        stream: the file; it can be positioned.
        file: its name in messages.
        from_columns: True if the testbed itself wrote the file, from columns; it may have PLAN_ROWS then.

    Raises:
        InputError: the file is no npz, is damaged or too large, or its arrays have wrong names, types or shapes.
    """
    with _in_one_line(file):
        size = stream.seek(0, 2)
        if size > _MOST_FILE_BYTES:
            raise InputError(f"{file}: {size} bytes, more than {MOST_BYTES}", hint="draw a sample of the rows")
        archive = NpzArchive(stream)
        if archive.others:
            raise InputError(f"{file}: {short(archive.others[0])} in the archive is no array", hint=_REMAKE)
    check_names(file, archive.members.keys() - ({PLAN_ROWS} if from_columns else set()))
    layouts = {}
    for name in archive.members:
        with _in_one_line(f"{file}: array {name}"):
            header = archive.header(name)
            layouts[name] = (header.dtype, header.shape)
    check_layouts(file, layouts)
    arrays = {}
    for name in archive.members:
        with _in_one_line(f"{file}: array {name}"):
            arrays[name] = archive.read(name)
    return arrays


@contextmanager
def _in_one_line(place: str) -> Iterator[None]:
    """Turn faults of a file into an InputError that begins with `place`."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{place}: {reason[:200]}", hint=_REMAKE) from error
