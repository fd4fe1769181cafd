"""What a model lacks and we supply, as plain translations of calls, answers and chunks.

A completion of a chat model is a conversation of one message; a chat of a completion model is its family's
prompt. More answers or texts than one request takes are several requests; a stream that a model cannot give
is its whole answer in one chunk. Every change is reported in the call's adjustments.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply
from connections.providers.contract import Provider
from connections.providers.errors import RequestRefused
from connections.providers.parameters import KNOWN

MAX_PARTS = 256
"""The most requests that one call may become."""
PAIRS = frozenset({(Mode.COMPLETION, Mode.CHAT), (Mode.CHAT, Mode.COMPLETION)})
"""What can be asked of a model that is for something else."""
_SAME = frozenset({"messages", "prompt"})


def answers(mode: Mode, model: Mode) -> bool:
    """Whether a call of `mode` can be put to a model whose own mode is `model`."""
    return mode is model or (mode, model) in PAIRS


# --- a call of one mode for a model of another ---------------------------------------------------------------


def in_own_mode(provider: Provider, call: Call) -> Call:
    """The same call as the model itself takes it."""
    if call.mode is call.target.mode:
        return call
    return _as_chat(call) if call.mode is Mode.COMPLETION else _as_completion(provider, call)


def _as_chat(call: Call) -> Call:
    prompt = wire.plain(call.body["prompt"])
    text = prompt[0] if isinstance(prompt, list) else prompt
    call.adjusted.append(Adjustment("prompt", "sent as one user message"))
    kept = _kept(call, Mode.CHAT)
    return replace(call, mode=Mode.CHAT, body={"messages": [{"role": "user", "content": text}], **kept})


def _as_completion(provider: Provider, call: Call) -> Call:
    rendered = provider.prompt(call)
    kept = _kept(call, Mode.COMPLETION)
    given = wire.plain(kept.get("stop")) or []
    stops = [given] if isinstance(given, str) else list(given)
    if rendered.stops:
        kept["stop"] = [*stops, *(stop for stop in rendered.stops if stop not in stops)]
    call.adjusted.append(Adjustment("messages", "sent as one prompt"))
    return replace(call, mode=Mode.COMPLETION, body={"prompt": rendered.text, **kept})


def _kept(call: Call, mode: Mode) -> JSON:
    """The parameters that the other mode knows too; the rest is dropped, and that is reported."""
    kept: JSON = {}
    for name, value in call.body.items():
        other = {"max_completion_tokens": "max_tokens"}.get(name, name) if mode is Mode.COMPLETION else name
        alike = other in KNOWN[mode] and name != "logprobs"  # a number in one mode, a flag in the other
        if value is None or name in _SAME:
            continue
        if alike or name in call.forwarded - KNOWN[call.mode].keys():
            kept[other] = value
        else:
            call.adjusted.append(Adjustment(name, "dropped"))
    return kept


def reply_in(mode: Mode, reply: Reply) -> Reply:
    """A chat's answer as a completion's, or the reverse."""
    answer = json.loads(reply.body)
    for choice in answer["choices"]:
        _turn(choice, mode, "message")
    answer["object"] = "text_completion" if mode is Mode.COMPLETION else "chat.completion"
    return replace(reply, body=wire.encode(answer))


def chunk_in(mode: Mode, chunk: bytes) -> bytes:
    """One chunk of a chat's stream as one of a completion's, or the reverse."""
    content = json.loads(chunk)
    for choice in content.get("choices") or []:
        _turn(choice, mode, "delta")
    content["object"] = "text_completion" if mode is Mode.COMPLETION else "chat.completion.chunk"
    return wire.encode(content)


def _turn(choice: JSON, mode: Mode, place: str) -> None:
    choice["logprobs"] = None
    if mode is Mode.COMPLETION:
        choice["text"] = (choice.pop(place, None) or {}).get("content") or ""
    else:
        choice[place] = {"role": "assistant", "content": choice.pop("text", "")}


# --- one call as several requests ----------------------------------------------------------------------------


def parts(provider: Provider, call: Call) -> list[Call]:
    """The requests that the call amounts to; usually one, itself."""
    if call.mode is Mode.EMBEDDING:
        return _by_inputs(call, provider.abilities(call.target).inputs)
    calls = _by_prompts(provider, call) if call.mode is Mode.COMPLETION else [call]
    wanted = call.body.get("n")
    if isinstance(wanted, int) and wanted > 1 and wanted > (most := provider.abilities(call.target).choices):
        calls = [part for one in calls for part in _by_choices(one, wanted, most)]
    if len(calls) > MAX_PARTS:
        raise RequestRefused(f"This would take {len(calls)} requests to the provider; at most {MAX_PARTS} are made.")
    return calls


def _by_prompts(provider: Provider, call: Call) -> list[Call]:
    most = 1 if call.target.mode is Mode.CHAT else provider.abilities(call.target).prompts
    prompts = wire.plain(call.body["prompt"])
    if isinstance(prompts, str) or len(prompts) <= most:
        return [call]
    call.adjusted.append(Adjustment("prompt", f"split into {len(prompts)} requests"))
    return [_part(call, prompt=prompt) for prompt in prompts]


def _by_choices(call: Call, wanted: int, most: int) -> list[Call]:
    sizes = [min(most, wanted - start) for start in range(0, wanted, most)]
    call.adjusted.append(Adjustment("n", f"split into {len(sizes)} requests"))
    return [_part(call, n=size if size > 1 else None) for size in sizes]


def _by_inputs(call: Call, most: int) -> list[Call]:
    given = wire.plain(call.body["input"])
    whole = not isinstance(given, list) or not given or isinstance(given[0], int)
    if whole or len(given) <= most:
        return [call]
    starts = range(0, len(given), most)
    call.adjusted.append(Adjustment("input", f"split into {len(starts)} requests"))
    return [_part(call, input=given[start : start + most]) for start in starts]


def _part(call: Call, **changed: Any) -> Call:
    """One of several: only the first reports what is done to its parameters, which is the same for all."""
    return replace(call, body={**call.body, **changed}, stream=False, adjusted=[])


def merged(call: Call, replies: Sequence[Reply]) -> Reply:
    """The answers of the parts as one, in their order, with their usage added up."""
    first, usage = replies[0], replies[0].usage
    for reply in replies[1:]:
        usage += reply.usage
    answer = json.loads(first.body)
    name = "choices" if call.mode in {Mode.CHAT, Mode.COMPLETION} else "data"
    answer[name] = [item for reply in replies for item in json.loads(reply.body)[name]]
    for index, item in enumerate(answer[name]):
        if "index" in item:
            item["index"] = index
    if "usage" in answer or usage.prompt_tokens is not None:
        answer["usage"] = usage.as_openai()
    return Reply(wire.encode(answer), usage, first.finish_reason, first.model)


# --- a whole answer as a stream ------------------------------------------------------------------------------


def chunks_of(call: Call, reply: Reply) -> Iterable[bytes]:
    """The chunks that a whole answer amounts to."""
    answer = json.loads(reply.body)
    kind = "text_completion" if call.mode is Mode.COMPLETION else "chat.completion.chunk"
    head = {name: answer[name] for name in ("id", "created", "model") if name in answer} | {"object": kind}
    for choice in answer["choices"]:
        begun = {**choice, "finish_reason": None}
        over = {"index": choice.get("index", 0), "finish_reason": choice.get("finish_reason")}
        if call.mode is Mode.CHAT:
            begun["delta"] = _numbered(begun.pop("message"))
            over["delta"] = {}
        else:
            over["text"] = ""
        yield wire.encode({**head, "choices": [begun]})
        yield wire.encode({**head, "choices": [over]})
    if call.wants_usage:
        yield wire.encode({**head, "choices": [], "usage": reply.usage.as_openai()})


def _numbered(message: JSON) -> JSON:
    """Tool calls in a stream carry their place."""
    if calls := message.get("tool_calls"):
        return {**message, "tool_calls": [{"index": place, **call} for place, call in enumerate(calls)]}
    return message
