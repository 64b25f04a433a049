"""The embedded target: an environment's platform on the local services, set up once."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.config.loader import Loaded
from framework.errors import ConfigError, EmrjobsError, ServiceUnavailable
from framework.local.events import Event, Progress
from framework.local.service import Endpoint
from framework.local.supervisor import Supervisor
from framework.platform import Platform
from framework.sources import presto_catalogs
from framework.sources.paths import normalise, split_s3
from framework.sources.trino_catalogs import Catalogs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OnEvent = Callable[[Event], None]

# Services with sample data that are started only when something refers to them.
_WITH_SAMPLE_DATA = ("opensearch", "mysql")
# The same of a service that an environment names, from when it has its data: a run that does not read it can do without it.
_ON_DEMAND = ("postgres",)

_MAX_LOG = 20_000_000  # bytes of a JVM's log that a run's own log takes


def supervisor(loaded: Loaded, on_event: OnEvent) -> Supervisor:
    """The services of the project, with the environment's settings."""
    return Supervisor(loaded.root, {"spark": {"driver_memory": loaded.settings.spark.driver_memory}}, on_event)


@contextlib.contextmanager
def open_platform(loaded: Loaded, on_event: OnEvent) -> Iterator[Platform]:
    """Start what the environment needs (what runs already is only checked), set it up once, and give its platform.

    A failure inside is told together with the services that died meanwhile.

    Raises:
        ServiceUnavailable: a service did not start.
    """
    services = supervisor(loaded, on_event)
    wanted = loaded.settings.local.services
    ready = _is_set_up(loaded, services)
    endpoints = dict(services.up([name for name in wanted if not ready or name not in _ON_DEMAND]))

    def values(service: str) -> Mapping[str, str]:
        if service not in endpoints:
            endpoints.update(services.up([service]))
            if service in _WITH_SAMPLE_DATA and loaded.settings.local.seed:
                endpoints.update(services.up(wanted))
                _seed(loaded.settings.local.seed, platform, endpoints, on_event)
        return endpoints[service].values

    def start_trino(catalogs: Catalogs) -> str:
        from framework.local.trino_server import put_catalogs

        # Its catalogs are known only when what they lead to runs, so it is not among the services that are started above.
        settings = {"heap": loaded.settings.trino.heap, "catalogs": catalogs.properties, "environment": catalogs.environment}
        if loaded.settings.state.startswith("s3://"):
            settings["spool"] = f"{loaded.settings.state}/trino/spool"
        trino = Supervisor(loaded.root, {"trino": settings}, on_event)
        server = trino.up(["trino"])["trino"]
        put_catalogs(server, trino.layout.private("trino"), catalogs.properties)
        return server["url"]

    def start_presto(catalogs: Catalogs) -> str:
        from framework.local.presto_server import with_recorded

        # It reads its catalogs when it starts: those of earlier statements stay, so that statements in turn do not restart it.
        private = services.layout.private("presto")
        settings = {
            "heap": loaded.settings.presto.heap,
            "catalogs": with_recorded(private, catalogs.properties),
            "environment": catalogs.environment,
        }
        return Supervisor(loaded.root, {"presto": settings}, on_event).up(["presto"])["presto"]["url"]

    starter = _SparkStarter(loaded, services, on_event)
    platform = Platform(
        loaded,
        starter,
        start_trino=start_trino,
        start_presto=start_presto,
        local=values,
        running=lambda: services.endpoints().keys(),
        engine_log=starter.log,
    )
    try:
        if not ready:
            _set_up(platform, services, endpoints, on_event)
        yield platform
    except EmrjobsError as exc:
        exc.details = (*exc.details, *(line for text in services.diagnose() for line in text.splitlines()))
        raise


@contextlib.contextmanager
def open_spark(loaded: Loaded, on_event: OnEvent, conf: Mapping[str, str]) -> Iterator[SparkSession]:
    """A Spark session without the other services."""
    with _SparkStarter(loaded, supervisor(loaded, on_event), on_event)(conf) as spark:
        spark._jvm.SparkSession.setActiveSession(spark._jsparkSession)
        yield spark


def up(loaded: Loaded, names: Sequence[str], on_event: OnEvent) -> None:
    """Start the named services; Trino and Presto with the environment's catalogs.

    Raises:
        ConfigError: an unknown name.
        ServiceUnavailable: one did not start.
    """
    supervisor(loaded, on_event).up([name for name in names if name not in ("trino", "presto")])
    if "trino" in names or "presto" in names:
        with open_platform(loaded, on_event) as platform:
            if "trino" in names:
                platform.trino_url()
            if "presto" in names:
                platform.presto(presto_catalogs.served(loaded.settings))


