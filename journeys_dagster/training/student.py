"""Teaching a small language model to name journeys: LoRA on pairs of keywords and titles, the loss on titles alone."""

import json
import os
import random
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from journeys_dagster.errors import ExpectedError
from journeys_dagster.inference.student_prompt import answer_of, prompt_of
from journeys_dagster.inference.titles import STRONGEST

if TYPE_CHECKING:
    import torch
    from peft import PeftModel  # pyright: ignore[reportMissingImports]
    from transformers import PreTrainedTokenizerBase

CARD = "card.json"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")
"""Layers that are adapted, by their names in Llama, Qwen, Mistral and Gemma models."""
_FEWEST = 5
_LIKE_LENGTHS = 16
_CLIP = 1.0
_WARM_UP = 0.06
_IGNORED = -100


class TrainingError(ExpectedError, ValueError, carries_user_text=False):
    """A student cannot be trained; the message says why and what to do."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a student is trained.

    Attributes
    ----------
    steps : int
        At most.
    batch : int
        Pairs a step.
    rank : int
        Of the adapter's matrices; their product is scaled by 2.
    held_back : int
        Pairs whose titles are not learnt; training stops where their loss has not fallen for `patience` looks, and the
        weights of the lowest are kept.
    look_every : int
        Steps between two looks.
    """

    steps: int = 160
    batch: int = 16
    rank: int = 16
    learning_rate: float = 1e-3
    seed: int = 0
    held_back: int = 128
    look_every: int = 40
    patience: int = 2


Tokens = tuple[list[int], list[int]]
"""Of a prompt, and of the title that follows."""
Progress = Callable[[int, int, str], None]
"""Takes steps done, steps there are, and what the losses are."""


