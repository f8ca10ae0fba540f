"""Keeps what a model thought apart from what it said."""


def split_reasoning(text: str, end_marker: str | None) -> tuple[str | None, str]:
    """(reasoning, text): everything up to and including the last `end_marker`, and what follows it.

    Reasoning is None, and the text whole, when there is no marker to look for or none was written; a sample
    cut at max_tokens while it still thought is such a one. Blank space between the marker and the answer
    belongs to the reasoning, so joining both gives the text back.
    """
    if not end_marker or (found := text.rfind(end_marker)) < 0:
        return None, text
    rest = text[found + len(end_marker) :]
    answer = rest.lstrip()
    return text[: len(text) - len(answer)], answer
