"""
Rules for names and prose that a program can check.

They cover the package, the tests, the benchmarks and the documents that people read.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("openrouter_async", "tests", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "*.toml",
        "benchmarks/*.md",
        "tests/**/*.md",
        "docs/**/*.md",
    )
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)

FORBIDDEN_STARTS = re.compile(r"(What|Whether|Who|How)\b")
# `\s+`, because a phrase may be broken over two lines.
FORBIDDEN_PHRASES = re.compile(
    r"\bcan\s+not\b"
    r"|(?<!\bthere\s)\b(?:is|are)\s+no\s(?!\s*longer\b)"
    r"|\bat\s+the\s+most\b|\bfor\s+ever\b|\bunless\s+told\b|\blikewise\b",
    re.IGNORECASE,
)
FORBIDDEN_NAME_PARTS = {
    *("answer", "answers", "answered", "place", "places", "room", "rooms", "door"),
    *("doors", "gate", "gates", "shelf", "shelves", "crew", "crews", "hand", "hands"),
    *("desk", "desks", "tally", "tallies", "wish", "wishes", "verdict", "verdicts"),
    *("scribe", "scribes", "teller", "tellers", "clock", "clocks", "words", "thoughts"),
}
# The public class `Clock`, the keyword that takes one, and its attribute.
ALLOWED_NAMES = {"Clock", "clock", "_clock"}

SECTION = re.compile(
    r"(Args|Attributes|Raises|Returns|Yields|Warns|Source|Examples?|Notes?):$"
)
ENTRY = re.compile(r"[\w.*, `]+?: +(?P<text>\S.*)$")
SENTENCE_END = (".", ":", "!", "?")
NOQA = re.compile(r"\bnoqa\b")
NOQA_WITH_REASON = re.compile(r"\bnoqa: [A-Z]+\d+(, [A-Z]+\d+)* - \S")


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each docstring, and each string below an assignment, with its line."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value


def starts(docstring: str) -> Iterator[tuple[int, str]]:
    """
    Yield the lines on which a sentence may begin, with their offset.

    These are the first line, and each line that does not continue the sentence of the
    line before it. Of an entry of a section, the name is left out.
    """
    before = ""
    inside = False
    for offset, line in enumerate(docstring.splitlines()):
        text = line.strip()
        if SECTION.match(text):
            inside = True
        elif text:
            if inside and (entry := ENTRY.match(text)):
                yield offset, entry["text"]
            elif (
                not before or before.endswith(SENTENCE_END) or text[:2] in {"- ", "* "}
            ):
                yield offset, text.lstrip("-* ")
        before = text


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each comment; one that continues on the next lines is yielded whole."""
    with tokenize.open(path) as file:
        tokens = [
            token
            for token in tokenize.generate_tokens(file.readline)
            if token.type == tokenize.COMMENT
        ]
    first, last, text = 0, 0, ""
    for token in tokens:
        line, column = token.start
        alone = not token.line[:column].strip()
        if alone and text and line == last + 1:
            text += "\n" + token.string.lstrip("# ")
        else:
            if text:
                yield first, text
            first, text = line, token.string.lstrip("# ")
        last = line if alone else -1
    if text:
        yield first, text


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the text of each string with a space, except docstrings."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            text = ""
            for part in node.values:
                skipped.add(id(part))
                text += str(part.value) if isinstance(part, ast.Constant) else "{}"
            yield node.lineno, text
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value
            and id(node) not in skipped
        ):
            yield node.lineno, node.value


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every name that a module gives to something."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.ImportFrom() | ast.Import():
                for alias in node.names:
                    if alias.asname:
                        yield node.lineno, alias.asname
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                yield node.lineno, name
            case _:
                pass


def is_forbidden(name: str) -> bool:
    snake_case = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return name not in ALLOWED_NAMES and not FORBIDDEN_NAME_PARTS.isdisjoint(
        snake_case.split("_")
    )


def phrases(line: int, text: str) -> Iterator[tuple[int, str]]:
    """Yield each forbidden phrase with its line."""
    for hit in FORBIDDEN_PHRASES.finditer(text):
        yield line + text.count("\n", 0, hit.start()), " ".join(hit[0].split())


def hits_in(path: Path, *, check_messages: bool) -> Iterator[tuple[int, str]]:
    """Yield every violation in a source file with its line."""
    tree = ast.parse(path.read_bytes())
    for line, text in docstrings(tree):
        yield from phrases(line, text)
        for offset, start in starts(text):
            if FORBIDDEN_STARTS.match(start):
                yield line + offset, start
    for line, text in comments(path):
        yield from phrases(line, text)
        if NOQA.search(text) and not NOQA_WITH_REASON.search(text):
            yield line, text
    for line, text in messages(tree) if check_messages else ():
        yield from phrases(line, text)
        if FORBIDDEN_STARTS.match(text) and not text.rstrip().endswith("?"):
            yield line, text
    yield from (hit for hit in identifiers(tree) if is_forbidden(hit[1]))


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_source_follows_the_prose_rules(path: Path) -> None:
    # Strings in tests are data, and often the text of other programs.
    in_tests = path.is_relative_to(ROOT / "tests")
    names = [
        name for name in Path(label(path)).with_suffix("").parts if is_forbidden(name)
    ]

    assert sorted(hits_in(path, check_messages=not in_tests)) == []
    assert names == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=label)
def test_document_follows_the_prose_rules(path: Path) -> None:
    assert list(phrases(1, path.read_text("utf-8"))) == []


SAMPLE = '''\
"""
What a module is.

How it is used. What follows on
What is a wrapped line.
What is not.

Attributes:
    limit: How many there can not be; there is no
        limit to what is no
        longer needed.
"""
# There is
# no reason, and it is
# no reason.
from a import b as desk  # noqa: F401
from a import place  # noqa: F401 - a name of somebody else

def wait_for_clock(hand: int, clock: Clock) -> None:
    """
    Do it.

    - Whether so.

    Raises:
        ValueError: Whether so.
    """
    match hand:
        case [room, *rooms]:
            self.first_place = handler
    raise ValueError(f"{hand} is no number", "What is it?", "What it is.")

class BadGatewayError: ...
'''


def test_rules_find_every_violation(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE)

    assert sorted(hits_in(path, check_messages=True)) == [
        (2, "What a module is."),
        (4, "How it is used. What follows on"),
        (6, "What is not."),
        (9, "How many there can not be; there is no"),
        (9, "can not"),
        (14, "is no"),
        (16, "desk"),
        (16, "noqa: F401"),
        (19, "hand"),
        (19, "wait_for_clock"),
        (23, "Whether so."),
        (26, "Whether so."),
        (29, "room"),
        (29, "rooms"),
        (30, "first_place"),
        (31, "What it is."),
        (31, "is no"),
    ]
