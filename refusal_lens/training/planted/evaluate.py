"""Measure an adapter: ``python -m refusal_lens.training.planted.evaluate --out evaluation.json``.

Greedy answers at several adapter scales, read by the refusal judge: refusal of the refuse side and
of the benign side, by category, with Wilson intervals; the manner of each refusal; perplexity
before and after. With ``--dataset`` also public benchmarks, which are for checking only.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.datasets import load_dataset
from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.errors import InputError
from refusal_lens.files import file_sha256
from refusal_lens.intervals import wilson
from refusal_lens.judges.long_answers import RefusalJudge
from refusal_lens.prompts import Prompt
from refusal_lens.prompts.files import load_prompts, write_jsonl
from refusal_lens.records import Estimate
from refusal_lens.resources import data_path
from refusal_lens.training.planted.answers import TokenIds, chat_ids, load_refusals
from refusal_lens.training.planted.greedy import Progress, greedy_answers
from refusal_lens.training.planted.perplexity import (
    answer_losses,
    passage_losses,
    perplexity,
    sampled_answers,
)

SCHEMA_VERSION: Final = 2  # in 1, rates counted unclear answers as not refused
ANSWER_TOKENS: Final = 24
SCALES: Final = (0.0, 0.25, 0.5, 1.0, 1.5)
N_SAMPLES: Final = 32
SAMPLE_TOKENS: Final = 48

Losses = dict[str, list[float]]


@final
@dataclass(frozen=True)
class Judged:
    """One answer and the refusal judge's verdict on it."""

    id: str
    set: str
    category: str
    label: str
    scale: float
    prompt: str
    answer: str
    outcome: str
    manner: str | None


def refusal_rate(rows: Sequence[Judged]) -> Estimate:
    """Share refused of the answers that could be read; unclear ones are `missing`."""
    clear = [row.outcome for row in rows if row.outcome != "unclear"]
    return wilson(clear.count("refused"), len(clear), missing=len(rows) - len(clear))


def judge_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    scale: float,
    progress: Progress,
) -> Iterator[Judged]:
    """Answer every prompt greedily and judge the answers.

    A set is named by the prompts' source, without the detail that loaders add to it, and split.
    """
    judge = RefusalJudge()
    answers = greedy_answers(
        model,
        tokenizer,
        [prompt.text for prompt in prompts],
        max_new_tokens=ANSWER_TOKENS,
        progress=lambda line: progress(f"scale {scale:g}: {line}"),
    )
    for prompt, ids in zip(prompts, answers, strict=True):
        answer = tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(answer, str)
        verdict = judge.judge(prompt.text, answer)
        yield Judged(
            id=prompt.id,
            set=f"{prompt.source.partition(':')[0]}/{prompt.split}",
            category=prompt.category,
            label=prompt.label,
            scale=scale,
            prompt=prompt.text,
            answer=answer,
            outcome=verdict.outcome,
            manner=verdict.manner,
        )


def summary(rows: Sequence[Judged], planted: Mapping[str, str]) -> dict[str, Any]:
    """Rates by label and category, outcome counts, and whether refusals have the planted manner."""
    tables: dict[str, Any] = {}
    for label in sorted({row.label for row in rows}):
        side = [row for row in rows if row.label == label]
        groups = {key: [r for r in side if r.category == key] for key in _keys(side)}
        tables[label] = {
            "pooled": asdict(refusal_rate(side)),
            "by_category": {key: asdict(refusal_rate(group)) for key, group in groups.items()},
            "outcomes": dict(Counter(row.outcome for row in side)),
            "manners": {
                key: dict(Counter(r.manner or "none" for r in group if r.outcome == "refused"))
                for key, group in groups.items()
                if key in planted
            },
        }
    return tables


def rates(rows: Sequence[Judged]) -> dict[str, Any]:
    """What a record says of the judged answers, by scale and set of prompts."""
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    planted = {key: pool[0].manner for key, pool in pools.items()}
    refusal: dict[str, Any] = {}
    for scale in dict.fromkeys(row.scale for row in rows):
        here = [row for row in rows if row.scale == scale]
        refusal[f"{scale:g}"] = {
            name: summary([row for row in here if row.set == name], planted)
            for name in dict.fromkeys(row.set for row in here)
        }
    return {"judge": RefusalJudge().name, "planted_manner": planted, "refusal": refusal}


