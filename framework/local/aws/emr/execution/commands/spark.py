"""spark-submit, run-example and spark-sql on a local node: Spark's own programs, with one process in the place of YARN."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from framework.errors import UserError
from framework.local.aws.emr.execution import localize
from framework.local.aws.emr.execution.node import Node

# Spark 3.5's SparkSubmitOptionParser: what takes no value, and the short forms of what does.
_SWITCHES = frozenset({"--help", "-h", "--supervise", "--usage-error", "--verbose", "-v", "--version"})
_SHORT = {"-c": "--conf"}
_PATHS = frozenset({"--jars", "--py-files", "--files", "--archives", "--properties-file", "--driver-class-path"})
_LOCAL = "local[*]"


@dataclass(frozen=True)
class Submission:
    """A spark-submit command line.

    Attributes:
        options: (name, value) as given, in order; None for switches.
        resource: the application's file; empty when there is none.
        arguments: of the application.
    """

    options: tuple[tuple[str, str | None], ...] = ()
    resource: str = ""
    arguments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, args: Sequence[str]) -> Submission:
        """Take a command line apart as SparkSubmitOptionParser does.

        Raises:
            UserError: an option without its value.
        """
        options: list[tuple[str, str | None]] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-"):
                return cls(tuple(options), word, tuple(rest))
            name, equals, value = word.partition("=")
            if word in _SWITCHES:
                options.append((word, None))
            elif word.startswith("--") and equals:
                options.append((name, value))
            elif rest:
                options.append((_SHORT.get(word, word), rest.pop(0)))
            else:
                raise UserError(f"Missing argument for option '{word}'.")
        return cls(tuple(options))

    def last(self, name: str) -> str | None:
        """Value of an option; the last one wins."""
        return next((value for option, value in reversed(self.options) if option == name), None)

    def conf(self, key: str) -> str | None:
        """Value of a `--conf key=value`; the last one wins."""
        pairs = [value.partition("=") for option, value in self.options if option == "--conf" and value]
        return next((value for name, _, value in reversed(pairs) if name.strip() == key), None)

    def argv(self) -> list[str]:
        """The command line again."""
        options = [word for name, value in self.options for word in ((name,) if value is None else (name, value))]
        return [*options, *([self.resource] if self.resource else []), *self.arguments]


@dataclass(frozen=True)
class Prepared:
    """What to run, and what has to be in its working folder before.

    Attributes:
        archives: to unpack, `uri#alias`.
        files: to lie in the working folder, `uri#alias`.
        cluster_mode: the driver writes to a container's logs.
        waits: the client of a driver in cluster mode ends with it; otherwise as soon as it is accepted.
        driver_env: variables that YARN would have given the driver.
    """

    submission: Submission
    archives: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    cluster_mode: bool = False
    waits: bool = True
    driver_env: dict[str, str] = field(default_factory=dict)


def prepare(submission: Submission, node: Node, defaults: dict[str, str]) -> Prepared:
    """Turn what was meant for YARN into what runs in one process. Pure.

    Args:
        defaults: Spark properties that hold where the command line says nothing.
    """

    def setting(key: str) -> str | None:
        return submission.conf(key) or defaults.get(key)

    mode = submission.last("--deploy-mode") or setting("spark.submit.deployMode") or "client"
    master = submission.last("--master") or submission.conf("spark.master") or _LOCAL
    cluster_mode = mode == "cluster"
    archives = _several(submission.last("--archives") or setting("spark.yarn.dist.archives") or setting("spark.archives"))
    files = _several(submission.last("--files") or setting("spark.yarn.dist.files") or setting("spark.files"))
    options: list[tuple[str, str | None]] = []
    for name, value in submission.options:
        if name in ("--deploy-mode", "--master", "--archives"):
            continue
        if name == "--conf" and value and value.partition("=")[0].strip() in _YARN_ONLY:
            continue
        if name in _PATHS and value:
            value = ",".join(node.path(part) for part in value.split(","))  # noqa: PLW2901
        options.append((name, value))
    # The first is YARN's, the second that of EMR Serverless; a driver in client mode has the environment of its step.
    prefixes = ("spark.yarn.appMasterEnv.",) if cluster_mode else ("spark.emr-serverless.driverEnv.", "spark.executorEnv.")
    pairs = [value.partition("=") for name, value in submission.options if name == "--conf" and value]
    pairs = [*((key, "=", value) for key, value in defaults.items()), *pairs]
    return Prepared(
        submission=replace(
            submission,
            options=(("--master", master if master.startswith("local") else _LOCAL), ("--deploy-mode", "client"), *options),
            resource=node.path(submission.resource),
        ),
        archives=archives,
        files=files,
        cluster_mode=cluster_mode,
        waits=(setting("spark.yarn.submit.waitAppCompletion") or "true").lower() != "false",
        driver_env=_with_prefix(pairs, prefixes),
    )


def _with_prefix(pairs: Sequence[tuple[str, str, str]], prefixes: Sequence[str]) -> dict[str, str]:
    """Properties that begin so, without that; the first prefix wins."""
    found: dict[str, str] = {}
    for prefix in reversed(prefixes):
        found |= {key.strip().removeprefix(prefix): value for key, _, value in pairs if key.strip().startswith(prefix)}
    return found


# Localised by hand, as one process has no YARN to do it; given to Spark as well they would be unpacked twice.
_YARN_ONLY = frozenset({"spark.master", "spark.submit.deployMode", "spark.yarn.dist.archives", "spark.archives", "spark.yarn.dist.files"})


def _several(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def submit(node: Node, args: Sequence[str]) -> int:
    """spark-submit."""
    submission = Submission.parse(args)
    info = {"--version", "--help", "-h", "--kill", "--status"} & {name for name, _ in submission.options}
    if info or not submission.resource:
        return _spark(node, "spark-submit", list(args))
    if Path(urlsplit(submission.resource).path).name.startswith("spark-examples"):
        return run_example(node, [submission.last("--class") or "", *submission.arguments])
    properties = submission.last("--properties-file")
    if properties is not None and localize.is_remote(properties):
        local = localize.fetch(properties, Path.cwd())
        submission = replace(
            submission,
            options=tuple((name, str(local) if name == "--properties-file" else value) for name, value in submission.options),
        )
        properties = str(local)
    defaults = read_properties(Path(node.path(properties)) if properties else node.conf("spark") / "spark-defaults.conf")
    prepared = prepare(submission, node, defaults)
    scheme = urlsplit(prepared.submission.resource).scheme
    if scheme in ("", "file"):
        _require(Path(urlsplit(prepared.submission.resource).path))
    if prepared.cluster_mode:
        from framework.local.aws.emr.execution.commands import spark_cluster

        return spark_cluster.run(node, prepared)
    bring(prepared, node, Path.cwd())
    return _spark(node, "spark-submit", prepared.submission.argv(), prepared.driver_env)


def bring(prepared: Prepared, node: Node, folder: Path) -> None:
    """Unpack archives and put files where YARN would: into the working folder.

    Raises:
        EmrjobsError: one is not there, or is not an archive.
    """
    for archive in prepared.archives:
        localize.unpack(node.path(archive), folder)
    for file in prepared.files:
        localize.fetch(node.path(file), folder)


def _require(path: Path) -> None:
    if not path.exists():
        # Spark's own words, without waiting for two JVMs to say them.
        raise UserError(f"the application's file {path} does not exist")


def read_properties(path: Path) -> dict[str, str]:
    """Spark properties of a file: `key value` or `key=value` lines; empty when there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        text = line.strip()
        if text and not text.startswith(("#", "!")):
            end = next((index for index, letter in enumerate(text) if letter in " \t=:"), len(text))
            found[text[:end]] = text[end:].lstrip(" \t").removeprefix("=").lstrip(" \t")
    return found


