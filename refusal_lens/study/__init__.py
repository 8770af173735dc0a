"""The study: a frozen question, its stages, and the run folder that they fill."""

from refusal_lens.study.follow_ups.attribution import explain_prompt as explain_prompt
from refusal_lens.study.follow_ups.attribution import run_attribution as run_attribution
from refusal_lens.study.follow_ups.comparison import run_comparison as run_comparison
from refusal_lens.study.follow_ups.defence import run_defence as run_defence
from refusal_lens.study.follow_ups.features import run_features as run_features
from refusal_lens.study.follow_ups.full_evaluation import run_full_evaluation as run_full_evaluation
from refusal_lens.study.follow_ups.languages import run_languages as run_languages
from refusal_lens.study.follow_ups.monitor import run_monitor as run_monitor
from refusal_lens.study.follow_ups.suffixes import run_suffixes as run_suffixes
from refusal_lens.study.planning import StudyPlan as StudyPlan
from refusal_lens.study.planning import plan_study as plan_study
from refusal_lens.study.prompts import study_prompts as study_prompts
from refusal_lens.study.question import Sizes as Sizes
from refusal_lens.study.question import Study as Study
from refusal_lens.study.refusal_tokens import run_refusal_tokens as run_refusal_tokens
from refusal_lens.study.results import Results as Results
from refusal_lens.study.run import run_study as run_study
