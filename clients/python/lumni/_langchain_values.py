"""LangChain's values as plain ones of bounded size.

No type of LangChain is imported: messages, documents and results are known by
the attributes that they have.
"""
from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant",
         "HumanMessageChunk": "user"}
OWN_TAGS = ("graph:", "seq:", "map:", "langsmith:")
OWN_METADATA = ("langgraph_", "ls_", "__")
DEPTH_MAX = 16


class Limits(NamedTuple):
    text: int
    items: int


def cut(text: str, limits: Limits) -> str:
    if len(text) <= limits.text:
        return text
    return "%s... [cut, %d characters]" % (text[:limits.text], len(text))


def _parts(content: Any) -> str:
    """The text of a message's content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else str(content)
    found: List[str] = []
    for part in content:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict):
            if isinstance(part.get("text"), str):
                found.append(part["text"])
            elif part.get("type") not in (None, "text", "tool_use"):
                found.append("[%s]" % part["type"])
    return "".join(found)


def text_of(content: Any, limits: Limits) -> str:
    return cut(_parts(content), limits)


def _is_message(value: Any) -> bool:
    return hasattr(value, "content") and isinstance(
        getattr(value, "type", None), str)


def _is_document(value: Any) -> bool:
    return isinstance(getattr(value, "page_content", None), str)


def tool_calls(value: Any, limits: Limits) -> List[Dict[str, Any]]:
    found = []
    for call in getattr(value, "tool_calls", None) or ():
        if isinstance(call, dict):
            found.append({k: plain(call[k], limits)
                          for k in ("id", "name", "args")
                          if call.get(k) is not None})
    return found


def message(value: Any, limits: Limits) -> Any:
    if not _is_message(value):
        return plain(value, limits)
    kind = value.type
    if kind == "chat":
        kind = getattr(value, "role", kind)
    found: Dict[str, Any] = {"role": ROLES.get(kind, kind),
                             "text": text_of(value.content, limits)}
    calls = tool_calls(value, limits)
    if calls:
        found["toolCalls"] = calls
    if getattr(value, "tool_call_id", None):
        found["toolCallId"] = value.tool_call_id
    if getattr(value, "status", None) == "error":
        found["status"] = "failed"
    return found


def document(value: Any, limits: Limits) -> Any:
    if not _is_document(value):
        return plain(value, limits)
    found: Dict[str, Any] = {"text": cut(value.page_content, limits)}
    if getattr(value, "metadata", None):
        found["metadata"] = plain(value.metadata, limits)
    if getattr(value, "id", None):
        found["id"] = str(value.id)
    return found


def plain(value: Any, limits: Limits, depth: int = 0) -> Any:
    """A copy of what msgpack can say; the agent may go on changing its own."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return cut(value, limits)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:limits.text])
    if depth > DEPTH_MAX:
        return "[too deep]"
    if isinstance(value, dict):
        found: Dict[str, Any] = {}
        for key in list(value)[:limits.items]:
            found[str(key)] = plain(value.get(key), limits, depth + 1)
        if len(value) > limits.items:
            found["..."] = "[cut, %d items]" % len(value)
        return found
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(v, limits, depth + 1)
                 for v in list(value)[:limits.items]]
        if len(value) > limits.items:
            items.append("... [cut, %d items]" % len(value))
        return items
    if _is_message(value):
        return message(value, limits)
    if _is_document(value):
        return document(value, limits)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return plain(dump(), limits, depth + 1)
    try:
        return cut(str(value), limits)
    except Exception:
        return "<%s>" % type(value).__name__


def name_of(serialized: Any, kwargs: Dict[str, Any]) -> Optional[str]:
    name = kwargs.get("name")
    if not name and isinstance(serialized, dict):
        name = serialized.get("name")
        path = serialized.get("id")
        if not name and isinstance(path, list) and path:
            name = path[-1]
    return str(name) if name else None


def surroundings(type: str, tags: Optional[List[str]],
                 metadata: Optional[Dict[str, Any]], kwargs: Dict[str, Any],
                 limits: Limits) -> Dict[str, Any]:
    """The fields that come from tags, metadata and the invocation."""
    found: Dict[str, Any] = {}
    metadata = metadata if isinstance(metadata, dict) else {}
    for field, key in (("threadId", "thread_id"), ("node", "langgraph_node"),
                       ("step", "langgraph_step")):
        if metadata.get(key) is not None:
            found[field] = plain(metadata[key], limits)
    if type == "model_call":
        given = kwargs.get("invocation_params") or {}
        model = metadata.get("ls_model_name") or given.get("model") \
            or given.get("model_name")
        if model:
            found["model"] = str(model)
        if metadata.get("ls_provider"):
            found["provider"] = str(metadata["ls_provider"])
    rest = {k: v for k, v in metadata.items()
            if not str(k).startswith(OWN_METADATA)
            and k not in ("checkpoint_ns", "thread_id")}
    if rest:
        found["metadata"] = plain(rest, limits)
    own = [t for t in tags or () if not str(t).startswith(OWN_TAGS)]
    if own:
        found["tags"] = plain(own, limits)
    return found


def _usage(source: Any) -> Dict[str, int]:
    """Token counts, by any of the names in use."""
    found: Dict[str, int] = {}
    if isinstance(source, dict):
        for name, keys in (
                ("inputTokens", ("input_tokens", "prompt_tokens")),
                ("outputTokens", ("output_tokens", "completion_tokens")),
                ("totalTokens", ("total_tokens",))):
            for key in keys:
                if isinstance(source.get(key), int):
                    found[name] = source[key]
                    break
    return found


def model_answer(response: Any, limits: Limits) -> Dict[str, Any]:
    """An LLMResult: what the model said, and at what price."""
    found: Dict[str, Any] = {}
    generations = getattr(response, "generations", None) or [[]]
    first = generations[0][0] if generations[0] else None
    said = getattr(first, "message", None)
    text = _parts(said.content) if said is not None \
        else getattr(first, "text", None)
    if text is not None:
        found["text"] = cut(str(text), limits)
    calls = tool_calls(said, limits)
    if calls:
        found["toolCalls"] = calls
    output = getattr(response, "llm_output", None) or {}
    usage = _usage(getattr(said, "usage_metadata", None)) \
        or _usage(output.get("token_usage")) or _usage(output.get("usage"))
    if usage:
        found["usage"] = usage
    for info in (getattr(first, "generation_info", None),
                 getattr(said, "response_metadata", None)):
        if isinstance(info, dict):
            reason = info.get("finish_reason") or info.get("stop_reason")
            if reason:
                found["finishReason"] = str(reason)
                break
    return found
