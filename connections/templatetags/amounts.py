"""How amounts, times and marks are shown."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django import template
from django.template.loader import select_template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from connections.models import HealthCheck
from connections.providers.contract import Provider

register = template.Library()

AGES = (("day", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)))


@register.filter
def money(nano: int | str | None) -> str:
    """10⁻⁹ USD as dollars; small amounts keep the digits that tell something. A missing one is unknown."""
    if not isinstance(nano, int):
        return "unknown"
    dollars = Decimal(nano) / 10**9
    if nano == 0 or dollars >= Decimal("0.01"):
        return f"${dollars:,.2f}"
    return f"${dollars:.6f}".rstrip("0") if dollars >= Decimal("0.000001") else "< $0.000001"


@register.filter
def piece(name: str) -> str:
    """What is paid for one by one, as people say it."""
    return name.replace("_", " ")


@register.filter
def duration(ms: int | None) -> str:
    return "–" if ms is None else f"{ms:,} ms"


@register.filter
def seconds(ms: int | None) -> str:
    return "–" if ms is None else f"{ms / 1000:,.2f} s"


@register.filter(name="sorted")
def in_order(names: Iterable[str]) -> list[str]:
    return sorted(names)


@register.filter
def signed(number: int) -> str:
    return f"{number:+,}"


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """How long ago a check was, with the exact moment on hover."""
    if moment is None:
        return "not checked yet"
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        moment.isoformat(),
        moment.strftime("%Y-%m-%d %H:%M:%S"),
        _age(timezone.now() - moment),
    )


def _age(age: timedelta) -> str:
    for unit, length in AGES:
        if age >= length:
            count = age // length
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''} ago"
    return "just now"


@register.simple_tag
def mark(kind: type[Provider] | None) -> SafeString:
    """A provider's mark; one for all where it brings none."""
    names = [f"icons/providers/{kind.mark}.svg"] if kind else []
    found: SafeString = select_template([*names, "icons/plug-connected.svg"]).render()
    return found


@register.filter
def told(checks: Sequence[HealthCheck]) -> str:
    """The strip in words."""
    counts = Counter(check.get_state_display().lower() for check in checks)
    said = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"The last checks: {said}" if said else "Not checked yet"


@register.filter
def slots(checks: Sequence[HealthCheck], count: int) -> list[tuple[int, HealthCheck | None]]:
    """The strip's places from left to right, each with its horizontal position; empty ones first."""
    padded: list[HealthCheck | None] = [None] * (count - len(checks)) + list(checks)
    return [(place * 6, check) for place, check in enumerate(padded)]
