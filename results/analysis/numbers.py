"""Every number of the report, computed from the run folder alone and drawn elsewhere."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.sizes import is_probe
from results.analysis import metrics, per_label
from results.analysis.metrics import ACCURACY, METRICS, SEVERAL
from results.records import SIDES, broken_records, read_probabilities, read_record, truth_of
from results.rows import (
    FAILED,
    FINISHED,
    INFEASIBLE,
    NO_TIME,
    RUNNING,
    SCORED,
    STOPPED,
    Row,
    Rows,
    Trial,
    final_judged_by,
    judged_by,
    read_rows,
    smoothed,
    tied_by,
)
from spaces import family_of

# A fitted line that changes by less than this share of its mean over the whole curve is called flat.
FLAT = 0.05
# Training above validation accuracy by this much is called overfitted, by half as much leaning to it.
OVERFITTED = 0.10
# Below this training accuracy a model without a gap has not learnt its own training pictures.
UNDERFITTED = 0.60
CALIBRATION_BINS = 10
# With fewer trials PED-ANOVA mostly ranks noise.
LEAST_FOR_IMPORTANCE = 10
MOST_FOR_IMPORTANCE = 1000
# A number with at most this many different values is a choice, not a range.
MOST_CHOICES = 6
# With more classes the confusion is told by pairs: a matrix grows with the square of their number.
MOST_CLASSES = 40
MOST_CONFUSED = 60
# Classes are called uneven where the rarest has less than this share of the commonest one's pictures.
UNEVEN = 1 / 3
# And imbalanced where the commonest one has more than so many times the pictures of the rarest.
IMBALANCED = 1.5
# What a configuration says of a user's model that follows from its other values, beside what was chosen.
DERIVED = ("model_parameters", "multiply_adds")
# `pictures` where it was trained on all of them, the test pictures too, after another of its kind was scored.
MODEL = ("path", "seed", "parameters", "bytes", "pictures", "latency_one", "latency_batch", "batch", "device")
# `label_thresholds` of several labels a picture, in the place of the first two.
DOUBT = ("temperature", "thresholds", "held_out", "told_by", "label_thresholds")
SPENT = ("waiting", "building", "training", "validating")

Z95 = 1.959964


def loss_trend(losses: Sequence[float | None]) -> dict[str, Any]:
    """Say whether losses rise or fall over the epochs, by the slope of their least-squares line.

    `losses` are in order of epoch, None where not finite. The slope is in loss per epoch. "flat" means that the line
    changes by less than 5 % of its mean from the first epoch to the last. Both are None with fewer than two losses.
    """
    points = [(epoch, loss) for epoch, loss in enumerate(losses, 1) if loss is not None]
    if len(points) < 2:
        return {"trend": None, "slope": None}
    epochs, values = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    centred = epochs - epochs.mean()
    slope = float((centred * values).sum() / (centred**2).sum())
    change = slope * float(epochs[-1] - epochs[0])
    if abs(change) < FLAT * abs(float(values.mean())) or change == 0:
        trend = "flat"
    else:
        trend = "rising" if slope > 0 else "falling"
    return {"trend": trend, "slope": slope}


def best_epoch(trial: Trial) -> Row | None:
    """The epoch row with the highest score (`results.rows.judged_by`), by default the validation accuracy.

    Ties by the lower validation loss, then the earlier epoch. Accuracy, loss and score are smoothed over the
    neighbouring epochs (`results.rows.smoothed`), in the row as well.
    """
    known = [row for row in trial.curve if row["validation_accuracy"] is not None and judged_by(row) is not None]
    columns = {name: [row[name] for row in known] for name in ("validation_accuracy", "validation_loss")}
    # In every row of a run or in none.
    columns |= {name: [row.get(name) for row in known] for name in SCORED if any(name in row for row in known)}
    even = {name: values if None in values else smoothed(values) for name, values in columns.items()}
    rows = [{**row, **{name: values[place] for name, values in even.items()}} for place, row in enumerate(known)]
    return min(rows, key=_rank, default=None)


def _rank(row: Row) -> tuple[float, float]:
    score, loss = judged_by(row), tied_by(row)
    return (math.inf if score is None else -score, math.inf if loss is None else loss)


def describe(trial: Trial) -> dict[str, Any] | None:
    """What a trial reached at its best epoch; None where no epoch has a validation accuracy."""
    row = best_epoch(trial)
    if row is None:
        return None
    train, validation = row["train_accuracy"], row["validation_accuracy"]
    gap = None if train is None else train - validation
    trend = loss_trend([epoch["validation_loss"] for epoch in trial.curve])
    return {
        "trial": trial.name,
        "config": trial.config,
        "status": trial.status,
        "full_budget": trial.status == FINISHED,
        "timed_out": trial.full and trial.status != FINISHED,
        "epochs": len(trial.curve),
        "epoch": row["epoch"],
        "validation_accuracy": validation,
        "validation_loss": row["validation_loss"],
        # What it is judged by, higher for the better: the accuracy, or what --metric names.
        "score": judged_by(row),
        "score_error": row.get("validation_score_error"),
        "score_loss": tied_by(row),
        "train_accuracy": train,
        "train_loss": row["train_loss"],
        "overfit_gap": gap,
        "loss_trend": trend,
        "fit": fit(train, gap, trend["trend"]),
    }


def fit(train_accuracy: float | None, gap: float | None, trend: str | None) -> str:
    """One word for how a model sits between its training and its validation pictures."""
    if train_accuracy is None or gap is None:
        return "unknown"
    if gap >= OVERFITTED or (gap >= OVERFITTED / 2 and trend == "rising"):
        return "overfitted"
    if gap >= OVERFITTED / 2:
        return "leaning"
    return "underfitted" if train_accuracy < UNDERFITTED else "sound"


# Standard errors by which the best of many trials has to be above a linear probe on the pictures that chose it. With
# one, a head that was 2 points above on 184 pictures was 1 point below logistic regression on others.
BEST_OF_MANY = 2.0


def best_trial(rows: Rows, family: str) -> dict[str, Any] | None:
    """The best configuration of a family, as `describe` gives it.

    Of those that met in a final the best (`clear_best`) over the folds that all who stayed in the race played. `final`
    then holds its figure there. Else, among trials that ran their full budget or until a run's time was up, the highest
    score at the trial's best epoch, ties by the lower validation loss; among linear probes `clear_best`. Either way a
    linear probe gives way only to what is `clearly_above` it.
    Without a final that takes two standard errors (`BEST_OF_MANY`), in a final one.
    Where none did, the trial that ran longest, ties by score, and `full_budget` is False. Failed trials are never
    chosen; None where no other trial has a validation accuracy.
    """
    played = final_of(rows, family)
    if played:
        record = describe(rows.trials[played["trial"]])
        if record is not None:
            return {**record, "final": played}
    finished = _finished(rows, family)
    if finished:
        return describe(finished[0])
    candidates = [
        (trial, row) for trial in rows.of(family) if trial.status != FAILED and (row := best_epoch(trial)) is not None
    ]
    if candidates:
        return describe(min(candidates, key=lambda pair: (-len(pair[0].curve), *_rank(pair[1]), pair[0].name))[0])
    return None


def final_of(rows: Rows, family: str) -> dict[str, Any] | None:
    """The figure of the finalist that won its family's final; None where fewer than two met on one fold.

    `accuracy` and `score` are means over its `folds` of `pictures` together, which did not choose it as a finalist; of
    the `finalists` it is the best there, so that a little optimism is left. `chosen_by` is the score that made it one.
    """
    played = {trial: folds for trial, folds in rows.finals(family).items() if trial in rows.trials}
    most = max((len(folds) for folds in played.values()), default=0)
    common = [trial for trial, folds in played.items() if len(folds) == most]
    if len(played) < 2:
        return None

    def mean(trial: str, key: str) -> float:
        return statistics.fmean(math.inf if row.get(key) is None else row[key] for row in played[trial].values())

    common = sorted(common)
    seen = [sum(int(row.get("pictures") or 0) for row in played[trial].values()) for trial in common]
    told = [(final_score(played[trial].values()), final_loss(played[trial].values())) for trial in common]
    errors = [final_error(played[trial].values()) for trial in common]
    place = clear_best(told, max(1, min(seen)), errors)
    probes = [other for other, trial in enumerate(common) if is_probe(rows.trials[trial].config)]
    if probes and place not in probes:
        probe = probes[clear_best([told[other] for other in probes], max(1, min(seen)))]
        place = place if clearly_above(told[place][0], told[probe][0], min(seen), errors[place]) else probe
    best = common[place]
    row = best_epoch(rows.trials[best])
    return {
        "trial": best,
        "accuracy": mean(best, "accuracy"),
        "score": final_score(played[best].values()),
        "loss": mean(best, "loss"),
        "folds": most,
        "pictures": sum(int(found.get("pictures") or 0) for found in played[best].values()),
        "finalists": len(played),
        "chosen_by": None if row is None else judged_by(row),
    }


def final_score(folds: Iterable[Row]) -> float:
    """What a finalist is judged by: the mean over the folds that it has played."""
    return statistics.fmean(final_judged_by(row) for row in folds)


def final_loss(folds: Iterable[Row]) -> float:
    """The loss by which finalists are told apart whose scores are too near, a mean over folds."""
    losses = [row.get("score_loss", row.get("loss")) for row in folds]
    return statistics.fmean(math.inf if loss is None else loss for loss in losses)


def final_error(folds: Iterable[Row]) -> float | None:
    """The standard error of a finalist's score over its folds; None where that is its accuracy."""
    errors = [row.get("score_error") for row in folds]
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / len(errors) if known and len(known) == len(errors) else None


