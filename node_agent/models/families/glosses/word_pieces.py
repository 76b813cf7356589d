"""Texts as token numbers and back: WordPiece over a vocabulary (Devlin et al., BERT, 2018, section 3).

A text is split into words and signs, in lower case and without accents. A word becomes the longest piece of the
vocabulary at its beginning, then the longest piece that continues it, until it ends.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

BEGIN, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
CONTINUED = "##"  # stands before pieces that continue a word
_WORDS = re.compile(r"[!-/:-@[-`{-~]|[^\s!-/:-@[-`{-~]+")  # a sign of ASCII, or what stands between signs and spaces
_MOST_LETTERS = 100  # of a word that is split; BERT's limit


class WordPieces:
    """A vocabulary, and texts in it. A token is the place of its piece in the vocabulary."""

    def __init__(self, pieces: Sequence[str]) -> None:
        """`pieces` are texts of tokens, without spaces; raises ValueError if [CLS], [SEP] or [UNK] is missing."""
        self.pieces = tuple(pieces)
        self._number = {piece: number for number, piece in enumerate(self.pieces)}
        if missing := [piece for piece in (BEGIN, END, UNKNOWN) if piece not in self._number]:
            raise ValueError(f"the vocabulary lacks {missing[0]}")

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.pieces))

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, [CLS] and [SEP] included."""
        found = [self._number[BEGIN]]
        for word in _WORDS.findall(_plain(text)):
            found.extend(self._split(word))
        return [*found, self._number[END]]

    def _split(self, word: str) -> list[int]:
        found: list[int] = []
        begin = 0 if len(word) <= _MOST_LETTERS else None
        while begin is not None and begin < len(word):
            for end in range(min(len(word), begin + self._longest), begin, -1):
                number = self._number.get((CONTINUED if begin else "") + word[begin:end])
                if number is not None:
                    found.append(number)
                    begin = end
                    break
            else:
                begin = None
        return [self._number[UNKNOWN]] if begin is None else found

    def text(self, tokens: Iterable[int]) -> str:
        """Return tokens as text: words and signs with spaces between them, without [CLS] and [SEP].

        Raises:
            IndexError: the vocabulary has no such token.
        """
        return " ".join(self._words(tokens))

    def _words(self, tokens: Iterable[int]) -> Iterator[str]:
        word = ""
        for token in tokens:
            piece = self.pieces[token]
            if word and piece.startswith(CONTINUED):
                word += piece.removeprefix(CONTINUED)
                continue
            if word:
                yield word
            word = "" if piece in (BEGIN, END) else piece
        if word:
            yield word


def _plain(text: str) -> str:
    """Lower case, without accents and control characters, with spaces around the signs that ASCII lacks."""
    return "".join(map(_plain_letter, unicodedata.normalize("NFD", text).lower()))


def _plain_letter(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Zs" or letter in "\t\n\r":
        return " "
    if kind == "Mn" or kind.startswith("C"):
        return ""
    return f" {letter} " if kind.startswith("P") and not letter.isascii() else letter
