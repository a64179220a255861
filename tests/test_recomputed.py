"""The figures of a report against an independent recomputation: from the lines of trials.jsonl, the saved predictions
and the saved models, with nothing of `results` but the document that it wrote.
"""

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from written_run import write_run

from results import write_report


def told(run: Path) -> tuple[dict[str, Any], str]:
    """results.json and report.html as text."""
    page = write_report(run).read_text(encoding="utf-8")
    text = re.sub(r"<script.*?</script>|<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).replace("&nbsp;", " ")
    return json.loads((run / "results.json").read_text(encoding="utf-8")), re.sub(r"\s+", " ", text)


def recompute(run: Path) -> dict[str, dict[str, Any]]:
    """What a reader with a pocket calculator would find, by family."""
    split = json.loads((run / "split.json").read_text())
    truth = np.array([label for _, label in split["test"]])
    events = defaultdict(list)
    for line in (run / "trials.jsonl").read_text().splitlines():
        row = json.loads(line)
        events[row["event"], row["family"]].append(row)
    found = {}
    for family in {family for event, family in events if event == "epoch"}:
        finished = {row["trial"] for row in events["end", family] if row["status"] == "finished"}
        rows = []
        for trial in finished:
            curve = sorted((row for row in events["epoch", family] if row["trial"] == trial), key=lambda r: r["epoch"])
            # Each epoch with those around it: as many on either side as a third of the root of their number.
            reach = int(len(curve) ** 0.5 / 3)
            for place, row in enumerate(curve):
                near = curve[max(0, place - reach) : place + reach + 1]
                even = {
                    f"validation_{of}": np.mean([one[f"validation_{of}"] for one in near])
                    for of in ("accuracy", "loss")
                }
                rows.append({**row, **even})
        top = max(rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
        losses = [row["validation_loss"] for row in events["epoch", family] if row["trial"] == top["trial"]]
        shots = []
        for row in events["test", family]:
            with np.load(run / "predictions" / f"{family}-{row['seed']}.npz") as saved:
                shots.append(saved["probabilities"].argmax(axis=1) == truth)
        mean = float(np.mean(shots))
        # Wilson by the roots of (share - p)^2 = z^2 p (1 - p) / n, and Student's t over seeds, joined.
        z, n = 1.959964, len(truth)
        low, high = sorted(np.roots([1 + z * z / n, -2 * mean - z * z / n, mean * mean]).real)
        accuracies = [float(shot.mean()) for shot in shots]
        t = {2: 12.706205, 3: 4.302653}[len(shots)]
        half = t * float(np.std(accuracies, ddof=1)) / math.sqrt(len(shots))
        found[family] = {
            **{"trial": top["trial"], "validation": top["validation_accuracy"], "epoch": top["epoch"]},
            **{"gap": top["train_accuracy"] - top["validation_accuracy"], "epochs": len(events["epoch", family])},
            "slope": float(np.polyfit(range(1, len(losses) + 1), losses, 1)[0]),
            **{"test": mean, "low": max(0, mean - math.hypot(mean - low, half))},
            "high": min(1, mean + math.hypot(high - mean, half)),
            "by_class": {label: float(np.mean([shot[truth == label] for shot in shots])) for label in set(truth)},
        }
    return found


@pytest.mark.parametrize("kind", ["written", "trained"])
def test_every_figure_is_found_again(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run = write_run(tmp_path / "demo") if kind == "written" else request.getfixturevalue("trained_run")
    summary, text = told(run)
    again = recompute(run)
    assert set(again) == set(summary["families"])
    for family, record in summary["families"].items():
        mine, best, test = again[family], record["best"], record["test"]
        assert (best["trial"], best["epoch"], record["epochs"]) == (mine["trial"], mine["epoch"], mine["epochs"])
        assert best["validation_accuracy"] == pytest.approx(mine["validation"])
        assert best["overfit_gap"] == pytest.approx(mine["gap"])
        assert best["loss_trend"]["slope"] == pytest.approx(mine["slope"])
        assert (test["accuracy"], test["low"], test["high"]) == pytest.approx(
            (mine["test"], mine["low"], mine["high"]), abs=1e-6
        )
        accuracies = [entry["accuracy"] for entry in test["predictions"]["classes"]]
        assert accuracies == pytest.approx([mine["by_class"][label] for label in range(len(accuracies))])
        # And the page shows these very figures.
        assert f"{100 * mine['test']:.1f} % ({100 * mine['low']:.1f} to {100 * mine['high']:.1f})" in text
        assert f"{100 * mine['validation']:.1f} %" in text
        assert f"{100 * mine['gap']:+.1f} points".replace("-", "\N{MINUS SIGN}") in text
    winner = max(again, key=lambda family: again[family]["validation"])
    assert summary["winner"] == winner


def test_the_saved_models_give_the_accuracies_of_the_report(trained_run: Path) -> None:
    summary, _ = told(trained_run)
    split = json.loads((trained_run / "split.json").read_text())
    for record in summary["families"].values():
        model = keras.saving.load_model(trained_run / record["model"]["path"], compile=False)
        right = 0
        for name, label in split["test"]:
            picture = np.asarray(Image.open(Path(split["data"]) / name).convert("RGB"))
            right += int(np.asarray(model(picture[None], training=False)).argmax()) == label
        seed = next(seed for seed in record["test"]["seeds"] if seed["seed"] == record["model"]["seed"])
        # Resized by Keras inside the model instead of Pillow, one of twenty answers may fall otherwise.
        assert right / len(split["test"]) == pytest.approx(seed["accuracy"], abs=0.051)
        assert model.count_params() == record["model"]["parameters"]
        assert (trained_run / record["model"]["path"]).stat().st_size == record["model"]["bytes"]
        assert 0 < record["model"]["latency_one"] < record["model"]["latency_batch"]


def test_the_ensemble_is_found_again(trained_run: Path) -> None:
    summary, text = told(trained_run)
    found = summary["families"]["scratch_keras"]["ensemble"]
    truth = np.array([label for _, label in json.loads((trained_run / "split.json").read_text())["test"]])
    with np.load(trained_run / "predictions" / "scratch_keras-0.npz") as saved:
        single = saved["probabilities"]
    with np.load(trained_run / "predictions" / "scratch_keras-000-member.npz") as saved:
        other = saved["probabilities"]
    assert found["trials"] == ["scratch_keras-000"]
    assert found["single"] == pytest.approx(float((single.argmax(axis=1) == truth).mean()))
    assert found["accuracies"] == pytest.approx([float((other.argmax(axis=1) == truth).mean())])
    accuracy = float(((single + other).argmax(axis=1) == truth).mean())
    assert found["accuracy"] == pytest.approx(accuracy)
    assert f"name {100 * accuracy:.1f} % of 20 test pictures rightly" in text
    assert summary["families"]["scratch_pillow"]["ensemble"] is None


def test_the_card_and_the_drawings_lie_beside(trained_run: Path) -> None:
    summary, _ = told(trained_run)
    for family, record in summary["families"].items():
        card = (trained_run / "models" / f"{family}.md").read_text(encoding="utf-8")
        assert f'model = keras.saving.load_model("{family}.keras")' in card
        assert f"Test accuracy: {100 * record['test']['accuracy']:.1f} % (" in card
        assert "- Licence of the data: not recorded" in card
        assert f"trial {record['best']['trial']}, trained again" in card
    text = (trained_run / "report.md").read_text(encoding="utf-8")
    linked = re.findall(r"!\[[^\]]+\]\((figures/[^)]+\.png)\)", text)
    assert len(linked) == 5
    for path in linked:
        drawn = Image.open(trained_run / path)
        assert drawn.width == 860
        # Something is drawn in the family's colours, not only grey.
        channels = np.asarray(drawn.convert("RGB"), np.int16)
        assert (np.ptp(channels, axis=2) > 60).sum() > 300
