"""Request lines and headers that `/v1` meets: what is refused, what is ignored, what is never believed."""

import gzip
import json
import select
import time
import zlib

import pytest

from access import keys
from access.models import ApiKey
from gateway import envelope
from tests.gateway.contract import REQUEST_ID, chat, check_refusal
from tests.mesh import parse_answer

CHAT = "/v1/chat/completions"
BODY = json.dumps(chat()).encode()


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


def request(mesh, *lines, first="POST /v1/chat/completions HTTP/1.1", body=BODY, host="Host: mesh.test"):
    """One request byte for byte, with a valid key unless `lines` bring another one."""
    names = {line.partition(":")[0].lower() for line in lines}
    head = [first, *([host] if host else []), *lines]
    if not names & {"authorization", "x-api-key", "x_api_key"}:
        head.append(f"Authorization: Bearer {mesh.key}")
    if "content-type" not in names:
        head.append("Content-Type: application/json")
    if not names & {"content-length", "transfer-encoding"}:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def ask(mesh, *lines, **options):
    return parse_answer(mesh.raw(request(mesh, *lines, **options)))


# --- credentials


def stored(mesh):
    return ApiKey.objects.get(public_id=mesh.key[5:15])


WRONG = {
    "empty": lambda mesh: "",
    "scheme alone": lambda mesh: "Bearer",
    "other scheme": lambda mesh: f"Basic {mesh.key}",
    "no scheme": lambda mesh: mesh.key,
    "lower case": lambda mesh: f"Bearer {mesh.key.lower()}",
    "not ASCII": lambda mesh: f"Bearer {mesh.key}é",
    "injection": lambda mesh: "Bearer ' OR 1=1--",
    "percent-encoded": lambda mesh: f"Bearer {mesh.key.replace('_', '%5F')}",
    "public id": lambda mesh: f"Bearer {mesh.key[:15]}",
    "one letter off": lambda mesh: f"Bearer {mesh.key[:-1]}{'a' if mesh.key[-1] != 'a' else 'b'}",
    "one letter more": lambda mesh: f"Bearer {mesh.key}a",
    "two in one": lambda mesh: f"Bearer {mesh.key}, Bearer {mesh.key}",
    "stored digest": lambda mesh: f"Bearer {stored(mesh).digest}",
    "password hash": lambda mesh: f"Bearer {stored(mesh).owner.password}",
    "masked": lambda mesh: f"Bearer {stored(mesh)}".encode("ascii", "replace").decode(),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_key_is_refused(mesh, upstream, name):
    answer = ask(mesh, f"Authorization: {WRONG[name](mesh)}")

    check_refusal(answer, 401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert upstream.requests == []


def test_no_credential_is_refused(mesh, upstream):
    check_refusal(mesh.post(CHAT, chat(), key=""), 401, "invalid_api_key")
    check_refusal(mesh.get("/v1/models", key=""), 401, "invalid_api_key")
    assert upstream.requests == []


def test_a_key_in_the_query_is_no_credential(mesh, upstream):
    answer = mesh.post(f"{CHAT}?api_key={mesh.key}&key={mesh.key}", chat(), key="")

    check_refusal(answer, 401, "invalid_api_key")
    assert upstream.requests == []


def test_a_cookie_is_no_credential(mesh):
    answer = mesh.get("/v1/models", key="", headers={"cookie": f"mesh_session={mesh.key}"})

    check_refusal(answer, 401, "invalid_api_key")


@pytest.mark.parametrize(
    "lines",
    [["x-api-key: {}"], ["authorization: bearer {}"], ["Authorization: Bearer  {}"], ["Authorization: Bearer {}"] * 2],
)
def test_a_key_may_be_presented_in_several_ways(mesh, upstream, lines):
    answer = ask(mesh, *[line.format(mesh.key) for line in lines])

    assert answer.status == 200


def test_two_different_credentials_are_refused(mesh, upstream):
    other = keys.new_key()
    pairs = [("Authorization: Bearer {}", "x-api-key: {}"), ("Authorization: Bearer {}",) * 2, ("x-api-key: {}",) * 2]

    for first, second in pairs:
        for one, two in [(mesh.key, other), (other, mesh.key)]:
            answer = ask(mesh, first.format(one), second.format(two))
            check_refusal(answer, 400, "invalid_value")

    assert upstream.requests == []


def test_a_header_spelt_with_underscore_is_no_credential(mesh, upstream):
    answer = ask(mesh, f"x_api_key: {mesh.key}")

    check_refusal(answer, 401, "invalid_api_key")
    assert upstream.requests == []


# --- sizes


OVERSIZED = {
    "credential of a megabyte": ["Authorization: Bearer " + "a" * 2**20],
    "10,000 headers": [f"X-{number}: 1" for number in range(10_000)],
    "one header 100,000 times": ["X-Same: 1"] * 100_000,
    "101 headers": [f"X-{number}: 1" for number in range(101)],
    "one large header": ["X-Large: " + "a" * 33_000],
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_too_much_header_is_refused(mesh, upstream, name):
    answer = ask(mesh, *OVERSIZED[name])

    check_refusal(answer, 400, "invalid_value")
    assert upstream.requests == []


def test_a_long_address_is_refused(mesh, upstream):
    answer = mesh.get("/v1/models?" + "a" * 9_000)

    check_refusal(answer, 400, "invalid_value")


def test_a_body_that_says_it_is_too_large_is_refused_unread(mesh, upstream):
    answer = ask(mesh, f"Content-Length: {envelope.MAX_BODY + 1}", body=b"")

    check_refusal(answer, 413, "body_too_large")


def test_a_chunked_body_that_grows_too_large_is_refused(mesh, upstream):
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    answer = ask(mesh, "Transfer-Encoding: chunked", body=piece * 20)

    check_refusal(answer, 413, "body_too_large")
    assert upstream.requests == []


# --- content


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/xml", "application/json; charset=koi-9", "application/json; charset=utf-16"]
)
def test_another_content_type_is_refused(mesh, upstream, kind):
    answer = ask(mesh, f"Content-Type: {kind}")

    check_refusal(answer, 415, "unsupported_encoding")
    assert upstream.requests == []


def test_a_body_without_content_type_is_refused(mesh, upstream):
    head = request(mesh).replace(b"Content-Type: application/json\r\n", b"")

    check_refusal(parse_answer(mesh.raw(head)), 415, "unsupported_encoding")
    assert upstream.requests == []


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/json;charset=UTF-8"])
def test_a_named_charset_is_welcome(mesh, upstream, kind):
    assert ask(mesh, f"Content-Type: {kind}").status == 200


ENCODED = {
    "gzip that is none": ("gzip", lambda: BODY),
    "gzip": ("gzip", lambda: gzip.compress(BODY)),
    "gzip bomb": ("gzip", lambda: gzip.compress(b" " * 50_000_000)),
    "deflate": ("deflate", lambda: zlib.compress(BODY)),
    "unknown": ("sausage", lambda: BODY),
}


@pytest.mark.parametrize("name", ENCODED)
def test_an_encoded_body_is_refused(mesh, upstream, name):
    encoding, body = ENCODED[name]

    answer = ask(mesh, f"Content-Encoding: {encoding}", body=body())

    check_refusal(answer, 415, "unsupported_encoding")
    assert upstream.requests == []


@pytest.mark.parametrize("length", ["-5", "abc", "1e3", "0x10", "5\r\nContent-Length: 900"])
def test_an_impossible_length_is_refused(mesh, upstream, length):
    answer = ask(mesh, f"Content-Length: {length}", "Connection: close")

    check_refusal(answer, 400, "invalid_value")
    assert upstream.requests == []


def test_a_length_and_a_chunked_body_together_are_refused(mesh, upstream):
    lines = [f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked", "Connection: close"]

    answer = ask(mesh, *lines, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))

    check_refusal(answer, 400, "invalid_value")
    assert upstream.requests == []


def test_a_length_shorter_than_the_body_cuts_it(mesh, upstream):
    answer = ask(mesh, f"Content-Length: {len(BODY) - 9}", "Connection: close")

    check_refusal(answer, 400, "invalid_json")
    assert upstream.requests == []


def test_a_body_that_never_comes_whole_is_given_up(mesh, upstream, monkeypatch):
    monkeypatch.setattr("llmmesh.server.BODY_SECONDS", 0.5)
    with mesh.connect() as line:
        line.sendall(request(mesh, f"Content-Length: {len(BODY) + 5}"))
        answer = parse_answer(line.recv(65536))

    check_refusal(answer, 408, "request_timeout")
    assert upstream.requests == []


def test_a_body_of_one_byte_a_time_is_given_up_without_holding_up_others(mesh, upstream, monkeypatch):
    monkeypatch.setattr("llmmesh.server.BODY_SECONDS", 0.5)
    with mesh.connect() as line:
        line.sendall(request(mesh)[: -len(BODY)])
        for byte in BODY:
            line.sendall(bytes([byte]))
            if select.select([line], [], [], 0.06)[0]:
                break
        assert mesh.post(CHAT, chat()).status == 200
        check_refusal(parse_answer(line.recv(65536)), 408, "request_timeout")


def test_a_head_of_one_byte_a_time_does_not_hold_up_others(mesh, upstream):
    with mesh.connect() as line:
        for byte in request(mesh)[:10]:
            line.sendall(bytes([byte]))
            time.sleep(0.02)
            assert mesh.get("/v1/models").status == 200
        line.sendall(request(mesh)[10:])
        assert b"200 OK" in line.recv(65536)


def test_a_client_that_leaves_within_its_body_is_forgotten(mesh, upstream):
    with mesh.connect() as line:
        line.sendall(request(mesh)[:-20])

    assert mesh.post(CHAT, chat()).status == 200
    assert len(upstream.requests) == 1


def test_a_chunked_body_is_read(mesh, upstream):
    half = len(BODY) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:half], BODY[half:], b""))

    answer = ask(mesh, "Transfer-Encoding: chunked", body=chunks)

    assert (answer.status, answer.text) == (200, "one two three")


