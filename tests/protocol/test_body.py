"""The body of a chat request, from parameters and keywords."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from openrouter_async.errors import ConfigurationError
from openrouter_async.protocol.body import chat_body
from openrouter_async.protocol.encode import encode
from openrouter_async.types import NULL, ChatGenerationParams, UserMessage

HI = [UserMessage("hi")]


def body(
    params: Any = None,
    *,
    stream: bool = False,
    extra: Any = None,
    **fields: Any,
) -> dict[str, Any]:
    return chat_body(params, fields, stream=stream, extra=extra)


def test_keywords_become_the_body_without_none() -> None:
    assert body(model="m", messages=HI, temperature=0, seed=None) == {
        "messages": HI,
        "model": "m",
        "temperature": 0,
    }


@settings(max_examples=50)
@given(st.permutations(["model", "messages", "temperature", "seed", "top_p", "user"]))
def test_order_of_keywords_does_not_change_the_bytes(names: list[str]) -> None:
    fields: dict[str, Any] = {"model": "m", "messages": HI, "temperature": 0.5}
    fields |= {"seed": 7, "top_p": 1, "user": "u"}
    expected = encode(ChatGenerationParams(**fields))
    in_this_order = {name: fields[name] for name in names}
    half = len(names) // 2
    params = ChatGenerationParams(**{name: fields[name] for name in names[:half]})
    others = {name: fields[name] for name in names[half:]}

    assert encode(body(**in_this_order)) == expected
    assert encode(body(params, **others)) == expected
    assert encode(body(ChatGenerationParams(**fields))) == expected


def test_keywords_override_params_and_none_does_not() -> None:
    params = ChatGenerationParams(model="m", messages=HI, seed=1, top_p=0.5)

    assert body(params, model="n", seed=None, top_p=NULL) == {
        "messages": HI,
        "model": "n",
        "seed": 1,
        "top_p": NULL,
    }
    assert params.model == "m"


def test_mapping_keeps_its_order_nulls_and_unknown_keys() -> None:
    params = {"zeta": None, "model": "m", "messages": HI, "alpha": [1]}

    assert list(body(params)) == ["zeta", "model", "messages", "alpha"]
    assert body(params) == params
    assert list(body(params, seed=1, model="n").items()) == [
        ("zeta", None),
        ("model", "n"),
        ("messages", HI),
        ("alpha", [1]),
        ("seed", 1),
    ]
    assert body(CIMultiDict({"prompt": "x"})) == {"prompt": "x"}


@pytest.mark.parametrize(
    "params", ["hi", 7, [{"role": "user"}], UserMessage("x"), b"x"]
)
def test_params_of_another_type_are_a_type_error(params: Any) -> None:
    with pytest.raises(TypeError, match="must be ChatGenerationParams or"):
        body(params)


def test_stream_is_the_last_key_and_only_set_if_true() -> None:
    assert list(body(messages=HI, stream=True, extra={"x": 1})) == [
        "messages",
        "x",
        "stream",
    ]
    assert body(messages=HI, stream=True)["stream"] is True
    assert "stream" not in body(messages=HI)


@pytest.mark.parametrize("value", [True, False, None, 0, 1])
@pytest.mark.parametrize("source", ["params", "extra"])
def test_stream_in_the_body_must_agree_with_the_argument(
    value: Any, source: str
) -> None:
    more = {"messages": HI, "stream": value}
    kinds: dict[str, Any] = {source: more}

    agreed = body(stream=bool(value), **kinds)

    assert agreed == {"messages": HI, **({"stream": True} if value else {})}
    with pytest.raises(ConfigurationError, match="pass stream= to send"):
        body(stream=not value, **kinds)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temprature", "Did you mean 'temperature'?"),
        ("message", "Did you mean 'messages'?"),
        ("max_token", "Did you mean 'max_tokens'?"),
        ("zzzzzz", "unexpected keyword argument 'zzzzzz'. Pass"),
    ],
)
def test_unknown_keyword_is_a_type_error_with_a_suggestion(
    name: str, message: str
) -> None:
    """Also if its value is None."""
    for value in (1, None):
        field: dict[str, Any] = {name: value}
        with pytest.raises(TypeError, match="extra_body") as caught:
            body(messages=HI, **field)
        assert message in str(caught.value)


@pytest.mark.parametrize("messages", ["hi", b"hi", 7, {"role": "user"}, {1}, HI[0]])
def test_messages_that_are_not_a_list_are_a_type_error(messages: Any) -> None:
    expected = r"messages must be a list, not \w+: pass messages=\[UserMessage"

    with pytest.raises(TypeError, match=expected):
        body(messages=messages)
    with pytest.raises(TypeError, match=expected):
        body({"messages": messages})
    with pytest.raises(TypeError, match=expected):
        body(messages=(message for message in HI))


def test_string_in_messages_is_a_type_error_and_shortened() -> None:
    with pytest.raises(TypeError, match="not the string 'xxx") as caught:
        body(messages=[UserMessage("hi"), "x" * 500])

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("nothing", [None, [], (), NULL])
def test_request_without_messages_is_rejected(nothing: Any) -> None:
    """The older `prompt` may take their place."""
    for params in (None, {"messages": nothing}, ChatGenerationParams(model="m")):
        with pytest.raises(ConfigurationError, match="nothing to send"):
            body(params, messages=nothing)
    assert body({"prompt": "once", "messages": nothing})["prompt"] == "once"


def test_tuple_of_messages_and_mappings_is_accepted() -> None:
    mixed = (UserMessage("a"), {"role": "user", "content": "b"})

    assert body(messages=mixed)["messages"] is mixed


def test_extra_body_overrides_everything() -> None:
    sent = body(
        {"model": "m", "messages": HI},
        seed=1,
        extra={"seed": None, "model": "z", "new": {"a": None}},
    )

    assert sent == {"model": "z", "messages": HI, "seed": None, "new": {"a": None}}
    assert body(extra={"messages": HI}) == {"messages": HI}
