"""The sentences of the report: what the numbers say, in plain words, for both documents."""

from collections.abc import Iterable
from typing import Any

from models.backbones import is_mobile
from results.analysis import numbers
from results.analysis.metrics import ACCURACY, METRICS, shown
from results.records import SIDES
from results.rows import NO_TIME
from spaces import family_of
from spaces.mobilenet import called as trunk_called

OBJECTIVES = {"latency": "latency of one picture", "size": "parameters"}
FIT = {
    "overfitted": "overfitted",
    "leaning": "leaning to overfitting",
    "underfitted": "underfitted",
    "sound": "not overfitted",
    "unknown": "not known",
}
# With this share of its trials' losses rising a whole family is called out, as the study did with Pillow's.
MOSTLY = 0.5
# The most reasons of failures that are told apart for a family.
MOST_REASONS = 3
NOT_KNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def title(family: str) -> str:
    """The name of a family in print."""
    return family_of(family).title or family.replace("_", " ")


def model_title(family: str, record: dict[str, Any]) -> str:
    """The name of a family's best model in print: of a trunk that is no MobileNet its own name."""
    backbone = ((record["best"] or {}).get("config") or {}).get("backbone")
    if not family_of(family).transfers or not isinstance(backbone, str) or is_mobile(backbone):
        return title(family)
    return backbone


def study(family: str) -> str:
    """What the notebook study found of a family; a dash where it had none of the kind."""
    return family_of(family).notebook or NOT_KNOWN


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where it is not known."""
    return NOT_KNOWN if share is None else f"{100 * share:.{digits}f} %"


def points(share: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return NOT_KNOWN if share is None else f"{100 * share:+.1f}".replace("-", MINUS)


def called(metric: str) -> str:
    """The name of a metric in print."""
    return METRICS[metric].title


def measured(metric: str, score: float | None) -> str:
    """A score as people know its metric: a percentage of a share, "0.912" of another; a dash where it is not known."""
    value = shown(metric, score)
    return percent(value) if value is None or METRICS[metric].share else f"{value:.3f}"


def apart(metric: str, difference: float | None) -> str:
    """A difference of scores with its sign: in points of a share, as a number of another."""
    if difference is None or METRICS[metric].share:
        return f"{points(difference)} points"
    return f"{difference:+.3f}".replace("-", MINUS)


def scored(test: dict[str, Any] | None) -> str:
    """What the run was judged by on test, with its interval, in print; empty where that is accuracy or not known."""
    found = (test or {}).get("metric")
    if not found:
        return ""
    if METRICS[found["name"]].share:
        return f"{percent(found['value'])} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def interval(test: dict[str, Any] | None) -> str:
    """The test accuracy with its interval: "94.2 % (92.0 to 95.9)"."""
    if test is None:
        return "not scored"
    if test["low"] is None:
        return percent(test["accuracy"])
    return f"{percent(test['accuracy'])} ({100 * test['low']:.1f} to {100 * test['high']:.1f})"


def duration(seconds: float | None) -> str:
    """Seconds in the words of a clock: "48 s", "12 min 05 s", "3 h 20 min"."""
    if seconds is None:
        return NOT_KNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def milliseconds(seconds: float | None) -> str:
    """Seconds of a single call: "3.2 ms", "140 ms"."""
    if seconds is None:
        return NOT_KNOWN
    return f"{1000 * seconds:.1f} ms" if seconds < 0.1 else f"{1000 * seconds:,.0f} ms"


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 trial", "3 trials", "1,316 pictures"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def value(setting: Any) -> str:
    """A configured value in print."""
    if setting is None:
        return "none"
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, float):
        return f"{setting:.4g}"
    return str(setting)


def configuration(config: dict[str, Any]) -> str:
    """A configuration in one line: "image size 160, dropout 0.2"."""
    return ", ".join(f"{key.replace('_', ' ')} {value(config[key])}" for key in config) or "not recorded"


def trend(record: dict[str, Any]) -> str:
    """The trend of the validation loss with its slope per epoch."""
    found = record["loss_trend"]
    if found["trend"] is None:
        return "too short to say"
    return f"{found['trend']} ({found['slope']:+.3g} per epoch)".replace("-", MINUS)


def gained(record: dict[str, Any]) -> float | None:
    """How much the best configuration of a family gained over its baseline, in what the run is judged by."""
    if record["best"] is None or record["baseline"] is None:
        return None
    return float(record["best"]["score"] - record["baseline"]["score"])


def usual(data: dict[str, Any], side: str = "test") -> str:
    """What always naming the commonest class scores: "always naming the commonest class, cat: 60.0 %"."""
    found = data["commonest"].get(side)
    if found is None:
        return ""
    named = f"the commonest class, {found['class']}" if found["class"] is not None else "one and the same class"
    return f"always naming {named}: {percent(found['share'])}"


def against_usual(summary: dict[str, Any], family: str) -> str:
    """A sentence that sets a family's accuracy beside the share of the commonest class; empty where it is not known."""
    record = summary["families"][family]
    said = usual(summary["data"], "validation" if record["test"] is None else "test")
    if not said:
        return ""
    if record["above_commonest"] is False:
        return f" That is not shown to be better than {said}."
    return f" For comparison, {said}."


