"""Model output is shown, never obeyed."""

import time

import pytest

from playground.render import LONGEST, LONGEST_CODE, markdown


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("<script>alert(1)</script>", "<script"),
        ('<img src=x onerror="alert(1)">', "<img"),
        ("[x](javascript:alert(1))", "href"),
        ("[x](JaVaScRiPt:alert(1))", "href"),
        ("<javascript:alert(1)>", "href"),
        ("[x](data:text/html;base64,PHNjcmlwdD4=)", "href"),
        ("[x](vbscript:msgbox)", "href"),
        ("![x](https://elsewhere.example/?q=secret)", "<img"),
        ('<button hx-post="/delete" hx-trigger="load">x</button>', "<button"),
        ('<hx-partial hx-target="#main">x</hx-partial>', "<hx-partial"),
        ('<p style="position:fixed">x</p>', "<p style"),
        ('<form action="https://elsewhere.example"><input></form>', "<form"),
        ("<iframe src=//elsewhere.example></iframe>", "<iframe"),
        ('```" onload="alert(1)\nx\n```', "onload"),
        ("```html\n<script>alert(1)</script>\n```", "<script"),
    ],
)
def test_hostile_markup_does_not_run(text, forbidden):
    assert forbidden not in markdown(text)


@pytest.mark.parametrize(
    "text",
    [
        ">" * 10_000 + " x",
        "> " * 10_000 + "x",
        "- " * 10_000 + "x",
        "[" * 30_000,
        "![" * 30_000,
        "*a " * 30_000,
        "```perl\n" + "s/a/" * 20_000,
        "<b>" * 100_000,
    ],
)
def test_deep_and_long_markup_does_not_hang(text):
    started = time.thread_time()

    shown = markdown(text)

    assert time.thread_time() - started < 10
    assert len(shown) < 12 * LONGEST


def test_only_so_much_code_is_coloured():
    """Lexers are slow with some code, so many short pieces count as one long one."""
    piece = "```java\n" + "a " * (LONGEST_CODE // 16) + "\n```\n"

    coloured = [markdown(piece * pieces).count("<span") for pieces in (1, 8, 16)]

    assert 0 < coloured[0] < coloured[1] == coloured[2]


def test_a_remote_image_becomes_a_link():
    shown = markdown("![a cat](https://elsewhere.example/cat.png)")

    assert 'href="https://elsewhere.example/cat.png"' in shown
    assert ">a cat</a>" in shown


def test_links_do_not_tell_where_they_were_found():
    assert 'rel="noopener noreferrer nofollow"' in markdown("[x](https://elsewhere.example)")


def test_code_is_highlighted_with_classes_only():
    shown = markdown("```python\ndef answer(): return 42\n```")

    assert '<span class="k">def</span>' in shown
    assert "style=" not in shown


def test_a_model_cannot_borrow_our_classes():
    assert "<span" not in markdown('<span class="modal show">x</span>')


def test_tables_lists_and_emphasis_survive():
    shown = markdown("| a |\n|---|\n| **1** |\n\n3. c\n4. d\n\n~~old~~")

    for part in ("<th>a</th>", "<strong>1</strong>", '<ol start="3">', "<s>old</s>"):
        assert part in shown
