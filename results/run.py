"""A finished run as an object: its numbers as frames, its report, and its model at work."""

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from results.analysis.doubt import NONE
from results.analysis.metrics import ACCURACY, shown
from results.delivery import formats, prediction
from results.pages.document import write_report
from results.rows import MEASURED, Rows, Trial, read_rows

if TYPE_CHECKING:
    import keras
    import pandas as pd

REPORT_HEIGHT = 800  # pixels of a report in a notebook


@dataclass(frozen=True)
class Report:
    """The report of a run, which shows itself in a notebook; as a string it is Markdown."""

    folder: Path

    @property
    def path(self) -> Path:
        """The page, which needs no other file."""
        return self.folder / "report.html"

    def __str__(self) -> str:
        return (self.folder / "report.md").read_text(encoding="utf-8")

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" style="border: 0; width: 100%; height: {REPORT_HEIGHT}px"></iframe>'


@dataclass(frozen=True)
class Run:
    """What a search left in its folder.

    Raises FileNotFoundError for a folder without rows of a run.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser())
        read_rows(self.folder / "trials.jsonl")

    def __repr__(self) -> str:
        return f"pedigree.open({str(self.folder)!r})"

    @cached_property
    def _rows(self) -> Rows:
        return read_rows(self.folder / "trials.jsonl")

    @cached_property
    def results(self) -> dict[str, Any]:
        """All numbers of the report, as `results.json` holds them."""
        path = self.folder / "results.json"
        if not path.is_file():
            write_report(self.folder)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    @property
    def report(self) -> Report:
        """The report, written from the rows if it is not there."""
        if not (self.folder / "report.html").is_file():
            write_report(self.folder)
        return Report(self.folder)

    @property
    def winner(self) -> str | None:
        """The family that won; None where no trial came to an end."""
        found: str | None = self.results["winner"]
        return found

    @property
    def best(self) -> dict[str, Any] | None:
        """The winning configuration: its trial, family, values, and accuracies on validation and test."""
        if self.winner is None:
            return None
        record = self.results["families"][self.winner]
        return {"family": self.winner, **record["best"], "test": record["test"]}

    @property
    def families(self) -> "pd.DataFrame":
        """One row for each family: trials, its best trial, and accuracies with the 95 % interval of the test."""
        import pandas as pd

        return pd.DataFrame(list(self._families())).set_index("family")

    def _families(self) -> Iterator[dict[str, Any]]:
        for family, record in self.results["families"].items():
            best, test = record["best"] or {}, record["test"] or {}
            yield {
                "family": family,
                "trials": record["trials"],
                "trial": best.get("trial"),
                "validation_accuracy": best.get("validation_accuracy"),
                "final_accuracy": (best.get("final") or {}).get("accuracy"),
                "test_accuracy": test.get("accuracy"),
                "test_low": test.get("low"),
                "test_high": test.get("high"),
                **self._judged(record),
            }

    @staticmethod
    def _judged(record: dict[str, Any]) -> dict[str, Any]:
        metric, found = record.get("metric", ACCURACY), (record["test"] or {}).get("metric")
        if metric == ACCURACY:
            return {}
        best = record["best"]
        return {
            f"validation_{metric}": best and shown(metric, best["score"]),
            f"test_{metric}": found and found["value"],
        }

    @property
    def trials(self) -> "pd.DataFrame":
        """One row for each trial, in the order they started, with the columns that Ray Tune gives its own.

        `validation_accuracy` and `validation_loss` are those of the last epoch, `time_total_s` the seconds of all, and
        `config/NAME` the values of the configuration.
        """
        import pandas as pd

        return pd.DataFrame([self._trial(trial) for trial in self._rows.trials.values()])

    def _trial(self, trial: Trial) -> dict[str, Any]:
        last = trial.curve[-1] if trial.curve else {}
        return {
            "trial_id": trial.name,
            "family": trial.family,
            "status": trial.status,
            "training_iteration": len(trial.curve),
            **{name: last.get(name) for name in MEASURED[:4]},
            "best_validation_accuracy": max(
                (row["validation_accuracy"] for row in trial.curve if row["validation_accuracy"] is not None),
                default=None,
            ),
            "time_total_s": sum(row["seconds"] or 0.0 for row in trial.curve),
            "reason": trial.reason,
            **{f"config/{name}": value for name, value in trial.config.items()},
        }

    @property
    def epochs(self) -> "pd.DataFrame":
        """One row for each epoch of each trial; `time_this_iter_s` holds its seconds."""
        import pandas as pd

        return pd.DataFrame(
            {
                "trial_id": trial.name,
                "family": trial.family,
                "training_iteration": row["epoch"],
                **{name: row.get(name) for name in MEASURED[:4]},
                "time_this_iter_s": row.get("seconds"),
            }
            for trial in self._rows.trials.values()
            for row in trial.curve
        )

    def model(self, family: str | None = None) -> "keras.Model":
        """The exported Keras model of a family, the winner's by default.

        It takes uint8 pictures (n, height, width, 3) of any size and gives probabilities (n, classes). Raises
        FileNotFoundError where no model was exported.
        """
        return prediction.load(self.folder, family or prediction.winner(self.folder))

    @property
    def classes(self) -> list[str]:
        """The classes in the order of the model's probabilities."""
        return prediction.class_names(self.folder)

    def predict(
        self, pictures: Any, *, family: str | None = None, top: int = 1, coverage: float | None = None
    ) -> "pd.DataFrame":
        """What a family's model (the winner's by default) says of pictures.

        `pictures` are paths, folders or globs, one or several, or uint8 arrays (height, width, 3). There is a row for
        each picture and each of its `top` likeliest classes, with `picture` (the path, or the place of the array),
        `rank` from 1, `class` and `probability`; of a file that cannot be read there is one, with `error`.

        With a `coverage` from 0.5 to 1 that share of pictures of the known classes is answered. A picture of which the
        model is less sure has one row of the class "none of these classes", with the probability of the likeliest and
        `none` True. Raises ValueError for a model without thresholds.

        Where pictures have several labels, there is a row for each label that reaches its `threshold`, whatever `top`,
        and one of the class "no label" for a picture without any.
        """
        import pandas as pd

        if isinstance(pictures, str | Path):
            pictures = [pictures]
        if len(pictures) and all(isinstance(one, str | Path) for one in pictures):
            told = list(
                prediction.predict(
                    self.folder, [str(one) for one in pictures], family=family, top=top, coverage=coverage
                )
            )
        else:
            told = self._told_of(pictures, family, top, coverage)
        rows = []
        for answer in told:
            if "error" in answer:
                rows.append({"picture": answer["picture"], "error": answer["error"]})
            doubt = {"none": answer["none"]} if "none" in answer else {}
            classes = answer.get("classes", [])
            if answer.get("none"):
                classes = [{**classes[0], "class": NONE}]
            if "error" not in answer and not classes:
                classes = [{"class": prediction.NO_LABEL}]
            for rank, likely in enumerate(classes, 1):
                rows.append({"picture": answer["picture"], "rank": rank, **likely, **doubt})
        return pd.DataFrame(rows)

    def _told_of(
        self, pictures: Sequence[Any], family: str | None, top: int, coverage: float | None
    ) -> list[dict[str, Any]]:
        if isinstance(pictures, np.ndarray) and pictures.ndim == 3:
            pictures = [pictures]
        delivered = prediction.deliver(self.folder, family=family, coverage=coverage)
        told = []
        for place, picture in enumerate(pictures):
            array = np.asarray(picture)
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
                raise ValueError(
                    f"a picture needs a uint8 array (height, width, 3), got {array.dtype} {array.shape} at {place}"
                )
            told.append({"picture": place, **delivered.said(array, top)})
        return told

    def export(self, form: str, *, family: str | None = None, out: str | Path | None = None) -> Path:
        """Writes the model as `saved_model`, `onnx` or `litert`, checks its answers, and returns the path.

        Raises ValueError as `pedigree export` does.
        """
        path, _ = formats.export(self.folder, form, family=family, out=None if out is None else Path(out))
        return path