def imbalance(data: dict[str, Any]) -> str:
    """That some classes have far fewer pictures than others; empty where they have not."""
    counts = {entry["class"]: sum(entry[side] for side in SIDES) for entry in data["counts"]}
    if data.get("multilabel") or not numbers.uneven(list(counts.values())):
        return ""
    most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    return (
        f"The classes are uneven: {most} has {counts[most]:,} of {sum(counts.values()):,} pictures, {fewest} "
        f"{counts[fewest]:,}. Accuracy says little about the rare ones; balanced accuracy, the mean over the classes, "
        "counts all of them alike."
    )


def several(data: dict[str, Any]) -> str:
    """What accuracy means where pictures have several labels; empty where they have one class."""
    if not data.get("multilabel"):
        return ""
    return (
        "Pictures have several labels: accuracy is the share of pictures all of whose labels are right, at a threshold "
        "of a half on training and validation pictures, and on test at those of the model."
    )


def weighted(summary: dict[str, Any]) -> str:
    """What the search did about imbalanced training pictures; empty where they are not, or nothing was done."""
    if not summary["weighted"]:
        return ""
    counts = [entry["train"] for entry in summary["data"]["counts"]]
    said = (
        f"The training pictures are imbalanced: {max(counts):,} of the commonest class, {min(counts):,} of the rarest. "
        "Accuracy counts pictures and so leans to the common classes."
    )
    best = summary["families"][summary["winner"]]["best"] if summary["winner"] else None
    power = best["config"].get("class_weight_power") if best else None
    if power is not None:
        how = f"the winner's pictures count by the class counts to the power of {MINUS}{value(power)}"
        how = "the winner counts all pictures the same" if not power else how
        loss = ", with focal loss" if best and best["config"].get("loss") == "focal" else ""
        said += f" The search chose how much rare classes count (--class-weights): {how}{loss}."
    if summary["metric"] == ACCURACY:
        said += (
            " It was judged by accuracy all the same; --metric macro_f1 or balanced_accuracy judge all classes alike."
        )
    return said


def balanced(test: dict[str, Any] | None) -> float | None:
    """The balanced accuracy on test, where the predictions were saved."""
    return ((test or {}).get("predictions") or {}).get("balanced_accuracy")


