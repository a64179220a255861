"""The rows of a run that is resumed, as far as its search can go on from them."""

from collections.abc import Mapping

from results.analysis.metrics import ACCURACY
from results.rows import FAILED, Row, Rows, judged_by
from search.settings import Settings
from search.studies.study import Study

LONGEST = 1000  # epochs of a trial whose budget the time decided
LOST = "the row with its configuration is lost or damaged"


def usable(rows: Rows, settings: Settings, studies: Mapping[str, Study]) -> Rows:
    """The rows that this run can have written; `skipped` counts those of others as well.

    A trial whose configuration is not there, or is none of its family's space, has failed: its rows are left out, and
    its name is not given again.
    """
    started = {
        row["trial"]: row["family"]
        for row in rows.records
        if row["event"] == "start" and _begins(row, settings, studies)
    }
    kept: list[Row] = []
    lost: dict[str, Row] = {}
    for row in rows.records:
        if started.get(str(row.get("trial"))) == row["family"] and _goes_on(row, settings, studies):
            kept.append(row)
        elif _named(row, settings) and row["trial"] not in started:
            lost.setdefault(row["trial"], row)
    left_out = len(rows.records) - len(kept)
    end = {"event": "end", "status": FAILED, "reason": LOST}
    kept += [{**end, **{key: row[key] for key in ("time", "trial", "family")}} for row in lost.values()]
    return Rows(tuple(kept), rows.skipped + left_out)


def _judged(row: Row, metric: str) -> bool:
    """Whether an epoch carries what the run is judged by, and nothing else."""
    return judged_by(row) is not None and (metric != ACCURACY) == ("validation_score" in row)


def _named(row: Row, settings: Settings) -> bool:
    """Whether a row is of one of the families, and its trial is called as trials are."""
    family, number = row["family"], str(row.get("trial")).rpartition("-")[2]
    # ASCII alone: other digits are digits to Python as well.
    numbered = number.isascii() and number.isdigit() and len(number) < 10
    return family in settings.families and numbered and row["trial"] == f"{family}-{int(number):03d}"


def _begins(row: Row, settings: Settings, studies: Mapping[str, Study]) -> bool:
    return _named(row, settings) and studies[row["family"]].holds(row.get("point"), row["config"])


def _goes_on(row: Row, settings: Settings, studies: Mapping[str, Study]) -> bool:
    match row["event"]:
        case "start":
            return _begins(row, settings, studies)
        case "epoch":
            return row["epoch"] <= (settings.epochs or LONGEST) and _judged(row, settings.metric)
        case "rung":
            return row.get("value") is not None and isinstance(row.get("promoted"), bool)
        case _:
            return True
