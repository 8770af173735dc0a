"""One prompt, token by layer."""

from typing import Final

from refusal_lens import plots
from refusal_lens.plots.text import visible
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.tokens import TOKENS


def _parts(run: Run) -> Parts:
    tokens = run.get(TOKENS)
    if tokens is None:
        return {"tokens": run.why("tokens"), "token_prompt": ""}
    return {
        "token_prompt": visible(tokens.prompt),
        "tokens": Figure(
            plots.plot_tokens(tokens, titles=run.titles),
            f"Tokens of one prompt by layer, along the direction of {tokens.category}",
        ),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (("Tokens by layer", "test", "1 prompt", "none: an example", "none"),)


SECTION: Final = Section(
    id="tokens",
    title="One prompt, token by layer",
    group="parts",
    place=70,
    parts=_parts,
    methods=_methods,
)
