"""Static files under ASGI."""

import warnings

import pytest
from django.test import AsyncClient

PATH = "/static/css/mesh.css"


@pytest.mark.parametrize(
    ("headers", "status", "length"),
    [
        ({}, 200, None),
        ({"range": "bytes=0-9"}, 206, 10),
        ({"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304, 0),
    ],
)
async def test_a_file_is_answered_whole_and_without_a_warning(headers, status, length):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = await AsyncClient().get(PATH, headers=headers)

    assert answer.status_code == status
    assert not answer.streaming
    assert len(answer.content) == (int(answer["content-length"]) if length is None else length)
    assert status == 304 or answer["content-type"].startswith("text/css")


async def test_head_has_the_length_and_no_body():
    answer = await AsyncClient().head(PATH)

    assert answer.status_code == 200
    assert int(answer["content-length"]) > 0
    assert answer.content == b""
