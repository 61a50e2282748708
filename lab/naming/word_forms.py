"""Words of a text and the forms of English ones: what two texts have in common whatever the endings."""

import re
from collections.abc import Container

from journeys_dagster.inference.spelling import dictionary

_FUNCTION_WORDS = (
    "a about an and are as at be best buy by can cheap do does for from good had has how i in into is it its me my "
    "near new no not of off on or our out over per so than that the their them this to up us versus via vs was we "
    "what when where which who why will with without you your"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that say nothing by themselves."""
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NO_PLURAL = re.compile(r"(?:[sxz]|ing|ness|ism|ity|ics|ment|wear|ware|care|ry)$")


def tokens(text: str) -> list[str]:
    """The words of a text, without marks around them."""
    return _TOKEN.findall(text)


def singular(word: str) -> str:
    """An English word without the ending of its plural; others as they are."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def plural(word: str, known: Container[str] = ()) -> str:
    """An English word in the plural; as it is where neither the dictionary nor `known` has that."""
    if _NO_PLURAL.search(word):
        return word
    if word.endswith(("ch", "sh")):
        many = f"{word}es"
    elif len(word) > 2 and word[-1] == "y" and word[-2] not in "aeiou":
        many = f"{word[:-1]}ies"
    else:
        many = f"{word}s"
    return many if many in dictionary() or many in known else word
