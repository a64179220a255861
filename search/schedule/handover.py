"""What retrainings bring: scores on test, and the models that are handed over."""

from results.analysis.metrics import METRICS, SEVERAL
from results.analysis.numbers import DOUBT
from search.record.journal import Journal
from search.schedule import Say
from search.schedule.retrainings import told
from search.settings import Settings
from search.training.retraining import MEMBER, RECIPE, TEST, Outcome, Refitted
from search.training.worker import Job

# What a model's row says of how long it takes.
LATENCY = ("latency_one", "latency_batch", "batch", "device")


class Handover:
    """Keeps them in the folder of the run, and says what they reached."""

    def __init__(self, settings: Settings, journal: Journal, say: Say) -> None:
        self.settings = settings
        self.journal = journal
        self.say = say
        # By family, models that have learnt all pictures before the one that is scored is there, and their trial.
        self.early: dict[str, tuple[Refitted, str]] = {}

    def scored(self, outcome: Outcome, job: Job, trial: str, event: str) -> None:
        """A retraining was scored: for the `event` of a test, of a member of the ensemble or of an earlier recipe."""
        outcome.keep(self.settings.folder, self.journal, job.family, trial, event=event)
        if outcome.note:
            self.say(f"{job.family}: {outcome.note}")
        # Of several labels a picture the accuracy counts pictures all of whose labels are right.
        found = "".join(f"{METRICS[name].title} {outcome.row[name]:.3f}, " for name in SEVERAL if name in outcome.row)
        names = {TEST: job.family, MEMBER: trial, RECIPE: f"{trial}, the recipe of the run before"}
        reached = f"{found}{'accuracy ' * bool(found)}{outcome.row['accuracy']:.3f}"
        self.say(f"{names[event]}: {reached} on test with seed {job.seed}")
        if job.export and job.family in self.early:
            self._replace(job.family)

    def refitted(self, outcome: Refitted, family: str, trial: str, *, scoring: bool) -> None:
        """A model has learnt all pictures; it waits where the one that it replaces is still to be scored."""
        self.early[family] = outcome, trial
        if not scoring:
            self._replace(family)

    def _replace(self, family: str) -> None:
        """The model that has learnt all pictures takes the place of the one that was scored."""
        outcome, trial = self.early.pop(family)
        rows = self.journal.read()
        scored = [row for row in rows.tests(family) if row["seed"] == outcome.row["seed"]]
        if not scored or rows.model(family) is None:
            # Its retraining came to nothing: no figure speaks of it.
            return
        learnt = max(row.get("train_accuracy") or 0.0 for row in scored)
        known = told(rows, family, (*DOUBT, *LATENCY))
        why = outcome.keep(self.settings.folder, self.journal, family, trial, learnt, known)
        what = f"the model that was scored is handed over: {why}" if why else "its model has learnt all pictures"
        self.say(f"{family}: {what}")
