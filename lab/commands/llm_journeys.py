"""Whether a language model finds the journeys that the pipeline finds, and what that costs."""

import json

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.settings import load_settings
from lab.commands.shared import json_option, print_numbers, vectors_of


@click.command("llm-journeys")
@click.option("--users", default=100, show_default=True, type=click.IntRange(1))
@click.option("--days", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=23, show_default=True, type=int)
@click.option(
    "--rules", is_flag=True, help="The answers come from rules, as of a test server, and not from a model; say so."
)
@json_option
def llm_journeys_command(*, users: int, days: int, seed: int, rules: bool, as_json: bool) -> None:
    """Journeys of the pipeline beside those of the language model of [llm], on the simulated truth.

    One call for each user, within the budget of a run and without a cache.
    """
    from journeys_dagster.llm.answers import LLMError
    from journeys_dagster.llm.client import LLM
    from lab.evaluation.llm_journeys import (
        MEASURES,
        PIPELINE,
        compare,
        model_journeys,
        pipeline_journeys,
    )
    from lab.evaluation.world import world_corpus, world_history
    from lab.simulation.world import build_world

    with plain_errors():
        settings = load_settings()
        llm = LLM(settings.llm)
        with progress_bar("simulate", total=1.0) as advance:
            world = build_world(users=users, days=days, seed=seed, progress=advance)
        with progress_bar("keywords and embeddings", total=None):
            vectors = vectors_of(settings)
            corpus, history = world_corpus(world, settings, vectors), world_history(world, settings)
            of_pipeline = pipeline_journeys(corpus, history, settings)
        try:
            with progress_bar("language model", total=1.0) as advance:
                of_model, lists, answered = model_journeys(
                    corpus, llm, settings, history, progress=lambda done, inputs: advance("", done / inputs)
                )
        except LLMError as error:
            raise click.ClickException(str(error)) from None
        if not answered:
            raise click.ClickException(f"no user got an answer: {llm.usage.stopped or llm.usage.faults}")
        way = f"{settings.llm.model} (rules, no model)" if rules else settings.llm.model
        # Who got no answer is left out of both.
        report = compare(corpus.of_users(answered), {PIPELINE: of_pipeline, way: of_model}, vectors.embedder)
    figures = {
        "seed": seed,
        "answers_from": "rules" if rules else "model",
        "invented_share": lists.invented / max(lists.keywords, 1),
        **llm.usage.figures(),
    }
    if as_json:
        click.echo(json.dumps(figures | {"ways": report.to_dicts()}))
        return
    source = "answers come from rules, not from a model" if rules else f"answers by {settings.llm.model}"
    print_numbers(report.select("way", "users", *MEASURES), title=f"simulated world, seed {seed}; {source}")
    out.print(
        f"keywords that the model invented: {figures['invented_share']:.2%} of {lists.keywords:,}; "
        f"{llm.usage.calls:,} calls, {llm.usage.prompt_tokens + llm.usage.completion_tokens:,} tokens, "
        f"cost {llm.usage.cost:.4f}, {llm.usage.failed:,} failed, {llm.usage.left:,} left"
        + "".join(f"; {fault}" for fault in llm.usage.faults_by_count())
    )
