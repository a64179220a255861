"""Sets that a library has as data: Hugging Face's, and TensorFlow's, each written here by the library itself."""

import importlib.util
import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import SPELLINGS, drawn, folder, laid, prepared, side_of, spelled
from PIL import Image

from search import parsing, starting
from search import run as command
from search.data import library
from search.data.library import check_set
from search.settings import Settings

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="needs Hugging Face's datasets: pip install -e '.[hf]'"
)
needs_tfds = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None,
    reason="needs TensorFlow Datasets: pip install -e '.[tfds]'",
)
BREEDS = ["siamese", "sphynx", "corgi", "pug"]  # as a set may number them


def shown(record: dict[str, Any]) -> list[list[tuple[str, bytes]]]:
    """For each side the classes of its pictures and their pixels."""
    return [
        sorted(
            (record["classes"][label], np.asarray(Image.open(Path(record["root"]) / name)).tobytes())
            for name, label in record[side]
        )
        for side in ("train", "validation", "test")
    ]


def _on(side: int, name: str) -> bool:
    return bool(side_of(name) == side)


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def hugging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, with its folders in one of the test's own."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hugging")
    datasets.disable_progress_bars()
    return datasets


def saved(
    datasets: Any, place: Path, keep: Callable[[str], bool] = lambda name: True, **more: tuple[Any, list[Any]]
) -> Any:
    """The drawn pictures as a set with classes, and with more columns, of which each has its feature and its values."""
    rows = [(image, BREEDS.index(breed)) for name, (_, breed, image) in drawn().items() if keep(name)]
    features = {"image": datasets.Image(), "labels": datasets.ClassLabel(names=BREEDS)}
    columns = {"image": [image for image, _ in rows], "labels": [label for _, label in rows]}
    features |= {name: feature for name, (feature, _) in more.items()}
    columns |= {name: values for name, (_, values) in more.items()}
    found = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    found.save_to_disk(place)
    return found


@needs_datasets
def test_a_saved_set_gives_what_the_folder_gives(hugging: Any, tmp_path: Path) -> None:
    saved(hugging, tmp_path / "set")
    expected = prepared(tmp_path / "cache", folder(tmp_path))
    record = prepared(tmp_path / "cache", {"data": f"hf:{tmp_path}/set"})
    assert (record["classes"], record["pixels"]) == (expected["classes"], expected["pixels"])
    assert shown(record) == shown(expected)
    assert record["title"] == f"hf:{tmp_path}/set"


@needs_datasets
def test_splits_are_sides_however_they_are_spelled(hugging: Any, tmp_path: Path) -> None:
    expected = prepared(tmp_path / "cache", spelled(SPELLINGS[0])(tmp_path))
    sets = {
        name: saved(hugging, tmp_path / name, partial(_on, side))
        for side, name in enumerate(("training", "valid", "test"))
    }
    whole = hugging.DatasetDict({**sets, "extra": sets["test"]})
    whole.save_to_disk(tmp_path / "set")
    given = {"data": f"hf:{tmp_path}/set"}
    record = prepared(tmp_path / "cache", given)
    assert shown(record) == shown(expected)
    assert record["notes"][0] == "not used: the splits `extra`, which are no sides"
    joined = prepared(tmp_path / "cache", given | {"split_column": "none", "duplicates": "off"})
    assert sum(joined["sizes"].values()) == 32
    hugging.DatasetDict({name: sets[name] for name in ("valid", "test")}).save_to_disk(tmp_path / "half")
    with pytest.raises(ValueError, match=r"needs a split for training, and `hf:.*` has `valid`, `test`; --split-co"):
        prepared(tmp_path / "cache", {"data": f"hf:{tmp_path}/half"})


@needs_datasets
def test_a_folder_that_the_library_reads(hugging: Any, tmp_path: Path) -> None:
    laid(tmp_path / "pets", lambda name, _, breed: f"{breed}/{name}")
    expected = prepared(tmp_path / "cache", {"data": tmp_path / "pets"})
    assert shown(prepared(tmp_path / "cache", {"data": f"hf:{tmp_path}/pets"})) == shown(expected)


