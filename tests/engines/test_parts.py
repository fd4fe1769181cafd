"""The parts of engines that need no process."""

import pytest

from connections.engines import folders
from connections.engines.parameters import Signature
from connections.engines.shapes import UntilStop
from connections.engines.told import Given, Missing, Refused, heard


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["Hello", " END", " more"], "Hello "),
        (["Hello E", "N", "D"], "Hello "),
        (["Hello E", "N", "d"], "Hello ENd"),
        (["one\nUser", ": two"], "one"),
        (["E", "E", "ND"], "E"),
    ],
)
def test_text_ends_before_the_first_stop_however_it_is_cut(pieces, expected):
    until = UntilStop(["END", "\nUser:"])

    text = "".join(map(until.feed, pieces)) + until.end()

    assert text == expected


def takes(a: int, b: float = 1, c: bool = False, d: dict | None = None, e="x", *, f: "str | None" = None) -> None: ...


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"a": "7", "b": "0.5", "c": "on", "d": '{"k": 1}', "e": "y", "f": "none"},
            (7, 0.5, True, {"k": 1}, "y", None),
        ),
        ({"a": 7, "b": 2, "c": True, "d": {}, "e": "", "f": "g"}, (7, 2.0, True, {}, "", "g")),
    ],
)
def test_texts_become_what_the_signature_wants(given, expected):
    assert tuple(Signature.of(takes).values(given, "It").values()) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": "seven"}, "`a` must be a whole number"),
        ({"a": True}, "`a` must be a whole number"),
        ({"c": "maybe"}, "`c` must be true or false"),
        ({"d": "[1]"}, "`d` must be an object"),
        ({"z": 1}, "takes no `z`"),
    ],
)
def test_what_does_not_fit_is_refused(given, said):
    with pytest.raises(Refused, match=said.replace("`", ".")):
        Signature.of(takes).values(given, "It")


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"12345678")
    return folder


def test_a_checkpoint_is_found_with_the_size_of_its_weights(checkpoint):
    found = folders.checkpoint("tiny", ["/nowhere", str(checkpoint.parent)])

    assert found == checkpoint
    assert folders.size(found) == 8


def test_pickled_weights_are_not_loaded(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")

    with pytest.raises(Missing, match="can run code"):
        folders.checkpoint("tiny", [str(checkpoint.parent)])


def test_a_link_inside_a_checkpoint_may_not_lead_out(checkpoint, tmp_path):
    (tmp_path / "outside.json").write_text("{}")
    (checkpoint / "tokenizer.json").symlink_to(tmp_path / "outside.json")

    with pytest.raises(Missing, match=r"tokenizer.json is a link that leads out"):
        folders.checkpoint("tiny", [str(checkpoint.parent)])


def test_the_folder_itself_is_no_checkpoint_below_it(checkpoint):
    for name in (".", "", "..", "/"):
        with pytest.raises(Missing):
            folders.checkpoint(name, [str(checkpoint.parent)])


def test_only_marked_lines_are_reports():
    assert heard('\x1e{"state": "running"}') == {"state": "running"}
    assert heard('{"state": "running"}') is None
    assert heard("\x1enonsense") is None
    assert heard("\x1e[]") is None


def test_what_an_engine_is_told_shows_no_secret():
    told = Given("python", "127.0.0.1", 0, "key-canary", {}, {"secret_arguments": {"a": "canary"}})

    assert "canary" not in repr(told)
