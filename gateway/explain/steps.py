"""What would become of a call: whom it may ask and in which order, what limits it, what would be sent. Nothing is."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from access import reach
from access.principal import Principal
from access.roles import Scope
from access.threads import in_thread
from connections.providers import emulation
from connections.providers.calls import Mode
from gateway import bodies
from gateway.accepted import Accepted, Prompt
from gateway.budgets.preview import Preview, previewed
from gateway.envelope import Problem
from gateway.ledger.record import Record
from gateway.limits import fill
from gateway.models import Route, pace
from gateway.pipeline import Engine
from gateway.routing import price_of
from gateway.snapshot import ModelEntry, RouteEntry, Snapshot, may_ask


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was consulted, and what it says. One that does not hold ends the call."""

    rule: str
    holds: bool
    told: str


async def explain(
    running: Engine, principal: Principal, mode: Mode, body: bytes, *, whole: bool = False
) -> dict[str, Any]:
    """`whole`: also tell why a model cannot be used, which its caller is not to know."""
    prompt = Prompt(principal, mode, body, "explain")
    record = Record.of(principal, mode, "explain", prompt.request_id)
    told: dict[str, Any] = {"principal": principal.label, "mode": mode, "problem": None, "candidates": []}
    refusal: Problem | None = None
    accepted: Accepted | None = None
    budgets: list[Preview] = []
    try:
        accepted = running.plan(prompt, record, time.perf_counter())
        route = running.snapshot.routes.get(record.route)
        told |= _order(running, accepted, route) | await _limits(running, accepted) | _expected(accepted)
        budgets = await _budgets(running, accepted)
        told["budgets"] = [one.facts for one in budgets]
        told["request"] = running.request_of(accepted)
    except Problem as problem:
        refusal = problem
        told["problem"] = {"code": problem.code, "status": problem.status, "message": problem.message}
    steps = _steps(running.snapshot, prompt, refusal)
    if whole and refusal is not None and refusal.code == "model_not_found":
        steps[-1:] = [await in_thread(_inside, steps[-1], principal, record.model)]
    if accepted is not None and refusal is None:
        steps += [*_limit_steps(told["limits"], accepted), *_budget_steps(budgets), *_standing_steps(running, accepted)]
    told["steps"] = [asdict(step) for step in steps]
    return told


# --- the rules, in the order of `Engine.plan`, which has the last word


def _steps(snapshot: Snapshot, prompt: Prompt, refusal: Problem | None) -> list[Step]:
    """Those that hold, up to the one that refuses."""
    steps = []
    for rule, holds, told in _rules(snapshot, prompt):
        steps.append(Step(rule, holds, told if holds or refusal is None else refusal.message))
        if not holds:
            return steps
    if refusal is not None:
        steps.append(Step("Request", False, refusal.message))
    return steps


def _rules(snapshot: Snapshot, prompt: Prompt) -> Iterator[tuple[str, bool, str]]:
    principal = snapshot.current(prompt.principal)
    yield "User", principal is not None, f"{prompt.principal.label} is active."
    if principal is None:
        return
    yield "Role", may_ask(principal), f"The role {principal.role} may ask models."
    if principal.key_id:
        yield "Scope", Scope.GENERATE in principal.scopes, f"The key mesh_{principal.key_id}… may ask models."
    try:
        body = bodies.read(prompt.body, prompt.mode)
    except Problem:
        return
    route = snapshot.routes.get(body.model)
    asked = [target.model for target in route.targets] if route else [*filter(None, [snapshot.models.get(body.model)])]
    granted = [entry for entry in asked if entry.granted_to(principal)]
    yield "Grants", bool(granted), _share(granted, asked, "granted")
    if principal.allowed_models is not None:
        granted = _named(route, granted, principal.allowed_models)
        yield "Models of the key", bool(granted), _share(granted, asked, "open to the key")
    fitting = [entry for entry in granted if emulation.answers(prompt.mode, entry.mode)]
    yield "Kind", bool(fitting), _share(fitting, asked, f"for {prompt.mode}")


def _named(route: RouteEntry | None, entries: list[ModelEntry], allowed: frozenset[str]) -> list[ModelEntry]:
    if route is not None and route.name in allowed:
        return entries
    return [entry for entry in entries if entry.public_id in allowed]


