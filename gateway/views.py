"""What was asked, what it cost, how it went."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.core.exceptions import BadRequest
from django.db.models import Q, QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from access.models import User
from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission
from connections.models import Model
from gateway.budgets.shown import applying
from gateway.ledger import sums
from gateway.models import Usage

PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
GROUPINGS = {"model": "Model", "connection": "Connection", "principal": "User"}
STATES = {"": "All", **dict(Usage.State.choices)}
ROWS = 50
COLUMNS = (
    *("at", "request_id", "source", "mode", "principal", "key_id", "connection", "model", "upstream_model", "stream"),
    *("state", "status", "error_code", "finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *("cache_write_tokens", "reasoning_tokens", "images", "search_units", "estimated", "suspect", "cost"),
    *("price_source", "first_token_ms", "total_ms", "adjusted"),
)
"""Of the export; `cost` is in 10⁻⁹ USD."""
RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Choice:
    """What the page shows, as its address says it."""

    period: str
    grouping: str
    state: str

    @classmethod
    def of(cls, query: Any) -> "Choice":
        return cls(
            _one_of(query.get("period", "24h"), PERIODS),
            _one_of(query.get("by", "model"), GROUPINGS),
            _one_of(query.get("state", ""), STATES),
        )

    @property
    def since(self) -> datetime:
        return timezone.now() - PERIODS[self.period]

    def listed(self, user: User) -> "QuerySet[Usage]":
        calls = Usage.objects.visible_to(user).filter(at__gte=self.since)
        return calls.filter(state=self.state) if self.state else calls


def _one_of(value: str, known: Iterable[str]) -> str:
    if value not in known:
        raise BadRequest(f"{value[:40]!r} is not one of {', '.join(filter(None, known))}.")
    return value


@requires()
@require_safe
def usage(request: PageRequest) -> HttpResponse:
    """The ledger: totals of a period, by model, connection or user, and the single calls, newest first."""
    choice = Choice.of(request.GET)
    found = sums.by_name(choice.grouping, choice.since, user=request.user)
    groups = [{"name": name, **figures} for name, figures in found.items()]
    rows = list(
        _before(choice.listed(request.user), request.GET.get("before", "")).prefetch_related("attempts")[: ROWS + 1]
    )
    return render(
        request,
        "gateway/usage.html",
        {
            "choice": choice,
            "periods": PERIODS,
            "groupings": GROUPINGS,
            "states": STATES,
            "totals": sums.total(found.values()),
            "groups": sorted(groups, key=itemgetter("calls"), reverse=True)[:20],
            "rows": rows[:ROWS],
            "older": _cursor(rows[ROWS - 1]) if len(rows) > ROWS else "",
            "everybody": request.user.may(Permission.VIEW_USAGE),
            "budgets": applying(request.user.principal, Model.objects.usable_by(request.user.principal)),
        },
    )


@requires()
@require_safe
def export(request: PageRequest) -> StreamingHttpResponse:
    """The calls that the page lists, all of them, as CSV."""
    choice = Choice.of(request.GET)
    rows = choice.listed(request.user).values_list(*COLUMNS)
    writer = csv.writer(Echo())
    lines = (writer.writerow(map(_cell, row)) for row in chain([COLUMNS], rows.iterator(chunk_size=1_000)))
    name = f"usage-{choice.period}-{timezone.now():%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


class Echo:
    """What `csv` takes for a file: gives each line back."""

    def write(self, line: str) -> str:
        return line


def _cell(value: Any) -> Any:
    """A value as a spreadsheet shows it, never as one that it runs."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    text = "; ".join(map(str, value)) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(RUN_BY_SPREADSHEETS) else text


def _cursor(row: Usage) -> str:
    return f"{row.at.isoformat()}~{row.pk}"


def _before(rows: "QuerySet[Usage]", cursor: str) -> "QuerySet[Usage]":
    """Page by key: what comes after the row that the cursor names."""
    if not cursor:
        return rows
    try:
        at, pk = cursor.split("~")
        moment, row = datetime.fromisoformat(at), UUID(pk)
    except ValueError as error:
        raise BadRequest("The address names no row to go on from.") from error
    return rows.filter(Q(at__lt=moment) | Q(at=moment, pk__lt=row))
