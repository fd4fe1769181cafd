"""The same call from elsewhere: curl, Python and JavaScript against our own `/v1`."""

import json
import shlex
from pprint import pformat
from typing import NamedTuple

from django.utils.safestring import SafeString

from connections.providers.calls import JSON
from playground.render import coloured

NOT_IN_CLIENT = {"top_k", "min_p", "repetition_penalty"}
"""Parameters that the openai client passes on only as `extra_body`."""


class Snippet(NamedTuple):
    id: str
    label: str
    language: str
    code: str

    @property
    def shown(self) -> SafeString:
        return coloured(self.code, self.language)


def snippets(body: JSON, base_url: str) -> list[Snippet]:
    return [
        Snippet("curl", "curl", "bash", curl(body, base_url)),
        Snippet("python", "Python", "python", python(body, base_url)),
        Snippet("javascript", "JavaScript", "javascript", javascript(body, base_url)),
    ]


def curl(body: JSON, base_url: str, path: str = "/v1/chat/completions") -> str:
    lines = [
        f"curl --no-buffer {shlex.quote(base_url + path)}",
        '--header "Authorization: Bearer $MESH_API_KEY"',
        "--header 'Content-Type: application/json'",
        f"--data-raw {shlex.quote(_pretty(body))}",
    ]
    return " \\\n  ".join(lines)


def python(body: JSON, base_url: str) -> str:
    own = {name: value for name, value in body.items() if name not in NOT_IN_CLIENT}
    extra = {name: value for name, value in body.items() if name in NOT_IN_CLIENT}
    given = {**own, **({"extra_body": extra} if extra else {})}
    arguments = "".join(f"    {name}={_indented(pformat(value, width=100))},\n" for name, value in given.items())
    return PYTHON.format(base_url=f"{base_url}/v1", arguments=arguments) + (
        PYTHON_STREAM if body.get("stream") else PYTHON_WHOLE
    )


def javascript(body: JSON, base_url: str) -> str:
    address = json.dumps(f"{base_url}/v1/chat/completions")
    ending = JAVASCRIPT_STREAM if body.get("stream") else JAVASCRIPT_WHOLE
    return JAVASCRIPT % (address, _indented(_pretty(body), "  ")) + ending


def _pretty(body: JSON) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def _indented(text: str, by: str = "    ") -> str:
    """`text` with all its lines but the first moved to the right; no string literal spans lines here."""
    return text.replace("\n", f"\n{by}")


PYTHON = """\
import os

from openai import OpenAI

client = OpenAI(base_url="{base_url}", api_key=os.environ["MESH_API_KEY"])
answer = client.chat.completions.create(
{arguments})
"""
PYTHON_STREAM = """\
for chunk in answer:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
"""
PYTHON_WHOLE = "print(answer.choices[0].message.content)\n"
JAVASCRIPT = """\
const response = await fetch(%s, {
  method: "POST",
  headers: {
    "Authorization": `Bearer ${process.env.MESH_API_KEY}`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(%s),
});
"""
JAVASCRIPT_STREAM = """\
const decoder = new TextDecoder();
for await (const bytes of response.body) {
  process.stdout.write(decoder.decode(bytes, { stream: true }));
}
"""
JAVASCRIPT_WHOLE = """\
const answer = await response.json();
console.log(answer.choices[0].message.content);
"""