def test_a_client_that_waits_for_100_continue_is_told(mesh, upstream):
    with mesh.connect() as line:
        line.sendall(request(mesh, "Expect: 100-continue")[: -len(BODY)])
        assert line.recv(65536).startswith(b"HTTP/1.1 100")
        line.sendall(BODY)
        assert line.recv(65536).startswith(b"HTTP/1.1 200")


# --- what is never believed


@pytest.mark.parametrize("host", ["Host: evil.test", "Host: 127.0.0.1:1", "Host: user@evil.test", "Host: ", ""])
def test_the_host_header_decides_nothing(mesh, upstream, host):
    answer = ask(mesh, host=host)

    assert answer.status == 200 or (not host and answer.status == 400)
    assert b"evil" not in answer.body and "evil" not in repr(answer.headers)


FORGED = {
    "one hop": "X-Forwarded-For: 10.0.0.1",
    "1,000 hops": "X-Forwarded-For: " + ", ".join(["10.0.0.1"] * 1_000),
    "no address": "X-Forwarded-For: '; DROP TABLE usage;--",
    "host": "X-Forwarded-Host: evil.test",
    "scheme": "X-Forwarded-Proto: gopher",
    "address": "X-Original-URL: /healthz",
    "user": "X-Forwarded-User: ada",
    "role": "X-Mesh-Role: admin",
    "principal": "Remote-User: ada",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_header_decides_nothing(mesh, upstream, name):
    answer = ask(mesh, FORGED[name])

    assert (answer.status, answer.text) == (200, "one two three")
    assert mesh.usage(answer).principal == "caller"
    [sent] = upstream.requests
    assert FORGED[name].partition(": ")[2] not in sent.headers.values()


@pytest.mark.parametrize("given", ["a" * 10_000, "good-one", "<script>", "a\tb"])
def test_the_request_id_is_ours(mesh, upstream, given):
    answer = ask(mesh, f"X-Request-Id: {given}")

    assert answer.status == 200
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])
    assert given not in repr(answer.headers)


