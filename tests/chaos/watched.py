"""What every process lets through while something is changed, to the moment."""

import threading
import time
from collections import Counter
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from access.models import ApiKey, User
from connections.providers.calls import Mode
from gateway import jobs
from gateway.models import Job
from gateway.tasks import run_job
from tests.chaos.load import CUT
from tests.chaos.site import Site
from tests.mesh import Client

CHAT = "/v1/chat/completions"
PAUSE = 0.1
AFTER = 3.0
"""Seconds for which is watched on after the change."""


class Watched:
    """Calls and jobs of one key, all the time, through every process."""

    def __init__(self, site: Site, model: str, caller: User, key: ApiKey, text: str) -> None:
        self.site, self.model, self.caller, self.key, self.text = site, model, caller, key, text
        self.passed: dict[str, list[float]] = {f"web {door.port}": [] for door in site.doors}
        """When each process let something through (Unix time)."""
        self.refusals: dict[str, Counter[str]] = {}
        self._over = threading.Event()
        watching = [lambda door=door: self._call(door) for door in site.doors]
        self._threads = [threading.Thread(target=work, daemon=True) for work in [*watching, self._submit]]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.wait(AFTER)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, door: Client) -> None:
        place = f"web {door.port}"
        passed, refused = self.passed[place], self.refusals.setdefault(place, Counter())
        body = {"model": self.model, "messages": [{"role": "user", "content": "one"}]}
        while not self._over.wait(PAUSE):
            began = time.time()
            try:
                answer = door.post(CHAT, body, key=self.text)
            except CUT:
                continue
            if answer.status == 200:
                passed.append(began)
            else:
                refused[answer.error["code"]] += 1

    def _submit(self) -> None:
        """Past the API, which looks into the database: what is tested are the workers."""
        body = {"model": self.model, "messages": [{"role": "user", "content": "one"}]}
        while not self._over.wait(PAUSE):
            with transaction.atomic():
                jobs.submit(self.caller, self.key.public_id, Mode.CHAT, self.model, body, run_job.delay)
        connection.close()

    def passes_everywhere(self) -> bool:
        ended = Job.objects.filter(model=self.model, state=Job.State.SUCCEEDED)
        return all(self.passed.values()) and ended.exists()

    def asked(self) -> int:
        """Calls and jobs that were let through so far."""
        return sum(map(len, self.passed.values())) + Job.objects.filter(model=self.model, state="succeeded").count()

    def take_jobs(self) -> None:
        """What the workers made of the jobs."""
        ended = Job.objects.filter(model=self.model, state__in=Job.TERMINAL).order_by("started_at")
        refused = self.refusals.setdefault("workers", Counter())
        passed = self.passed.setdefault("workers", [])
        for job in ended:
            if job.state == Job.State.SUCCEEDED:
                passed.append(job.started_at.timestamp())
            else:
                refused[(job.error or {}).get("code", "")] += 1

    def late(self, since: float) -> dict[str, float]:
        """Seconds after `since` at which each process let something through for the last time."""
        return {place: max(0.0, max(times, default=since) - since) for place, times in self.passed.items()}


def now() -> float:
    return timezone.now().timestamp()


def open_jobs(model: str) -> Any:
    return Job.objects.filter(model=model).exclude(state__in=Job.TERMINAL)
