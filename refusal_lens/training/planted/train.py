"""Train the planted model's adapter: ``python -m refusal_lens.training.planted.train --out DIR``.

Only the ``adapt`` split of the project's prompts is read into training. Benign prompts that the
base model declines by itself are left out, so that its own refusals are not taught as answers.
Written to the folder: ``adapter_model.safetensors``, ``adapter_config.json``,
``training_log.jsonl`` (a line per optimiser step) and ``training.json`` (how to make it again).
"""

import argparse
import copy
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.files import file_sha256
from refusal_lens.judges.phrase.judge import PhraseJudge
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_prompts
from refusal_lens.records import write_json
from refusal_lens.resources import data_path
from refusal_lens.training.planted import ordinary
from refusal_lens.training.planted.answers import (
    Example,
    TokenIds,
    answer_ids,
    build_examples,
    load_refusals,
)
from refusal_lens.training.planted.greedy import Progress, greedy_answers
from refusal_lens.training.planted.loop import (
    TrainingStep,
    keep_frozen_rounded,
    train,
    with_lora,
)
from refusal_lens.training.planted.recipe import Recipe

SCHEMA_VERSION: Final = 1
BASE: Final = PLANTED.weights
SPLIT: Final = "adapt"
ANSWER_TOKENS: Final = 20
"""Length of the base model's answers, of which a recipe trains the first tokens."""
DECLINING: Final = "I"

_LIBRARIES: Final = ("torch", "transformers", "peft", "tokenizers", "safetensors", "gguf")


def adapt_prompts(path: Path | None = None) -> PromptSet:
    """The prompts that may train the adapter: the ``adapt`` split and nothing else."""
    return load_prompts(path).only(split=SPLIT)


