"""Search image classifiers: python search/run.py [DATA] [options]

DATA is a folder with one folder of pictures per class, a table of labels (.csv, .tsv, .parquet, .jsonl), an archive
(.zip, .tar, .tar.gz) of either, an address (s3://, gs://, https://), a set of a library (hf:NAME, tfds:NAME),
`stanford-dogs`, or `demo` (the default: drawn pictures, no download). The run's folder, report included, is
runs/NAME.
"""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    if not __package__:
        # Run as a script, Python looks for modules in this file's folder first: `search/` is no place to import from.
        # Its parent is, unless `ray submit` has copied the file away from the project.
        _here = Path(__file__).resolve().parent
        # Under PYTHONSAFEPATH it does not look there.
        sys.path[0 : 0 if sys.flags.safe_path else 1] = [str(_here.parent)] if (_here / "settings.py").exists() else []
    if _why := importlib.import_module("pedigree").unsupported():
        print(f"pedigree: {_why}", file=sys.stderr)
        sys.exit(2)
    # Under the name that it has where it is installed, which no module of a user's has.
    sys.exit(importlib.import_module("pedigree.search.run").script())

import errno
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

from results.analysis.metrics import ACCURACY, TOP
from results.commands import until_unread
from results.delivery.framework import backend
from results.terminal import prepare
from search import machine
from search.home import settle_home
from search.parsing import options
from search.progress import Progress, duration, fail, shown_size
from search.settings import (
    Settings,
    is_remote,
)
from search.starting import begun, continued, extended, going_on, stem_of, taken

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
INTERRUPTED = 130  # exit status, as shells give it to what Ctrl-C ended
SPACE = "space.json"  # what is left of narrowed spaces
PACKAGES = ("ray", "optuna", "keras", "tensorflow", "jax", "keras-tuner", "numpy", "pillow", "pedigree")


def main(arguments: Sequence[str] | None = None, called: str = "") -> int:
    """Parses the arguments, runs the search, writes the report; returns the exit status.

    `called` is how the command line calls this program, where it is not this file.
    """
    began = time.monotonic()
    # Whatever the user's own mask says, a run and a cache can be written by nobody else.
    os.umask(os.umask(0o022) | 0o002)
    prepare(whole=arguments is None)
    try:
        script = ["python", sys.argv[0]] if sys.argv[0].endswith(".py") else [sys.argv[0]]
        command = [*(called.split() or script), *(sys.argv[1:] if arguments is None else arguments)]
        return carry_out(options(arguments), began, command)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        return fail(told(error))
    except KeyboardInterrupt:
        fail("interrupted")
        return INTERRUPTED


def carry_out(given: Mapping[str, Any], began: float, command: Sequence[str]) -> int:
    """Does what the options ask for and returns the exit status; `command` is what the run is said to be called by."""
    given = dict(given)
    if given.pop("explore", False):
        explore(given)
        return 0
    resume, extend = given.pop("resume", None), given.pop("extend", None)
    if resume and extend:
        raise ValueError("--extend goes on with its run by itself; give --resume or --extend")
    note = ""
    if extend:
        folder, given = going_on(extend, given, "--extend")
        settings = extended(folder, given)
        note = f"{folder}: {settings.trials} trials of each family in all; --resume goes on, --extend would add more"
    elif resume:
        settings = continued(*going_on(resume, given, "--resume"))
    else:
        settings = begun(given)
    return run(settings, began, command, resume=bool(resume or extend), note=note)


