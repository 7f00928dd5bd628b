"""One registered model: its champion, who may move it, and the history of every move.

MLflow can't compare and swap an alias, nor move two in one step. So a move is written down first, as a tag
with the next number; that is the moment it counts. The aliases follow, and whoever comes next finishes what
a killed job left. Moves wait for each other behind an empty registered model named ``<model>_lock``: creating
a name is the one thing that a registry lets only one of many do.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from icp_ml.adapters.mlflow_log import MOST_TEXT, shown
from icp_ml.adapters.mlflow_owner import Owner
from icp_ml.adapters.mlflow_store import at, current_step
from icp_ml.errors import ConfigError, TrackingError
from icp_ml.serve.history import MOVED, PROMOTED, ROLLED_BACK, Change, earlier_champion

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous_champion"
STATUS = "validation_status"
REASON = "validation_reason"
OWNER = "icp.owner"
IDENTITY = "icp.identity"

_HISTORY = "icp.history."
_SETTLED = "icp.settled"
_KEY = "icp.key"
_DIGITS = 9
_TAKEN = ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")
_LOCK_TIME = timedelta(minutes=10)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(tz=UTC)


class Registry:
    """One registered model, through a client that waits for a busy store.

    Parameters
    ----------
    client
        MLflow's client, patient.
    name
        The registered model.
    clock
        Tells the time that history notes.
    longest
        How long a job may take before what it left is taken as abandoned.
    grace
        Seconds between seeing the lock gone and taking it. A server with basic auth removes the rights to a
        deleted name shortly after the name: who takes it in between loses the right to give it back.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        clock: Callable[[], datetime],
        longest: timedelta,
        grace: float = 0.0,
    ) -> None:
        self.client = client
        self.name = name
        self.clock = clock
        self.longest = longest
        self.grace = grace

    def ensure(self) -> None:
        """Make the registered model if there's none."""
        if self._known(self.name) is None:
            self._create(self.name, {})

    def champion(self) -> str | None:
        """Return the champion's version, or None."""
        model = self._known(self.name)
        number = None if model is None else model.aliases.get(CHAMPION)
        return None if number is None else f"{self.name}/{number}"

    def history(self) -> list[Change]:
        """Return all changes of champion, oldest first."""
        model = self._known(self.name)
        tags = {} if model is None else model.tags
        changes = [self._change(key, value) for key, value in tags.items() if key.startswith(_HISTORY)]
        return sorted(changes, key=lambda change: change.sequence)

    def _change(self, key: str, value: str) -> Change:
        """Read a change from its tag, which somebody may have edited."""
        try:
            return Change.from_state(json.loads(value))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._edited(key, value, str(error)) from None

    def _edited(self, key: str, value: str, why: str) -> TrackingError:
        return TrackingError(
            f"expected the tag {key} of the registered model {self.name} as this library wrote it, found "
            f"{value[:80]!r} ({len(value):,} characters; {why[:80]}): it was edited. Nothing was changed; "
            "put it back, or delete the tag with MlflowClient().delete_registered_model_tag",
            tag=key,
            model=self.name,
        )

    def _settled(self, model: Any | None) -> int:
        """Return the number of the last change that was completed."""
        value = "0" if model is None else str(model.tags.get(_SETTLED, "0"))
        if not value.isascii() or not value.isdigit() or len(value) > _DIGITS:
            raise self._edited(_SETTLED, value, "no number")
        return int(value)

    def promote(self, version: str, reason: str, *, replaces: str | None) -> Change:
        """Make a version the champion unless the champion isn't ``replaces`` any more."""
        with self._alone():
            current = self.champion()
            if current != replaces:
                raise TrackingError(
                    f"expected champion {replaces} to be still in place, found {current}: judge {version} "
                    "against it and promote again",
                    expected=replaces,
                    found=current,
                )
            return self._move(PROMOTED, version, current, reason)

    def roll_back(self, reason: str, loads: Callable[[str], object]) -> Change:
        """Make the champion before the present one the champion again."""
        with self._alone():
            current, target = self.champion(), earlier_champion(self.history())
            if current is None or target is None:
                raise ConfigError(
                    f"expected an earlier champion of {self.name} to go back to, found none: the champion is "
                    f"{current}; retrain instead",
                    champion=current,
                )
            loads(target)
            return self._move(ROLLED_BACK, target, current, reason)

    def reject(self, version: str, reason: str) -> None:
        """Mark a version as rejected."""
        self._mark(version, "rejected", reason)

    def tidy(self) -> None:
        """Finish a move that was cut short, note one made by hand, and mark versions nobody will judge."""
        if self._known(self.name) is None:
            return
        if not self._is_settled() or self._is_locked_by_nobody(f"{self.name}_lock"):
            with self._alone():
                pass
        for made in self.client.search_model_versions(f"name='{self.name}' and tags.{STATUS} = 'pending'"):
            owner = Owner.from_text(made.tags.get(OWNER, ""))
            if owner is not None and owner.is_gone(utc_now(), self.longest):
                reason = "its job ended before it was judged"
                self._mark(f"{self.name}/{made.version}", "abandoned", reason)

    def versions(self, identity: str) -> list[Any]:
        """Return the versions that came of the same data and plan, newest first."""
        found = self.client.search_model_versions(f"name='{self.name}' and tags.`{IDENTITY}` = '{identity}'")
        return sorted(found, key=lambda made: int(made.version), reverse=True)

    def _known(self, name: str) -> Any | None:
        from mlflow.exceptions import MlflowException

        try:
            model = self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if not model.name:
            raise TrackingError(
                f"expected a registered model, found an answer without a name. What is left: "
                f"{current_step().left}. What to do: check that MLflow answers at tracking_uri"
            )
        # Some databases find names that differ in letter case only.
        return model if model.name == name else None

    def _create(self, name: str, tags: Mapping[str, str]) -> bool:
        """Create a registered model; False when somebody else did."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name, tags=dict(tags))
        except MlflowException as error:
            if error.error_code not in _TAKEN:
                raise
            return False
        return True

    def _mark(self, version: str, status: str, reason: str) -> None:
        self.client.set_model_version_tag(self.name, number_of(version), REASON, shown(reason))
        self.client.set_model_version_tag(self.name, number_of(version), STATUS, status)

    def _is_settled(self) -> bool:
        changes, model = self.history(), self._known(self.name)
        champion = self.champion()
        if not changes:
            return champion is None
        done = self._settled(model)
        return done >= changes[-1].sequence and champion == changes[-1].version

    def _settle(self) -> None:
        """Bring aliases and history together; only behind the lock."""
        changes, model, champion = self.history(), self._known(self.name), self.champion()
        done = self._settled(model)
        last = changes[-1] if changes else None
        if last is not None and done < last.sequence and champion in (last.replaces, last.version):
            self._follow(last)
            return
        if (None if last is None else last.version) != champion:
            before = None if last is None else last.version
            self._move(MOVED, champion, before, "the alias champion was moved past this library")

    def _move(self, action: str, version: str | None, replaces: str | None, reason: str) -> Change:
        """Write a change down, then let the aliases follow; only behind the lock."""
        changes = self.history()
        now = self.clock()
        if changes:
            now = max(now, changes[-1].at)
        sequence = changes[-1].sequence + 1 if changes else 1
        change = Change(sequence, now, action, version, replaces, shown(reason, MOST_TEXT // 2))
        doing = current_step().doing
        at(doing, f"the champion {replaces or 'none'} or {version or 'none'}, as icp-ml history shows it")
        self.client.set_registered_model_tag(self.name, _key(change), json.dumps(change.to_state()))
        at(doing, f"{version or 'none'} noted as the champion; the next job completes its aliases and marks")
        self._follow(change)
        return change

    def _follow(self, change: Change) -> None:
        """Move aliases, mark versions and keep the artifact; the same however often it's done."""
        if change.version is not None:
            number, old = number_of(change.version), change.replaces
            if old is not None and change.action == PROMOTED:
                self.client.set_registered_model_alias(self.name, PREVIOUS, number_of(old))
            if change.action != MOVED:
                self.client.set_registered_model_alias(self.name, CHAMPION, number)
            if change.action == PROMOTED:
                self._mark(change.version, "approved", change.reason)
            if change.action == ROLLED_BACK:
                self._rolled_back(change)
            self.client.set_model_version_tag(self.name, number, _key(change), json.dumps(change.to_state()))
            made = self.client.get_model_version(self.name, number)
            if made.run_id:
                file = f"history/{change.sequence:06d}-{change.action}.json"
                self.client.log_dict(made.run_id, change.to_state(), file)
        self.client.set_registered_model_tag(self.name, _SETTLED, str(change.sequence))

    def _rolled_back(self, change: Change) -> None:
        """Say on the version that was taken back why, and name the one to go back to next."""
        if change.replaces is not None:
            self._mark(change.replaces, "rolled_back", change.reason)
            taken = number_of(change.replaces)
            self.client.set_model_version_tag(self.name, taken, _key(change), json.dumps(change.to_state()))
        before = earlier_champion(self.history())
        if before is None:
            self.client.delete_registered_model_alias(self.name, PREVIOUS)
        else:
            self.client.set_registered_model_alias(self.name, PREVIOUS, number_of(before))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock and begin from a settled state."""
        lock, mine = f"{self.name}_lock", uuid.uuid4().hex
        self._take(lock, mine)
        try:
            self._settle()
            yield
        finally:
            with current_step().patience.last_words():
                self._release(lock, mine)

    def _take(self, lock: str, mine: str) -> None:
        patience, begin = current_step().patience, time.monotonic()
        pause = 0.05
        while not self._try(lock, mine):
            if self._is_locked_by_nobody(lock):
                self._break(lock)
                continue
            waited = time.monotonic() - begin
            if waited > patience.seconds:
                raise TrackingError(
                    f"expected to hold {lock} within {patience.seconds:g} s, found it taken: another job "
                    f"moves the champion. What is left: {current_step().left}. What to do: run the same "
                    "command again, or delete that registered model if no job runs",
                    lock=lock,
                )
            patience.tell(f"another job moves the champion of {self.name}", waited)
            time.sleep(pause)
            pause = min(1.5 * pause, 1.0)

    def _try(self, lock: str, mine: str) -> bool:
        """Take the lock if it's free; a call that the network repeated may have taken it already."""
        if self.grace:
            if self._known(lock) is not None:
                return False
            time.sleep(self.grace)
        tags = {OWNER: Owner.here(utc_now()).to_text(), _KEY: mine}
        return self._create(lock, tags) or self._holds(lock, mine)

    def _is_locked_by_nobody(self, lock: str) -> bool:
        holder = self._known(lock)
        return holder is not None and _is_dead(holder)

    def _break(self, lock: str) -> None:
        """Remove a dead job's lock: rename it first, so that no other's new lock is deleted in its place."""
        from mlflow.exceptions import MlflowException

        grave = f"{lock}_{uuid.uuid4().hex}"
        for left in self.client.search_registered_models(f"name LIKE '{lock}_%'"):
            if left.name.startswith(f"{lock}_") and _is_dead(left):
                self.client.delete_registered_model(left.name)
        try:
            self.client.rename_registered_model(lock, grave)
            buried = self._known(grave)
            if buried is not None and not _is_dead(buried):
                self.client.rename_registered_model(grave, lock)
            else:
                self.client.delete_registered_model(grave)
        except MlflowException as error:
            if error.error_code not in _TAKEN:
                raise

    def _release(self, lock: str, mine: str) -> None:
        if self._holds(lock, mine):
            self.client.delete_registered_model(lock)

    def _holds(self, lock: str, key: str) -> bool:
        model = self._known(lock)
        return model is not None and model.tags.get(_KEY, "") == key


def _is_dead(lock: Any) -> bool:
    owner = Owner.from_text(lock.tags.get(OWNER, ""))
    return owner is None or owner.is_gone(utc_now(), _LOCK_TIME)


def number_of(version: str) -> str:
    """Return the number of a version's name: ``3`` of ``icp/3``."""
    return version.rpartition("/")[2]


def _key(change: Change) -> str:
    return f"{_HISTORY}{change.sequence:06d}"
