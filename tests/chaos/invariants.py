"""What must hold after any chaos: the ledger says what the judge billed, and nothing is left open."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import redis
from django.db import connection
from django.db.models import Count

from gateway.limits.counters import ALIVE, ALIVE_SECONDS, LOOK, OWNER
from gateway.models import Attempt, Job, Usage
from tests.chaos.verdicts import Verdict
from tests.upstream.server import Upstream
from tests.upstream.wire import Request

CALL_ID = "x-litellm-call-id"
"""The header in which providers of this kind are told our id of the call."""


@dataclass
class Books:
    """The ledger beside the judge's bills."""

    billed: dict[str, list[Request]]
    """The judge's requests by our id of the call."""
    rows: dict[str, Usage]
    doubled: list[str]
    exact: int = 0
    unbilled: int = 0
    """Rows of calls that failed and cost nothing."""
    marked: int = 0
    """Rows of calls whose end the provider could not tell us, which say so."""
    ledger_tokens: int = 0
    billed_tokens: int = 0
    marked_tokens: int = 0
    """By how much the marked rows differ from the bill, all differences added up."""
    absent: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def compare(self) -> "Books":
        for call, requests in self.billed.items():
            row = self.rows.get(call)
            if row is None:
                self.absent.append(call)
            else:
                self._compare(row, requests)
        return self

    def _compare(self, row: Usage, requests: list[Request]) -> None:
        told = _tokens(request for request in requests if request.told)
        untold = [request for request in requests if request.bill and not request.told and _tokens([request])]
        known = (row.prompt_tokens or 0) + (row.completion_tokens or 0)
        if not _marked(row) and known == told and len(_unknown(row)) >= len(untold):
            self.exact += 1
            self._add(known, told)
        elif not _marked(row) and known == _tokens(requests):  # told, but the last line came to nobody
            self.exact += 1
            self._add(known, known)
        elif _marked(row) and not _tokens(requests) and not known:
            self.unbilled += 1
        elif _marked(row) and not (row.state == Usage.State.OK and requests[-1].told):
            self.marked += 1
            self.marked_tokens += abs(known - _tokens(requests))
        else:
            self._add(known, told)
            said = f"{row.state} {row.error_code} {row.prompt_tokens}+{row.completion_tokens}"
            self.wrong.append(f"{row.request_id}: the ledger says {said}, {told} were told, {len(untold)} untold")

    def _add(self, known: int, told: int) -> None:
        self.ledger_tokens += known
        self.billed_tokens += told


def _tokens(requests) -> int:
    bills = [request.bill for request in requests if request.bill]
    return sum(bill.prompt + bill.completion for bill in bills)


def _marked(row: Usage) -> bool:
    """It says itself that its tokens are a guess, or not known."""
    return row.estimated or row.prompt_tokens is None or row.completion_tokens is None


def _unknown(row: Usage) -> list[Attempt]:
    return [one for one in row.attempts.all() if one.prompt_tokens is None]


def books(judge: Upstream) -> Books:
    billed = defaultdict(list)
    for request in list(judge.requests):
        if CALL_ID in request.headers:
            billed[request.headers[CALL_ID]].append(request)
    rows = {row.request_id: row for row in Usage.objects.filter(request_id__in=billed).prefetch_related("attempts")}
    counted = Usage.objects.order_by().values("request_id").annotate(rows=Count("id")).filter(rows__gt=1)
    return Books(dict(billed), rows, [row["request_id"] for row in counted]).compare()


def check_books(verdict: Verdict, judge: Upstream) -> Books:
    found = books(judge)
    verdict.count(
        billed_calls=len(found.billed),
        exact_rows=found.exact,
        ledger=found.ledger_tokens,
        billed=found.billed_tokens,
        unbilled=found.unbilled,
        marked_rows=found.marked,
        off_by=found.marked_tokens,
    )
    verdict.check(found.ledger_tokens == found.billed_tokens, "Σ ledger = Σ billed")
    verdict.check(not found.wrong, f"each row says what was billed: {found.wrong[:5]}")
    verdict.check(not found.doubled, f"one row for each call: {found.doubled[:5]}")
    verdict.check(not found.absent, f"each billed call has a row: {len(found.absent)} have none")
    return found


def check_nothing_open(verdict: Verdict, valkey: Path | None = None) -> None:
    """No job, no transaction, and no place among parallel calls is still held."""
    held = Job.objects.exclude(state__in=Job.TERMINAL).count()
    verdict.check(held == 0, f"every job has ended: {held} have not")
    leases = Job.objects.filter(state__in=Job.TERMINAL).exclude(lease_until=None).count()
    verdict.check(leases == 0, f"no ended job holds a lease: {leases} do")
    if connection.vendor == "postgresql":
        verdict.check(_idle_in_transaction() == 0, "no connection idles in a transaction")
    if valkey is not None:
        # after which no place of a process that died counts, or is kept for a next call
        time.sleep(ALIVE_SECONDS if verdict.long else 3 * LOOK)
        verdict.check(not (places := _places(valkey)), f"no place among parallel calls is held: {places}")
    numbers = Counter(Attempt.objects.order_by().values_list("usage_id", "number"))
    verdict.check(max(numbers.values(), default=1) == 1, "each attempt is written down once")


def _idle_in_transaction() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%%'"
            " AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


def _places(valkey: Path) -> Counter[str]:
    """Those of processes that live; others are free as soon as somebody wants them."""
    with redis.Redis(unix_socket_path=str(valkey), decode_responses=True) as client:
        held = Counter(
            lease[:OWNER] for key in client.scan_iter("limit:parallel:*") for lease in client.zrange(key, 0, -1)
        )
        return Counter({owner: count for owner, count in held.items() if client.exists(f"{ALIVE}{owner}")})
