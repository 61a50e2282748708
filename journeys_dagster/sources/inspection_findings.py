"""What an inspection's facts on days and rows mean for a run, the order of all findings, and the verdict.

Functions of the report alone. What looks wrong in rows that would be accepted belongs to `inspection_doubts`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Literal

from journeys_dagster.settings import Settings
from journeys_dagster.sources.inspection_doubts import (
    FEW,
    Finding,
    Report,
    clocks,
    counted,
    ids,
    items,
    stop,
    texts,
    warn,
)

Verdict = Literal["ready", "ready with warnings", "not ready"]
_NAMED = 5
_CAUSES = 3


def findings(report: Report, settings: Settings) -> list[Finding]:
    """What is not as it should be: first what stops a run or leaves it without journeys, then the rest.

    Parameters
    ----------
    report : mapping
        Of `inspection.inspect_zone`, without findings and verdict.

    Returns
    -------
    list of dict
        ``severity`` (``stop``, ``warn`` or ``note``), ``about``, ``said``, ``what_to_do``.
    """
    said = [
        *_passed_over(report, settings),
        *_no_days(report),
        *_days(report),
        *_rejected(report),
        *_no_events(report),
        *_rows(report, settings),
        *ids(report),
        *items(report),
        *clocks(report, settings),
        *texts(report, settings),
    ]
    return sorted(said, key=lambda each: ("stop", "warn", "note").index(each["severity"]))


def verdict(said: Sequence[Finding]) -> Verdict:
    """One word on the whole."""
    severities = {each["severity"] for each in said}
    if "stop" in severities:
        return "not ready"
    return "ready with warnings" if "warn" in severities else "ready"


def _no_days(report: Report) -> Iterator[Finding]:
    sources = report["sources"].values()
    if not sources:
        yield stop(
            "days",
            "no day of any source is found",
            "lay files out as SOURCE/date=YYYY-MM-DD/FILE, with an empty file _SUCCESS in each finished day; README, "
            "'Your own data', names sources and columns",
        )
    elif all(len(source["incomplete_days"]) == source["days"] for source in sources):
        yield stop("days", "no day is complete: no day's folder has a file _SUCCESS", _mark(*sources))
    elif not any(source["last_complete_day"] for source in sources):
        yield stop("days", "no complete day is over yet (UTC)", "wait until it is, or correct the names of its folders")


def _passed_over(report: Report, settings: Settings) -> Iterator[Finding]:
    passed_over = report["passed_over"]
    for name in dict.fromkeys(each["source"] for each in passed_over):
        of_source = [each for each in passed_over if each["source"] == name]
        folders = sum(each["kind"] == "folder" for each in of_source)
        days = report["sources"].get(name, {}).get("days", 0)
        is_much = not days or folders > settings.landing.max_rejected_share * (folders + days)
        read = counted(days, "days")
        if name is None:
            is_much, read = not report["sources"], counted(len(report["sources"]), "sources")
        kinds = {"folders": folders, "files": len(of_source) - folders}
        passed = " and ".join(counted(count, kind) for kind, count in kinds.items() if count)
        first = min(of_source, key=lambda each: each["kind"] != "folder")
        more = f"; and {len(of_source) - 1:,} more that are listed as not read" if len(of_source) > 1 else ""
        yield (stop if is_much else warn)(
            "passed over",
            f"{name or 'the landing zone'}: not read: {passed}; read: {read}",
            f"{first['path']}: {first['what_to_do']}{more}",
        )


def _days(report: Report) -> Iterator[Finding]:
    for name, source in report["sources"].items():
        if 0 < len(source["incomplete_days"]) < source["days"]:
            yield warn(
                "days", f"{name}: {_listed(source['incomplete_days'])} without _SUCCESS would wait", _mark(source)
            )
        if source["days_not_over"]:
            yield warn(
                "days",
                f"{name}: {_listed(source['days_not_over'])} not over yet (UTC)",
                "name a day by when its rows arrived, and write _SUCCESS when it is over",
            )
        if source["empty_days"]:
            yield warn(
                "days",
                f"{name}: {_listed(source['empty_days'])} without any row",
                "see whether the producer has failed; a day on which nothing happens may be empty",
            )
        # A catalogue has the days on which it changed, and a shop is closed on Sundays.
        missing = sum((gap["last"] - gap["first"]).days + 1 for gap in source["missing_days"])
        if source["has_events"] and 0 < missing < 0.1 * source["days"]:
            ranges = [" to ".join(sorted({str(gap["first"]), str(gap["last"])})) for gap in source["missing_days"]]
            yield warn(
                "days",
                f"{name}: no folder for {counted(missing, 'days')} between the first and the last ({_some(ranges)})",
                "deliver them; if nothing happened then, go on",
            )


def _rejected(report: Report) -> Iterator[Finding]:
    for name, source in report["sources"].items():
        reasons = [each for each in report["rejected"] if each["source"] == name]
        if not reasons:
            continue
        worst = sorted(reasons, key=lambda each: (each["files"] / source["files"], each["rows"]), reverse=True)[
            :_CAUSES
        ]
        files = (
            f" and {source['unreadable_files']:,} of {source['files']:,} files" if source["unreadable_files"] else ""
        )
        causes = [
            f"{each['reason']}{_words(report, each)} ({counted(each['files'] or each['rows'], _kind(each))})"
            for each in worst
        ]
        more = f", and for {len(reasons) - _CAUSES:,} reasons more" if len(reasons) > _CAUSES else ""
        said = (
            f"{name}: {source['rows_rejected']:,} of {source['rows_read']:,} rows{files} would be rejected: "
            f"{'; '.join(causes)}{more}"
        )
        cures = "; ".join(dict.fromkeys(each["what_to_do"] or "mend the files" for each in worst))
        if days := source["days_held_up"]:
            yield stop(
                "rejected",
                f"{said}. A run would stop at {_listed(days)}",
                f"{cures}; or raise landing.max_rejected_share, and go on without them",
            )
        elif files or source["rows_rejected"] > FEW * source["rows_read"]:
            yield warn("rejected", said, cures)


def _kind(rejected: Mapping[str, Any]) -> str:
    return "files" if rejected["files"] else "rows"


def _words(report: Report, rejected: Mapping[str, Any]) -> str:
    """The words of the settings that were found where an id should be."""
    if "landing.no_user" not in rejected["reason"]:
        return ""
    field = rejected["reason"].split(maxsplit=1)[0]
    words = [
        f"{each['word']} {each['rows']:,}"
        for each in report["ids"]["placeholders"]
        if (each["source"], each["field"]) == (rejected["source"], field)
    ]
    return f": {_some(words)}"


def _no_events(report: Report) -> Iterator[Finding]:
    sources, found = report["sources"], report["items"]
    rows = sum(source["rows_accepted"] for source in sources.values() if source["has_events"])
    if not sources:
        return
    if not rows:
        yield stop(
            "events",
            "there is nothing that users did: no row of searches, engagements or board_items would be accepted",
            "deliver at least one of them",
        )
    elif rows == found["rows"] and found["rows_unknown"] + found["rows_silent"] == found["rows"]:
        yield stop(
            "events",
            "no event gives a keyword, so nobody would have a journey: there are no searches, and no item that anyone "
            "did something with is known and has annotations, interests or a title in words",
            "deliver searches, or items with annotations, interests or titles",
        )


def _rows(report: Report, settings: Settings) -> Iterator[Finding]:
    for name, source in report["sources"].items():
        if source["rows_over_cap"]:
            yield warn(
                "rows",
                f"{name}: {source['rows_over_cap']:,} rows of users with more than "
                f"{settings.landing.max_rows_per_user_per_day:,} in a day would be left out",
                "see whether these users are programs; else raise landing.max_rows_per_user_per_day",
            )
        if source["rows_duplicate"] > 0.05 * source["rows_read"]:
            yield warn(
                "rows",
                f"{name}: {source['rows_duplicate']:,} of {source['rows_read']:,} rows are exact duplicates within "
                "their "
                "day; they count once",
                "see whether files are delivered twice",
            )
        if source["has_events"] and source["rows_repeated_share"] > 0.05:
            yield warn(
                "rows",
                f"{name}: about {source['rows_repeated_share']:.0%} of the rows arrive again on another day; they "
                "count once",
                "deliver with each day what is new, not everything",
            )


def _mark(*sources: dict[str, Any]) -> str:
    at_root = any(source["marked_at_root"] for source in sources)
    told = "; the one in the source's own folder says of no day that it is" if at_root else ""
    return f"create an empty file _SUCCESS in the folder of each day that is finished{told}"


def _listed(days: Sequence[date]) -> str:
    return f"{len(days):,} day{'s' * (len(days) > 1)} ({_some([str(day) for day in days])})"


def _some(texts: Sequence[str]) -> str:
    more = f", +{len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more
