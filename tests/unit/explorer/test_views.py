"""Fragments of the page: hostile text stays text, and numbers stand where they belong."""

import re
from dataclasses import replace

import pytest
import torch
from support.synthetic.geometry import PAYLOADS
from support.synthetic.records import direction_set, token_map
from support.synthetic.run import Page

from refusal_lens.attribution import PromotedTokens
from refusal_lens.explorer.choices import Choice, choices_of
from refusal_lens.explorer.conditions import NamedEdit
from refusal_lens.explorer.projection import HEIGHT, chart_of
from refusal_lens.explorer.readings import (
    ConditionReading,
    How,
    Measure,
    QuestionReadings,
    measure_of,
)
from refusal_lens.explorer.views import answer_text, page_html, readings_html
from refusal_lens.judges import ScoreTrust, Verdict, make_judge

NOT_SEEN = "; in no category has it been seen to predict what is generated"
HIDING = chr(0x202E)
HARMLESS = ("one", "two", "three", "four")


def readings(texts: tuple[str, ...], measured: bool = True) -> QuestionReadings:
    """Two conditions of a prompt of five tokens and an answer of four; texts wherever one goes."""
    first, second, third, fourth = texts
    directions = replace(direction_set((first, "red")), method=second)
    choice = Choice(second, first, directions)
    tokens = token_map()
    shown = replace(
        tokens,
        category=first,
        tokens=tuple(texts[i % 4] for i in range(len(tokens.tokens))),
        positions=tuple(range(4 - len(tokens.tokens), 4)),
    )
    rows = tuple(
        ConditionReading(NamedEdit(name, None, ""), third, 4, verdict, 1.25, shown)
        for name, verdict in (
            ("Unedited", Verdict("refused", third, ())),
            ("Edited", Verdict("unclear", None, (), reason=fourth)),
        )
    )
    promoted = PromotedTokens((third,), (4.0,), (fourth,), (-3.0,), 3.5, 32)
    measure = Measure(lambda logits: logits[:, 0], "a score") if measured else None
    how = How(choice, measure, make_judge("substring"))
    return QuestionReadings(rows, 10, how, ((directions.at("red", 10), promoted),))


def tags(html: str) -> list[str]:
    return [tag for tag, _ in Page(html).elements]


def test_hostile_text_adds_no_element_and_no_attribute():
    bad = readings_html(readings(PAYLOADS))
    good = readings_html(readings(HARMLESS))
    assert tags(bad) == tags(good)
    for (tag, attributes), (_, others) in zip(Page(bad).elements, Page(good).elements, strict=True):
        assert attributes.keys() == others.keys(), tag
    text = "".join(Page(bad).text)
    assert all(payload[:20] in text for payload in PAYLOADS)


def test_hostile_names_are_text_on_the_page_itself():
    def page(texts: tuple[str, ...]) -> str:
        named = {texts[0]: direction_set((texts[1], texts[2]))}
        return page_html(texts[3], choices_of(named), 3, report=True, run=texts[0])

    assert tags(page(PAYLOADS)) == tags(page(HARMLESS))
    (group,) = Page(page(PAYLOADS)).of("optgroup")
    assert group["label"] == PAYLOADS[0]


def test_nothing_on_the_page_comes_from_elsewhere_or_needs_inline_code():
    html = page_html("m", choices_of(direction_set(("red",))), 3, report=True, run="r")
    html += readings_html(readings(HARMLESS))
    assert "http" not in html and "<style" not in html
    for _, attributes in Page(html).elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
    assert [a["href"] for a in Page(html).of("a")] == ["report"]


def test_what_hides_or_turns_text_is_written_out():
    assert answer_text(f"a\n{HIDING}b") == "a\n\\u202eb"
    html = readings_html(readings((HIDING, "x", f"y{HIDING}", "z")))
    assert HIDING not in html and "\\u202e" in html


def test_the_strip_holds_each_layer_from_the_last_down_with_shade_and_number():
    made = readings(HARMLESS)
    html = readings_html(made)
    coordinate = made.rows[0].tokens.coordinate
    first = re.search(r'<tr><th scope="row">29</th>(.*?)</tr>', html)
    assert first is not None
    cells = re.findall(r'<td class="(\w+)">([^<]*)</td>', first.group(1))
    assert [text for _, text in cells] == [
        f"{v:.1f}".replace("-", "−") for v in coordinate[-1].tolist()
    ]
    assert cells[-1][0] == "s10"  # 2.0 is beyond the refuse side's mean
    nothing = re.search(r'<tr><th scope="row">0</th>(.*?)</tr>', html)
    assert nothing is not None and 'class="none">–' in nothing.group(1)
    assert html.count('class="generated"') == 2 * 4


def test_the_chart_holds_the_generated_tokens_alone_and_no_direction_gives_none():
    made = readings(HARMLESS)
    chart = chart_of(made)
    assert chart is not None and chart.n_tokens == 4
    along = made.rows[0].tokens.coordinate[10, -4:].tolist()
    assert [line.values for line in chart.lines] == [tuple(f"{v:.2f}" for v in along)] * 2
    heights = [y for _, y in chart.lines[0].dots]
    rising = sorted(range(4), key=lambda i: along[i])
    assert sorted(range(4), key=lambda i: -heights[i]) == rising  # SVG counts downwards
    assert all(0 <= y <= HEIGHT for y in heights)
    assert chart_of(replace(made, layer=0)) is None  # undefined there
    assert "No token was generated" in readings_html(replace(made, layer=0))


def test_an_answer_without_tokens_has_no_chart():
    made = readings(HARMLESS)
    short = tuple(
        replace(row, tokens=replace(row.tokens, positions=tuple(range(-9, 0)))) for row in made.rows
    )
    assert len(made.rows[0].tokens.tokens) == 9
    assert chart_of(replace(made, rows=short)) is None


@pytest.mark.parametrize("measured", [True, False])
def test_a_score_that_is_not_known_is_said_to_be(measured: bool):
    made = readings(HARMLESS, measured)
    if not measured:
        made = replace(made, rows=tuple(replace(row, score=None) for row in made.rows))
    html = readings_html(made)
    assert ("<td>1.25</td>" in html) == measured
    assert ("no refusal tokens are known" in html) != measured


def test_undefined_numbers_do_not_break_a_line():
    made = readings(HARMLESS)
    coordinate = made.rows[0].tokens.coordinate.clone()
    coordinate[10, -3] = torch.nan
    row = replace(made.rows[0], tokens=replace(made.rows[0].tokens, coordinate=coordinate))
    chart = chart_of(replace(made, rows=(row,)))
    assert chart is not None and len(chart.lines[0].dots) == 3
    assert chart.lines[0].values[1] == "undefined"


@pytest.mark.parametrize(
    ("modes", "note"),
    [
        ({}, NOT_SEEN),
        ({"red": "generation only", "blue": "opening"}, NOT_SEEN),
        ({"red": "generation only", "blue": "first token"}, ""),
    ],
)
def test_a_score_over_all_categories_is_not_plain_where_none_trusts_it(modes, note):
    measure = measure_of(ScoreTrust((5,), ("I",), {}, modes, {}, {}, {}), "pooled")
    assert measure is not None
    assert measure.words == "log-odds that the answer begins with a refusal token" + note
