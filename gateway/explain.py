"""What would become of a call: whom it may ask and in which order, what limits it, what would be sent. Nothing is."""

import time
from dataclasses import asdict
from typing import Any

from access.principal import Principal
from connections.providers.calls import Mode, Usage
from gateway.envelope import Problem
from gateway.metering import Record
from gateway.pipeline import Accepted, Engine, Prompt
from gateway.routing import price_of
from gateway.snapshot import ModelEntry, RouteEntry


def explain(running: Engine, principal: Principal, mode: Mode, body: bytes) -> dict[str, Any]:
    prompt = Prompt(principal, mode, body, "explain")
    record = Record.of(principal, mode, "explain", prompt.request_id)
    told: dict[str, Any] = {"principal": principal.label, "mode": mode, "problem": None, "candidates": []}
    try:
        accepted = running.plan(prompt, record, time.perf_counter())
        route = running.snapshot.routes.get(record.route)
        told |= _order(running, accepted, route) | _limits(running, accepted) | _expected(accepted)
        told["request"] = running.request_of(accepted)
    except Problem as problem:
        told["problem"] = {"code": problem.code, "status": problem.status, "message": problem.message}
    return told


def _order(running: Engine, accepted: Accepted, route: RouteEntry | None) -> dict[str, Any]:
    candidates = accepted.course.candidates
    passed_over = [target.model for target in route.targets if target.model not in candidates] if route else []
    return {
        "route": {"name": route.name, "strategy": route.strategy} if route else None,
        "candidates": [_candidate(running, entry) for entry in candidates],
        "passed_over": [
            {"model": entry.public_id, "reason": _hindrance(entry, accepted)}
            for entry in passed_over
            if entry.granted_to(accepted.principal)  # of the others, not even their names are theirs to know
        ],
    }


def _candidate(running: Engine, entry: ModelEntry) -> dict[str, Any]:
    standing = running.standings.of(entry)
    wait = standing.breaker.wait()
    reasons = ["Its last check failed, so a route asks it last."] if entry.failing else []
    if wait > 0:
        reasons.append(f"It failed again and again and is left alone for {wait:.0f} s.")
    return {
        "model": entry.public_id,
        "connection": entry.connection,
        "breaker": standing.breaker.state,
        "failing": entry.failing,
        "running": standing.running,
        "latency_ms": round(standing.latency * 1000) if standing.latency is not None else None,
        "retries": entry.retries,
        "reasons": reasons,
    }


def _hindrance(entry: ModelEntry, accepted: Accepted) -> str:
    allowed = accepted.principal.allowed_models
    if allowed is not None and accepted.record.route not in allowed and entry.public_id not in allowed:
        return "The key is limited to other models."
    return f"It is for {entry.mode}, or does not take one of the request's fields."


def _limits(running: Engine, accepted: Accepted) -> dict[str, Any]:
    """By the first candidate, whose limits count."""
    entry = accepted.entry
    rules = running.snapshot.limits.of(accepted.principal, entry.public_id, str(entry.connection_id))
    names = ("what", "amount", "seconds", "whose")
    return {"limits": [{name: asdict(rule)[name] for name in names} for rule in rules]}


def _expected(accepted: Accepted) -> dict[str, Any]:
    """At most; the cost in 10⁻⁹ USD, None where no price is known."""
    usage = Usage(accepted.prompt_tokens, accepted.expected_tokens - accepted.prompt_tokens)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost": price_of(accepted.entry, usage),
    }
