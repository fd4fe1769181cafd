"""Thresholds of budgets: told once, by mail and by a signed message, again after a failure, and to nobody else."""

import hashlib
import hmac
import http.server
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from access.models import AuditEvent
from access.threads import released
from gateway.budgets import acts, leases, notices
from gateway.models import BudgetNotice, BudgetWebhook, BudgetWindow
from tests.access.conftest import calling  # noqa: F401 - a fixture

SECRET = "a secret of twenty-nine bytes"


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.server.delay)
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hook():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.answers, server.delay = [], [], 0.0
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def budget(transactional_db, ada):
    return acts.add_budget(ada, scope="all", what="money", amount=10 * 10**9, window="month")


@pytest.fixture
def spend(budget):
    def make(nano):
        window = leases.open_window(budget.pk, "").window
        BudgetWindow.objects.filter(pk=window).update(spent=nano)

    return make


def look():
    """What the scheduled task does, telling at once."""
    notices.find()
    notices.announce_due(notices.tell)


def reached():
    return sorted(BudgetNotice.objects.values_list("threshold", flat=True))


def test_a_threshold_is_told_by_mail_once(budget, ada, spend, mailoutbox):
    acts.tell_of_budget(ada, budget, thresholds=[50, 100], emails=["boss@example.com"], url="")
    for nano in (4_999_999_999, 5_000_000_000, 6_000_000_000, 12_000_000_000, 13_000_000_000):
        spend(nano)
        look()
        look()

    assert [mail.subject for mail in mailoutbox] == [
        "50 % of $10.00 per month for Everybody together",
        "100 % of $10.00 per month for Everybody together",
    ]
    assert mailoutbox[0].to == ["boss@example.com"]
    assert "$5.00 of $10.00 are spent" in mailoutbox[0].body
    assert f"/budgets/{budget.pk}/" in mailoutbox[0].body
    assert set(BudgetNotice.objects.values_list("due_at", "problem")) == {(None, "")}


def test_a_message_is_signed(budget, ada, spend, hook):
    acts.tell_of_budget(ada, budget, thresholds=[80], emails=[], url=hook.url, secret=SECRET)
    spend(9 * 10**9)

    look()

    ((headers, body),) = hook.got
    signed = headers["x-mesh-timestamp"].encode() + b"." + body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["x-mesh-signature"] == f"sha256={expected}"
    told = json.loads(body)
    assert (told["event"], told["threshold"], told["spent"]) == ("budget.threshold_reached", 80, 9 * 10**9)
    assert told["budget"]["for"] == "Everybody together"


def test_what_could_not_be_told_comes_again(budget, ada, spend, hook, mailoutbox):
    acts.tell_of_budget(ada, budget, thresholds=[80], emails=["boss@example.com"], url=hook.url, secret=SECRET)
    hook.answers[:] = [500, 302]
    spend(9 * 10**9)

    for problem in ("The webhook answered 500.", "The webhook answered 302.", ""):
        look()
        row = BudgetNotice.objects.get()
        assert row.problem == problem
        assert (row.due_at is None) == (problem == "")
        BudgetNotice.objects.exclude(due_at=None).update(due_at=Now() - timedelta(seconds=1))

    assert len(hook.got) == 3
    assert len({json.loads(body)["id"] for _, body in hook.got}) == 1
    assert len(mailoutbox) == 1  # what succeeded is not done again


def test_it_is_given_up_in_the_end(budget, ada, spend):
    acts.tell_of_budget(ada, budget, thresholds=[80], emails=[], url="http://127.0.0.1:64999/hook", secret=SECRET)
    spend(9 * 10**9)
    for _ in range(notices.MOST_TRIES + 3):
        look()
        BudgetNotice.objects.exclude(due_at=None).update(due_at=Now() - timedelta(seconds=1))

    row = BudgetNotice.objects.get()
    assert (row.tries, row.due_at) == (notices.MOST_TRIES, None)
    assert "could not be reached" in row.problem


