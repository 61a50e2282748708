"""Why a journey is listed, where it is, and as what: one account, as data and in words."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import exp, prod
from typing import Any

from journeys_dagster.inference.ranking_model import RankingModelError
from journeys_dagster.reporting.text import json_value
from journeys_dagster.serving.contributions import heuristic_factors, model_contributions
from journeys_dagster.serving.evidence import Evidence

_TOLERANCE = 1e-6
_BASE = "base"
_KEYWORDS_SAID, _PARTS_SAID = 3, 3
_FACTORS = {
    "amount": "how much: the square root of the weight of its events",
    "frequency": "how often: the square root of active days per day of its age and a week",
    "freshness": "how lately, by its own rhythm",
    "sureness": "how sure it is a journey: confidence as a share of what a journey is listed from, at most 1",
    "diversification": "less for similar journeys ranked above it",
}
_SOURCES = {"search": "searches", "engagement": "actions on items", "board": "items on boards"}


def explain(
    evidence: Evidence, *, on: date, min_confidence: float, actions: Sequence[str], described: Mapping[str, str]
) -> dict[str, Any]:
    """Why a journey is listed, as data that JSON can hold, with ``words``: the same in sentences.

    Parameters
    ----------
    on : date
        The day it is read; its stage is as of then.
    min_confidence : float
        Confidence from which a journey is listed.
    actions : sequence of str
        Names of the action counts among the features.
    described : mapping of str to str
        What each feature is.

    Returns
    -------
    dict
        ``events``, ``keywords``, ``place`` (whose ``parts`` make up the score), ``diversifier``, ``stage``, ``safety``,
        ``history`` and ``words``.
    """
    listed = evidence.listed
    told: dict[str, Any] = {
        "user_id": listed["user_id"],
        "journey_id": listed["journey_id"],
        "name": listed["name"],
        "as_of": listed["as_of"],
        "read_on": on,
        "events": _events(evidence),
        "keywords": _keywords(listed["keywords"]),
        "place": _place(evidence, min_confidence=min_confidence, actions=actions, described=described),
        "diversifier": {**evidence.diversified, "factor": _diversification(evidence)},
        "stage": _stage(evidence, on),
        "safety": {**evidence.safety, "may_notify": listed["may_notify"]},
        "history": {"since": evidence.since, "names": evidence.names},
    }
    return json_value({**told, "words": _words(told)})


def _events(evidence: Evidence) -> dict[str, Any]:
    by_source: dict[str, int] = {}
    for row in evidence.events:
        by_source[row["source"]] = by_source.get(row["source"], 0) + row["events"]
    return {
        "total": sum(by_source.values()),
        "by_source": by_source,
        "by_action": {f"{row['source']}: {row['action']}": row["events"] for row in evidence.events},
        "newest": evidence.newest,
        "days_active": evidence.engagement["days_active"][0],
        "first_seen": evidence.listed["first_seen"],
        "last_seen": evidence.listed["last_seen"],
    }


def _keywords(keywords: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    total = sum(each["weight"] for each in keywords) or 1.0
    return [
        {
            "keyword": each["shown"],
            "weight": each["weight"],
            "share": each["weight"] / total,
            "sources": each["sources"],
        }
        for each in keywords
    ]


def _place(
    evidence: Evidence, *, min_confidence: float, actions: Sequence[str], described: Mapping[str, str]
) -> dict[str, Any]:
    """What the score is made of, and whether that adds up to the score that is stored."""
    listed, model = evidence.listed, evidence.model
    confidence = listed["confidence"]
    factors = {
        "sureness": min(1.0, confidence / min_confidence) if min_confidence > 0 else 1.0,
        "diversification": _diversification(evidence),
    }
    place = {
        "rank": listed["rank"],
        "ranked": evidence.diversified["rank"],
        "of_journeys": evidence.journeys,
        "ranker": listed["ranker"],
        "score": listed["score"],
        "confidence": confidence,
        "return_probability": listed["return_probability"],
    }
    if model is not None:
        try:
            added = model_contributions(model, evidence.features, actions)[0]
        except RankingModelError as error:
            return {**place, "kind": "unknown", "parts": [], "adds_up": False, "note": str(error)}
        values = _values(evidence, model.features)
        parts = [
            {"part": name, "is": described.get(name, name), "value": values[name], "log_odds": float(amount)}
            for name, amount in zip(model.features, added, strict=False)
        ]
        parts.sort(key=lambda part: -abs(part["log_odds"]))
        parts.append(
            {"part": _BASE, "is": "what every journey begins with", "value": None, "log_odds": float(added[-1])}
        )
        log_odds = float(added.sum())
        raw = 1.0 / (1.0 + exp(-log_odds))
        computed = raw * prod(factors.values())
        place |= {"kind": "model", "parts": parts, "log_odds": log_odds, "raw_score": raw, "factors": factors}
    elif listed["ranker"] == "heuristic":
        factors = heuristic_factors(evidence.engagement, as_of=listed["as_of"]).row(0, named=True) | factors
        computed = prod(factors.values())
        parts = [{"part": name, "is": _FACTORS[name], "factor": factor} for name, factor in factors.items()]
        place |= {"kind": "heuristic", "parts": parts, "factors": factors}
    else:
        note = f"the ranking model {listed['ranker']} is no longer in the warehouse"
        return {**place, "kind": "unknown", "parts": [], "adds_up": False, "note": note}
    difference = abs(computed - listed["score"])
    return {**place, "computed_score": computed, "difference": difference, "adds_up": difference <= _TOLERANCE}


def _values(evidence: Evidence, names: Sequence[str]) -> dict[str, float | None]:
    row = evidence.features.row(0, named=True)
    counts = iter(row["action_counts"])
    return {name: next(counts) if name not in row else row[name] for name in names}


def _diversification(evidence: Evidence) -> float:
    before = evidence.diversified["score_before"]
    return evidence.diversified["score"] / before if before else 1.0


def _stage(evidence: Evidence, on: date) -> dict[str, Any]:
    listed = evidence.listed
    until = listed["evergreen_until"]
    is_evergreen = until is not None and on < until
    return {
        "stage": "evergreen" if is_evergreen else "ongoing" if on < listed["ends_on"] else "ended",
        "decided_by": listed["stage_model"],
        "phase": listed["phase"],
        "ends_on": listed["ends_on"],
        "evergreen_until": until,
        "days_since_last": (on - listed["last_seen"].date()).days,
        "outlives_days": (listed["ends_on"] - listed["last_seen"].date()).days - 1,
        "span_days": evidence.stage["span_days"],
        "acting_share": evidence.stage["acting_share"],
        "usual_acting_share": evidence.stage["usual_acting_share"],
    }


def _words(told: Mapping[str, Any]) -> list[str]:
    return [
        _said_of_events(told["events"]),
        _said_of_keywords(told["keywords"]),
        *_said_of_place(told["place"]),
        _said_of_diversifier(told["diversifier"], told["place"]),
        _said_of_stage(told["stage"]),
        _said_of_safety(told["safety"]),
        _said_of_history(told["history"], told["name"]),
    ]


def _said_of_events(events: Mapping[str, Any]) -> str:
    by_source = ", ".join(f"{count} {_SOURCES.get(source, source)}" for source, count in events["by_source"].items())
    return (
        f"It is made of {events['total']} events on {events['days_active']} days: {by_source}; the first on "
        f"{events['first_seen']:%Y-%m-%d}, the newest on {events['last_seen']:%Y-%m-%d}."
    )


def _said_of_keywords(keywords: Sequence[Mapping[str, Any]]) -> str:
    said = ", ".join(f"“{each['keyword']}” ({each['share']:.0%})" for each in keywords[:_KEYWORDS_SAID])
    return f"Its heaviest keywords are {said}; shares are of the weight of those listed."


def _said_of_place(place: Mapping[str, Any]) -> list[str]:
    said = [f"It is number {place['rank']} of the list, with a score of {place['score']:.4g}."]
    if place["kind"] == "model":
        parts = [part for part in place["parts"] if part["part"] != _BASE]
        said.append(
            f"The model {place['ranker']} gives it {place['raw_score']:.4g}: "
            + "; ".join(
                f"{part['is']} ({_number(part['value'])}) {part['log_odds']:+.2f}" for part in parts[:_PARTS_SAID]
            )
            + f"; {len(parts) - _PARTS_SAID} more together "
            + f"{sum(part['log_odds'] for part in parts[_PARTS_SAID:]):+.2f}; in log odds, from "
            + f"{place['parts'][-1]['log_odds']:+.2f}."
        )
    elif place["kind"] == "heuristic":
        factors = place["factors"]
        said.append(
            f"The heuristic multiplies how much ({factors['amount']:.3g}), how often ({factors['frequency']:.3g}) and "
            f"how lately ({factors['freshness']:.3g})."
        )
    else:
        said.append(f"What made up the score cannot be told: {place['note']}.")
        return said
    if place["factors"]["sureness"] < 1:
        said.append(
            f"With a confidence of {place['confidence']:.2f} it is not sure enough to be listed for itself, which "
            f"takes the score to {place['factors']['sureness']:.0%}."
        )
    if not place["adds_up"]:
        said.append(f"These parts give {place['computed_score']:.4g} and not the score: settings have changed since.")
    return said


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _said_of_diversifier(diversifier: Mapping[str, Any], place: Mapping[str, Any]) -> str:
    similar = diversifier["occurrence"]
    if similar == 0 and diversifier["rank"] == diversifier["rank_before"]:
        return "The diversifier left it where it was: nothing similar is ranked above."
    return (
        f"The diversifier found {similar} similar above, which takes the score to {diversifier['factor']:.0%}, and put "
        f"it from place {diversifier['rank_before']} to {diversifier['rank']} of {place['of_journeys']}."
    )


def _said_of_stage(stage: Mapping[str, Any]) -> str:
    silence = f"{stage['days_since_last']} days have passed since its last event"
    if stage["stage"] == "evergreen":
        last = stage["evergreen_until"] - timedelta(days=1)
        said = f"It is evergreen: spread over {stage['span_days']} days, and so until {last} if nothing happens"
    elif stage["stage"] == "ongoing":
        said = f"It is ongoing: {silence}, and it outlives {stage['outlives_days']}, until {stage['ends_on']}"
    else:
        said = f"It has ended: {silence}, and it outlives {stage['outlives_days']}"
    # What is evergreen is so by rule.
    by_rule = stage["decided_by"] == "rule" or stage["stage"] == "evergreen"
    by = "by rule" if by_rule else f"by the model {stage['decided_by']}"
    phase = {
        "action": "The user is already acting.",
        "inspiration": "The user is still looking around.",
    }.get(stage["phase"], "")
    return f"{said} ({by}). {phase}".strip()


def _said_of_safety(safety: Mapping[str, Any]) -> str:
    said = {
        "allow": "Safety has nothing against it",
        "unknown": "Safety cannot judge it, so that it is listed and never notified",
        "quiet": f"Safety calls it sensitive ({safety['category']}), so that it is listed and never notified",
    }.get(safety["outcome"], f"Safety says {safety['outcome']}")
    left_out = safety["left_out"]
    return said + (f"; {left_out} of its keywords may not be shown." if left_out else ".")


def _said_of_history(history: Mapping[str, Any], name: str) -> str:
    earlier = [
        f"“{each['name']}” ({each['first_day']} to {each['last_day']})"
        for each in history["names"]
        if each["name"] != name
    ]
    called = f"; it was called {', '.join(earlier)}" if earlier else "; it has had no other name"
    return f"It is in snapshots since {history['since']}{called}."
