"""The phrase judge (`judge.PhraseJudge`) and its lists of phrases."""
