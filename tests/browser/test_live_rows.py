"""The list of connections changes under the reader's eyes."""

from connections import health
from connections.models import Connection, State


def test_a_row_changes_without_a_reload(mesh, connect, ada, sign_in):
    connection = connect("openai")
    Connection.objects.update(state=State.HEALTHY)
    site = sign_in("ada")
    site.goto("/connections/")
    row = site.locator(f"#connection-{connection.pk}")
    assert "Healthy" in row.inner_text()
    site.evaluate("window.stayed = true")

    health.record(connection, health.Finding(State.FAILING, "The provider refused the key. Enter a valid key."))

    row.locator(".state", has_text="Failing").wait_for()
    assert site.locator("table.rows tbody tr").count() == 1
    assert site.evaluate("window.stayed")


def test_a_row_that_changed_can_still_be_used(mesh, connect, ada, sign_in, upstream):
    connection = connect("openai")
    site = sign_in("ada")
    site.goto("/connections/")
    row = site.locator(f"#connection-{connection.pk}")
    health.record(connection, health.Finding(State.FAILING, "It is down. Wait."))
    row.locator(".state", has_text="Failing").wait_for()

    row.get_by_role("button", name="Test").click()

    row.locator(".state", has_text="Healthy").wait_for()
    assert len(upstream.requests) == 1
