"""A Spark session for one run: in a warm JVM, in a JVM of its own, or in the one that spark-submit set up on a cluster.

A warm JVM serves one run at a time, and every run gets a SparkContext of its own: its conf, catalogs, credentials and Python
workers end with it. What Hadoop and Spark keep in static fields is cleared at both ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.engines.spark.jvm import Connection, JvmLaunch, OwnJvm, WarmJvm, read_connection
from framework.errors import EngineUnavailable, MissingExtra

if TYPE_CHECKING:
    from py4j.clientserver import ClientServer
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

Tell = Callable[[str], None]
"""Takes one line about what a start is waiting for or had to do instead."""

_DEFAULTS = {
    "spark.master": "local[*]",
    # The web UI costs half a second at the start and a port; nothing leaves this machine.
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


class WarmJvmBusy(EngineUnavailable):
    """Another run holds the warm JVM, or it does not answer."""


@contextlib.contextmanager
def start(
    conf: Mapping[str, str],
    *,
    launch: JvmLaunch | None = None,
    warm: WarmJvm | None = None,
    app_name: str = "emrjobs",
    python_path: Sequence[Path] = (),
    wait: float = 2.0,
    end_timeout: float = 20.0,
    tell: Tell = lambda line: None,
) -> Iterator[SparkSession]:
    """Open a Spark session, and end it whatever happens inside: jobs cancelled, context stopped, own JVM gone.

    The warm JVM is taken if it is free; if it is busy for longer than `wait` or does not answer, a JVM of its own is started: a
    second run beside a long one costs memory and some seconds, not the length of the first. With neither `launch` nor `warm`
    (a step on a cluster) the session is the one that spark-submit configured, and `conf` is added to it.

    Args:
        conf: Spark properties. Memory and class path belong to the JVM (`launch`), not here.
        python_path: folders whose modules the Python workers can import.
        wait: seconds to wait for a warm JVM that is in use.
        end_timeout: seconds that a JVM of its own may take to end before it is killed.
        tell: told why the warm JVM was not used.

    Raises:
        EngineUnavailable: no JVM could be had.
        MissingExtra: pyspark is not installed.
    """
    with contextlib.ExitStack() as stack:
        gateway: ClientServer | None = None
        if warm is not None:
            try:
                gateway = stack.enter_context(_taken(warm, wait=wait))
            except WarmJvmBusy as exc:
                if launch is None:
                    raise
                log.info("%s", exc)
                tell(f"{exc.message}; starting another JVM")
        if gateway is None and launch is not None:
            gateway = stack.enter_context(_own(launch, end_timeout))
        yield stack.enter_context(_session(gateway, conf, app_name, python_path))


@contextlib.contextmanager
def _own(launch: JvmLaunch, end_timeout: float) -> Iterator[ClientServer]:
    jvm = OwnJvm(launch)
    try:
        _import_pyspark()  # meanwhile the JVM starts
        gateway = _connect(jvm.connection())
        try:
            yield gateway
        finally:
            _disconnect(gateway)
    except BaseException:
        jvm.kill()
        raise
    jvm.close(end_timeout)


@contextlib.contextmanager
def _taken(warm: WarmJvm, *, wait: float) -> Iterator[ClientServer]:
    """Hold the warm JVM, cleared of what an earlier user left in it."""
    from filelock import FileLock, Timeout

    lock = FileLock(warm.lock)
    try:
        lock.acquire(timeout=wait, poll_interval=0.05)
    except Timeout:
        raise WarmJvmBusy("the warm Spark JVM is in use by another run", details=_holder(warm)) from None
    except OSError as exc:
        raise WarmJvmBusy(f"the warm Spark JVM cannot be locked: {exc}") from exc
    try:
        try:
            connection = read_connection(warm.connection)
            _import_pyspark()
            gateway = _connect(connection)
        except (OSError, ValueError, EngineUnavailable) as exc:
            raise WarmJvmBusy("the warm Spark JVM does not answer", where=warm.log, details=[str(exc)]) from exc
        try:
            clear(gateway)
            first = min(next_object_id(gateway), read_lease(warm).get("first_object", sys.maxsize))
            _write_lease(warm, first_object=first, clean=False)
            try:
                yield gateway
            finally:
                if _apart(gateway, lambda: clear(gateway)):
                    _write_lease(warm, first_object=first, clean=True)
        finally:
            _disconnect(gateway)
    finally:
        lock.release()


@contextlib.contextmanager
def _session(gateway: ClientServer | None, conf: Mapping[str, str], app_name: str, python_path: Sequence[Path]) -> Iterator[SparkSession]:
    _import_pyspark()
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    if gateway is None:
        builder = SparkSession.Builder().appName(app_name)
        for key, value in conf.items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        try:
            yield spark
        finally:
            spark.stop()
        return

    # Without defaults: a SparkConf would otherwise read system properties, which belong to the JVM and not to this run.
    settings = SparkConf(loadDefaults=False, _jvm=gateway.jvm)
    for key, value in {"spark.app.name": app_name, **_DEFAULTS, **conf}.items():
        settings.set(key, value)
    paths = [str(path) for path in python_path]
    if paths:
        inherited = conf.get("spark.executorEnv.PYTHONPATH")
        settings.set("spark.executorEnv.PYTHONPATH", os.pathsep.join([*paths, *([inherited] if inherited else [])]))

    if SparkContext._active_spark_context is not None:
        raise EngineUnavailable("this process already has a Spark session", fix="end the first one before the next is started")
    SparkContext._gateway, SparkContext._jvm = gateway, gateway.jvm
    handler = signal.getsignal(signal.SIGINT)
    interpreter = os.environ.get("PYSPARK_PYTHON")
    # Workers run what this process runs.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    context: SparkContext | None = None
    try:
        try:
            context = SparkContext(conf=settings, gateway=gateway)
        finally:
            # pyspark's own handler sends "cancel all jobs" over the very connection whose answer it interrupted, and so waits for
            # the job that it should cancel. Ctrl-C is a plain KeyboardInterrupt here, and _stop cancels over another connection.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)
        yield SparkSession(context)
    except BaseException as exc:
        _keep_texts(exc)
        _stop(gateway, context)
        raise
    else:
        _stop(gateway, context)
    finally:
        if interpreter is None:
            os.environ.pop("PYSPARK_PYTHON", None)
        else:
            os.environ["PYSPARK_PYTHON"] = interpreter
        SparkContext._active_spark_context = None
        SparkContext._gateway = SparkContext._jvm = None


def _stop(gateway: ClientServer, context: SparkContext | None) -> None:
    """Cancel what runs and stop the context; never raises: the caller has the better error, or none."""
    from pyspark.sql import SparkSession, SQLContext

    def act() -> None:
        if context is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # pyspark's word on a JVM that is gone
            try:
                context.cancelAllJobs()
            except Exception:
                log.debug("jobs could not be cancelled", exc_info=True)
            try:
                context.stop()
            except Exception:
                log.debug("the Spark context could not be stopped", exc_info=True)

    _apart(gateway, act)
    SparkSession._instantiatedSession = None
    SparkSession._activeSession = None
    SQLContext._instantiatedContext = None
    close_connection(gateway)


def _apart(gateway: ClientServer, act: Callable[[], None], timeout: float = 30.0) -> bool:
    """Act in a thread of its own, and so over a connection of its own: this thread's may be in the middle of an answer.

    Returns:
        Whether it worked, within `timeout` seconds.
    """
    done = threading.Event()

    def run() -> None:
        try:
            act()
            done.set()
        except Exception:
            log.debug("the Spark JVM could not be left in order", exc_info=True)
        finally:
            close_connection(gateway)

    thread = threading.Thread(target=run, name="spark-stop", daemon=True)
    thread.start()
    thread.join(timeout)
    return done.is_set()


def close_connection(gateway: ClientServer) -> None:
    """Close this thread's connection; py4j leaves it to the garbage collector, which warns of it."""
    connection = gateway._gateway_client.get_thread_connection()
    if connection is not None:
        connection.close()


