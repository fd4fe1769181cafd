"""The audit log: who did what, to what, from where."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from access.filters import AuditFilter
from access.models import AuditEvent
from access.paging import page_after
from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission


@requires(Permission.VIEW_AUDIT)
@require_safe
def audit_log(request: PageRequest) -> HttpResponse:
    chosen = AuditFilter(request.GET, AuditEvent.objects.all())
    page = page_after(chosen.qs, request.GET.get("after", ""))
    return render(request, "access/audit.html", {"page": page, "filter": chosen.form})
