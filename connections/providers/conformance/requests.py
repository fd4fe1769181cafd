"""What is sent."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import structs

from connections.providers.calls import Call, Mode, Outgoing
from connections.providers.conformance.demands import demand, equal
from connections.providers.conformance.golden import Golden, target_from
from connections.providers.contract import Provider
from connections.providers.errors import RequestRefused
from connections.providers.parameters import KNOWN

TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
SAMPLES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 50,
    "max_completion_tokens": 50,
    "stop": ["END"],
    "logprobs": True,
    "logit_bias": {"50256": -100},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "tools": TOOLS,
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "metadata": {"team": "search"},
    "service_tier": "auto",
    "encoding_format": "float",
}
BY_KIND = {"number": 0.5, "integer": 3, "boolean": True, "string": "low", "list": ["a"], "object": {}, "any": "auto"}
PYTHON = {"number": float, "integer": int, "boolean": bool, "string": str, "list": list, "object": dict}
IMAGE_SAMPLES = {"size": "1024x1024", "aspect_ratio": "16:9", "output_format": "jpeg", "response_format": "b64_json"}
NEEDS_TOOLS = {"tool_choice", "parallel_tool_calls"}
ODD_IDS = (
    *("..", "../../x", "x/../../../keys", "stable-diffusion-xl/../../keys", "a%2f..", "%2e%2e/x", "a\\..\\b"),
    *("a/b?c#d", "//evil.test/x", "@evil.test/x", "http://evil.test/x", ":8080@evil.test"),
    *("é", "é/é", "aé/bé/cé", "a b", "a\r\nHost: evil.test"),
)
"""What nobody would call a model, and a careless admin or a hostile list of models may bring."""


def sample(mode: Mode, name: str) -> Any:
    """A value that fits the parameter."""
    kind = KNOWN[mode][name].kind
    fits = name in SAMPLES and (kind == "any" or isinstance(SAMPLES[name], PYTHON[kind]))
    return SAMPLES[name] if fits else IMAGE_SAMPLES.get(name, BY_KIND[kind])


def no_parameter_is_lost(golden: Golden) -> None:
    """Each common parameter changes the request or is reported in `call.adjusted`."""
    provider = golden.make()
    for mode in golden.modes:
        for name in KNOWN[mode]:
            around = {"tools": TOOLS} if name in NEEDS_TOOLS else {}
            call = golden.call(mode, **around, **{name: sample(mode, name)})
            plain = golden.call(mode, **around)
            changed = _content(provider.request(call)) != _content(provider.request(plain))
            reported = any(one.parameter == name for one in call.adjusted)
            demand(changed or reported, f"{mode}: {name} is neither sent nor reported")


def _content(outgoing: Outgoing) -> tuple[str, bytes]:
    return outgoing.url, outgoing.body


def all_parameters_make_a_request(golden: Golden) -> None:
    """All common parameters together make a request."""
    provider = golden.make()
    for mode in golden.modes:
        given = {name: sample(mode, name) for name in KNOWN[mode]}
        demand(provider.request(golden.call(mode, **given)).url, f"{mode}: the request has no address")


def every_mode_has_golden_files(golden: Golden) -> None:
    """For each mode there is a golden request and a golden reply; the first mode's request is its own."""
    for mode in golden.modes:
        for what in ("request", "reply"):
            demand(golden.files(f"{mode}_{what}*.json"), f"there is no {mode}_{what}.json")
    if golden.modes:
        demand(not golden.inherited(f"{golden.modes[0]}_request*"), "the first mode's request must be its own")


def golden_requests_are_made(golden: Golden) -> None:
    """What is sent is what the golden requests say, and the caller's body stays as it was."""
    for path in golden.files("*_request*.json"):
        golden_request_is_made(golden, path)


def golden_request_is_made(golden: Golden, path: Path) -> None:
    """One of them."""
    provider, expected = golden.make(), json.loads(path.read_text())
    call = recorded_call(path, expected)
    before = json.dumps(expected["call"])
    outgoing = provider.request(call)
    if path.parent == golden.folders[0]:
        equal((outgoing.method, outgoing.url), (expected["method"], expected["url"]), f"{path.name}: it asks")
    if "text" in expected:
        equal(outgoing.body.decode(), expected["text"], f"{path.name}: the body is")
    else:
        equal(json.loads(outgoing.body), expected["body"], f"{path.name}: the body is")
    headers = dict(provider.auth.sign(outgoing).headers)
    sent = {name: headers.get(name) for name in expected["headers"]}
    equal(sent, expected["headers"], f"{path.name}: of the headers there are")
    equal(list(map(str, call.adjusted)), expected["adjusted"], f"{path.name}: reported is")
    equal(json.dumps(expected["call"]), before, f"{path.name}: the caller's body has become")


def recorded_call(path: Path, expected: dict[str, Any]) -> Call:
    mode = Mode(path.stem.partition("_")[0])
    target = target_from(expected["target"], mode)
    return Call(mode, target, expected["call"], stream=expected.get("stream", False), request_id="req-1")


def model_ids_stay_in_their_place(golden: Golden) -> None:
    """Whatever a model's id holds, the request goes to the same server, and not above the place of models there."""
    provider = golden.make()
    for mode in golden.modes:
        usual = _asked(provider, structs.replace(golden.call(mode), stream=False))
        demand(usual, f"{mode}: the golden model is refused")
        for name in ODD_IDS:
            for underlying in ("", golden.target(mode).known_as):
                target = structs.replace(golden.target(mode), upstream_id=name, underlying=underlying)
                _stays(usual, _asked(provider, structs.replace(golden.call(mode), target=target)), f"{mode}: {name!r}")


def _asked(provider: Provider, call: Call) -> str:
    """The address that the call goes to; empty: it is refused."""
    try:
        return provider.request(call).url
    except RequestRefused:
        return ""


def _stays(usual: str, url: str, what: str) -> None:
    if not url:
        return
    at, asked = urlsplit(usual), urlsplit(url)
    equal((asked.scheme, asked.netloc, asked.query), (at.scheme, at.netloc, at.query), f"{what} is sent to")
    demand(url.isascii() and url.isprintable() and not set(" \\#") & set(url), f"{what} is not encoded in {url}")
    steps = [unquote(step) for step in asked.path.split("/")[1:]]
    demand(not {"", ".", ".."} & set(steps), f"{what} leads elsewhere: {url}")


def the_check_only_looks(golden: Golden) -> None:
    """The free check is a GET without a body, unless `checks_by_post` says otherwise."""
    outgoing = golden.make().check()
    demand(outgoing.method == "GET" or golden.kind.checks_by_post, f"the check is a {outgoing.method}")
    demand(not outgoing.body or golden.kind.checks_by_post, "the check has a body")