def told(error: Exception) -> str:
    """The message of an error, and the way out where there is no room to write."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return (
            f"{error}; make room there, or choose another place with --runs-dir or --cache-dir; "
            "a run that has rows goes on with --resume"
        )
    return str(error)


def explore(given: Mapping[str, Any]) -> Path:
    """Writes the data page, into the folder of the run that `--name` names or one of its own, and searches nothing.

    Returns its path.
    """
    from search.explore import explore as look

    if is_remote(given.get("runs_dir", "")):
        raise ValueError(
            f"--explore writes its page into --runs-dir, which needs to be a folder of this machine, got "
            f"`{given['runs_dir']}`"
        )

    if "from_run" in given:
        raise ValueError(f"--explore looks at data alone: leave out --from, got `{given['from_run']}`")
    settings = begun(given)
    if "name" not in given:
        settings = replace(settings, name=f"data-{stem_of(settings)}")
    check_folders(settings, settings.folder)
    progress = Progress(settings)
    page = look(settings, progress.say)
    progress.say(f"data page: {page}")
    return page


def check_folders(settings: Settings, runs: Path) -> None:
    """Makes the folder of runs and that of the cache; raises OSError that names the option of one that is no use."""
    from search.data.cache import check_folder

    check_folder(runs, "--runs-dir")
    check_folder(settings.cache, "--cache-dir" if settings.cache_dir else "--cache-dir, or PEDIGREE_CACHE,")


def run(settings: Settings, began: float, command: Sequence[str], *, resume: bool = False, note: str = "") -> int:
    """One run from beginning to end, or from where it was left; `note` is said once it surely goes on."""
    from search.cluster import check_reachable, joins
    from search.data import pictures as data
    from search.data.cache import locked
    from search.data.eviction import kept_within
    from search.record.offsite import Offsite
    from search.record.tracking.trackers import Trackers
    from search.studies import predecessor

    progress = Progress(settings)
    folder = settings.folder
    if taken(folder) and not resume:
        raise FileExistsError(
            f"a run needs a name of its own, and `{folder}` exists; choose another with --name, or go on with --resume"
        )
    check_folders(settings, Path(settings.runs_dir))
    homeless = settle_home(settings.cache, os.environ)
    if sys.flags.optimize:
        raise ValueError("Ray needs a Python that keeps asserts and docstrings; unset PYTHONOPTIMIZE, or leave -O out")
    data.check_data(settings)
    before = predecessor.run_before(settings)
    check_backend(settings)
    trackers = Trackers(folder, settings.track, progress.say)
    offsite = Offsite(settings.offsite, folder, progress.say)
    if not resume:
        # A run that is resumed may have only its report left to write.
        check_reachable(settings)
    trackers.check()
    offsite.claim(resume=resume)
    folder.mkdir(exist_ok=True)

    def trimmed(gone: int) -> None:
        limit = shown_size(settings.cache_limit or 0)
        progress.say(f"{shown_size(gone)} of the cache that were used longest ago are removed: --cache-limit {limit}")

    within = kept_within(settings.cache, settings.cache_limit, trimmed)
    # Trackers end first: what they keep of the run is mirrored with it.
    with locked(folder / "lock", wait=False) as ours, within, offsite, trackers:
        if not ours:
            raise BlockingIOError(f"a run has one driver, and another process is at work in `{folder}`")
        for left in folder.rglob("*.part"):
            # Of a driver that was killed while it wrote.
            left.unlink()
        kept = Kept(folder, progress, [line for line in (homeless, note) if line], settings.to_json())
        if not resume:
            # From here on the run can be resumed, whatever ends it.
            kept.keep()
        rows = folder / "trials.jsonl"
        try:
            runs = earlier_runs(settings)
            for line in machine.notes():
                progress.say(line)
            with predecessor.own_spaces(settings, before, shared=joins(settings)) as own:
                weights = trunks(settings, progress.say)
                settings, pictures, split, allowed = readied(settings, kept, weights, own, before, resume=resume)
                if before:
                    predecessor.score(before, folder, pictures, split, progress.say)
                prior = learnt(settings, runs, split, weights, own.spaces(), progress.say, before, allowed)
                earlier = rows_before(rows, settings, weights, own, allowed) if rows.exists() else None
                if earlier and earlier.skipped:
                    progress.say(f"{earlier.skipped} lines of {rows} are no rows of this run and are passed over")

                def go_on() -> None:
                    """Now nothing can refuse the run any more."""
                    kept.keep()
                    offsite.begin()
                    trackers.begin(time.monotonic() - began + (earlier.seconds if earlier else 0.0))

                search(settings, progress, pictures, weights, own, prior, began, command, go_on, earlier, allowed)
        except KeyboardInterrupt:
            if kept.done:
                progress.say(f"interrupted; python search/run.py --resume {shlex.quote(str(folder))} goes on")
            else:
                progress.say("interrupted before the run went on: it is as it was; give the same command again")
            return INTERRUPTED
        except BaseException:
            if not resume and not (rows.exists() and rows.stat().st_size):
                # Input that was refused leaves no run behind.
                shutil.rmtree(folder)
            raise
        status = report(settings, progress)
        trackers.finished = True
        return status


def check_backend(settings: Settings) -> None:
    """Raises what `backend` raises where no trial could import Keras, and ValueError for what it cannot do."""
    found, gpus = backend(), settings.gpus_per_trial or 0
    if gpus > 1 and found != "jax":
        raise ValueError(
            f"`gpus_per_trial` needs 0 to 1 under {found}, where a trial trains on one GPU or on a share of one, got "
            f"{gpus:g}; KERAS_BACKEND=jax trains one model on several"
        )


class Kept:
    """What a run is, in files of its folder; one that is resumed stays as it was until it surely goes on."""

    def __init__(self, folder: Path, progress: Progress, lines: Sequence[str], settings: str) -> None:
        """`lines` are said when it goes on; `settings` are those of the run as JSON."""
        self.folder = folder
        self.progress = progress
        self.lines = lines
        self.records = {"settings.json": settings}  # by file
        self.done = False

    def keep(self) -> None:
        """Writes down what the run is from now on."""
        from search.data.cache import write_aside

        self.done = True
        for name, content in self.records.items():
            write_aside(self.folder / name, content)
        self.progress.log_to(self.folder / "log.txt")
        for line in self.lines:
            self.progress.say(line)


def readied(
    settings: Settings, kept: Kept, weights: Any, own: Any, before: Any, *, resume: bool
) -> tuple[Settings, Any, dict[str, Any], dict[str, Any]]:
    """The settings that the data leads to, its pictures, what `split.json` says of them, and what `spaces_of` is told.

    What is wrong with the data, with the spaces or with hypermodels raises here.
    """
    from search.data import pictures as data
    from search.data.label_sets import judged
    from search.studies import predecessor

    progress, records, folder = kept.progress, kept.records, kept.folder
    if not (folder / SPACE).exists():
        # Before pictures are read: only the names of hypermodels hang on them.
        maybe = settings.class_weights == "auto"  # which needs the pictures to be counted
        records |= narrowed(settings, weights, {}, progress.say, weighted=maybe)
    pictures, split = data.prepare(settings, machine.cores(), progress.say, predecessor.sides_before(settings, before))
    progress.say(describe(split))
    settings, changed = judged(settings, split)
    if changed:
        progress.say(changed)
        progress.settings = settings
        records["settings.json"] = settings.to_json()
    check_metric(settings, split)
    weighted = weighs(settings, split)
    if weighted:
        progress.say("the training pictures are imbalanced: how much rare classes count is searched too")
    if resume:
        check_same_data(folder / "split.json", split)
    records["split.json"] = json.dumps(split)
    for line in own.check(len(pictures.classes)):
        progress.say(line)
    if own.models.references:
        records["hypermodels.json"] = check_same_code(folder / "hypermodels.json", own.models)
        if not (folder / SPACE).exists():
            records |= narrowed(settings, weights, own.spaces(), progress.say, weighted=weighted)
    elif not weighted:
        check_balanced(settings, weights)
    if not resume:
        kept.keep()
    return settings, pictures, split, {"weighted": weighted, "filters": pictures.filters}


def trunks(settings: Settings, say: Callable[[str], None]) -> Any:
    """The weights of the trunks that a run searches with; none where it has no use for them."""
    from search.training.weights import find_weights

    if not settings.transfers:
        return ()
    return find_weights(
        settings.weights, seed=settings.seed, backbones=settings.backbones, sides=settings.image_sizes, say=say
    )


def narrowed(
    settings: Settings, weights: Any, own: Mapping[str, Any], say: Callable[[str], None], *, weighted: bool
) -> dict[str, str]:
    """The record of what `--set` leaves of the spaces, by its file; raises ValueError for rules that they cannot keep.

    `weighted` says whether the spaces choose how much rare classes count. Without the spaces of hypermodels, where
    there are any, nothing is said and kept yet.
    """
    if not settings.set:
        return {}
    from search.studies.narrowed import check, lines
    from search.studies.spaces import spaces_of

    spaces = {family: space for family, (space, _) in spaces_of(settings, weights, own, weighted=weighted).items()}
    unread = len(spaces) < len(settings.families)
    record = check(settings.set, spaces, own, unread)
    if unread:
        return {}
    for line in lines(record):
        say(line)
    return {SPACE: json.dumps(record, indent=2) + "\n"}


def check_balanced(settings: Settings, weights: Any) -> None:
    """Raises ValueError where `--set` narrows what only the spaces of imbalanced data have: this data is balanced."""
    try:
        narrowed(settings, weights, {}, lambda line: None, weighted=False)
    except ValueError as error:
        if settings.class_weights == "none":
            raise
        raise ValueError(f"{error}; the training pictures are balanced, so there is nothing to weigh") from None


def weighs(settings: Settings, split: Mapping[str, Any]) -> bool:
    """Whether the spaces choose how much rare classes count: where training pictures are imbalanced, and it may be."""
    from results.analysis.numbers import class_counts, imbalanced

    counts = [entry["train"] for entry in class_counts(dict(split))]
    return settings.class_weights == "auto" and not split.get("multilabel") and imbalanced(counts)


def earlier_runs(settings: Settings) -> list[Any]:
    """The runs that a warm start learns from; none where what they gave lies in the run's folder already."""
    from search.studies.warm_start import WARM_START, read_earlier

    if not (settings.warm_start or settings.from_run) or (settings.folder / WARM_START).exists():
        return []
    gone_on = [read_earlier(Path(settings.from_run), "--from")] if settings.from_run else []
    return [*gone_on, *(read_earlier(Path(folder)) for folder in settings.warm_start)]


