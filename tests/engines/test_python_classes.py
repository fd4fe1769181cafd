"""Classes written in Python, in the process that runs them."""

import openai
import pytest
from openai import OpenAI

from connections.engines.told import HOPELESS
from tests.engines.programs import KEY, ROOT, given

LISTED = [f"tests.engines.fish:{name}" for name in ("Fish", "Later", "Broken", "NOT_A_CLASS", "Missing")]
HELLO = {"model": "fish", "messages": [{"role": "user", "content": "Hello"}]}


def told(name: str, **more):
    settings = {"class_name": name, "model_id": "fish", "at_once": 1, **more.pop("settings", {})}
    return given("python", settings=settings, **{"classes": LISTED, **more})


def client(program) -> OpenAI:
    return OpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0)


def test_a_class_answers_and_its_parameters_are_typed(start):
    program = start(
        told(LISTED[0], settings={"arguments": {"size": "3"}}, secrets={"secret_arguments": {"secret": "s"}})
    )
    described = program.wait_for("running")["models"][0]
    ask = client(program).chat.completions.create

    plain = ask(**HELLO)
    several = ask(**HELLO, n=2, max_tokens=5, extra_body={"runtime_parameters": {"temperature": "0.5", "mood": "wild"}})
    own = ask(**HELLO, extra_body={"runtime_parameters": {"temperature": "7"}, "temperature": 2, "tags": '["a"]'})

    assert plain.choices[0].message.content == "True 3 128 1.0 calm None Hello"
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (7, 3)
    assert several.choices[0].message.content == "True 3 5 0.5 wild None Hello"
    assert several.choices[1].message.content == "another 1"
    assert several.usage.completion_tokens == 6
    assert own.choices[0].message.content == "True 3 128 2.0 calm ['a'] Hello"
    assert [(one["name"], one["kind"], one["default"]) for one in described["parameters"]] == [
        ("max_new_tokens", "integer", 128),
        ("temperature", "number", 1.0),
        ("mood", "string", "calm"),
        ("tags", "list", None),
    ]
    assert described["parameters"][2]["choices"] == ["calm", "wild"]


def test_what_the_class_does_not_take_is_refused_and_said(start):
    program = start(told(LISTED[0]))
    program.wait_for("running")
    for sent, expected in [
        ({"top_p": 0.5}, "takes no `top_p`. It takes: max_new_tokens, temperature, mood, tags."),
        ({"temperature": "hot"}, "`temperature` must be a number, not 'hot'"),
        ({"runtime_parameters": {"mood": "sad"}}, "`mood` must be one of calm, wild"),
        ({"runtime_parameters": {"max_new_tokens": "1.5"}}, "`max_new_tokens` must be a whole number"),
        ({"runtime_parameters": 5}, "must be an object"),
    ]:
        with pytest.raises(openai.BadRequestError, match=expected.replace("`", ".")):
            client(program).chat.completions.create(**HELLO, extra_body=sent)


def test_embeddings_are_the_mean_of_the_last_hidden_states(start):
    program = start(told(LISTED[0]))
    program.wait_for("running")

    vectors = client(program).embeddings.create(model="fish", input=["a", "b"]).data

    assert [vector.embedding for vector in vectors] == [[2.0, 4.0], [2.0, 4.0]]


def test_an_asynchronous_class_of_the_older_shape_answers_too(start):
    program = start(told(LISTED[1]))
    program.wait_for("running")

    answer = client(program).chat.completions.create(**HELLO, extra_body={"anything": "goes"})

    assert [choice.message.content for choice in answer.choices] == ["Hello [('anything', 'goes')]"]


def test_a_class_that_gives_one_answer_at_a_time_is_asked_again(start, tmp_path):
    (tmp_path / "single.py").write_text(
        "class Single:\n    model_name = 'x'\n    asked = 0\n    def generate(self, inputs):\n"
        "        self.asked += 1\n        return [[str(self.asked)]]\n"
    )
    program = start(told("single:Single", classes=["single:Single"]), tmp_path)
    program.wait_for("running")

    answer = client(program).chat.completions.create(**HELLO, n=3)

    assert [choice.message.content for choice in answer.choices] == ["1", "2", "3"]


def test_a_failure_of_the_class_is_an_error_and_the_engine_goes_on(start):
    program = start(told(LISTED[0]))
    program.wait_for("running")

    with pytest.raises(openai.InternalServerError, match="ValueError: too hot"):
        client(program).chat.completions.create(**HELLO, extra_body={"temperature": 101})

    assert client(program).chat.completions.create(**HELLO).choices


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("os:system", {}, "os:system is not listed here. Add it to MESH_CUSTOM_CLASSES."),
        (LISTED[2], {}, "Loading failed: RuntimeError: no such fish"),
        (LISTED[3], {}, "is no class"),
        (LISTED[4], {}, "has no Missing"),
        ("nowhere:Class", {"classes": ["nowhere:Class"]}, "nowhere cannot be imported here"),
        (LISTED[0], {"settings": {"arguments": {"size": "big"}}}, "`size` must be a whole number, not 'big'."),
        (LISTED[0], {"settings": {"arguments": {"colour": "red"}}}, "takes no `colour`. It takes: name, size, secret."),
    ],
)
def test_a_class_that_cannot_be_had_is_told_with_the_reason(start, name, options, expected):
    program = start(told(name, **options))

    reason = program.wait_for("failed")["reason"]

    assert expected in reason
    assert program.process.wait(20) == HOPELESS


def test_nothing_of_ours_is_imported_there(start, tmp_path):
    (tmp_path / "looker.py").write_text(
        "import sys\nclass Looker:\n    model_name = 'x'\n    def generate(self, inputs):\n"
        "        ours = ('django', 'httptools', 'access', 'gateway', 'llmmesh', 'connections.providers', 'torch')\n"
        "        return [[str([name for name in ours if name in sys.modules])]]\n"
    )
    program = start(told("looker:Looker", classes=["looker:Looker"]), tmp_path)
    program.wait_for("running")

    assert client(program).chat.completions.create(**HELLO).choices[0].message.content == "[]"
    assert str(ROOT) not in "".join(program.said)
