"""`opensearch`: one OpenSearch 2.19.1 node from Maven Central, started where a connection refers to it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from framework.local import artifacts
from framework.local.service import HOST, Context, Endpoint, Launch, PortSpec, Settings, check_http

JAVA = 17

_START = Path(__file__).with_name("opensearch.bsh")
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Dfile.encoding=UTF-8")


class OpenSearch:
    """The search server. It has no security plugin; it listens on this machine only.

    Settings: none. Endpoint values: url, host, port.
    """

    name = "opensearch"
    needs: tuple[str, ...] = ()
    ports = (PortSpec("http"), PortSpec("transport"))

    def __init__(self, settings: Settings) -> None:
        self._jars = artifacts.locked_jars("opensearch")

    def fingerprint(self) -> str:
        return json.dumps([[jar.sha256 for jar in self._jars], _START.read_text(encoding="utf-8"), _JVM, JAVA])

    def prepare(self, ctx: Context) -> None:
        """Fetch it (55 MB) once per user.

        Raises:
            DownloadFailed: it cannot be fetched.
        """
        artifacts.ensure_jdk(JAVA, ctx.progress)
        artifacts.ensure_jars("opensearch", ctx.progress)

    def launch(self, ctx: Context) -> Launch:
        java = artifacts.ensure_jdk(JAVA, ctx.progress) / "bin" / "java"
        classpath = ":".join(map(str, artifacts.ensure_jars("opensearch", ctx.progress)))
        ports = (str(ctx.port("http")), str(ctx.port("transport")))
        argv = [str(java), *_JVM, "-cp", classpath, "bsh.Interpreter", str(_START), HOST, *ports, str(ctx.data)]
        return Launch(argv, start_timeout=180.0, stop_timeout=20.0)

    def probe(self, ctx: Context) -> None:
        """Its indexes can be read: it answers before it has found them."""
        url = f"{self.endpoint(ctx)['url']}/_cluster/health?wait_for_status=yellow&timeout=2s"
        with urllib.request.urlopen(url, timeout=5) as answer:
            health = json.load(answer)
        if health["timed_out"]:
            raise OSError(f"the node is {health['status']}")

    def check(self, ctx: Context) -> None:
        check_http(ctx.port("http"))

    def endpoint(self, ctx: Context) -> Endpoint:
        port = ctx.port("http")
        return Endpoint(self.name, {"url": f"http://{HOST}:{port}", "host": HOST, "port": str(port)})
