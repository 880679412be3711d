"""Lazy fields: values that are created when they are read."""

# Random JSON has no types, and templates are seen in private slots only.
# pyright: reportPrivateUsage=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import copy
import pickle
from typing import Any

import attrs
import pytest

from openrouter_async.protocol.response_objects import read_chunk, read_response
from openrouter_async.types import ChatResponse, Delta, Message, Usage
from openrouter_async.types.lazy import Deferred

USAGE = {"cost": 1, "prompt_tokens": 3}
RAW: dict[str, Any] = {"choices": [{"message": {"content": "a"}}], "usage": USAGE}


def is_deferred(shape: Any, name: str) -> bool:
    return isinstance(getattr(shape, f"_{name}"), Deferred)


def test_usage_is_decoded_when_it_is_read() -> None:
    response: Any = read_response(RAW)
    assert is_deferred(response, "usage")

    assert response.usage == Usage(cost=1.0, prompt_tokens=3)
    assert response.usage is response.usage
    assert not is_deferred(response, "usage")
    assert read_response({"choices": []}).usage == Usage()
    assert read_response({"choices": [{"usage": USAGE}]}).usage.cost == 1
    chunk = read_chunk({**RAW, "id": "x"})
    assert chunk.usage == response.usage
    assert read_chunk({"id": "x"}).usage is None


def test_usage_does_not_follow_changes_of_the_members_of_raw() -> None:
    response = read_response(dict(RAW))
    response.raw["usage"] = None

    assert response.usage.cost == 1


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        attrs.evolve,
        lambda shape: pickle.loads(pickle.dumps(shape)),
        lambda shape: shape,
    ],
)
def test_copy_of_a_response_has_its_lazy_fields(copied: Any) -> None:
    response = copied(read_response(RAW))

    assert response == read_response(RAW)
    assert repr(response) == repr(read_response(RAW))
    assert response.usage.cost == 1
    assert attrs.asdict(response)["usage"]["prompt_tokens"] == 3


def test_empty_lists_are_not_shared() -> None:
    one, two = (read_response(RAW).message for _ in range(2))
    assert is_deferred(one, "tool_calls")
    one.images.append({})
    one.tool_calls = []

    assert one.images == [{}]
    assert two.images == two.tool_calls == two.annotations == []
    assert two.images is two.images


def test_lazy_fields_are_those_given_to_the_constructor() -> None:
    usage = Usage(cost=2.0)
    response = ChatResponse(usage=usage)
    calls: list[Any] = []

    assert response.usage is usage
    assert Message(tool_calls=calls).tool_calls is calls
    assert Delta().images == []
    assert ChatResponse() == ChatResponse(usage=Usage())


def test_base_class_creates_nothing() -> None:
    with pytest.raises(NotImplementedError):
        Deferred().create(None, "usage")