_EXAMPLES = {"SparkPi": "pi", "JavaSparkPi": "pi", "SparkPageRank": "pagerank", "JavaPageRank": "pagerank", "JavaWordCount": "wordcount"}


def run_example(node: Node, args: Sequence[str]) -> int:
    """run-example: the classes of Spark's examples jar, which pyspark does not bring; its Python examples are there."""
    given = Submission.parse(args)
    name = given.resource.removeprefix("org.apache.spark.examples.")
    scripts = {path.stem: path for path in (node.spark_home / "examples/src/main/python").glob("**/*.py")}
    script = scripts.get(_EXAMPLES.get(name, name.removesuffix(".py")))
    if script is None:
        raise UserError(f"the example {name!r} is not among those of the local node", details=[f"there are: {', '.join(sorted(scripts))}"])
    sys.stderr.write(f"local node: {name} runs as Spark's own Python example {script.name}\n")
    return submit(node, replace(given, resource=str(script)).argv())


def sql(node: Node, args: Sequence[str]) -> int:
    """spark-sql with a file or statement; from a step it cannot be interactive."""
    if not {"-e", "-f"} & set(args) and not any(arg.startswith(("--help", "--version")) for arg in args):
        return interactive(node, args)
    given = list(args)
    for index, word in enumerate(given[:-1]):
        if word == "-f":
            given[index + 1] = str(localize.fetch(node.path(given[index + 1]), Path.cwd()))
    return _spark(node, "spark-sql", [*_without_yarn(given)])


def _without_yarn(args: Sequence[str]) -> list[str]:
    kept = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word in ("--master", "--deploy-mode"):
            rest = rest[1:]
        elif not word.startswith(("--master=", "--deploy-mode=")):
            kept.append(word)
    return ["--master", _LOCAL, *kept]


def interactive(node: Node, args: Sequence[str]) -> int:
    """Refused: a step has no terminal."""
    raise UserError(
        "an interactive shell cannot run as a step, which has no terminal", fix="submit a script with spark-submit or spark-sql -f"
    )


def _spark(node: Node, program: str, args: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Become one of Spark's programs."""
    path = node.spark_home / "bin" / program
    sys.stderr.flush()
    os.execve(path, [str(path), *args], spark_environment(env))


def spark_environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of Spark's programs: Python code runs in the cluster's Python unless somebody chose another."""
    return {"PYSPARK_PYTHON": "python3", **os.environ, **(env or {})}
