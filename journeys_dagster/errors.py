"""What all errors of the project have in common, and which of them people can mend."""

import re
from typing import ClassVar

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|'.*|".*""", re.DOTALL)


class JourneysError(Exception):
    """An error of this project. Its class says whether its message may hold what a user wrote.

    ``class SomeError(JourneysError, carries_user_text=False)``: without the word the class cannot be defined. Alerts
    pass on such a message as it is; of other errors they leave out what stands in quotes.
    """

    carries_user_text: ClassVar[bool] = True

    def __init_subclass__(cls, *, carries_user_text: bool) -> None:
        super().__init_subclass__()
        cls.carries_user_text = carries_user_text


class ExpectedError(JourneysError, carries_user_text=True):
    """A fault outside the code; its message names what is at fault and says what to do, and needs no traceback."""


def without_quoted(text: str) -> str:
    """A message without what stands in quotes, which may be a user's words."""
    return _QUOTED.sub("'…'", text)
