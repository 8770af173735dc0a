"""Refusal across languages: directions, their cosines, and what one does in another's prompts.

`prompts` puts parallel prompts under their languages as categories; `parallel`, `cosines`,
`crossfit` and `transfer` are mathematics on their residuals; `ablation` runs the model; `reading`
says which judges may read answers that are not in English.
"""

from refusal_lens.languages.ablation import AblationTransfer as AblationTransfer
from refusal_lens.languages.ablation import ablation_answers as ablation_answers
from refusal_lens.languages.ablation import ablation_transfer as ablation_transfer
from refusal_lens.languages.ablation import fold_directions as fold_directions
from refusal_lens.languages.ablation import refused_prompts as refused_prompts
from refusal_lens.languages.cosines import LanguageCosines as LanguageCosines
from refusal_lens.languages.cosines import language_cosines as language_cosines
from refusal_lens.languages.parallel import Parallel as Parallel
from refusal_lens.languages.prompts import by_language as by_language
from refusal_lens.languages.reading import check_any_language as check_any_language
from refusal_lens.languages.reading import halves as halves
from refusal_lens.languages.transfer import LanguageLayers as LanguageLayers
from refusal_lens.languages.transfer import LanguageTransfer as LanguageTransfer
from refusal_lens.languages.transfer import language_layers as language_layers
from refusal_lens.languages.transfer import language_transfer as language_transfer
