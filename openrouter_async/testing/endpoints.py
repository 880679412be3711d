"""What the local server says on its own: who may ask, what is wrong, the answers."""

from collections.abc import Callable, Iterable
from typing import Any

from .account import Account
from .catalogue import endpoints, listing
from .error_replies import error_reply
from .reply import Reply
from .seen_requests import SeenRequest
from .simulated_model import answer

ROOT = "/api/v1"
_CHAT = f"{ROOT}/chat/completions"
_KEY = "sk-or-v1-local-0000000000000000"
_USER = "user_2local"


class Endpoints:
    """Judges and answers requests without a script, as OpenRouter was seen to do."""

    def __init__(
        self,
        keys: Iterable[str] | None,
        models: Iterable[str] | None,
        account: Account,
    ) -> None:
        self.account = account
        self._keys = None if keys is None else tuple(keys)
        self._models = None if models is None else frozenset(models)
        self._readers: dict[str, Callable[[SeenRequest], Reply]] = {
            f"{ROOT}/models": lambda _: _json(listing(self._models)),
            f"{ROOT}/key": lambda seen: _json(account.key(_key(seen))),
            f"{ROOT}/credits": lambda _: _json(account.credits()),
            f"{ROOT}/generation": self._generation,
        }

    @property
    def api_key(self) -> str:
        """A key that is accepted."""
        return self._keys[0] if self._keys else _KEY

    def is_chat(self, seen: SeenRequest) -> bool:
        """Tell whether a request is for a completion."""
        return seen.path == _CHAT

    def refuse_key(self, seen: SeenRequest) -> Reply | None:
        """Refuse a request without an acceptable key; None: it has one."""
        # The list of models is public (protocol, Oct 2026).
        if seen.path == f"{ROOT}/models":
            return None
        key = _key(seen)
        if not key:
            return error_reply(401, "Missing Authentication header")
        return (
            error_reply(401)
            if self._keys is not None and key not in self._keys
            else None
        )

    def refuse(self, seen: SeenRequest) -> Reply | None:
        """Refuse a request that is wrong in itself; None: it is good."""
        if not self.is_chat(seen) and self._reader(seen) is None:
            return error_reply(404, "Not Found", generation_id=False)
        method = "POST" if self.is_chat(seen) else "GET"
        if seen.method != method:
            return error_reply(405, headers={"Allow": method}, generation_id=False)
        return self._refuse_chat(seen) if self.is_chat(seen) else None

    def _refuse_chat(self, seen: SeenRequest) -> Reply | None:
        if not isinstance(seen.json, dict):
            # So it says, misleading as it is (recorded Oct 2026).
            text = "Input must have at least 1 token."
            return error_reply(
                400, text, metadata={"provider_name": None}, generation_id=False
            )
        messages: Any = seen.fields.get("messages")
        if not messages:
            text = 'Input required: specify "prompt" or "messages"'
            return error_reply(400, text, user_id=_USER, generation_id=False)
        if not isinstance(messages, list):
            text = "messages: Invalid input: expected array"
            return error_reply(400, text, user_id=_USER, generation_id=False)
        if self._models is not None and seen.model not in self._models:
            return error_reply(
                400, f"{seen.model} is not a valid model ID", user_id=_USER
            )
        return None

    def answer(self, seen: SeenRequest, created: int) -> Reply:
        """
        Answer a request that is good.

        Args:
            seen: The request.
            created: Unix seconds.
        """
        if self.is_chat(seen):
            return Reply(answer(seen, created))
        reader = self._reader(seen)
        assert reader is not None  # noqa: S101 - it was not refused
        return reader(seen)

    def _reader(self, seen: SeenRequest) -> Callable[[SeenRequest], Reply] | None:
        model = seen.path.removeprefix(f"{ROOT}/models/").removesuffix("/endpoints")
        if seen.path == f"{ROOT}/models/{model}/endpoints":
            known = self._models is None or model in self._models
            return (lambda _: _json(endpoints(model))) if known else None
        return self._readers.get(seen.path)

    def _generation(self, seen: SeenRequest) -> Reply:
        wanted = seen.query.get("id", "")
        found = self.account.generation(wanted)
        if found is None:
            text = f"Generation {wanted} not found"
            return error_reply(404, text, generation_id=False)
        return _json(found)


def _json(body: dict[str, Any]) -> Reply:
    return Reply(json=body, generation_id=False)


def _key(seen: SeenRequest) -> str:
    scheme, _, key = seen.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
