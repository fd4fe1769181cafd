"""Reads the body of a call: strictly, as far as policy needs it, and no further.

The top level is split into raw values; parameters are checked against `parameters.KNOWN`, messages against
their shapes. What is valid travels on as the very bytes the caller sent.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from connections.providers.calls import Mode
from connections.providers.parameters import KNOWN
from gateway import strict_json
from gateway.envelope import Problem
from gateway.fields import decode, parameter, reason

MAX_FIELDS = 100
LONGEST_NAME = 64
MAX_ITEMS = 10_000
MAX_INPUTS = 2_048
MAX_TOKENS = 300_000
"""Tokens that `input` may hold instead of texts."""
MAX_BESIDE = 3 * 2**20
"""Bytes of all fields but messages, prompt and input: a million tiny ones take long to read."""
MAX_IMAGE_PROMPT = 32_000
MAX_QUERY = 100_000
IMAGE_SIZE = re.compile(r"[1-9][0-9]{1,4}x[1-9][0-9]{1,4}")
IMAGE_CHOICES = {"response_format": ("url", "b64_json"), "output_format": ("png", "jpeg", "webp")}
INVISIBLE = {"Cf", "Cc", "Zs", "Zl", "Zp", "Mn", "Me"}
LOOKED_AT = 4_096
"""Characters searched for a visible one."""

CONTENT_OF: Mapping[Mode, tuple[str, ...]] = {
    Mode.CHAT: ("messages",),
    Mode.COMPLETION: ("prompt",),
    Mode.EMBEDDING: ("input",),
    Mode.IMAGE: ("prompt",),
    Mode.RERANK: ("query", "documents"),
}
"""The fields that hold what is asked."""
STREAMED = frozenset({Mode.CHAT, Mode.COMPLETION})


class Function(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: str


class ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    function: Function
    type: Literal["function"] = "function"
    index: int | None = None


class ImageURL(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    detail: str | None = None


class CacheControl(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    ttl: str | None = None


class TextPart(msgspec.Struct, forbid_unknown_fields=True, tag="text"):
    text: str
    cache_control: CacheControl | None = None


class ImagePart(msgspec.Struct, forbid_unknown_fields=True, tag="image_url"):
    image_url: ImageURL
    cache_control: CacheControl | None = None


class RefusalPart(msgspec.Struct, forbid_unknown_fields=True, tag="refusal"):
    refusal: str


class Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | ImagePart | RefusalPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class Body(msgspec.Struct):
    """A decoded call: `fields` holds everything but `model`, `stream` and `stream_options`, still as bytes."""

    model: str
    stream: bool
    wants_usage: bool
    fields: dict[str, msgspec.Raw]
    parameters: dict[str, Any]
    """The decoded values of the common parameters, for limits and adapters."""


class Content(msgspec.Struct):
    """What may be large, still as bytes; everything else is passed over."""

    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()


_content = msgspec.json.Decoder(Content)
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | None)
_flag = msgspec.json.Decoder(bool | None)
_options = msgspec.json.Decoder(StreamOptions | None)
_messages = msgspec.json.Decoder(list[Message] | None)
_prompt = msgspec.json.Decoder(str | list[str] | None)
_documents = msgspec.json.Decoder(list[str] | None)
_input = msgspec.json.Decoder(str | list[str | int | list[int]] | None)


def read(raw: bytes, mode: Mode) -> Body:
    """Decode one body. Raises Problem with the field's name in `param`."""
    fields = _split(raw)
    model = _model(fields.pop("model", None))
    stream = bool(decode(_flag, "stream", fields.pop("stream", None)))
    options = decode(_options, "stream_options", fields.pop("stream_options", None))
    if options is not None and not stream:
        raise Problem("invalid_value", "stream_options needs stream: true.", param="stream_options")
    if stream and mode not in STREAMED:
        raise Problem("invalid_value", "Only chats and completions can be streamed.", param="stream")
    for content in CONTENT_OF[mode]:
        if content not in fields:
            raise Problem("invalid_value", f"The field {content} is missing.", param=content)
    CHECKS[mode](fields)
    known = KNOWN[mode]
    parameters = {name: parameter(name, known[name], fields[name]) for name in fields if name in known}
    return Body(model, stream, bool(options and options.include_usage), fields, parameters)


