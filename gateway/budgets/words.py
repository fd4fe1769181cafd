"""Budgets as people are told of them."""

from datetime import UTC, datetime

from connections.templatetags.amounts import money
from gateway.budgets.rules import Rule
from gateway.models import Budget, BudgetOverride


def amount(what: str, number: int) -> str:
    """ "$5.00", "1,000 tokens"."""
    if what == Budget.What.MONEY:
        return money(number)
    return f"{number:,} token{'' if number == 1 else 's'}"


def pace(what: str, number: int, window: str, hours: int) -> str:
    """ "$5.00 per day"."""
    return f"{amount(what, number)} per {window if window != Budget.Window.OWN else f'{hours} h'}"


def text(row: Budget) -> str:
    return pace(row.what, row.amount, row.window, row.hours)


def window(row: Budget) -> str:
    """For the audit log."""
    return row.window if row.anchor is None else f"{row.hours} h from {row.anchor:%Y-%m-%d %H:%M} UTC"


def override(row: BudgetOverride) -> str:
    """ "$2.00 more until 21 Nov 2026 at 00:00 UTC"."""
    much = "No end" if row.extra is None else f"{amount(row.budget.what, row.extra)} more"
    return f"{much} until {moment(row.until.timestamp())}"


def moment(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%d %b %Y at %H:%M} UTC"


def budget_of(rule: Rule) -> str:
    entry = rule.entry
    return f"the budget of {pace(entry.what, entry.amount, entry.window, entry.hours)} for {rule.whose}"


def refusal(rule: Rule, ends: float, left: int, need: int, priceless: str) -> str:
    """`priceless`: the model whose price is not known; empty: there is not enough left."""
    whole = budget_of(rule)
    if priceless:
        return f"The price of {priceless} is not known, so {whole} cannot be kept. An admin has to set a price first."
    anew = f"starts anew on {moment(ends)}"
    if left <= 0:
        return f"{whole[0].upper()}{whole[1:]} is used up. It {anew}."
    what = rule.entry.what
    return (
        f"This call may cost up to {amount(what, need)}, but only {amount(what, left)} is left of {whole}, "
        f"which {anew}. A shorter max_tokens may help."
    )
