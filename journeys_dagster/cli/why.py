"""The command that says why a journey is listed."""

import json

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.resources.home import Home


@click.command("why")
@click.argument("user")
@click.argument("journey")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of sentences.")
def why_command(user: str, journey: str, as_json: bool) -> None:
    """Why JOURNEY of USER is listed: by its id, or its place in the list."""
    from journeys_dagster.reporting.text import printable
    from journeys_dagster.serving.service import Journeys
    from journeys_dagster.settings import load_settings

    with plain_errors():
        home, settings = Home.from_environment(), load_settings()
        asked = Journeys(home, settings)
        place = int(journey) if journey.isdecimal() else -1
        found = asked.rows(
            "select journey_id from current_user_journeys "
            "where user_id = $user and (journey_id = $journey or rank = $place) order by journey_id <> $journey",
            user=user,
            journey=journey,
            place=place,
        )
        told = asked.why(user, found[0]["journey_id"] if found else journey)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    click.echo(f"{printable(told['name'])} ({told['journey_id']}), as of {told['as_of']}")
    for sentence in told["words"]:
        click.echo(f"- {printable(sentence)}")
