"""
All exceptions that this library raises on purpose.

    OpenRouterError
      ConfigurationError            no key, an invalid option, nothing to send
      ClosedError                   the client or the stream is closed
      APIConnectionError            no response, or it broke off
        APITimeoutError             a timeout expired; also a builtin TimeoutError
      StreamInterruptedError        a stream ended before it was complete
      MalformedResponseError        not a chat response, or too large
      BatchStoppedError             a batch stopped before its end
      JournalError                  the journal is in use, broken, or of another batch
      OutputError                   the response is not a value of the requested type
        OutputValidationError       it does not fit the type
        OutputRefusedError          the model refused, or a filter stopped it
        OutputTruncatedError        it was cut off
      ToolArgumentsError            invalid arguments of a tool call
      ToolRunError                  a run of tools ended without an answer
        MaxTurnsError               the model called tools in its last turn
        ToolCallTruncatedError      a tool call was cut off
        ToolRunTimeoutError         the deadline passed; also a builtin TimeoutError
      ToolTimeoutError              a tool took too long; also a builtin TimeoutError
      BudgetExceededError           the budget does not allow the request
      APIError                      a status outside 2XX, or an error inside a 200
        ChatError                   a documented status, or OpenRouter's error format
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
    Base class of all errors.

    Errors contain no keys and no open connections, and can be pickled and copied with
    all their attributes.

    Attributes:
        message: Description of the error.
        http: The HTTP exchange, as far as it got.
        generation_id: OpenRouter's id of the generation; None if the server sent none.
        partial: The part of the response that arrived; None if nothing did.
        retryable: True if the default rules allow retrying the request.
        hint: Advice on the error; None if there is none.
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
        """All attempts of the call in order."""
        return self.http.attempts

    @property
    def cause(self) -> str | None:
        """
        Type and text of the exception that caused this one; None if there was none.

        Unlike `__cause__`, it is kept when the error is pickled.
        """
        # A stored cause first: a process pool sets `__cause__` of the errors that it
        # returns to the traceback in the other process.
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
    """No key, an invalid option, nothing to send, or misuse of a stream or a run."""


class ClosedError(OpenRouterError):
    """The client or the stream was closed, during a call or before it."""


class APIConnectionError(OpenRouterError):
    """No response arrived, or it broke off: DNS, TCP, TLS, reset, truncated body."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """
    A timeout of `Timeouts` expired.

    Attributes:
        phase: Name of the timeout: "pool", "connect", "first_token", "idle", "read" or
            "total".
        seconds: Value of the timeout.
    """

    def __init__(
        self, message: str, *, phase: Phase, seconds: float, **more: Any
    ) -> None:
        super().__init__(message, **more)
        self.phase: Phase = phase
        self.seconds = seconds


class StreamInterruptedError(OpenRouterError):
    """
    A stream ended without a finish reason and without `[DONE]`.

    `partial` has the part that arrived; the answer is incomplete.
    """


class MalformedResponseError(OpenRouterError):
    """A response is not a chat response (empty, HTML, invalid JSON) or is too large."""


class BatchStoppedError(OpenRouterError):
    """
    A batch stopped before its end; started again with its journal, it continues.

    Attributes:
        reason: "repeated_failure": the first rows all failed with the same error;
            "stalled": the server refused all requests for a long time; "deaths":
            several processes of a `RayRun` died while they sent the same row; "input"
            or "error": the items, or a worker of the batch, were cancelled from
            outside.
    """

    def __init__(self, message: str, *, reason: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.reason = reason


class JournalError(OpenRouterError):
    """A journal that is in use, cannot be written, or belongs to other rows."""


class OutputError(OpenRouterError):
    """
    A response is complete and billed, but is not a value of the requested type.

    Attributes:
        response: The complete response.
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
    The text of a response is not valid JSON, or does not fit the type.

    Attributes:
        path: Path of the first problem, such as "$.lines[2].price"; "$" for the whole
            value.
        errors: All problems, each with its path; 1 or more.
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
    The model refused, or a filter stopped it.

    Attributes:
        refusal: The model's refusal; None if it gave none.
    """

    def __init__(
        self, message: str, *, response: ChatResponse, refusal: str | None, **more: Any
    ) -> None:
        super().__init__(message, response=response, **more)
        self.refusal = refusal


class OutputTruncatedError(OutputError):
    """The output was cut off, at the token limit or by an error of the provider."""


class ToolArgumentsError(OpenRouterError):
    """
    The arguments of a tool call are not a JSON object, or do not fit the parameters.

    Attributes:
        call: The tool call, as received.
        path: Path of the first problem, such as "$.city"; "$" for all arguments.
        errors: All problems, each with its path; 1 or more.
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
    A run of tools ended without an answer.

    Attributes:
        response: The last response; its tool calls were not executed.
        messages: The conversation before that response; another run can continue it.
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
    """The model called tools in its last turn."""


