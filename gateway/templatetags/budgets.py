"""Amounts of budgets on pages."""

from django import template

from gateway.budgets import words
from gateway.models import Budget

register = template.Library()


@register.filter
def counted_by(number: int, budget: Budget) -> str:
    """In what the budget counts: "$5.00", "1,000 tokens"."""
    return words.amount(budget.what, number)


@register.filter
def budget_text(budget: Budget) -> str:
    """ "$5.00 per month"."""
    return words.text(budget)
