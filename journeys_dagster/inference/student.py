"""A small language model that titles journeys in this process, many at a time: which model, and how it decodes.

A title depends on its keywords alone, to the bit, whatever is decoded beside it; `student_prompt` has what is read and
written, and what is asked about belongs to the callers.
"""

import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from journeys_dagster.environment import home_path
from journeys_dagster.errors import ExpectedError
from journeys_dagster.inference.encoders import file_sha256
from journeys_dagster.inference.fingerprint import code_version
from journeys_dagster.inference.student_prompt import prompt_of, title_of

if TYPE_CHECKING:
    import torch

BOX_MODEL = "SmolLM2-135M-Instruct"
"""The model that `journeys model` brings."""
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_MOST_WRITTEN = 16
_HEIGHT = 16
_WIDTHS = (24, 32, 40, 48, 56, 64, 80, 96, 128, 160)


class StudentError(ExpectedError, RuntimeError, carries_user_text=False):
    """A student cannot be used; the message names what is missing and what to do."""


def model_in_box() -> Path:
    """Where the model in the box lies, below the home, once `journeys model` has brought it."""
    return home_path() / "models" / BOX_MODEL


def base_path(model: str) -> Path:
    """Folder of a base model: that of the box by its name, else a path.

    Raises
    ------
    StudentError
        It is not there.
    """
    folder = model_in_box() if model == BOX_MODEL else Path(model)
    if not (folder / "config.json").exists():
        mend = "run `journeys model`" if model == BOX_MODEL else "name the folder of a causal language model"
        raise StudentError(f"there is no model at {folder}: {mend}")
    return folder


@functools.cache
def student_revision(folder: Path) -> str:
    """Name under which a student's titles are kept: same name, same titles.

    Parameters
    ----------
    folder : Path
        An adapter, see `journeys_dagster.training.student`, or a whole model.

    Raises
    ------
    StudentError
        There is none, or its weights cannot be read.
    """
    weights = sorted(folder.glob("*.safetensors"))
    config = folder / ADAPTER_CONFIG
    if not weights:
        raise StudentError(f"there is no student at {folder}: train one with `journeys distill train --to {folder}`")
    files = [*weights, *([config] if config.exists() else [])]
    digest = hashlib.sha256(" ".join(map(file_sha256, files)).encode()).hexdigest()[:12]
    return f"{folder.name}@{digest}/{code_version(Student)}"


@dataclass(frozen=True)
class Written:
    """What a student wrote of one journey.

    Attributes
    ----------
    title : str or None
        None where it says that there is none, or found no end.
    log_probability : float
        Mean over what it wrote, the end too.
    """

    title: str | None
    log_probability: float


