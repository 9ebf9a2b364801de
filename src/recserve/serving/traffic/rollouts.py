"""The rollouts of all models of a process: which version answers whom, what was seen, and what follows from it.

They are kept in a file where a state directory is given: every worker of the host reads it again when it changes, and
the next start begins with it. What one worker is told all are told, before the caller is answered. One of them judges
canaries, by what all have seen.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from recserve.errors import ConfigError, NotFoundError, RecserveError, suggest
from recserve.serving.contract import ServedModel
from recserve.serving.lifecycle.config_store import write_whole
from recserve.serving.metrics_text import Family, Kind, Sample, histogram_samples
from recserve.serving.registry import Registry
from recserve.serving.traffic.rollout import Rollout, read_rollout
from recserve.serving.traffic.seen_model import SeenCall, SeenModel
from recserve.serving.traffic.shadowing import ShadowThread
from recserve.serving.traffic.split import Split, bucket_of, draw_bucket
from recserve.serving.traffic.tally import Histogram, Seen, Tally
from recserve.serving.traffic.tally_pool import Report, TallyPool
from recserve.serving.traffic.user import current_user
from recserve.serving.workers.crew import Crew, CrewError
from recserve.serving.workers.orders import Order

STATE_FILE: Final = "rollouts.json"
TALLIES: Final = "tallies"
ROLLOUT: Final = "rollout"
CHECK_S: Final = 0.5
"""Seconds between looks at the file and at the rules."""
MAX_EVENTS: Final = 100

Role = Literal["stable", "canary", "arm", "shadow"]

_log: Final = logging.getLogger("recserve.serving")


class _Active:
    """The rollout of one model, at work."""

    def __init__(self, rollout: Rollout, began_s: float) -> None:
        self.rollout = rollout
        self.split: Split = rollout.split()
        self.began_s = began_s
        self.key = rollout.model_dump_json()
        self.window_s = rollout.rule.window_s if rollout.rule is not None else 60.0
        self.tallies = {version: Tally(self.window_s) for version in rollout.versions()}

    def role(self, version: int) -> Role:
        """What a version of the rollout is in it."""
        if version == self.rollout.stable:
            return "stable"
        if version == self.rollout.canary:
            return "canary"
        return "arm" if version in self.rollout.arms else "shadow"


class Rollouts:
    """The rollouts of a process; the registry's `Route`. Threads may share it.

    Args:
        registry: the served versions; it asks this object from now on where a rollout is set.
        state_dir: where rollouts are kept; None keeps them in memory.
        wait_s: seconds that the versions of a new rollout have until they are served.
        crew: the workers that share the rollouts.

    Attributes:
        may_come: (model, version, monotonic time of the wish) → whether waiting for a version that is not served makes
            sense.

    Raises:
        ConfigError: the kept file cannot be read.
    """

    def __init__(
        self, registry: Registry, state_dir: Path | None = None, wait_s: float = 60.0, crew: Crew | None = None
    ) -> None:
        self._registry = registry
        self._crew = crew or Crew()
        self._crew.answer(ROLLOUT, lambda change: self._take(*change))
        self._pool = TallyPool(None if state_dir is None else state_dir / TALLIES)
        self._file = None if state_dir is None else state_dir / STATE_FILE
        self._wait_s = wait_s
        self.may_come: Callable[[str, int, float], bool] = lambda *_: True
        self._active: Mapping[str, _Active] = {}
        self._pending: dict[str, Rollout] = {}
        self._lock = threading.RLock()
        self._shadows = ShadowThread()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._stamp: object = None
        self._has_published = False
        self.events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._read_file()

    def start(self) -> None:
        """Begin to follow the file and the rules, in a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="recserve-rollouts", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Follow nothing any more; shadows answer what waits for them."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._shadows.drain(timeout_s)
        self._publish()
        self._pool.leave()

    # --- The registry's questions -----------------------------------------------------------------------------------

    def choose(self, name: str, user_id: str | None) -> int | None:
        """The version for a user's call; a call of nobody is drawn by the shares."""
        active = self._active.get(name)
        if active is None:
            return None
        user = user_id if user_id is not None else current_user()
        return active.split.choose(draw_bucket() if user is None else bucket_of(user, name))

    def observe(self, name: str, version: int, model: ServedModel, *, was_chosen: bool) -> Any:
        """The model, or a stand-in that counts where the rollout chose its version."""
        active = self._active.get(name)
        if active is None or not was_chosen or version not in active.tallies:
            return model
        return SeenModel(model, lambda call: self._saw(name, version, active, call))

    def held(self, name: str) -> frozenset[int]:
        """The versions of a model that must be loaded for its rollout."""
        active, pending = self._active.get(name), self._pending.get(name)
        held = frozenset() if active is None else active.rollout.versions()
        return held if pending is None else held | pending.versions()

    # --- Changes ----------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Rollout:
        """The rollout of a model.

        Raises:
            NotFoundError: there is none.
        """
        active = self._active.get(name)
        if active is None:
            hint = suggest(name, self._active) or "Set one first."
            raise NotFoundError(f"no rollout of model {name!r}", code="no_rollout", hint=hint)
        return active.rollout

    def set(self, name: str, rollout: Rollout, why: str = "by request") -> None:
        """Let a rollout begin, once all of its versions are served; until then the old one goes on.

        Raises:
            ConfigError: a version is not served in time.
            CrewError: it is not by another worker; the old rollout goes on everywhere.
        """
        before = self._rollouts().get(name)
        self._await_versions(name, rollout)  # here first: meanwhile all workers do what else they are asked
        try:
            self._tell(name, rollout, f"{rollout.model_dump_json()} {why}")
        except CrewError:
            self._tell(name, before, "taken back, since a worker could not follow")
            raise

    def clear(self, name: str, why: str = "by request") -> None:
        """Let the highest version answer again, as without a rollout.

        Raises:
            NotFoundError: there is none.
        """
        self.get(name)
        self._tell(name, None, f"cleared {why}")

    def promote(self, name: str, why: str = "by request") -> Rollout:
        """Make the canary the stable version, for all users at once.

        Raises:
            NotFoundError: there is no rollout.
            ConfigError: it has no canary.
        """
        return self._end_canary(name, self.get(name).promoted(), f"promoted {why}")

    def roll_back(self, name: str, why: str = "by request") -> Rollout:
        """Give all users the stable version, at once.

        Raises:
            NotFoundError: there is no rollout.
        """
        return self._end_canary(name, self.get(name).rolled_back(), f"rolled back {why}")

    def _end_canary(self, name: str, after: Rollout, what: str) -> Rollout:
        self._tell(name, after, what)
        return after

    def _tell(self, name: str, rollout: Rollout | None, what: str) -> None:
        self._crew.tell(Order(ROLLOUT, (name, rollout, what, os.getpid())))

    def _take(self, name: str, rollout: Rollout | None, what: str, asked_by: int) -> None:
        """Do what a worker was told, in this one. Who was told keeps it too, before the others follow."""
        if rollout is not None:
            self._await_versions(name, rollout)
        with self._lock:
            others = {key: kept for key, kept in self._rollouts().items() if key != name}
            wanted = others if rollout is None else {**others, name: rollout}
            if wanted != self._rollouts():  # else the file was quicker
                self._swap(wanted, what, name)
            if asked_by == os.getpid():
                self._save()

    def _await_versions(self, name: str, rollout: Rollout) -> None:
        with self._lock:
            self._pending[name] = rollout
        try:
            missing = self._wait_for(name, rollout)
        finally:
            with self._lock:
                self._pending.pop(name, None)
        if missing:
            states = self._registry.states(name)
            reason = next((f": {s.error}" for s in states if s.version == missing[0] and s.error is not None), "")
            raise ConfigError(
                f"version {missing[0]} of model {name!r} is not served{reason}",
                code="version_not_served",
                hint="Load it first, or put it into the model's base directory.",
            )

    def _wait_for(self, name: str, rollout: Rollout) -> list[int]:
        began_s = time.monotonic()
        while True:
            missing = sorted(v for v in rollout.versions() if not self._registry.is_available(name, v))
            is_late = time.monotonic() - began_s >= self._wait_s
            is_vain = not all(self.may_come(name, version, began_s) for version in missing)
            if not missing or is_late or is_vain or self._stopping.wait(0.02):
                return missing

    def _rollouts(self) -> dict[str, Rollout]:
        return {name: active.rollout for name, active in self._active.items()}

    def _swap(self, wanted: Mapping[str, Rollout], what: str, name: str) -> None:
        """Replace the table of rollouts in one step; those that stay the same keep their counts."""
        now_s = time.monotonic()
        kept = self._active
        self._active = {
            key: kept[key] if key in kept and kept[key].rollout == rollout else _Active(rollout, now_s)
            for key, rollout in wanted.items()
        }
        self._registry.route = self if self._active else None
        self.events.append({"time": time.time(), "model": name, "what": what})
        _log.warning("Rollout of model %r: %s", name, what)

    # --- The file and the rules -------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.wait(CHECK_S):
            try:
                self.check()
            except RecserveError as error:
                _log.error("The rollouts stay as they are: %s", error)
            except Exception:
                _log.exception("The rollouts could not be looked at")

    def check(self) -> None:
        """Take what another process wrote, tell the others what was seen here, and judge the canaries for all."""
        with self._lock:
            self._read_file()
        self._publish()
        for name, active in list(self._active.items()):
            rollout = active.rollout
            if rollout.rule is None or rollout.canary is None or not self._pool.is_judge():
                continue
            seen, began_s = self._seen_by_all(name, active)
            canary, stable = (seen[v].window.recent() for v in (rollout.canary, rollout.stable))
            verdict, why = rollout.rule.judge(canary, stable, time.monotonic() - began_s)
            if verdict == "promote":
                self.promote(name, f"by rule: {why}")
            elif verdict == "roll back":
                self.roll_back(name, f"by rule: {why}")

    def _publish(self) -> None:
        """Let the other workers know what was seen here."""
        active, now_s = self._active, time.monotonic()
        if active or self._has_published:
            self._pool.publish(
                {
                    name: Report(a.key, a.began_s, now_s, {v: t.seen() for v, t in a.tallies.items()})
                    for name, a in active.items()
                }
            )
            self._pool.clean({name: a.key for name, a in active.items()})
        self._has_published = bool(active)

    def _seen_by_all(self, name: str, active: _Active) -> tuple[dict[int, Seen], float]:
        """What all workers saw of each version, and when the first of them began."""
        seen = {version: tally.seen() for version, tally in active.tallies.items()}
        began_s = active.began_s
        for report in self._pool.read(name, active.key, active.window_s):
            began_s = min(began_s, report.began_s)
            for version, counts in report.seen.items():
                seen[version] = seen[version] + counts
        return seen, began_s

    def _read_file(self) -> None:
        if self._file is None:
            return
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            content = self._file.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"cannot be read: {error}", where=str(self._file)) from error
        self._stamp = stamp
        try:
            document = orjson.loads(content)
            wanted = {str(name): read_rollout(value, str(self._file)) for name, value in document.items()}
        except (ValueError, AttributeError) as error:
            raise ConfigError("is no table of rollouts", where=str(self._file)) from error
        if wanted != self._rollouts():
            changed = sorted(n for n in wanted.keys() | self._active.keys() if wanted.get(n) != self._rollouts().get(n))
            self._swap(wanted, f"read from {self._file}", ", ".join(changed))

    def _save(self) -> None:
        if self._file is None:
            return
        document = {name: rollout.model_dump(mode="json") for name, rollout in self._rollouts().items()}
        write_whole(self._file, orjson.dumps(document, option=orjson.OPT_INDENT_2))
        status = self._file.stat()
        self._stamp = (status.st_mtime_ns, status.st_ino)

    # --- What was seen ----------------------------------------------------------------------------------------------

    def _saw(self, name: str, version: int, active: _Active, call: SeenCall | None) -> None:
        if call is None:
            active.tallies[version].add_error()
            return
        _add(active.tallies[version], call)
        rollout = active.rollout
        if rollout.shadows and draw_bucket() < rollout.shadow_bp:
            for shadow in rollout.shadows:
                if shadow != version:
                    self._shadows.submit(lambda asked=shadow: self._ask(name, asked, active, call))  # type: ignore[misc]

    def _ask(self, name: str, version: int, active: _Active, call: SeenCall) -> None:
        """Ask a shadow what another version was asked; on the shadows' thread."""
        if self._active.get(name) is not active:
            return
        tally = active.tallies[version]
        with self._registry.lease(name, version) as model:
            try:
                repeated = call.repeat(model)
            except Exception:
                tally.add_error()
                raise
        _add(tally, repeated)
        tally.add_difference(call.compare(repeated))

    def describe(self, name: str) -> dict[str, Any]:
        """A rollout and what all workers saw of its versions, as JSON; NaN where nothing was seen.

        Raises:
            NotFoundError: there is none.
        """
        self.get(name)
        active = self._active[name]
        seen = {}
        for version, counts in self._seen_by_all(name, active)[0].items():
            recent = counts.window.recent()
            seen[str(version)] = {
                "role": active.role(version),
                "calls": counts.calls,
                "errors": counts.errors,
                "recent": {
                    "calls": recent.calls,
                    "error_rate": recent.error_rate,
                    "mean_score": recent.mean_score,
                    "p99_us": recent.p99_us,
                },
                "mean_score_difference": counts.difference.value,
                "mean_rank_correlation": counts.correlation.value,
            }
        events = [event for event in self.events if event["model"] == name]
        return {"rollout": active.rollout.model_dump(mode="json"), "seen": seen, "events": events}

    def names(self) -> list[str]:
        """The models that have a rollout, sorted."""
        return sorted(self._active)

    def collect(self) -> list[Family]:
        """What Prometheus reads, by model, version and role."""
        rows = [
            ({"model_name": name, "version": str(version), "role": active.role(version)}, tally)
            for name, active in self._active.items()
            for version, tally in active.tallies.items()
        ]

        def family(metric: str, kind: Kind, text: str, samples: Callable[[Any, Tally], list[Sample]]) -> Family:
            return Family(f"recserve_rollout_{metric}", kind, text, [s for row in rows for s in samples(*row)])

        def histogram(pick: Callable[[Tally], Histogram]) -> Callable[[Any, Tally], list[Sample]]:
            return lambda labels, t: histogram_samples(labels, pick(t).bounds, pick(t).counts, pick(t).total)

        shares = [
            ("", {"model_name": name, "version": str(v)}, bp / 10_000)
            for name, active in self._active.items()
            for v, bp in active.split.shares.items()
        ]
        return [
            Family("recserve_rollout_share", "gauge", "Share of the calls of a version.", shares, merges="max"),
            family("calls_total", "counter", "Calls of a version in a rollout.", lambda lb, t: [("", lb, t.calls)]),
            family("errors_total", "counter", "Calls that failed in the model.", lambda lb, t: [("", lb, t.errors)]),
            family("unlike_total", "counter", "Shadow answers of another form.", lambda lb, t: [("", lb, t.unlike)]),
            family("latency_us", "histogram", "Time in the model.", histogram(lambda t: t.latency_us)),
            family(
                "score_difference", "histogram", "Mean absolute difference of a shadow's scores from those given.",
                histogram(lambda t: t.score_difference),
            ),
            family(
                "rank_correlation", "histogram", "Spearman's correlation of a shadow's scores with those given.",
                histogram(lambda t: t.correlation),
            ),
            Family(
                "recserve_shadow_dropped_total", "counter", "Calls that no shadow was asked, since too many waited.",
                [("", {}, self._shadows.dropped)],
            ),
        ]  # fmt: skip


def _add(tally: Tally, call: SeenCall) -> None:
    scores = call.scores()
    tally.add(call.time_us, len(scores), float(scores.sum()))