def headline(summary: dict[str, Any]) -> str:
    """The winner in one sentence, and that it is no better than naming the commonest class where that is so."""
    winner = summary["winner"]
    if winner is None:
        return "No family has a trial to choose from yet."
    record = summary["families"][winner]
    name = model_title(winner, record)
    test = record["test"]
    doubt = against_usual(summary, winner) if record["above_commonest"] is False else ""
    if test is None:
        return (
            f"{name} leads with {standing(record['metric'], record['best'])}; "
            f"it has not been scored on the test pictures.{doubt}"
        )
    spread = "" if test["low"] is None else f" (95 % interval {100 * test['low']:.1f} to {percent(test['high'])})"
    pictures = plural(test["pictures"], "test picture") if test["pictures"] else "test pictures of unknown number"
    wins = " wins: it" if len(summary["families"]) > 1 else ""
    if test["metric"]:
        share = percent(test["accuracy"])
        rightly = f"it names {share} of them rightly{spread}"
        if summary["data"].get("multilabel"):
            rightly = f"all labels of {share} of them are right{spread}"
        what = f"{called(record['metric'])} on {pictures} is {scored(test)}"
        verb = " wins" if wins else ""
        return f"{name}{verb}: its {what}; {rightly}.{doubt}"
    told = f"{name}{wins} names {percent(test['accuracy'])} of {pictures} rightly{spread}."
    return told + doubt


def standing(metric: str, record: dict[str, Any]) -> str:
    """What a configuration is judged by on validation, in words, with the accuracy beside it where that is another."""
    accuracy = f"{percent(record['validation_accuracy'])} validation accuracy"
    if metric == ACCURACY:
        return accuracy
    return f"a validation {called(metric)} of {measured(metric, record['score'])} ({accuracy})"


def beside_headline(summary: dict[str, Any]) -> str:
    """What the commonest class alone would give, in a sentence, where the headline does not say so."""
    winner = summary["winner"]
    known = winner is not None and summary["families"][winner]["above_commonest"] is not False
    return against_usual(summary, winner) if known else ""


def pair(found: dict[str, Any]) -> str:
    """How often two classes are taken for each other."""
    one, other = found["classes"]
    return (
        f"{one} was taken for {other} {plural(found['there'], 'time')}, {other} for {one} {found['back']:,} "
        f"({percent(found['share'])} of both)"
    )


def effort(summary: dict[str, Any]) -> str:
    """What the search did, in one sentence."""
    families = summary["families"].values()
    trials, epochs = (sum(record[key] for record in families) for key in ("trials", "epochs"))
    data = summary["data"]
    done = f"{plural(trials, 'trial')} and {plural(epochs, 'epoch')} in {duration(summary['seconds'])}"
    if not data["images"]:
        return f"{done}."
    split, kinds = data["split"], f"of {len(data['classes'])} classes"
    if data.get("multilabel"):
        kinds = f"with any of {len(data['classes'])} labels"
    return (
        f"{done}, on {plural(data['images'], 'picture')} {kinds}: "
        f"{split['train']:,} for training, {split['validation']:,} for validation, {split['test']:,} for the test."
    )


