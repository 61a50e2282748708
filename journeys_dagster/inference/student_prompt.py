"""What a student reads and writes: a journey's keywords and a title, as one line of text each."""

from collections.abc import Sequence

NO_TITLE = "-"
"""What a student writes where keywords are no journey."""


def prompt_of(keywords: Sequence[str]) -> str:
    """The text that a title follows; as short as it can be, since reading it is most of the work."""
    return f"Keywords: {', '.join(keywords)}\nTitle:"


def answer_of(title: str | None) -> str:
    """The text that follows a prompt, which the end of a text follows."""
    return f" {title or NO_TITLE}"


def title_of(answer: str) -> str | None:
    """The title that a student wrote; none where it wrote that there is none."""
    title = " ".join(answer.split())
    return None if title in {"", NO_TITLE} else title
