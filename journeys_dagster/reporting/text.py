"""User text made fit for display: control characters, length, markdown.

Queries, board names and keywords are data written by strangers. Whatever shows them (a plot, a markdown
table, a terminal) passes them through here first, so that they cannot move a cursor, forge a link or break a
table. How numbers and dates are written, for people and in JSON, belongs here too.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

REPLACEMENT = "\ufffd"
ELLIPSIS = "…"

_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})
# Invisible, yet part of ordinary writing: the joiners of Indic and Persian words and of compound emoji.
_JOINERS = frozenset("\u200c\u200d")
# Invisible and idle in a single line: soft hyphen, zero-width space, direction marks, word joiner, byte-order
# mark.
_IDLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
_WORD_JOINER = "\u2060"
# GitHub-flavoured markdown links bare addresses even when their characters are escaped; an invisible word
# joiner inside them is what stops it.
_BARE_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_MARKDOWN = str.maketrans({char: f"\\{char}" for char in "\\*_[]()!~"} | {char: f"&#{ord(char)};" for char in "&<>|`$"})


def printable(text: str) -> str:
    """Make one line of text without control characters.

    Parameters
    ----------
    text
        Any text, hostile or not.

    Returns
    -------
    str
        The text with each run of white space (line breaks and tabs included) as one space, without space at
        either end, and with U+FFFD in place of every control character and of those that reorder text
        (bidirectional overrides). ANSI escape sequences lose their escape character and with it their effect.
        Soft hyphens, zero-width spaces and direction marks are dropped.
    """
    line = " ".join(text.translate(_IDLE).split())
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        REPLACEMENT if unicodedata.category(char) in _UNPRINTABLE and char not in _JOINERS else char for char in line
    )


def isolated(text: str) -> str:
    """Make one printable line that leaves its surroundings in their order.

    Parameters
    ----------
    text
        Any text, hostile or not.

    Returns
    -------
    str
        As `printable` gives it; with letters that are written from right to left, between the invisible characters that
        keep a terminal from turning around what stands beside it (Unicode's FSI and PDI).
    """
    line = printable(text)
    if line.isascii() or not any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in line):
        return line
    return f"{_ISOLATE}{line}{_END_OF_ISOLATE}"


def shorten(text: str, *, width: int) -> str:
    """Keep at most `width` characters of a text, the last one an ellipsis where something was cut.

    Parameters
    ----------
    text
        Any text.
    width
        The most characters to return, at least 1.

    Returns
    -------
    str
        The text itself when it fits.

    Raises
    ------
    ValueError
        If `width` is below 1.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    return text if len(text) <= width else text[: width - 1].rstrip() + ELLIPSIS


def escape_markdown(text: str) -> str:
    """Write text so that GitHub-flavoured markdown shows it literally, also inside a table cell.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    str
        One line of markdown with no effect: no emphasis, code, HTML, links or images, no unescaped pipe, and
        no address that a renderer would turn into a link (an invisible U+2060 is put inside those).
    """
    return _BARE_ADDRESS.sub(_WORD_JOINER, printable(text)).translate(_MARKDOWN)


def format_number(value: float) -> str:
    """Write a number for people: whole with thousands separators from 1,000 on, else four significant digits.

    Parameters
    ----------
    value
        Any number; NaN and infinities are written as such.

    Returns
    -------
    str
        For example ``"12,346"``, ``"0.8712"``, ``"3"``, ``"1.2e-05"``.
    """
    if math.isfinite(value) and 999.95 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def counted(number: int, what: str) -> str:
    """Write a number with the word for what is counted: ``1 file``, ``1,234 files``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def format_datetime(value: datetime) -> str:
    """Write a point in time to the minute.

    Parameters
    ----------
    value
        With or without a time zone.

    Returns
    -------
    str
        ``"2024-05-01 09:30"``; with an offset that is not zero, ``"2024-05-01 09:30+02:00"``.
    """
    shown = value if value.utcoffset() else value.replace(tzinfo=None)
    return shown.isoformat(sep=" ", timespec="minutes")


def json_value(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Turn rows into plain data that `json.dumps` takes: days and times in ISO 8601, NaN and infinities null.

    Parameters
    ----------
    value
        Mappings, lists and plain values, one in the other. Text is unchanged.
    """
    if isinstance(value, Mapping):
        return {name: json_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [json_value(inner) for inner in value]
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
