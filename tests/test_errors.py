"""Errors: hierarchy, attributes, text, copying and pickling."""

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from multidict import CIMultiDict

import openrouter_async
from openrouter_async import errors
from openrouter_async.errors import (
    STATUS_CLASSES,
    APIConnectionError,
    APIError,
    APITimeoutError,
    BatchStoppedError,
    BudgetExceededError,
    ChatError,
    InternalServerError,
    OpenRouterError,
    OutputError,
    OutputRefusedError,
    OutputValidationError,
    RateLimitError,
    ToolArgumentsError,
    ToolRunError,
    ToolRunTimeoutError,
    ToolTimeoutError,
    status_class,
)
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.types import (
    Attempt,
    ChatResponse,
    Exchange,
    Timings,
    ToolCall,
    UserMessage,
)

TREE = """
OpenRouterError
  ConfigurationError
  ClosedError
  APIConnectionError
    APITimeoutError
  StreamInterruptedError
  MalformedResponseError
  BatchStoppedError
  JournalError
  OutputError
    OutputValidationError
    OutputRefusedError
    OutputTruncatedError
  ToolArgumentsError
  ToolRunError
    MaxTurnsError
    ToolCallTruncatedError
    ToolRunTimeoutError
  ToolTimeoutError
  BudgetExceededError
  APIError
    ChatError
      BadRequestError
      AuthenticationError
      PaymentRequiredError
      PermissionDeniedError
      NotFoundError
      RequestTimeoutError
      PreconditionFailedError
      PayloadTooLargeError
      UnprocessableEntityError
      RateLimitError
      InternalServerError
        BadGatewayError
        ServiceUnavailableError
        GatewayTimeoutError
        EdgeTimeoutError
        ProviderOverloadedError
"""

STATUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "PaymentRequiredError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "RequestTimeoutError",
    412: "PreconditionFailedError",
    413: "PayloadTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
    524: "EdgeTimeoutError",
    529: "ProviderOverloadedError",
}

CLASSES: list[type[OpenRouterError]] = sorted(
    (
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, OpenRouterError)
    ),
    key=lambda cls: cls.__name__,
)

ATTRIBUTES = (
    "args",
    "message",
    "http",
    "generation_id",
    "attempts",
    "partial",
    "retryable",
    "hint",
    "cause",
    "phase",
    "seconds",
    "status_code",
    "headers",
    "body",
    "retry_after",
    "code",
    "error_type",
    "metadata",
    "provider_name",
    "upstream",
    "response",
    "path",
    "errors",
    "refusal",
    "call",
    "messages",
    "reason",
)


def tree_of(cls: type[OpenRouterError], depth: int = 0) -> str:
    subtree = "".join(tree_of(child, depth + 1) for child in cls.__subclasses__())
    return f"{'  ' * depth}{cls.__name__}\n{subtree}"


def timeout_attributes(
    cls: type[OpenRouterError], partial: ChatResponse
) -> dict[str, Any]:
    if issubclass(cls, ToolTimeoutError):
        return {"tool": "slow", "seconds": 5.0}
    if issubclass(cls, ToolRunTimeoutError):
        return {"tools": ("slow",), "seconds": 60.0, "partial": partial}
    if issubclass(cls, APITimeoutError):
        return {"phase": "idle", "seconds": 300.0}
    if issubclass(cls, BudgetExceededError):
        return {"limit": 5.0, "spent": 4.9, "estimate": 0.2}
    return {}


def full(cls: type[OpenRouterError]) -> OpenRouterError:
    """Return an error that sets every attribute of its class."""
    more: dict[str, Any] = {}
    http = Exchange(
        status=429,
        headers=CIMultiDict({"Retry-After": "2.5"}),
        generation_id="gen-1",
        attempts=[Attempt(status=429, waited=1.5, billing="insured")],
        timings=Timings(total=2.0),
    )
    partial = read_response({"id": "gen-1", "choices": [{"index": 0}]})
    if issubclass(cls, OutputError | ToolRunError):
        partial.http = http
        more |= {"response": partial}
        if issubclass(cls, ToolRunError):
            more |= {"messages": [UserMessage("hi"), partial.message]}
    else:
        more |= {"http": http, "partial": partial}
    if issubclass(cls, OutputValidationError | ToolArgumentsError):
        more |= {"path": "$.a[0]", "errors": ["$.a[0]: it is missing"]}
    if issubclass(cls, OutputRefusedError):
        more |= {"refusal": "I will not."}
    if issubclass(cls, ToolArgumentsError):
        more |= {"call": ToolCall(id="call_1")}
    if issubclass(cls, BatchStoppedError):
        more |= {"reason": "stalled"}
    more |= timeout_attributes(cls, partial)
    if issubclass(cls, APIError):
        more |= {"status_code": 429, "body": {"error": {"code": 1}}, "retry_after": 2.5}
    if issubclass(cls, ChatError):
        more |= {
            "code": "429",
            "error_type": "rate_limit_exceeded",
            "metadata": {"raw": "slow down"},
            "provider_name": "Acme",
            "upstream": "slow down",
        }
    return cls(
        "It failed.",
        retryable=True,
        hint="Wait.",
        **more,
    )


def attributes_of(error: OpenRouterError) -> dict[str, Any]:
    """Return the attributes and the text of an error, for comparison."""
    values = {name: getattr(error, name) for name in ATTRIBUTES if hasattr(error, name)}
    return {"class": type(error), "text": str(error), **values}


def fail_in_process() -> None:
    """Raise an error with a cause; it runs in another process."""
    raise full(RateLimitError) from OSError(104, "Connection reset by peer")


def test_hierarchy_is_as_designed() -> None:
    assert tree_of(OpenRouterError).split() == TREE.split()
    assert tree_of(OpenRouterError) == TREE.lstrip("\n")


