"""What is particular to models in engine processes of ours."""

import json

import msgspec
import pytest
from pydantic import ValidationError

from connections.providers import registry
from connections.providers.calls import Answer, Call, Mode, Target
from connections.providers.deployed import Deployed
from connections.providers.errors import EngineStopped, Overloaded, RequestRefused
from tests.providers.conftest import PLACE, make

KINDS = [kind for kind, provider in registry.providers().items() if provider.engine]
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_that_does_not_run_is_named(kind):
    provider = make(kind).at(None)

    for ask in (provider.check, lambda: provider.request(Call(Mode.CHAT, Target("x"), HELLO))):
        with pytest.raises(EngineStopped, match=r"The engine of this .* connection is not running\."):
            ask()


@pytest.mark.parametrize("kind", KINDS)
def test_where_it_runs_is_neither_a_setting_nor_shown(kind):
    provider = make(kind)

    assert PLACE.key in provider.secrets()
    assert PLACE.key not in f"{PLACE!r} {provider.settings!r} {provider.told()}"
    assert not {"base_url", "port", "key", "api_key"} & set(type(provider).Settings.model_fields)


@pytest.mark.parametrize("kind", KINDS)
def test_loading_is_told_from_failing(kind):
    body = b'{"error": {"code": 503, "message": "The model is being loaded: 40 %.", "type": "unavailable_error"}}'

    error = make(kind).problem(Answer(503, {}, body))

    assert isinstance(error, Overloaded)
    assert error.message == "The engine is still loading its model, or has too much to do."
    assert "40 %" in error.evidence


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("gguf", ["smollm2-135m-instruct.q4_1", "qwen3-0.6b"]),
        ("transformers", ["tiny-llama"]),
        ("vllm_engine", ["tiny-llama"]),
        ("langchain", ["listed"]),
        ("python_class", ["fish"]),
    ],
)
def test_its_models_are_known_before_it_runs(kind, expected):
    offered = make(kind).at(None).offered()

    assert list(dict.fromkeys(info.id for info in offered)) == expected
    assert {info.mode for info in offered} <= type(make(kind)).modes


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../b", "~/x", "$HOME/x", "file:///x", "a\\b", "a\nb", "x" * 301, "a//b", "\u202ex"],
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    for kind, setting in (("transformers", name), ("vllm_engine", name)):
        with pytest.raises(ValidationError, match="Value error"):
            make(kind, folder=setting)
    with pytest.raises(ValidationError, match="Value error"):
        make("gguf", files=[name])


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="the same name"):
        make("gguf", files=["a/model.gguf", "b/Model.gguf"])


@pytest.mark.parametrize("kind", ["langchain", "python_class"])
@pytest.mark.parametrize(
    "name", ["os:system", "subprocess:Popen", "tests.engines.fish", "tests.engines.fish:Later", ""]
)
def test_only_listed_classes_can_be_named(kind, name):
    with pytest.raises(ValidationError, match="MESH_CUSTOM_CLASSES"):
        make(kind, class_name=name)


@pytest.mark.parametrize("name", ["a b", "__import__('os')", "x-y", "1a"])
def test_an_argument_has_a_name(name):
    with pytest.raises(ValidationError, match="no argument's name"):
        make("python_class", arguments={name: "1"})


def test_runtime_parameters_go_along_with_requests_and_not_with_the_start():
    provider = make("python_class")
    call = Call(Mode.CHAT, Target("fish"), {**HELLO, "runtime_parameters": {"mood": "calm"}})

    assert json.loads(provider.request(call).body)["runtime_parameters"] == {"mood": "calm"}
    assert "runtime_parameters" not in provider.told()
    assert not any(secret in str(provider.told()) for secret in provider.secrets())


@pytest.mark.parametrize("sent", [b"5", b'["mood"]', b'"calm"'])
def test_runtime_parameters_are_an_object_as_they_come_from_the_wire(sent):
    def call(raw: bytes) -> Call:
        return Call(Mode.CHAT, Target("fish"), {**HELLO, "runtime_parameters": msgspec.Raw(raw)})

    assert (
        json.loads(make("python_class").request(call(b'{"mood": "calm"}')).body)["runtime_parameters"]["mood"] == "calm"
    )
    with pytest.raises(RequestRefused, match="must be an object"):
        make("python_class").request(call(sent))


@pytest.mark.parametrize(
    ("folders", "classes", "said"),
    [(["models"], [], "MESH_MODEL_FOLDERS"), ([], ["os.system"], "module:Class"), ([], ["a:b()"], "module:Class")],
)
def test_what_the_deployment_lists_is_read_strictly(folders, classes, said):
    with pytest.raises(ValueError, match=said):
        Deployed().allow(folders, classes)
