"""
Every exception that this library raises on purpose.

    OpenRouterError
      ConfigurationError            no key, an impossible option, nothing to send
      ClosedError                   client or stream closed under a call, or used after
      APIConnectionError            no answer, or it broke
        APITimeoutError             a clock ran out; also a builtin TimeoutError
      StreamInterruptedError        a stream ended without saying that it was done
      MalformedResponseError        an answer that is no chat reply, or too large
      BatchStoppedError               a run of many calls gave up before its end
      JournalError                  a run's journal is in use, broken, or another's
      OutputError                   a reply is not the value that was asked for
        OutputValidationError       it does not fit the type
        OutputRefusedError          the model refused, or a filter stopped it
        OutputTruncatedError        it is cut off at the token limit
      ToolArgumentsError            a tool call's arguments do not fit
      ToolRunError                  a run of tools that did not come to an answer
        MaxTurnsError               the model calls tools, turn after turn
        ToolCallTruncatedError      a call is cut off at the token limit
      APIError                      a status outside 2XX, or an error inside a 200
        ChatError                   a documented status, or OpenRouter's envelope
          BadRequestError 400       AuthenticationError 401
          PaymentRequiredError 402  PermissionDeniedError 403
          NotFoundError 404         RequestTimeoutError 408
          PreconditionFailedError 412
          PayloadTooLargeError 413  UnprocessableEntityError 422
          RateLimitError 429
          InternalServerError 500 and any other 5XX
            BadGatewayError 502         ServiceUnavailableError 503
            GatewayTimeoutError 504     EdgeTimeoutError 524
            ProviderOverloadedError 529
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from .types import (
    Attempt,
    ChatResponse,
    Exchange,
    MessageLike,
    ToolCall,
)

Phase = Literal["pool", "connect", "first_token", "idle", "read", "total"]


class OpenRouterError(Exception):
    """
    The root of the tree.

    No instance holds a key, a session or a response; all pickle and deepcopy whole.

    Attributes:
        message: What went wrong, in a sentence.
        http: What happened on the wire, as far as it got.
        generation_id: OpenRouter's id of the generation; None if none was given.
        partial: What had arrived of the reply, folded; None if nothing came.
        retryable: Whether the default rule would send the request again.
        hint: What to do about it, where that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        http: Exchange | None = None,
        generation_id: str | None = None,
        partial: ChatResponse | None = None,
        retryable: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.http = Exchange() if http is None else http
        self.generation_id = generation_id or self.http.generation_id
        self.partial = partial
        self.retryable = retryable
        self.hint = hint
        self._cause: str | None = None

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt of the call, the last one last."""
        return self.http.attempts

    @property
    def cause(self) -> str | None:
        """
        Type and text of the exception that led to this one; None if there was none.

        Python does not pickle `__cause__`; this stays.
        """
        # First what was known before a journey: a process pool hangs the other
        # side's traceback in as the cause.
        if self._cause is not None or self.__cause__ is None:
            return self._cause
        return f"{type(self.__cause__).__name__}: {self.__cause__}"

    def __str__(self) -> str:
        text = self._headline()
        if self.generation_id:
            text += f" [{self.generation_id}]"
        if self.hint:
            text += f" {self.hint}"
        return text

    def _headline(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (
            type(self),
            self.args,
            {**self.__dict__, "_cause": self.cause},
        )


def _restore(
    cls: type[OpenRouterError], args: tuple[Any, ...], state: dict[str, Any]
) -> OpenRouterError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(OpenRouterError):
    """No key, an impossible option, nothing to send, two readers of one stream."""


class ClosedError(OpenRouterError):
    """The client or the stream was closed under a call, or used after that."""


class APIConnectionError(OpenRouterError):
    """No answer came, or it broke: DNS, TCP, TLS, a reset, a body cut short."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """
    A clock of `Timeouts` ran out.

    Attributes:
        phase: The name of that clock.
        seconds: What it was set to.
    """

    def __init__(
        self, message: str, *, phase: Phase, seconds: float, **more: Any
    ) -> None:
        super().__init__(message, **more)
        self.phase: Phase = phase
        self.seconds = seconds


class StreamInterruptedError(OpenRouterError):
    """
    The stream ended without a finish reason and without `[DONE]`.

    `partial` has what arrived; it is not the whole answer.
    """


class MalformedResponseError(OpenRouterError):
    """The answer is no chat reply (empty, HTML, no JSON), or beyond a size limit."""


class BatchStoppedError(OpenRouterError):
    """
    A run gave up before its end; started again with its journal, it goes on.

    Attributes:
        reason: "repeated_failure": the first rows all failed with the same error;
            "stalled": the server refused every request for a long time; "input" or
            "error": the items, or a worker of the run, were cancelled from outside.
    """

    def __init__(self, message: str, *, reason: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.reason = reason


class JournalError(OpenRouterError):
    """A journal that is in use, can not be written, or belongs to other rows."""


class OutputError(OpenRouterError):
    """
    A reply came whole and was paid for, but is not the value that was asked for.

    Attributes:
        response: The whole reply, as it came.
    """

    def __init__(self, message: str, *, response: ChatResponse, **more: Any) -> None:
        generation = response.http.generation_id or response.id
        super().__init__(
            message,
            http=response.http,
            generation_id=generation,
            partial=response,
            **more,
        )
        self.response = response


class OutputValidationError(OutputError):
    """
    The text of a reply is no JSON, or does not fit the type.

    Attributes:
        path: Where the first fault is, such as "$.lines[2].price"; "$" for the whole.
        errors: Every fault in words, its path first; 1 or more.
    """

    def __init__(
        self,
        message: str,
        *,
        response: ChatResponse,
        path: str,
        errors: list[str],
        **more: Any,
    ) -> None:
        super().__init__(message, response=response, **more)
        self.path = path
        self.errors = errors


class OutputRefusedError(OutputError):
    """
    The model would not answer, or a filter stopped it.

    Attributes:
        refusal: Its words; None if there are none.
    """

    def __init__(
        self, message: str, *, response: ChatResponse, refusal: str | None, **more: Any
    ) -> None:
        super().__init__(message, response=response, **more)
        self.refusal = refusal


class OutputTruncatedError(OutputError):
    """The answer is cut off at the token limit (`finish_reason` "length")."""


class ToolArgumentsError(OpenRouterError):
    """
    The arguments of a tool call are no JSON object, or do not fit.

    Attributes:
        call: The call, as it came.
        path: Where the first fault is, such as "$.city"; "$" for the whole.
        errors: Every fault in words, its path first; 1 or more.
    """

    def __init__(
        self, message: str, *, call: ToolCall, path: str, errors: list[str], **more: Any
    ) -> None:
        super().__init__(message, **more)
        self.call = call
        self.path = path
        self.errors = errors


class ToolRunError(OpenRouterError):
    """
    A run of tools did not come to an answer.

    Attributes:
        response: The last reply; its calls were not executed.
        messages: The conversation before that reply; a further run can begin here.
    """

    def __init__(
        self,
        message: str,
        *,
        response: ChatResponse,
        messages: list[MessageLike],
        **more: Any,
    ) -> None:
        generation = response.http.generation_id or response.id
        super().__init__(
            message,
            http=response.http,
            generation_id=generation,
            partial=response,
            **more,
        )
        self.response = response
        self.messages = messages


class MaxTurnsError(ToolRunError):
    """The model called tools in the last turn that it had."""


class ToolCallTruncatedError(ToolRunError):
    """A tool call is cut off at the token limit; it was not executed."""


class APIError(OpenRouterError):
    """
    A status outside 2XX, or an error inside a 200.

    Attributes:
        status_code: What chose the class. HTTP's own status is `http.status`.
        headers: The reply's headers; names are case-insensitive.
        body: The parsed JSON, else the text, cut at `Limits.error_bytes`; it may
            hold your account's id, which `str()` never shows.
        retry_after: Seconds that the server asked to wait; None if it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: Any = None,
        retry_after: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message, **more)
        self.status_code = status_code
        self.body = body
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """The reply's headers; names are case-insensitive."""
        return self.http.headers

    def _headline(self) -> str:
        return f"{self.status_code}: {self.message}"