def train_student(
    pairs: pl.DataFrame,
    base: Path,
    folder: Path,
    plan: TrainingPlan,
    *,
    name: str,
    data: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Fit an adapter to pairs and write it, with its card.

    Parameters
    ----------
    pairs : DataFrame
        Columns ``title`` (null: no journey) and ``keywords`` (list of str).
    base : Path
        Folder of a causal language model with safetensors, such as Llama or Qwen.
    folder : Path
        Where the adapter goes; made, or written over.
    name : str
        What the adapter calls its base, see `journeys_dagster.inference.student.base_path`.
    data : dict
        What the card says of where the pairs are from.

    Returns
    -------
    dict
        The card: ``base``, ``data``, ``settings``, ``metrics``.

    Raises
    ------
    TrainingError
        There are too few pairs, or the extra is not installed.
    """
    model, tokenizer = _adapted(base, plan)
    learnt, held = split_pairs(pairs, held_back=plan.held_back, seed=plan.seed)
    if len(learnt) < plan.batch or held.is_empty():
        raise TrainingError(f"{len(pairs)} pairs are too few to train on: at least {plan.batch + plan.held_back}")
    held_tokens = sorted(_tokens(tokenizer, held, random.Random(plan.seed)), key=_length)  # noqa: S311
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, plan.steps))
    card: dict[str, Any] = {
        "base": {"model": name, "parameters": sum(weight.numel() for weight in model.parameters())},
        "data": {**data, "learnt": len(learnt), "held_back": len(held), "no_journey": learnt["title"].null_count()},
        "settings": {**asdict(plan), "targets": list(TARGETS), "strongest": STRONGEST},
    }
    began, used = time.monotonic(), time.process_time()
    looks: list[dict[str, float]] = []
    losses: list[float] = []
    tokens = 0
    for step, batch in zip(range(1, plan.steps + 1), _batches(tokenizer, learnt, plan), strict=False):
        loss, count = _loss(model, batch, tokenizer.pad_token_id)
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(weights, _CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()) / count)
        tokens += sum(map(_length, batch))
        if step % plan.look_every == 0 or step == plan.steps:
            recent = losses[-plan.look_every :]
            held_loss = _mean_loss(model, held_tokens, plan, tokenizer.pad_token_id)
            looks.append({"step": step, "loss": sum(recent) / len(recent), "held_back_loss": held_loss})
            lowest = min(looks, key=lambda look: look["held_back_loss"])
            card["metrics"] = {
                "steps": step,
                "kept_step": lowest["step"],
                "held_back_loss": lowest["held_back_loss"],
                "looks": looks,
                "adapted_parameters": sum(weight.numel() for weight in weights),
                "minutes": (time.monotonic() - began) / 60,
                "processor_minutes": (time.process_time() - used) / 60,
                "tokens": tokens,
                "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                "device": str(model.device),
            }
            # The best so far lies on disk, so that a training that is killed was not for nothing.
            if lowest is looks[-1]:
                write_adapter(model, folder, card)
            elif len(looks) - 1 - looks.index(lowest) >= plan.patience:
                break
        progress(step, plan.steps, f"loss {losses[-1]:.3f}")
    write_card(folder, card)
    return card


def split_pairs(pairs: pl.DataFrame, *, held_back: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs to learn from, and those whose titles are held back: titles are drawn, so that none is on both sides."""
    key = pl.col("title").str.to_lowercase()
    titles = pairs.select(key.unique().sort()).to_series().drop_nulls().to_list()
    drawn = random.Random(seed).sample(titles, min(held_back, len(titles) // 5))  # noqa: S311 -- guards nothing
    is_held = key.is_in(drawn).fill_null(value=False)
    return pairs.filter(~is_held), pairs.filter(is_held)


def write_adapter(model: "PeftModel", folder: Path, card: dict[str, Any]) -> None:
    """Write the adapter in half precision, with its card."""
    import torch
    from peft import get_peft_model_state_dict  # pyright: ignore[reportMissingImports]
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: weight.to(torch.float16).contiguous() for name, weight in get_peft_model_state_dict(model).items()}
    save_file(state, folder / "adapter_model.safetensors")
    config = model.peft_config["default"]
    config.base_model_name_or_path = card["base"]["model"]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    write_card(folder, card)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write what a student was made of."""
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _adapted(base: Path, plan: TrainingPlan) -> "tuple[PeftModel, Any]":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from peft import LoraConfig, get_peft_model  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise TrainingError("training needs peft: pip install 'journeys_dagster[student]'") from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(plan.seed)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=torch.float32)
    config = LoraConfig(
        r=plan.rank, lora_alpha=2 * plan.rank, target_modules=list(TARGETS), lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        # peft 0.21 asks for what transformers 5 has renamed.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model.to(device), config), tokenizer


def _tokens(tokenizer: "PreTrainedTokenizerBase", pairs: pl.DataFrame, draw: random.Random) -> list[Tokens]:
    """Tokens of pairs, each with as many of its keywords as a journey may have."""
    prompts, answers = [], []
    for title, keywords in pairs.select("title", "keywords").iter_rows():
        count = draw.randint(min(_FEWEST, len(keywords)), min(STRONGEST, len(keywords)))
        prompts.append(prompt_of(sorted(draw.sample(keywords, count))))
        answers.append(answer_of(title))
    read = tokenizer(prompts, add_special_tokens=True)["input_ids"]
    written = tokenizer(answers, add_special_tokens=False)["input_ids"]
    end: Any = tokenizer.eos_token_id
    return [(prompt, [*answer, end]) for prompt, answer in zip(read, written, strict=True)]


def _length(tokens: Tokens) -> int:
    return len(tokens[0]) + len(tokens[1])


def _batches(tokenizer: "PreTrainedTokenizerBase", pairs: pl.DataFrame, plan: TrainingPlan) -> Iterator[list[Tokens]]:
    """Batches without end, each epoch in another order and with other keywords, of pairs about equally long."""
    draw = random.Random(plan.seed)  # noqa: S311 -- guards nothing
    while True:
        tokens = _tokens(tokenizer, pairs, draw)
        draw.shuffle(tokens)
        pool = plan.batch * _LIKE_LENGTHS
        batches = []
        for first in range(0, len(tokens), pool):
            alike = sorted(tokens[first : first + pool], key=_length)
            batches += [alike[at : at + plan.batch] for at in range(0, len(alike), plan.batch)]
        draw.shuffle(batches)
        yield from (batch for batch in batches if len(batch) == plan.batch)


def _loss(model: "PeftModel", batch: Sequence[Tokens], padding: int) -> "tuple[torch.Tensor, int]":
    """Sum of the loss over the tokens of titles, and how many these are; rows are filled up at the left."""
    import torch

    width, written = max(map(_length, batch)), max(len(answer) for _, answer in batch)
    ids = torch.full((len(batch), width), padding)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    targets = torch.full((len(batch), written), _IGNORED)
    for row, (prompt, answer) in enumerate(batch):
        ids[row, width - len(prompt) - len(answer) :] = torch.tensor([*prompt, *answer])
        mask[row, width - len(prompt) - len(answer) :] = 1
        targets[row, written - len(answer) :] = torch.tensor(answer)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    device = model.device
    # Each title's first token follows its prompt's last, one place before it.
    logits = model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        position_ids=positions.to(device),
        logits_to_keep=written + 1,
        use_cache=False,
    ).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.to(device).flatten(), ignore_index=_IGNORED, reduction="sum"
    )
    return loss, int((targets != _IGNORED).sum())


def _mean_loss(model: "PeftModel", tokens: Sequence[Tokens], plan: TrainingPlan, padding: int) -> float:
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for first in range(0, len(tokens), plan.batch):
            loss, written = _loss(model, tokens[first : first + plan.batch], padding)
            total, count = total + float(loss), count + written
    model.train()
    return total / count


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: it rises for the first steps and falls in a line to a tenth."""
    warm = max(1, round(_WARM_UP * steps))
    return min((step + 1) / warm, 1.0 - 0.9 * max(0, step - warm) / max(1, steps - warm))
