"""Judges: whether an answer refuses, and in which manner; one file per judge.

`JUDGES` lists them by name and `make_judge` makes one; the decorator `judge` lists a new one.
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
from refusal_lens.judges.endpoint import Endpoint as Endpoint
from refusal_lens.judges.first_token import ScoreTrust as ScoreTrust
from refusal_lens.judges.llm import LLMJudge as LLMJudge
from refusal_lens.judges.long_answers import RefusalJudge as RefusalJudge
from refusal_lens.judges.manner import MannerJudge as MannerJudge
from refusal_lens.judges.manners import MANNERS as MANNERS
from refusal_lens.judges.phrase.judge import PhraseJudge as PhraseJudge
from refusal_lens.judges.registry import JUDGES as JUDGES
from refusal_lens.judges.registry import Settings as Settings
from refusal_lens.judges.registry import check_judge as check_judge
from refusal_lens.judges.registry import judge as judge
from refusal_lens.judges.registry import make_judge as make_judge
from refusal_lens.judges.sense import SenseChecked as SenseChecked
from refusal_lens.judges.substring import SubstringJudge as SubstringJudge
from refusal_lens.judges.xstest import XSTestJudge as XSTestJudge

judge(
    "phrase",
    about="phrase lists over the opening: outcome and manner, gibberish is unclear; English",
)(PhraseJudge)
for _file in iter_modules(__path__):  # each lists the judges that it holds
    import_module(f"{__name__}.{_file.name}")
