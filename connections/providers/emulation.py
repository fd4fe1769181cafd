"""What a model lacks and we supply, as plain translations of calls, answers and chunks.

A completion of a chat model is a conversation of one message; a chat of a completion model is its family's
prompt. More answers or texts than one request takes are several requests; a stream that a model cannot give
is its whole answer in one chunk. Every change is reported in the call's adjustments.
"""

import json
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import Any

from msgspec import Raw, structs

from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Usage
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError, RequestRefused
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
    return structs.replace(call, mode=Mode.CHAT, body={"messages": [{"role": "user", "content": text}], **kept})


def _as_completion(provider: Provider, call: Call) -> Call:
    rendered = provider.prompt(call)
    kept = _kept(call, Mode.COMPLETION)
    given = wire.plain(kept.get("stop")) or []
    stops = [given] if isinstance(given, str) else list(given)
    call.adjusted.append(Adjustment("messages", "sent as one prompt"))
    if missing := [stop for stop in rendered.stops if stop not in stops]:
        kept["stop"] = [*stops, *missing]
        call.adjusted.append(Adjustment("stop", f"extended by {json.dumps(missing)}"))
    return structs.replace(call, mode=Mode.COMPLETION, body={"prompt": rendered.text, **kept})


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
    return structs.replace(reply, body=wire.encode(answer))


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


def requests(provider: Provider, call: Call) -> list[Call]:
    """The requests that the call amounts to, as the model itself takes them; usually one.

    All are changed in the same way, so only the first reports it, in the call's own list.
    """
    return [in_own_mode(provider, part) for part in _parts(provider, call)]


def splits(provider: Provider, call: Call) -> bool:
    """Whether it takes more than one request."""
    return not _stays_one(call) and len(_parts(provider, structs.replace(call, adjusted=[]))) > 1


def may_be_fewer(call: Call) -> bool:
    """Whether an answer without some of its parts is worth having: of several choices, not of several texts."""
    prompts = wire.plain(call.body["prompt"]) if call.mode is Mode.COMPLETION else ""
    return "n" in call.body and (isinstance(prompts, str) or len(prompts) == 1)


def _stays_one(call: Call) -> bool:
    """Whether it is one request whatever the model can do, as most calls are."""
    return "n" not in call.body and call.mode not in {Mode.COMPLETION, Mode.EMBEDDING}


def _parts(provider: Provider, call: Call) -> list[Call]:
    if _stays_one(call):
        return [call]
    able = provider.abilities(call.target)
    if call.mode is Mode.EMBEDDING:
        return _by_inputs(call, able.inputs)
    groups = _prompt_groups(call, 1 if call.target.mode is Mode.CHAT else able.prompts)
    wanted = call.body.get("n")
    choices = wanted if isinstance(wanted, int) else 1
    count = len(groups) * -(-choices // able.choices)
    if count > MAX_PARTS:
        raise RequestRefused(f"This would take {count} requests to the provider; at most {MAX_PARTS} are made.")
    calls = _by_prompts(call, groups)
    if choices <= able.choices:
        return calls
    return [part for one in calls for part in _by_choices(one, choices, able.choices)]


def _prompt_groups(call: Call, most: int) -> list[Any]:
    """The prompts of a completion, as they go together; one group for anything else."""
    prompts = wire.plain(call.body["prompt"]) if call.mode is Mode.COMPLETION else ""
    if isinstance(prompts, str) or len(prompts) <= most:
        return [prompts]
    groups = [prompts[start : start + most] for start in range(0, len(prompts), most)]
    return [group[0] for group in groups] if most == 1 else groups


def _by_prompts(call: Call, groups: Sequence[Any]) -> list[Call]:
    if len(groups) == 1:
        return [call]
    call.adjusted.append(Adjustment("prompt", f"split into {len(groups)} requests"))
    return [_part(call, place, prompt=group) for place, group in enumerate(groups)]


def _by_choices(call: Call, wanted: int, most: int) -> list[Call]:
    sizes = [min(most, wanted - start) for start in range(0, wanted, most)]
    call.adjusted.append(Adjustment("n", f"split into {len(sizes)} requests"))
    return [_part(call, place, n=size if size > 1 else None) for place, size in enumerate(sizes)]


def _by_inputs(call: Call, most: int) -> list[Call]:
    given = call.body["input"]
    if isinstance(given, Raw) and bytes(given).count(b",") < most:
        return [call]  # that few cannot be too many, and most calls need not be decoded to learn it
    texts = wire.plain(given)
    if not isinstance(texts, list) or len(texts) <= most or isinstance(texts[0], int):
        return [call]
    starts = range(0, len(texts), most)
    if len(starts) > MAX_PARTS:
        raise RequestRefused(f"This model takes {most} texts at a time; send at most {most * MAX_PARTS}.")
    call.adjusted.append(Adjustment("input", f"split into {len(starts)} requests"))
    return [_part(call, place, input=texts[start : start + most]) for place, start in enumerate(starts)]


def _part(call: Call, place: int, **changed: Any) -> Call:
    adjusted: list[Adjustment] = [] if place else call.adjusted
    return structs.replace(call, body={**call.body, **changed}, stream=False, adjusted=adjusted)


def merged(call: Call, replies: Sequence[Reply], failures: Sequence[ProviderError] = ()) -> Reply:
    """The answers of the parts as one, in their order, with all that was used; `failures` are parts left out."""
    first, answer = replies[0], json.loads(replies[0].body)
    usage = used([reply.usage for reply in replies] + [error.usage for error in failures if error.usage])
    name = "choices" if call.mode in {Mode.CHAT, Mode.COMPLETION} else "data"
    answer[name] = [item for reply in replies for item in json.loads(reply.body)[name]]
    for index, item in enumerate(answer[name]):
        if "index" in item:
            item["index"] = index
    if failures:
        call.adjusted.append(Adjustment("n", f"reduced to {len(answer[name])}: {failures[0].message}"))
    answer.pop("usage", None)
    if told := _told(call.mode, usage):
        answer["usage"] = told
    return Reply(wire.encode(answer), usage, first.finish_reason, first.model)


def used(parts: Iterable[Usage]) -> Usage:
    """All of it together."""
    return reduce(add, parts)


def _told(mode: Mode, usage: Usage) -> JSON:
    """Usage as answers of this mode tell it; empty: not known, or nothing to tell."""
    if not usage.prompt_tokens:
        return {}
    told = usage.as_openai()
    if mode is not Mode.IMAGE:
        return told
    counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens or 0}
    return {**counts, "total_tokens": told["total_tokens"]}


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
    if call.wants_usage and reply.usage.prompt_tokens is not None:
        yield wire.encode({**head, "choices": [], "usage": reply.usage.as_openai()})


def _numbered(message: JSON) -> JSON:
    """Tool calls in a stream carry their place."""
    if calls := message.get("tool_calls"):
        return {**message, "tool_calls": [{"index": place, **call} for place, call in enumerate(calls)]}
    return message
