"""Xinference names a model by its file's path: callers never see it."""

import json

from connections.providers.calls import Answer
from tests.providers.conftest import a_call, files, make, read_stream, streams

KIND = "xinference"


def test_no_file_path_reaches_the_caller():
    stream, expected = next(streams(KIND))
    recorded = json.loads(files(KIND, "chat_reply.json")[0].read_text())["answer"]

    chunks, _ = read_stream(make(KIND), expected, [stream])
    reply = make(KIND).reply(a_call(make(KIND)), Answer(200, {}, json.dumps(recorded).encode()))

    assert {chunk["model"] for chunk in chunks} == {"qwen"}
    assert json.loads(reply.body)["model"] == reply.model == "qwen"
