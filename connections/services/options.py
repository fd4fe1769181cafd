"""What a connection may be called, and the options it has whatever its provider."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography import x509
from django.core.exceptions import ValidationError
from django.utils.text import slugify

from connections.account import has_control_characters
from connections.models import Connection

OPTIONS = ("name", "ca_certificate", "check_every", "probe_models", "slow_after_ms", "extra_parameters", "retries")
PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def tidy_name(name: str) -> str:
    """One spelling for names that look alike: Unicode's compatibility form without outer or doubled spaces."""
    return re.sub(" +", " ", unicodedata.normalize("NFKC", name)).strip(" ")


def checked_options(options: Mapping[str, Any], row: Connection | None = None) -> dict[str, Any]:
    """The options of a connection that are given, in order. Raises ValidationError by field."""
    unknown = set(options) - set(OPTIONS)
    if unknown:
        raise ValidationError({name: ["There is no such option."] for name in unknown})
    cleaned, problems = {**options}, {}
    if row is None or "name" in options:
        cleaned["name"] = tidy_name(str(options.get("name") or ""))
    for name, check in CHECKS.items():
        if name in cleaned and (problem := check(cleaned[name], row)):
            problems[name] = [problem]
    if problems:
        raise ValidationError(problems)
    return cleaned


def _name_problem(name: str, row: Connection | None) -> str:
    if not name:
        return "Give the connection a name."
    if len(name) > 80:
        return "A name may have at most 80 characters."
    if has_control_characters(name):
        return "The name holds invisible or control characters."
    others = Connection.objects.exclude(pk=row.pk) if row else Connection.objects.all()
    if name.casefold() in {tidy_name(other).casefold() for other in others.values_list("name", flat=True)}:
        return "Another connection has this name."
    return ""


def _certificate_problem(pem: str, row: Connection | None) -> str:
    if not pem:
        return ""
    if len(pem) > 100_000:
        return "The certificates may have at most 100,000 characters."
    if "PRIVATE KEY" in pem:
        return "This holds a private key, which is not needed and would be shown. Paste only certificates."
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return "This is not a PEM certificate."
    return ""


def _between(low: int, high: int, unit: str) -> Callable[[int, Connection | None], str]:
    def problem(value: int, row: Connection | None) -> str:
        return "" if low <= value <= high else f"Give a number of {unit} between {low:,} and {high:,}."

    return problem


def _parameters_problem(names: Sequence[str], row: Connection | None) -> str:
    if len(names) > 100:
        return "At most 100 parameters can be let through."
    wrong = next((name for name in names if not PARAMETER_NAME.fullmatch(name)), None)
    return "" if wrong is None else f"{wrong[:64]!r} is not a parameter's name."


CHECKS: dict[str, Callable[[Any, Connection | None], str]] = {
    "name": _name_problem,
    "ca_certificate": _certificate_problem,
    "check_every": _between(10, 86_400, "seconds"),
    "slow_after_ms": _between(1, 600_000, "milliseconds"),
    "extra_parameters": _parameters_problem,
    "retries": _between(0, 2, "retries"),
}


def free_slug(name: str) -> str:
    slug = slugify(unicodedata.normalize("NFKC", name).casefold())[:52].strip("-") or "connection"
    taken = set(Connection.objects.filter(slug__startswith=slug).values_list("slug", flat=True))
    return numbered(slug, taken)


def numbered(name: str, taken: set[str]) -> str:
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found