def _keep_texts(error: BaseException | None) -> None:
    """Fix the texts of Java errors: py4j and pyspark ask the JVM for them when they are printed, which may be after its end."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors.exceptions.captured import CapturedException

    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error may be its own cause
        seen.add(id(error))
        if isinstance(error, Py4JJavaError | CapturedException):
            kind = type(error)
            try:
                text = str(error)
            except Exception:
                text = getattr(error, "errmsg", kind.__name__)
            error.__class__ = type(kind.__name__, (kind,), {"__str__": lambda self, text=text: text, "__module__": kind.__module__})
        error = error.__cause__ or error.__context__


def clear(gateway: ClientServer) -> None:
    """Stop a SparkContext that was left in the JVM, and forget all that Spark and Hadoop keep outside of contexts.

    Hadoop caches file systems by scheme, host and user, not by conf: without this, a run would go on with the endpoint and
    credentials of the one before it.
    """
    jvm = gateway.jvm
    # The companion object itself: Scala gives its private[spark] methods no static twin.
    left = getattr(getattr(jvm.org.apache.spark, "SparkContext$"), "MODULE$").getActive()
    if left.isDefined():
        log.info("stopping a Spark context that an earlier run left behind")
        context = left.get()
        context.cancelAllJobs()
        context.stop()
    jvm.org.apache.spark.sql.SparkSession.clearDefaultSession()
    jvm.org.apache.spark.sql.SparkSession.clearActiveSession()
    jvm.org.apache.hadoop.fs.FileSystem.closeAll()
    # A task that was cancelled while it started its Python has started it after the context, which would have ended it.
    for process in jvm.java.lang.ProcessHandle.current().children().toArray():
        process.destroy()


def next_object_id(gateway: ClientServer) -> int:
    """The number that py4j gives to the next Java object that Python holds."""
    return int(gateway.jvm.java.lang.Object()._target_id[1:])


def forget_objects(gateway: ClientServer, first: int) -> int:
    """Drop the JVM's references to the objects that a Python process which is gone has held; returns how many ids were swept.

    py4j drops an object when Python does, and not when Python ends: a warm JVM would keep every DataFrame of every run.
    """
    last = next_object_id(gateway)
    for number in range(first, last + 1):
        gateway._gateway_client.garbage_collect_object(f"o{number}", enqueue=False)
    return max(0, last + 1 - first)


def read_lease(warm: WarmJvm) -> dict[str, Any]:
    """What the last user of the warm JVM wrote: pid, first_object, clean; empty when there is none to clear up after."""
    try:
        lease = json.loads(warm.lease.read_text())
    except (OSError, ValueError):
        return {}
    return lease if isinstance(lease, dict) else {}


def connect(connection: Connection) -> ClientServer:
    """A py4j client of a driver JVM, without pyspark.

    Raises:
        EngineUnavailable: nobody there, or not one that takes the secret.
    """
    from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
    from py4j.protocol import Py4JError

    gateway = ClientServer(
        java_parameters=JavaParameters(port=connection.port, auth_token=connection.secret, auto_convert=True),
        python_parameters=PythonParameters(port=0, eager_load=False),
    )
    py4j_log = logging.getLogger("py4j")
    level = py4j_log.level
    py4j_log.setLevel(logging.CRITICAL)  # that nobody answers is what we ask; no traceback in the user's terminal
    try:
        gateway.jvm.System.nanoTime()
    except (Py4JError, OSError) as exc:
        _disconnect(gateway)
        raise EngineUnavailable(f"no Spark JVM answers on port {connection.port}") from exc
    finally:
        py4j_log.setLevel(level)
    return gateway


def disconnect(gateway: ClientServer) -> None:
    """End a client and its connections; the JVM goes on."""
    from py4j.clientserver import SHUTDOWN_FINALIZER_WORKER

    client = gateway._gateway_client
    client.is_connected = False  # objects that Python drops later are nobody's any more
    gateway.close()
    client.finalizer_deque.appendleft(SHUTDOWN_FINALIZER_WORKER)
    if gateway.gateway_property.pool is not None:
        gateway.shutdown_callback_server()


def _connect(connection: Connection) -> ClientServer:
    from py4j.java_gateway import java_import

    gateway = connect(connection)
    # As pyspark.java_gateway.launch_gateway does.
    for name in (
        "org.apache.spark.SparkConf",
        *(f"org.apache.spark.{package}.*" for package in ("api.java", "api.python", "ml.python", "mllib.api.python", "resource")),
        *(f"org.apache.spark.sql.{package}*" for package in ("", "api.python.", "hive.")),
        "scala.Tuple2",
    ):
        java_import(gateway.jvm, name)
    gateway.proc = None
    return gateway


_disconnect = disconnect


def _write_lease(warm: WarmJvm, *, first_object: int, clean: bool) -> None:
    new = warm.lease.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({"pid": os.getpid(), "first_object": first_object, "clean": clean}))
    new.replace(warm.lease)


def _holder(warm: WarmJvm) -> list[str]:
    pid = read_lease(warm).get("pid")
    return [f"process {pid}"] if pid else []


def _import_pyspark() -> None:
    try:
        import pyspark.sql  # noqa: F401
    except ModuleNotFoundError as exc:
        raise MissingExtra(f"Spark jobs need the package {exc.name!r}, which is not installed", fix="pip install 'emrjobs[spark]'") from exc