@dataclass(frozen=True)
class _SparkStarter:
    """Opens Spark sessions: in the warm JVM where the settings want one, else in a JVM of their own."""

    loaded: Loaded
    services: Supervisor
    on_event: OnEvent
    # How long each JVM's log was when the last session was opened.
    _log_sizes: dict[Path, int] = field(default_factory=dict)

    def log(self) -> str:
        """What the JVM wrote since the last session was opened."""
        parts = []
        for path, start in self._log_sizes.items():
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(start)
                parts.append(file.read(_MAX_LOG).decode(errors="replace"))
        return "".join(parts)

    @contextlib.contextmanager
    def __call__(self, conf: Mapping[str, str]) -> Iterator[SparkSession]:
        from framework.engines.spark import session
        from framework.local import spark_jvm

        settings = self.loaded.settings.spark

        def progress(text: str, done: int | None = None, total: int | None = None) -> None:
            self.on_event(Progress("spark", text, done, total))

        warm = None
        if settings.warm:
            try:
                warm = spark_jvm.warm_jvm(self.services.up(["spark"])["spark"])
            except ServiceUnavailable as exc:
                progress(f"the warm JVM did not start ({exc.message}); starting one of its own")
        launch = spark_jvm.own_jvm(self.loaded.root, memory=settings.driver_memory, on_progress=progress)
        self._log_sizes.clear()
        self._log_sizes.update({path: _size(path) for path in (launch.log, *([warm.log] if warm else []))})
        with session.start(conf, launch=launch, warm=warm, tell=progress) as spark:
            yield spark


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_set_up(loaded: Loaded, services: Supervisor) -> bool:
    return _done(loaded).get(_place(loaded)) == _state(loaded, services)


def _set_up(platform: Platform, services: Supervisor, endpoints: Mapping[str, Endpoint], on_event: OnEvent) -> None:
    """Buckets, databases and the sample data, once per environment and catalog, and per data that a reset has not deleted."""
    loaded = platform.loaded
    if "s3" in endpoints:
        from framework.local.seaweedfs import buckets

        buckets(endpoints["s3"], _buckets(loaded))
    if loaded.settings.local.seed:
        _seed(loaded.settings.local.seed, platform, endpoints, on_event)
    marker = _marker(loaded.root)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({**_done(loaded), _place(loaded): _state(loaded, services)}), encoding="utf-8")


def forget(root: Path) -> None:
    """Set up anew next time: data were deleted."""
    _marker(root).unlink(missing_ok=True)


def _marker(root: Path) -> Path:
    return root / ".local" / "set-up.json"


def _place(loaded: Loaded) -> str:
    return f"{loaded.env}:{loaded.settings.catalog.kind}"


def _done(loaded: Loaded) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(_marker(loaded.root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _state(loaded: Loaded, services: Supervisor) -> str:
    """Changes when something has to be set up: other buckets, another seed, or services whose data are new (their secrets are too)."""
    records = [services.layout.read(name) for name in sorted(loaded.settings.local.services)]
    secrets = [record.values.get(key) for record in records for key in sorted(record.secret)]
    return hashlib.sha256(json.dumps([sorted(_buckets(loaded)), loaded.settings.local.seed, secrets]).encode()).hexdigest()


def _buckets(loaded: Loaded) -> set[str]:
    settings = loaded.settings
    prefixes = [settings.state, settings.catalog.warehouse, *settings.paths.values()]
    return {split_s3(uri)[0] for uri in map(normalise, prefixes) if uri.startswith("s3://")}


def _seed(name: str, platform: Platform, endpoints: Mapping[str, Endpoint], on_event: OnEvent) -> None:
    """Call the environment's `module:function` with (platform, endpoints, progress)."""
    module_name, colon, function_name = name.partition(":")
    try:
        function: Any = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f"local.seed: {name} cannot be imported: {exc}", fix="write module:function") from exc
    if not colon:
        raise ConfigError(f"local.seed: {name} must be module:function")

    def progress(text: str, done: int | None = None, total: int | None = None) -> None:
        on_event(Progress("sample data", text, done, total))

    function(platform, endpoints, progress)
