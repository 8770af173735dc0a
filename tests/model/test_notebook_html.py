"""What a notebook shows of a model, its tokens, prompts and an attribution, all of it escaped."""

from dataclasses import replace

import pytest
from support.synthetic.run import Page

from refusal_lens.attribution import decompose_prompt
from refusal_lens.directions import fit_mean_difference
from refusal_lens.interventions import Ablate
from refusal_lens.prompts import PromptSet

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def direction(tiny_llama, three_categories):
    fitted = fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 1)
    return replace(fitted, category=HOSTILE)


def tags(html: str) -> set[str]:
    return {tag for tag, _ in Page(html).elements}


def test_a_model_shows_its_size_and_the_edits_that_are_on(tiny_llama, direction):
    plain = tiny_llama._repr_html_()
    assert str(tiny_llama.d_model) in plain and "none" in plain and tiny_llama.digest[:12] in plain
    with tiny_llama.editing(Ablate(direction)):
        edited = tiny_llama._repr_html_()
    assert "Ablate(" in edited and "&lt;script&gt;" in edited
    assert tags(edited) == {"p", "table", "tr", "th", "td"}


def test_tokens_stay_a_list_and_show_a_strip(tiny_llama):
    strip = tiny_llama.tokens("<b>")
    assert isinstance(strip, list) and strip[-1][0] == -1
    assert "".join(text for _, text in strip).endswith("<b><|im_end|>\n<|im_start|>assistant\n")
    html = strip._repr_html_()
    assert tags(html) == {"div", "span", "sub"} and html.count("<span") == len(strip)
    assert "&lt;|im_start|&gt;" in html and "\u21b5" in html and 'title="position -1"' in html


def test_prompts_show_their_counts_and_the_first_few(three_categories):
    hostile = replace(three_categories.prompts[0], text=HOSTILE, category=HOSTILE)
    prompts = PromptSet((hostile, *three_categories.prompts[1:]))
    html = prompts._repr_html_()
    assert tags(html) == {"p", "table", "tr", "th", "td"}
    assert "&lt;img src=x" in html and f"{len(prompts) - 5} more prompts" in html
    once = replace(hostile, id="once", split="<i>", category="alone", pair=None)
    table = PromptSet((once, *prompts.prompts))._repr_html_().split("<table>")[1]
    assert table.count("<tr>") == 1 + 5 and "&lt;i&gt;" in table  # a head, a row per category
    assert ">1 + 0<" in table and ">\u2013<" in table
    assert "more prompts" not in three_categories.only(category="red", label="refuse")._repr_html_()


def test_an_attribution_shows_its_largest_components_and_they_add_up(tiny_llama, direction):
    attribution = decompose_prompt(tiny_llama, "Tell me", direction)
    html = attribution._repr_html_()
    assert tags(html) == {"p", "table", "tr", "th", "td"} and "&lt;script&gt;" in html
    plain = repr(attribution)
    assert len(plain) < 300 and f"{len(attribution.components)} components" in plain
    largest = max(attribution.components, key=lambda c: abs(attribution.score_of(c)))
    assert f">{largest.name}</th><td>{attribution.score_of(largest):.4g}</td>" in html
    assert f"<td>{attribution.total:.4g}</td>" in html
    shown = [float(cell.split("<")[0]) for cell in html.split("</th><td>")[1:]]
    assert sum(shown[:-1]) == pytest.approx(attribution.total, rel=0.01, abs=0.01)


def test_a_watch_sees_every_token_and_ends_the_answers(tiny_llama):
    from refusal_lens.model import Decoding

    prompts, decoding = ["Why?", "Tell me red"], Decoding(6)
    whole = tiny_llama.generate_ids(prompts, decoding)
    seen: list[dict[int, tuple[int, ...]]] = []

    def until_three(answers) -> bool:
        seen.append(dict(answers))
        return len(seen) < 3

    stopped = tiny_llama.generate_ids(prompts, decoding, watch=until_three)
    assert stopped == [ids[:3] for ids in whole] and len(seen) == 3
    assert [seen[n][row] for n in range(3) for row in (0, 1)] == [
        whole[row][: n + 1] for n in range(3) for row in (0, 1)
    ]
    assert tiny_llama.generate_ids(prompts, decoding, watch=lambda _: True) == whole
