"""`emrjobs init` and `emrjobs new job`: files to begin with, from the templates beside this module.

A template is a text with `$name` placeholders (string.Template); its file's name ends in `.tmpl`, and `dot_` stands for a dot.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from framework.errors import JobDefinitionError, UserError

_TEMPLATES = Path(__file__).parent
_JOB = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
EXTRAS = "spark,quality,local"


def init(folder: Path) -> list[Path]:
    """Write a new workload project into an empty folder; returns what was written.

    Raises:
        UserError: the folder is not empty, or its name is none for a bucket.
    """
    if folder.exists() and (not folder.is_dir() or any(path.name != ".git" for path in folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder", fix="give another one: emrjobs init FOLDER")
    name = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-")
    # S3 User Guide, "General purpose bucket naming rules": 3 to 63 characters; the longest suffix is -prod-warehouse.
    if not 1 <= len(name) <= 63 - len("-prod-warehouse"):
        raise UserError(
            f"{folder.absolute().name!r} cannot be the name of a project: buckets are named after it", fix="use 1 to 48 letters and digits"
        )
    values = {"name": name, "bucket": name, "requirement": _requirement()}
    templates = _TEMPLATES / "project"
    written = []
    for template in sorted(templates.rglob("*.tmpl")):
        parts = [re.sub(r"^dot_", ".", part) for part in template.relative_to(templates).parts]
        written.append(_write(template, folder.joinpath(*parts).with_suffix(""), values))
    return written


def new_job(root: Path, name: str, *, sql: bool, database: str = "marts") -> list[Path]:
    """Write a job and its first case; returns what was written.

    Raises:
        JobDefinitionError: the name is no job's, or one of the files is there already.
    """
    if not _JOB.match(name):
        raise JobDefinitionError(f"{name!r} is not a job name", fix="use a-z, 0-9 and _, at most 63, a letter first")
    suffix = "sql" if sql else "py"
    files = {f"job.{suffix}.tmpl": root / "jobs" / f"{name}.{suffix}", f"job.{suffix}.test.yaml.tmpl": root / "jobs" / f"{name}.test.yaml"}
    for path in (*files.values(), root / "jobs" / f"{name}.{'py' if sql else 'sql'}"):
        if path.exists():
            raise JobDefinitionError("is there already", where=path.relative_to(root), fix="choose another name")
    return [_write(_TEMPLATES / "job" / template, path, {"name": name, "database": database}) for template, path in files.items()]


def _write(template: Path, path: Path, values: Mapping[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
    return path


def _requirement() -> str:
    """How pip gets the emrjobs that runs now: from where it was installed, else by its version (PEP 610)."""
    distribution = importlib.metadata.distribution("emrjobs")
    direct = json.loads(distribution.read_text("direct_url.json") or "{}")
    if "url" in direct:
        vcs = direct.get("vcs_info", {}).get("vcs")
        return f"emrjobs[{EXTRAS}] @ {f'{vcs}+' if vcs else ''}{direct['url']}"
    return f"emrjobs[{EXTRAS}]=={distribution.version}"
