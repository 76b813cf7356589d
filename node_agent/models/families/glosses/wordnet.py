"""Definitions of nouns from WordNet 3.0, which Debian's package wordnet-base installs.

Each line of `data.noun` after the licence is a synset: offset, number of its lexicographer file (the category), a
letter, number of words (hexadecimal), then each word with a number; behind a bar the definition, and examples in
quotes (WordNet's manual page wndb(5)).
"""

from dataclasses import dataclass
from functools import cache

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.packages import LANGUAGE_HINT, WORDNET_NOUNS, WORDNET_PACKAGE, WORDNET_VERSION

_LICENCE_BYTES = 4096  # more than the licence has, which stands before the synsets and names the version

# The 20 lexicographer files with the most definitions of nouns. Left out: Tops, feeling, motive, phenomenon, relation,
# shape.
CATEGORIES = {
    4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition", 10: "communication", 11: "event",
    13: "food", 14: "group", 15: "location", 17: "object", 18: "person", 20: "plant", 21: "possession", 22: "process",
    23: "quantity", 26: "state", 27: "substance", 28: "time",
}  # fmt: skip
CLASS_NAMES = tuple(CATEGORIES.values())
_CLASS_OF = {file: number for number, file in enumerate(CATEGORIES)}


@dataclass(frozen=True, slots=True)
class Definition:
    """A synset of nouns."""

    category: int  # index in CLASS_NAMES
    lemmas: frozenset[str]  # the words that share the definition, in lower case
    text: str  # without examples


def check() -> None:
    """Raise EnvironmentLacking if WordNet is missing or has another version."""
    try:
        with WORDNET_NOUNS.open(encoding="utf-8") as stream:
            start = stream.read(_LICENCE_BYTES)
    except OSError as error:
        message = (
            f"training needs the definitions of the Debian package {WORDNET_PACKAGE}: {WORDNET_NOUNS}: {error.strerror}"
        )
        raise EnvironmentLacking(message, hint=LANGUAGE_HINT) from error
    if f"WordNet {WORDNET_VERSION} Copyright" not in start:
        raise EnvironmentLacking(
            f"training needs WordNet {WORDNET_VERSION}, {WORDNET_NOUNS} is of another version", hint=LANGUAGE_HINT
        )


@cache
def definitions() -> tuple[Definition, ...]:
    """Return the definitions of the 20 categories, in the file's order.

    Raises:
        EnvironmentLacking: WordNet is missing or has another version.
        InputError: a line is no synset.
    """
    check()
    found = []
    with WORDNET_NOUNS.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.startswith("  "):  # the licence
                continue
            try:
                definition = parsed(line)
            except (ValueError, IndexError) as error:
                raise InputError(f"{WORDNET_NOUNS}, line {number}: no synset", hint=LANGUAGE_HINT) from error
            if definition is not None:
                found.append(definition)
    return tuple(found)


def parsed(line: str) -> Definition | None:
    """Return the synset of a line; None: of another category. Raises ValueError or IndexError if it is no synset."""
    head, _, gloss = line.partition(" | ")
    fields = head.split()
    category, count = int(fields[1]), int(fields[3], 16)
    if not gloss or len(fields) < 4 + 2 * count:
        raise ValueError("too short")
    if category not in _CLASS_OF:
        return None
    lemmas = frozenset(word.lower() for word in fields[4 : 4 + 2 * count : 2])
    text = gloss.partition('; "')[0].strip().rstrip(";")
    return Definition(_CLASS_OF[category], lemmas, text)