def contenders(rows: Rows, family: str, most: int, pictures: int) -> list[dict[str, Any]]:
    """The best trials of a family that ran their full budget, at most so many: those not clearly behind the first.

    Clearly is two standard errors: those of the first one's score, or of a share seen on so many validation `pictures`.
    """
    found = full_trials(rows, family)
    if not found:
        return []
    # Cross-validation has chosen among the probes already, on more pictures than a final has.
    probes = [record for record in found if is_probe(record["config"])]
    found = [record for record in found if record not in probes[1:]]
    # The best probe is always met, however many trained heads stand before it by luck.
    rest = sorted(found[1:], key=lambda record: record not in probes)
    found = [record for record in found if record in [found[0], *rest[: most - 1]]]
    best, error = found[0]["score"], found[0]["score_error"]
    margin = 2 * (share_error(best, pictures) if error is None else error)
    return [record for record in found if record["score"] >= best - margin]


def full_trials(rows: Rows, family: str) -> list[dict[str, Any]]:
    """The trials of a family that came as far as they could, as `describe` gives them, the best first."""
    return [record for trial in _finished(rows, family) if (record := describe(trial)) is not None]


def _finished(rows: Rows, family: str) -> list[Trial]:
    judged = [(trial, row) for trial in rows.of(family) if trial.full and (row := best_epoch(trial)) is not None]
    ranked = sorted(judged, key=lambda pair: (*_rank(pair[1]), pair[0].name))
    # Linear probes are judged on the same pictures by cross-validation, and their probabilities are calibrated.
    probes = [pair for pair in ranked if is_probe(pair[0].config)]
    if probes:
        held = min(int(row.get("held_out") or 1) for _, row in probes)
        told = [(-_rank(row)[0], tied_by(row)) for _, row in probes]
        errors = [row.get("validation_score_error") for _, row in probes]
        near = near_best(told, held, errors)
        # A penalty that is too weak for its cross-entropy costs no accuracy: it does not tell probes apart.
        most = max(_rather(probes[place][0].config) for place in near)
        near = [place for place in near if _rather(probes[place][0].config) == most]
        chosen = probes[near[clear_best([told[place] for place in near], held, [errors[place] for place in near])]]
        place = ranked.index(probes[0])
        ranked.remove(chosen)
        # The others were seen on the validation side alone, about one fold of five, and the best epoch of each is told.
        score, first = -_rank(chosen[1])[0], ranked[0] if ranked else None
        error = None if first is None else first[1].get("validation_score_error")
        seen = max(1, round(held / 5))
        if first is not None and not clearly_above(-_rank(first[1])[0], score, seen, error, errors=BEST_OF_MANY):
            place = 0
        ranked.insert(place, chosen)
    return [trial for trial, _ in ranked]