class ToolCallTruncatedError(ToolRunError):
    """A tool call was cut off, by a limit, error or filter; it was not executed."""


class ToolRunTimeoutError(ToolRunError, TimeoutError):
    """
    A run of tools did not end within its `deadline`.

    `response` is the last whole response, or an empty one; `partial` is the part of the
    next one that arrived.

    Attributes:
        seconds: The deadline.
        tools: Names of the tools that had not returned; empty if the model had not
            responded.
    """

    def __init__(
        self,
        message: str,
        *,
        seconds: float,
        tools: tuple[str, ...],
        partial: ChatResponse | None,
        **more: Any,
    ) -> None:
        super().__init__(message, **more)
        self.seconds = seconds
        self.tools = tools
        self.partial = partial


class ToolTimeoutError(OpenRouterError, TimeoutError):
    """
    A call of a tool did not return within the `timeout` of the tool.

    Attributes:
        tool: Name of the tool.
        seconds: The timeout.
    """

    def __init__(self, message: str, *, tool: str, seconds: float, **more: Any) -> None:
        super().__init__(message, **more)
        self.tool = tool
        self.seconds = seconds


class BudgetExceededError(OpenRouterError):
    """
    The budget does not allow a request; nothing was sent.

    Attributes:
        limit: The budget in US dollars.
        spent: The amount that is spent or reserved.
        estimate: The estimated cost of the request.
    """

    def __init__(
        self, message: str, *, limit: float, spent: float, estimate: float, **more: Any
    ) -> None:
        super().__init__(message, **more)
        self.limit = limit
        self.spent = spent
        self.estimate = estimate


class ToolError(Exception):
    """
    An error for the model, which a tool raises.

    The content is sent to the model unchanged, where any other exception is sent with
    its type, as `{"error": "ValueError: ..."}`.

    Attributes:
        content: The content of the tool message.
    """

    def __init__(self, content: str) -> None:
        super().__init__(content)
        self.content = content


class APIError(OpenRouterError):
    """
    A status outside 2XX, or an error inside a response with status 200.

    Attributes:
        status_code: Status that determines the class; the status of the HTTP response
            is `http.status`.
        headers: Headers of the response; names are case-insensitive.
        body: The decoded JSON, or else the text, cut off at `SizeLimits.error_bytes`.
            It may contain your account's id, which `str()` never shows.
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
        """Headers of the response; names are case-insensitive."""
        return self.http.headers

    def _headline(self) -> str:
        return f"{self.status_code}: {self.message}"


class ChatError(APIError):
    """
    A documented status, or an error in OpenRouter's format.

    Attributes:
        code: The error's own code: an int, a str or None.
        error_type: Kind of the error, such as "provider_overloaded"; often None.
        metadata: All other details that OpenRouter sent, unchanged.
        provider_name: Provider that failed; None if OpenRouter itself did.
        upstream: The provider's own message, shortened; None if it is unknown.
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
        upstream = f" {self.upstream!r}" if self.upstream else ""
        return f"{self.status_code}{kind}: {self.message}{provider}{upstream}"


class BadRequestError(ChatError):
    """400: invalid parameters, prompt or model."""


class AuthenticationError(ChatError):
    """401: a missing or invalid key; with `provider_name`, the provider's own key."""


class PaymentRequiredError(ChatError):
    """402: credits or a limit are used up; `retryable` if that is temporary."""


class PermissionDeniedError(ChatError):
    """403: moderation, a guardrail, the terms of service or the region."""


class NotFoundError(ChatError):
    """404: the model does not exist, or no endpoint meets the request's conditions."""


class RequestTimeoutError(ChatError):
    """408: the provider took too long."""


class PreconditionFailedError(ChatError):
    """412: a precondition failed."""


class PayloadTooLargeError(ChatError):
    """413: the request is too large."""


class UnprocessableEntityError(ChatError):
    """422: the request is well-formed but cannot be processed."""


class RateLimitError(ChatError):
    """429: a rate limit of OpenRouter or of the provider."""


class InternalServerError(ChatError):
    """500, and every 5XX without a class of its own."""


class BadGatewayError(InternalServerError):
    """502: the provider is down or sent an invalid response."""


class ServiceUnavailableError(InternalServerError):
    """503: overload, or no provider meets the routing requirements."""


class GatewayTimeoutError(InternalServerError):
    """504: the provider did not respond in time."""


class EdgeTimeoutError(InternalServerError):
    """524: OpenRouter did not respond to its edge network in time."""


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
    """Return the class of a status; without OpenRouter's envelope, an APIError."""
    if status in STATUS_CLASSES:
        return STATUS_CLASSES[status]
    if 500 <= status <= 599:
        return InternalServerError
    return ChatError if envelope else APIError
