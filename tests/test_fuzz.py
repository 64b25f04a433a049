"""Mutated configurations, SQL jobs and suites: a valid result or one clear error of our own, never another exception."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from builders import BASE, SQL_JOB, Project

from framework.config.loader import load
from framework.discovery import discover
from framework.errors import UserError
from framework.planning import plan
from framework.quality import suite as suites

SUITE = """\
expectations:
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_compound_columns_to_be_unique: {column_list: [flight_date, carrier, origin]}
  - expect_column_values_to_be_in_set: {column: origin, value_set: [EWR, JFK, LGA]}
  - expect_column_values_to_be_between: {column: max_wind_speed, min_value: 0, max_value: 150, severity: warn}
"""
SQL = SQL_JOB.replace("marts.scores\n", "marts.scores\nmode: merge\nkeys: [carrier]\nsorted_by: [carrier]\nchecks: scores\n")
ENVIRONMENT = "target: embedded\nspark: {driver_memory: 2g, cores: 2}\nlocal: {services: [s3]}\nconnections: {ops: {port: 5432}}\n"

TEXTS = {"configs/base.yaml": BASE, "configs/env/embedded.yaml": ENVIRONMENT, "jobs/scores.sql": SQL, "configs/checks/scores.yaml": SUITE}

_ODD = (
    "", "null", "[]", "{}", "~", "''", '"', "'", "\t", "\x00", "é", "\ud7ff", "1e999", "-1", "0x1f", "&a [*a]", "*a", "!x y", "true",
    "!!python/name:os.system", "${env:NO_SUCH_VARIABLE}", "${", "{least}", "{", "}}", ": :", "- -", "|", ">", "%", "@", "`", "*/", "/*",
    "--", ";", "9" * 400, "2013-02-30", "a" * 5000, "../..", "s3://", "{" * 300,
)  # fmt: skip


def mutated(text: str, draw: random.Random) -> str:
    """One to four changes, each as a careless or a malicious hand would make it."""
    for _ in range(draw.randint(1, 4)):
        lines = text.split("\n")
        at = draw.randrange(len(text) + 1)
        match draw.randrange(8):
            case 0:
                text = text[:at] + draw.choice(_ODD) + text[at:]
            case 1:
                text = text[:at] + text[at + draw.randint(1, 30) :]
            case 2:
                text = "\n".join(draw.sample(lines, len(lines)))
            case 3:
                line = draw.randrange(len(lines))
                lines[line] = draw.choice(("  ", "\t", "")) + lines[line].lstrip()
                text = "\n".join(lines)
            case 4:
                line = draw.randrange(len(lines))
                key, colon, _ = lines[line].partition(":")
                lines[line] = f"{key}{colon} {draw.choice(_ODD)}"
                text = "\n".join(lines)
            case 5:
                text = "\n".join([*lines, *draw.sample(lines, min(3, len(lines)))])
            case 6:
                text = text[:at]
            case _:
                other = draw.randrange(len(text) + 1)
                text = text[: min(at, other)] + text[max(at, other) :] + text[min(at, other) : max(at, other)]
    return text


def outcome(root: Path) -> str:
    """`valid`, or the error that a command would print, after everything that `emrjobs plan` reads has been read."""
    try:
        loaded = load(root, "embedded", variables={})
        found = discover(root)
        for problem in found.problems.values():
            raise problem
        for job in found:
            suites.of_job(job, root)
            plan(job, {}, loaded)
    except UserError as exc:  # whatever else is raised fails the test
        text = str(exc)
    else:
        return "valid"
    assert text.strip()
    assert "Traceback" not in text
    return text


def fuzz(project: Project, name: str, cases: range) -> set[str]:
    outcomes = set()
    for other, text in TEXTS.items():
        project.write(other, text)
    assert outcome(project.root) == "valid"
    for seed in cases:
        text = mutated(TEXTS[name], random.Random(seed))
        (project.root / name).write_bytes(text.encode("utf-8", errors="surrogatepass"))
        try:
            outcomes.add(outcome(project.root))
        except Exception as exc:
            raise AssertionError(f"case {seed} of {name}:\n{text}") from exc
    return outcomes


@pytest.mark.parametrize("name", TEXTS)
def test_a_mutated_file_gives_a_result_or_one_clear_error(name: str, project: Project) -> None:
    assert len(fuzz(project, name, range(600))) > 20
