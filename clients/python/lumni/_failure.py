"""Which step is the origin of a failure that is reported several times."""
from __future__ import annotations

from typing import Any, Dict, Iterator, Optional

MARK = "__lumni_origin__"
CHAIN_MAX = 10      # causes looked at
TEXTS_MAX = 16      # failures below one step that are remembered


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = 0
    link: Optional[BaseException] = error
    while link is not None and seen < CHAIN_MAX:
        yield link
        seen += 1
        link = link.__cause__ or (
            None if link.__suppress_context__ else link.__context__)


def text_of(error: Any) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__


def is_cancel(error: Any) -> bool:
    """Stopped from outside, not failed."""
    names = {c.__name__ for c in type(error).__mro__}
    return not names.isdisjoint(
        ("CancelledError", "AbortError", "KeyboardInterrupt", "GeneratorExit"))


def is_interrupt(error: Any) -> bool:
    """LangGraph's way to pause a graph or to speak to its parent."""
    return any(c.__name__ in ("GraphInterrupt", "GraphBubbleUp")
               for c in type(error).__mro__)


def origin_of(error: Any, run_id: str, step_id: str,
              below: Dict[str, str]) -> str:
    """The step that this failure began in: step_id itself, or one below it.

    below: text of a failure -> its origin, for the steps right below.
    """
    text = text_of(error)
    found = below.get(text)
    if isinstance(error, BaseException):
        for link in _causes(error):
            mark = getattr(link, MARK, None)
            if isinstance(mark, tuple) and mark[0] == run_id:
                found = mark[1]
                break
        try:
            setattr(error, MARK, (run_id, found or step_id))
        except Exception:
            pass        # it has slots
    return found or step_id


def remember(below: Dict[str, str], error: Any, origin: str) -> None:
    """A step right below failed."""
    if len(below) < TEXTS_MAX:
        below.setdefault(text_of(error), origin)
