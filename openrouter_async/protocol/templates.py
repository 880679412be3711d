"""
Templates: chunks that differ in one text only, of which only that text is decoded.

In a stream, nearly all chunks are identical but for one text: of the content, of the
reasoning (which its detail repeats), or of the arguments of a tool call. A template is
learnt from a chunk that was decoded and accumulated. Data that begins and ends with the
same bytes, and has exactly one JSON string between them, is a chunk that differs in its
text. Everything else is left to the ordinary path.
"""

# ruff: noqa: SLF001 - the slots under lazy fields are set; properties take longer

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias

import orjson

from ..types import ChatStreamingResponseChunk, Delta, StreamingChoice
from ..types.lazy import EMPTY_LIST, Deferred
from .accumulator.accumulator import Accumulator
from .accumulator.text_sink import TextSink
from .encode import encode, join_texts
from .response_objects import read_chunk

Path: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a text in a choice."""

# The framing of an event of one line.
_DATA: Final = b"data: "
_END: Final = b"\n\n"
# The number of events that are matched in one step: if one of them does not match, all
# of them are matched one by one.
_BLOCK: Final = 64
# The number of chunks that must match a template so that it has saved time.
_USEFUL: Final = 4
# Useless templates in a row after which chunks are skipped before the next one: in some
# streams, each chunk has a usage or padding of its own.
_MAX_USELESS: Final = 3
_MIN_SKIPPED: Final = 16
_MAX_SKIPPED: Final = 1024
# Either of these takes the place of the text when a template is verified.
_MARKERS: Final = ("0", "1")

_CONTENT: Final[Path] = ("delta", "content")
_REASONING: Final[Path] = ("delta", "reasoning")
_DETAIL: Final[Path] = ("delta", "reasoning_details", 0)
_ARGUMENTS: Final[Path] = ("delta", "tool_calls", 0, "function", "arguments")

# Stands for the text in another form of an event; it must not occur elsewhere in it.
_RARE_TEXT: Final = "\x00text\x00"

# Members that no chunk may have that a template is learnt from.
_RARE: Final = (
    "usage",
    "openrouter_metadata",
    "alignment",
    "safeguard_results",
    "error",
    "debug",
)
_EMPTY: Final[tuple[Any, ...]] = (None, "", [])


class Template(Deferred):
    """
    The bytes that the chunks of a stream have in common, and where their text belongs.

    Attributes:
        sink: The end of the text in the response.
        matches: The number of chunks that it has matched.
        kind: "text" or "reasoning" if each chunk has only that, for the first choice;
            otherwise None.
    """

    __slots__ = (
        "_delta",
        "_head",
        "_infix",
        "_is_content",
        "_paths",
        "_tail",
        "_values",
        "kind",
        "matches",
        "sink",
    )

    def __init__(
        self,
        parts: Sequence[bytes],
        paths: Sequence[Path],
        chunk: ChatStreamingResponseChunk,
        sink: TextSink,
    ) -> None:
        """
        Create the template of a chunk.

        Args:
            parts: The data of the chunk before, after and, if there are two, between
                the places of its text.
            paths: The places of its text.
            chunk: The chunk. It is not kept, because its receiver may change it.
            sink: The end of the text in the response.
        """
        # Kept with the framing only: thousands of streams may be open.
        self._head = _DATA + parts[0]
        self._infix = parts[1] if len(parts) > 2 else None
        self._tail = parts[-1] + _END
        self._paths = paths
        self._is_content = paths[0] is _CONTENT
        self.sink = sink
        self.matches = 0
        self._values = (
            chunk.id,
            chunk.object,
            chunk.created,
            chunk.model,
            chunk.provider,
            chunk.system_fingerprint,
            chunk.service_tier,
            chunk.user_id,
        )
        (choice,) = chunk.choices
        delta = choice.delta
        self._delta = (
            choice.index,
            delta.role,
            delta.refusal,
            delta.reasoning,
        )
        self.kind: Literal["text", "reasoning"] | None = None
        if not choice.index and paths[0] is _REASONING:
            self.kind = "reasoning"
        elif not choice.index and self._is_content and not delta.reasoning:
            self.kind = "text"

    # --- bytes -> texts --------------------------------------------------------------

    def match_event(self, received: bytes) -> str | None:
        """Return the text of received bytes that are one event; None if they differ."""
        head, tail = self._head, self._tail
        if not (received.startswith(head) and received.endswith(tail)):
            return None
        start, end = len(head), len(received) - len(tail)
        # In a short event, the two may overlap.
        if end < start:
            return None
        body = received[start:end]
        # Many events together are common, and an exception takes longer than a search.
        if b"\n" in body:
            return None
        if self._infix is not None:
            half = body[: (len(body) - len(self._infix)) // 2]
            if half + self._infix + half != body:
                return None
            body = half
        # This is the proof: the value begins with the first quotation mark and ends
        # with the last one, so that it is one string, or orjson raises.
        try:
            text: str = orjson.loads(b'"%b"' % body)
        except orjson.JSONDecodeError:
            return None
        self.matches += 1
        return text

    def match_events(self, received: bytes) -> tuple[list[str], int]:
        """
        Return the texts of the events at the beginning of received bytes.

        Returns:
            The texts of the events that match, and the length of these events.
        """
        texts: list[str] = []
        length = 0
        if not received.startswith(self._head):
            return texts, length
        start, end = len(self._head), len(self._tail) - len(_END)
        while True:
            # Searching for one byte, and not in the beginnings and ends, takes a third
            # of the time of splitting.
            bodies: list[bytes] = []
            at = length
            while (
                len(bodies) < _BLOCK
                and (stop := received.find(b"\n", at + start + end)) >= 0
            ):
                bodies.append(received[at + start : stop - end])
                at = stop + len(_END)
            if not bodies:
                return texts, length
            found = self._match_block(bodies, received[length:at])
            if found is None:
                return self._match_each(received, texts, length)
            texts += found
            length = at

    def _match_block(self, bodies: Sequence[bytes], events: bytes) -> list[str] | None:
        """Return the texts if events have exactly these bodies; None if perhaps not."""
        # One comparison for all of them. Splitting by tail and head would be shorter
        # and slower: CPython prepares a search for so long a separator again for each
        # piece.
        if self._head + (self._tail + self._head).join(bodies) + self._tail != events:
            return None
        return self._decode(bodies)

    def _match_each(
        self, received: bytes, texts: list[str], length: int
    ) -> tuple[list[str], int]:
        """Add the texts of the events from `length` on that match, one by one."""
        while (end := received.find(_END, length) + len(_END)) > length:
            text = self.match_event(received[length:end])
            if text is None:
                break
            texts.append(text)
            length = end
        return texts, length

    def match(self, datas: Sequence[bytes]) -> list[str]:
        """Return the texts of the chunks at the beginning of `datas` that match."""
        if not (datas and datas[0].startswith(self._head[len(_DATA) :])):
            return []
        lines = [_DATA + data for data in datas]
        return self.match_events(_END.join(lines) + _END)[0]

    def _decode(self, bodies: Sequence[bytes]) -> list[str] | None:
        """Return the texts between beginnings and ends that are the template's."""
        if self._infix is not None:
            length = len(self._infix)
            halves = [body[: (len(body) - length) // 2] for body in bodies]
            if [half + self._infix + half for half in halves] != bodies:
                return None
            bodies = halves
        texts = decode_bodies(bodies)
        if texts is not None:
            self.matches += len(texts)
        return texts

    # --- texts -> chunks -------------------------------------------------------------

    def make_chunk(self, text: str) -> ChatStreamingResponseChunk:
        """Return the chunk that has this text."""
        chunk: Any = _new(ChatStreamingResponseChunk)
        (
            chunk.id,
            chunk.object,
            chunk.created,
            chunk.model,
            chunk.provider,
            chunk.system_fingerprint,
            chunk.service_tier,
            chunk.user_id,
        ) = self._values
        chunk._new_text = text
        if self._is_content:
            chunk._text = text
            chunk._reasoning = self._delta[3]
        else:
            chunk._text = ""
            is_reasoning = self._paths[0] is _REASONING
            chunk._reasoning = text if is_reasoning else self._delta[3]
        chunk._choices = chunk._raw = self
        chunk._safeguard_results = EMPTY_LIST
        chunk._usage = None
        chunk.openrouter_metadata = None
        chunk.alignment = None
        chunk.error = None
        chunk.debug = None
        return chunk  # type: ignore[no-any-return]

    def create(self, shape: Any, name: str) -> Any:
        """
        Return `choices` or `raw` of a chunk.

        Both are new objects for each chunk: chunks must not share what a caller may
        change. Calls and reasoning details in `choices` refer to parts of `raw`, so
        that both are created together then.
        """
        if name == "choices":
            if self._is_content:
                return [self._make_choice(shape._new_text)]
            raw = self._make_raw(shape._new_text)
            if shape._raw is self:
                shape._raw = raw
            return read_chunk(raw).choices
        raw = self._make_raw(shape._new_text)
        if not self._is_content and shape._choices is self:
            shape._choices = read_chunk(raw).choices
        return raw

    def _make_choice(self, text: str) -> StreamingChoice:
        choice: StreamingChoice = _new(StreamingChoice)
        delta: Any = _new(Delta)
        choice.delta = delta
        choice.index, delta.role, delta.refusal, delta.reasoning = self._delta
        delta.content = text
        delta._reasoning_details = delta._tool_calls = EMPTY_LIST
        delta._annotations = delta._images = EMPTY_LIST
        delta.audio = None
        choice.finish_reason = None
        choice.native_finish_reason = None
        choice.logprobs = None
        choice.error = None
        return choice

    def encode_events(self, texts: list[str]) -> bytes:
        """Return the events of the chunks that have these texts, at least one."""
        head, infix, tail = self._head, self._infix, self._tail
        if infix is None:
            return head + join_texts(texts, tail + head) + tail
        # A line feed is not part of the body of a JSON string.
        bodies = join_texts(texts, b"\n").split(b"\n")
        return b"".join([head + body + infix + body + tail for body in bodies])

    def split_event(
        self, encode_event: Callable[[dict[str, Any]], bytes]
    ) -> list[bytes] | None:
        """
        Return what is around the texts in another form of the chunks' events.

        Args:
            encode_event: Returns the event of a chunk's `raw`, which it may change.

        Returns:
            The bytes that the JSON string body of a text joins to its event; None if
            the event does not have the texts of the chunk and no others like them.
        """
        event = encode_event(self._make_raw(_RARE_TEXT))
        parts = event.split(orjson.dumps(_RARE_TEXT)[1:-1])
        return parts if len(parts) == len(self._paths) + 1 else None

    def _make_raw(self, text: str) -> dict[str, Any]:
        prefix, suffix = self._head[len(_DATA) :], self._tail[: -len(_END)]
        raw = orjson.loads(prefix + (self._infix or b"") + suffix)
        for path in self._paths:
            _put(raw["choices"][0], path, text)
        return raw  # type: ignore[no-any-return]


class ChunkRun:
    """
    Chunks of one template that follow one another, and were not created yet.

    Attributes:
        template: The template.
        texts: The texts of the chunks; at least one.
    """

    __slots__ = ("template", "texts")

    def __init__(self, template: Template, texts: list[str]) -> None:
        self.template = template
        self.texts = texts

    def make_chunks(self) -> list[ChatStreamingResponseChunk]:
        """Return the chunks."""
        return [*map(self.template.make_chunk, self.texts)]


_new: Any = object.__new__


def find_template(chunk: ChatStreamingResponseChunk) -> tuple[Template, str] | None:
    """Return the template of a chunk that nobody may have changed, and its text."""
    shape: Any = chunk
    source = shape._raw
    if source.__class__ is Template and shape._choices is source:
        return source, shape._new_text
    return None


def encode_run(run: ChatStreamingResponseChunk | ChunkRun) -> bytes:
    """
    Return the server-sent events of chunks, with all members that were received.

    Those of a template are put together, without creating the chunks.
    """
    if isinstance(run, ChunkRun):
        return run.template.encode_events(run.texts)
    return b"%b%b%b" % (_DATA, encode(run.raw), _END)


def decode_bodies(bodies: Sequence[bytes]) -> list[str] | None:
    r"""
    Return the texts of which these are the JSON string bodies; None if perhaps not.

    They are decoded as one list. Each of three checks has a counter-example to the
    others:

    1. The number of texts: `a","b` and `c` are three.
    2. Only texts: `",["x`, `y` and `z"],"w` are a text, a list and a text.
    3. No body ends in a backslash: `x\` and `,"z` are two other texts.
    """
    joined = b'","'.join(bodies)
    if b'\\","' in joined or joined.endswith(b"\\"):
        return None
    try:
        texts: list[Any] = orjson.loads(b'["%b"]' % joined)
    except orjson.JSONDecodeError:
        return None
    if len(texts) != len(bodies) or {*map(type, texts)} != {str}:
        return None
    return texts


class TemplateLearner:
    """Learns templates from the chunks of one stream that were decoded completely."""

    enabled: ClassVar[bool] = True
    """Set to False by tests, which compare streams with and without templates."""

    __slots__ = ("_skip", "_useless")

    def __init__(self) -> None:
        # Useless templates in a row, and the number of chunks to skip now.
        self._useless = 0
        self._skip = 0

    def learn(
        self,
        data: bytes,
        chunk: ChatStreamingResponseChunk,
        accumulator: Accumulator,
        last: Template | None,
    ) -> Template | None:
        """
        Return a template of a chunk; None if it is too special, or not worth it.

        Args:
            data: The data of the chunk.
            chunk: The chunk. It was added to the accumulator, and an earlier chunk of
                the stream had a token.
            accumulator: The accumulator.
            last: The template that did not match the chunk.
        """
        if last is not None and last.matches >= _USEFUL:
            self._useless = self._skip = 0
        if not self.enabled:
            return None
        if self._skip:
            self._skip -= 1
            return None
        self._useless += 1
        if self._useless > _MAX_USELESS:
            self._skip = min(
                _MIN_SKIPPED << (self._useless - _MAX_USELESS - 1), _MAX_SKIPPED
            )
        return _learn(data, chunk, accumulator)


def _learn(
    data: bytes, chunk: ChatStreamingResponseChunk, accumulator: Accumulator
) -> Template | None:
    choice = _only_choice(chunk)
    paths = None if choice is None else _find_text(choice)
    if choice is None or paths is None or b"\n" in data:
        return None
    parts = _split(data, paths)
    same = None if parts is None else _verify(parts, paths, data)
    if parts is None or same is None:
        return None
    sink = accumulator.text_sink(choice)
    return None if sink is None else Template(parts, paths, same, sink)


def _only_choice(chunk: ChatStreamingResponseChunk) -> dict[str, Any] | None:
    """Return the choice of a chunk that has nothing else than a delta."""
    raw = chunk.raw
    choices: Any = raw.get("choices")
    if len(chunk.choices) != 1 or len(choices) != 1:
        return None
    if any(raw.get(key) is not None for key in _RARE):
        return None
    choice: dict[str, Any] = choices[0]
    rest = (value for key, value in choice.items() if key not in ("index", "delta"))
    if type(choice.get("index")) is not int or any(value is not None for value in rest):
        return None
    return choice if choice.get("delta").__class__ is dict else None


def _find_text(choice: Mapping[str, Any]) -> tuple[Path, ...] | None:
    """
    Return the places of the only text in a choice, of which two have the same text.

    None if the choice has another member that is not empty, except for a role.
    """
    delta = choice["delta"]
    members = {key for key, value in delta.items() if value not in _EMPTY}
    members.discard("role")
    paths: tuple[Path, ...]
    if members == {"content"}:
        paths = (_CONTENT,)
    elif members == {"reasoning"}:
        paths = (_REASONING,)
    elif members == {"reasoning", "reasoning_details"}:
        name = _text_of_detail(delta["reasoning_details"])
        if name is None:
            return None
        paths = (_REASONING, (*_DETAIL, name))
    elif members == {"tool_calls"} and _is_continuation(delta["tool_calls"]):
        paths = (_ARGUMENTS,)
    else:
        return None
    texts = [_get(choice, path) for path in paths]
    # A text of another class has half a character.
    is_one = texts[0].__class__ is str and texts[0] and texts[0] == texts[-1]
    return paths if is_one else None


def _text_of_detail(details: Any) -> str | None:
    """Return the key of the text in reasoning details that have nothing else."""
    if details.__class__ is not list or len(details) != 1:
        return None
    detail = details[0]
    if detail.__class__ is not dict or type(detail.get("index")) is not int:
        return None
    for name in ("text", "summary"):
        if detail.keys() == {"type", name, "format", "index"}:
            return name
    return None


def _is_continuation(calls: Any) -> bool:
    """Return True if tool calls are one fragment of arguments, without id and name."""
    if calls.__class__ is not list or len(calls) != 1:
        return False
    call = calls[0]
    return (
        call.__class__ is dict
        and {"index", "function"} <= call.keys() <= {"index", "function", "type"}
        and type(call["index"]) is int
        and call["function"].__class__ is dict
        and call["function"].keys() == {"arguments"}
    )


def _get(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(value: Any, path: Path, text: str) -> None:
    _get(value, path[:-1])[path[-1]] = text


def _split(data: bytes, paths: Sequence[Path]) -> list[bytes] | None:
    """Return the data before, between and after the places of its text."""
    bodies: list[re.Match[bytes]] = []
    for path in paths:
        key = str(path[-1]).encode()
        found = re.search(rb'"%b"\s*:\s*"((?:[^"\\]|\\.)*)"' % key, data)
        if found is None:
            return None
        bodies.append(found)
    bodies.sort(key=lambda found: found.start(1))
    parts: list[bytes] = []
    start = 0
    for found in bodies:
        parts.append(data[start : found.start(1)])
        start = found.end(1)
    return [*parts, data[start:]]


def _verify(
    parts: Sequence[bytes], paths: Sequence[Path], data: bytes
) -> ChatStreamingResponseChunk | None:
    """
    Return the chunk again, if only its text depends on the data between the parts.

    A different text is inserted between the parts and decoded. It must appear where the
    chunk has its text, and everything else must equal the chunk. This fails if a key is
    repeated, or if a position is not that of the text. The data must be accepted by
    orjson: numbers that another decoder accepts may differ although they compare as
    equal.

    Returns:
        The chunk as decoded. The accumulator may have changed texts of the other one,
        if a half of a character had been received before.
    """
    try:
        expected = orjson.loads(data)
        text = _get(expected["choices"][0], paths[0])
        marker = _MARKERS[1] if text == _MARKERS[0] else _MARKERS[0]
        found = orjson.loads(marker.encode().join(parts))
    except orjson.JSONDecodeError:
        return None
    for path in paths:
        choice = found["choices"][0]
        if _get(choice, path) != marker:
            return None
        _put(choice, path, text)
    try:
        return read_chunk(expected) if found == expected else None
    except RecursionError:
        # It is nested too deeply to be compared.
        return None
