"""Measure the defence: ``python -m refusal_lens.training.defence.measure --out STEM ...``.

The ladder of the planted model before training (the reference) and of each adapter in a folder, on
the same `test` pairs. For each model the layer is chosen anew, among ``LAYERS``, and the directions
are fitted on itself: the ablation is aimed at the model that it is measured on. Written is the
record that ships with the project; each ladder is kept beside it until all are done, so that a run
that was stopped goes on.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from refusal_lens.defence import Ladder, LadderMaterial, compare_ladders, measure_ladder
from refusal_lens.defence.deflation import Place, ladder_directions
from refusal_lens.defence.place import try_layers, weakest_layer
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.evaluation import whole_pairs
from refusal_lens.files import file_sha256
from refusal_lens.judges import RefusalJudge, ScoreTrust
from refusal_lens.judges.first_token import Mode
from refusal_lens.model import Decoding, LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.files import load_prompts
from refusal_lens.records import digest_of, save_record
from refusal_lens.resources import data_path
from refusal_lens.sites import Site
from refusal_lens.training.planted.answers import answer_ids, load_refusals

BEFORE: Final = "planted"
TITLES: Final = {
    BEFORE: "planted",
    "refusal": "refusal ablated in training",
    "nothing": "trained without ablation",
    "random": "random ablated in training",
}
"""What the arms of the training are called in the record, by the names of their folders."""
LAYERS: Final = (12, 14, 19)
RUNGS: Final = (1, 2, 3)
PAIRS: Final = 22
FIT_PAIRS: Final = 4
"""Pairs of each category that directions are fitted on."""
CHOICE_PAIRS: Final = 6
ANSWER_TOKENS: Final = 12

Tell = Callable[[str], None]


def measure(
    adapters: Path, kept: Path, names: Sequence[str], tell: Tell, layer: int | None = None
) -> dict[str, Ladder]:
    """The ladder of the planted model and of each adapter, those that are there already read.

    `layer` fits all models' directions at one layer, in place of the weakest of each. A ladder of
    another layer, or of an adapter trained anew, is another file.
    """
    ladders: dict[str, Ladder] = {}
    kept.mkdir(parents=True, exist_ok=True)
    for name in (BEFORE, *names):
        folder = None if name == BEFORE else adapters / name
        stem = kept / f"{name}-{_made_with(folder, layer)}"
        if not stem.with_suffix(".json").is_file():
            tell(name)
            model = load_model(PLANTED.key, adapter=folder, placement=Placement(device="cpu"))
            save_record(ladder_of(model, load_prompts(), tell, layer), stem)
        ladders[name] = Ladder.load(stem)
    return ladders


def _made_with(adapter: Path | None, layer: int | None) -> str:
    weights = None
    if adapter is not None:
        weights = file_sha256(adapter / "adapter_model.safetensors")
    return digest_of([weights, layer, LAYERS, RUNGS, PAIRS, FIT_PAIRS, ANSWER_TOKENS])[:12]


def ladder_of(model: LensModel, prompts: PromptSet, tell: Tell, layer: int | None = None) -> Ladder:
    """Choose the layer where none is given, fit the directions, and climb."""
    trust = planted_trust(model, prompts)
    fitting = prompts.only(split="train").first(FIT_PAIRS)
    if layer is None:
        asked = whole_pairs(prompts.only(split="val"), CHOICE_PAIRS)
        tried = try_layers(model, fitting, asked, trust, LAYERS)
        for one, score, kl in tried:
            tell(f"layer {one}: score {score.value:.2f}, KL {kl.value:.2f}")
        layer = weakest_layer(tried)
    tell(f"ablated at layer {layer}")
    directions = ladder_directions(model, fitting, Place(Site(layer)), max(RUNGS))
    tell(f"{len(directions)} directions")
    material = LadderMaterial(
        pairs=whole_pairs(prompts.only(split="test"), PAIRS),
        judge=RefusalJudge(),
        decoding=Decoding(ANSWER_TOKENS),
        trust=trust,
        dimensions=tuple(k for k in RUNGS if k <= len(directions)),
    )
    return measure_ladder(model, directions, material)


def planted_trust(model: LensModel, prompts: PromptSet) -> ScoreTrust:
    """The first-token score of the words that planted refusals open with: true by construction.

    An opening that answers have as well ("I", "No") is left out: `assign_refusals` keeps twins
    apart, not prompts of other pairs. What counts is the same for every model that is compared.
    """
    openings: set[int] = set()
    for pool in load_refusals(data_path("adapter", "refusals.jsonl")).values():
        heaviest = max(pool, key=lambda refusal: refusal.weight)
        openings.add(answer_ids(model.chat.tokenizer, heaviest.text)[0])
    modes: dict[str, Mode] = dict.fromkeys(prompts.categories, "first token")
    tokens = tuple(sorted(openings))
    texts = tuple(model.chat.strings(tokens))
    return ScoreTrust(tokens, texts, {}, modes, dict.fromkeys(prompts.categories, 0.0), {}, {})


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--adapters", type=Path, required=True, help="a folder for each in it")
    parser.add_argument("--names", nargs="+", required=True, help="the folders, in this order")
    parser.add_argument("--kept", type=Path, required=True, help="folder for each ladder")
    parser.add_argument("--out", type=Path, required=True, help="stem of the record's files")
    parser.add_argument("--layer", type=int, help="of all models; default: the weakest of each")
    given = parser.parse_args(argv)
    ladders = measure(given.adapters, given.kept, given.names, _tell, given.layer)
    named = {TITLES.get(name, name): ladder for name, ladder in ladders.items()}
    save_record(compare_ladders(named), given.out)


if __name__ == "__main__":
    main()
