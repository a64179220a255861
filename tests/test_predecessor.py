"""Going on from a run: what it has to be, which pictures it has learnt, where they stay, and both models' scores."""

import json
import re
import shlex
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from written_run import write_run

from results.analysis.predecessor import compare, mcnemar, paired
from results.pages.document import write_report
from results.pages.predecessor import difference, sentence
from results.rows import Rows, read_rows
from search import interface, parsing, run, starting
from search.data.demo import draw_demo
from search.data.pictures import Pictures, prepare
from search.data.predecessor import Predecessor, read_predecessor, saved_sides, seen_pictures
from search.record.journal import Journal
from search.schedule.course import Course
from search.settings import Settings
from search.studies.predecessor import own_spaces, run_before, score, sides_before, with_recipes
from search.studies.spaces import spaces_of
from search.studies.study import Study, studies_of
from search.studies.warm_start import Prior, project
from search.training.predecessor import answer

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "going-on.md"
HOUND = "n90000001-Harrow_hound"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Changes every row of a run; None takes it out."""
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    kept = [row for row in map(change, rows) if row is not None]
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))


def fitted(row: dict[str, Any]) -> dict[str, Any]:
    """A start row with the point of its space, which the trained run of the tests leaves out."""
    if row["event"] != "start":
        return row
    space, _ = spaces_of(Settings(families=(row["family"],), image_sizes=(32, 48)), ())[row["family"]]
    return {**row, "point": project(space, row["config"])[0]}


def refit(folder: Path) -> Path:
    """Says of a run that its delivered models have learnt all of its pictures."""
    models = [row for row in read_rows(folder / "trials.jsonl").records if row["event"] == "model"]
    with (folder / "trials.jsonl").open("a") as rows:
        rows.writelines(json.dumps({**row, "pictures": 96}) + "\n" for row in models)
    return folder


@pytest.fixture(scope="module")
def old(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 24 pictures of each of four breeds."""
    folder = shutil.copytree(trained_run, tmp_path_factory.mktemp("runs") / "dogs")
    rewrite(folder, fitted)
    return folder