def _rather(config: Mapping[str, Any]) -> tuple[float, float, bool, float]:
    """What speaks for a linear probe: widths of its trunks, side of its pictures, mirror images, how little it weighs.

    Of probes that accuracy cannot tell apart the one that learns from most is chosen. Two trunks side by side with
    mirror images were 0.8 points better than logistic regression on one over 10 divisions of photographs, whichever
    cross-validation put first, and one trunk was 0.2 points worse. Of these it is the one that weighs rare classes
    least: chosen by the score alone, weighing lost 0.8 points of macro-F1 on five cuts of photographs.
    """
    widths = [float(config.get("alpha") or 1.0)]
    beside = str(config.get("beside") or "none")
    if beside != "none":
        widths.append(float(beside.partition("-")[2] or 1.0))
    side, power = float(config.get("image_size") or 0.0), float(config.get("class_weight_power") or 0.0)
    return sum(widths), side, bool(config.get("mirrored")), -power


def clearly_above(
    score: float, probe: float, pictures: int, error: float | None = None, *, errors: float = 1.0
) -> bool:
    """Whether a score on so many pictures is above that of a linear probe by more than so many standard errors.

    Those of the difference, told by the `error` of the score or else by that of an accuracy. What was trained by epochs
    is chosen over the probe for that alone: the best of many draws is above it by luck, and on pictures that chose
    neither it was 1.4 points below what seconds of logistic regression gave.
    """
    return score > probe + errors * _difference_error(score, max(1, pictures), error)


def _difference_error(score: float, pictures: int, error: float | None) -> float:
    """The standard error of the difference of two scores, of which one is known: with its `error`, or an accuracy."""
    return math.sqrt(2) * (share_error(score, pictures) if error is None else error)


def share_error(share: float, pictures: int) -> float:
    """The standard error of a share seen on so many pictures, at least that of half a picture."""
    return math.sqrt(max(share * (1 - share), 0.25 / pictures) / pictures)


def near_best(
    told: Sequence[tuple[float, float | None]], pictures: int, errors: Sequence[float | None] | None = None
) -> list[int]:
    """The places of those whose score is within a standard error of a difference of the highest (`clear_best`)."""
    first = max(range(len(told)), key=lambda place: told[place][0])
    highest = told[first][0]
    margin = _difference_error(highest, pictures, errors[first] if errors else None)
    return [place for place, (score, _) in enumerate(told) if score >= highest - margin]


def clear_best(
    told: Sequence[tuple[float, float | None]], pictures: int, errors: Sequence[float | None] | None = None
) -> int:
    """The place of the best of some (score, cross-entropy) on so many pictures.

    Scores within a standard error of a difference of the highest cannot be told from it; of those the lowest
    cross-entropy is the best, which is told by all pictures and not by those few that two models name differently.
    `errors` are the standard errors of the scores; one that is not known is that of an accuracy.
    """
    near = near_best(told, pictures, errors)
    return min(near, key=lambda place: (math.inf if told[place][1] is None else told[place][1], -told[place][0]))


def baseline_name(family: str) -> str:
    """The name of the trial that carries the study's own configuration."""
    return f"{family}-000"


def objective_of(settings: dict[str, Any]) -> list[str]:
    """What the search was after; runs from before there was a choice were after accuracy."""
    wanted = settings.get("objective")
    return [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) else ["accuracy"]


def limits_of(settings: dict[str, Any]) -> dict[str, float]:
    """What a model was allowed to cost: `max_latency` in seconds for one picture and `max_parameters`, where set."""
    return {name: settings[name] for name in ("max_latency", "max_parameters") if is_number(settings.get(name))}


def metric_of(settings: dict[str, Any]) -> str:
    """The metric that a run was judged by; runs from before there was a choice were judged by accuracy."""
    wanted = settings.get("metric")
    return wanted if isinstance(wanted, str) and wanted in METRICS else ACCURACY


def winner_rule(limits: dict[str, float], metric: str = ACCURACY) -> str:
    """How the winner is chosen, in words."""
    kept = " that keeps to " + " and ".join(f"--{name.replace('_', '-')}" for name in limits) if limits else ""
    best = "lowest" if METRICS[metric].minimised else "highest"
    return (
        f"{best} validation {METRICS[metric].title} of a family's best configuration{kept}, that of its final where it "
        "had one; the test set does not choose"
    )


