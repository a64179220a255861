"""The mistakes that a run kept: read from `mistakes/`, with the names that its split gives them."""

import base64
from pathlib import Path
from typing import Any

from results.numbers import read_record

# A thumbnail is a few kilobytes; what is larger is none of ours and has no place in the page.
LARGEST = 60_000


def read_mistakes(run_dir: Path, family: str, split: dict[str, Any]) -> dict[str, Any] | None:
    """The most confident wrong test pictures of a family's model, with names and pictures as data URIs.

    None where the run kept none; a broken entry is passed over, since a report must still be written.
    """
    record = read_record(run_dir / "mistakes" / f"{family}.json")
    classes = split.get("classes") or []
    found = []
    for mistake in record.get("mistakes") or []:
        try:
            nearest = mistake["nearest"]
            found.append(
                {
                    "name": split["test"][mistake["place"]][0],
                    "true": classes[mistake["true"]],
                    "predicted": classes[mistake["predicted"]],
                    "probability": float(mistake["probability"]),
                    "true_probability": float(mistake["true_probability"]),
                    "picture": data_uri(run_dir / "mistakes" / mistake["picture"]),
                    "where": data_uri(run_dir / "mistakes" / mistake["where"]) if "where" in mistake else None,
                    "nearest": {
                        "name": split[nearest["side"]][nearest["place"]][0],
                        "class": classes[nearest["label"]],
                        "side": nearest["side"],
                        "similarity": float(nearest["similarity"]),
                        "picture": data_uri(run_dir / "mistakes" / nearest["picture"]),
                    },
                }
            )
        except (KeyError, IndexError, TypeError, ValueError, OSError):
            continue
    if not record:
        return None
    counts = {key: record.get(key) if isinstance(record.get(key), int) else 0 for key in ("wrong", "test", "compared")}
    return {**counts, "mistakes": found}


def data_uri(path: Path) -> str:
    """A small JPEG as an address that carries it; raises ValueError for anything else."""
    content = path.read_bytes()
    if len(content) > LARGEST or content[:2] != b"\xff\xd8":
        raise ValueError(f"needs a JPEG of at most {LARGEST:,} bytes, got `{path}`")
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