@needs_datasets
def test_what_is_not_labelled_is_counted_and_what_is_brought_is_not_written_again(hugging: Any, tmp_path: Path) -> None:
    rows = saved(hugging, tmp_path / "set")
    labels = [-1 if number < 3 else label for number, label in enumerate(rows["labels"])]
    changed = rows.remove_columns("labels").add_column("labels", labels, feature=rows.features["labels"])
    changed.save_to_disk(tmp_path / "less")
    settings = Settings(data=f"hf:{tmp_path}/less", cache_dir=str(tmp_path / "cache"))
    said: list[str] = []
    place = library.bring_set(settings, said.append)
    assert library.read_set(place)[0] == ["not used: 3 of split `all` without a class"]
    assert len(library.read_set(place)[1]) == 21
    assert library.bring_set(settings, said.append) == place
    assert said == [f"writing the pictures of hf:{tmp_path}/less into the cache"]
    assert library.bring_set(Settings(data=f"hf:{tmp_path}/set", cache_dir=settings.cache_dir), said.append) != place


@needs_datasets
def test_columns_are_found_or_named(hugging: Any, tmp_path: Path) -> None:
    def species(name: str) -> int:
        return int(drawn()[name][0] == "dog")

    text = hugging.Value("string")
    saved(
        hugging, tmp_path / "set",
        kind=(hugging.ClassLabel(names=["cat", "dog"]), [species(name) for name in drawn()]),
        words=(text, [f"a {breed}" for _, breed, _ in drawn().values()]),
        session=(hugging.Value("int64"), [int(name[-1]) for name in drawn()]),
        weight=(hugging.Value("float32"), [0.5] * 24),
        tags=(hugging.List(text), [["a", "b"]] * 24),
    )  # fmt: skip
    given = {"data": f"hf:{tmp_path}/set"}
    # Of two columns of classes one has a usual name.
    record = prepared(tmp_path / "cache", given)
    assert record["classes"] == sorted(BREEDS)
    assert "the groups are those of column `session`" in " ".join(record["notes"])
    assert prepared(tmp_path / "cache", given | {"label_column": "kind"})["classes"] == ["cat", "dog"]
    assert prepared(tmp_path / "cache", given | {"label_column": "words"})["classes"][0] == "a corgi"
    for named, message in {
        "breed": r"--label-column needs the name of a column, got `breed`, and `hf:.*` has `image`, `labels`, `kind`",
        "weight": r"needs one class a picture, and `weight` of `hf:.*` holds float32 values",
        "tags": r"needs one class a picture, and `tags` of `hf:.*` holds several values",
    }.items():
        with pytest.raises(ValueError, match=message):
            prepared(tmp_path / "cache", given | {"label_column": named})
    with pytest.raises(ValueError, match=r"needs a column of pictures, and `words` of `hf:.*` holds text"):
        prepared(tmp_path / "cache", given | {"image_column": "words"})
    saved(
        hugging, tmp_path / "two", other=(hugging.Image(), [image for _, _, image in drawn().values()])
    ).rename_column("image", "left").save_to_disk(tmp_path / "pairs")
    with pytest.raises(ValueError, match=r"a column of pictures, .*, of which `left`, `other` could each be it; --im"):
        prepared(tmp_path / "cache", {"data": f"hf:{tmp_path}/pairs"})


