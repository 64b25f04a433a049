"""OpenSearch in the embedded target: started when something refers to it, with the sample's documents."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import psutil
import pytest

from framework.config.loader import Loaded
from framework.local.supervisor import Supervisor
from framework.local.target import open_platform
from framework.platform import Platform

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]


def ask(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_the_documents_are_found_by_words_and_loaded_once(platform: Platform, loaded: Loaded) -> None:
    supervisor = Supervisor(platform.root)
    supervisor.reset(["opensearch"])
    assert supervisor.status(["opensearch"])[0].state == "stopped"
    with open_platform(loaded, lambda event: None) as first:
        url = first.resolver.text("${local:opensearch.url}")
    hits = ask(f"{url}/airports/_search", {"query": {"match": {"about": "kennedy"}}, "size": 50})["hits"]["hits"]
    assert "JFK" in {hit["_id"] for hit in hits}
    assert all("kennedy" in hit["_source"]["about"].lower() for hit in hits)
    assert ask(f"{url}/airports/_count", {"query": {"match_all": {}}})["count"] == 1458
    assert ask(f"{url}/airlines/_search", {"query": {"match": {"about": "jetblue"}}})["hits"]["hits"][0]["_source"]["carrier"] == "B6"

    ask(f"{url}/airlines/_doc/ZZ?refresh=true", {"carrier": "ZZ", "name": "mine", "about": "mine"})
    with open_platform(loaded, lambda event: None) as again:
        assert again.resolver.text("${local:opensearch.url}") == url
    assert ask(f"{url}/airlines/_count", {"query": {"match_all": {}}})["count"] == 17

    pid = supervisor.status(["opensearch"])[0].pid
    assert pid is not None
    listening = {one.laddr.ip for one in psutil.Process(pid).net_connections(kind="inet") if one.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
