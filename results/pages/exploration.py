"""The data page: what a folder of pictures holds, drawn from `exploration.json` alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results.analysis import numbers, verdict
from results.drawing import svg
from results.markup import beside, grid, items, text, write_aside

ACCENT = "#0c958a"
MOST_FILES = 200
MOST_CLASSES = 200  # that a table lists: the commonest and the rarest
NO_DUPLICATES = {
    "near": "No two pictures are nearly the same.",
    "exact": "No picture is there twice; near-duplicates were not looked for (--duplicates exact).",
    "off": "Copies were not looked for (--duplicates off).",
}


def write_exploration(folder: Path) -> Path:
    """Write data.html from the exploration.json beside it; raises FileNotFoundError where there is none."""
    path = folder / "exploration.json"
    if not path.is_file():
        raise FileNotFoundError(f"needs the record of an exploration, got no file at `{path}`")
    write_aside(folder / "data.html", data_page(json.loads(path.read_text(encoding="utf-8"))))
    return folder / "data.html"


def data_page(record: dict[str, Any]) -> str:
    """One page without scripts."""
    sections = {
        "classes": ("Classes", _classes(record)),
        "sizes": ("Sizes", _sizes(record)),
        "colours": ("Colours", _colours(record)),
        "samples": ("Samples", _samples(record)),
        "duplicates": ("Near-duplicates", _duplicates(record)),
        "files": ("Files left out", _files(record)),
        "treatments": ("Treatments", _treatments(record)),
    }
    links = "".join(f'<li><a href="#{name}">{heading}</a></li>' for name, (heading, _) in sections.items())
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-head"><h2 id="{name}-head">{heading}</h2>{part}</section>'
        for name, (heading, part) in sections.items()
    )
    style = beside("report.css")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(record['title'])}: data</title><style>{style}</style></head><body>"
        '<a class="skip" href="#classes">To the classes</a><header>'
        f'<p class="eyebrow">Pedigree, data <b>{text(record["title"])}</b></p><h1>{text(headline(record))}</h1>'
        f'<p class="effort">{text(record["source"])}, digest {text(record["digest"])}. Looked at in '
        f"{text(verdict.duration(record['seconds']))}.</p></header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>{body}</main></body></html>\n'
    )


def headline(record: dict[str, Any]) -> str:
    """The data in one sentence."""
    left, groups = len(record["left_out"]), record["duplicates"]["groups"]
    kinds = (
        f"with any of {len(record['classes']):,} labels"
        if several(record)
        else f"of {len(record['classes']):,} classes"
    )
    return (
        f"{verdict.plural(record['pictures'], 'picture')} {kinds}; "
        f"{verdict.plural(left, 'file')} left out, {verdict.plural(groups, 'group')} of near-duplicates."
    )


def several(record: dict[str, Any]) -> bool:
    """Whether a picture may have several labels, which `classes` holds then."""
    return record.get("multilabel") is True


def remarks(record: dict[str, Any]) -> list[str]:
    """What somebody who is about to search should know, as far as the numbers tell."""
    counts = {entry["class"]: entry["pictures"] for entry in record["classes"]}
    most = max(counts.values())
    few = [name for name, count in counts.items() if numbers.uneven([count, most])]
    said = [f"A search of this data is refused: {record['obstacle']}."] if record.get("obstacle") else []
    said += [str(note) for note in record["notes"]]
    if few and several(record):
        said.append(
            f"Rare labels: {', '.join(few[:8])}{' and others' if len(few) > 8 else ''} "
            f"{'have' if len(few) > 1 else 'has'} less than a third of the pictures of the commonest one."
        )
    elif few:
        share = most / sum(counts.values())
        said.append(
            f"Always naming {max(counts, key=counts.__getitem__)} would be right for {verdict.percent(share)} of the "
            "pictures: an accuracy near that means nothing, balanced accuracy counts all classes alike."
        )
        said.append(
            f"Uneven classes: {', '.join(few[:8])}{' and others' if len(few) > 8 else ''} "
            f"{'have' if len(few) > 1 else 'has'} less than a third of the largest class's pictures."
        )
    if record["small"]:
        share = record["small"] / record["pictures"]
        said.append(
            f"{verdict.plural(record['small'], 'picture')} ({verdict.percent(share)}) have a shorter side below "
            f"{record['largest_size']} pixels, the largest size that a search may choose, and are enlarged there."
        )
    shown = record["duplicates"]["shown"]
    mixed = record["duplicates"].get("mixed", sum(len(group["classes"]) > 1 for group in shown))
    if mixed:
        said.append(f"{verdict.plural(mixed, 'group')} of near-duplicates mix classes: a label is wrong, or both hold.")
    return said or ["Nothing stands out."]


def _classes(record: dict[str, Any]) -> str:
    most = max(entry["pictures"] for entry in record["classes"])
    bars = "".join(
        f'<tr><th scope="row">{text(entry["class"])}</th><td class="n">{entry["pictures"]:,}</td>'
        f'<td class="wide"><i class="level" style="width:{100 * entry["pictures"] / most:.1f}%"></i></td>'
        f'<td class="n">{entry["unreadable"] or ""}</td></tr>'
        for entry in sorted(listed(record["classes"]), key=lambda entry: -int(entry["pictures"]))
    )
    return (
        f'<aside class="caveats" aria-label="Remarks"><h3>Before you search</h3>{items(remarks(record))}</aside>'
        '<div class="sheet scroll" tabindex="0"><table><caption>Readable pictures of each class, and files that look '
        f'like pictures and cannot be read{_cut(record)}.</caption><thead><tr><th scope="col">Class</th>'
        '<th scope="col" class="n">Pictures</th><th scope="col"></th><th scope="col" class="n">Unreadable</th></tr>'
        "</thead>"
        f"<tbody>{bars}</tbody></table></div>"
    )


def _sizes(record: dict[str, Any]) -> str:
    sizes = [(width, height) for width, height in record["sizes"]]
    ratios = [width / height for width, height in sizes]
    if len(set(sizes)) == 1:
        return f"<p>Every picture has {sizes[0][0]:,} by {sizes[0][1]:,} pixels.</p>"
    drawn = svg.scatter(sizes, ("width in pixels", "height"), "Widths and heights of the pictures.", ACCENT)
    shapes = svg.histogram(svg.bins(ratios), "width over height", "Pictures by width over height.", ACCENT)
    lines = [
        [entry["class"], *("{2:,} ({0:,} to {4:,})".format(*entry[side]) for side in ("width", "height"))]
        for entry in listed(record["classes"])
    ]
    table = grid(
        f"Median width and height of each class, smallest to largest{_cut(record)}.",
        ("Class", "Width", "Height"),
        lines,
    )
    cut = f" {len(sizes):,} of {record['pictures']:,} pictures." if len(sizes) < record["pictures"] else ""
    return (
        f'<div class="pair"><figure class="sheet"><h3>Width and height</h3>{drawn}<figcaption>The files themselves, '
        f'upright.{cut}</figcaption></figure><figure class="sheet"><h3>Aspect ratio</h3>{shapes}<figcaption>Pictures '
        "are cropped to their middle square: far from 1, much is cut off.</figcaption></figure></div>"
        f'<details class="sheet"><summary>By class</summary>{table}</details>'
    )


def _colours(record: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{text(entry["class"])}</th><td><i class="swatch" style="background:rgb('
        f'{",".join(str(round(level)) for level in entry["mean"])})"></i></td>'
        + "".join(
            f'<td class="n">{level:.0f}</td>' for level in (*entry["mean"], entry["brightness"], entry["contrast"])
        )
        + "</tr>"
        for entry in listed(record["classes"])
    )
    heads = "".join(
        f'<th scope="col" class="n">{name}</th>' for name in ("Red", "Green", "Blue", "Brightness", "Contrast")
    )
    levels = svg.channels(record["levels"], "Histogram of red, green and blue levels of up to 500 pictures.")
    return (
        f'<figure class="sheet"><h3>Levels of red, green and blue</h3><div class="levels">{levels}</div><figcaption>'
        "From 0 on the left to 255 on the right, over at most 500 pictures.</figcaption></figure>"
        '<div class="sheet scroll" tabindex="0"><table><caption>Mean level of each channel, mean brightness, and '
        "contrast: the mean standard deviation within a picture. Classes that differ here can be told apart without "
        f'looking at shapes{_cut(record)}.</caption><thead><tr><th scope="col">Class</th><th scope="col"></th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def listed(classes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All classes in their order, or of many the commonest and the rarest ones."""
    if len(classes) <= MOST_CLASSES:
        return list(classes)
    order = sorted(range(len(classes)), key=lambda place: -int(classes[place]["pictures"]))
    kept = {*order[: MOST_CLASSES // 2], *order[-(MOST_CLASSES // 2) :]}
    return [entry for place, entry in enumerate(classes) if place in kept]


def _cut(record: dict[str, Any]) -> str:
    count = len(record["classes"])
    half = MOST_CLASSES // 2
    return f"; the {half} commonest and the {half} rarest of {count:,} classes" if count > MOST_CLASSES else ""


def _samples(record: dict[str, Any]) -> str:
    drawn = [entry for entry in record["classes"] if entry["sheet"] is not None]
    few = f"<p>{len(drawn):,} of {len(record['classes']):,} classes.</p>" if len(drawn) < len(record["classes"]) else ""
    return few + "".join(
        f'<figure class="sheet"><h3>{text(entry["class"])}</h3>{_sheet(entry["sheet"], entry["sampled"])}</figure>'
        for entry in drawn
    )


def _sheet(sheet: dict[str, Any], names: list[str]) -> str:
    width, height = sheet["side"] * sheet["count"], sheet["side"]
    said = f"{verdict.plural(sheet['count'], 'picture')}: {', '.join(names)}"
    return (
        f'<div class="scroll" tabindex="0"><img class="strip-of" src="data:image/jpeg;base64,{sheet["picture"]}" '
        f'alt="{text(said)}" title="{text(said)}" width="{width}" height="{height}"></div>'
    )


def _duplicates(record: dict[str, Any]) -> str:
    found = record["duplicates"]
    rule = found.get("rule", "near")
    if not found["groups"]:
        return f"<p>{NO_DUPLICATES[rule]}</p>"
    shown = "".join(
        f'<figure class="sheet">{_sheet(group["sheet"], group["names"])}<figcaption>{text(", ".join(group["names"]))}: '
        f"{'the same pixels' if group['identical'] else 'nearly the same'}, "
        f"{text(' and '.join(group['classes']))}</figcaption></figure>"
        for group in found["shown"]
    )
    more = f", {len(found['shown'])} are shown" if len(found["shown"]) < found["groups"] else ""
    return (
        f"<p>{text(verdict.plural(found['groups'], 'group'))} with {text(verdict.plural(found['pictures'], 'picture'))}"
        f"{_counted(found)}{more}."
        f"{' Near-duplicates were not looked for (--duplicates exact).' if rule == 'exact' else ''} "
        f'A search keeps each group on one side of its split.</p><div class="pair">{shown}</div>'
    )


def _counted(found: dict[str, Any]) -> str:
    """How large the largest group is, which comes first, and how many groups are of the same pixels."""
    if "largest" not in found:
        return ""
    return f", the largest of {found['largest']:,}; the same pixels in {found['identical']:,}"


def _files(record: dict[str, Any]) -> str:
    files = record["left_out"]
    if not files:
        return "<p>Every file was read.</p>"
    cut = f", the first {MOST_FILES} of {len(files):,}" if len(files) > MOST_FILES else ""
    lines = [[file["name"], file["reason"]] for file in files[:MOST_FILES]]
    return f'<div class="sheet">{grid(f"Files that a search leaves out{cut}.", ("File", "Why"), lines)}</div>'


def _treatments(record: dict[str, Any]) -> str:
    lead = (
        '<p class="lead">What the family Pillow from scratch may do to each picture, before and after, with the '
        "histogram of its red, green and blue levels.</p>"
    )
    parts = []
    for example in record["treated"]:
        shown = "".join(
            f'<figure><img src="data:image/jpeg;base64,{version["picture"]}" alt="{text(version["name"])}" width="128" '
            f'height="128">{svg.channels(version["levels"], "Levels, " + version["name"])}'
            f"<figcaption>{text(version['name'])}</figcaption></figure>"
            for version in example["versions"]
        )
        parts.append(f'<div class="sheet"><h3>{text(example["class"])}</h3><div class="versions">{shown}</div></div>')
    return lead + "".join(parts)
