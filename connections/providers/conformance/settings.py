"""Settings and secrets."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from connections.providers.calls import Answer
from connections.providers.conformance.demands import Skipped, demand, equal, fail, raises
from connections.providers.conformance.golden import Golden
from connections.providers.contract import GROUPS, StaticHeaders
from connections.providers.errors import KeyRefused
from connections.providers.fields import MAX_SECRET
from connections.providers.scrubbing import PIECE, scrub

SECRETIVE = re.compile("key|token|secret|password", re.IGNORECASE)
MARKS = Path(__file__).resolve().parents[3] / "templates" / "icons" / "providers"
BAD_SECRETS = ("with\nline", "with\r\nX: y", "k" * (MAX_SECRET + 1), "k" * 10**6, "🐟", "schlüssel", "nul\0")


def settings_explain_themselves(golden: Golden) -> None:
    """Each setting has a title and a help text."""
    for name, info in golden.kind.Settings.model_fields.items():
        demand(info.title and info.description, f"the setting {name} lacks a title or a help text")


def what_sounds_secret_is_a_secret(golden: Golden) -> None:
    """A setting that sounds like a key is a SecretStr, so that it is stored encrypted."""
    for name, info in golden.kind.Settings.model_fields.items():
        demand(not SECRETIVE.search(name) or info.annotation is not str, f"{name} is stored in the open")


def addresses_are_targets(golden: Golden) -> None:
    """Changing an address asks for the secrets again: it is marked `target=True`."""
    unmarked = {name for name in golden.kind.Settings.model_fields if "url" in name}
    unmarked -= set(golden.kind.Settings.target_names())
    demand(not unmarked, f"not marked target=True: {', '.join(sorted(unmarked))}")


def the_gallery_can_show_it(golden: Golden) -> None:
    """It has a label, a summary, a group and a mark that exists."""
    kind, mark = golden.kind, MARKS / f"{golden.kind.mark}.svg"
    demand(kind.label and kind.summary, "label and summary must say what it is")
    demand(kind.group in GROUPS, f"group must be one of {', '.join(GROUPS)}")
    if MARKS.is_dir():
        demand(mark.is_file() and "<svg" in mark.read_text(), f"there is no mark {kind.mark}; take “generic”")
        demand("style=" not in mark.read_text(), "the mark has a style attribute, which browsers ignore here")


def unknown_settings_are_refused(golden: Golden) -> None:
    """A setting that it does not know is refused, not ignored."""
    raises(ValidationError, lambda: golden.make(api_base="https://evil.test"), "an unknown setting")


def settings_survive_being_stored(golden: Golden) -> None:
    """Settings written as JSON and read again are the same."""
    provider, kind = golden.make(), golden.kind
    names = kind.Settings.secret_names()
    stored = provider.settings.model_dump(mode="json", exclude=set(names))
    given = golden.read("settings.json")
    typed = {name: given[name] for name in names if name in given}
    equal(kind.Settings.model_validate({**stored, **typed}), provider.settings, "read again, the settings are")


def no_secret_shows_in_any_text(golden: Golden) -> None:
    """No secret stands in the text of the provider, its settings, its requests or its errors."""
    provider = golden.make()
    signed = provider.auth.sign(provider.check())
    calls = [golden.call()] if golden.modes else []
    shown: list[object] = [provider, provider.settings, provider.auth, signed, *calls, *map(provider.request, calls)]
    try:
        golden.make(**dict.fromkeys(golden.kind.Settings.model_fields, object()))
    except ValidationError as error:
        shown.append(error)
    for secret in provider.secrets():
        for thing in shown:
            demand(secret not in f"{thing!r} {thing}", f"a secret stands in the text of {type(thing).__name__}")


def bad_secrets_are_refused(golden: Golden, secrets: tuple[str, ...] = BAD_SECRETS) -> None:
    """Secrets with line breaks, odd characters or a megabyte are refused, without being shown."""
    for name in golden.kind.Settings.secret_names():
        for secret in secrets:
            what = f"{secret[:12]!r} as {name}"
            error = raises(ValidationError, lambda name=name, secret=secret: golden.make(**{name: secret}), what)  # type: ignore[misc]
            demand(secret not in str(error), f"the refusal of {what} shows it")


def all_secrets_are_known(golden: Golden) -> None:
    """`secrets()` names every secret of the settings: what it misses is scrubbed from nothing."""
    known, given = golden.make().secrets(), golden.read("settings.json")
    for name in golden.kind.Settings.secret_names():
        for secret in _texts(given.get(name, "")):
            found = any(secret.strip() in one or one in secret for one in known)
            demand(found, f"the value of {name} is not among secrets()")


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [value] if isinstance(value, str) and value.strip() else []


def the_key_travels_in_headers_only(golden: Golden) -> None:
    """No secret stands in an address or a body."""
    provider = golden.make()
    for outgoing in golden.sent(provider):
        signed = provider.auth.sign(outgoing)
        for secret in provider.secrets():
            demand(secret not in signed.url, "a secret stands in the address, which logs keep")
            demand(secret.encode() not in signed.body, "a secret stands in the body")


def a_static_key_stands_in_a_header(golden: Golden) -> None:
    """A key that is sent as it is stands in a header of every request."""
    provider = golden.make()
    if not isinstance(provider.auth, StaticHeaders) or not provider.secrets():
        raise Skipped("it signs, trades its secret for a token, or has none")
    for outgoing in golden.sent(provider):
        values = provider.auth.sign(outgoing).headers.values()
        found = any(secret in value for secret in provider.secrets() for value in values)
        demand(found, f"no secret stands in the headers for {outgoing.url}")


def encodings(secret: str) -> list[str]:
    """As a provider may echo it."""
    raw = secret.encode()
    return [
        secret,
        json.dumps(secret)[1:-1],
        quote(secret, safe=""),
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw + b":more").decode(),
    ]


def an_echoed_key_is_scrubbed(golden: Golden) -> None:
    """A refusal that echoes the key is a KeyRefused without it."""
    provider = golden.make()
    for secret in provider.secrets():
        for echo in encodings(secret):
            for body in (json.dumps({"error": {"message": f"Bad key {echo}."}}), f"<p>Bad key {echo}.</p>"):
                error = provider.problem(Answer(401, {}, body.encode()))
                demand(isinstance(error, KeyRefused), f"HTTP 401 is {type(error).__name__}, and not KeyRefused")
                shown = scrub(f"{error.message} {error.evidence}", provider.secrets())
                pieces = (echo[at : at + PIECE] for at in range(len(echo) - PIECE + 1))
                if any(piece in shown for piece in pieces):
                    fail(f"a piece of an echoed key is shown: is it among secrets()? {shown[:80]!r}")