def figure(best: dict[str, Any]) -> float:
    """The score by which a best configuration is compared: of its family's final where there was one."""
    return float((best.get("final") or best)["score"])


def choose_winner(best: dict[str, dict[str, Any] | None]) -> str | None:
    """The family whose best configuration has the highest score; ties by the lower loss, then by name.

    Of a family that had a final the score there counts.

    The test set does not choose: it is read once, for the figure that is reported.
    """
    known = [(family, record) for family, record in best.items() if record is not None]

    def rank(pair: tuple[str, dict[str, Any]]) -> tuple[float, float, str]:
        loss = pair[1]["score_loss"]
        return -figure(pair[1]), math.inf if loss is None else loss, pair[0]

    return min(known, key=rank, default=(None, None))[0]


def t95(freedom: float) -> float:
    """Half of the width of a 95 % interval by Student's t with so many degrees of freedom, in standard errors."""
    from scipy.special import stdtrit  # takes a tenth of a second to be imported

    return float(stdtrit(freedom, 0.975))


def wilson(accuracy: float, pictures: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share seen on so many pictures (Wilson 1927)."""
    share = Z95**2 / pictures
    centre = (accuracy + share / 2) / (1 + share)
    half = Z95 / (1 + share) * math.sqrt(accuracy * (1 - accuracy) / pictures + share / (4 * pictures))
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_interval(accuracies: Sequence[float], pictures: int) -> tuple[float, float, str]:
    """A 95 % interval for the mean test accuracy over seeds, and a sentence that states the method.

    Two sources of error are joined by square-and-add (MOVER: Newcombe 1998, Zou and Donner 2008): which pictures fell
    into the test set (Wilson's interval at the mean accuracy) and which seed trained the model (Student's t over the
    seeds). Wilson's interval is that of a single model, and averaging over seeds only makes it narrower: the result
    errs on the wide side.
    """
    mean = statistics.fmean(accuracies)
    low, high = wilson(mean, pictures)
    seeds = len(accuracies)
    if seeds == 1:
        return (
            low,
            high,
            f"95 % Wilson score interval on {pictures} test pictures; one seed, so its spread is not covered",
        )
    half = t95(seeds - 1) * statistics.stdev(accuracies) / math.sqrt(seeds)
    method = (
        f"95 % interval: Wilson score on {pictures} test pictures and Student's t over {seeds} seeds, "
        "joined by square-and-add (MOVER); assumes that test pictures are independent and seeds exchangeable"
    )
    return max(0.0, mean - math.hypot(mean - low, half)), min(1.0, mean + math.hypot(high - mean, half)), method


def summarise_test(rows: Rows, family: str, pictures: int) -> dict[str, Any] | None:
    """Mean test accuracy of a family's retrained best over its seeds, with its interval; None without test rows."""
    tests = rows.tests(family)
    if not tests:
        return None
    accuracies = [float(row["accuracy"]) for row in tests]
    count = min((row["pictures"] for row in tests if isinstance(row.get("pictures"), int)), default=pictures)
    summary: dict[str, Any] = {"scored": rows.scored(family), "accuracy": statistics.fmean(accuracies)}
    if count > 0:
        summary["low"], summary["high"], summary["method"] = accuracy_interval(accuracies, count)
    else:
        summary |= {"low": None, "high": None, "method": "no interval: the number of test pictures is not known"}
    summary["pictures"] = count
    summary["epochs"] = tests[0].get("epochs")
    summary["own"] = tests[0].get("own") is True
    summary["seeds"] = [
        {key: row.get(key) for key in ("seed", "accuracy", "loss", "train_accuracy", "seconds")} for row in tests
    ]
    return summary


def summarise(run_dir: Path) -> dict[str, Any]:
    """The content of `results.json`: every figure that the report states, from the run folder alone.

    Raises FileNotFoundError where the folder holds no `trials.jsonl`.
    """
    rows = read_rows(run_dir / "trials.jsonl")
    settings, environment, split = (
        read_record(run_dir / f"{name}.json") for name in ("settings", "environment", "split")
    )
    sizes = {part: _count(split, part) for part in ("train", "validation", "test")}
    wanted = settings.get("families")
    names = [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) else []
    names += [family for family in rows.families if family not in names]
    most = settings.get("ensemble")
    members = most if isinstance(most, int) else None
    counts = class_counts(split)
    several = split.get("multilabel") is True
    usual = {} if several else commonest(counts)
    metric = metric_of(settings)
    if several and metric not in SEVERAL:
        metric = SEVERAL[0]  # of a run whose settings are lost
    families = {family: _family(run_dir, rows, family, split, sizes["test"], members, metric) for family in names}
    space = read_record(run_dir / "space.json")
    for family, record in families.items():
        record |= _narrowed(space.get(family, {}), rows.of(family))
    for record in families.values():
        _beside_commonest(record, usual)
    classes = split.get("classes") or []
    return {
        "name": run_dir.resolve().name,
        "seconds": rows.seconds,
        "data": {
            "title": split.get("title"),
            "source": split.get("data"),
            "digest": split.get("digest"),
            "seed": split.get("seed"),
            "classes": classes,
            "images": sum(sizes.values()),
            "split": sizes,
            "counts": counts,
            "commonest": usual,
            "left_out": split.get("left_out") or [],
            "duplicates": split.get("duplicates") or [],
            "likeness": split.get("likeness") or {},
            "notes": split.get("notes") or [],
            "levels": split.get("levels") or {},
            **({"multilabel": True, "cardinality": per_label.cardinality(split)} if several else {}),
        },
        "families": families,
        "winner": choose_winner({family: record["best"] for family, record in families.items()}),
        "winner_rule": winner_rule(limits_of(settings), metric),
        "metric": metric,
        # Of runs from before there was a choice nothing was weighted.
        "weighted": not several
        and settings.get("class_weights") == "auto"
        and imbalanced([entry["train"] for entry in counts]),
        "objective": objective_of(settings),
        "limits": limits_of(settings),
        "skipped_rows": rows.skipped,
        "warm_start": _sources(read_record(run_dir / "warm_start.json")),
        "broken": [*broken_records(run_dir), *_broken_predictions(run_dir, families)],
        "overlap": overlap(split, settings, families),
        "settings": settings,
        "environment": environment,
    }


def _sources(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs that a warm start learnt from: what each gave, and how many pictures of the test it had chosen by."""
    found = record.get("sources")
    return [
        {"name": str(source.get("name")), **{key: _whole(source.get(key)) for key in ("observed", "test_seen")}}
        for source in (found if isinstance(found, list) else [])
        if isinstance(source, dict)
    ]


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _family(
    run_dir: Path, rows: Rows, family: str, split: dict[str, Any], pictures: int, most: int | None, metric: str
) -> dict[str, Any]:
    trials = rows.of(family)
    best = best_trial(rows, family)
    base = rows.trials.get(baseline_name(family))
    test = summarise_test(rows, family, pictures)
    if test is not None:
        # While a run that was extended has a better configuration, which was not scored yet, the two have no gap.
        same = best is not None and test["scored"][-1] in (best["trial"], None)
        chosen = None if best is None else (best.get("final") or {"accuracy": best["validation_accuracy"]})["accuracy"]
        test["gap"] = chosen - test["accuracy"] if best and same else None
        seeds = [seed["seed"] for seed in test["seeds"]]
        several = split.get("multilabel") is True
        test["predictions"] = None if several else judge_predictions(run_dir, family, split, seeds)
        # Beside accuracy what the run was judged by, with its usual sign; of accuracy that is all said.
        if several:
            test["gap"] = None  # one half is the threshold on validation, and a fitted one on test
            test["metric"], test["labels"] = per_label.judge(run_dir, family, split, rows.tests(family), metric)
        else:
            test["metric"] = None if metric == ACCURACY else judge_test(run_dir, family, split, seeds, metric)
    model = rows.model(family)
    refused = rows.ended(family, INFEASIBLE)
    return {
        "metric": metric,
        # What breaks a limit was not tried.
        "trials": len(trials) - len(refused),
        **{status: len(rows.ended(family, status)) for status in (FINISHED, STOPPED, FAILED, RUNNING)},
        "infeasible": len(refused),
        # Of them those for which there was no time; the others break a limit.
        "too_long": sum(trial.reason.startswith(NO_TIME) for trial in refused),
        "epochs": sum(len(trial.curve) for trial in trials),
        "baseline": None if base is None else describe(base),
        "baseline_refused": base.reason if base is not None and base.status == INFEASIBLE else None,
        "best": best,
        "test": test,
        "model": None if model is None else {key: model.get(key) for key in (*MODEL, *DOUBT)},
        "loss_trends": dict(Counter(str(trend["trend"]) for trend in map(_trend, trials) if trend["trend"])),
        "failures": dict(Counter(trial.reason or "no reason given" for trial in rows.ended(family, FAILED))),
        "spent": spent(trials),
        "rungs": rung_table(trials),
        "ensemble": ensemble(run_dir, rows, family, split, most),
    }


def _narrowed(said: dict[str, Any], trials: Sequence[Trial]) -> dict[str, Any]:
    """What `--set` left of a family's space, where its base differs from the study's, and what mattered of the rest."""
    narrowed, moved = said.get("narrowed", []), said.get("base", [])
    # A value of its configurations may still vary: sgd trains with ten times the learning rate that was fixed.
    fixed = [entry["name"] for entry in narrowed if entry.get("fixed") is True]
    return {
        "narrowed": narrowed,
        "base_moved": moved,
        "importance": importance(trials, fixed),
        "effects": effects(trials, fixed),
    }


def _trend(trial: Trial) -> dict[str, Any]:
    return loss_trend([row["validation_loss"] for row in trial.curve])


def _broken_predictions(run_dir: Path, families: dict[str, dict[str, Any]]) -> list[str]:
    said = []
    for family, record in families.items():
        test = record["test"] or {}
        judged = (test.get("labels") or test.get("predictions") or {}).get("seeds", [])
        for row in (record["test"] or {}).get("seeds", []):
            name = f"predictions/{family}-{row['seed']}.npz"
            if row["seed"] not in judged and (run_dir / name).exists():
                said.append(f"`{name}` is broken or of another split, and not used.")
    return said


def _count(split: dict[str, Any], part: str) -> int:
    size = (split.get("sizes") or {}).get(part)
    return size if isinstance(size, int) else len(split.get(part) or [])


def class_counts(split: dict[str, Any]) -> list[dict[str, Any]]:
    """Pictures of each class, or with each label, in each part of the split, in the order of the classes."""
    parts = SIDES
    counted = {
        part: Counter(
            one for _, label in split.get(part) or [] for one in (label if isinstance(label, list) else [label])
        )
        for part in parts
    }
    return [
        {"class": name, **{part: counted[part][label] for part in parts}}
        for label, name in enumerate(split.get("classes") or [])
    ]


def commonest(counts: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By side, and over `all` of them, the class with the most pictures and its share: what always naming it scores.

    `class` is None where several have as many. A side without pictures is left out.
    """
    found = {}
    for side, parts in {**{side: (side,) for side in SIDES}, "all": SIDES}.items():
        pictures = [sum(record[part] for part in parts) for record in counts]
        most = max(pictures, default=0)
        if most:
            alone = pictures.count(most) == 1
            found[side] = {
                "class": counts[pictures.index(most)]["class"] if alone else None,
                **{"share": most / sum(pictures), "pictures": sum(pictures)},
            }
    return found


def uneven(pictures: Sequence[int]) -> bool:
    """Whether the rarest class has less than a third of the commonest one's pictures."""
    return bool(pictures) and min(pictures) < UNEVEN * max(pictures)


def imbalanced(pictures: Sequence[int]) -> bool:
    """Whether the commonest class has more than one and a half times the pictures of the rarest.

    Of the training pictures this decides whether rare classes may count more (`--class-weights auto`).
    """
    return bool(pictures) and max(pictures) > IMBALANCED * min(pictures)


def _beside_commonest(record: dict[str, Any], usual: dict[str, dict[str, Any]]) -> None:
    """Puts the share of the commonest class beside a family's accuracies, and whether its model is shown to beat it.

    It is where the 95 % interval, of the test or else of the validation pictures, lies above that share.
    """
    shares = {side: usual[side]["share"] if side in usual else None for side in ("validation", "test")}
    record["commonest"] = shares
    test, best = record["test"], record["best"]
    low: float | None = None
    side = "test" if test is not None else "validation"
    if test is not None:
        test["commonest"] = shares["test"]
        low = test["low"]
    elif best is not None and side in usual:
        low, _ = wilson(best["validation_accuracy"], usual[side]["pictures"])
    share = shares[side]
    record["above_commonest"] = None if low is None or share is None else low > share
    if record["ensemble"] is not None:
        record["ensemble"]["commonest"] = shares["test"]


def overlap(split: dict[str, Any], settings: dict[str, Any], families: dict[str, Any]) -> bool:
    """Whether ImageNet weights were scored on Stanford Dogs, whose pictures are part of ImageNet's training set.

    The data is known by its title or by three class folders or more that carry a WordNet number, as ImageNet's own do.
    """
    if not any(family_of(family).transfers for family in families) or settings.get("weights") in ("none", "demo"):
        return False
    title = f"{split.get('title') or ''} {split.get('data') or ''}".lower().replace("-", " ").replace("_", " ")
    folders = {
        str(name).split("/")[-2] for part in ("train", "test") for name, _ in split.get(part) or [] if "/" in name
    }
    numbered = [folder for folder in folders if folder[:1] == "n" and folder[1:9].isdigit() and len(folder[:9]) == 9]
    return "stanford dogs" in title or len(numbered) >= 3


def spent(trials: Iterable[Trial]) -> dict[str, float]:
    """Seconds of trials by what they went into; what an epoch row does not explain is `other`."""
    totals = dict.fromkeys((*SPENT, "other"), 0.0)
    for trial in trials:
        for row in trial.curve:
            parts = {part: row[part] or 0.0 for part in SPENT}
            for part, seconds in parts.items():
                totals[part] += seconds
            totals["other"] += max(0.0, (row["seconds"] or 0.0) - sum(parts.values()))
    return totals


def rung_table(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """For each rung, how many trials were compared there, how many went on, and the lowest value that did."""
    decided: dict[int, list[Row]] = {}
    for trial in trials:
        for row in trial.rungs:
            decided.setdefault(row["epoch"], []).append(row)
    table = []
    for epoch in sorted(decided):
        promoted = [row for row in decided[epoch] if row.get("promoted")]
        values = [row["value"] for row in promoted if isinstance(row.get("value"), int | float)]
        table.append(
            {"epoch": epoch, "in": len(decided[epoch]), "out": len(promoted), "lowest": min(values, default=None)}
        )
    return table


def observations(trials: Iterable[Trial]) -> list[tuple[dict[str, Any], float]]:
    """Configuration and best score of every trial that has one and did not fail.

    What follows from the rest of a configuration is left out: it was not chosen.
    """
    return [
        ({key: value for key, value in trial.config.items() if key not in DERIVED}, -_rank(row)[0])
        for trial in trials
        if trial.status != FAILED and trial.config and (row := best_epoch(trial)) is not None
    ]


def is_number(value: Any) -> bool:
    """Whether a configured value is a number; a bool is a choice."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def varied(configs: Sequence[dict[str, Any]], fixed: Sequence[str] = ()) -> dict[str, list[Any] | None]:
    """The parameters that took more than one value: their choices, or None for a range of numbers.

    Those that were `fixed` are left out.
    """
    found: dict[str, list[Any] | None] = {}
    for key in sorted({key for config in configs for key in config} - set(fixed)):
        values = [_plain(config[key]) for config in configs if key in config]
        distinct = list(dict.fromkeys(values))
        if len(distinct) < 2:
            continue
        numeric = all(is_number(value) for value in distinct)
        if numeric and len(distinct) > MOST_CHOICES:
            found[key] = None
        else:
            found[key] = sorted(distinct) if numeric else sorted(distinct, key=str)
    return found


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | bool | int | float) else json.dumps(value, sort_keys=True)


def importance(trials: Sequence[Trial], fixed: Sequence[str] = ()) -> dict[str, float] | None:
    """The share of each parameter in what separates a family's best trials from the rest, largest first.

    PED-ANOVA (Watanabe et al. 2023) over the last 1,000 trials; the space is inferred from the values that were tried,
    and the best are the first quarter, or eight trials where that is more, but at most half. None with fewer than 10
    trials, without a varied parameter, or where all trials did equally well.
    """
    seen = observations(trials)[-MOST_FOR_IMPORTANCE:]
    choices = varied([config for config, _ in seen], fixed)
    if len(seen) < LEAST_FOR_IMPORTANCE or not choices or len({value for _, value in seen}) < 2:
        return None
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    space: dict[str, BaseDistribution] = {}
    for key, options in choices.items():
        if options is not None:
            space[key] = CategoricalDistribution(options)
        else:
            values = [float(config[key]) for config, _ in seen if key in config]
            space[key] = FloatDistribution(min(values), max(values), log=_log_spread(values))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={key: _plain(config[key]) for key in space if key in config},
                    distributions={key: kind for key, kind in space.items() if key in config},
                    value=value,
                )
                for config, value in seen
            ]
        )
        # The paper takes the best tenth. Of the few trials of a search that is a handful, in which ranges of numbers
        # look important by chance: of 40 trials where one choice decided all, a quarter told so, a tenth at times not.
        quantile = min(0.5, max(0.25, 8 / len(seen)))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(space))
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {key: float(share) for key, share in shares.items()}


def _log_spread(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 20


def effects(trials: Sequence[Trial], fixed: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Mean best score at each level of each varied parameter, with a 95 % interval of the mean.

    A range of numbers is cut into three levels with as many trials each. These are means over whatever else the search
    tried at that level, not controlled comparisons. A level with one trial has no interval.
    """
    seen = observations(trials)
    found: dict[str, list[dict[str, Any]]] = {}
    for key, options in varied([config for config, _ in seen], fixed).items():
        pairs = [(_plain(config[key]), value) for config, value in seen if key in config]
        if options is not None:
            levels = [(option, [value for chosen, value in pairs if chosen == option]) for option in options]
        else:
            pairs.sort(key=lambda pair: pair[0])
            thirds = [pairs[len(pairs) * third // 3 : len(pairs) * (third + 1) // 3] for third in range(3)]
            levels = [
                (f"{third[0][0]:.2g} to {third[-1][0]:.2g}", [value for _, value in third]) for third in thirds if third
            ]
        found[key] = [{"level": level, **mean_interval(values)} for level, values in levels]
    return found


def mean_interval(values: Sequence[float]) -> dict[str, Any]:
    """The mean of some values and its 95 % interval by Student's t; no interval for a single value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"trials": len(values), "mean": mean, "low": None, "high": None}
    half = t95(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {"trials": len(values), "mean": mean, "low": mean - half, "high": mean + half}


def judge_predictions(run_dir: Path, family: str, split: dict[str, Any], seeds: Sequence[int]) -> dict[str, Any] | None:
    """Accuracy per class, confusion and calibration on the test pictures, from the probabilities of all seeds.

    `balanced_accuracy` is the mean of the accuracies of the classes. `confusion[i][j]` counts pictures of class i
    called j, summed over seeds; with more than 40 classes it is None, and `confused` tells the pairs. None where no
    usable file was saved.
    """
    classes = split.get("classes") or []
    labels = np.array([label for _, label in split.get("test") or []], dtype=int)
    read: dict[int, Any] = {}
    for seed in seeds:
        path = run_dir / "predictions" / f"{family}-{seed}.npz"
        probabilities = read_probabilities(path, (len(labels), len(classes)))
        if probabilities is not None and len(labels):
            read[seed] = probabilities
    if not read:
        return None
    stacked = np.concatenate(list(read.values()))
    truth = np.tile(labels, len(read))
    predicted = stacked.argmax(axis=1)
    counts = tally(predicted, truth)
    records = per_class(counts, classes, len(read))
    return {
        "seeds": list(read),
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": balanced(records),
        "confusion": confusion(predicted, truth, len(classes)) if len(classes) <= MOST_CLASSES else None,
        "confused": confused(counts, classes),
        "classes": records,
        "calibration": calibration(stacked, truth),
    }


def judge_test(
    run_dir: Path, family: str, split: dict[str, Any], seeds: Sequence[int], metric: str
) -> dict[str, Any] | None:
    """The mean of a metric over the seeds on test, with its interval, from the stored probabilities.

    None where those of a seed were not saved, or are of another split.
    """
    labels = np.array([label for _, label in split.get("test") or []], dtype=int)
    shape = (len(labels), len(split.get("classes") or []))
    read = [read_probabilities(run_dir / "predictions" / f"{family}-{seed}.npz", shape) for seed in seeds]
    runs = [one for one in read if one is not None]
    if not runs or len(runs) < len(read) or not len(labels):
        return None
    value, low, high = metrics.interval(metric, runs, labels)
    luck = f" and {len(runs)} seeds" if len(runs) > 1 else ", one seed"
    method = f"95 % interval: percentiles of a bootstrap over {len(labels)} test pictures{luck}"
    return {"name": metric, "value": value, "low": low, "high": high, "method": method}


def ensemble(
    run_dir: Path, rows: Rows, family: str, split: dict[str, Any], most: int | None = None
) -> dict[str, Any] | None:
    """What averaging the best model's probabilities with those of the next best configurations gives on test.

    Of a run that was extended, members count that are still among the `most` that come next.

    `single` is the accuracy of the family's first seed, which is one of the averaged models. None where no member was
    retrained or its predictions are not there.
    """
    following = [record["trial"] for record in full_trials(rows, family)[1:]]
    members = [member for member in rows.members(family) if most is None or member["trial"] in following[:most]]
    tests = rows.tests(family)
    labels = truth_of(split, "test")
    if not members or not tests or not len(labels) or labels.ndim == 2:
        return None
    names = [f"{family}-{tests[0]['seed']}", *(f"{member['trial']}-member" for member in members)]
    shape = (len(labels), len(split.get("classes") or []))
    read = [read_probabilities(run_dir / "predictions" / f"{name}.npz", shape) for name in names]
    arrays = [array for array in read if array is not None]
    if len(arrays) < len(names):
        return None
    accuracy = float((np.mean(arrays, axis=0).argmax(axis=1) == labels).mean())
    low, high = wilson(accuracy, len(labels))
    return {
        "trials": [member["trial"] for member in members],
        "accuracies": [float(member["accuracy"]) for member in members],
        "single": float((arrays[0].argmax(axis=1) == labels).mean()),
        **{"accuracy": accuracy, "low": low, "high": high, "pictures": len(labels)},
    }


def confusion(predicted: Any, truth: Any, classes: int) -> list[list[int]]:
    """Counts of pictures by true class (rows) and predicted class (columns)."""
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (truth, predicted), 1)
    return [[int(count) for count in row] for row in counts]


def tally(predicted: Any, truth: Any) -> dict[tuple[int, int], int]:
    """Counts of pictures by true and predicted class, of those pairs that there are."""
    return dict(Counter(zip(truth.tolist(), predicted.tolist(), strict=True)))


def per_class(counts: dict[tuple[int, int], int], classes: Sequence[str], seeds: int = 1) -> list[dict[str, Any]]:
    """Accuracy of each class (its recall), with the class that it is most often taken for, from a `tally`."""
    totals = [0] * len(classes)
    others: dict[int, tuple[int, int]] = {}
    for (true, said), count in counts.items():
        totals[true] += count
        if said != true:
            others[true] = min(others.get(true, (0, 0)), (-count, said))
    return [
        {
            "class": name,
            "pictures": totals[label] // seeds,
            "accuracy": counts.get((label, label), 0) / totals[label] if totals[label] else None,
            "taken_for": classes[others[label][1]] if label in others else None,
        }
        for label, name in enumerate(classes)
    ]


def balanced(records: Sequence[dict[str, Any]]) -> float | None:
    """The mean of the accuracies of the classes that have pictures: no class counts more than another."""
    known = [record["accuracy"] for record in records if record["accuracy"] is not None]
    return statistics.fmean(known) if known else None


def confused(counts: dict[tuple[int, int], int], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The 60 pairs of classes most often taken for each other: `there` counts the first taken for the second.

    `share` is that of both classes' pictures; counts are sums over seeds.
    """
    totals: Counter[int] = Counter()
    wrong: Counter[tuple[int, int]] = Counter()
    for (true, said), count in counts.items():
        totals[true] += count
        if true != said:
            wrong[min(true, said), max(true, said)] += count
    most = sorted(wrong.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_CONFUSED]
    return [
        {
            "classes": [classes[one], classes[other]],
            **{"there": counts.get((one, other), 0), "back": counts.get((other, one), 0)},
            "share": count / (totals[one] + totals[other]),
        }
        for (one, other), count in most
    ]


def calibration(probabilities: Any, truth: Any) -> dict[str, Any]:
    """Expected calibration error over ten equal bins of the top probability (Naeini et al. 2015), and the bins."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    which = np.clip((confidence * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    bins = []
    error = 0.0
    for index in range(CALIBRATION_BINS):
        inside = which == index
        if not inside.any():
            continue
        sure, share = float(confidence[inside].mean()), float(right[inside].mean())
        error += float(inside.mean()) * abs(sure - share)
        low, high = index / CALIBRATION_BINS, (index + 1) / CALIBRATION_BINS
        bins.append({"low": low, "high": high, "pictures": int(inside.sum()), "confidence": sure, "accuracy": share})
    return {"expected_error": error, "bins": bins}


def best_so_far(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Each improvement of the best score, with the seconds and the epochs that the family had spent.

    `validation_accuracy` is that of the same epoch.
    """
    told = sorted(
        (
            (row["time"], judged_by(row), row["validation_accuracy"], trial.name)
            for trial in trials
            for row in trial.curve
        ),
        key=lambda point: point[0],
    )
    steps: list[dict[str, Any]] = []
    best = -math.inf
    for epochs, (seconds, score, accuracy, name) in enumerate(told, 1):
        if score is not None and score > best:
            best = score
            step = {"time": seconds, "epochs": epochs, "score": score, "validation_accuracy": accuracy, "trial": name}
            steps.append(step)
    return steps


def timeline(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Start and last second of each trial, with the lowest lane that was free; as many lanes as ran at once.

    Lanes are told from the times alone: rows do not name the worker. What was never trained has no bar.
    """
    free: list[float] = []
    spans = []
    for trial in sorted(trials, key=lambda trial: trial.started):
        if trial.status == INFEASIBLE:
            continue
        end = trial.last
        lane = next((index for index, until in enumerate(free) if until <= trial.started), len(free))
        free[lane : lane + 1] = [end]
        spans.append({"trial": trial, "start": trial.started, "end": end, "lane": lane})
    return spans


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Trials by their best epoch, best first; those without a validation accuracy come last."""
    judged = [(best_epoch(trial), trial) for trial in trials]
    return [trial for row, trial in sorted(judged, key=lambda pair: (2.0, 0.0) if pair[0] is None else _rank(pair[0]))]


def sample(trials: Sequence[Trial], most: int, always: Iterable[str | None] = ()) -> list[Trial]:
    """All trials where they are few, else about `most`, evenly over the ranking, and those named in `always`."""
    if len(trials) <= most:
        return list(trials)
    order = ranked(trials)
    kept = {order[index * len(order) // most].name for index in range(most)} | {name for name in always if name}
    return [trial for trial in trials if trial.name in kept]
