"""Scripted replies: the order in which they are sent, and to which requests."""

from collections.abc import Callable
from typing import TypeAlias, Unpack

from attrs import define, field

from .reply import Reply, ReplyContent, ReplyFields, as_reply
from .seen_requests import SeenRequest

Matcher: TypeAlias = Callable[[SeenRequest], bool] | str
"""A function of the request, a model's name, or a part of the last user message."""


@define(eq=False)
class _ScriptStep:
    """A reply, and the number of times left to send it; None for no limit."""

    reply: Reply
    remaining: int | None


@define(eq=False)
class Script:
    """
    Replies that are sent one after the other to the requests that match.

    `LocalOpenRouter.reply()` creates it.

    Attributes:
        path: End of the URL path that a request must have; None: any path.
        when: Condition that a request must meet; None: no condition.
        requests: Requests that were replied to by this script, oldest first.
    """

    path: str | None
    when: Matcher | None
    requests: list[SeenRequest] = field(factory=list[SeenRequest])
    _steps: list[_ScriptStep] = field(factory=list[_ScriptStep])

    def then(
        self,
        content: "ReplyContent | Reply" = None,
        /,
        *,
        times: int | None = 1,
        **fields: Unpack[ReplyFields],
    ) -> "Script":
        """
        Append a reply, and return this script.

        Args:
            content: As for `LocalOpenRouter.reply()`.
            times: Number of requests that get this reply, 1 or more; None: all further
                ones, so that replies appended later are never sent.
            fields: Fields of `Reply`.

        Raises:
            ValueError: If `times` is less than 1.
        """
        if times is not None and times < 1:
            raise ValueError(f"Invalid times {times}: use 1 or more, or None.")
        self._steps.append(_ScriptStep(as_reply(content, **fields), times))
        return self

    @property
    def is_exhausted(self) -> bool:
        """True if no reply is left."""
        return not self._steps

    def matches(self, seen: SeenRequest) -> bool:
        """Return True if the request has the path and meets the condition."""
        if self.path is not None and not seen.path.endswith(self.path):
            return False
        if self.when is None:
            return True
        if isinstance(self.when, str):
            return seen.model == self.when or self.when in seen.prompt
        return self.when(seen)

    def take(self, seen: SeenRequest) -> Reply:
        """Return the next reply, for a request that matches."""
        step = self._steps[0]
        self.requests.append(seen)
        if step.remaining is not None:
            step.remaining -= 1
            if not step.remaining:
                del self._steps[0]
        return step.reply


@define(eq=False)
class Scripts:
    """All scripts of a server, in the order in which they were created."""

    _scripts: list[Script] = field(factory=list[Script])

    def add(self, path: str | None, when: Matcher | None) -> Script:
        """Create an empty script."""
        script = Script(path, when)
        self._scripts.append(script)
        return script

    def clear(self) -> None:
        """Remove all scripts."""
        self._scripts.clear()

    def take(self, seen: SeenRequest) -> Reply | None:
        """
        Return the next reply for a request; None if no script has one.

        Scripts with a condition (`when`) come first.
        """
        for script in sorted(self._scripts, key=lambda script: script.when is None):
            if not script.is_exhausted and script.matches(seen):
                return script.take(seen)
        return None
