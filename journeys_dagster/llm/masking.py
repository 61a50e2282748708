"""What never leaves: direct identifiers in text, and characters that people do not see."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "str | int | float | bool | Mapping[str, Json] | Sequence[Json] | None"
EMAIL = "[email]"
NUMBER = "[number]"
# Characters before and after the @ that are not separators: addresses in all scripts, and odd ones.
_EMAIL = re.compile(r"[^\s@,;:<>()\[\]\"']+\s?(?:@|\(at\)|\[at\])\s?[^\s@,;:<>()\[\]\"']+\.[^\W\d_]{2,}", re.IGNORECASE)
_SEVEN_DIGITS = re.compile(r"(?:\+|\b)?\(?\d(?:[\s().\-/_]{0,2}\d){6,}")
# Account numbers with letters, such as an IBAN: two letters, two digits, then groups.
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,3})?\b", re.IGNORECASE)
_YEARS = re.compile(r"(?:1[5-9]|20)\d\d\s?[-–/]\s?(?:1[5-9]|20)\d\d")
_UNSEEN = ("Cc", "Cf", "Co", "Cn", "Cs")


def mask(text: str) -> str:
    """A text without e-mail addresses, phone numbers and other numbers of seven digits and more.

    The text is brought to its compatibility form (NFKC), so that full-width digits are digits, and loses control and
    format characters, such as those that hide text from people.
    """
    folded = unicodedata.normalize("NFKC", text)
    seen = "".join(" " if char.isspace() else char for char in folded if char.isspace() or _is_seen(char))
    return _SEVEN_DIGITS.sub(_number, _ACCOUNT.sub(_account, _EMAIL.sub(EMAIL, seen)))


def mask_all(value: Json) -> Json:
    """The same for all texts in JSON-like data; the keys of objects are the code's own."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: mask_all(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [mask_all(inner) for inner in value]
    return value


def _is_seen(char: str) -> bool:
    # Joiners belong to words of Indic scripts and Persian, and to emoji.
    return char in "\u200c\u200d" or unicodedata.category(char) not in _UNSEEN


def _number(found: re.Match[str]) -> str:
    return found[0] if _YEARS.fullmatch(found[0]) else NUMBER


def _account(found: re.Match[str]) -> str:
    return NUMBER if sum(char.isdigit() for char in found[0]) >= 7 else found[0]
