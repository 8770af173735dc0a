"""Engines for models that need tensor or pipeline parallelism, behind LensModel's surface."""

from refusal_lens.engines.engine_model import EngineModel as EngineModel
from refusal_lens.engines.failures import EngineError as EngineError
from refusal_lens.engines.nnsight_vllm.load import load_nnsight as load_nnsight
from refusal_lens.engines.vllm_lens.load import load_vllm as load_vllm
