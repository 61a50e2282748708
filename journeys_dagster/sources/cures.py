"""What to do about rows and files that are rejected, by the reason they are rejected for."""

import re
from collections.abc import Mapping

_CURES: Mapping[str, str] = {
    r"\w+ is in the future of the arrival day": "the device's clock is ahead, or the time is local and written "
    "without its zone: set it to the time the server got it, or write the zone",
    r"\w+ is before 1970": "the device's clock was not set, or the time is in another unit: set it to the time the "
    "server got it",
    r"\w+ is a number: say in sources\..*": "set that unit, or write times as 2025-06-30T12:00:00Z",
    r"\w+ does not tell the day from the month\b.*": "write the year first, then month and day",
    r"\w+ is not a time\b.*": "write it as 2025-06-30T12:00:00Z: year first, and the zone where it is not UTC",
    r"column \w+ is missing from the file\b.*": "write the column, or say in columns of [sources] what the file calls "
    "it",
    r"(unreadable file: )?its header repeats a column\b.*": "give each column a name of its own; without a header "
    "line, write one",
    r"\w+ is a word for nobody or nothing\b.*": "leave rows of nobody out; where it is somebody's id, take the word "
    "out of landing.no_user",
    r"\w+ is a number with a fraction\b.*": "write ids as text: a column of whole numbers with gaps turns into "
    "fractions",
    r"\w+ is (missing|blank)": "fill it in, or leave such rows out",
    r"\w+ is not text": "write it as text; an id may be a whole number",
    r"\w+ (is longer than|holds a text longer than) .*": "cut it; if it is meant, raise landing.max_text_length",
    r"(hide_journey|not_interested) names no \w+": "name what the control is about",
    r"undo names more than one of .*": "write one row for each that is taken back",
    r"unknown action\b.*": "write one of keywords.action_weights, or give this one a weight there",
    r"unknown \w+\b.*": "write one of the values that the contract names (README, 'Your own data')",
    r"\w+ is not a whole number": "write it without decimals",
    r"\w+ is not in .*": "write a value within these bounds",
    r"\w+ is not a list of texts": 'write a list of texts: in CSV a|b|c or ["a", "b"]',
    r"\w+ looks? like a list\b.*": "put | between the entries, or write a JSON list",
    r"the line does not split into .*": "put quotes around fields that hold separators, quotes or line breaks, and "
    "double the quotes within",
    r"the line has a backslash before a quote\b.*": "have the writer double quotes, not escape them",
    r"the line is not a JSON object\b.*": "write one JSON object on each line, and nothing else",
    r"(the line|unreadable file: it) (is not UTF-8|begins as UTF-16)\b.*": "save it as UTF-8",
    r"unreadable file: it holds JSON by column\b.*": "write one JSON object on each line",
    r"unreadable file: it is a folder\b.*": "move its files up, into the day's own folder",
    r"unreadable file: it is a pipe\b.*": "write a plain file",
    r"unreadable file: its name is not UTF-8\b.*": "rename the file",
    r"unreadable file: (its format|it is no text)\b.*": "write it again as Parquet, CSV or NDJSON; if it is no data, "
    "begin its name with _",
    r"unreadable file: (its (header|first line)|it has no header)\b.*": "write the columns' names in the first line; "
    "if it is no data, begin its name with _",
    r"unreadable file: columns? .* could each be\b.*": "keep one of them, or say in columns of [sources] which it is",
    r"unreadable file: No such file\b.*": "it went away while it was read: run the day again",
    r"unreadable file: Permission denied\b.*": "let the user who runs this read it",
    r"unreadable file: .*": "it is cut or damaged: write it again",
}
"""By pattern of the reason; the first that fits counts."""


def cure(reason: str) -> str:
    """What to do about a reason; empty where nothing is known of it."""
    for pattern, what_to_do in _CURES.items():
        if re.fullmatch(pattern, reason, flags=re.DOTALL):
            return what_to_do
    return ""
