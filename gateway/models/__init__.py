"""What the gateway stores, one file per subject."""

from gateway.models.budgets import (
    Budget,
    BudgetLease,
    BudgetNotice,
    BudgetOverride,
    BudgetWebhook,
    BudgetWindow,
    usual_thresholds,
)
from gateway.models.extent import Extent
from gateway.models.jobs import Job, JobQuerySet
from gateway.models.keyed import KeyedCall
from gateway.models.limits import PERIODS, Limit, pace, period
from gateway.models.routes import Route, RouteTarget
from gateway.models.usage import AddedUp, Attempt, Period, Usage, UsageQuerySet, UsageSum

__all__ = [
    "PERIODS",
    "AddedUp",
    "Attempt",
    "Budget",
    "BudgetLease",
    "BudgetNotice",
    "BudgetOverride",
    "BudgetWebhook",
    "BudgetWindow",
    "Extent",
    "Job",
    "JobQuerySet",
    "KeyedCall",
    "Limit",
    "Period",
    "Route",
    "RouteTarget",
    "Usage",
    "UsageQuerySet",
    "UsageSum",
    "pace",
    "period",
    "usual_thresholds",
]
