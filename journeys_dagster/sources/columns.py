"""Which column of a file is which column of the contract: names are compared without blanks, capitals and signs."""

import re
from collections.abc import Iterable, Mapping, Sequence

from journeys_dagster.errors import JourneysError

_NO_LETTER = re.compile(r"[\W_]+")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w \-.]{0,29}")
_SHOWN = 12


class AmbiguousColumnError(JourneysError, carries_user_text=False):
    """Two columns of a file could be the same column of the contract; the message names all three."""


def match_columns(found: Sequence[str], contract: Iterable[str], named: Mapping[str, str]) -> dict[str, list[str]]:
    """The columns of a file that a contract's columns may be read from; those that are not there are left out.

    Parameters
    ----------
    found : sequence of str
        The file's columns.
    contract : iterable of str
        The contract's columns.
    named : mapping of str to str
        What files call a column of the contract, where the settings say so.

    Returns
    -------
    dict of str to list of str
        The one that is spelled as wanted first, then those that differ by blanks, capitals and signs alone.
    """
    matched: dict[str, list[str]] = {}
    for column in contract:
        wanted = named.get(column, column)
        alike = [name for name in found if _bare(name) == _bare(wanted)]
        if alike:
            matched[column] = sorted(alike, key=lambda name: name != wanted)
    return matched


def match_single_columns(
    found: Sequence[str], contract: Iterable[str], named: Mapping[str, str]
) -> dict[str, list[str]]:
    """The same, one each, for files whose rows have all columns.

    Raises
    ------
    AmbiguousColumnError
        More than one column could be meant, and none is spelled as wanted.
    """
    matched = match_columns(found, contract, named)
    for column, alike in matched.items():
        if len(alike) > 1 and alike[0] != named.get(column, column):
            raise AmbiguousColumnError(
                f"columns {shown_names(alike)} could each be {column}; keep one of them, or name it in the settings"
            )
    return {column: alike[:1] for column, alike in matched.items()}


def shown_names(names: Iterable[str]) -> str:
    """Names of columns that may be shown: where a header is missing, the first line is a user's."""
    listed = [name if _PLAIN_NAME.fullmatch(name) else "…" for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _bare(name: str) -> str:
    return _NO_LETTER.sub("", name).casefold()
