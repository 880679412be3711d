"""Every error is where the tree says, tells what it knows, and travels whole."""

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
    ChatError,
    InternalServerError,
    OpenRouterError,
    OutputError,
    OutputRefusedError,
    OutputValidationError,
    RateLimitError,
    ToolArgumentsError,
    ToolRunError,
    status_class,
)
from openrouter_async.protocol.decode import read_response
from openrouter_async.types import (
    Attempt,
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
    "reply",
    "path",
    "faults",
    "refusal",
    "call",
    "messages",
    "reason",
)


def drawn(cls: type[OpenRouterError], depth: int = 0) -> str:
    below = "".join(drawn(child, depth + 1) for child in cls.__subclasses__())
    return f"{'  ' * depth}{cls.__name__}\n{below}"


def full(cls: type[OpenRouterError]) -> OpenRouterError:
    """An error with every attribute that its class knows."""
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
        more |= {"reply": partial}
        if issubclass(cls, ToolRunError):
            more |= {"messages": [UserMessage("hi"), partial.message]}
    else:
        more |= {"http": http, "partial": partial}
    if issubclass(cls, OutputValidationError | ToolArgumentsError):
        more |= {"path": "$.a[0]", "faults": ["$.a[0]: it is missing"]}
    if issubclass(cls, OutputRefusedError):
        more |= {"refusal": "I will not."}
    if issubclass(cls, ToolArgumentsError):
        more |= {"call": ToolCall(id="call_1")}
    if issubclass(cls, BatchStoppedError):
        more |= {"reason": "stalled"}
    if issubclass(cls, APITimeoutError):
        more |= {"phase": "idle", "seconds": 300.0}
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


def shown(error: OpenRouterError) -> dict[str, Any]:
    """All that an error tells, as values that can be compared."""
    told = {name: getattr(error, name) for name in ATTRIBUTES if hasattr(error, name)}
    return {"class": type(error), "text": str(error), **told}


def fail_elsewhere() -> None:
    """Run in another process: raise an error with a cause."""
    raise full(RateLimitError) from OSError(104, "Connection reset by peer")


def test_the_tree_is_as_designed() -> None:
    """The classes stand under each other as the design draws them."""
    assert drawn(OpenRouterError).split() == TREE.split()
    assert drawn(OpenRouterError) == TREE.lstrip("\n")


def test_the_module_draws_its_own_tree() -> None:
    """The picture at the top of the module names every class."""
    assert errors.__doc__ is not None
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in errors.__doc__] == []


def test_every_class_is_public() -> None:
    """Whatever can be raised can be imported from the package, and says when it is."""
    public = vars(openrouter_async)

    assert [
        cls.__name__ for cls in CLASSES if public.get(cls.__name__) is not cls
    ] == []
    assert [cls.__name__ for cls in CLASSES if not cls.__doc__] == []


def test_each_documented_status_has_its_class() -> None:
    """A documented status has one class, whoever sent the body."""
    assert {status: cls.__name__ for status, cls in STATUS_CLASSES.items()} == STATUSES
    for status, cls in STATUS_CLASSES.items():
        assert status_class(status, envelope=True) is cls
        assert status_class(status, envelope=False) is cls


def test_other_statuses_have_the_class_of_their_kind() -> None:
    """Any other 5XX is a server's; the rest depends on whose body it is."""
    others = [status for status in range(300, 600) if status not in STATUSES]

    for status in others:
        ours = status_class(status, envelope=True)
        theirs = status_class(status, envelope=False)

        assert ours is (InternalServerError if status >= 500 else ChatError)
        assert theirs is (InternalServerError if status >= 500 else APIError)
    assert status_class(600, envelope=False) is APIError


def test_a_timeout_is_a_builtin_timeout() -> None:
    """`except TimeoutError` catches it, and `except APIConnectionError` does."""
    error = APITimeoutError("Nothing came.", phase="connect", seconds=10.0)

    with pytest.raises(TimeoutError) as caught:
        raise error
    assert caught.value is error
    assert isinstance(error, APIConnectionError)
    assert (error.phase, error.seconds) == ("connect", 10.0)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_whole(cls: type[OpenRouterError], protocol: int) -> None:
    """Every attribute comes out of a pickle as it went in."""
    error = full(cls)

    copied = pickle.loads(pickle.dumps(error, protocol))

    assert shown(copied) == shown(error)
    assert copied.partial.raw == {"id": "gen-1", "choices": [{"index": 0}]}
    assert copied.http.headers["RETRY-AFTER"] == "2.5"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copies_whole(cls: type[OpenRouterError], copier: Any) -> None:
    """A copy tells the same; a deep one shares nothing that changes."""
    error = full(cls)

    copied = copier(error)

    assert copied is not error
    assert shown(copied) == shown(error)
    assert (copied.http is error.http) is (copier is copy.copy)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_text_of_the_cause_travels(cls: type[OpenRouterError]) -> None:
    """Pickling drops `__cause__`; what it said stays, however often it travels."""
    error = full(cls)
    error.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    text = "ConnectionResetError: [Errno 104] Connection reset by peer"

    once = pickle.loads(pickle.dumps(error))
    twice = copy.deepcopy(pickle.loads(pickle.dumps(once)))

    assert error.cause == once.cause == twice.cause == text
    assert once.__cause__ is None


def test_the_first_cause_stays() -> None:
    """What led to the error is told after its journey too, whatever it is raised from."""
    error = full(APIConnectionError)
    error.__cause__ = OSError("first")
    copied = pickle.loads(pickle.dumps(error))
    plain = pickle.loads(pickle.dumps(full(APIConnectionError)))

    copied.__cause__ = plain.__cause__ = OSError("second")

    assert copied.cause == "OSError: first"
    assert plain.cause == "OSError: second"


def test_notes_travel() -> None:
    """What the caller added with `add_note` is kept."""
    error = full(RateLimitError)
    error.add_note("while summarising page 7")

    copied = pickle.loads(pickle.dumps(error))

    assert copied.__notes__ == ["while summarising page 7"]


def test_leaves_another_process_whole() -> None:
    """An error raised in a process pool arrives with all it knows."""
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(RateLimitError) as caught,
    ):
        pool.submit(fail_elsewhere).result()

    expected = full(RateLimitError)
    expected.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    assert shown(caught.value) == shown(expected)


def test_absent_facts_are_none_or_empty() -> None:
    """An error that knows nothing but its message can be asked for everything."""
    error = OpenRouterError("It failed.")

    assert shown(error) == {
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


def test_the_exchange_is_told_by_the_error() -> None:
    """Attempts, headers and generation are those of the exchange."""
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
def test_reads_as_one_line(error: OpenRouterError, text: str) -> None:
    """An error says status, kind, message, provider, generation and hint, in one line."""
    assert str(error) == text
    assert error.args == (error.message,)
