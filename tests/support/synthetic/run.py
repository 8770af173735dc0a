"""A run folder with every record of a study, synthetic, whole or with hostile text in it."""

from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import Mode
from refusal_lens.records import Estimate, Record
from refusal_lens.selection import LayerCurve, Selection
from refusal_lens.study.results import Results
from support.synthetic.evaluation import agreed, costs, effects, manners, matched, rules
from support.synthetic.geometry import (
    CATEGORIES,
    FROM,
    PAYLOADS,
    comparison,
    contrasts,
    geometry,
    separability,
    shared_pool,
    structure,
    within,
)
from support.synthetic.records import (
    candidates,
    direction_set,
    read,
    side_by_side,
    token_map,
    trade_off,
)

QUESTION: dict[str, Any] = {
    "source": "embedded",
    "adapter_scale": 1.0,
    "prompts": None,
    "categories": None,
    "seed": 0,
    "sizes": {
        "fit_pairs": 30,
        "selection_prompts": 32,
        "curve_prompts": 24,
        "trade_off_pairs": 12,
        "shown": 3,
    },
}


def trust() -> ScoreTrust:
    modes: tuple[Mode, ...] = ("first token", "opening", "generation only")
    area = Estimate(0.95, 0.9, 0.99, 36, "AUROC", 0.5)
    return ScoreTrust(
        (1, 2),
        (" I", "Sorry"),
        {},
        {c: modes[i % 3] for i, c in enumerate(CATEGORIES)},
        dict.fromkeys(CATEGORIES, -1.2),
        dict.fromkeys(CATEGORIES, area),
        {CATEGORIES[1]: replace(area, value=None, low=None, high=None)},
    )


def stages(categories: tuple[str, ...] = CATEGORIES) -> dict[str, dict[str, Record]]:
    """Every record of a study, synthetic; the figures of few categories are quicker."""
    return {stage: dict(records) for stage, records in _stages(categories).items()}


@cache
def _stages(categories: tuple[str, ...]) -> dict[str, dict[str, Record]]:
    picked = Selection(
        candidates(4), (3,), 3, "no candidate kept KL within 0.1 and induced refusal"
    )
    return {
        "behaviour": {"train": read()},
        "directions": {
            "directions": direction_set(categories),
            "pooled": direction_set(("pooled",)),
        },
        "geometry": {
            "intended": geometry(categories),
            "behaviour": geometry(categories[:6]),
            "removed": geometry(categories, 2, frame="without the pooled direction"),
            "whitened": geometry(categories, 3, frame="whitened"),
        },
        "control": {
            "geometry": geometry(categories, 1),
            "directions": direction_set(categories, 1),
            "comparison": comparison(categories),
            "change": geometry(categories, 4, frame="minus embedded (adapter scale 0)"),
        },
        "structure": {
            "separability": separability(categories),
            "structure": structure(categories),
            "shared_pool": shared_pool(categories),
        },
        "contrasts": {
            "contrasts": contrasts(),
            "behaviour": read("adapter scale 0.5"),
            "within": within(categories),
        },
        "score": {"trust": trust(), "val": read(pairs=18)},
        "selection": {"selection": picked},
        "layers": {"curve": LayerCurve("pooled", candidates())},
        "trade_off": {
            "trade_off": trade_off(),
            "matched": matched(categories),
            "trust": trust(),
        },
        "effects": {"effects": effects()},
        "rules": rules(),
        "manners": manners(categories),
        "costs": {"costs": costs(categories)},
        "agreement": {"behaviour": agreed(), "screening": agreed()},
        "answers": {"answers": side_by_side()},
        "tokens": {"tokens": token_map()},
    }


