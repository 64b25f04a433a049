"""A project with a cluster preset and an account, and nothing that is asked."""

from __future__ import annotations

from pathlib import Path

from builders import Project

from framework.config.loader import Loaded, load
from framework.emr import spec
from framework.emr.cluster import Cluster, design

ACCOUNT = """\
target: emr
aws: {region: eu-west-1}
emr:
  service_role: service
  instance_profile: nodes
  subnets: [subnet-0123456789abcdef0]
"""
PRESET = """\
lifetime: transient
groups:
  primary: {type: m5.xlarge}
  core: {type: m5.xlarge, count: 2}
"""
PROJECT = Path(__file__).parents[1]


class Account:
    """The project, and clusters of it in one line."""

    def __init__(self, project: Project) -> None:
        self.project = project
        project.write("configs/env/prod.yaml", ACCOUNT)
        project.write("configs/clusters/small.yaml", PRESET)

    def loaded(self, *overrides: str) -> Loaded:
        return load(self.project.root, "prod", overrides=overrides, variables={})

    def cluster(self, *overrides: str, preset: str | None = None, engines: tuple[str, ...] = ("spark",)) -> Cluster:
        if preset is not None:
            self.project.write("configs/clusters/small.yaml", preset)
        return design(spec.load(self.project.root, "small"), engines, self.loaded(*overrides))
