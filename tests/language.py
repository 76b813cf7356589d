"""Rules of plain English for docstrings, comments and pages: each is a pattern, with what to write instead.

A text is a paragraph: of a docstring, of a run of comment lines, or of a page. Code, formulas, tables, drawings and
blocks that a command renders are no texts.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs.pages import by_hand

MOST_WORDS = 34  # in a sentence

RULES = {
    r"\btells?\b|\btold\b": "says, shows, reports",
    r"\bhears?\b|\bheard\b": "receives, learns, notices",
    r"\bmeets?\b|\bmet\b": "gets, reaches, handles",
    r"\bleaves? aside\b": "skips, ignores",
    r"\btakes? along\b": "carries, includes",
    r"\bbefell\b|\bbe it that\b|\bwhoever\b|\bso many\b|\bas ever\b|\blet alone\b": "plainer words",
    r"\bis no news\b|\bto be had\b|\bfor good\b": "plainer words",
    r"^(The same|Any|As above|See above)\.?$": "what it is",
    r"\b(of|for|with|to|from|by|on|in|at|about|upon)\.(\s|$)": "the noun after its preposition",
    r"^(What|Whether|How|Where|Who|When|Those|One (that|who|of|more|for))\b(?!.*\?)": "the thing, or what it does",
}
# Openings are capitals; all else counts in either case.
PATTERNS = {
    re.compile(pattern, 0 if pattern.startswith("^(What") else re.IGNORECASE): advice
    for pattern, advice in RULES.items()
}

# Right as they stand: terms, verbs with a particle, names. The words around a hit decide.
ALLOWED = re.compile(
    r"`told`|\bgo(es)? on\.|\bcarr(y|ies) on\.|\bturned on\.|\bheard of\b|\bOne after the other\b|\bOne machine plays\b"
    r"|\bgoals? (is|was|are) met\b|\bhave met (one|a deadline)\b|\bthat exist anyway\b|\bfrom three on\."
)


class Text(NamedTuple):
    """A paragraph and the line where its docstring, comment or page begins it."""

    line: int
    words: str


def faults(path: Path) -> Iterator[str]:
    """Each breach of a rule in a Python module or a Markdown page."""
    texts = python_texts if path.suffix == ".py" else page_texts
    for text in texts(path.read_text(encoding="utf-8")):
        for fault in faults_of(text.words):
            yield f"{path}:{text.line}: {fault}: {text.words[:100]}"


def faults_of(words: str) -> Iterator[str]:
    """Each breach of a rule in a paragraph."""
    rest = ALLOWED.sub("", words)
    for pattern, advice in PATTERNS.items():
        if found := pattern.search(rest):
            yield f"{found[0].strip()!r} (write {advice})"
    for sentence in re.split(r"(?<=[.;:])\s+", words):
        if len(sentence.split()) > MOST_WORDS:
            yield f"a sentence of {len(sentence.split())} words"


def python_texts(source: str) -> Iterator[Text]:
    """The paragraphs of a module's docstrings, and its runs of whole-line comments."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (docstring := ast.get_docstring(node)) is not None:
            yield from paragraphs(docstring, node.body[0].lineno)
    run: list[str] = []
    lines = source.splitlines()
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or not lines[token.start[0] - 1].lstrip().startswith("#"):
            continue
        if token.start[0] != last + 1 and run:
            yield from paragraphs("\n".join(run), last - len(run) + 1)
            run = []
        last = token.start[0]
        run.append(token.string.removeprefix("#").removeprefix(" "))
    if run:
        yield from paragraphs("\n".join(run), last - len(run) + 1)


def page_texts(page: str) -> Iterator[Text]:
    """The paragraphs of a page, without code, tables, rendered blocks and headings."""
    yield from paragraphs(re.sub(r"^#.*", "", by_hand(page), flags=re.MULTILINE), 1)


def paragraphs(text: str, line: int) -> Iterator[Text]:
    """The paragraphs of a text that begins at `line`: also items of lists, but no indented blocks and no tables."""
    for block in re.split(r"\n\s*\n", text):
        begins = line
        line += block.count("\n") + 2
        lines = block.strip("\n").splitlines()
        if not lines or all(re.match(r"\s{4}|\||<!--", each) for each in lines) or is_formula(block):
            continue
        for item in re.split(r"\n(?=\s*(?:[-*]|\d+\.|\w+:) )", block):
            yield Text(begins, " ".join(re.sub(r"^\s*(?:[-*]|\d+\.)\s", "", item).split()))


def is_formula(block: str) -> bool:
    """True if a block holds equations or a drawing, not sentences."""
    return block.count(" = ") > 1 or "-->" in block or "+---" in block or ">>>" in block