class ChatError(APIError):
    """
    A documented status, or any error in OpenRouter's envelope.

    Attributes:
        code: The envelope's own code: an int, a str, or None.
        error_type: The stable kind, such as "provider_overloaded"; often None.
        metadata: Everything else that OpenRouter told, as it came.
        provider_name: Who failed behind OpenRouter; None if it was OpenRouter.
        upstream: The provider's own words, trimmed; None if they are not told.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        code: int | str | None = None,
        error_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        provider_name: str | None = None,
        upstream: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message, status_code=status_code, **more)
        self.code = code
        self.error_type = error_type
        self.metadata = metadata
        self.provider_name = provider_name
        self.upstream = upstream

    def _headline(self) -> str:
        kind = f" {self.error_type}" if self.error_type else ""
        provider = f" ({self.provider_name})" if self.provider_name else ""
        words = f" {self.upstream!r}" if self.upstream else ""
        return f"{self.status_code}{kind}: {self.message}{provider}{words}"


class BadRequestError(ChatError):
    """400: parameters, prompt or model are not acceptable."""


class AuthenticationError(ChatError):
    """401: the key is missing or wrong; with a `provider_name`, the provider's is."""


class PaymentRequiredError(ChatError):
    """402: credits or a limit are used up; `retryable` if only for the moment."""


class PermissionDeniedError(ChatError):
    """403: moderation, a guardrail, terms of service, the region."""


class NotFoundError(ChatError):
    """404: no such model, or no endpoint that meets the request's conditions."""


class RequestTimeoutError(ChatError):
    """408: the request took too long upstream."""


class PreconditionFailedError(ChatError):
    """412: a precondition does not hold."""


class PayloadTooLargeError(ChatError):
    """413: the request is too large."""


class UnprocessableEntityError(ChatError):
    """422: well-formed, and still not processable."""


class RateLimitError(ChatError):
    """429: OpenRouter's limit or the provider's."""


class InternalServerError(ChatError):
    """500, and every 5XX without a class of its own."""


class BadGatewayError(InternalServerError):
    """502: the provider is down, or its answer was useless."""


class ServiceUnavailableError(InternalServerError):
    """503: overloaded, or nobody meets the routing requirements."""


class GatewayTimeoutError(InternalServerError):
    """504: the provider did not answer in time."""


class EdgeTimeoutError(InternalServerError):
    """524: OpenRouter did not answer its edge in time."""


class ProviderOverloadedError(InternalServerError):
    """529: the provider is overloaded."""


STATUS_CLASSES: Final[Mapping[int, type[ChatError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: RequestTimeoutError,
    412: PreconditionFailedError,
    413: PayloadTooLargeError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    500: InternalServerError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    504: GatewayTimeoutError,
    524: EdgeTimeoutError,
    529: ProviderOverloadedError,
}
"""The class of each documented status. Source: the specification's `Chat.Send`."""


def status_class(status: int, *, envelope: bool) -> type[APIError]:
    """Return the class for a status; `envelope`: the body is OpenRouter's own."""
    if status in STATUS_CLASSES:
        return STATUS_CLASSES[status]
    if 500 <= status <= 599:
        return InternalServerError
    return ChatError if envelope else APIError
