"""What a provider says holds no secret of ours, in any usual encoding (S8)."""

import base64
import json
from urllib.parse import quote

import pytest

from connections.providers.scrubbing import HIDDEN, PIECE, scrub

SECRET = 'sk-test-Zq7+/9xWvB3"mN1kLp0'

ENCODINGS = {
    "raw": SECRET,
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 of a user and the secret": base64.b64encode(f"user:{SECRET}".encode()).decode(),
    "base64 between other text": base64.b64encode(f"ab{SECRET}cd".encode()).decode(),
    "base64url": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "hex": SECRET.encode().hex(),
    "capital hex": SECRET.encode().hex().upper(),
    "percent-encoded": quote(SECRET, safe=""),
    "JSON-escaped": json.dumps(SECRET)[1:-1],
    "cut short": SECRET[: PIECE + 3],
    "from the middle": SECRET[4 : 4 + PIECE],
}


@pytest.mark.parametrize("echoed", ENCODINGS.values(), ids=ENCODINGS)
def test_no_long_piece_of_an_echoed_secret_remains(echoed):
    shown = scrub(f"Incorrect key: {echoed}, see the docs", [SECRET])

    pieces = {echoed[start : start + PIECE] for start in range(4, len(echoed) - PIECE - 4)}
    assert HIDDEN in shown
    assert not [piece for piece in pieces if piece in shown]
    assert shown.startswith("Incorrect key: ")
    assert shown.endswith(", see the docs")


def test_text_without_a_secret_is_left_alone():
    assert scrub("The model gpt-4o does not exist.", [SECRET, "", "gpt"]) == "The model gpt-4o does not exist."


def test_a_short_secret_is_hidden_whole():
    assert scrub("token pass1234 refused", ["pass1234"]) == f"token {HIDDEN} refused"