def run(folder: Path, records_of: dict[str, dict[str, Record]], **manifest: Any) -> Results:
    """A run folder that holds these records."""
    results = Results.begin(folder, QUESTION)
    described = {
        "model": "embedded (adapter scale 1)",
        "model_digest": "0" * 64,
        "n_layers": 30,
        "rendered_prefix": FROM.rendered_prefix,
        "post_tokens": ["<|im_end|>", "\n", "<|im_start|>", "ass", "istant", "\n"],
        "versions": {"torch": "2.13.0"},
    }
    results.describe(described | manifest)
    for stage, records in records_of.items():
        results.add(stage, "d", records, 1.0)
    return results


def hostile(categories: tuple[str, ...] = CATEGORIES) -> dict[str, dict[str, Record]]:
    """The same records with markup in every text that a user or a model writes."""
    whole, names = (
        stages(categories),
        {c: f"{p} {i}" for i, (c, p) in enumerate(zip(CATEGORIES, PAYLOADS * 3, strict=False))},
    )
    keys = tuple(names[c] for c in categories)
    behaviour = read(pairs=3)
    behaviour = replace(
        behaviour,
        categories=tuple(names[c] for c in behaviour.categories),
        answers=(PAYLOADS * 16 + PAYLOADS[:2],),
        readings=(
            tuple(
                replace(v, manner=PAYLOADS[0] if v.manner else None) for v in behaviour.verdicts()
            ),
        ),
        judged_by=PAYLOADS[1],
        decoding=PAYLOADS[2],
        conditions=(PAYLOADS[3],),
    )
    shown = side_by_side()
    off = trade_off()
    return whole | {
        "behaviour": {"train": behaviour},
        "directions": {"directions": direction_set(keys)},
        "geometry": {
            "intended": geometry(keys),
            "removed": geometry(keys, 2, PAYLOADS[0]),
            "whitened": geometry(keys, 3, PAYLOADS[3]),
        },
        "control": {
            "geometry": geometry(keys, 1),
            "comparison": comparison(keys),
            "change": geometry(keys, 4, PAYLOADS[2]),
        },
        "structure": {
            "separability": separability(keys),
            "structure": structure(keys),
            "shared_pool": shared_pool(keys),
        },
        "contrasts": {
            "contrasts": replace(contrasts(PAYLOADS[:2]), used=(keys, PAYLOADS)),
            "behaviour": behaviour,
        },
        "score": {"trust": replace(trust(), token_texts=PAYLOADS)},
        "answers": {
            "answers": replace(
                shown,
                texts=PAYLOADS * 5 + PAYLOADS[:2],
                conditions=PAYLOADS[: len(shown.conditions)],
                answers=(PAYLOADS * 5 + PAYLOADS[:2],) * len(shown.conditions),
            )
        },
        "trade_off": {
            "trade_off": replace(
                off,
                curves=tuple(replace(c, name=k) for c, k in zip(off.curves, keys, strict=False)),
            ),
            "matched": matched(keys),
        },
        "manners": manners(keys, PAYLOADS[:3], PAYLOADS[3]),
        "costs": {"costs": replace(costs(keys), judge=PAYLOADS[0], decoding=PAYLOADS[3])},
        "agreement": {"behaviour": agreed(PAYLOADS[0])},
        "tokens": {"tokens": replace(token_map(" ".join(PAYLOADS)), category=PAYLOADS[0])},
    }


_VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of headers and notes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[tuple[str, str | None]] = []
        self._by_id: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.text.append(data)
            for name in {name for _, name in self._open if name}:
                self._by_id.setdefault(name, []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self, name: str | None = None) -> str:
        """The text of the element with an id, or of the whole page, on one line."""
        return " ".join(" ".join(self.text if name is None else self._by_id[name]).split())

    def gap(self, name: str) -> str | None:
        """The key of why the element with an id stands in place of something, or None."""
        (element,) = [a for _, a in self.elements if a.get("id") == name]
        return element.get("data-gap")

    @property
    def gaps(self) -> list[str]:
        """Why things are missing, as keys like `unfinished:depth`, in the order of the page."""
        return [
            key
            for _, attributes in self.elements
            for key in (attributes.get("data-gap") or "").split()
        ]
