"""The page of a run that is still going on: light enough to be written again and again, and it reloads itself."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from results.analysis import numbers, verdict
from results.analysis.metrics import ACCURACY, METRICS, shown
from results.drawing import figures, svg
from results.markup import beside, grid, text, write_aside
from results.rows import FAILED, FINISHED, INFEASIBLE, RUNNING, STOPPED, Rows, Trial, judged_by

RELOAD = 15  # seconds between two looks of the browser
MOST_RUNNING, MOST_ENDED = 40, 12


def write_live(run_dir: Path, rows: Rows, settings: dict[str, Any], seconds: float, *, running: bool = True) -> Path:
    """Write the state of a run as its report.html; the report itself takes this place when the run has ended."""
    path = run_dir / "report.html"
    write_aside(path, live_page(run_dir.name, rows, settings, seconds, running=running))
    return path


def live_page(name: str, rows: Rows, settings: dict[str, Any], seconds: float, *, running: bool) -> str:
    """One page without scripts: each family's best and its trials so far, what runs now and what ended last."""
    families = list(settings.get("families") or rows.families)
    accents = {family: figures.colour(family, families) for family in families}
    cards = "".join(_card(family, rows, settings, accents[family]) for family in families)
    metric = numbers.metric_of(settings)
    called = verdict.called(metric)
    steps = {family: numbers.best_so_far(rows.of(family)) for family in families}
    lines = [
        (
            verdict.title(family),
            accents[family],
            [
                (step["time"] / 60, shown(metric, step["score"]) or 0.0)
                for step in [*found, {**found[-1], "time": seconds}]
            ],
        )
        for family, found in steps.items()
        if found
    ]
    told = ", ".join(
        f"{verdict.title(family)} {verdict.measured(metric, found[-1]['score'])}"
        for family, found in steps.items()
        if found
    )
    drawn = svg.steps(
        lines,
        "minutes into the run",
        f"Best validation {called} so far by time: {told or 'nothing yet'}.",
        share=METRICS[metric].share,
    )
    every = list(rows.trials.values())
    now = [trial for trial in every if trial.status == RUNNING][:MOST_RUNNING] if running else []
    ended = sorted((trial for trial in every if trial.ended is not None), key=lambda trial: -(trial.ended or 0))
    running_now, ended_last = ([_cells(trial, metric) for trial in some] for some in (now, ended[:MOST_ENDED]))
    best = "Best validation" if metric == ACCURACY else f"Best validation {called}"
    heads = ("Trial", "Family", "Status", "Epochs", best)
    done = sum(trial.status not in (RUNNING, INFEASIBLE) for trial in every)
    trials, budget = settings.get("trials"), settings.get("time_budget")
    of = f" of {len(families) * trials:,}" if isinstance(trials, int) else ""
    time_of = f" of {verdict.duration(budget)}" if numbers.is_number(budget) else ""
    state = "is running" if running else "has stopped; its report has not been written"
    reload = f'<meta http-equiv="refresh" content="{RELOAD}">' if running else ""
    style = beside("report.css")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{reload}<link rel="icon" href="data:,">'
        f"<title>{text(name)}: live</title><style>{style}</style></head><body><header>"
        f'<p class="eyebrow">Pedigree, run <b>{text(name)}</b></p><h1>{text(f"The search {state}.")}</h1>'
        f'<p class="effort">{done:,}{of} trials have ended after {text(verdict.duration(seconds))}{text(time_of)}. '
        f"Written at {time.strftime('%H:%M:%S')}; the whole report takes this page's place when the run ends.</p>"
        "</header><main>"
        f'<div class="grid">{cards}</div><figure class="sheet"><h3>Best so far</h3>{drawn}<figcaption>The best '
        f"validation {called} seen so far, against minutes into the run.</figcaption></figure>"
        + (f'<div class="sheet">{grid("Running now.", heads, running_now, (3, 4))}</div>' if now else "")
        + (f'<div class="sheet">{grid("Ended last.", heads, ended_last, (3, 4))}</div>' if ended else "")
        + "</main></body></html>\n"
    )


def _card(family: str, rows: Rows, settings: dict[str, Any], accent: str) -> str:
    trials = rows.of(family)
    step = numbers.best_so_far(trials)[-1:]
    tests = [float(row["accuracy"]) for row in rows.tests(family)]
    metric = numbers.metric_of(settings)
    share = verdict.measured(metric, step[0]["score"] if step else None)
    of = f"best validation {verdict.called(metric)}, {step[0]['trial']}" if step else "no epoch yet"
    if step and metric != ACCURACY:
        of += f"; its accuracy {verdict.percent(step[0]['validation_accuracy'])}"
    if tests:
        what = "on test" if metric == ACCURACY else "accuracy on test"
        of += f"; {what} {', '.join(verdict.percent(accuracy) for accuracy in tests)}"
    facts = [(status, f"{_count(trials, status):,}") for status in (RUNNING, FINISHED, STOPPED, FAILED)]
    refused = _count(trials, INFEASIBLE)
    if refused:
        facts.append((INFEASIBLE, f"{refused:,}"))
    if isinstance(wanted := settings.get("trials"), int):
        facts.append(("to come", f"{max(0, wanted - len(trials) + refused):,}"))
    facts.append(("epochs", f"{sum(len(trial.curve) for trial in trials):,}"))
    return (
        f'<article class="sheet card family" style="--accent:{accent}"><h3>{text(verdict.title(family))}</h3>'
        f'<p class="big">{text(share)}</p><p class="of">{text(of)}</p>'
        f"<dl>{''.join(f'<dt>{key}</dt><dd>{fact}</dd>' for key, fact in facts)}</dl></article>"
    )


def _count(trials: Iterable[Trial], status: str) -> int:
    return sum(trial.status == status for trial in trials)


def _cells(trial: Trial, metric: str) -> list[str]:
    row = numbers.best_epoch(trial)
    status = trial.status if not trial.reason else f"{trial.status}: {trial.reason}"
    return [
        trial.name,
        verdict.title(trial.family),
        status,
        str(len(trial.curve)),
        verdict.measured(metric, None if row is None else judged_by(row)),
    ]
