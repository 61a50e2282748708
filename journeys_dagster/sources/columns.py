"""Which column of a file is which column of the contract: names are compared without blanks, capitals and signs."""

import re
from collections.abc import Iterable, Mapping, Sequence

from journeys_dagster.errors import JourneysError

_NO_LETTER = re.compile(r"[\W_]+")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w \-.]{0,29}")
_TABLE = re.compile(r"\w+(?:\.\w+)*")
_SHOWN = 12
_USUAL_NAMES: Mapping[str, str] = {
    "user_id": "user customer customer_id visitor visitor_id member member_id account account_id client client_id uid "
    "person_id distinct_id cust_id anon_id",
    "query": "search_query search_term search_text search_phrase search keyword keywords q term phrase text",
    "item_id": "item product product_id sku article article_id content_id pin_id stock_code asin movie_id video_id "
    "listing_id",
    "action": "event event_type event_name activity interaction type",
    "occurred_at": "timestamp event_time event_timestamp time ts datetime date created_at server_timestamp query_time "
    "invoice_date",
    "title": "name product_name item_name product_title description",
    "annotations": "tags labels keywords",
    "interests": "categories category category_code category_path genres topics department",
    "board_id": "list_id collection_id playlist_id",
    "board_name": "list_name list collection_name collection playlist_name playlist",
}
"""What logs often call a column, the likeliest first."""


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
    # Hive writes its table before each name.
    tables = {name.rpartition(".")[0] for name in found}
    table = tables.pop() if len(tables) == 1 else ""
    prefix = f"{table}." if _TABLE.fullmatch(table) else ""
    for column in contract:
        wanted = named.get(column, column)
        alike = [name for name in found if _bare(wanted) in {_bare(name), _bare(name.removeprefix(prefix))}]
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


def guess_columns(found: Sequence[str], contract: Iterable[str], told: Mapping[str, str]) -> dict[str, str]:
    """What a file seems to call the contract's columns: the usual names, tried in order; no column twice.

    Parameters
    ----------
    found : sequence of str
        The file's columns.
    told : mapping of str to str
        What is known already.

    Returns
    -------
    dict of str to str
        The file's names of the columns that were not told and are not called as the contract calls them.
    """
    fields = list(contract)
    matched = match_columns(found, [column for column in fields if column not in told], {})
    taken = {*told.values(), *(name for alike in matched.values() for name in alike)}
    guessed: dict[str, str] = {}
    for column in fields:
        if column in told or column in matched:
            continue
        for usual in _USUAL_NAMES.get(column, "").split():
            alike = [name for name in found if _bare(name) == _bare(usual) and name not in taken]
            if len(alike) == 1:
                guessed[column] = alike[0]
                taken.add(alike[0])
                break
    return guessed


def shown_names(names: Iterable[str]) -> str:
    """Names of columns that may be shown: where a header is missing, the first line is a user's."""
    listed = [name if _PLAIN_NAME.fullmatch(name) else "…" for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _bare(name: str) -> str:
    return _NO_LETTER.sub("", name).casefold()