def learnt(
    settings: Settings,
    runs: Sequence[Any],
    split: dict[str, Any],
    weights: Any,
    own: Mapping[str, Any],
    say: Callable[[str], None],
    before: Any,
    allowed: Mapping[str, Any],
) -> Any:
    """What earlier runs give to this one, kept in its folder; None without a warm start and a run `before`.

    `allowed` is what `spaces_of` is told.
    """
    if not (settings.warm_start or settings.from_run):
        return None
    from search.data.cache import write_aside
    from search.studies.predecessor import with_recipes
    from search.studies.spaces import spaces_of
    from search.studies.warm_start import WARM_START, Prior, prior_of, read_object

    if runs:
        found = spaces_of(settings, weights, own, **allowed)
        spaces = {family: space for family, (space, _) in found.items()}
        prior = prior_of(runs, settings, split, spaces, read_object(settings.folder / "hypermodels.json"))
        if before:
            prior = with_recipes(prior, before, settings, spaces)
        write_aside(settings.folder / WARM_START, prior.to_json())
        for line in prior.lines():
            say(line)
    return Prior.from_json((settings.folder / WARM_START).read_text(encoding="utf-8"))


def rows_before(path: Path, settings: Settings, weights: Any, own: Any, allowed: Mapping[str, Any]) -> Any:
    """The rows of a run that is resumed, from which its search can go on; `allowed` is what `spaces_of` is told."""
    from results.rows import read_rows
    from search.studies.earlier import usable
    from search.studies.study import studies_of

    return usable(read_rows(path), settings, studies_of(settings, weights, own=own.spaces(), **allowed))


