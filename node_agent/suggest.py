"""`did you mean dto-ee?`: suggestions for an unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 8
_ALIKE = 0.7  # similarity from 0 to 1 (difflib) below which a guess would only confuse


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `word`; None if none is similar enough.

    Case is ignored, and so are hyphens, underscores, dots and blanks.

    >>> closest("dtoee", ["ga", "dto-ee", "dto-ee-2c"]), closest("Near_1", ["near-1"]), closest("x", ["ga"])
    ('dto-ee', 'near-1', None)
    """
    names = list(dict.fromkeys(known))
    plain = [name for name in names if _plain(name) == _plain(word)]
    if plain:
        return plain[0]
    found = get_close_matches(word, names, n=1, cutoff=_ALIKE)
    if not found:
        by_plain = {_plain(name): name for name in reversed(names)}
        found = [by_plain[like] for like in get_close_matches(_plain(word), by_plain, n=1, cutoff=_ALIKE)]
    return found[0] if found else None


def advice(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the hint for an unknown name: a similar known name, or else `otherwise`, or else the known names."""
    names = list(dict.fromkeys(known))
    guess = closest(word, names)
    if guess is not None:
        return f"did you mean {guess}?"
    return otherwise or f"known: {listed(names)}"


def listed(names: Iterable[str]) -> str:
    """Return the first `MOST_LISTED` names in one line, and the total count if there are more."""
    every = list(names)
    shown = ", ".join(every[:MOST_LISTED])
    return shown if len(every) <= MOST_LISTED else f"{shown}, … ({len(every)} in all)"


def _plain(word: str) -> str:
    return "".join(character for character in word.lower() if character not in "-_. ")
