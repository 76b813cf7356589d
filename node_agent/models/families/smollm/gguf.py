"""Reads GGUF files: their metadata, and their tensors as float32.

Nothing is believed before it is checked: counts, lengths and places are compared with bounds and with the size of the
file before memory is taken. Every fault is a ValueError or an OSError.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3 in little-endian order. Three types of
tensors are read: F32, Q8_0 and Q4_1.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]

MOST_ENTRIES = 2**16  # entries of the metadata, and tensors
MOST_VALUES = 2**20  # of an array in the metadata
MOST_CHARACTERS = 2**20  # of a text [byte]
MOST_WEIGHTS = 2**28  # of a tensor
_MOST_DIMENSIONS = 4
_BLOCK = 32  # weights that share a scale

_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """The shape of a tensor and its place in the file."""

    shape: tuple[int, ...]  # (outputs, inputs) of a matrix; the file states dimensions in the opposite order
    kind: int  # 0: F32, 3: Q4_1, 8: Q8_0
    offset: int  # of its first byte in the file

    @property
    def byte_count(self) -> int:
        """Bytes of its data."""
        kind = _KINDS[self.kind]
        return math.prod(self.shape) // kind.weights * kind.size


@dataclass(frozen=True, slots=True)
class Gguf:
    """The content of a file: metadata at once, tensors on demand."""

    path: Path
    metadata: Mapping[str, Any]  # numbers, texts and lists of them
    tensors: Mapping[str, TensorPlace]

    def tensor(self, name: str, shape: tuple[int, ...]) -> Weights:
        """Return a tensor as float32.

        Args:
            name: of the tensor.
            shape: that it must have.

        Raises:
            ValueError: there is no such tensor, or it has another shape.
            OSError: the file cannot be read.
        """
        place = self.tensors.get(name)
        if place is None:
            raise ValueError(f"it has no tensor {name[:80]!r}")
        if place.shape != shape:
            raise ValueError(f"tensor {name} has the shape {list(place.shape)}, not {list(shape)}")
        with self.path.open("rb") as stream:
            stream.seek(place.offset)
            raw = stream.read(place.byte_count)
        if len(raw) != place.byte_count:
            raise ValueError(f"tensor {name}: the file ends too early")
        return _KINDS[place.kind].read(raw).reshape(shape)


def read_gguf(path: Path) -> Gguf:
    """Return the metadata of a file and the places of its tensors.

    Raises:
        ValueError: it is damaged, of another version, or holds tensors of another type.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = _Header(stream, size)
        if header.take(4) != b"GGUF":
            raise ValueError("no GGUF file")
        if (version := header.number("<I")) != 3:
            raise ValueError(f"GGUF of version {version}, only 3 is read")
        tensor_count = header.count("<Q", MOST_ENTRIES, "tensors")
        entry_count = header.count("<Q", MOST_ENTRIES, "entries of metadata")
        metadata = {}
        for _ in range(entry_count):
            key = header.text()
            metadata[key] = header.value(header.number("<I"))
        stated = [_stated_tensor(header) for _ in range(tensor_count)]
        begin = _aligned(header.position, metadata.get("general.alignment", 32))
    tensors = {}
    for name, shape, kind, offset in stated:
        place = TensorPlace(shape, kind, begin + offset)
        if place.offset + place.byte_count > size:
            raise ValueError(f"tensor {name}: the file ends too early")
        tensors[name] = place
    return Gguf(path, metadata, tensors)


def _stated_tensor(header: "_Header") -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, type and offset behind the header of a tensor, checked."""
    name = header.text()
    count = header.count("<I", _MOST_DIMENSIONS, f"dimensions of tensor {name[:80]!r}")
    shape = tuple(header.number("<Q") for _ in range(count))[::-1]
    if not shape or not all(shape) or math.prod(shape) > MOST_WEIGHTS:
        raise ValueError(f"tensor {name[:80]!r}: a shape of {list(shape)}")
    kind = header.number("<I")
    if kind not in _KINDS:
        raise ValueError(f"tensor {name[:80]!r} is of type {kind}; 0 (F32), 3 (Q4_1) and 8 (Q8_0) are read")
    if shape[-1] % _KINDS[kind].weights:
        raise ValueError(f"tensor {name[:80]!r}: rows of {shape[-1]} are no blocks of {_BLOCK}")
    return name, shape, kind, header.number("<Q")


def _aligned(position: int, alignment: object) -> int:
    if type(alignment) is not int or not 1 <= alignment <= 2**16:
        raise ValueError(f"an alignment of {str(alignment)[:40]}")
    return -(-position // alignment) * alignment


class _Header:
    """A stream that is read in order, and never beyond its end."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size, self.position = stream, size, 0

    def take(self, count: int) -> bytes:
        if self.position + count > self._size:
            raise ValueError("the file ends too early")
        self.position += count
        found = self._stream.read(count)
        if len(found) != count:
            raise ValueError("the file ends too early")
        return found

    def number(self, form: str) -> Any:  # noqa: ANN401 - an int, a float or a bool
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, form: str, most: int, what: str) -> int:
        found = int(self.number(form))
        if found > most:
            raise ValueError(f"{found} {what}, {most} at most")
        return found

    def text(self) -> str:
        raw = self.take(self.count("<Q", MOST_CHARACTERS, "bytes of a text"))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ValueError("a text that is not UTF-8") from error

    def value(self, kind: int) -> Any:  # noqa: ANN401 - see `Gguf.metadata`
        """Return a number, a text, or a list of them; lists in lists are refused."""
        if kind != _ARRAY:
            return self._single(kind)
        inner = self.number("<I")
        count = self.count("<Q", MOST_VALUES, "values in a list")
        if inner in _NUMBERS:
            form = f"<{count}{_NUMBERS[inner][1]}"
            return list(struct.unpack(form, self.take(struct.calcsize(form))))
        return [self._single(inner) for _ in range(count)]

    def _single(self, kind: int) -> Any:  # noqa: ANN401 - see `value`
        if kind == _TEXT:
            return self.text()
        if kind not in _NUMBERS:
            raise ValueError(f"a value of type {kind}, which is not read")
        return self.number(_NUMBERS[kind])


def _f32(raw: bytes) -> Weights:
    return np.frombuffer(raw, "<f4").astype(np.float32)


def _q8_0(raw: bytes) -> Weights:
    """Blocks of a float16 scale d and 32 int8 numbers q: x = d q."""
    blocks = np.frombuffer(raw, np.dtype([("d", "<f2"), ("q", "i1", _BLOCK)]))
    scaled: Weights = blocks["d"].astype(np.float32)[:, None] * blocks["q"]
    return scaled.reshape(-1)


def _q4_1(raw: bytes) -> Weights:
    """Blocks of float16 numbers d and m, and 16 bytes: x = d q + m.

    The low halves of the bytes are the numbers q of weights 0 to 15, the high halves those of 16 to 31.
    """
    blocks = np.frombuffer(raw, np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", _BLOCK // 2)]))
    q = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1).astype(np.float32)
    q *= blocks["d"].astype(np.float32)[:, None]
    q += blocks["m"].astype(np.float32)[:, None]
    return q.reshape(-1)


@dataclass(frozen=True, slots=True)
class _Kind:
    """The form in which a type of tensor stores its weights."""

    weights: int  # in a block
    size: int  # of a block [byte]
    read: Callable[[bytes], Weights]


_KINDS = {0: _Kind(1, 4, _f32), 3: _Kind(_BLOCK, 20, _q4_1), 8: _Kind(_BLOCK, 34, _q8_0)}
