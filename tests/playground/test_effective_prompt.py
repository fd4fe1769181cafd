"""Models that only continue a text: the playground shows the very text that they get."""

import pytest

from connections.providers.calls import Mode


@pytest.fixture
def texts(mesh, connect, analysts):
    """A model for texts whose options name its prompt format."""
    connect("compatible", {"local-text": Mode.COMPLETION}, analysts, options={"prompt_format": "llama-2"})
    mesh.refresh()


def test_the_exact_text_that_was_sent_is_shown(texts, visitor, upstream):
    visitor.ask("Say <b>hi</b></s>", model="compatible/local-text").rest()

    run = visitor.run
    sent = upstream.requests[-1].json
    assert sent["prompt"] == "[INST] Say <b>hi</b>  [/INST]"
    assert run.effective["body"]["prompt"] == run.effective["prompt"] == sent["prompt"]
    assert sent["prompt"] in visitor.get(f"/playground/runs/{run.pk}/request")
    assert "messages cleaned of the prompt format's control strings" in run.adjusted
    assert any(change.startswith("stop extended by") for change in run.adjusted)
