"""The prompts: one Markdown file each in ``journeys_dagster/prompts``, versioned by what they say."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "prompts"


@dataclass(frozen=True)
class Prompt:
    """Instructions for one kind of input.

    Attributes
    ----------
    name : str
        Name of the file, without ``.md``.
    text : str
        The instructions for the data that comes with it.
    """

    name: str
    text: str

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


@functools.cache
def load_prompt(name: str) -> Prompt:
    """The prompt of a file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    return Prompt(name, (FOLDER / f"{name}.md").read_text(encoding="utf-8").strip())