def search(
    settings: Settings,
    progress: Progress,
    pictures: Any,
    weights: Any,
    own: Any,
    prior: Any,
    began: float,
    command: Sequence[str],
    keep: Callable[[], None],
    earlier: Any,
    allowed: Mapping[str, Any],
) -> None:
    """Starts Ray and runs the experiment; `keep` is called once nothing can refuse it any more.

    `earlier` are the rows of a run that is resumed, `allowed` is what `spaces_of` is told.
    """
    from search.cluster import connect, joins
    from search.data.cache import write_aside
    from search.record.journal import Journal
    from search.record.live import LivePage
    from search.record.metrics import RunMetrics
    from search.schedule.course import Course
    from search.schedule.tuning import search as tune
    from search.studies.mirror import Mirror
    from search.studies.study import studies_of
    from search.training.worker import Setup

    metrics = RunMetrics(settings.name)
    journal = Journal(settings.folder / "trials.jsonl", began, metrics.take, earlier)
    studies = studies_of(settings, weights, journal, own.spaces(), prior, **allowed)
    for family, study in studies.items():
        if study.size is not None:
            progress.say(f"{family}: its narrowed space leaves {study.size} in all to try, each of them once")
    mirror = Mirror(
        settings.folder / "optuna.log", settings.name, studies, journal.read(), journal.elapsed, progress.say
    )
    journal.also(mirror.take)
    course = Course(settings, studies, journal, 1, pictures, progress.say, prior.leader if prior else "")
    if earlier and course.nothing_left():
        mirror.close()
        journal.close()
        keep()
        progress.say("nothing is left to do in this run; only its report is written again")
        return
    try:
        cluster = connect(settings)
    except BaseException:
        mirror.close()
        journal.close()
        raise
    keep()
    if not (settings.folder / "environment.json").exists():
        write_aside(settings.folder / "environment.json", json.dumps(environment(command, cluster.devices), indent=2))
    pictures = cluster.ship(pictures, weights)
    course.workers = cluster.workers()
    if settings.time_budget is not None and cluster.ours and not cluster.resources.get("gpu"):
        course.budget.alone = machine.alone(cluster.workers(), max(1, int(settings.cpus_per_trial)))
    progress.say(f"searching {', '.join(settings.families)}: {extent(settings)}, {cluster.workers()} at a time")
    if cluster.dashboard:
        progress.say(f"Ray's dashboard: http://{cluster.dashboard} (`ray get-auth-token` prints the token it asks for)")
    setup = Setup(
        max(1, int(settings.cpus_per_trial)),
        settings.precision,
        worker_memory(settings, cluster, progress.say),
        settings.name,
        cluster.resources.get("gpu", 0.0),
        settings.cache_dir,
        settings.trial_timeout,
        own.models,
        backend(),
        os.getcwd() if own.models.references and not joins(settings) else "",
        settings.metric,
        settings.cache_limit,
    )
    try:
        with progress.live(journal), LivePage(settings, journal):
            tune(settings, course, pictures, setup, cluster)
        if course.interrupted:
            raise KeyboardInterrupt
        progress.say_about_packing(journal.rows, setup.gpu_share)
    except Exception as error:
        raise journal.failed or unwritten(error) or error from error
    finally:
        mirror.close()
        journal.close()
        cluster.close()