@pytest.fixture
def again(old: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(old, tmp_path / "dogs")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of that run and twelve more of each breed, with 36 of a fifth."""
    return draw_demo(tmp_path_factory.mktemp("grown") / "photos", breeds=5, pictures=36, size=48)


def divided(data: Path, folder: Path, cache: Path, **more: Any) -> tuple[Pictures, dict[str, Any], list[str]]:
    """The pictures of a run that goes on, the content of its split.json, and what was said."""
    said: list[str] = []
    given: dict[str, Any] = {"families": ("scratch_keras",), "image_sizes": (32,), "weights": "none", **more}
    settings = Settings(data=str(data), cache_dir=str(cache), from_run=str(folder), **given)
    pictures, split = prepare(settings, 2, said.append, read_predecessor(folder))
    return pictures, split, said


def sides(split: dict[str, Any]) -> dict[str, str]:
    return {name: side for side in ("train", "validation", "test") for name, _ in split[side]}


def by_class(split: dict[str, Any], side: str) -> dict[str, int]:
    found = Counter(split["classes"][label] for _, label in split[side])
    return {name: found[name] for name in split["classes"]}


def old_split(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "split.json").read_text())
    return found


# --- what it has to be -----------------------------------------------------------------------------------------------


def test_a_finished_run_tells_its_winner_and_what_that_said_of_test(old: Path) -> None:
    found = read_predecessor(old)
    assert (found.name, len(found.classes), found.refitted) == ("dogs", 4, False)
    assert found.family in ("scratch_keras", "scratch_pillow")
    assert found.answers is not None
    assert found.answers.shape == (20, 4)
    assert found.size == 32


def test_a_run_whose_model_learnt_everything_is_known_as_one(again: Path) -> None:
    assert read_predecessor(refit(again)).refitted


def of_several_labels(folder: Path) -> None:
    """The split of a run as it would be of several labels a picture."""
    split = json.loads((folder / "split.json").read_text())
    sides = {side: [[name, [label]] for name, label in split[side]] for side in ("train", "validation", "test")}
    (folder / "split.json").write_text(json.dumps({**split, **sides, "multilabel": True}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "--from needs the folder of a run, and there is no `{run}/settings."),
        (lambda folder: (folder / "trials.jsonl").unlink(), "there is no `{run}/trials.jsonl`"),
        (
            lambda folder: (folder / "settings.json").write_text('{"momentum": 0.9}'),
            "--from needs a run of this version of Pedigree or an earlier one, and `{run}/settings.json` is not of one",
        ),
        (
            lambda folder: (folder / "settings.json").write_text('{"families": ["resnet"]}'),
            "`families` needs names from scratch_pillow, scratch_keras, mobilenet, got 'resnet'",
        ),
        (
            lambda folder: (folder / "split.json").unlink(),
            "--from needs a run that says which pictures it has learnt, and `{run}/split.json` cannot be used: needs a",
        ),
        (lambda folder: (folder / "split.json").write_text("{}"), "`{run}/split.json` cannot be used: no `classes`"),
        (of_several_labels, "--from needs a run of one label a picture, and those of `{run}` have several"),
        (
            lambda folder: rewrite(folder, lambda row: None if row["event"] == "end" else row),
            "--from needs a run that is finished, and 4 trials of `{run}` have not ended, the first of them "
            "`scratch_keras-000`: go on with it first, --resume {run}",
        ),
        (
            lambda folder: rewrite(folder, lambda row: None if row["event"] == "epoch" else row),
            "--from needs a run with a delivered model, and no trial of `{run}` came to a result",
        ),
        (lambda folder: shutil.rmtree(folder / "models"), "and there is no `{run}/models/"),
        (
            lambda folder: [path.write_bytes(b"no model") for path in (folder / "models").iterdir()],
            "--from needs a model that can be loaded, and `{run}/models/",
        ),
        (
            lambda folder: rewrite(folder, lambda row: None if row["event"] == "model" else row),
            "--from needs a run with a delivered model, and there is no `{run}/models/",
        ),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(spoil: Callable[[Path], None], message: str, again: Path) -> None:
    spoil(again)
    with pytest.raises((ValueError, OSError)) as error:
        read_predecessor(again)
    assert message.format(run=again) in str(error.value)


def test_data_without_a_class_of_the_run_is_refused(old: Path, tmp_path: Path, cache_dir: Path) -> None:
    for name in ("cats", "owls"):
        shutil.copytree(next(Path(old_split(old)["root"]).glob("n9*")), tmp_path / "data" / name)
    refused = r"--from needs data with a class of its run, and `.*/dogs` knows `Bramley .* has `cats`, `owls`"
    with pytest.raises(ValueError, match=refused):
        divided(tmp_path / "data", old, cache_dir)


@pytest.mark.parametrize(
    ("target", "why"), [("{}/gone.py:Net", "file `{}/gone.py`"), ("gone.net:Net", "module `gone`")]
)
def test_a_family_whose_code_is_gone_is_named_with_its_run(target: str, why: str, again: Path, tmp_path: Path) -> None:
    asked = with_net(again, tmp_path, target.format(tmp_path))
    assert asked.families == ("scratch_keras", "scratch_pillow", "Net")
    code = "--from needs the code of its run, and there is no"
    family = f"`{target.format(tmp_path)}` is a family of `{again}`: put its code back"
    with pytest.raises(ValueError, match=re.escape(f"{code} {why.format(tmp_path)}; {family}")):
        run_before(asked)


@pytest.mark.slow
def test_a_family_that_cannot_be_imported_is_named_with_its_run(again: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import a_package_that_nobody_has\n")
    asked = with_net(again, tmp_path, f"{tmp_path}/mine.py:Net")
    before = run_before(asked)
    with pytest.raises(
        ValueError, match=rf"a_package_that_nobody_has.*`{tmp_path}/mine.py:Net` is a family of `{again}`"
    ):
        own_spaces(asked, before, shared=False)


def with_net(folder: Path, cache: Path, reference: str) -> Settings:
    """The settings of a search that goes on from a run, once that is said to have had a family of its user's."""
    settings = json.loads((folder / "settings.json").read_text())
    more = {"families": [*settings["families"], "Net"], "hypermodel": [reference]}
    (folder / "settings.json").write_text(json.dumps({**settings, **more}))
    return starting.begun({"data": "photos", "from_run": str(folder), "cache_dir": str(cache / "cache")})


# --- which pictures stay where ---------------------------------------------------------------------------------------


def test_pictures_keep_their_sides_and_new_ones_are_divided(old: Path, grown: Path, cache_dir: Path) -> None:
    _, split, said = divided(grown, old, cache_dir)
    before, now = sides(old_split(old)), sides(split)
    assert {name: now[name] for name in before} == before
    assert said[0] == "going on from dogs: 4 of its 4 classes, new: `Tarn shepherd`"
    assert by_class(split, "train") == {name: 23 for name in split["classes"]}
    assert by_class(split, "validation") == {name: 6 for name in split["classes"]}
    assert by_class(split, "test") == {name: 7 for name in split["classes"]}
    assert [name for name in split["notes"] if "--from" in name] == [
        "--from dogs: 96 of 180 pictures are among the 96 that it had, and what it has learnt of them is not on test"
    ]
    told = split["from"]
    assert {key: told[key] for key in ("pictures", "same", "added", "removed", "moved")} == {
        **{"pictures": 96, "same": 96, "added": 84, "removed": 0, "moved": 0}
    }
    places = {name: place for place, (name, _) in enumerate(old_split(old)["test"])}
    assert told["test"] == [places.get(name) for name, _ in split["test"]]
    assert sorted(place for place in told["test"] if place is not None) == list(range(20))


def test_test_pictures_that_were_learnt_in_the_end_stay_where_answers_are_kept(
    again: Path, grown: Path, cache_dir: Path
) -> None:
    refit(again)
    _, split, _ = divided(grown, again, cache_dir)
    before = sides(old_split(again))
    assert {name: sides(split)[name] for name in before} == before
    assert (
        "the delivered model of dogs has learnt all of its pictures; 20 pictures of test were test pictures there: its "
        "answers from before it learnt them count"
    ) in split["notes"]


def test_without_those_answers_they_are_no_test_pictures(again: Path, grown: Path, cache_dir: Path) -> None:
    refit(again)
    shutil.rmtree(again / "predictions")
    _, split, _ = divided(grown, again, cache_dir)
    before = sides(old_split(again))
    test = {name for name, _ in split["test"]}
    assert not test & set(before)
    # Of the twelve new pictures of each old class half go to test, and of the new class a fifth.
    assert by_class(split, "test") == {**{name: 6 for name in split["classes"]}, "Tarn shepherd": 7}
    assert any("so that its test pictures count as learnt" in note for note in split["notes"])


def test_classes_with_few_unseen_pictures_are_named_and_none_is_refused(
    again: Path, grown: Path, tmp_path: Path, cache_dir: Path
) -> None:
    refit(again)
    shutil.rmtree(again / "predictions")
    data = shutil.copytree(grown, tmp_path / "photos")
    known = {Path(name).name for name in sides(old_split(again))}
    hounds = sorted(path for path in (data / HOUND).iterdir() if path.name not in known)
    for path in hounds[1:]:
        path.unlink()
    terriers = data / "n90000003-Kestrel_terrier"
    for path in [path for path in terriers.iterdir() if path.name not in known]:
        path.unlink()
    _, split, _ = divided(data, again, cache_dir)
    assert [name for name, label in split["test"] if split["classes"][label] == "Harrow hound"] == [
        f"{HOUND}/{hounds[0].name}"
    ]
    assert by_class(split, "test")["Kestrel terrier"] == 0
    assert any(
        note.startswith(
            "WARNING: few test pictures that dogs has not learnt: `Harrow hound` (1 of about 5), `Kestrel terrier` (0 "
        )
        for note in split["notes"]
    )
    same = Path(old_split(again)["root"])
    with pytest.raises(ValueError, match=r"--from needs pictures that its run has not learnt, .* has learnt all 96 of"):
        divided(same, again, cache_dir)


def test_pictures_are_known_by_their_content(old: Path, drawn: Path, tmp_path: Path, cache_dir: Path) -> None:
    data = shutil.copytree(drawn, tmp_path / "photos")
    learnt = [name for name, side in sides(old_split(old)).items() if side == "train" and HOUND in name]
    renamed, saved, brighter = (data / name for name in learnt[:3])
    renamed.rename(data / HOUND / "another.jpg")
    Image.open(saved).save(data / HOUND / "saved.png")
    saved.unlink()
    # Saved anew, so that neither bytes nor pixels are the same.
    Image.open(brighter).resize((40, 40), Image.Resampling.LANCZOS).save(data / HOUND / "smaller.jpg", quality=95)
    brighter.unlink()
    _, split, _ = divided(data, old, cache_dir)
    now = sides(split)
    assert [now[f"{HOUND}/{name}"] for name in ("another.jpg", "saved.png", "smaller.jpg")] == ["train"] * 3
    told = split["from"]
    assert (told["same"], told["added"], told["removed"]) == (95, 1, 1)


def test_what_came_went_and_moved_is_counted(old: Path, drawn: Path, tmp_path: Path, cache_dir: Path) -> None:
    data = shutil.copytree(drawn, tmp_path / "photos")
    hounds = sorted(name for name in sides(old_split(old)) if HOUND in name)
    other = "n90000002-Bramley_hound"
    (data / hounds[0]).rename(data / other / "moved.jpg")
    (data / hounds[1]).unlink()
    _, split, _ = divided(data, old, cache_dir)
    told = split["from"]
    assert told["moved_pictures"] == [[f"{other}/moved.jpg", "Harrow hound", "Bramley hound"]]
    changes = {entry.pop("class"): entry for entry in told["changes"]}
    same = {"new": False, "gone": False, "added": 0}
    assert changes["Harrow hound"] == {
        **same, "before": 24, "now": 22, "removed": 1, "moved_in": 0, "moved_out": 1,
    }  # fmt: skip
    assert changes["Bramley hound"] == {
        **same, "before": 24, "now": 25, "removed": 0, "moved_in": 1, "moved_out": 0,
    }  # fmt: skip
    assert sides(split)[f"{other}/moved.jpg"] == sides(old_split(old))[hounds[0]]


def test_a_copy_of_a_test_picture_has_no_honest_answer_and_is_left_out(
    again: Path, drawn: Path, tmp_path: Path, cache_dir: Path
) -> None:
    refit(again)
    data = shutil.copytree(drawn, tmp_path / "photos")
    name = next(name for name, side in sides(old_split(again)).items() if side == "test")
    image = Image.open(data / name)
    image.resize((44, 44), Image.Resampling.LANCZOS).save((data / name).with_name("copy.jpg"), quality=95)
    _, split, _ = divided(data, again, cache_dir)
    copy = f"{Path(name).parent}/copy.jpg"
    assert copy not in sides(split)
    assert sides(split)[name] == "test"
    assert {"name": copy, "reason": "nearly the same picture is on another side, or dogs has learnt it"} in (
        split["left_out"]
    )


def test_sides_of_the_data_count_but_for_test_pictures_that_were_learnt(
    old: Path, drawn: Path, tmp_path: Path, cache_dir: Path
) -> None:
    before = sides(old_split(old))
    picked = {side: [name for name, at in before.items() if at == side] for side in ("train", "validation", "test")}
    # The other way round: what it tested on is train, and half of what it trained on is test.
    half = {name for place, name in enumerate(sorted(picked["train"])) if place % 2}
    for name, side in before.items():
        at = {"test": "train", "validation": "val"}.get(side, "test" if name in half else "train")
        (tmp_path / "photos" / at / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn / name, tmp_path / "photos" / at / name)
    refused = "needs test pictures that its run has not learnt, .* has learnt all 30 of the data.s own"
    with pytest.raises(ValueError, match=refused):
        divided(tmp_path / "photos", old, cache_dir)
    for place, name in enumerate(picked["test"]):
        if place % 2:
            shutil.move(tmp_path / "photos/train" / name, tmp_path / "photos/test" / name)
    _, split, _ = divided(tmp_path / "photos", old, cache_dir)
    assert {name.removeprefix("test/") for name, _ in split["test"]} == set(picked["test"][1::2])
    assert {name.removeprefix("train/") for name, _ in split["train"]} == (
        {*picked["train"]} - half | {*picked["test"][::2]}
    )
    assert any("30 pictures of the data's own test side are left out, because dogs has learnt them" in note
               for note in split["notes"])  # fmt: skip


def test_a_side_that_the_data_lacks_is_cut_from_what_was_not_learnt(
    old: Path, grown: Path, tmp_path: Path, cache_dir: Path
) -> None:
    for path in grown.glob("n9*/*.jpg"):
        at = "val" if path.stem.rsplit("_", 1)[1] in ("30", "31", "32") else "train"
        place = tmp_path / "photos" / at / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    _, split, _ = divided(tmp_path / "photos", old, cache_dir)
    before = sides(old_split(old))
    learnt = {name for name, side in before.items() if side != "test"}
    test = {name.removeprefix("train/") for name, _ in split["test"]}
    assert not test & learnt
    assert {name for name, side in before.items() if side == "test"} <= test
    assert by_class(split, "validation") == {name: 3 for name in split["classes"]}


def test_a_patient_of_the_earlier_run_stays_on_his_side(
    again: Path, grown: Path, tmp_path: Path, cache_dir: Path
) -> None:
    split = old_split(again)
    own = {side: [f"{name.split('/')[0]} {place % 6}" for place, (name, _) in enumerate(split[side])]
           for side in ("train", "validation", "test")}  # fmt: skip
    own = {side: [f"{side} {name}" for name in names] for side, names in own.items()}
    (again / "split.json").write_text(json.dumps({**split, "groups": own}))
    lines = ["image,label,patient"]
    known = sides(split)
    patients = dict(zip(known, (group for groups in own.values() for group in groups), strict=True))
    for path in sorted(grown.glob("n9*/*.jpg")):
        name = path.relative_to(grown).as_posix()
        # The pictures that the run did not have are of patients that it knows from training.
        breed = name.split("/")[0]
        patient = patients.get(name, f"train {breed} 1" if breed != "n90000005-Tarn_shepherd" else name)
        label = re.sub(r"^n\d+-", "", breed).replace("_", " ")
        lines.append(f"{name},{label},{patient}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    _, found, _ = divided(tmp_path / "labels.csv", again, cache_dir, images=str(grown))
    at = sides(found)
    assert {at[name] for name in at if name not in known and "Tarn" not in name} == {"train"}
    assert [name for name in known if at[name] != known[name]] == []


def test_older_runs_without_digests_are_told_by_files_and_by_names(
    again: Path, grown: Path, tmp_path: Path, cache_dir: Path
) -> None:
    split = old_split(again)
    del split["prints"]
    before = sides(split)
    (again / "split.json").write_text(json.dumps(split))
    assert all(one.bytes for one in seen_pictures(split))
    _, found, _ = divided(grown, again, cache_dir)
    assert {name: sides(found)[name] for name in before} == before
    (again / "split.json").write_text(json.dumps({**split, "root": str(tmp_path / "gone")}))
    _, found, _ = divided(grown, again, cache_dir)
    assert {name: sides(found)[name] for name in before} == before
    assert any(
        note == "dogs kept no digests of its pictures, and 96 pictures of it are no longer where they were: told by "
        "name alone"
        for note in found["notes"]
    )


def test_a_new_class_of_too_few_pictures_is_rare(
    old: Path, drawn: Path, grown: Path, tmp_path: Path, cache_dir: Path
) -> None:
    data = shutil.copytree(drawn, tmp_path / "photos")
    (data / "owl").mkdir()
    for path in sorted((grown / "n90000005-Tarn_shepherd").iterdir())[:2]:
        shutil.copy(path, data / "owl" / path.name)
    with pytest.raises(ValueError, match=r"needs at least 3 distinct readable pictures of a new class, .* 2 in `owl`"):
        divided(data, old, cache_dir, rare="refuse")
    _, split, _ = divided(data, old, cache_dir)
    assert "owl" not in split["classes"]
    assert any("a class with too few distinct readable pictures" in note for note in split["notes"])
    (tmp_path / "split.json").write_text(json.dumps(split))
    given: dict[str, Any] = {"families": ("scratch_keras",), "image_sizes": (32,), "weights": "none"}
    settings = Settings(data=str(data), cache_dir=str(cache_dir), **given)
    _, after = prepare(settings, 2, lambda line: None, saved_sides(tmp_path / "split.json"))
    assert json.loads(json.dumps(after)) == json.loads(json.dumps(split))


def test_a_resumed_run_keeps_its_sides_without_the_run_before(
    old: Path, grown: Path, tmp_path: Path, cache_dir: Path
) -> None:
    _, split, _ = divided(grown, old, cache_dir)
    settings = Settings(
        data=str(grown), cache_dir=str(cache_dir), from_run=str(tmp_path / "gone"), families=("scratch_keras",),
        image_sizes=(32,), weights="none", name="new", runs_dir=str(tmp_path),
    )  # fmt: skip
    settings.folder.mkdir()
    (settings.folder / "split.json").write_text(json.dumps(split))
    found = sides_before(settings, None)
    assert found is not None
    _, after = prepare(settings, 2, lambda line: None, found)
    assert json.loads(json.dumps(after)) == json.loads(json.dumps(split))
    assert saved_sides(tmp_path / "nothing.json") is None
    with pytest.raises(FileNotFoundError, match=rf"there is no `{tmp_path}/gone/settings\.json`"):
        run_before(settings)
    for name in ("from.json", "warm_start.json"):
        (settings.folder / name).touch()
    assert run_before(settings) is None


# --- what is searched, and first -------------------------------------------------------------------------------------


def test_what_is_not_given_is_as_it_was(old: Path, tmp_path: Path) -> None:
    given = {"data": str(tmp_path), "from_run": str(old)}
    found = starting.begun(given)
    assert (found.families, found.weights, found.image_sizes) == (("scratch_keras", "scratch_pillow"), "none", (32, 48))
    assert (found.time_budget, found.trials, found.epochs) == (1800.0, None, None)
    found = starting.begun({**given, "families": ("scratch_pillow",), "image_sizes": (64,), "trials": 3})
    assert (found.families, found.image_sizes, found.trials) == (("scratch_pillow",), (64,), 3)
    with pytest.raises(ValueError, match=rf"--from needs DATA, the pictures to go on with, got none beside `{old}`"):
        starting.begun({"from_run": str(old)})


def test_own_families_come_along_where_they_are_named(again: Path, tmp_path: Path) -> None:
    saved = json.loads((again / "settings.json").read_text())
    more = {"families": ["scratch_keras", "Net"], "hypermodel": ["mine:Net"], "set": ["dropout=0"]}
    (again / "settings.json").write_text(json.dumps({**saved, **more}))
    given = {"data": str(tmp_path), "from_run": str(again)}
    found = starting.begun(given)
    assert (found.families, found.hypermodel, found.set) == (("scratch_keras", "Net"), ("mine:Net",), ("dropout=0",))
    found = starting.begun({**given, "families": ("Net",)})
    assert (found.families, found.hypermodel, found.set) == (("Net",), ("mine:Net",), ())
    found = starting.begun({**given, "families": ("scratch_keras",)})
    assert (found.families, found.hypermodel) == (("scratch_keras",), ())


def test_the_best_of_each_family_is_tried_before_the_base(old: Path) -> None:
    before = read_predecessor(old)
    settings = Settings(families=("scratch_keras", "scratch_pillow"), image_sizes=(32, 48), weights="none")
    spaces = {family: space for family, (space, _) in spaces_of(settings, ()).items()}
    prior = with_recipes(Prior(), before, settings, spaces)
    assert prior.leader == before.family
    again = Prior.from_json(prior.to_json())
    assert again == prior
    assert list(again.lines()) == [
        f"{family} begins with {family}-00{1 if 'filters' in point and point['filters'] == 24 else 0} of dogs"
        for family, point in prior.recipes.items()
    ]
    for family, study in studies_of(settings, (), prior=prior).items():
        assert study.recipe
        config, point = study.suggest(f"{family}-000")
        assert point == prior.recipes[family]
        assert (config["batch_norm"], config["head"]) == (True, "average")
        _, second = study.suggest(f"{family}-001")
        assert second == project(spaces[family], {})[0]
        study.close()


def test_a_recipe_keeps_what_the_space_has_and_says_what_it_has_not(old: Path) -> None:
    before = read_predecessor(old)
    settings = Settings(families=("scratch_keras",), image_sizes=(64,), weights="none")
    spaces = {family: space for family, (space, _) in spaces_of(settings, ()).items()}
    prior = with_recipes(Prior(), before, settings, spaces)
    assert "with other values of `image_size`" in next(prior.lines())
    assert prior.recipes["scratch_keras"]["image_size"] == 64
    only = Study("scratch_keras", spaces["scratch_keras"], (), trials=1, seed=0, recipe=prior.recipes["scratch_keras"])
    assert only.suggest("scratch_keras-000")[1] == prior.recipes["scratch_keras"]
    assert not only.more
    only.close()


def report(course: Course, name: str, *accuracies: float) -> None:
    """A trial goes through these epochs."""
    rows = [
        {
            **{"epoch": epoch, "train_loss": 1.0, "train_accuracy": accuracy, "validation_loss": 1.0},
            **{"validation_accuracy": accuracy, "seconds": 1.0, "waiting": 0.0, "building": 0.0},
            **{"training": 1.0, "validating": 0.0},
        }
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    course.journal.start(name)
    course.reported(name, {"rows": rows})
    course.ended(name, "")


def begun_with(old: Path, folder: Path, pictures: Pictures, said: list[str], **given: Any) -> Course:
    """A course that goes on from a run, driven by hand."""
    usual = {"trials": 2, "epochs": 3, "image_sizes": (32,), "weights": "none", "runs_dir": str(folder), "name": "new"}
    settings = Settings(families=("scratch_pillow", "scratch_keras"), **{**usual, **given})
    settings.folder.mkdir(parents=True)
    spaces = {family: space for family, (space, _) in spaces_of(settings, ()).items()}
    prior = with_recipes(Prior(), read_predecessor(old), settings, spaces)
    journal = Journal(settings.folder / "trials.jsonl")
    studies = studies_of(settings, (), journal, prior=prior)
    return Course(settings, studies, journal, 1, pictures, said.append, prior.leader)


def test_the_winners_recipe_is_tried_first_and_scored_at_once(old: Path, pictures: Pictures, tmp_path: Path) -> None:
    said: list[str] = []
    course = begun_with(old, tmp_path, pictures, said)
    leader = read_predecessor(old).family
    name, job = course.next() or ("", None)
    assert (name, job and job.kind) == (f"{leader}-000", "search")
    report(course, name, 0.3, 0.6, 0.5)
    name, again = course.next() or ("", None)
    assert again is not None
    assert (name, again.kind, again.config, again.epochs, again.export) == (
        *(f"{leader}-000-recipe", "retrain", course.journal.records[f"{leader}-000"].config, 2, False),
    )
    # Its worker is lost, and it is given out again; then it is not given out any more.
    course.ended(name, "its node has died")
    assert (course.next() or ("",))[0] == name
    course.ended(name, "")
    other = "scratch_keras" if leader == "scratch_pillow" else "scratch_pillow"
    assert (course.next() or ("",))[0] == f"{other}-000"
    assert said == [f"{name} is tried again: its node has died"]
    course.journal.close()


def test_a_recipe_that_failed_or_has_no_time_is_not_scored(old: Path, pictures: Pictures, tmp_path: Path) -> None:
    said: list[str] = []
    course = begun_with(old, tmp_path, pictures, said)
    name, _ = course.next() or ("", None)
    course.journal.start(name)
    course.reported(name, {"failed": "the training loss became nan in epoch 1"})
    course.ended(name, "")
    course.next()
    reason = "the training loss became nan in epoch 1"
    assert said[-1] == f"{name}, the recipe of the run before, is not scored on test: {reason}"
    course.journal.close()
    course = begun_with(old, tmp_path / "short", pictures, said, time_budget=16.0)
    name, _ = course.next() or ("", None)
    report(course, name, 0.3, 0.6, 0.5)
    course.next()
    assert f"{name}, the recipe of the run before: no time to score it on test at once" in said
    course.journal.close()


def test_options_that_contradict_each_other_are_refused(old: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`warm_start` needs other runs than that of --from, .* got '/runs/a'"):
        Settings(from_run="/runs/a", warm_start=("/runs/a",))
    with pytest.raises(ValueError, match=rf"--explore looks at data alone: leave out --from, got `{old}`"):
        run.explore({"data": str(tmp_path), "from_run": str(old)})
    refused = rf"--resume takes no --from but that of its run, which goes on from no run, got `{tmp_path}`"
    with pytest.raises(ValueError, match=refused):
        starting.continued(old, {"from_run": str(tmp_path)})
    with pytest.raises(ValueError, match="--extend takes no --from but that of its run"):
        starting.extended(old, {"from_run": str(tmp_path), "trials": 2})


def test_the_setting_is_called_from_run_in_python(old: Path, tmp_path: Path) -> None:
    words = parsing.options([str(tmp_path), "--from", str(old)])
    assert interface.options({"data": tmp_path, "from_run": interface.open_run(old)}) == words
    assert words["from_run"] == str(old)
    assert starting.begun(words).from_run == str(old)


# --- both models on the same pictures --------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_earlier_model_names_the_new_test_pictures(
    again: Path, grown: Path, tmp_path: Path, cache_dir: Path
) -> None:
    refit(again)
    before = read_predecessor(again)
    pictures, split, _ = divided(grown, again, cache_dir)
    (tmp_path / "new").mkdir()
    (tmp_path / "new/split.json").write_text(json.dumps(split))
    said: list[str] = []
    score(before, tmp_path / "new", pictures, split, said.append)
    with np.load(tmp_path / "new/predictions/from.npz") as kept:
        probabilities, stored = kept["probabilities"], kept["stored"]
    assert probabilities.shape == (35, 4)
    assert stored.tolist() == [place is not None for place in split["from"]["test"]]
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)
    places = [place for place in split["from"]["test"] if place is not None]
    assert before.answers is not None
    assert np.array_equal(probabilities[stored], before.answers[places].astype(np.float32))
    # The same as the command that names pictures says of the same file.
    name = next(name for name, place in zip((name for name, _ in split["test"]), stored, strict=True) if not place)
    found = interface.open_run(again).predict(grown / name, top=4).set_index("class")["probability"]
    row = [name for name, _ in split["test"]].index(name)
    assert [found[one] for one in before.classes] == pytest.approx(probabilities[row].tolist(), abs=0.1)
    record = json.loads((tmp_path / "new/from.json").read_text())
    assert (record["stored"], record["answered"], record["refitted"]) == (20, 15, True)
    assert said[0] == "scoring the model of dogs on 35 test pictures"
    assert said[1].startswith("The model of dogs names ")
    assert " of 28 test pictures of its classes rightly, " in said[1]
    # Not again.
    score(before, tmp_path / "new", pictures, split, said.append)
    assert len(said) == 2


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_refused(again: Path, grown: Path, tmp_path: Path, cache_dir: Path) -> None:
    before = read_predecessor(again)
    pictures, split, _ = divided(grown, again, cache_dir)
    with zipfile.ZipFile(again / "models" / f"{before.family}.keras", "w") as model:
        model.writestr("config.json", "{}")
    with pytest.raises(ValueError, match=rf"--from cannot score the model of `{again}`: .*\.keras` cannot be loaded"):
        answer(before, tmp_path, pictures, split["from"]["test"], 1)


def written(folder: Path, old: Sequence[Sequence[float]], new: Sequence[Sequence[float]] | None, **more: Any) -> Path:
    """A run with classes x, y and the new z, and test pictures of x, x, y, z, that goes on from one with y, x, w."""
    (folder / "predictions").mkdir(parents=True)
    told: dict[str, Any] = {"name": "before", "test": [0, None, 1, None]}
    told |= {"pictures": 9, "same": 7, "added": 4, "removed": 2, "moved": 1}
    split = {"classes": ["x", "y", "z"], "test": [["1", 0], ["2", 0], ["3", 1], ["4", 2]], "from": {**told, **more}}
    (folder / "split.json").write_text(json.dumps(split))
    record = {"name": "before", "classes": ["y", "x", "w"], "family": "f", "refitted": True, "stored": 2, "answered": 2}
    (folder / "from.json").write_text(json.dumps(record))
    np.savez(folder / "predictions/from.npz", probabilities=np.array(old))
    rows = []
    if new is not None:
        np.savez(folder / "predictions/f-0.npz", probabilities=np.array(new))
        rows = [{"event": "test", "time": 1.0, "trial": "f-000", "family": "f", "seed": 0, "accuracy": 0.5}]
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


X, Y, W = [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]  # answers of a model with the classes y, x, w


def compared(folder: Path, metric: str = "accuracy") -> dict[str, Any]:
    split = json.loads((folder / "split.json").read_text())
    found = compare(folder, read_rows(folder / "trials.jsonl"), split, "f", metric)
    assert found is not None
    return found


def test_a_comparison_by_hand(tmp_path: Path) -> None:
    # The old model has the first picture right, takes the second for a class that is gone, and the third for x.
    new = [[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]]
    found = compared(written(tmp_path / "run", [X, W, X, Y], new))
    known, every, unseen = (found[name] for name in ("known", "all", "unseen"))
    shares = [(part["pictures"], part["old"]["accuracy"], part["new"]["accuracy"]) for part in (known, every, unseen)]
    assert shares == [(3, pytest.approx(1 / 3), 1.0), (4, 0.25, 0.75), (1, 0.0, 1.0)]
    assert known["difference"]["value"] == pytest.approx(2 / 3)
    assert (known["difference"]["gained"], known["difference"]["lost"], known["difference"]["p"]) == (2, 0, 0.5)
    assert [(one["class"], one["new_class"], one["pictures"], one["old"], one["new"]) for one in found["classes"]] == [
        *(("x", False, 2, 0.5, 1.0), ("y", False, 1, 0.0, 1.0), ("z", True, 1, None, 0.0)),
    ]
    assert sentence(found).startswith("The model of before names 33.3 % (")
    assert sentence(found).endswith(" of 3 test pictures of its classes rightly, 25.0 % of all 4.")
    assert "66.7 points more (95 % interval" in difference(found)
    assert "2 pictures only the new one has right, 0 only the old one" in difference(found)
    assert difference(found).endswith("it names 75.0 % rightly and the old one 25.0 %.")
    assert found["knows"] == len(found["classes"]) == 3


def test_before_there_is_a_new_model_the_old_one_stands_alone(tmp_path: Path) -> None:
    found = compared(written(tmp_path / "run", [X, W, X, Y], None))
    assert found["known"]["old"]["accuracy"] == pytest.approx(1 / 3)
    assert (found["known"]["new"], found["known"]["difference"], difference(found)) == (None, None, "")


def test_the_recipe_stands_beside_both(tmp_path: Path) -> None:
    new = [[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]]
    folder = written(tmp_path / "run", [X, W, X, Y], None)
    row = {"event": "recipe", "time": 1.0, "trial": "f-000", "family": "f", "seed": 0, "accuracy": 0.75}
    (folder / "trials.jsonl").write_text(json.dumps(row) + "\n")
    np.savez(folder / "predictions/f-000-recipe.npz", probabilities=np.array(new))
    found = compared(folder)
    assert (found["recipe"], found["compared"], found["all"]["recipe"]["accuracy"]) == ("f-000", "recipe", 0.75)
    assert difference(found).startswith("Its recipe (f-000) on the new data names 100.0 % of the same pictures rightly")


def test_another_metric_is_compared_as_well(tmp_path: Path) -> None:
    new = [[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]]
    found = compared(written(tmp_path / "run", [X, W, X, Y], new), "balanced_accuracy")["metric"]
    assert (found["name"], found["old"], found["new"]) == ("balanced_accuracy", 0.25, 1.0)
    assert found["difference"] == 0.75
    assert -1 <= found["low"] <= 0.75 <= found["high"] <= 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("from.json", "{}"),
        ("from.json", '{"classes": ["x"]}'),
        ("split.json", "{}"),
        ("split.json", '{"classes": ["x", "y", "z"], "test": [["1", 0]], "from": {"test": [0, 1]}}'),
        ("predictions/from.npz", "torn"),
    ],
)
def test_what_is_damaged_is_not_compared(name: str, content: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "run", [X, W, X, Y], None)
    (folder / name).write_text(content)
    split = json.loads((folder / "split.json").read_text())
    assert compare(folder, Rows(()), split, "f", "accuracy") is None


