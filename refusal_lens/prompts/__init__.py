"""Prompts: one, a set of them, and the files and tables they are read from."""

from refusal_lens.prompts.files import load_categories as load_categories
from refusal_lens.prompts.files import load_prompts as load_prompts
from refusal_lens.prompts.prompt import COMPLY as COMPLY
from refusal_lens.prompts.prompt import LABELS as LABELS
from refusal_lens.prompts.prompt import REFUSE as REFUSE
from refusal_lens.prompts.prompt import Category as Category
from refusal_lens.prompts.prompt import Label as Label
from refusal_lens.prompts.prompt import Prompt as Prompt
from refusal_lens.prompts.prompt import prompt_of as prompt_of
from refusal_lens.prompts.prompt_set import SHARES as SHARES
from refusal_lens.prompts.prompt_set import PromptSet as PromptSet
from refusal_lens.prompts.prompt_set import labelled as labelled