def test_a_control_character_in_a_header_is_refused(mesh, upstream):
    answer = ask(mesh, "X-Request-Id: \x1b[31mred", "Connection: close")

    check_refusal(answer, 400, "invalid_value")
    assert b"red" not in answer.body


def test_a_line_break_in_a_header_ends_it(mesh, upstream):
    answer = ask(mesh, "X-Request-Id: a\r\nX-Injected: yes")

    assert answer.status == 200
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize(
    "lines", [["Idempotency-Key: "], [f"Idempotency-Key: {'k' * 10_000}"], ["Idempotency-Key: k"] * 2]
)
def test_an_idempotency_key_that_is_none_is_refused(mesh, upstream, lines):
    check_refusal(ask(mesh, *lines), 400, "invalid_value", "Idempotency-Key")
    assert upstream.requests == []


# --- addresses and methods

ELSEWHERE = ["//v1/models", "/v1//models", "/v1/./models", "/v1/%2e%2e/v1/models", "/v1/../api/users/", "/v1/models;x"]
ELSEWHERE += [
    "/v1/chat/completions/",
    "/v1/chat",
    "/v1/",
    "/v1",
    "/v1/models/",
    "/v1/Models",
    "/v1/models%00",
    "/v1/files",
]


@pytest.mark.parametrize("path", ELSEWHERE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_address_is_not_found(mesh, upstream, path, method):
    answer = ask(mesh, first=f"{method} {path} HTTP/1.1")

    check_refusal(answer, 404, "not_found")
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/v1/models/openai", "/v1/models/openai/../x", "/v1/models/%2e%2e"])
def test_another_model_is_not_found(mesh, upstream, path):
    check_refusal(mesh.get(path), 404, "model_not_found")


@pytest.mark.parametrize("method", ["TRACE", "PUT", "DELETE", "PATCH", "OPTIONS", "GET"])
def test_another_method_is_refused(mesh, upstream, method):
    answer = mesh.request(method, CHAT, chat() if method != "TRACE" else None)

    check_refusal(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert upstream.requests == []


def test_a_head_request_is_refused_without_a_body(mesh, upstream):
    answer = mesh.request("HEAD", CHAT)

    assert (answer.status, answer.body) == (405, b"")


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_override_is_ignored(mesh, upstream, name):
    assert ask(mesh, f"{name}: DELETE").status == 200
    check_refusal(ask(mesh, f"{name}: POST", first=f"GET {CHAT} HTTP/1.1"), 405, "method_not_allowed")


@pytest.mark.parametrize("first", ["POST /v1/models HTTP/9.9", "\x16\x03\x01\x02", "GET", "get http://", "A" * 70_000])
def test_what_is_not_http_is_refused(mesh, upstream, first):
    answer = parse_answer(mesh.raw((first + "\r\nConnection: close\r\n\r\n").encode("latin-1")))

    check_refusal(answer, 400, "invalid_value")
    assert upstream.requests == []
