"""The parser of an output type."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from attrs import define, field
from pydantic import AfterValidator, BaseModel, Field

from openrouter_async import (
    ChatResponse,
    OutputRefusedError,
    OutputTruncatedError,
    OutputValidationError,
)
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.structured.output_parser import parser_of


@define
class Invoice:
    """A type that is an object in JSON."""

    number: str


def test_parser_of_a_type_is_cached() -> None:
    assert parser_of(Invoice) is parser_of(Invoice)


def test_schema_of_a_scalar_is_wrapped() -> None:
    assert parser_of(Literal["a"]).schema.wrapped
    assert not parser_of(Invoice).schema.wrapped


def response(text: str, finish_reason: str | None = "stop") -> ChatResponse:
    message = {"role": "assistant", "content": text}
    return read_response(
        {"choices": [{"message": message, "finish_reason": finish_reason}]}
    )


@define
class Payment:
    """A type with numbers that a float cannot hold."""

    reference: int
    amount: Decimal
    note: str = ""


PAID = Payment(112233445566778899001122, Decimal("30000000000000001.05"))
PAID_TEXT = '{"reference": 112233445566778899001122, "amount": 30000000000000001.05}'


@pytest.mark.parametrize(
    "text",
    [
        PAID_TEXT,
        f"```json\n{PAID_TEXT}\n```",
        f'<think>{{"reference": 1, "amount": 2}}</think>{PAID_TEXT}',
        f'First {{"reference": "?"}}, see [4], so {PAID_TEXT}.',
        f"{PAID_TEXT} As I said: {PAID_TEXT.replace(', ', ',')}",
        f"```{PAID_TEXT}``` (a list would be [1.5])",
    ],
)
def test_the_one_candidate_that_fits_is_the_output(text: str) -> None:
    assert parser_of(Payment).parse(response(text)) == PAID


def test_line_break_in_a_string_is_part_of_it() -> None:
    text = '{"reference": 1, "amount": 2, "note": "one\ntwo\tthree"}'

    assert parser_of(Payment).parse(response(text)).note == "one\ntwo\tthree"


def test_two_candidates_that_fit_are_an_error() -> None:
    text = f'{PAID_TEXT} or {{"reference": 1, "amount": 2}}'

    with pytest.raises(OutputValidationError) as caught:
        parser_of(Payment).parse(response(text))

    assert caught.value.errors == [
        "$: the text contains more than one JSON value that fits the type"
    ]


def test_errors_are_those_of_the_last_candidate() -> None:
    with pytest.raises(OutputValidationError) as caught:
        parser_of(Payment).parse(response('{"reference": 1} or {"amount": 1}'))

    assert caught.value.errors == ["$.reference: a required field is missing"]


@pytest.mark.parametrize(
    ("finish_reason", "error"),
    [
        ("length", OutputTruncatedError),
        ("error", OutputTruncatedError),
        ("content_filter", OutputRefusedError),
    ],
)
def test_response_that_was_cut_off_has_no_output(
    finish_reason: str, error: type[Exception]
) -> None:
    """Even if the text is valid JSON by chance."""
    with pytest.raises(error):
        parser_of(Payment).parse(response(PAID_TEXT, finish_reason))


class Mood(StrEnum):
    """An enum whose class cattrs would call, with an error that quotes the value."""

    GOOD = "good"


def short(value: str) -> str:
    if len(value) > 5:
        raise ValueError(f"{value!r} is too long, use 5")
    return value


@define
class Private:
    """A class whose errors quote what it was given."""

    name: str = field(converter=short)
    scores: dict[str, int] = field(factory=dict[str, int])
    known: bool = False
    mood: Mood = Mood.GOOD


class Cat(BaseModel):
    """A member of a union with a tag."""

    kind: Literal["cat"]


class Dog(BaseModel):
    """Another member."""

    kind: Literal["dog"]


class Owner(BaseModel):
    """A model with the union."""

    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]


class PrivateModel(BaseModel):
    """The same with pydantic."""

    name: Annotated[str, AfterValidator(short)]
    scores: dict[str, int] = {}
    mood: Mood = Mood.GOOD
    id: UUID | None = None


@define
class Nested:
    """A model in a class."""

    model: PrivateModel


@pytest.mark.parametrize(
    ("kind", "text", "errors"),
    [
        (Private, '{"name": "Jane\nDoe", "known": true}', ["$: '...' is too long, use 5"]),
        (
            Private,
            '{"name": "Jane", "scores": {"Jane Doe": "ill"}, "mood": "Jane Doe"}',
            [
                "$.scores.*: expected an integer, got a string",
                "$.mood: expected one of 'good'",
            ],
        ),
        (
            PrivateModel,
            '{"name": "Jane Doe"}',
            ["$.name: Value error, '...' is too long, use 5"],
        ),
        (
            Nested,
            """{"model": {"name": "Jane", "scores": {"Jane Doe": "ill"},
            "mood": "Jane Doe", "id": "Jane Doe"}}""",
            [
                "$.model.scores.*: Input should be a valid integer, unable to parse string as an integer",
                "$.model.mood: Input should be 'good'",
                "$.model.id: Input should be a valid UUID",
            ],
        ),
        (Cat | Dog, '{"pet": {"kind": "Jane Doe"}}', []),
        (Owner, '{"pets": [{"kind": "Jane Doe"}]}', ["$.pets[0]: expected one of the tags 'cat', 'dog'"]),
        (int, "Jane Doe wrote {", ["$: invalid JSON: Expecting property name enclosed in double quotes at character 16"]),
    ],
)  # fmt: skip
def test_errors_quote_nothing_that_the_model_wrote(
    kind: Any, text: str, errors: list[str]
) -> None:
    with pytest.raises(OutputValidationError) as caught:
        parser_of(kind).parse(response(text))

    error = caught.value
    assert not errors or error.errors == errors
    shown = f"{error} {error.cause} {error.path} {error.errors}"
    assert "Jane" not in shown
    assert "Doe" not in shown
    assert "ill" not in shown
