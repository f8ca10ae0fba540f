"""Keeps what a model thought apart from what it said.

Models that think write `<think> ... </think> answer`; many chat templates put the opening mark into the
prompt, so that a sample has the closing one alone. `prompt.reasoning_end` is the mark at the reasoning's end;
the one at its beginning has the same name.
"""

THINK_END = "</think>"


def default_reasoning_end(chat_template: str | None) -> str | None:
    """The end mark that a chat template tells of, None when it tells of none."""
    return THINK_END if chat_template is not None and THINK_END in chat_template else None


def opens_reasoning(prompt: str, end_marker: str | None) -> bool:
    """Whether a prompt leaves the model in the middle of its reasoning: it ends with the opening mark."""
    start = _start_of(end_marker)
    return start is not None and prompt.rstrip().endswith(start)


def split_reasoning(text: str, end_marker: str | None, *, opened: bool = False) -> tuple[str | None, str]:
    """(reasoning, text): everything up to and including the last `end_marker`, and what follows it.

    Reasoning is None, and the text whole, when there is no marker to look for or none was written. A sample
    that was cut while it still thought is all reasoning and its text is empty: one that begins with the
    opening mark, or whose prompt has `opened` the reasoning. Blank space between the marker and the answer
    belongs to the reasoning, so joining both gives the text back.
    """
    if not end_marker:
        return None, text
    found = text.rfind(end_marker)
    if found < 0:
        start = _start_of(end_marker)
        cut = opened or (start is not None and text.lstrip().startswith(start))
        return (text, "") if cut and text else (None, text)
    answer = text[found + len(end_marker) :].lstrip()
    return text[: len(text) - len(answer)], answer


def _start_of(end_marker: str | None) -> str | None:
    """`<think>` for `</think>`, `[THINK]` for `[/THINK]`; None for a mark of another form."""
    if not end_marker or end_marker[1:2] != "/":
        return None
    return end_marker[0] + end_marker[2:]
