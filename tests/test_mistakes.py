import json
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from results.pages.mistakes import data_uri, read_mistakes
from search.training.mistakes import features, lit, occlusion


def network() -> keras.Model:
    """Says class 1 the surer the brighter the left half is, and knows nothing of the right half."""
    pictures = keras.Input((16, 16, 3), dtype="uint8")
    left = keras.ops.mean(keras.ops.cast(pictures, "float32")[:, :, :8] / 255.0, axis=(1, 2, 3))
    inner_inputs = keras.Input((1,))
    dense = keras.layers.Dense(2, kernel_initializer="zeros")
    inner = keras.Model(inner_inputs, keras.layers.Softmax()(dense(inner_inputs)))
    dense.set_weights([np.array([[0.0, 8.0]]), np.array([0.0, 0.0])])
    return keras.Model(pictures, inner(keras.ops.expand_dims(left, 1)))


def test_features_are_what_enters_the_last_dense_layer_even_of_a_model_within() -> None:
    model = network()
    batch = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (0, 51, 255)])
    np.testing.assert_allclose(features(model, batch), [[0.0], [0.2], [1.0]], atol=1e-6)
    # Listening leaves nothing behind.
    np.testing.assert_allclose(np.asarray(model(batch))[0], [0.5, 0.5])


def test_covering_tells_where_the_answer_comes_from() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :8] = 255
    heat = occlusion(network(), picture, 1)
    assert heat.shape == (8, 8)
    assert heat[:3, :3].min() > 0.005
    # The right half, and the dark corner that covering makes brighter, take nothing away.
    assert heat[:, 6:].max() == 0
    assert heat[6:, :3].max() == 0


def test_the_bright_part_is_where_the_heat_is() -> None:
    shown = lit(np.full((8, 8, 3), 200, np.uint8), np.array([[1.0, 0.0], [0.0, 0.0]], np.float32))
    assert shown[0, 0].sum() > 2 * shown[7, 7].sum()
    np.testing.assert_array_equal(lit(np.full((4, 4, 3), 100, np.uint8), np.zeros((2, 2), np.float32)), 35)


def test_the_kept_mistakes_are_the_surest_wrong_answers_of_the_saved_predictions(trained_run: Path) -> None:
    split = json.loads((trained_run / "split.json").read_text())
    for family in ("scratch_keras", "scratch_pillow"):
        with np.load(trained_run / "predictions" / f"{family}-0.npz") as saved:
            probabilities = saved["probabilities"]
        wrong = [
            (-float(row.max()), place)
            for place, (row, (_, label)) in enumerate(zip(probabilities, split["test"], strict=True))
            if row.argmax() != label
        ]
        expected = [split["test"][place][0] for _, place in sorted(wrong)[:12]]
        found = read_mistakes(trained_run, family, split)
        assert found is not None
        assert found["wrong"] == len(wrong)
        assert found["compared"] == 76
        assert [mistake["name"] for mistake in found["mistakes"]] == expected
        assert sum(mistake["where"] is not None for mistake in found["mistakes"]) == min(3, len(wrong))
        for mistake in found["mistakes"]:
            assert f"-{mistake['true']}/" in mistake["name"].replace("_", " ")
            assert mistake["true"] != mistake["predicted"]
            assert f"-{mistake['nearest']['class']}/" in mistake["nearest"]["name"].replace("_", " ")
            assert mistake["nearest"]["side"] in ("train", "validation")
            assert 0.0 < mistake["nearest"]["similarity"] <= 1.0 + 1e-6


def test_the_nearest_picture_is_found_again_from_the_saved_model(trained_run: Path) -> None:
    split = json.loads((trained_run / "split.json").read_text())
    found = read_mistakes(trained_run, "scratch_keras", split)
    assert found is not None
    model = keras.saving.load_model(trained_run / "models" / "scratch_keras.keras", compile=False)
    learnt = [name for side in ("train", "validation") for name, _ in split[side]]

    def seen(names: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        opened = [np.asarray(Image.open(Path(split["data"]) / name).convert("RGB")) for name in names]
        vectors = features(model, np.stack(opened))
        unit: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = vectors / np.linalg.norm(vectors, axis=1)[:, None]
        return unit

    similar = seen([mistake["name"] for mistake in found["mistakes"]]) @ seen(learnt).T
    for mistake, row in zip(found["mistakes"], similar, strict=True):
        # Resized by the model instead of Pillow, a grey level may differ.
        assert row[learnt.index(mistake["nearest"]["name"])] >= row.max() - 2e-3
        assert mistake["nearest"]["similarity"] == pytest.approx(float(row.max()), abs=2e-3)


def test_a_broken_record_is_passed_over(tmp_path: Path) -> None:
    assert read_mistakes(tmp_path, "mobilenet", {}) is None
    (tmp_path / "mistakes").mkdir()
    record = {"wrong": 2, "test": 9, "compared": 4, "mistakes": [{"place": 99}, {"place": 0, "picture": "gone.jpg"}]}
    (tmp_path / "mistakes" / "mobilenet.json").write_text(json.dumps(record))
    found = read_mistakes(tmp_path, "mobilenet", {"test": [["a.jpg", 0]], "classes": ["a"]})
    assert found == {"wrong": 2, "test": 9, "compared": 4, "mistakes": []}


def test_only_a_small_jpeg_is_carried(tmp_path: Path) -> None:
    content = BytesIO()
    Image.new("RGB", (4, 4)).save(content, "JPEG")
    (tmp_path / "a.jpg").write_bytes(content.getvalue())
    assert data_uri(tmp_path / "a.jpg").startswith("data:image/jpeg;base64,/9j/")
    (tmp_path / "b.jpg").write_bytes(b"<script>")
    with pytest.raises(ValueError, match=r"^needs a JPEG of at most 60,000 bytes, got `.*b\.jpg`$"):
        data_uri(tmp_path / "b.jpg")
