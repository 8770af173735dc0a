"""What opening a model on any engine has in common."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, final

from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedConfig

from refusal_lens.engines.check import check_engine
from refusal_lens.engines.digest import checkpoint_digest
from refusal_lens.engines.engine_model import EngineModel
from refusal_lens.engines.interface import Engine, Opened
from refusal_lens.errors import InputError, reason_of
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.model.checkpoint import check_revision
from refusal_lens.model.generate import stop_ids
from refusal_lens.placement import AUTO, DTYPES
from refusal_lens.processes import this_process

_FILES: Final = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


@final
@dataclass(frozen=True, eq=False)
class Chat:
    """How the model is spoken to: `load_model`'s three choices."""

    system: str | None
    thinking: bool | None
    now: datetime | None


@final
@dataclass(frozen=True, eq=False)
class ModelFolder:
    """A Hugging Face model in a folder, and what its results will call it."""

    name: str
    folder: Path
    config: PreTrainedConfig

    def opened(self, llm: Any, versions: Mapping[str, str], spread: str) -> Opened:
        """What is known of it once `llm`, a `vllm.LLM`, has loaded it."""
        text = self.config.get_text_config()
        return Opened(
            versions=versions,
            n_layers=int(text.num_hidden_layers),
            d_model=int(text.hidden_size),
            n_ctx=int(llm.model_config.max_model_len),
            dtype=llm.model_config.dtype,
            spread=spread,
        )


def find_checkpoint(source: str | Path, revision: str | None) -> ModelFolder:
    """The files of a hub id, fetched where they are not here yet, or of a folder.

    Raises:
        InputError: nothing there, no connection, or a revision of a folder.
    """
    check_revision(str(source), revision)
    folder = Path(source)
    if not folder.is_dir():
        try:
            fetched = snapshot_download(str(source), revision=revision, allow_patterns=_FILES)
        except (OSError, ValueError) as error:
            raise InputError(
                f"model {str(source)!r} can't be fetched ({reason_of(error)}); give a hub id that "
                "you have access to and a connection, or a folder with a Hugging Face model"
            ) from None
        folder = Path(fetched)
    config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return ModelFolder(f"{source}@{revision}" if revision else str(source), folder, config)


def check_choices(
    numbers: Mapping[str, int], dtype: str, options: Mapping[str, Any], engine_options: Set[str]
) -> None:
    """Reject sizes below 1, an unknown dtype, and options that an engine sets itself.

    Raises:
        InputError: one of these, or a start in several processes.
    """
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name} is {value}; give 1 or more")
    if dtype != AUTO and dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; use 'auto' or one of {[*DTYPES]}")
    if taken := sorted(engine_options & options.keys()):
        raise InputError(
            f"option {taken[0]!r} can't be given to vLLM here: it has an argument of its own, or "
            "numbers depend on what it is set to; leave it out"
        )
    if (n := this_process().count) > 1:
        raise InputError(
            f"the vLLM engine in {n} processes: it starts its workers itself; start one process"
        )


def open_model(engine: Engine, checkpoint: ModelFolder, chat: Chat, batch_size: int) -> EngineModel:
    """The model on an engine that has loaded it, once the engine has shown that it acts.

    Raises:
        EngineError: it does not.
    """
    folder, config = checkpoint.folder, checkpoint.config
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = EngineModel(
        engine,
        ChatTemplate(tokenizer, chat.system, chat.thinking, chat.now or datetime.now()),
        name=checkpoint.name,
        digest=checkpoint_digest(folder, config, engine.opened.dtype),
        stops=stop_ids(tokenizer, _settings(folder, config)),
        batch_size=batch_size,
    )
    check_engine(model)
    return model


def _settings(folder: Path, config: PreTrainedConfig) -> GenerationConfig:
    """The model's generation settings, which name the tokens that end an answer."""
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config)
