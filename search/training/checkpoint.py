"""A trial's state at a rung, as bytes: what it takes to go on as if nothing had happened."""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search.data.cache import write_aside

if TYPE_CHECKING:
    import keras


def pack(model: "keras.Model", of: Mapping[str, Any], epoch: int) -> bytes:
    """A compiled model after `epoch` epochs: an `.npz` of its variables, its random states and its optimizer's.

    `of` says which training this is, as plain values: only the same training takes the state back.
    """
    packed = BytesIO()
    values = {f"{number:05d}": np.asarray(variable) for number, variable in enumerate(_variables(model))}
    about = json.dumps({"of": dict(of), "epoch": epoch}, sort_keys=True)
    np.savez(packed, about=np.frombuffer(about.encode(), np.uint8), **values)  # type: ignore[arg-type]
    return packed.getvalue()


def restore(model: "keras.Model", of: Mapping[str, Any], content: bytes) -> int:
    """Puts a packed state into a model that was compiled the same way; returns the epochs that it has trained.

    Returns 0 and leaves the model as it is where the content is of another training or damaged: training then begins
    anew, which costs time and nothing else.
    """
    variables = _variables(model)
    try:
        with np.load(BytesIO(content), allow_pickle=False) as packed:
            about = json.loads(packed["about"].tobytes())
            # Through JSON, as the other side went.
            if about["of"] != json.loads(json.dumps(dict(of))):
                return 0
            values = [packed[f"{number:05d}"] for number in range(len(variables))]
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile):
        return 0
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        return 0
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return int(about["epoch"])


def _variables(model: "keras.Model") -> list[Any]:
    # By place, not by name: names count the models that a process has built before.
    return [*model.variables, *model.optimizer.variables]


class Checkpoints:
    """The last checkpoint of every trial that may have to go on, one file each, in the run folder.

    One that cannot be written is lost and no more: its trial would go on from an earlier one, or begin anew.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say

    def write(self, trial: str, content: bytes) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            write_aside(self._path(trial), content)
        except OSError as error:
            self._say(f"the checkpoint of {trial} cannot be written, and it goes on without: {error}")

    def read(self, trial: str) -> bytes:
        """The last that was written; empty where there is none."""
        try:
            return self._path(trial).read_bytes()
        except OSError:
            return b""

    def holds(self, trial: str) -> bool:
        """Whether there is one."""
        return self._path(trial).exists()

    def remove(self, trial: str) -> None:
        self._path(trial).unlink(missing_ok=True)

    def clear(self) -> None:
        """Nothing of the run has to go on any more."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, trial: str) -> Path:
        return self._folder / f"{trial}.npz"
