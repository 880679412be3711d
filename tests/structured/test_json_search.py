"""The JSON values in a text with thinking, fences and prose."""

import re
import time
from contextlib import suppress
from typing import Any

import pytest

from openrouter_async.structured.json_search import (
    extract_json,
    find_candidates,
    incomplete_json,
)

TEXTS = {
    "plain": '{"a": 1}',
    "padded": '\n\n  {"a": 1}\t\n',
    "byte order mark": '\ufeff{"a": 1}',
    "fenced": '```json\n{"a": 1}\n```',
    "fenced, no language": '```\n{"a": 1}```',
    "fenced, prose around it": 'Here it is:\n\n```json\n{"a": 1}\n```\nAnything else?',
    "fence without an end": '```json\n{"a": 1}',
    "prose in the fence": '```\nHere it is: {"a": 1}\n```',
    "prose before": 'Here it is: {"a": 1}',
    "prose after": '{"a": 1} I hope that helps.',
    "braces in prose": 'In the form {key: value}: {"a": 1}',
    "mark": 'It is in [2], [3, 4] and [5-7]. {"a": 1}',
    "thinking": '<think>I see.</think>{"a": 1}',
    "draft": '<think>{"a": 2}</think>\n{"a": 1}',
    "fenced draft": '<thinking>\n```json\n{"a": 2}\n```\n</thinking>\n{"a": 1}',
    "fenced draft and answer": '<think>```{"a": 2}```</think>```{"a": 1}```',
    "braces in thinking": '<think>A {set} of [x, {"a": </think>\n{"a": 1}',
    "closing tag only": 'Let me see {"a": 2}.\n</think>\n\n{"a": 1}',
    "two blocks": '<think>{"a": 3}</think>{"a": 2}<think>No.</think>{"a": 1}',
    "thinking afterwards": '{"a": 1}\n<think>Is {"a": 2} better? No.</think>',
    "names of tags": '<Thought>{"a": 2}</Thought> <thinking >{"a": 3}</thinking >{"a": 1}',
    "Magistral": '[THINK]{"a": 2}[/THINK]{"a": 1}',
    "Kimi": '\u25c1think\u25b7{"a": 2}\u25c1/think\u25b7{"a": 1}',
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_there_is_one_candidate(name: str) -> None:
    assert extract_json(TEXTS[name]) == {"a": 1}


CANDIDATES: list[tuple[str, list[Any]]] = [
    ('{"a": "```json\\n{}\\n```"}', [{"a": "```json\n{}\n```"}]),
    ('"text"', ["text"]),
    ('{"a": 1}{"a": 2}', [{"a": 1}, {"a": 2}]),
    ("```\n{}\n```\n```\n[]\n```", [{}, []]),
    ("It is\n```\n7\n```", [7]),
    ("Draft ```\n7\n``` but {}", [7, {}]),
    ("Run ```ls -l``` for [1.5]", [[1.5]]),
    ("See [1].", [[1]]),
    ("See [1]. ```\n[2]\n```", [[2]]),
    ('So {"a": "</think> [8] ```5```"}.', [{"a": "</think> [8] ```5```"}]),
    ('{"a": [1.5, 2], oops} {"b": 2}', [{"b": 2}]),
    ("<think>Hm.</think>\n42", [42]),
]


@pytest.mark.parametrize(("text", "candidates"), CANDIDATES)
def test_candidates_are_the_outermost_values(text: str, candidates: list[Any]) -> None:
    assert find_candidates(text) == candidates


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        ("I do not know.", "the text contains no JSON object or array"),
        ('<think>{"a": 1}</think>', "the text contains no JSON object or array"),
        ('<think>{"a": 1}', "the text is thinking that was not closed"),
        (' \n[THINK]\n```{"a": 1}```', "the text is thinking that was not closed"),
        ('{"a": 1}</think> None.', "the text contains no JSON object or array"),
        ('{"a": }', "invalid JSON: Expecting value at character 6"),
        ('x {"a": NaN}', "invalid JSON: a number is not finite or has too many digits"),
        ("[" * 100_000, "invalid JSON: it is nested too deeply"),
        ("x " + "[" * 100_000, "invalid JSON: it is nested too deeply"),
        ('{"a": 1}{"a": 2}', "the text contains more than one JSON value"),
    ],
)
def test_text_without_one_json_value_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        extract_json(text)


@pytest.mark.parametrize(
    "text", ['{"a', "{x", "[1,", '{"a":"', "<think>", "</think>", "```", "[1] "]
)
def test_search_takes_linear_time(text: str) -> None:
    text = "so " + text * 20_000
    started = time.perf_counter()

    with suppress(ValueError):
        find_candidates(text)

    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ('So {"a": [1', '{"a": [1'),
        ('As [1] says: {"a"', '{"a"'),
        ('<think>{"a": 2}</think> {"a"', '{"a"'),
        (' <think>{"a": 2', None),
        ("So", None),
    ],
)
def test_incomplete_json_begins_after_thinking(text: str, rest: str | None) -> None:
    assert incomplete_json(text) == rest
