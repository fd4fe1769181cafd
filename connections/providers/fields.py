"""Kinds of settings that many providers share, each with a sentence for what is wrong."""

import re
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import AfterValidator, SecretStr

from connections.providers.errors import RequestRefused

MAX_SECRET = 8192
MAX_SECRET_TEXT = 64 * 1024
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What HTTP allows as a header's name."""
OURS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that we write ourselves."""
PASTED = (
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/images/generations",
    "/rerank",
    "/models",
    "/v1/messages",
)


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if len(text) > MAX_SECRET:
        raise ValueError(f"A key has at most {MAX_SECRET} characters. Was something else pasted?")
    if not text.isascii() or not text.isprintable():
        raise ValueError("A key has only plain letters, digits and signs, on one line. Was it pasted whole and alone?")
    return SecretStr(text)


def _secret_text(value: SecretStr) -> SecretStr:
    """Line breaks as they are on Unix, whatever a browser made of them."""
    text = value.get_secret_value().replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(text) > MAX_SECRET_TEXT:
        raise ValueError(f"This has at most {MAX_SECRET_TEXT} characters. Was something else pasted?")
    if not text.isascii() or not text.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError("This has only plain letters, digits and signs. Was the file pasted whole and alone?")
    return SecretStr(text)


def tidy_address(text: str) -> str:
    """With scheme and host, without doubled slashes and ways up."""
    text = text.strip()
    if not text:
        return text
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("The address has characters that no address has, such as spaces or line breaks.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("This is no valid address.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("The address starts with https:// (or http://) and a host name.")
    if "@" in parts.netloc:
        raise ValueError("The address must not hold a user name or password.")
    if "#" in text:
        raise ValueError("The address must not have a # part.")
    path = re.sub("/{2,}", "/", parts.path).rstrip("/")
    if any(unquote(step) in {".", ".."} for step in path.split("/")):
        raise ValueError("The address must not have . or .. as a part of its path.")
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _url(text: str) -> str:
    """Without the path of an operation."""
    parts = urlsplit(tidy_address(text))
    path = parts.path
    for ending in PASTED:
        path = path.removesuffix(ending)
    return urlunsplit(parts._replace(path=path))


def _header_name(name: str) -> str:
    if name and not TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no valid header name.")
    if name.lower() in OURS - {"authorization"}:
        raise ValueError(f"The header {name} is written by us and cannot be set.")
    return name


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no valid header name.")
        if name.lower() in OURS:
            raise ValueError(f"The header {name} is written by us and cannot be set.")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"The value of the header {name} must be one line of plain characters.")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("Each header can be set once.")
    return headers


def _secret_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    plain = _headers({name: value.get_secret_value() for name, value in headers.items()})
    if not all(plain.values()):
        raise ValueError("Each header needs a value.")
    return headers


def named_twice(*groups: Iterable[str]) -> str:
    """A header's name that stands in more than one of these groups, in whatever case; empty: none does."""
    names = [name for group in groups for name in group if name]
    return next((name for place, name in enumerate(names) if name.lower() in map(str.lower, names[:place])), "")


def _model_root(url: str) -> str:
    """An address without any path means the usual `/v1`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/v1")) if parts.netloc and not parts.path else url


def joined(base: str, path: str, query: str = "") -> str:
    """`path` below `base`; `query` after the one that `base` may have."""
    parts = urlsplit(base)
    queries = "&".join(filter(None, (parts.query, query)))
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}", query=queries))


def in_path(name: str, safe: str = "") -> str:
    """A model's id as a part of a path, which it cannot lead out of. Raises RequestRefused."""
    path = quote(name, safe)
    if {"", ".", ".."} & set(path.split("/")):
        raise RequestRefused(f"{name[:60]!r} is no model's id: it must not have empty parts, . or .. between slashes.")
    return path


Secret = Annotated[SecretStr, AfterValidator(_secret)]
SecretText = Annotated[SecretStr, AfterValidator(_secret_text)]
"""A secret of many lines, as a file holds it; its setting must be marked `multiline`."""
Address = Annotated[str, AfterValidator(tidy_address)]
"""An address whose path stays as it is."""
Url = Annotated[str, AfterValidator(_url)]
"""An address; empty stays empty. Whether it may be reached is asked elsewhere."""
OpenAIUrl = Annotated[Url, AfterValidator(_model_root)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderText = Annotated[str, AfterValidator(lambda text: next(iter(_headers({"x": text}).values())))]
Headers = Annotated[dict[str, str], AfterValidator(_headers)]
SecretHeaders = Annotated[dict[str, Secret], AfterValidator(_secret_headers)]
