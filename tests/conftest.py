from pathlib import Path

import pytest

from search.images.demo import draw_demo


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 4 drawn breeds with 24 pictures of 48 pixels each."""
    return draw_demo(tmp_path_factory.mktemp("drawn") / "dogs", breeds=4, pictures=24, size=48)
