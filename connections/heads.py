"""The head of a request, as bytes: what the request itself decides, and the headers that a provider adds."""

from collections.abc import Mapping
from functools import lru_cache

from connections.providers.calls import Outgoing
from connections.providers.errors import KeyRefused

OWN_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Decided by the request itself, never by a setting."""
UNLESS_SET = {"User-Agent": "llm-mesh", "Accept": "*/*", "Accept-Encoding": "identity"}
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""Methods that tell the length of a body even where there is none."""


def head(outgoing: Outgoing, path: str, host: str) -> bytes:
    """Raises KeyRefused where a header cannot be sent."""
    headers = outgoing.headers
    values = "".join(headers.values())
    if not (values.isascii() and values.isprintable()):
        raise _refused(headers)
    lines = _template(outgoing.method, path, host, tuple(headers)) % tuple(headers.values())
    if outgoing.body or outgoing.method in WITH_BODY:
        return f"{lines}Content-Length: {len(outgoing.body)}\r\n\r\n".encode()
    return f"{lines}\r\n".encode()


@lru_cache(maxsize=1024)
def _template(method: str, path: str, host: str, names: tuple[str, ...]) -> str:
    """What requests with these headers have in common, with a place for each value."""
    for name in names:
        if name.lower() in OWN_HEADERS or not _is_token(name):
            raise KeyRefused(f"The header {name!r} cannot be set. Remove it from the connection's settings.")
    there = {name.lower() for name in names}
    ours = [f"{name}: {value}" for name, value in UNLESS_SET.items() if name.lower() not in there]
    fixed = [f"{method} {path} HTTP/1.1", f"Host: {host}", *ours]
    lines = [*(line.replace("%", "%%") for line in fixed), *(f"{name}: %s" for name in names)]
    return "".join(f"{line}\r\n" for line in lines)


def _is_token(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum()


def _refused(headers: Mapping[str, str]) -> KeyRefused:
    name = next(name for name, value in headers.items() if not (value.isascii() and value.isprintable()))
    return KeyRefused(
        f"The header {name!r} holds a line break or another character that headers cannot carry. "
        "Replace the key or the header in the connection's settings."
    )