def caveats(summary: dict[str, Any]) -> list[str]:
    """What a reader must know before believing the table, most important first."""
    said = [line for line in (several(summary["data"]), imbalance(summary["data"]), weighted(summary)) if line]
    for family, record in summary["families"].items():
        name = model_title(family, record)
        if record["above_commonest"] is False:
            test, best = record["test"], record["best"]
            reached = f"{interval(test)} on test" if test else f"{percent(best['validation_accuracy'])} on validation"
            even = "" if balanced(test) is None else f"; its balanced accuracy is {percent(balanced(test))}"
            said.append(f"{name}: {reached} is not shown to be better than always naming one class{even}.")
        if record["infeasible"]:
            said.append(f"{name}: {refused(record)}.")
        if record["trials"] == 0:
            said += [] if record["infeasible"] else [f"{name}: no trial was started."]
            continue
        if record["best"] is None:
            said.append(f"{name}: none of {plural(record['trials'], 'trial')} gave a usable configuration.")
        elif record["best"].get("timed_out"):
            said.append(
                f"{name}: the time was up before its best had run its full budget, after "
                f"{plural(record['best']['epochs'], 'epoch')}."
            )
        elif not record["best"]["full_budget"]:
            said.append(
                f"{name}: no trial ran its full budget; its best is the one that ran longest, "
                f"{plural(record['best']['epochs'], 'epoch')}."
            )
        if record["best"] is not None and record["test"] is None:
            said.append(f"{name}: not scored on the test pictures.")
        scored = record["test"]["scored"] if record["test"] else []
        if record["best"] is not None and scored and scored[-1] not in (record["best"]["trial"], None):
            said.append(
                f"{name}: the best configuration, {record['best']['trial']}, has not been scored on the test pictures "
                f"yet; the figures on test and the model are those of {scored[-1]}."
            )
        if len(scored) > 1:
            said.append(
                f"{name}: the test pictures were scored for {plural(len(scored), 'configuration')}, "
                f"{', then '.join(map(str, scored))}, because the run was extended after it had been scored. "
                "Validation chose each of them; to go on until the figure on test pleases would be a choice by test."
            )
        if record["base_moved"]:
            changed = ", ".join(_words(entry["name"]) for entry in record["base_moved"])
            said.append(
                f"{name}: the baseline is not the study's own configuration: the space was narrowed (--set), which "
                f"changes its {changed}."
            )
        if record["baseline_refused"]:
            reason = record["baseline_refused"]
            why = f"was not tried, {reason}" if reason.startswith(NO_TIME) else f"has {reason}"
            said.append(f"{name}: the baseline {why}; what the search gained over it is not known.")
        elif record["baseline"] is None:
            said.append(f"{name}: the baseline gave no validation accuracy, so what the search gained is not known.")
        elif record["baseline"] is not None and not record["baseline"]["full_budget"]:
            said.append(
                f"{name}: the baseline is {record['baseline']['status']} after "
                f"{plural(record['baseline']['epochs'], 'epoch')}, not finished; the gain over it may be flattered."
            )
        if record["running"]:
            said.append(f"{name}: {plural(record['running'], 'trial')} had not ended when the rows were read.")
        took, limit = (record["model"] or {}).get("latency_one"), summary["limits"].get("max_latency")
        if took is not None and limit is not None and took > limit:
            said.append(
                f"{name}: measured again, its exported model takes {milliseconds(took)} for one picture, more than "
                f"--max-latency {milliseconds(limit)}."
            )
    if summary.get("from"):
        said.append(
            f"The baseline of a family is its best configuration of run {summary['from']['name']}, which this run goes "
            "on from, where that had one, and not the study's own."
        )
    for source in summary["warm_start"]:
        line = f"The search began with what run {source['name']} had found"
        if source["observed"]:
            line += f", {plural(source['observed'], 'trial')} of it as observations"
        if source["test_seen"]:
            line += (
                f"; {plural(source['test_seen'], 'test picture')} of this run helped to choose configurations there as "
                "validation pictures, so the figures on test may be flattered"
            )
        said.append(f"{line}.")
    if summary["overlap"]:
        said.append(
            "Stanford Dogs is part of the ImageNet training set: the pretrained trunk has seen these pictures, "
            "so MobileNet's figures are optimistic for new photographs."
        )
    if not summary["data"]["classes"]:
        said.append(
            "The split was not recorded (`split.json` is missing or broken): nothing can be said about the data."
        )
    said += summary["broken"]
    if summary["skipped_rows"]:
        count = summary["skipped_rows"]
        said.append(f"{plural(count, 'line')} of `trials.jsonl` left out: torn, or not a row of this search.")
    for family, record in summary["families"].items():
        reasons = sorted(record["failures"].items(), key=lambda pair: (-pair[1], pair[0]))
        said += [
            f"{title(family)}: {plural(count, 'trial')} failed: {reason}" for reason, count in reasons[:MOST_REASONS]
        ]
        if reasons[MOST_REASONS:]:
            said.append(
                f"{title(family)}: failures had {len(reasons) - MOST_REASONS} other reasons; the table has them."
            )
    return said


