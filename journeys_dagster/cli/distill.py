"""The commands `journeys distill …`: labels by a strong model, a small one taught by them, its titles for a home."""

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from journeys_dagster.cli.errors import plain_errors
from journeys_dagster.cli.progress import out, progress_bar
from journeys_dagster.resources.home import Home
from journeys_dagster.resources.warehouse import WarehouseError
from journeys_dagster.settings import Settings, load_settings
from lab.benchmark import Run
from lab.command import command_of
from lab.evaluation.student import StudentNaming

_FOLDER = click.Path(path_type=Path)


@click.group("distill")
def distill_group() -> None:
    """Teach a small language model to title journeys, and use it."""


distill_group.add_command(command_of(StudentNaming))


@distill_group.command("train")
@click.option("--to", "folder", required=True, type=_FOLDER, help="Folder of the student, written over.")
@click.option(
    "--labels",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="File or folder of pairs, as `journeys distill label` writes them. Default: the titles by hand.",
)
@click.option("--base", help="Folder of a causal language model. Default: the one that `journeys model` brings.")
@click.option("--steps", default=160, show_default=True, type=click.IntRange(1), help="At most.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1), help="Pairs a step.")
@click.option("--rank", default=16, show_default=True, type=click.IntRange(1), help="Of the adapter.")
@click.option("--learning-rate", default=1e-3, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--held-back", default=128, show_default=True, type=click.IntRange(1), help="Titles that are not learnt.")
@click.option("--look-every", default=40, show_default=True, type=click.IntRange(1), help="Steps between two looks.")
@click.option("--seed", default=0, show_default=True, type=int)
@click.option(
    "--unlike",
    type=click.Choice(["tune", "report"]),
    help="Leave out titles like a journey type of this half of the simulated world, to be evaluated on it.",
)
def train_command(folder: Path, labels: tuple[Path, ...], base: str | None, unlike: Any, **plan: Any) -> None:  # noqa: ANN401
    """Teach a small model by LoRA, the loss on titles alone; the best by titles held back is kept."""
    from journeys_dagster.inference.student import BOX_MODEL, base_path
    from journeys_dagster.training.student import TrainingPlan, train_student
    from lab.evaluation.student import unlike_types
    from lab.teacher.pairs import load_pairs

    with plain_errors():
        model = base_path(base or BOX_MODEL)
        pairs = load_pairs(*labels)
        data: dict[str, Any] = {"from": [path.name for path in labels] or "titles by hand", "pairs": len(pairs)}
        if unlike is not None:
            pairs = unlike_types(pairs, half=unlike, embedder=Run(load_settings()).vectors.embedder)
            data |= {"unlike": f"types of the {unlike} half", "left_out": data["pairs"] - len(pairs)}
        with progress_bar("train", total=plan["steps"]) as advance:
            card = train_student(
                pairs,
                model,
                folder,
                TrainingPlan(**plan),
                name=base or BOX_MODEL,
                data=data,
                progress=lambda step, steps, told: advance(told, step, steps),
            )
    metrics = card["metrics"]
    table = Table("step", "loss", "loss of titles held back", title=f"Student in {folder}")
    for look in metrics["looks"]:
        table.add_row(f"{look['step']}", f"{look['loss']:.3f}", f"{look['held_back_loss']:.3f}")
    out.print(table)
    out.print(
        f"Step {metrics['kept_step']} is kept. {metrics['minutes']:.1f} minutes, {metrics['processor_minutes']:.1f} of "
        f"the processor, {metrics['peak_memory_gb']:.1f} GB. The card is {folder / 'card.json'}."
    )


@distill_group.command("infer")
@click.option("--student", required=True, type=_FOLDER, help="Its folder.")
@click.option("--limit", type=click.IntRange(1), help="Only so many journeys.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def infer_command(student: Path, limit: int | None, as_json: bool) -> None:
    """Title the home's distinct journeys, by the engine of run.engine; what is titled already is not asked about.

    A command that is killed goes on where it was.
    """
    from journeys_dagster.inference.student import student_of_process
    from journeys_dagster.resources.engine import engine_in_use
    from journeys_dagster.resources.student_titles import title_journeys

    with plain_errors():
        settings = load_settings()
        warehouse = Home.from_environment().warehouse(settings)
        journeys = _journeys(settings)
        journeys = journeys.head(limit) if limit else journeys
        began = time.monotonic()
        with progress_bar("title", total=1.0) as advance:
            asked = title_journeys(
                warehouse,
                engine_in_use(settings, warehouse),
                student_of_process(student.resolve()),
                journeys,
                progress=lambda done, new: advance("", done / max(new, 1)),
            )
        seconds = time.monotonic() - began
    figures = {
        "distinct_journeys": len(journeys),
        "newly_titled": asked,
        "seconds": seconds,
        "names_per_second": asked / seconds if asked else 0.0,
        "engine": settings.run.engine,
    }
    if as_json:
        click.echo(json.dumps(figures))
        return
    out.print(
        f"{len(journeys):,} distinct journeys, {asked:,} of them new; {seconds:,.0f} s, "
        f"{figures['names_per_second']:.1f} titles a second. They are in the table student_titles."
    )


@distill_group.command("label")
@click.option("--to", "file", required=True, type=_FOLDER, help="File of pairs, written over.")
@click.option("--limit", type=click.IntRange(1), help="Only so many journeys.")
def label_command(file: Path, limit: int | None) -> None:
    """Have the language model of [llm] title the home's distinct journeys, as pairs for `journeys distill train`.

    Within the budget of a run; answers are kept, so that the command goes on where it was stopped.
    """
    from journeys_dagster.llm.answers import LLMError
    from lab.teacher.labels import label_journeys

    with plain_errors():
        settings = load_settings()
        warehouse = Home.from_environment().warehouse(settings)
        journeys = _journeys(settings)
        with progress_bar("label", total=1.0) as advance:
            try:
                labelled = label_journeys(
                    journeys.head(limit) if limit else journeys,
                    settings.llm,
                    warehouse,
                    progress=lambda done, inputs: advance("", done / max(inputs, 1)),
                )
            except LLMError as error:
                raise click.ClickException(str(error)) from None
        file.write_text(labelled.text, encoding="utf-8")
    usage = labelled.usage
    out.print(
        f"{labelled.pairs:,} pairs in {file}; {labelled.too_few:,} journeys have too few keywords to learn from, "
        f"{labelled.too_long:,} titles are too long, {usage.failed:,} failed, {usage.left:,} are left. "
        f"{usage.calls:,} calls, {usage.prompt_tokens + usage.completion_tokens:,} tokens, cost {usage.cost:.4f}."
    )
    if usage.stopped:
        out.print(f"Stopped: {usage.stopped}. Run it again to go on.")


def _journeys(settings: Settings) -> Any:  # noqa: ANN401
    """The distinct journeys of everyone's newest snapshot."""
    from journeys_dagster.resources.student_titles import NEWEST_MEMBERS, distinct_journeys

    warehouse = Home.from_environment().warehouse(settings)
    if not warehouse.has_table("clusters"):
        raise WarehouseError(f"warehouse {warehouse.path} has no journeys yet: use `journeys run` first")
    return distinct_journeys(warehouse.query(NEWEST_MEMBERS))