def test_without_a_mail_server_the_page_says_so(budget, ada, spend, settings, client):
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    acts.tell_of_budget(ada, budget, thresholds=[80], emails=["boss@example.com"], url="")
    spend(9 * 10**9)
    look()
    client.force_login(ada)

    assert "No mail server is set up" in client.get(f"/budgets/{budget.pk}/").content.decode()


def test_however_many_look_it_is_told_once(budget, ada, spend, hook):
    acts.tell_of_budget(ada, budget, thresholds=[80, 90], emails=[], url=hook.url, secret=SECRET)
    spend(9 * 10**9)
    hook.delay = 0.5  # so that the others look meanwhile

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: released(look)(), range(6)))

    assert reached() == [80, 90]
    assert sorted(json.loads(body)["threshold"] for _, body in hook.got) == [80, 90]


def test_the_secret_is_sealed_kept_and_dropped_with_its_address(budget, ada, hook):
    telling = {"thresholds": [80], "emails": []}
    acts.tell_of_budget(ada, budget, **telling, url=hook.url, secret=SECRET)
    row = BudgetWebhook.objects.get()
    assert SECRET.encode() not in bytes(row.sealed)
    assert row.secret() == SECRET.encode()

    acts.tell_of_budget(ada, budget, **telling, url=hook.url)
    assert BudgetWebhook.objects.get().secret() == SECRET.encode()
    with pytest.raises(Exception, match="secret"):
        acts.tell_of_budget(ada, budget, **telling, url=f"{hook.url}/elsewhere")
    acts.tell_of_budget(ada, budget, **telling, url="")
    assert not BudgetWebhook.objects.exists()
    assert SECRET not in str(list(AuditEvent.objects.values_list("before", "after")))


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"thresholds": [0]}, "thresholds"),
        ({"thresholds": [-5]}, "thresholds"),
        ({"thresholds": [10**9]}, "thresholds"),
        ({"thresholds": ["x"]}, "thresholds"),
        ({"thresholds": list(range(1, 50))}, "thresholds"),
        ({"thresholds": None}, "thresholds"),
        ({"emails": ["nobody"]}, "emails"),
        ({"emails": ["a@example.com\nbcc: b@example.com"]}, "emails"),
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "https://example.com/hook"}, "secret"),
        ({"url": "https://example.com/hook", "secret": "short"}, "secret"),
        ({"tell": 1}, "tell"),
    ],
)
def test_senseless_telling_is_refused_by_field(budget, ada, calling, given, param):  # noqa: F811
    refused = calling(ada).patch(f"/api/budgets/{budget.pk}/telling/", {"thresholds": [80], **given}, format="json")

    assert refused.status_code == 400, refused.json()
    assert (refused.json()["error"]["param"] or "").partition(".")[0] == param
    assert not BudgetWebhook.objects.exists()


def test_the_api_tells_who_is_told_without_the_secret(budget, ada, spend, calling, hook):  # noqa: F811
    path = f"/api/budgets/{budget.pk}/telling/"
    given = {"thresholds": [90, 50], "emails": ["boss@example.com"], "url": hook.url, "secret": SECRET}

    told = calling(ada).patch(path, given, format="json").json()

    assert told == {"thresholds": [50, 90], "emails": ["boss@example.com"], "url": hook.url, "notices": []}
    spend(6 * 10**9)
    look()
    (notice,) = calling(ada).get(path).json()["notices"]
    assert notice["threshold"] == 50 and notice["mailed_at"] and notice["posted_at"]


def test_the_page_saves_who_is_told(budget, ada, client, hook):
    client.force_login(ada)
    path = f"/budgets/{budget.pk}/tell/"
    typed = {"thresholds": "100, 75", "emails": "a@example.com\nb@example.com", "url": hook.url, "secret": SECRET}

    assert client.post(path, {**typed, "thresholds": "many"}).status_code == 422
    assert client.post(path, {**typed, "emails": "nobody"}).status_code == 422
    assert client.post(path, typed).status_code == 302

    budget.refresh_from_db()
    assert (budget.thresholds, budget.emails) == ([75, 100], ["a@example.com", "b@example.com"])
    page = client.get(f"/budgets/{budget.pk}/").content.decode()
    assert "75, 100" in page and hook.url in page and SECRET not in page