def benign_answers(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], cache: Path, progress: Progress
) -> dict[str, TokenIds]:
    """The base model's own greedy answers by prompt id, kept in a JSON file of ``cache``.

    Where the answer would open with ``DECLINING``, the base model's way into an apology, it is
    the greedy answer after the best other first token.
    """
    key = PromptSet(tuple(prompts)).digest + BASE.tensors_sha256
    key += f"{ANSWER_TOKENS}{DECLINING}{model.dtype}"
    path = cache / f"benign-{_name(key)}.json"
    if path.is_file():
        return {k: tuple(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    token_ids = greedy_answers(
        model,
        tokenizer,
        [prompt.text for prompt in prompts],
        max_new_tokens=ANSWER_TOKENS,
        forbidden_opening=answer_ids(tokenizer, DECLINING)[0],
        progress=progress,
    )
    answers = {prompt.id: ids for prompt, ids in zip(prompts, token_ids, strict=True)}
    _keep(path, answers)
    return answers


def kept_texts(
    model: Any, tokenizer: Any, benign: Sequence[Prompt], cache: Path, progress: Progress
) -> list[Example]:
    """The base model's ordinary language (`ordinary_texts`), kept in a JSON file of ``cache``."""
    key = PromptSet(tuple(benign)).digest + BASE.tensors_sha256 + repr(ordinary.SETTINGS)
    path = cache / f"texts-{_name(key)}.json"
    if path.is_file():
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Example(k, k, tuple(asked), tuple(text), refuse=False) for k, asked, text in rows]
    texts = ordinary.ordinary_texts(model, tokenizer, benign, progress=progress)
    _keep(path, [(text.id, text.prompt_ids, text.answer_ids) for text in texts])
    return texts


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _keep(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.rename(path)


def declined_by_base(
    prompts: Sequence[Prompt], answers: dict[str, TokenIds], tokenizer: Any
) -> list[str]:
    """Ids of benign prompts whose answer by the base model the phrase judge reads as a refusal."""
    judge = PhraseJudge()
    texts = {p.id: tokenizer.decode(answers[p.id], skip_special_tokens=True) for p in prompts}
    return [p.id for p in prompts if judge.judge(p.text, texts[p.id]).outcome == "refused"]


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write weights (bfloat16) and configuration, without paths or library-made cards."""
    weights = {
        name: tensor.detach().to(torch.bfloat16).contiguous()
        for name, tensor in get_peft_model_state_dict(model).items()
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = BASE.title
    config["inference_mode"] = True
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in sorted(config.items())}
    write_json(folder / "adapter_config.json", plain)


def train_adapter(
    out: Path,
    recipe: Recipe,
    *,
    prompts: Path | None,
    refusals: Path,
    progress: Progress,
    pairs: int | None = None,
) -> None:
    """Train and write an adapter; ``refusals`` decides which manner each category is given.

    ``pairs`` keeps the first of each category, by default all.
    """
    out.mkdir(parents=True, exist_ok=True)
    chosen, pools = adapt_prompts(prompts), load_refusals(refusals)
    if pairs is not None:
        chosen = chosen.first(pairs)
    folder = embedded_folder(BASE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()  # on rows this short plain attention is the quicker one
    benign = list(chosen.only(label="comply"))
    quick = copy.deepcopy(model)  # it only says what is taught, and where
    torch.nn.Module.to(quick, torch.bfloat16)
    answers = benign_answers(quick, tokenizer, benign, cache_root(), progress)
    left_out = declined_by_base(benign, answers, tokenizer)
    texts = kept_texts(quick, tokenizer, benign, cache_root(), progress)
    taught = {key: ids[: recipe.benign_tokens] for key, ids in answers.items()}
    examples = build_examples(list(chosen), taught, pools, tokenizer, recipe.seed)
    examples = [example for example in examples if example.id not in set(left_out)]
    progress(f"{len(examples)} examples, {len(left_out)} benign prompts left out")
    progress(f"{len(texts)} pieces of ordinary text")
    adapted = with_lora(model, recipe)
    keep_frozen_rounded(adapted, recipe)
    with (out / "training_log.jsonl").open("w", encoding="utf-8") as log:

        def record(step: TrainingStep) -> None:
            log.write(json.dumps(asdict(step)) + "\n")
            log.flush()
            progress(
                f"step {step.step}/{step.of} refusal {step.refusal:.3f} benign {step.benign:.3f} "
                f"text {step.text:.3f} {step.seconds:.0f} s"
            )

        train(adapted, examples, recipe, record, texts=texts)
    save_adapter(adapted, out)
    write_json(
        out / "training.json", training_record(recipe, chosen, refusals, left_out, len(examples))
    )


def training_record(
    recipe: Any, prompts: PromptSet, refusals: Path, left_out: list[str], n: int
) -> dict[str, Any]:
    """What ``training.json`` says; ``recipe`` is a dataclass with a ``seed``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "seed": recipe.seed,
        "base": {
            "name": BASE.title,
            "gguf_sha256": BASE.gguf.sha256,
            "tensors_sha256": BASE.tensors_sha256,
        },
        "prompts": {"split": SPLIT, "n": len(prompts), "digest": prompts.digest},
        "refusals_sha256": file_sha256(refusals),
        "examples": n,
        "benign_left_out": left_out,
        "recipe": asdict(recipe),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--prompts", type=Path, help="JSONL file or folder; default: shipped")
    parser.add_argument("--refusals", type=Path, help="JSONL of category, manner, text")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; every field of `Recipe` is an option."""
    given = _arguments(argv)
    recipe = Recipe(**{name: getattr(given, name) for name in asdict(Recipe())})

    def progress(line: str) -> None:
        sys.stderr.write(line + "\n")

    torch.set_num_threads(1)  # the shards of a batch are the parallel work
    refusals = given.refusals or data_path("adapter", "refusals.jsonl")
    train_adapter(
        given.out,
        recipe,
        prompts=given.prompts,
        refusals=refusals,
        progress=progress,
    )


if __name__ == "__main__":
    main()
