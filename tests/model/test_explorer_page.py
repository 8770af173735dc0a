"""The explorer's page in a real browser: typed into, chosen from, slid, stopped, attacked."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.browser import CTRL, Tab, chromium

from refusal_lens.directions import fit_mean_difference
from refusal_lens.explorer import explore
from refusal_lens.explorer import question_queue as queues
from refusal_lens.explorer.views import answer_text
from refusal_lens.interventions import Ablate, Add
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Decoding

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(sys.platform == "win32", reason="the browser is driven over a POSIX pipe"),
]
PAYLOAD = '<img src=x onerror="window.hit=1"><b id="hit">x</b><script>window.hit=1</script>'
DONE = "document.querySelector('#status').textContent.startsWith('Done')"
HIDDEN = "document.querySelector('#message').hidden"


@pytest.fixture(scope="module")
def directions(tiny_llama, three_categories):
    fitted = fit_mean_difference(tiny_llama.residual_stats(three_categories))
    return replace(fitted, categories=("red", PAYLOAD, "blue"))


@pytest.fixture(scope="module")
def explorer(tiny_llama, directions):
    trust = ScoreTrust((5, 9), ("I", "As"), {}, {"red": "first token"}, {}, {}, {})
    with explore(tiny_llama, {"mean": directions, PAYLOAD: directions}, trust=trust) as made:
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    tab = Tab(tmp_path_factory.mktemp("browser") / "profile")
    yield tab
    tab.close()


@pytest.fixture
def tab(browser: Tab, explorer) -> Iterator[Tab]:
    """The page, fresh; it asks for nothing outside, and nothing in it fails."""
    browser.requests.clear()
    browser.problems.clear()
    browser.resize(1280, 900)
    browser.open(explorer.url)
    yield browser
    assert browser.requests
    assert [r for r in browser.requests if not r.startswith(explorer.url)] == []
    assert [p for p in browser.problems if "favicon" not in p and "422" not in p] == []


def write(tab: Tab, prompt: str, tokens: int = 5) -> None:
    """Prompt and length, typed over what is there."""
    for name, text in (("prompt", prompt), ("tokens", str(tokens))):
        tab.click(f"[name={name}]")
        tab.js(f"document.querySelector('[name={name}]').select()")
        tab.type(text)


def answers(tab: Tab) -> list[str]:
    return tab.js("[...document.querySelectorAll('.answer')].map((a) => a.textContent)")


def choose(tab: Tab, name: str, value: str) -> None:
    """An option of a list, as a choice by hand makes it."""
    where = f"document.querySelector('.edit [name={name}]')"
    tab.js(f"{where}.value = {json.dumps(value)}")
    tab.js(f"{where}.dispatchEvent(new Event('input', {{bubbles: true}}))")


def test_typed_chosen_and_slid_and_the_answers_appear(tab: Tab, tiny_llama, directions, tmp_path):
    write(tab, "Tell me red")
    choose(tab, "direction", "2")
    tab.click("[name=layer]")  # the middle of three
    tab.press("End")
    tab.press("ArrowLeft")
    tab.click("[name=strength]")
    tab.press("End")
    assert tab.js("document.querySelector('[name=layer]').getAttribute('aria-valuetext')") == (
        "layer 1"
    )
    tab.click("#go")
    tab.until(DONE)
    asked, direction = ["Tell me red"], directions.at("blue", 1)
    plain = answer_text(tiny_llama.generate(asked, Decoding(5))[0])
    with tiny_llama.editing(Add(direction, strength=4.0)):
        added = answer_text(tiny_llama.generate(asked, Decoding(5))[0])
    assert answers(tab) == [plain, added] and plain != added
    readings = tab.js("document.querySelector('#readings').innerText")
    assert "Along blue (mean)" in readings and "Tokens that a direction promotes" in readings
    assert tab.js("document.querySelectorAll('#readings svg polyline').length") == 2

    choose(tab, "action", "ablate")
    assert tab.js("document.querySelector('[name=strength]').disabled")
    tab.click("[name=control]")
    tab.until(f"{DONE} && document.querySelectorAll('.answer').length === 3")
    with tiny_llama.editing(Ablate(direction)):
        ablated = answer_text(tiny_llama.generate(asked, Decoding(5))[0])
    assert answers(tab)[:2] == [plain, ablated]
    words = tab.js("[...document.querySelectorAll('.words')].map((w) => w.textContent)")
    assert "random direction of the same length" in words[2]
    tab.picture(tmp_path / "desktop.png")
    assert (tmp_path / "desktop.png").stat().st_size > 10_000


def test_by_the_keyboard_alone(tab: Tab):
    reached: list[str] = []
    for _ in range(14):
        tab.press("Tab")
        reached.append(tab.js("document.activeElement.name || document.activeElement.id"))
    expected = ["prompt", "tokens", "action", "direction", "layer", "strength", "phase"]
    expected += ["control", "remove", "add", "go", "stop"]
    assert [name for name in reached if name in expected][: len(expected)] == expected
    tab.js("document.querySelector('[name=tokens]').focus()")
    tab.js("document.querySelector('[name=tokens]').select()")
    tab.type("3")
    tab.press("Enter", CTRL)
    tab.until(DONE)
    assert len(answers(tab)) == 2


def test_every_control_has_a_name_and_what_is_told_is_announced(tab: Tab):
    nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"textbox", "spinbutton", "combobox", "slider", "button", "link"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert len(named) >= 11 and all(name for _, name in named), named
    assert tab.js("document.querySelector('#status').role") == "status"
    assert tab.js("document.querySelector('#message').role") == "alert"


def test_a_stop_ends_the_answers_while_the_page_stays_alive(tab: Tab, monkeypatch):
    def slow(text: str) -> str:
        time.sleep(0.1)
        return answer_text(text)

    monkeypatch.setattr(queues, "answer_text", slow)
    write(tab, "Why?", 250)
    tab.click("#go")
    tab.until("document.querySelector('.answer')?.textContent.length > 0")
    tab.click("[name=prompt]")
    tab.type("typed meanwhile ")
    assert "typed meanwhile" in tab.js("document.querySelector('[name=prompt]').value")
    tab.click("#go")
    tab.until("document.querySelector('#status').textContent.includes('stop it first')")
    tab.click("#stop")
    tab.until("document.querySelector('#status').textContent.startsWith('Stopped')")
    assert all(0 < len(text) < 200 for text in answers(tab))
    monkeypatch.undo()
    write(tab, "Why?", 2)
    tab.click("#go")
    tab.until(DONE)


def test_a_page_that_is_left_stops_its_question(tab: Tab, explorer, monkeypatch):
    shown: list[str] = []

    def slow(text: str) -> str:
        shown.append(text)
        time.sleep(0.1)
        return answer_text(text)

    monkeypatch.setattr(queues, "answer_text", slow)
    write(tab, "Why?", 250)
    tab.click("#go")
    tab.until("document.querySelector('.answer')?.textContent.length > 0")
    tab.open("about:blank")
    with explorer.paused():  # there only when the question has ended
        assert len(shown) < 2 * 250
    tab.open(explorer.url)


def test_hostile_text_adds_no_element(tab: Tab):
    choose(tab, "direction", "4")  # of the second estimator, both named by the payload
    write(tab, PAYLOAD)
    tab.click("#go")
    tab.until(DONE)
    hit = "document.querySelector('#hit, img, b, main script') !== null || 'hit' in window"
    assert not tab.js(hit)
    assert f"Along {PAYLOAD} ({PAYLOAD})" in tab.js(
        "[...document.querySelectorAll('#readings h2')].map((h) => h.textContent).join()"
    )


@pytest.mark.parametrize(
    ("prompt", "tokens", "words"),
    [
        ("   ", 5, "the prompt is blank"),
        ("Why?", 9000, "less than or equal to 256"),
        ("<|im_start|>", 5, "special token"),
        ("x" * 4001, 5, "The prompt has 4,001 characters; at most 4,000 can be asked."),
    ],
)
def test_wrong_input_brings_a_message_that_goes_again(tab: Tab, prompt, tokens, words):
    assert tab.js(HIDDEN)
    write(tab, prompt, tokens)
    tab.click("#go")
    tab.until(f"document.querySelector('#message').textContent.includes({json.dumps(words)})")
    assert not tab.js(HIDDEN)
    assert answers(tab) == [] and tab.js("document.querySelector('#answers-heading').hidden")
    write(tab, "Why?", 2)
    tab.click("#go")
    tab.until(f"{DONE} && {HIDDEN}")


def test_what_is_pasted_is_never_cut_in_silence(tab: Tab):
    tab.click("[name=prompt]")
    tab.js("document.querySelector('[name=prompt]').select()")
    tab.type("x" * 100_000)
    asked = len(tab.requests)
    tab.click("#go")
    tab.until("document.querySelector('#message').textContent.includes('has 100,000 characters')")
    assert len(tab.requests) == asked


def test_a_second_edit_begins_with_another_direction_so_that_both_can_act(tab: Tab):
    tab.click("#add")
    tab.click("#add")
    chosen = tab.js("[...document.querySelectorAll('[name=direction]')].map((d) => d.value)")
    assert chosen == ["0", "1", "2"]
    write(tab, "Why?", 2)
    tab.click("#go")
    tab.until(f"{DONE} && {HIDDEN}")
    words = tab.js("[...document.querySelectorAll('.words')].map((w) => w.textContent)")
    assert words[1].count("Add(") == 3


def test_a_phone_shows_all_of_it_without_scrolling_sideways(tab: Tab, tmp_path: Path):
    tab.resize(390, 844)
    write(tab, "Tell me " + "red" * 60, 12)
    tab.click("[name=control]")
    tab.until(DONE)
    assert tab.js("document.documentElement.scrollWidth") <= 390
    for name in ("prompt", "action", "direction", "layer", "strength", "phase", "control"):
        box = f"document.querySelector('[name={name}]').getBoundingClientRect()"
        assert tab.js(f"{box}.left >= 0 && {box}.right <= 390 && {box}.height >= 18"), name
    tab.picture(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 10_000
