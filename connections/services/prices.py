"""Acts on the prices that admins set for models. The past is not changed: calls were charged by it."""

from collections.abc import Mapping
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from access import audit
from access.models import User
from connections import prices
from connections.models import Model, Price

LAST_YEAR = 2200


@transaction.atomic
def set_price(
    actor: User,
    model: Model,
    amounts: Mapping[str, str],
    *,
    starts: datetime | None = None,
    ends: datetime | None = None,
    note: str = "",
) -> Price:
    """Let a price hold from `starts` (None: now) to before `ends` (None: without end).

    A price without end that holds before it ends where the new one starts; any other overlap is refused.
    """
    now = timezone.now()
    row = Price(model=model, amounts=dict(amounts), starts=starts or now, ends=ends, note=note)
    _check(row, now)
    Model.objects.select_for_update().get(pk=model.pk)  # one price at a time
    for former in model.prices.filter(ends=None, starts__lt=row.starts):
        if ends is not None:
            raise _overlap(former)
        former.ends = row.starts
        former.save(update_fields=["ends"])
    _check_overlap(row)
    row.save()
    audit.record(actor, "price.set", model, after=_described(row))
    return row


def _check(row: Price, now: datetime) -> None:
    try:
        prices.check_override(row.amounts)
    except ValueError as error:
        raise ValidationError({"amounts": [str(error)]}) from None
    if not row.amounts:
        raise ValidationError({"amounts": ["Give at least one price; 0 is one, too."]})
    if row.starts < now:
        raise ValidationError({"starts": ["A price starts now or later: what was charged stays charged."]})
    if row.ends is not None and row.ends <= row.starts:
        raise ValidationError({"ends": ["The end must come after the start."]})
    if max(row.starts.year, row.ends.year if row.ends else 0) > LAST_YEAR:
        raise ValidationError({"starts": [f"No price is set beyond the year {LAST_YEAR}."]})


def _check_overlap(row: Price) -> None:
    others = row.model.prices.filter(Q(ends=None) | Q(ends__gt=row.starts))
    other = (others if row.ends is None else others.filter(starts__lt=row.ends)).first()
    if other is not None:
        raise _overlap(other)


def _overlap(other: Price) -> ValidationError:
    until = f"{other.ends:%Y-%m-%d %H:%M}" if other.ends else "further notice"
    return ValidationError(
        {"starts": [f"Another price holds from {other.starts:%Y-%m-%d %H:%M} until {until} (UTC). End that one first."]}
    )


@transaction.atomic
def end_price(actor: User, price: Price) -> None:
    """A price that holds stops now; one that was to come never does. One that is over stays as it is."""
    if price.over:
        raise ValidationError("This price is over already.")
    audit.record(actor, "price.ended", price.model, before=_described(price))
    if price.running:
        price.ends = timezone.now()
        price.save(update_fields=["ends"])
    else:
        price.delete()


def _described(price: Price) -> dict[str, object]:
    return {
        "amounts": price.amounts,
        "starts": price.starts.isoformat(),
        "ends": price.ends.isoformat() if price.ends else None,
        "note": price.note,
    }
