"""The phrase judge (`judge.PhraseJudge`), which reads an answer's opening with phrase lists.

`lists` reads the lists from `data/phrases/`, `patterns` compiles and searches them. `exchange` is a
prompt with its answer, normalised and cut to an opening. `refusing` decides whether the opening
refuses, `admonition` whether it does so by an admonition; `style` reads the refusal style; `judge`
gives the verdict, partial and later refusals included.
"""
