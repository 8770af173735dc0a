"""How many categories' directions are ones of refusal, of those of which it was tested."""

import torch

from refusal_lens.report.run import Run


def n_tested(run: Run) -> int:
    """Categories of which it was tested whether their direction is one of refusal.

    Against a control model; without one, refused against answered prompts of this model, where
    there are enough of both.

    >>> report = Run(results)
    >>> n_tested(report) <= len(report.verdicts)
    True
    """
    tests = run.within if run.comparison is None else run.comparison
    return 0 if tests is None else int(torch.isfinite(tests.q).sum())


def refusal_directions(run: Run) -> str:
    """The count as "9 of 11", where some category was not tested as "2 of 7 tested".

    >>> refusal_directions(Run(results))
    '... of ...'
    """
    count = list(run.verdicts.values()).count("refusal direction")
    n = n_tested(run)
    return f"{count} of {n}" + (" tested" if n < len(run.verdicts) else "")
