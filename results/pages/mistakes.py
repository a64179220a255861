"""The mistakes that a run kept: read from `mistakes/`, with the names that its split gives them."""

import base64
from pathlib import Path
from typing import Any

from results.records import read_record

# A thumbnail is a few kilobytes; what is larger is none of ours and has no place in the page.
LARGEST = 60_000


def read_mistakes(run_dir: Path, family: str, split: dict[str, Any]) -> dict[str, Any] | None:
    """The most confident wrong test pictures of a family's model, with names and pictures as data URIs.

    None where the run kept none; a broken entry is passed over, since a report must still be written.
    """
    record = read_record(run_dir / "mistakes" / f"{family}.json")
    classes = split.get("classes") or []
    found = []
    kept = record.get("mistakes")
    for mistake in kept if isinstance(kept, list) else []:
        try:
            nearest = mistake["nearest"]
            if (
                min(mistake[key] for key in ("place", "true", "predicted")) < 0
                or min(nearest["place"], nearest["label"]) < 0
            ):
                continue
            found.append(
                {
                    "name": split["test"][mistake["place"]][0],
                    "true": classes[mistake["true"]],
                    "predicted": classes[mistake["predicted"]],
                    "probability": float(mistake["probability"]),
                    "true_probability": float(mistake["true_probability"]),
                    "picture": data_uri(_inside(run_dir, mistake["picture"])),
                    "where": data_uri(_inside(run_dir, mistake["where"])) if "where" in mistake else None,
                    "nearest": {
                        "name": split[nearest["side"]][nearest["place"]][0],
                        "class": classes[nearest["label"]],
                        "side": nearest["side"],
                        "similarity": float(nearest["similarity"]),
                        "picture": data_uri(_inside(run_dir, nearest["picture"])),
                    },
                }
            )
        except (KeyError, IndexError, TypeError, ValueError, OSError):
            continue
    if not record:
        return None
    counts = {key: int(record[key]) if isinstance(record.get(key), int) else 0 for key in ("wrong", "test", "compared")}
    return {**counts, "mistakes": found}


def _inside(run_dir: Path, name: str) -> Path:
    """A file of `mistakes/`; raises ValueError for a name that leads elsewhere."""
    if Path(name).name != name:
        raise ValueError(f"needs the name of a file in mistakes/, got {name!r}")
    return run_dir / "mistakes" / name


def data_uri(path: Path) -> str:
    """A small JPEG as an address that carries it; raises ValueError for anything else."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise ValueError(f"needs a JPEG of at most {LARGEST:,} bytes, got `{path}`")
    content = path.read_bytes()
    if content[:2] != b"\xff\xd8":
        raise ValueError(f"needs a JPEG of at most {LARGEST:,} bytes, got `{path}`")
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
