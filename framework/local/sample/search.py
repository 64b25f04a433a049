"""Airports and airlines as documents of OpenSearch, with a text to search in."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any

from framework.local.sample import source
from framework.local.sample.seeding import Loaded, Seeding, explained

_NUMBERS = {"lat": float, "lon": float, "alt": int}
_KEYWORD, _TEXT = {"type": "keyword"}, {"type": "text"}
_MAPPINGS: dict[str, dict[str, Any]] = {
    "airlines": {"carrier": _KEYWORD, "name": _KEYWORD, "about": _TEXT},
    "airports": {
        "faa": _KEYWORD,
        "name": _KEYWORD,
        "about": _TEXT,
        "lat": {"type": "double"},
        "lon": {"type": "double"},
        "alt": {"type": "integer"},
        "tzone": _KEYWORD,
    },
}


def is_loaded(seeding: Seeding) -> bool:
    """Whether both indexes are there and of this version; also where there is no OpenSearch."""
    if seeding.target.search is None:
        return True
    return all(_version(seeding, index) == seeding.version for index in _MAPPINGS)


def load(seeding: Seeding) -> list[Loaded]:
    """Each index is made anew; what says its version comes last."""
    what, loaded, done = "documents to OpenSearch", [], 0
    documents = {index: dict(_documents(seeding, index)) for index in _MAPPINGS}
    bulks = {
        index: "".join(f"{json.dumps({'index': {'_id': key}})}\n{json.dumps(body)}\n" for key, body in one.items())
        for index, one in documents.items()
    }
    total = sum(map(len, bulks.values()))
    with explained("load the sample documents"):
        for index, fields in _MAPPINGS.items():
            began = time.monotonic()
            seeding.tell(what, done, total)
            _call(seeding, "DELETE", f"/{index}?ignore_unavailable=true")
            # One node holds no replicas, and would stay yellow with any.
            settings = {"number_of_shards": 1, "number_of_replicas": 0}
            _call(seeding, "PUT", f"/{index}", {"settings": settings, "mappings": {"properties": fields}})
            answer = _call(seeding, "POST", f"/{index}/_bulk?refresh=true", bulks[index])
            if answer["errors"]:
                raise OSError(f"OpenSearch refused documents of {index}")
            _call(seeding, "PUT", f"/{index}/_mapping", {"_meta": {"emrjobs_sample": seeding.version}})
            loaded.append(Loaded(f"opensearch.{index}", f"/{index}", len(documents[index]), len(bulks[index]), time.monotonic() - began))
            done += len(bulks[index])
        seeding.tell(what, total, total)
    return loaded


def _documents(seeding: Seeding, index: str) -> Iterable[tuple[str, dict[str, Any]]]:
    for row in source.rows(seeding.files / f"{index}.csv"):
        if index == "airlines":
            yield row["carrier"], {**row, "about": f"{row['name']}, carrier code {row['carrier']}"}
        else:
            body: dict[str, Any] = {name: row[name] for name in _MAPPINGS[index] if row.get(name, "NA") != "NA"}
            body |= {name: kind(body[name]) for name, kind in _NUMBERS.items() if name in body}
            zone = row["tzone"].replace("_", " ").replace("/", ", ")
            yield row["faa"], {**body, "about": f"{row['name']}, airport code {row['faa']}, time zone {zone}"}


def _version(seeding: Seeding, index: str) -> str | None:
    try:
        found = _call(seeding, "GET", f"/{index}/_mapping")[index]["mappings"]
    except urllib.error.HTTPError as exc:
        if exc.code == 404:
            return None
        raise
    version: str | None = found.get("_meta", {}).get("emrjobs_sample")
    return version


def _call(seeding: Seeding, method: str, path: str, body: Any = None) -> Any:
    assert seeding.target.search is not None
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
    request = urllib.request.Request(seeding.target.search["url"] + path, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