def test_the_interval_of_a_paired_difference() -> None:
    # Bonett and Price (2012) by hand for 20 pictures, 6 gained and 1 lost: (7 - 2) / 22 +- 1.96 sqrt(...).
    found = paired(np.array([1.0] * 6 + [-1.0] + [0.0] * 13))
    centre = 5 / 22
    half = 1.959964 * ((9 / 22 - centre**2) / 22) ** 0.5
    assert found == {"value": 0.25, "low": pytest.approx(centre - half), "high": pytest.approx(centre + half)}
    # Two models that agree on ten pictures are not surely the same.
    same = paired(np.zeros(10))
    assert same["low"] < -0.1 < 0.1 < same["high"]
    assert (mcnemar(0, 0), mcnemar(6, 1), mcnemar(8, 0)) == (1.0, 0.125, 0.0078125)
    assert mcnemar(1000, 900) == pytest.approx(0.0231, abs=1e-3)


def test_the_report_sets_both_side_by_side(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "new", trials=4, epochs=3)
    split = json.loads((folder / "split.json").read_text())
    classes = split["classes"]
    with np.load(folder / "predictions/scratch_keras-0.npz") as kept:
        np.savez(folder / "predictions/from.npz", probabilities=kept["probabilities"][:, :9])
    change = {"before": 90, "now": 150, "added": 60, "removed": 0, "moved_in": 0, "moved_out": 0}
    split["from"] = {
        **{"name": "<b>old</b>", "pictures": 810, "same": 810, "added": 690, "removed": 0, "moved": 1, "notes": []},
        "test": [place % 2 or None for place in range(300)],
        "moved_pictures": [["train/<i>.jpg", "Leonberg", "Samoyed"]],
        "changes": [{"class": name, "new": name == classes[9], "gone": False, **change} for name in classes],
    }
    (folder / "split.json").write_text(json.dumps(split))
    record = {"name": "<b>old</b>", "classes": classes[:9], "family": "mobilenet", "refitted": False, "stored": 0}
    (folder / "from.json").write_text(json.dumps(record))
    page = write_report(folder).read_text(encoding="utf-8")
    assert '<section id="before" aria-labelledby="before-head"><h2 id="before-head">The run before</h2>' in page
    assert '<li><a href="#before">The run before</a></li>' in page
    assert "<b>old" not in page
    assert f"{classes[9]} (new)" in page
    found = json.loads((folder / "results.json").read_text())["from"]
    assert (found["known"]["pictures"], found["all"]["pictures"], found["unseen"]["pictures"]) == (270, 300, 135)
    assert found["known"]["new"]["accuracy"] > found["known"]["old"]["accuracy"]
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "## The run before" in markdown
    assert "| of classes that it knows | 270 |" in markdown
    assert "It chooses among 10 classes, the old one among 9." in markdown
    assert "The baseline of a family is its best configuration of run" in markdown
    assert "Of 810 pictures of &lt;b&gt;old&lt;/b&gt; 810 are here again; 690 pictures came, 0 went, and 1 " in markdown