class Student:
    """A causal language model on the CPU or GPU, loaded on first use.

    Parameters
    ----------
    folder : Path
        An adapter, or a whole model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._model: Any = None
        self._tokenizer: Any = None

    def __reduce__(self) -> tuple[Callable[..., "Student"], tuple[Path]]:
        """How another process gets it: by its folder, which must be there too."""
        return student_of_process, (self.folder,)

    def write(
        self, journeys: Sequence[Sequence[str]], *, progress: Callable[[int], None] | None = None
    ) -> list[Written]:
        """Title journeys, each by its keywords in the order in which they are given.

        Every pass has one of a few fixed shapes: prompts are filled up to the next width and a short last batch with
        copies, so that a title has the same bits whatever it is written with. Of keywords that are longer than the
        largest width the last ones are left out.

        Parameters
        ----------
        journeys : sequence of sequence of str
        progress : callable, optional
            Called with the number of journeys done so far.
        """
        self._load()
        prompts = [self._prompt(keywords) for keywords in journeys]
        by_width: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            by_width.setdefault(next(width for width in _WIDTHS if len(prompt) <= width), []).append(row)
        written: dict[int, Written] = {}
        for width, rows in sorted(by_width.items()):
            for first in range(0, len(rows), _HEIGHT):
                batch = rows[first : first + _HEIGHT]
                filled = batch + batch[:1] * (_HEIGHT - len(batch))
                found = self._decode([prompts[row] for row in filled], width)
                written |= zip(batch, found, strict=False)
                if progress is not None:
                    progress(len(written))
        return [written[row] for row in range(len(journeys))]

    def _prompt(self, keywords: Sequence[str]) -> list[int]:
        for count in range(len(keywords), 0, -1):
            ids = self._tokenizer(prompt_of(keywords[:count]))["input_ids"]
            if len(ids) <= _WIDTHS[-1]:
                return ids
        return self._tokenizer(prompt_of([]))["input_ids"]

    def _decode(self, prompts: Sequence[Sequence[int]], width: int) -> list[Written]:
        """Greedy decoding of one batch."""
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        ids = np.full((len(prompts), width), self._padding, dtype=np.int64)
        mask = np.zeros((len(prompts), width + _MOST_WRITTEN), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        attended = torch.from_numpy(mask).to(self._device)
        positions = torch.from_numpy((mask[:, :width].cumsum(1) - 1).clip(0))
        tokens, scores = [], []
        read, cache = torch.from_numpy(ids), None
        has_ended = torch.zeros(len(prompts), dtype=torch.bool)
        with torch.inference_mode():
            for step in range(_MOST_WRITTEN):
                # Of one token, PyTorch's fused attention splits a row's sum by threads and by the row's place.
                with sdpa_kernel(SDPBackend.MATH) if step else nullcontext():
                    output = self._model(
                        input_ids=read.to(self._device),
                        attention_mask=attended[:, : width + step],
                        position_ids=positions.to(self._device),
                        past_key_values=cache,
                        use_cache=True,
                        logits_to_keep=1,
                    )
                cache = output.past_key_values
                best, chosen = torch.log_softmax(output.logits[:, -1].float(), dim=-1).cpu().max(dim=-1)
                tokens.append(chosen)
                scores.append(best)
                # Rows that have ended go on until all have: in another shape the others would have other bits.
                has_ended |= torch.isin(chosen, self._ends)
                if has_ended.all():
                    break
                read, positions = chosen[:, None], (lengths + step)[:, None]
        return [self._written(*row) for row in zip(torch.stack(tokens, 1), torch.stack(scores, 1), strict=True)]

    def _written(self, tokens: "torch.Tensor", scores: "torch.Tensor") -> Written:
        import torch

        ends = torch.isin(tokens, self._ends).nonzero().flatten()
        length = int(ends[0]) if len(ends) else len(tokens)
        # In a fixed order: the sum of a tensor depends on its length.
        total = sum(scores[: length + 1].double().tolist())
        title = title_of(self._tokenizer.decode(tokens[:length])) if len(ends) else None
        return Written(title, total / min(length + 1, len(tokens)))

    def _load(self) -> None:
        if self._model is not None:
            return
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = self.folder / ADAPTER_CONFIG
        is_adapter = config.exists()
        base = base_path(json.loads(config.read_text())["base_model_name_or_path"] if is_adapter else str(self.folder))
        device, dtype = device_and_type()
        model: Any = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=torch.float32)
        if is_adapter:
            try:
                from peft import PeftModel  # pyright: ignore[reportMissingImports]
            except ModuleNotFoundError:
                raise StudentError("a student needs peft: pip install 'journeys_dagster[student]'") from None
            with warnings.catch_warnings():
                # peft 0.21 asks for what transformers 5 has renamed.
                warnings.simplefilter("ignore", FutureWarning)
                model = PeftModel.from_pretrained(model, self.folder).merge_and_unload()
        self._model = model.to(device=device, dtype=dtype).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        self._device = torch.device(device)
        ends = self._tokenizer.eos_token_id
        self._ends = torch.tensor([ends])
        self._padding = ends if self._tokenizer.pad_token_id is None else self._tokenizer.pad_token_id


def device_and_type() -> "tuple[str, torch.dtype]":
    """Where a model runs best here, and in which numbers: bfloat16 where the processor computes with it."""
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.bfloat16
    has = torch.cpu.get_capabilities()
    return "cpu", torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32


@functools.cache
def student_of_process(folder: Path) -> Student:
    """A student that all of a process share, so that the model is loaded once."""
    return Student(folder)


def title_frame(frames: Mapping[str, pl.DataFrame], *, student: Student) -> pl.DataFrame:
    """Title ``journeys`` (columns ``signature`` and ``title_keywords``).

    Returns
    -------
    DataFrame
        Columns ``signature``, ``title`` (null: none) and ``log_probability``, in the same order.
    """
    journeys = frames["journeys"]
    written = student.write(journeys["title_keywords"].to_list())
    return journeys.select("signature").with_columns(
        title=pl.Series([each.title for each in written], dtype=pl.String),
        log_probability=pl.Series([each.log_probability for each in written], dtype=pl.Float64),
    )
