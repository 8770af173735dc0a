"""Judges: whether an answer refuses, and in which manner; one file per judge.

`JUDGES` lists them by name and `make_judge` makes one. `WildGuardJudge` stands apart in
`refusal_lens.judges.wildguard`, because it imports transformers.
"""

from refusal_lens.judges.agreement import CLASSES as CLASSES
from refusal_lens.judges.agreement import Agreement as Agreement
from refusal_lens.judges.agreement import VerdictCounts as VerdictCounts
from refusal_lens.judges.agreement import agreement as agreement
from refusal_lens.judges.agreement import count_verdicts as count_verdicts
from refusal_lens.judges.base import BatchJudge as BatchJudge
from refusal_lens.judges.base import Judge as Judge
from refusal_lens.judges.base import Outcome as Outcome
from refusal_lens.judges.base import Verdict as Verdict
from refusal_lens.judges.base import judge_all as judge_all
from refusal_lens.judges.endpoint import Endpoint as Endpoint
from refusal_lens.judges.first_token import ScoreTrust as ScoreTrust
from refusal_lens.judges.first_token import find_refusal_tokens as find_refusal_tokens
from refusal_lens.judges.first_token import first_token_score as first_token_score
from refusal_lens.judges.llm import LLMJudge as LLMJudge
from refusal_lens.judges.long_answers import RefusalJudge as RefusalJudge
from refusal_lens.judges.manner import MannerJudge as MannerJudge
from refusal_lens.judges.manners import MANNERS as MANNERS
from refusal_lens.judges.phrase.judge import PhraseJudge as PhraseJudge
from refusal_lens.judges.registry import JUDGES as JUDGES
from refusal_lens.judges.registry import JudgeSettings as JudgeSettings
from refusal_lens.judges.registry import make_judge as make_judge
from refusal_lens.judges.sense import SenseChecked as SenseChecked
from refusal_lens.judges.substring import SubstringJudge as SubstringJudge
from refusal_lens.judges.xstest import XSTestJudge as XSTestJudge
