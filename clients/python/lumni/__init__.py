"""Hands an agent's step events to lumnid.

    import lumni

    @lumni.tool
    def issue_refund(order): ...

    with lumni.run("run_8842") as run:
        issue_refund("A-1009")
        run.model_output("Your refund has been processed.")

LangChain and LangGraph need no more than a callback:

    graph.invoke(state, {"callbacks": [lumni.LumniCallbackHandler()]})

Nothing here blocks, raises into the agent, or prints; without a lumnid
nothing happens. LUMNID_ADDRESS says where lumnid is, LUMNID_DISABLED=1 turns
everything off.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._client import DEFAULT_ADDRESS, VERSION, Client, Stats
from ._pack import Ext, Time
from ._run import (Run, Step, Tool, configure, current, default_client, run,
                   tool)

if TYPE_CHECKING:
    from .langchain import LumniCallbackHandler

__version__ = VERSION
__all__ = ["Client", "DEFAULT_ADDRESS", "Ext", "LumniCallbackHandler", "Run",
           "Stats", "Step", "Time", "Tool", "configure", "current",
           "default_client", "flush", "run", "tool"]


def flush(seconds: float = 1.0) -> bool:
    """Wait until the process's client has sent what it has."""
    return default_client().flush(seconds)


def __getattr__(name: str) -> Any:
    # langchain_core, where it is installed, is imported only when needed.
    if name == "LumniCallbackHandler":
        from .langchain import LumniCallbackHandler
        return LumniCallbackHandler
    raise AttributeError(name)