def narrowed(record: dict[str, Any]) -> str:
    """What the table of a narrowed space shows, and where its base is not the study's."""
    said = "What was searched of these hyperparameters (--set); the others had their whole range."
    if not record["base_moved"]:
        return said
    changes = [f"{_words(entry['name'])} {entry['is']} and not {entry['was']}" for entry in record["base_moved"]]
    return f"{said} The baseline keeps to it: {', '.join(changes)}."


def refused(record: dict[str, Any]) -> str:
    """How many configurations broke a limit, and for how many there was no time."""
    late, count = record["too_long"], record["infeasible"] - record["too_long"]
    said = []
    if record["trials"] == 0 and not late:
        return f"none of {plural(count, 'configuration')} drawn keeps to the limits"
    if count:
        said.append(f"{plural(count, 'configuration')} broke a limit and {'was' if count == 1 else 'were'} not trained")
    if late:
        said.append(f"{plural(late, 'configuration')} would have taken more time than there was")
    return ", and ".join(said)


def front(found: dict[str, Any]) -> str:
    """What the table of the fronts shows."""
    wanted = [OBJECTIVES[name] for name in found["objective"] if name in OBJECTIVES]
    together = f" First those on the front of accuracy, {' and '.join(wanted)} together." if wanted else ""
    return (
        "No other trial, or no other of its family, is as accurate for less. A stopped trial had not shown all it can."
        f"{together}"
    )


def probe(config: dict[str, Any]) -> str:
    """What a linear probe is, in words; a damaged row may lack any of it."""
    backbone = str(config.get("backbone"))
    trunks = [trunk_called(backbone, config.get("alpha") or 1.0)]
    trunks += [str(config["beside"])] if config.get("beside", "none") != "none" else []
    mirrored = ", learnt from mirror images too" if config.get("mirrored") else ""
    return (
        f"a linear probe (logistic regression on the pooled features of {' and '.join(trunks)} at "
        f"{config.get('image_size')} pixels{mirrored})"
    )


def final(best: dict[str, Any], metric: str = ACCURACY) -> list[str]:
    """What the final between the best of a family said, and the optimism of what had chosen its winner."""
    found = best.get("final")
    if not found:
        return []
    told = f"In the final of {found['finalists']} configurations, each trained anew on other folds of train and "
    reached = percent(found["accuracy"])
    if metric != ACCURACY:
        reached = f"a {called(metric)} of {measured(metric, found['score'])} ({reached} accuracy)"
    told += f"validation, it reached {reached} on {plural(found['pictures'], 'picture')} left out"
    by = found["chosen_by"]
    if by is None:
        return [f"{told}."]
    if metric != ACCURACY:
        return [f"{told}; what chose it as a finalist was {measured(metric, by)}."]
    return [f"{told}; what chose it as a finalist was {abs(100 * (by - found['accuracy'])):.1f} points "
            f"{'above' if by >= found['accuracy'] else 'below'} that."]  # fmt: skip