def test_module_docstring_names_every_class() -> None:
    assert errors.__doc__ is not None
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in errors.__doc__] == []


def test_every_class_is_exported_and_documented() -> None:
    public = vars(openrouter_async)

    assert [
        cls.__name__ for cls in CLASSES if public.get(cls.__name__) is not cls
    ] == []
    assert [cls.__name__ for cls in CLASSES if not cls.__doc__] == []


def test_documented_status_has_its_class_with_any_body() -> None:
    assert {status: cls.__name__ for status, cls in STATUS_CLASSES.items()} == STATUSES
    for status, cls in STATUS_CLASSES.items():
        assert status_class(status, envelope=True) is cls
        assert status_class(status, envelope=False) is cls


def test_other_status_has_a_class_by_its_range_and_body() -> None:
    others = [status for status in range(300, 600) if status not in STATUSES]

    for status in others:
        with_envelope = status_class(status, envelope=True)
        without = status_class(status, envelope=False)

        assert with_envelope is (InternalServerError if status >= 500 else ChatError)
        assert without is (InternalServerError if status >= 500 else APIError)
    assert status_class(600, envelope=False) is APIError


def test_timeout_error_is_a_builtin_timeout_error() -> None:
    error = APITimeoutError("Nothing came.", phase="connect", seconds=10.0)

    with pytest.raises(TimeoutError) as caught:
        raise error
    assert caught.value is error
    assert isinstance(error, APIConnectionError)
    assert (error.phase, error.seconds) == ("connect", 10.0)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_every_attribute(
    cls: type[OpenRouterError], protocol: int
) -> None:
    error = full(cls)

    copied = pickle.loads(pickle.dumps(error, protocol))

    assert attributes_of(copied) == attributes_of(error)
    assert copied.partial.raw == {"id": "gen-1", "choices": [{"index": 0}]}
    assert copied.http.headers["RETRY-AFTER"] == "2.5"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copy_keeps_every_attribute(cls: type[OpenRouterError], copier: Any) -> None:
    """A deep copy shares nothing that is mutable."""
    error = full(cls)

    copied = copier(error)

    assert copied is not error
    assert attributes_of(copied) == attributes_of(error)
    assert (copied.http is error.http) is (copier is copy.copy)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_text_of_the_cause_survives_pickling(cls: type[OpenRouterError]) -> None:
    """Also repeatedly, although pickling drops `__cause__`."""
    error = full(cls)
    error.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    text = "ConnectionResetError: [Errno 104] Connection reset by peer"

    once = pickle.loads(pickle.dumps(error))
    twice = copy.deepcopy(pickle.loads(pickle.dumps(once)))

    assert error.cause == once.cause == twice.cause == text
    assert once.__cause__ is None


def test_stored_cause_wins_over_a_later_one() -> None:
    error = full(APIConnectionError)
    error.__cause__ = OSError("first")
    copied = pickle.loads(pickle.dumps(error))
    plain = pickle.loads(pickle.dumps(full(APIConnectionError)))

    copied.__cause__ = plain.__cause__ = OSError("second")

    assert copied.cause == "OSError: first"
    assert plain.cause == "OSError: second"


def test_notes_survive_pickling() -> None:
    error = full(RateLimitError)
    error.add_note("while summarising page 7")

    copied = pickle.loads(pickle.dumps(error))

    assert copied.__notes__ == ["while summarising page 7"]


def test_error_from_a_process_pool_keeps_every_attribute() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(RateLimitError) as caught,
    ):
        pool.submit(fail_in_process).result()

    expected = full(RateLimitError)
    expected.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    assert attributes_of(caught.value) == attributes_of(expected)


def test_attributes_default_to_none_or_empty() -> None:
    error = OpenRouterError("It failed.")

    assert attributes_of(error) == {
        "class": OpenRouterError,
        "text": "It failed.",
        "args": ("It failed.",),
        "message": "It failed.",
        "http": Exchange(),
        "generation_id": None,
        "attempts": [],
        "partial": None,
        "retryable": False,
        "hint": None,
        "cause": None,
    }


def test_error_shows_attempts_headers_and_id_of_the_exchange() -> None:
    http = Exchange(
        headers=CIMultiDict({"X-A": "b"}), generation_id="gen-7", attempts=[Attempt()]
    )

    error = APIError("No.", status_code=418, http=http)

    assert error.headers["x-a"] == "b"
    assert error.attempts is http.attempts
    assert error.generation_id == "gen-7"
    assert APIError("No.", status_code=418, generation_id="g").generation_id == "g"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OpenRouterError("It failed."), "It failed."),
        (OpenRouterError("It failed.", hint="Wait."), "It failed. Wait."),
        (
            OpenRouterError("It failed.", generation_id="gen-1", hint="Wait."),
            "It failed. [gen-1] Wait.",
        ),
        (APITimeoutError("Late.", phase="idle", seconds=3), "Late."),
        (APIError("Nothing here.", status_code=418), "418: Nothing here."),
        (ChatError("No.", status_code=418), "418: No."),
        (
            RateLimitError("Slow down.", status_code=429, error_type="rate_limit"),
            "429 rate_limit: Slow down.",
        ),
        (
            RateLimitError(
                "Provider returned error",
                status_code=429,
                provider_name="Acme",
                upstream="slow down",
            ),
            "429: Provider returned error (Acme) 'slow down'",
        ),
        (
            full(RateLimitError),
            "429 rate_limit_exceeded: It failed. (Acme) 'slow down' [gen-1] Wait.",
        ),
    ],
)
def test_text_is_one_line_with_status_message_and_hint(
    error: OpenRouterError, text: str
) -> None:
    assert str(error) == text
    assert error.args == (error.message,)