def test_a_run_that_goes_on_from_no_other_has_no_such_section(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "new", trials=2, epochs=2)
    assert 'id="before"' not in write_report(folder).read_text(encoding="utf-8")
    assert json.loads((folder / "results.json").read_text())["from"] is None


# --- the guide, and a whole search -----------------------------------------------------------------------------------


def test_the_example_of_the_guide(
    old: Path, grown: Path, tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = GUIDE.read_text(encoding="utf-8").split("## An example\n")[1].split("\n## ")[0]
    (command,) = re.findall(r"```bash\n(.*?)\n```", part, re.DOTALL)
    (expected,) = re.findall(r"```text\n(.*?)\n```", part, re.DOTALL)
    (tmp_path / "photos").symlink_to(grown)
    shutil.copytree(old, tmp_path / "runs/dogs")
    monkeypatch.chdir(tmp_path)
    settings = starting.begun(parsing.options([*shlex.split(command)[2:], "--cache-dir", str(cache_dir)]))
    said: list[str] = []
    _, split = prepare(settings, 2, said.append, run_before(settings))
    assert said[0] == expected
    kept = Counter(side for name, side in sides(split).items() if name in sides(old_split(old)))
    numbers = ", ".join(f"{count} in {side}" for side, count in kept.items())
    every = sum(split["sizes"].values())
    assert f"Of {every} pictures {kept.total()} are known again. Their sides stay: {numbers}." in part
    assert f"The other {split['from']['added']} are divided" in part


@pytest.mark.slow
def test_a_whole_search_goes_on_from_a_run(
    ray_cluster: None, again: Path, grown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refit(again)
    where = ["--cache-dir", str(tmp_path / "cache"), "--dashboard", "off"]
    words = [
        *(str(grown), "--from", str(again), "--trials", "2", "--epochs", "2", "--image-sizes", "32"),
        *("--final-seeds", "1", "--finalists", "1", "--name", "new", "--runs-dir", str(tmp_path / "runs"), *where),
    ]
    assert run.main(words) == 0
    folder = tmp_path / "runs/new"
    rows = read_rows(folder / "trials.jsonl")
    before = read_predecessor(again)
    first = next(row for row in rows.records if row["event"] == "start")
    assert first["trial"] == f"{before.family}-000"
    assert (first["config"]["batch_norm"], first["config"]["head"]) == (True, "average")
    taken = rows.recipe()
    assert taken is not None
    assert taken["trial"] == f"{before.family}-000"
    # At once: before the family is scored for good.
    events = [row["event"] for row in rows.records]
    assert events.index("recipe") < events.index("test")
    results = json.loads((folder / "results.json").read_text())
    found = results["from"]
    assert (found["compared"], found["stored"]) == ("new", 20)
    assert (found["all"]["pictures"], found["known"]["pictures"]) == (35, 28)
    assert found["known"]["recipe"]["accuracy"] is not None
    assert found["known"]["difference"]["low"] <= found["known"]["difference"]["value"]
    assert [one["class"] for one in found["classes"] if one["new_class"]] == ["Tarn shepherd"]
    assert "The model of dogs names" in (folder / "log.txt").read_text()
    # It goes on without the run that it went on from.
    shutil.rmtree(again)
    capsys.readouterr()
    assert run.main(["--resume", str(folder), "--trials", "3", *where]) == 0
    after = read_rows(folder / "trials.jsonl")
    assert after.records[: len(rows.records)] == rows.records
    assert after.skipped == 0
    assert len(after.of(before.family)) == 3
    assert sum(row["event"] == "recipe" for row in after.records) == 1
    assert interface.open_run(folder).predict(next(grown.glob("*/*.jpg")))["class"].notna().all()
    # And another goes on from it.
    given = starting.begun(parsing.options([str(grown), "--from", str(folder)]))
    assert isinstance(run_before(given), Predecessor)