def paragraph(family: str, record: dict[str, Any]) -> str:
    """A family in plain words: its best configuration, its gap, its loss, and whether it is overfitted."""
    best = record["best"]
    if best is None:
        if record["trials"] == 0:
            return f"{refused(record).capitalize()}." if record["infeasible"] else "No trial was started."
        return f"None of {plural(record['trials'], 'trial')} gave a usable configuration ({states(record)})."
    ran = "ran its full budget" if best["full_budget"] else f"is {best['status']} and ran longest"
    ran = "ran until the time was up" if best.get("timed_out") else ran
    said = [
        f"The best configuration is trial {best['trial']}, which {ran}: {standing(record['metric'], best)} "
        f"at epoch {best['epoch']} of {best['epochs']}."
    ]
    if best["config"].get("head") == "probe":
        plain = record["metric"] == ACCURACY
        found = percent(best["validation_accuracy"]) if plain else standing(record["metric"], best)
        said = [
            f"The best configuration is trial {best['trial']}, {probe(best['config'])}: "
            f"{found} in cross-validation over train and validation."
        ]
    said += final(best, record["metric"])
    if (record["test"] or {}).get("own"):
        said.append(
            "There was no time to retrain it: its model is the trial's own, which no validation picture taught."
        )
    gain = gained(record)
    if best["trial"] == (record["baseline"] or {}).get("trial"):
        better = ": the search found nothing better" if record["trials"] > 1 else ", the only trial"
        said.append(f"That is the baseline itself{better}.")
    elif gain is not None:
        said.append(
            f"The baseline reached {measured(record['metric'], record['baseline']['score'])}, "
            f"so the search {'gained' if gain >= 0 else 'lost'} {apart(record['metric'], abs(gain)).lstrip('+')}."
        )
    if best["overfit_gap"] is not None:
        said.append(
            f"At that epoch it stood at {percent(best['train_accuracy'])} on its training pictures, a gap of "
            f"{points(best['overfit_gap'])} points, and its validation loss is {trend(best)}: {FIT[best['fit']]}."
        )
    rising, judged = record["loss_trends"].get("rising", 0), sum(record["loss_trends"].values())
    if judged:
        said.append(f"The validation loss rose in {rising:,} of {plural(judged, 'trial')} long enough to tell.")
    if record["importance"]:
        leading = list(record["importance"].items())[:3]
        said.append(
            "What mattered most: " + ", ".join(f"{_words(key)} ({percent(share, 0)})" for key, share in leading) + "."
        )
    model = record["model"]
    if model is not None:
        size = f", {model['parameters']:,} parameters" if isinstance(model["parameters"], int) else ""
        size += f", {model['bytes'] / 1e6:.1f} MB" if isinstance(model["bytes"], int) else ""
        said.append(f"Its model is {model['path']}{size}.")
        if model["pictures"]:
            said.append(refitted(model))
    return " ".join(said)


def refitted(model: dict[str, Any]) -> str:
    """Which model was scored, where the one that is handed over has learnt all pictures."""
    return (
        f"It was trained once more after the test figure had been taken, on all {model['pictures']:,} pictures, those "
        "of the test among them: the figure is that of the model before, and no picture is left to measure this one."
    )


def ensemble(family: str, found: dict[str, Any]) -> str:
    """What averaging several configurations gives beside the single model."""
    gain = found["accuracy"] - found["single"]
    share = found.get("commonest")
    alone = "" if share is None else f"; the commonest class alone gives {percent(share)}"
    members = ", ".join(
        f"{trial} {percent(accuracy)}" for trial, accuracy in zip(found["trials"], found["accuracies"], strict=True)
    )
    return (
        f"{title(family)}: the averaged probabilities of the best model and {plural(len(found['trials']), 'other')} "
        f"({members}) name {percent(found['accuracy'])} of {plural(found['pictures'], 'test picture')} rightly "
        f"(95 % Wilson interval {100 * found['low']:.1f} to {100 * found['high']:.1f}), {points(gain)} points against "
        f"the single model's {percent(found['single'])}"
        f"{alone}. Each answer then costs {len(found['trials']) + 1} models."
    )


def mistakes(found: dict[str, Any]) -> str:
    """How many test pictures were named wrongly, and how the kept ones were compared."""
    if not found["wrong"]:
        return f"None of {plural(found['test'], 'test picture')} was named wrongly."
    kept = len(found["mistakes"])
    shown = f"; the {kept} surest are shown" if 0 < kept < found["wrong"] else ""
    return (
        f"{found['wrong']:,} of {plural(found['test'], 'test picture')} named wrongly{shown}. Each was compared with "
        f"{plural(found['compared'], 'training picture')}."
    )