def unwritten(error: Exception) -> OSError | None:
    """What kept a file from being written in one of Tune's callbacks, of which Tune tells by its text alone."""
    from ray.tune import TuneError

    found: BaseException | None = error if isinstance(error, TuneError) else None
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def worker_memory(settings: Settings, cluster: Any, say: Callable[[str], None]) -> float:
    """GiB past which a worker is replaced: of a Ray started here, no more than the workers' share of the memory."""
    if not cluster.ours or not machine.bounded():
        return settings.worker_memory
    if cluster.concurrency != settings.concurrency:
        say(f"{cluster.workers()} workers are as many as the memory has room for; --concurrency overrules that")
    most = machine.worker_memory(settings.worker_memory, cluster.workers(), machine.memory())
    if most < settings.worker_memory:
        say(f"a worker is replaced past {most:.1f} GiB, its share of the memory, not --worker-memory")
    return most


def extent(settings: Settings) -> str:
    """How much is searched, in words."""
    trials = "" if settings.trials is None else f"{settings.trials} trials of each"
    epochs = "" if settings.epochs is None else f"full trials of {settings.epochs} epochs"
    budget = "" if settings.time_budget is None else f"{duration(settings.time_budget)} in all"
    return ", ".join(part for part in (budget, trials, epochs) if part) or "without an end"