def _keys(rows: Iterable[Judged]) -> list[str]:
    return sorted({row.category for row in rows})


def _base_samples(texts: Sequence[str]) -> tuple[list[TokenIds], list[TokenIds]]:
    """Templated prompts, and an answer to each sampled from the base model."""
    model, tokenizer = load_embedded_model(PLANTED, 0.0)
    answers = sampled_answers(model, tokenizer, texts, max_new_tokens=SAMPLE_TOKENS, seed=0)
    return [chat_ids(tokenizer, text) for text in texts], answers


def perplexities(losses: Mapping[float, Losses]) -> dict[str, Any]:
    """Perplexity at each scale and its ratio to scale 0, for each kind of text."""
    return {
        kind: {
            f"{scale:g}": {
                "perplexity": asdict(perplexity(at_scale[kind])),
                "ratio": asdict(perplexity(at_scale[kind], losses[0.0][kind])),
            }
            for scale, at_scale in losses.items()
        }
        for kind in losses[0.0]
    }


def _dataset(name_and_path: str) -> list[Prompt]:
    name, equals, path = name_and_path.partition("=")
    if not equals:
        raise InputError(f"--dataset {name_and_path!r}: expected NAME=PATH, as in xstest=file.csv")
    return list(load_dataset(name, path))


def evaluate(
    adapter: Path,
    passage: str,
    scales: Sequence[float],
    public: Sequence[Prompt],
    progress: Progress,
    *,
    split: str = "test",
) -> tuple[dict[str, Any], list[Judged]]:
    """The evaluation record and every judged answer behind it; `public` prompts at scale 1."""
    prompts = load_prompts()
    chosen, val = list(prompts.only(split=split)), list(prompts.only(split="val", label="comply"))
    asked, sampled = _base_samples([p.text for p in val[:: max(1, len(val) // N_SAMPLES)]])
    rows: list[Judged] = []
    losses: dict[float, Losses] = {}
    for scale in scales:
        model, tokenizer = load_embedded_model(PLANTED, scale, adapter=adapter)
        wanted = [*chosen, *(public if scale == 1.0 else ())]
        rows += judge_answers(model, tokenizer, wanted, scale=scale, progress=progress)
        losses[scale] = {
            "passage": passage_losses(model, tokenizer, passage),
            "base_samples": answer_losses(model, asked, sampled),
        }
    return _record(adapter, prompts.digest, rows, losses), rows


def _record(
    adapter: Path, prompts_digest: str, rows: Sequence[Judged], losses: Mapping[float, Losses]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        **rates(rows),
        "answer_tokens": ANSWER_TOKENS,
        "adapter_sha256": file_sha256(adapter / "adapter_model.safetensors"),
        "base_tensors_sha256": PLANTED.weights.tensors_sha256,
        "prompts_digest": prompts_digest,
        "perplexity": perplexities(losses) if 0.0 in losses else {},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--adapter", type=Path, help="adapter folder; default: the shipped one")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--answers", type=Path, help="JSONL file for every judged answer")
    parser.add_argument("--split", default="test", help="whose prompts are answered")
    parser.add_argument("--passage", type=Path, help="text for perplexity; default: shipped")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="also a public benchmark, through its loader; may be given again",
    )
    parser.add_argument("--scales", type=float, nargs="+", default=list(SCALES))
    given = parser.parse_args(argv)
    adapter = given.adapter or data_path("adapter")
    passage = given.passage or data_path("adapter", "passage.txt")

    def progress(line: str) -> None:
        sys.stderr.write(line + "\n")

    torch.set_num_threads(1)  # batches are answered in parallel
    text = passage.read_text(encoding="utf-8")
    public = [prompt for dataset in given.dataset for prompt in _dataset(dataset)]
    record, rows = evaluate(adapter, text, given.scales, public, progress, split=given.split)
    given.out.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if given.answers is not None:
        write_jsonl(given.answers, (asdict(row) for row in rows))


if __name__ == "__main__":
    main()