def _share(some: list[ModelEntry], asked: list[ModelEntry], what: str) -> str:
    if len(asked) == 1:
        return f"The model is {what}."
    return f"{len(some)} of the route's models {'is' if len(some) == 1 else 'are'} {what}."


def _inside(step: Step, principal: Principal, name: str) -> Step:
    reasons = [one.reason for one in reach.explain(principal) if one.public_id == name]
    return Step(step.rule, step.holds, reasons[0] if reasons else "There is no model and no route of this name.")


def _limit_steps(limits: list[dict[str, Any]], accepted: Accepted) -> list[Step]:
    if accepted.principal.system or not limits:
        return [Step("Limits", True, "None is about this call.")]
    return [_limit_step(limit, accepted) for limit in limits]


def _limit_step(limit: dict[str, Any], accepted: Accepted) -> Step:
    named = f"{pace(limit['what'], limit['amount'], limit['seconds'])} for {limit['whose']}"
    if limit["taken"] is None:
        return Step("Limit", True, f"{named}. How much of it is taken is not known.")
    cost = min(accepted.expected_tokens, limit["amount"]) if limit["what"] == "tokens" else 1
    left = limit["amount"] - limit["taken"]
    return Step("Limit", cost <= left, f"{named}: {left:,} left, {cost:,} needed.")


def _budget_steps(budgets: list[Preview]) -> list[Step]:
    if not budgets:
        return [Step("Budgets", True, "None is about this call.")]
    return [Step("Budget", not one.refuses, one.told) for one in budgets]


def _standing_steps(running: Engine, accepted: Accepted) -> Iterator[Step]:
    """How the order comes about. A model alone is not asked while it is left alone; of a route, somebody always is."""
    if route := running.snapshot.routes.get(accepted.record.route):
        yield Step("Order", True, f"By priority, then: {Route.Strategy(route.strategy).label.lower()}.")
    waits = [running.standings.of(entry).breaker.wait() for entry in accepted.course.candidates]
    if not any(waits):
        yield Step("Health", True, "No model is left alone after failures.")
    elif len(waits) == 1:
        yield Step("Health", False, f"It failed again and again and is left alone for {waits[0]:.0f} s.")
    else:
        yield Step("Health", True, "Those of its models that fail are asked last.")


# --- what would follow


def _order(running: Engine, accepted: Accepted, route: RouteEntry | None) -> dict[str, Any]:
    candidates = accepted.course.candidates
    passed_over = [target.model for target in route.targets if target.model not in candidates] if route else []
    return {
        "route": {"name": route.name, "strategy": route.strategy} if route else None,
        "candidates": [{**_candidate(running, entry), **_place(entry, route)} for entry in candidates],
        "passed_over": [
            {"model": entry.public_id, "reason": _hindrance(entry, accepted)}
            for entry in passed_over
            if entry.granted_to(accepted.principal)  # of the others, not even their names are theirs to know
        ],
    }


def _place(entry: ModelEntry, route: RouteEntry | None) -> dict[str, Any]:
    """Its priority and weight, if it is one of a route."""
    targets = route.targets if route else []
    return next(({"priority": one.priority, "weight": one.weight} for one in targets if one.model is entry), {})


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


async def _limits(running: Engine, accepted: Accepted) -> dict[str, Any]:
    """By the first candidate, whose limits count. `taken`: None where it is not known."""
    entry = accepted.entry
    rules = running.snapshot.limits.of(accepted.principal, entry.public_id, str(entry.connection_id))
    names = ("what", "amount", "seconds", "whose")
    taken = await in_thread(fill.taken, rules)
    return {
        "limits": [
            {**{name: asdict(rule)[name] for name in names}, "taken": amount}
            for rule, amount in zip(rules, taken, strict=True)
        ]
    }


async def _budgets(running: Engine, accepted: Accepted) -> list[Preview]:
    """Those of the caller, and of the first candidate."""
    if accepted.principal.system:
        return []
    entry, budgets = accepted.entry, running.snapshot.budgets
    rules = [*budgets.of_model(entry.public_id, entry.connection_id), *budgets.of_caller(accepted.principal)]
    price = price_of(entry, accepted.expected(entry))
    return await in_thread(previewed, rules, accepted.expected_tokens, price)


def _expected(accepted: Accepted) -> dict[str, Any]:
    """At most; the cost in 10⁻⁹ USD, None where no price is known."""
    usage = accepted.expected(accepted.entry)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost": price_of(accepted.entry, usage),
    }
