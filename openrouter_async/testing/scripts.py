"""Scripted replies: which comes next, and for which request."""

from collections.abc import Callable
from typing import TypeAlias, Unpack

from attrs import define, field

from .reply import (
    Answer,
    Reply,
    ReplyFields,
    as_reply,
)
from .seen_requests import SeenRequest

Matcher: TypeAlias = Callable[[SeenRequest], bool] | str
"""A function of the request, the name of a model, or a part of the user's text."""


@define(eq=False)
class _Step:
    reply: Reply
    left: int | None


@define(eq=False)
class Script:
    """
    Replies that are given one after the other.

    Attributes:
        path: The end of the path that it is for; None: any.
        when: Which requests it is for; None: all.
        requests: Those that it has answered, oldest first.
    """

    path: str | None
    when: Matcher | None
    requests: list[SeenRequest] = field(factory=list[SeenRequest])
    _steps: list[_Step] = field(factory=list[_Step])

    def then(
        self,
        answer: "Answer | Reply" = None,
        /,
        *,
        times: int | None = 1,
        **fields: Unpack[ReplyFields],
    ) -> "Script":
        """
        Add a reply behind those that are there.

        Args:
            answer: What `LocalOpenRouter.reply` takes.
            times: How often; None: from then on, for ever.
            fields: Those of `Reply`.
        """
        if times is not None and times < 1:
            raise ValueError(f"times is 1 or more, or None; got {times}.")
        self._steps.append(_Step(as_reply(answer, **fields), times))
        return self

    @property
    def is_over(self) -> bool:
        """Whether it has no reply left."""
        return not self._steps

    def matches(self, seen: SeenRequest) -> bool:
        """Tell whether it is for a request."""
        if self.path is not None and not seen.path.endswith(self.path):
            return False
        if self.when is None:
            return True
        if isinstance(self.when, str):
            return seen.model == self.when or self.when in seen.prompt
        return self.when(seen)

    def take(self, seen: SeenRequest) -> Reply:
        """Use up the next reply."""
        step = self._steps[0]
        self.requests.append(seen)
        if step.left is not None:
            step.left -= 1
            if not step.left:
                del self._steps[0]
        return step.reply


@define(eq=False)
class Scripts:
    """All scripts of a server; those that match by a rule are asked first."""

    _scripts: list[Script] = field(factory=list[Script])

    def add(self, path: str | None, when: Matcher | None) -> Script:
        """Begin an empty script."""
        script = Script(path, when)
        self._scripts.append(script)
        return script

    def clear(self) -> None:
        """Drop them all."""
        self._scripts.clear()

    def take(self, seen: SeenRequest) -> Reply | None:
        """Use up the reply for a request; None: there is none."""
        for script in sorted(self._scripts, key=lambda script: script.when is None):
            if not script.is_over and script.matches(seen):
                return script.take(seen)
        return None