def states(record: dict[str, Any]) -> str:
    """How the trials of a family ended: "4 finished, 7 stopped, 1 failed"."""
    told = [
        f"{record[status]} {status}"
        for status in ("finished", "stopped", "failed", "running", "infeasible")
        if record[status]
    ]
    return ", ".join(told) or "none"


def advice(family: str, record: dict[str, Any]) -> list[str]:
    """What the next search of a family should change, as far as its numbers tell."""
    best = record["best"]
    if best is None:
        if record["infeasible"] and record["trials"] == 0:
            if record["too_long"]:
                return ["Give it more time, or allow smaller pictures."]
            return ["Raise the limits, or allow smaller models: smaller pictures, narrower backbones."]
        return [] if record["trials"] == 0 else ["Read the reasons of the failed trials first."]
    said = []
    config = best["config"]
    if not best["full_budget"]:
        said.append("Give it time for at least one full trial.")
    if best["fit"] in ("overfitted", "leaning"):
        said.append(_against_overfitting(config))
    elif best["fit"] == "underfitted":
        said.append(
            "It has not learnt its own training pictures: more epochs, a higher learning rate or a larger model."
        )
    if best["full_budget"] and best["epoch"] == best["epochs"] and best["fit"] != "overfitted":
        said.append("Its best epoch was its last, so a larger budget of epochs may still gain.")
    elif best["epoch"] * 2 <= best["epochs"]:
        said.append(
            f"Its best epoch, {best['epoch']} of {best['epochs']}, came early: fewer epochs and more trials would do."
        )
    said += [
        f"{_words(key).capitalize()} {value(config[key])} is the {end} value tried: search beyond it."
        for key, end in edges(record)
    ]
    rising, judged = record["loss_trends"].get("rising", 0), sum(record["loss_trends"].values())
    if judged and rising / judged > MOSTLY:
        said.append("Most of its losses rise: lower learning rates and stronger regularisation before anything else.")
    if best["trial"] == (record["baseline"] or {}).get("trial") and record["trials"] > 1:
        said.append("Nothing beat the baseline: try more trials, or a narrower space around it.")
    if record["failed"]:
        said.append(f"{plural(record['failed'], 'trial')} failed: cut what failed out of the space.")
    return said or ["Nothing stands out: more trials are the next step."]


def _against_overfitting(config: dict[str, Any]) -> str:
    ways = []
    blocks = config.get("unfrozen_blocks")
    if isinstance(blocks, int) and blocks > 0:
        ways.append(f"fewer than {blocks} unfrozen blocks")
    if config.get("augmentation") in ("none", "flip"):
        ways.append("stronger augmentation")
    if config.get("flip") == "none":
        ways.append("flips")
    if config.get("transpose") is False:
        ways.append("mirrored copies")
    dropout = config.get("dropout")
    if isinstance(dropout, float | int) and dropout < 0.5:
        ways.append(f"dropout above {dropout:.2g}")
    if not config.get("label_smoothing", True):
        ways.append("label smoothing")
    return "Against overfitting try " + (_list(ways) if ways else "more weight decay, or more pictures") + "."


def edges(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Numbers of the best configuration at an end of what was tried: three levels or more, in ten trials or more."""
    found = []
    config = record["best"]["config"]
    for key, levels in record["effects"].items():
        numbers = [level["level"] for level in levels]
        tried = sum(level["trials"] for level in levels)
        chosen = config.get(key)
        if tried < 10 or len(numbers) < 3 or not all(_numeric(number) for number in [*numbers, chosen]):
            continue
        # The lowest number of blocks, of dropout and the like is often zero, and nothing lies beyond it.
        if chosen == max(numbers):
            found.append((key, "highest"))
        elif chosen == min(numbers) and chosen > 0:
            found.append((key, "lowest"))
    return found


def _numeric(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool)


def _words(key: str) -> str:
    return key.replace("_", " ")


def _list(items: Iterable[str]) -> str:
    *head, last = items
    return f"{', '.join(head)} or {last}" if head else last
