"""What is doubtful: sections of the report on saying nothing and on labels that are likely wrong, and a list of these.

The checks of the labels, and of classes that were left out, are read from `doubts/` with the names of the split.
"""

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from results.analysis import doubt, verdict
from results.markup import grid, text, write_aside
from results.pages.mistakes import data_uri
from results.pages.tables import cell, table
from results.records import read_probabilities, read_record

LABELS = "labels_to_check.csv"
COLUMNS = ("path", "given", "suggested", "score")
COVERAGE_HEADS = ("Wished coverage", "Threshold", "Answered on test", "Right of the answers")
NO_PROBE = (
    "No linear probe was fitted in this run, and only probes can leave pictures and classes out at the price of a "
    "solve: how well other classes are told apart is not known, and labels were not checked."
)

SEVERAL = (
    "Where a picture may have several labels, none of them is an answer like any other, and labels are not checked."
)


def summarise(run_dir: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Puts `doubt` into the record of every family that was scored, and returns what `doubts/` says of the run."""
    split = read_record(run_dir / "split.json")
    if split.get("multilabel"):
        for record in summary["families"].values():
            record["doubt"] = None
        return {"family": None, "left_out": None, "labels": None, "why": SEVERAL}
    labels = np.array([label for _, label in split.get("test") or []], dtype=int)
    shape = (len(labels), len(split.get("classes") or []))
    for family, record in summary["families"].items():
        read = {}
        for seed in ((record["test"] or {}).get("predictions") or {}).get("seeds", []):
            found = read_probabilities(run_dir / "predictions" / f"{family}-{seed}.npz", shape)
            if found is not None and len(labels):
                read[seed] = found
        record["doubt"] = doubt.of_family(read, labels, record["model"])
    first = [summary["winner"]] if summary["winner"] else []
    for family in dict.fromkeys([*first, *summary["families"]]):
        checked = read_checks(run_dir, family, split)
        if checked is not None:
            return checked
    return {"family": None, "left_out": None, "labels": None, "why": NO_PROBE}


def read_checks(run_dir: Path, family: str, split: dict[str, Any]) -> dict[str, Any] | None:
    """What a family's probe says of classes left out and of labels; None where nothing was kept.

    Broken entries are passed over, since a report must still be written.
    """
    record = read_record(run_dir / "doubts" / f"{family}.json")
    if not record:
        return None
    classes = split.get("classes") or []
    left, why = record.get("left_out"), str(record.get("why") or "")
    pairs = []
    kept = left.get("pairs") if isinstance(left, dict) else None
    for pair in kept if isinstance(kept, list) else []:
        try:
            named = [classes[_place(label)] for label in pair["classes"]]
            pairs.append({"classes": named, "auroc": _share(pair["auroc"]), "pictures": _place(pair["unknown"])})
        except (KeyError, IndexError, TypeError, ValueError):
            continue
    found: list[dict[str, Any]] | None = None
    labels = record.get("labels")
    if isinstance(labels, dict) and isinstance(labels.get("found"), list):
        found = []
        for entry in labels["found"]:
            try:
                picture = entry.get("picture")
                if picture is not None and Path(picture).name != picture:
                    continue
                found.append(
                    {
                        "path": split[entry["side"]][_place(entry["place"])][0],
                        **{key: classes[_place(entry[key])] for key in ("given", "suggested")},
                        **{key: _share(entry[key]) for key in ("score", "probability")},
                        "picture": picture,
                    }
                )
            except (AttributeError, KeyError, IndexError, TypeError, ValueError):
                continue
    judged, accuracy = (labels.get(key) if isinstance(labels, dict) else None for key in ("judged", "accuracy"))
    return {
        **{"family": family, "own": record.get("own") is True, "config": _config(record.get("config"))},
        "left_out": {
            "pairs": pairs,
            "auroc": float(np.mean([pair["auroc"] for pair in pairs])) if pairs else None,
            "why": str((left if isinstance(left, dict) else {}).get("why") or ""),
        },
        "labels": None
        if found is None
        else {
            "judged": judged if isinstance(judged, int) else len(found),
            "accuracy": accuracy if isinstance(accuracy, float) and 0 <= accuracy <= 1 else None,
            "found": found,
        },
        "why": why,
    }


def _config(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _place(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"needs a place, got {value!r}")
    return value


def _share(value: Any) -> float:
    if not isinstance(value, int | float) or not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"needs a share, got {value!r}")
    return float(value)


def write_labels(run_dir: Path, summary: dict[str, Any]) -> Path | None:
    """Writes labels_to_check.csv, the likeliest wrong label first; None where labels were not checked."""
    labels = summary["doubts"]["labels"]
    if labels is None:
        return None
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        [entry["path"], entry["given"], entry["suggested"], f"{entry['score']:.6f}"] for entry in labels["found"]
    )
    write_aside(run_dir / LABELS, lines.getvalue())
    return run_dir / LABELS


def coverage_cells(found: dict[str, Any]) -> list[list[str]]:
    """What thresholds leave of the test pictures, in the order of `COVERAGE_HEADS`."""
    return [
        [
            verdict.percent(entry["coverage"], 0),
            verdict.percent(entry["threshold"]) if entry["threshold"] else "none",
            f"{verdict.percent(entry['covered'])} ({entry['answered']:,})",
            verdict.percent(entry["accuracy"]),
        ]
        for entry in found["table"]
    ]


def calibrated(family: str, record: dict[str, Any]) -> str:
    """How a family's exported model was calibrated, and what that did on test."""
    found, model = record["doubt"], record["model"]
    name = verdict.title(family)
    if found["temperature"] is None:
        return f"{name}: no pictures were held out for its confidence, so it carries no temperature and no thresholds."
    return (
        f"{name}: temperature {found['temperature']:.2f}, told by {model['told_by']} "
        f"({verdict.plural(model['held_out'] or 0, 'picture')}). Expected calibration error on test: "
        f"{verdict.percent(found['error_before'])} before, {verdict.percent(found['error_after'])} after."
    )


def told_apart(summary: dict[str, Any]) -> str:
    """How well pictures of other classes are told from those of the known ones."""
    found = summary["doubts"]
    left = found["left_out"]
    if left is None:
        return str(found["why"])
    probe = "the winner itself" if found["own"] and found["family"] == summary["winner"] else probe_of(found)
    if left["auroc"] is None:
        return f"How well other classes are told apart is not known: {left['why'] or 'it was not recorded'}."
    lowest, highest = (pick(pair["auroc"] for pair in left["pairs"]) for pick in (min, max))
    pairs = verdict.plural(len(left["pairs"]), "pair")
    return (
        f"Pictures of classes that it has not met: AUROC {left['auroc']:.3f} (1 tells them all apart, 0.5 none), the "
        f"mean over {pairs} of classes left out of the training ({lowest:.3f} to {highest:.3f}). It is that of "
        f"{probe}, by the largest probability, against pictures of the other classes that were held out."
    )


def probe_of(found: dict[str, Any]) -> str:
    """The probe that was used, in words."""
    config = found["config"]
    named = " and ".join(str(config[key]) for key in ("backbone", "beside") if config.get(key) not in (None, "none"))
    which = "the best configuration" if found["own"] else "the best linear probe"
    return f"{which} of {verdict.title(found['family'])} ({named or 'not recorded'})"


def to_check(summary: dict[str, Any]) -> str:
    """How many labels are likely wrong."""
    found = summary["doubts"]["labels"]
    if found is None:
        return str(summary["doubts"]["why"] or "Labels were not checked.")
    count, shown = len(found["found"]), sum(entry["picture"] is not None for entry in found["found"])
    if not count:
        return f"Of {found['judged']:,} training and validation pictures no label is doubted."
    known = (
        "" if found["accuracy"] is None else f", which names {verdict.percent(found['accuracy'])} of them as labelled"
    )
    return (
        f"Of {found['judged']:,} training and validation pictures {verdict.plural(count, 'label')} "
        f"{'is' if count == 1 else 'are'} doubted by {probe_of(summary['doubts'])}, fitted without them{known} "
        f"(confident learning). The {shown} likeliest to be wrong are shown; all stand in {LABELS}, in that order. "
        "The less a model knows, the more right labels it doubts, those of hard pictures above all."
    )


def coverage_section(summary: dict[str, Any], figure: str) -> str:
    """The part of the report on saying nothing; `figure` is the markup of the curve."""
    scored = {family: record for family, record in summary["families"].items() if record.get("doubt")}
    if not scored:
        return ""
    first = summary["winner"] if summary["winner"] in scored else next(iter(scored))
    told = "".join(f'<p class="of">{text(calibrated(family, record))}</p>' for family, record in scored.items())
    found = scored[first]["doubt"]
    listed = (
        grid(
            f"{verdict.title(first)}, the exported model: below the threshold predict --coverage says "
            f'"{doubt.NONE}". Thresholds come from pictures that were held out, never from test.',
            COVERAGE_HEADS,
            coverage_cells(found),
            (1, 2, 3),
        )
        if found["table"]
        else ""
    )
    return (
        f'<div class="pair">{figure}<div class="sheet"><h3>None of these</h3>{listed}{told}'
        f'<p class="of">{text(told_apart(summary))}</p></div></div>'
    )


def labels_section(run_dir: Path, summary: dict[str, Any]) -> str:
    """The part of the report with the likeliest wrong labels."""
    found = summary["doubts"]["labels"]
    shown = ""
    for entry in found["found"] if found else []:
        try:
            picture = data_uri(run_dir / "doubts" / entry["picture"]) if entry["picture"] else None
        except (ValueError, OSError):
            picture = None
        if picture is None:
            continue
        shown += (
            f'<li><img src="{picture}" alt="{text(entry["path"])}, labelled {text(entry["given"])}" '
            f'title="{text(entry["path"])}" width="128" height="128">'
            f"<p>given <b>{text(entry['given'])}</b> ({text(verdict.percent(entry['score']))})<br>"
            f"rather <b>{text(entry['suggested'])}</b> ({text(verdict.percent(entry['probability']))})</p></li>"
        )
    sheet = f'<ul class="labels">{shown}</ul>' if shown else ""
    return f'<div class="sheet"><h3>Labels to check</h3><p>{text(to_check(summary))}</p>{sheet}</div>'


def markdown_lines(summary: dict[str, Any]) -> list[str]:
    """The same for report.md."""
    scored = {family: record for family, record in summary["families"].items() if record.get("doubt")}
    lines = ["", "## None of these", ""] if scored else []
    for family, record in scored.items():
        lines += [f"- {cell(calibrated(family, record))}"]
    lines += [f"- {cell(told_apart(summary))}"] if scored else []
    winner = scored.get(summary["winner"])
    if winner and winner["doubt"]["table"]:
        lines += ["", *table(COVERAGE_HEADS, coverage_cells(winner["doubt"]))]
    return [*lines, "", "## Labels to check", "", cell(to_check(summary))]


def card_lines(record: dict[str, Any]) -> list[str]:
    """What a model card says of a model's confidence; nothing where no pictures were held out."""
    model = record["model"]
    if model is None or not doubt.usable(model):
        return []
    lines = [
        "",
        f"- Its logits are divided by {model['temperature']:.3g}, told by {cell(str(model['told_by']))}, so that its "
        "probabilities can be taken as they are.",
        "- Where the largest probability is below a threshold, it should name none of its classes:",
        "",
        *table(
            ("Coverage of pictures of these classes", "Threshold"),
            [[verdict.percent(coverage, 0), f"{cut:.4f}"] for coverage, cut in model["thresholds"]],
        ),
        "",
    ]
    return lines
