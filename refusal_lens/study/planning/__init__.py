"""What a study will cost, from the model's configuration alone: work, FLOPs, memory and time."""

from refusal_lens.study.planning.plan import StudyPlan as StudyPlan
from refusal_lens.study.planning.plan import plan_study as plan_study