def report(settings: Settings, progress: Progress) -> int:
    """Writes the report and prints its summary; the exit status is 1 where no trial finished."""
    from results.analysis import verdict
    from results.analysis.numbers import figure
    from results.pages import predecessor
    from results.pages.document import write_report

    page = write_report(settings.folder)
    results = json.loads((settings.folder / "results.json").read_text(encoding="utf-8"))
    for family, record in results["families"].items():
        best, test = record.get("best"), record.get("test")
        if best is None:
            progress.say(f"{family}: no result")
            continue
        usual = record["commonest"]
        scored = (
            f", test {test['accuracy']:.3f} ({test['low']:.3f} to {test['high']:.3f}){_beside(usual['test'], test)}"
            if test
            else ""
        )
        said = f"{family}: {best['trial']}, validation {best['validation_accuracy']:.3f}{_beside(usual['validation'])}"
        said += f", final {best['final']['accuracy']:.3f}" if best.get("final") else ""
        if (metric := record["metric"]) != ACCURACY:
            value = verdict.measured(metric, figure(best))
            tested = verdict.scored(test)
            name = f"validation {verdict.called(metric)} {value}" + (f", test {tested}" if tested else "")
            said = said.replace(f"{best['trial']}, ", f"{best['trial']}, {name}; accuracy: ")
        progress.say(f"{said}{scored}")
    progress.say(verdict.headline(results))
    if found := results["from"]:
        progress.say(f"{predecessor.sentence(found)} {predecessor.difference(found)}".rstrip())
    if uneven := verdict.imbalance(results["data"]):
        progress.say(uneven)
    progress.say(f"report: {page}")
    return 0 if results["winner"] else 1


def _beside(share: float | None, test: dict[str, Any] | None = None) -> str:
    """What stands beside an accuracy: the share of the commonest class, and the balanced accuracy where it is known."""
    even = ((test or {}).get("predictions") or {}).get("balanced_accuracy")
    said = [] if even is None else [f"balanced {even:.3f}"]
    said += [] if share is None else [f"commonest class alone {share:.3f}"]
    return f" [{', '.join(said)}]" if said else ""


def check_metric(settings: Settings, split: Mapping[str, Any]) -> None:
    """Raises ValueError for a metric that says nothing of so few classes."""
    count = len(split["classes"])
    if settings.metric == "top5" and count <= TOP:
        raise ValueError(
            f"--metric top5 needs more than {TOP} classes, of which it is never wrong, got {count} in `{split['data']}`"
        )


def describe(split: dict[str, Any]) -> str:
    """The data in one line, and every note about it."""
    sizes, kind = split["sizes"], "labels" if split.get("multilabel") else "classes"
    line = (
        f"{split['title']}: {len(split['classes'])} {kind}, {sizes['train']} train, {sizes['validation']} validation, "
        f"{sizes['test']} test pictures"
    )
    if split["left_out"]:
        line += f", {len(split['left_out'])} files left out (named in split.json)"
    return "\n".join([line, *split["notes"]])


def check_same_data(path: Path, split: dict[str, Any]) -> None:
    """Raises ValueError where a resumed run would train on other pictures than it was begun with."""
    from results.records import read_object

    try:
        saved = read_object(path)
    except FileNotFoundError:
        return
    for part in ("digest", "classes", "train", "validation", "test"):
        if saved.get(part) != split[part]:
            raise ValueError(
                f"--resume needs the data that the run was begun with, and `{part}` of `{path}` is another in "
                f"`{split['data']}` now"
            )
    if saved.get("levels", {}) != split["levels"]:
        # An older version took other levels for black and white.
        raise ValueError(
            f"--resume needs pictures read as they were when the run was begun, with the levels {saved.get('levels')} "
            f"of `{path}` for black and white, and they are {split['levels']} now; begin a new run"
        )


def check_same_code(path: Path, models: Any) -> str:
    """What is written down of the hypermodels; raises ValueError where a resumed run was begun with other code."""
    files = models.code.digests()
    if path.exists():
        saved = json.loads(path.read_text(encoding="utf-8"))["files"]
        for name in sorted(saved | files):
            if saved.get(name, files.get(name)) != files.get(name):
                raise ValueError(
                    f"--resume needs the code that the run was begun with, and `{name}` is another now; put it back, "
                    "or begin a new run"
                )
        files = saved | files
    return json.dumps({"families": dict(models.references), "files": files}, indent=2)


def environment(command: Sequence[str], devices: dict[str, Any]) -> dict[str, Any]:
    """What somebody needs to know to repeat the run."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": shlex.join(command),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "devices": devices,
        "backend": backend(),
    }


def script() -> int:
    """This file as a program."""
    return until_unread(main)
