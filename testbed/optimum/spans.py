"""Sentences on parts of a run, with the time to which each applies."""

from collections.abc import Iterable, Iterator


def joined(said: Iterable[tuple[float, float, str]], duration_s: float) -> Iterator[str]:
    """Join adjoining parts with the same sentence, and put its time before each sentence that does not hold throughout.

    Args:
        said: (begin [s], end [s], sentence) of parts of the run, sorted by time.
        duration_s: the length of the run [s].
    """
    spans: dict[tuple[str, float], float] = {}  # (sentence, end) -> begin
    for begin_s, end_s, sentence in said:
        spans[sentence, end_s] = spans.pop((sentence, begin_s), begin_s)
    for (sentence, end_s), begin_s in spans.items():
        whole = begin_s <= 0 and end_s >= duration_s
        yield sentence if whole else f"from {begin_s:g} to {end_s:g} s: {sentence}"