@needs_datasets
def test_a_name_is_asked_for_with_its_configuration_and_revision(
    hugging: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hub itself is not reached from a test.
    asked = []
    whole = hugging.DatasetDict({"train": saved(hugging, tmp_path / "set")})

    def load(name: str, config: str | None, *, revision: str | None) -> Any:
        asked.append((name, config, revision))
        return whole

    monkeypatch.setattr(hugging, "load_dataset", load)
    for name in ("beans", "owner/name@v1.0", "owner/name/config@refs/pr/1"):
        library.bring_set(Settings(data=f"hf:{name}", cache_dir=str(tmp_path / "cache")), print)
    assert asked == [("beans", None, None), ("owner/name", None, "v1.0"), ("owner/name", "config", "refs/pr/1")]


@needs_datasets
def test_a_set_that_cannot_be_loaded(hugging: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises((OSError, ValueError), match=r"`hf:.*empty` cannot be loaded by datasets: "):
        prepared(tmp_path / "cache", {"data": f"hf:{tmp_path}/empty"})
    assert list(tmp_path.glob("cache/fetched/*.part")) == []


@needs_datasets
def test_a_set_is_explored(hugging: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(hugging, tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    line = ["--explore", "hf:./set", "--cache-dir", str(tmp_path / "cache"), "--name", "look"]
    assert command.main(line) == 0
    record = json.loads((tmp_path / "runs/look/exploration.json").read_text())
    assert record["source"] == f"hf:{tmp_path}/set"
    assert [entry["class"] for entry in record["classes"]] == sorted(BREEDS)


@needs_datasets
def test_the_example_of_the_guide(hugging: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs/guide/data.md").read_text(encoding="utf-8")
    part = page.split("## Sets of libraries\n")[1].split("\n## ")[0]
    laid(tmp_path / "classes", lambda name, _, breed: f"{breed}/{name}")
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    exec(compile(program, "data.md", "exec"), {})
    last = part.split("```bash\n")[2].split("```")[0].split()
    settings = starting.begun(
        parsing.options([*last[2:], "--cache-dir", str(tmp_path / "cache"), "--image-sizes", "32"])
    )
    assert settings.data == f"hf:{tmp_path}/saved"
    check_set(settings)
    _, told = library.read_set(library.bring_set(settings, print))
    assert {label for _, label, _, _ in told} == set(BREEDS)


@needs_tfds
def test_a_set_of_tensorflow_gives_what_the_folders_give(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")

    class Pets(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc, name-defined]
        """Drawn pictures."""

        VERSION = tfds.core.Version("1.0.0")
        RELEASE_NOTES = {"1.0.0": "the first"}  # noqa: RUF012

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=BREEDS)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {name: self._generate_examples(side) for side, name in enumerate(("train", "validation", "test"))}

        def _generate_examples(self, side: int) -> Any:
            for name, (_, breed, image) in drawn().items():
                if side_of(name) == side:
                    yield name, {"image": io.BytesIO(encoded(image)), "label": breed}

    builder = Pets(data_dir=tmp_path / "sets")
    builder.download_and_prepare()
    expected = prepared(tmp_path / "cache", spelled(SPELLINGS[0])(tmp_path))
    record = prepared(tmp_path / "cache", {"data": f"tfds:{builder.data_dir}"})
    assert record["classes"] == sorted(BREEDS)
    assert (record["pixels"], shown(record)) == (expected["pixels"], shown(expected))
    with pytest.raises(ValueError, match=r"--label-column needs the name of a column, got `breed`, and `tfds:.*` has"):
        prepared(tmp_path / "cache", {"data": f"tfds:{builder.data_dir}", "label_column": "breed"})
    with pytest.raises((OSError, ValueError), match=r"`tfds:no_such_set_at_all` cannot be loaded by tensor"):
        library.bring_set(Settings(data="tfds:no_such_set_at_all", cache_dir=str(tmp_path)), print)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "hf:"}, r"a set needs the form hf:NAME, hf:OWNER/NAME or .*, got `hf:`"),
        ({"data": "hf:a/b/c/d"}, r"a set needs the form hf:NAME, .*, got `hf:a/b/c/d`"),
        ({"data": "hf:a b"}, r"a set needs the form hf:NAME, .*, got `hf:a b`"),
        ({"data": "tfds:a/b/c"}, r"a set needs the form tfds:NAME or tfds:NAME/CONFIG, .*, got `tfds:a/b/c`"),
        ({"data": "hf:beans", "images": "photos"}, "--images needs a folder or a table, and `hf:beans` tells classes"),
        ({"data": "hf:beans", "label_from": "parent"}, "--label-from needs a folder or a table, and `hf:beans`"),
        ({"data": "tfds:beans", "split_column": "part"}, "--split-column needs a folder or a table, and `tfds:beans`"),
    ],
)
def test_what_names_no_set(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_set(Settings(**values))


def test_a_folder_of_a_set_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"and there is no folder `{tmp_path}/none`"):
        check_set(Settings(data=f"hf:{tmp_path}/none"))


def test_a_library_that_is_not_installed_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "PACKAGES", {"hf": ("no-such-package", "datasets>=4"), "tfds": ("none-such", "b")})
    for name in ("hf:beans", "hf:owner/name/config@main", "tfds:mnist", "tfds:a/b:1.*.*"):
        with pytest.raises(ValueError, match=rf"`{re.escape(name)}` needs the package no.*, and it is not .*: pip"):
            check_set(Settings(data=name))


def test_the_settings_keep_a_set_and_the_whole_path_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert starting.begun(parsing.options(["hf:owner/name@1.0"])).data == "hf:owner/name@1.0"
    assert starting.begun(parsing.options(["tfds:./sets/pets/1.0.0"])).data == f"tfds:{tmp_path}/sets/pets/1.0.0"
    assert starting.begun(parsing.options(["hf:owner/name@1.0"])).name.startswith("name-1-0-2")
    saved = tmp_path / "runs" / "old"
    saved.mkdir(parents=True)
    (saved / "settings.json").write_text(Settings(data="hf:beans", name="old").to_json())
    assert starting.continued(saved, {}).data == "hf:beans"
