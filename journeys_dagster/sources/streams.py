"""Event sources held against their staging models: what one says and the other does not would be lost."""

from collections.abc import Iterable, Mapping
from typing import get_args

from journeys_dagster.settings import SourceName
from journeys_dagster.sources.contracts import Source
from journeys_dagster.sql.models import ModelError, SqlModel

EVENTS = "events"


def check_event_models(models: Iterable[SqlModel], sources: Mapping[str, Source]) -> None:
    """See that each source whose rows are events has a staging model, and that it names known actions.

    Raises
    ------
    ModelError
        Events of a source would be left out.
    """
    parts = [model for model in models if model.stream == EVENTS]
    with_events = {name for name, source in sources.items() if source.has_events}
    for name in with_events:
        if not any(name in part.depends_on for part in parts):
            raise ModelError(
                f"the rows of source {name} are events: it needs a staging model, stg_{name}.sql, whose header says "
                f"`stream: {EVENTS}`"
            )
    for part in parts:
        read = part.depends_on & with_events
        if not read:
            raise ModelError(f"{part.path}: it reads no source that declares weights of its actions")
        if part.table.columns.keys() >= {"query", "item_id"} or not part.table.columns.keys() & {"query", "item_id"}:
            raise ModelError(f"{part.path}: an event is about a text, query, or about an item, item_id: select one")
        known = {
            "source": set(get_args(SourceName)),
            "action": {a for name in read for a in sources[name].action_weights},
        }
        for column, value in part.constants.items():
            if value not in known.get(column, {value}):
                raise ModelError(
                    f"{part.path}: {column} is {value!r}, which is none of {', '.join(sorted(known[column]))}"
                )
