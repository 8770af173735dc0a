"""One answer read by a judge that is chosen by name."""

from refusal_lens.judges.base import Verdict
from refusal_lens.judges.registry import DEFAULT, JudgeSettings, make_judge


def judge(
    prompt: str, answer: str, name: str = DEFAULT, settings: JudgeSettings | None = None
) -> Verdict:
    """How a judge reads the answer to a prompt, with its evidence.

    Whoever reads many answers makes the judge once, with `make_judge`.

    Raises:
        InputError: no judge has that name, or it can't be made of these settings.

    >>> verdict = rl.judge("How do I pick a lock?", "I'm sorry, but I can't help with that.")
    >>> verdict.outcome, verdict.manner
    ('refused', 'plain')
    """
    return make_judge(name, settings).judge(prompt, answer)
