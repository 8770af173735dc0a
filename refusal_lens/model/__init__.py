"""The model: TransformerLens wrapped, templated, read and edited."""

from refusal_lens.model.answer_store import AnswerStore as AnswerStore
from refusal_lens.model.answer_store import AnswerStoreWarning as AnswerStoreWarning
from refusal_lens.model.answer_store import answers_unkept as answers_unkept
from refusal_lens.model.backend import HookFunction as HookFunction
from refusal_lens.model.backend import Hooks as Hooks
from refusal_lens.model.batch import Batch as Batch
from refusal_lens.model.batch import Ids as Ids
from refusal_lens.model.chat import ChatTemplate as ChatTemplate
from refusal_lens.model.feed import Feed as Feed
from refusal_lens.model.generate import Decoding as Decoding
from refusal_lens.model.lens import LensModel as LensModel
from refusal_lens.model.load import load_control as load_control
from refusal_lens.model.load import load_model as load_model
from refusal_lens.model.load import wrap_model as wrap_model
from refusal_lens.model.reading import HookReader as HookReader
from refusal_lens.model.rerun import Rerun as Rerun
from refusal_lens.model.stream_store import StreamStore as StreamStore
from refusal_lens.model.stream_store import StreamStoreWarning as StreamStoreWarning
from refusal_lens.model.transfer import TransferWarning as TransferWarning
from refusal_lens.model.transfer import allow_transfer as allow_transfer
from refusal_lens.model.transfer import warn_of_transfer as warn_of_transfer
from refusal_lens.model.unedited import check_unedited as check_unedited
