"""Judges: whether an answer refuses, and in which refusal style; one file per judge.

`base` has the verdict and the protocol of a judge, `registry` the judges by name: `make_judge`
makes one, the decorator `listed_judge` lists a new one.

- Rules: `phrase/` (phrase lists over the opening), `substring`, `xstest`; `long_answers` is the
  default, the phrase lists with a linear model for long answers.
- Models: `llm` (with its `rubric`, behind an `endpoint`) and `wildguard`. `first_token` is a score
  from log-probabilities, no judge.
- Refusal styles, called `manner` in verdicts: `refusal_styles` describes them, `style_classifier`
  reads them.
- What an answer is before it is judged: `raw_output` (thinking and further turns removed),
  `coherence` (gibberish), `language` (not English), `text` (normalised, in sentences).
- How sure a refusal is: `confidence` of each prompt, from verdicts or from validated scores.
- How far judges can be trusted: `agreement` of two of them, `labelled` answers to measure them on.
"""

from importlib import import_module
from pkgutil import iter_modules

from refusal_lens.judges.agreement import CLASSES as CLASSES
from refusal_lens.judges.agreement import JudgeAgreement as JudgeAgreement
from refusal_lens.judges.agreement import VerdictCounts as VerdictCounts
from refusal_lens.judges.agreement import agreement as agreement
from refusal_lens.judges.agreement import count_verdicts as count_verdicts
from refusal_lens.judges.base import BatchJudge as BatchJudge
from refusal_lens.judges.base import Judge as Judge
from refusal_lens.judges.base import Outcome as Outcome
from refusal_lens.judges.base import Verdict as Verdict
from refusal_lens.judges.base import judge_all as judge_all
from refusal_lens.judges.base import try_judge as try_judge
from refusal_lens.judges.coherence import SenseChecked as SenseChecked
from refusal_lens.judges.confidence import confidences as confidences
from refusal_lens.judges.confidence import score_confidences as score_confidences
from refusal_lens.judges.endpoint import Endpoint as Endpoint
from refusal_lens.judges.first_token import ScoreTrust as ScoreTrust
from refusal_lens.judges.first_token import find_refusal_tokens as find_refusal_tokens
from refusal_lens.judges.first_token import first_token_score as first_token_score
from refusal_lens.judges.llm import LLMJudge as LLMJudge
from refusal_lens.judges.long_answers import RefusalJudge as RefusalJudge
from refusal_lens.judges.one import judge as judge
from refusal_lens.judges.phrase.judge import PhraseJudge as PhraseJudge
from refusal_lens.judges.refusal_styles import MANNERS as MANNERS
from refusal_lens.judges.registry import JUDGES as JUDGES
from refusal_lens.judges.registry import JudgeSettings as JudgeSettings
from refusal_lens.judges.registry import check_judge as check_judge
from refusal_lens.judges.registry import listed_judge as listed_judge
from refusal_lens.judges.registry import make_judge as make_judge
from refusal_lens.judges.registry import reads_any_language as reads_any_language
from refusal_lens.judges.style_classifier import MannerJudge as MannerJudge
from refusal_lens.judges.substring import SubstringJudge as SubstringJudge
from refusal_lens.judges.xstest import XSTestJudge as XSTestJudge

for _file in iter_modules(__path__):  # each lists the judges that it holds
    import_module(f"{__name__}.{_file.name}")
