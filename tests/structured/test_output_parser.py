"""JSON in the text of a response, and the parser of an output type."""

import re
from typing import Literal

import pytest
from attrs import define

from openrouter_async.structured.output_parser import extract_json, parser_of

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
}


@pytest.mark.parametrize("name", TEXTS)
def test_json_is_found_in_fences_and_prose(name: str) -> None:
    assert extract_json(TEXTS[name]) == {"a": 1}


def test_text_that_is_json_is_not_searched() -> None:
    assert extract_json('{"a": "```json\\n{}\\n```"}') == {"a": "```json\n{}\n```"}
    assert extract_json('"text"') == "text"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        ("I do not know.", "the text contains no JSON object or array"),
        ('{"a": }', "the text is not valid JSON: Expecting value at character 6"),
        ('{"a": 1}{"a": 2}', "the text contains more than one JSON value"),
        ("```\n{}\n```\n```\n{}\n```", "the text contains more than one JSON value"),
        ('x {"a": NaN}', "the text is not valid JSON: a number is not finite"),
        ("x " + "[" * 100_000, "the JSON in the text is nested too deeply, or a number in it is too long"),
    ],
)  # fmt: skip
def test_text_without_one_json_value_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        extract_json(text)


@define
class Invoice:
    """A type that is an object in JSON."""

    number: str


def test_parser_of_a_type_is_cached() -> None:
    assert parser_of(Invoice) is parser_of(Invoice)


def test_schema_of_a_scalar_is_wrapped() -> None:
    assert parser_of(Literal["a"]).schema.wrapped
    assert not parser_of(Invoice).schema.wrapped