def refuse_unknown(fields: Iterable[str], mode: Mode, forwarded: Iterable[str]) -> None:
    """Nothing is dropped in silence, and nothing chooses a destination: names we do not know are refused."""
    for name in fields:
        if name in CONTENT_OF[mode] or name in KNOWN[mode] or name in forwarded:
            continue
        raise Problem("unknown_field", f"The field {name[:60]!r} is not known here.", param=name[:60])


# --- pieces -----------------------------------------------------------------------------------------------


def _split(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        if not raw.isascii():
            raw.decode()
        if len(raw) > MAX_BESIDE:
            _check_beside(_content.decode(raw), len(raw))
        fields = _top.decode(raw)
    except msgspec.ValidationError as error:
        raise Problem("invalid_json", "The body must be a JSON object.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not raw.strip():
            raise Problem("invalid_json", "The body is empty; send a JSON object.") from error
        if b"\\ud" in raw.lower():
            _check_slowly(raw)  # names half a surrogate pair, which the decoder takes for a truncated text
        raise Problem("invalid_json", f"The body is not valid JSON: {reason(error)}.") from error
    if len(fields) > MAX_FIELDS:
        raise Problem("unknown_field", f"The body has more than {MAX_FIELDS} fields.")
    escaped = b"\\" in raw and b"\\u0000" in raw  # one byte is found a hundred times as fast
    if escaped or not _as_encoded(raw, fields):
        _check_slowly(raw)
    return fields


def _check_beside(content: Content, size: int) -> None:
    if (
        size
        - sum(len(memoryview(value)) for value in (content.messages, content.prompt, content.input, content.documents))
        > MAX_BESIDE
    ):
        raise Problem("invalid_value", f"The fields beside what is asked have more than {MAX_BESIDE} bytes.")


def _as_encoded(raw: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the body is these fields as encoders write them, spaced or not: then no key came twice."""
    comma, colon = (b", ", b": ") if raw.find(b'": ', 0, LONGEST_NAME) > 0 else (b",", b":")
    return raw == b"{%b}" % comma.join([b'"%b"%b%b' % (name.encode(), colon, value) for name, value in fields.items()])


def _check_slowly(raw: bytes) -> None:
    try:
        strict_json.loads(raw)
    except ValueError as error:
        code = "duplicate_key" if "same key twice" in str(error) else "invalid_json"
        raise Problem(code, f"The body is not acceptable JSON: {error}.") from error


def _model(raw: msgspec.Raw | None) -> str:
    name = decode(_text, "model", raw)
    if not name:
        raise Problem("invalid_value", "The field model is missing; GET /v1/models lists the ids.", param="model")
    if len(name) > 300 or not name.isprintable():
        raise Problem("invalid_value", "The field model is not a model id; GET /v1/models lists them.", param="model")
    return str(name)


# --- what is asked ----------------------------------------------------------------------------------------


Fields = Mapping[str, msgspec.Raw]


def _check_messages(fields: Fields) -> None:
    messages: list[Message] = decode(_messages, "messages", fields["messages"]) or []
    if not messages:
        raise Problem("invalid_value", "The field messages must hold at least one message.", param="messages")
    if len(messages) > MAX_ITEMS:
        raise Problem("invalid_value", f"More than {MAX_ITEMS} messages.", param="messages")
    seen = False
    called: set[str] = set()
    for position, message in enumerate(messages):
        _check_message(position, message, called)
        seen = seen or _says_something(message)
    if not seen:
        raise Problem("invalid_value", "The messages hold no visible text.", param="messages")


def _check_message(position: int, message: Message, called: set[str]) -> None:
    where = f"messages[{position}]"
    if message.content is None and not (message.role == "assistant" and (message.tool_calls or message.refusal)):
        raise Problem("invalid_value", f"{where} has no content.", param=f"{where}.content")
    if message.tool_calls:
        called.update(call.id for call in message.tool_calls)
    if message.role == "tool" and message.tool_call_id not in called:
        raise Problem(
            "invalid_value", f"{where} answers a tool call that no message made.", param=f"{where}.tool_call_id"
        )


def _says_something(message: Message) -> bool:
    if message.tool_calls or message.content is None:
        return bool(message.tool_calls)
    if isinstance(message.content, str):
        return visible(message.content)
    return any(not isinstance(part, TextPart) or visible(part.text) for part in message.content)


def visible(text: str) -> bool:
    """Whether the text holds a character that a reader would see."""
    return any(unicodedata.category(letter) not in INVISIBLE for letter in text[:LOOKED_AT])


def _check_prompt(fields: Fields) -> None:
    prompt = decode(_prompt, "prompt", fields["prompt"])
    texts = [prompt] if isinstance(prompt, str) else prompt or []
    if not texts or len(texts) > 128 or not all(map(visible, texts)):
        raise Problem("invalid_value", "The field prompt must be a text, or up to 128 of them.", param="prompt")


def _check_input(fields: Fields) -> None:
    given = decode(_input, "input", fields["input"])
    items = [given] if isinstance(given, str) else given or []
    if not items or (len(items) > MAX_INPUTS and not isinstance(items[0], int)):
        raise Problem("invalid_value", f"The field input must hold 1 to {MAX_INPUTS} texts.", param="input")
    if sum(len(item) if isinstance(item, list) else 1 for item in items) > MAX_TOKENS:
        raise Problem("invalid_value", f"The field input must hold at most {MAX_TOKENS} tokens.", param="input")
    if len({type(item) for item in items}) > 1:
        raise Problem("invalid_value", "The field input mixes texts and tokens.", param="input")
    tokens = [token for item in items for token in (item if isinstance(item, list) else [item])]
    if any(item == [] for item in items) or any(
        token == "" if isinstance(token, str) else token < 0 for token in tokens
    ):
        raise Problem("invalid_value", "The field input holds an empty text or a negative token.", param="input")


def _check_image(fields: Fields) -> None:
    prompt = decode(_text, "prompt", fields["prompt"])
    if not prompt or not visible(prompt) or len(prompt) > MAX_IMAGE_PROMPT:
        raise Problem("invalid_value", f"The field prompt must be a text of up to {MAX_IMAGE_PROMPT:,} characters.",
                      param="prompt")  # fmt: skip
    size = decode(_text, "size", fields.get("size"))
    if size and size != "auto" and not IMAGE_SIZE.fullmatch(size):
        raise Problem("invalid_value", "The field size must be like 1024x1024, or auto.", param="size")
    for name, known in IMAGE_CHOICES.items():
        if (given := decode(_text, name, fields.get(name))) is not None and given not in known:
            raise Problem("invalid_value", f"The field {name} must be one of {', '.join(known)}.", param=name)


def _check_rerank(fields: Fields) -> None:
    query = decode(_text, "query", fields["query"]) or ""
    if not visible(query) or len(query) > MAX_QUERY:
        raise Problem(
            "invalid_value", f"The field query must be a text of up to {MAX_QUERY:,} characters.", param="query"
        )
    documents = decode(_documents, "documents", fields["documents"]) or []
    if not documents or len(documents) > MAX_ITEMS or not all(documents):
        raise Problem("invalid_value", f"The field documents must hold 1 to {MAX_ITEMS} texts.", param="documents")


CHECKS: Mapping[Mode, Callable[[Fields], None]] = {
    Mode.CHAT: _check_messages,
    Mode.COMPLETION: _check_prompt,
    Mode.EMBEDDING: _check_input,
    Mode.IMAGE: _check_image,
    Mode.RERANK: _check_rerank,
}
