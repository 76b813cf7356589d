"""The card of a bundle: what a program reads of it, checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from node_agent.errors import InputError
from node_agent.models.bundles.part_costs import ModelParts
from node_agent.models.data_types import Input
from node_agent.models.families import DEFAULT_FAMILY
from node_agent.models.packages import LANGUAGE

Entry = TypeVar("Entry")

CARD = "card.json"
MOST_CARD_BYTES = 4 * 2**20
MOST_CLASSES = 2**16
MOST_EXITS = 256
_MOST_CHARACTERS = 300  # of a text that is shown
_UNKNOWN_CLASSES = 2**31  # of cards of earlier versions, which need not list them
_FIRST_INPUT = Input((1, 32, 32))  # of cards of earlier versions, which name no form


class OwnCode(msgspec.Struct, frozen=True):
    """The class of a user's file that makes a bundle's network."""

    file: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f/]{1,255}$")]  # name of the file, for people, without a folder
    name: Annotated[str, Meta(pattern=r"^\w{1,255}$")]  # of the class
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # of the file when the bundle was measured


class Lender(msgspec.Struct, frozen=True):
    """The installed package whose weights a network uses, and that a bundle does not hold."""

    package: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,99}$")]
    version: Annotated[str, Meta(pattern=r"^[0-9.]{1,30}$")]
    file: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f/]{1,255}$")]  # in the package
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # of the file
    bytes: Annotated[int, Meta(ge=1)] | None = None  # size of the file; None on cards of earlier versions


def printable(text: str) -> str:
    """Return a text from a foreign file as one line of limited length, without control characters."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}..."


def read_card(path: Path) -> dict[str, Any]:
    """Return the content of a card.

    Raises:
        ValueError: it is no card of this version.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MOST_CARD_BYTES:
        raise ValueError(f"more than {MOST_CARD_BYTES} bytes")
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("lists in lists in lists") from error
    exits = card.get("exits") if isinstance(card, dict) else None
    if not (isinstance(exits, list) and exits and all(type(block) is int for block in exits)):
        raise ValueError("no list of exits")
    if card.get("schema") != 1:
        raise ValueError(f"schema {card.get('schema')!r}, this version reads 1")
    if len(exits) > MOST_EXITS:
        raise ValueError(f"{len(exits)} exits, {MOST_EXITS} at most")
    if exits != sorted(set(exits)) or exits[0] < 1:
        raise ValueError(f"exits {exits} do not rise from 1")
    return card


def _entry(card: Mapping[str, Any], key: str, kind: type[Entry]) -> Entry:
    """Return an entry of a card. Raises ValueError if it is not of this kind."""
    try:
        return msgspec.convert(card[key], kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{key}: {error}") from error


def input_of(card: Mapping[str, Any]) -> Input:
    """Return the form of the samples. Raises ValueError if the card states none that is possible."""
    if "input" not in card:
        return _FIRST_INPUT
    return _entry(card, "input", Input)


def class_count(card: Mapping[str, Any]) -> int:
    """Return the number of classes; a very large number if the card lists none."""
    named = card.get("classes")
    if isinstance(named, int) and 1 <= named <= MOST_CLASSES:
        return named
    return len(named) if isinstance(named, list) and named else _UNKNOWN_CLASSES


def family_of(card: Mapping[str, Any]) -> str:
    """Return the name of the family. Raises ValueError if it is no text."""
    family = card.get("family", DEFAULT_FAMILY)
    if not isinstance(family, str):
        raise ValueError(f"family {family!r} is no name")
    return family


def own_code_of(card: Mapping[str, Any]) -> OwnCode | None:
    """Return the user's class that makes the network; None: a family makes it. Raises ValueError for nonsense."""
    if "code" not in card:
        return None
    return _entry(card, "code", OwnCode)


def lender_of(card: Mapping[str, Any]) -> Lender | None:
    """Return the package whose weights the network borrows; None: there is none. Raises ValueError for nonsense."""
    return _entry(card, "borrows", Lender) if "borrows" in card else None


def check_lender(lender: Lender) -> None:
    """Raise ValueError for a package that no model of the project borrows from: a card may come from anyone."""
    if LANGUAGE.get(lender.package) != lender.version:
        raise ValueError(f"borrows: no model borrows from {lender.package} {lender.version}")


def labels_of(card: Mapping[str, Any]) -> str | None:
    """Return the source of the labels, in words; None: they are known to be true."""
    stated = card.get("labels")
    return printable(stated) if isinstance(stated, str) else None


def check_format(card: Mapping[str, Any], activation: str, name: str) -> None:
    """Raise InputError if the card says why a format of activations does not suit its model, called `name`."""
    unfit = card.get("unfit")
    if isinstance(unfit, dict) and isinstance(reason := unfit.get(activation), str):
        message = f"activation {activation} does not suit {name}: {printable(reason)}"
        raise InputError(message, hint=f"use float16; see dtoee-testbed model profile {name} --formats")


def outside_of(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the number of `tokens` that early exits can answer, and the `share` of labels outside; None: all."""
    stated = card.get("outside")
    if not isinstance(stated, dict):
        return None
    tokens, share = stated.get("tokens"), stated.get("share")
    if not (type(tokens) is int and isinstance(share, float) and 0 <= share <= 1):
        return None
    return {"tokens": tokens, "share": share}


def parts_of(card: Mapping[str, Any], form: Input) -> ModelParts:
    """Return the costs of blocks and exits. Raises ValueError if they do not fit the card's exits and input."""
    parts = _entry(card, "costs", ModelParts)
    exits = card["exits"]
    if len(parts.blocks) != exits[-1] or set(parts.exits) != set(map(str, exits)):
        raise ValueError("costs of other blocks or exits")
    wanted = form.shape if form.varies else (1, *form.shape)
    if parts.input_shape != wanted:
        raise ValueError(f"costs of inputs {list(parts.input_shape)}, but samples are {list(wanted)}")
    varying = [block.output_length is not None for block in parts.blocks]
    if not form.varies and any(varying):
        raise ValueError("costs of activations that vary, but inputs do not")
    return parts
