"""Addresses that make no sense are refused, or read as best they can; none of them breaks anything."""

import base64
from urllib.parse import quote

import pytest

LISTS = ["audit", "budgets", "connections", "generations", "grants", "groups", "keys", "models", "usage", "users"]
POSITIONS = ["abc", "9" * 30, "9" * 5_000, "\0", "2026-99-01", ""]


@pytest.mark.parametrize("position", POSITIONS, ids=range(len(POSITIONS)))
@pytest.mark.parametrize("path", LISTS)
def test_a_made_up_cursor(ada, calling, model, path, position):
    cursor = base64.b64encode(f"p={quote(position)}".encode()).decode()

    assert calling(ada).get(f"/api/{path}/", {"cursor": cursor}).status_code in {200, 400, 404}


QUERIES = [
    *("keys/%00/", "users/?q=%00", "usage/?key_id=%00", "grants/?group=" + "9" * 30, "groups/" + "9" * 30 + "/"),
    *("usage/?since=0001-01-01T00:00:00%2B23:59", "usage/?until=9999-12-31T23:59:59-23:59"),
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_made_up_value_through_the_api(ada, calling, model, query):
    assert calling(ada).get(f"/api/{query}").status_code in {200, 400, 404}


PAGES = [
    *("/search/?q=%00", "/keys/?after=%00", "/connections/?q=%00", "/connections/%00/", "/models/?q=a%00b"),
    *(f"/{page}/?after={'9' * digits}" for page in ("audit", "keys", "budgets") for digits in (30, 5_000)),
]


@pytest.mark.parametrize("address", PAGES)
def test_a_made_up_address_of_a_page(ada, signed_in, model, address):
    assert signed_in(ada).get(address).status_code in {200, 400, 404}
