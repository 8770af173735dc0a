"""Mechanistic interpretability of refusal in chat models, on TransformerLens.

    import refusal_lens as rl

`dir(rl)` lists what there is: the functions and classes that a notebook needs, and the sub-packages
(`rl.geometry`, `rl.plots`, ...) with everything else. Nothing is loaded before it is used, because
TransformerLens alone takes seconds: directions, geometry and figures do without it. The names
stand in `__init__.pyi`, where type checkers find them too.
"""

from importlib import metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = metadata.version("refusal_lens")
