"""Tell OpenLineage receivers of runs, where the configuration names one.

A receiver that is down costs no run: what could not be told is a line in the run's log and on the screen.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.config.loader import Loaded
from framework.config.references import Resolver
from framework.errors import ConfigError, MissingExtra, UserError
from framework.jobs import Job
from framework.ledger import RunRecord

if TYPE_CHECKING:
    from framework.lineage.columns import Columns

_log = logging.getLogger(__name__)
# A receiver that accepts a connection and says nothing delays the end of a run by no more than two of these.
_SECONDS = 5.0
_RETRY = {"total": 1, "connect": 1, "read": 1, "backoff_factor": 0.3, "status_forcelist": [429, 502, 503, 504], "allowed_methods": ["POST"]}


class Emitter:
    """Sends the events of one environment's runs.

    Args:
        transports: of openlineage-python, by the setting that they come from; none: nothing is told to anybody.
        names: how datasets are named there.
    """

    def __init__(self, loaded: Loaded, transports: Mapping[str, Any], names: Any = None) -> None:
        self._settings = loaded.settings
        self._transports = transports
        self._names = names

    def begin(self, job: Job, record: RunRecord, warn: Callable[[str], None]) -> Callable[[RunRecord], None]:
        """Tell that a run begins, while it goes on.

        Args:
            warn: told what could not be told.

        Returns:
            To be called with the record of the run's end; comes back when that was told.
        """
        if not self._transports:
            return lambda ended: None
        pool = ThreadPoolExecutor(1)
        pool.submit(self._tell, job, record, warn)

        def end(ended: RunRecord) -> None:
            pool.submit(self._tell, job, ended, warn)
            pool.shutdown(wait=True)

        return end

    def _tell(self, job: Job, record: RunRecord, warn: Callable[[str], None]) -> None:
        from framework.lineage import columns, events

        try:
            event = events.of_run(job, record, self._settings, self._names, columns.of_job(job, {}))
        except Exception as exc:  # lineage is a comfort: the run is not to fail of it
            _log.exception("no lineage event could be made")
            warn(f"lineage: the run's {record.status} could not be told: {exc}")
            return
        for where, transport in self._transports.items():
            try:
                transport.emit(event)
            except Exception as exc:  # whatever a client of HTTP or the file system raises
                _log.warning("%s: %s", where, exc)
                reason = f": {text}" if (text := str(exc).split(" for url")[0]) and len(text) < 80 else ""
                warn(f"{where} could not be told that the run is {record.status}: {type(exc).__name__}{reason}")


def open_emitter(loaded: Loaded, resolver: Resolver, account: Callable[[], str]) -> Emitter:
    """The emitter of an environment.

    Args:
        account: id of the AWS account, where the settings do not say it.

    Raises:
        SecretUnresolved: the receiver's address or key leads nowhere.
        ConfigError: the address is no URL.
        MissingExtra: openlineage-python is not installed.
    """
    settings = loaded.settings.lineage
    if not settings.file and not settings.url:
        return Emitter(loaded, {})
    naming = _library()
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

    transports: dict[str, Any] = {}
    if settings.file:
        file = loaded.root / Path(resolver.text(settings.file, key="lineage.file")).expanduser()
        file.parent.mkdir(parents=True, exist_ok=True)
        transports["lineage.file"] = FileTransport(FileConfig(str(file), append=True))
    if settings.url:
        url = resolver.text(settings.url, key="lineage.url")
        config = HttpConfig(url, timeout=_SECONDS, retry=_RETRY)
        if settings.api_key:
            key = resolver.hide(resolver.text(settings.api_key, key="lineage.api_key", looked_in=loaded.looked_in("lineage.api_key")))
            config.auth = ApiKeyTokenProvider({"api_key": key})
        try:
            transports["lineage.url"] = HttpTransport(config)
        except ValueError as exc:
            raise ConfigError(
                f"lineage.url: {url} is not a URL", where=loaded.origin("lineage.url"), fix="write https://host:port of the receiver"
            ) from exc
    names = naming.Names(loaded.settings, lambda text, key: resolver.text(text, key=key), lambda: settings.account or account())
    return Emitter(loaded, transports, names)


def declared(jobs: Iterable[Job], loaded: Loaded, by_job: Mapping[str, Columns], account: str | None) -> list[str]:
    """Events of jobs as they are declared, as JSON texts; nobody is asked.

    Raises:
        UserError: the account of the Glue catalog is not known.
        MissingExtra: openlineage-python is not installed.
    """
    naming = _library()
    from openlineage.client.serde import Serde

    from framework.lineage import events

    def known() -> str:
        if not (account or loaded.settings.lineage.account):
            raise UserError(
                "the names of Glue tables begin with the AWS account, which is not known here",
                fix="give --account 123456789012, or set lineage.account",
            )
        return account or loaded.settings.lineage.account or ""

    resolver = Resolver(root=loaded.root, origin=loaded.origin)
    names = naming.Names(loaded.settings, lambda text, key: resolver.text(text, key=key), known)
    now = dt.datetime.now(dt.UTC)
    return [Serde.to_json(events.of_job(job, loaded.settings, names, by_job[job.name], at=now)) for job in jobs]


def _library() -> Any:
    try:
        from framework.lineage import naming
    except ModuleNotFoundError as exc:
        if not (exc.name or "").startswith("openlineage"):
            raise
        raise MissingExtra(
            "OpenLineage events need openlineage-python, which is not installed", fix="pip install 'emrjobs[lineage]'"
        ) from exc
    return naming
