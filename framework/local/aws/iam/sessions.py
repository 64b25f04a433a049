"""The role sessions that EMR's processes run under: those of a cluster's instance profile, or of an execution role.

What runs on a cluster gets its keys from its environment, where nothing can renew them; so a session lasts as long as any step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Protocol

from framework.local.aws.iam import policy
from framework.local.aws.router import ACCOUNT_ID

_LIFETIME = 30 * 24 * 3600.0


class Iam(Protocol):
    """What sessions need of IAM and STS."""

    def role_of_profile(self, name: str) -> str | None:
        """ARN of the role in an instance profile, by the profile's name or ARN; None where IAM does not know it."""

    def knows_role(self, arn: str) -> bool:
        """Whether there is such a role."""

    def trust_policy(self, role: str) -> tuple[str, policy.Document] | None:
        """ARN and trust policy of a role, by its name or ARN; None where there is none."""

    def assume(self, role: str, session: str, seconds: float) -> tuple[str, str, str]:
        """Key id, secret and token of a new session, which survives a kill of the endpoint."""


class Sessions:
    """See `framework.local.aws.emr.contract.Roles`."""

    def __init__(self, iam: Iam) -> None:
        self._iam = iam
        self._lock = threading.Lock()
        # (role, session) -> (half of its time, environment)
        self._known: dict[tuple[str, str], tuple[float, Mapping[str, str]]] = {}

    def of_profile(self, profile: str, session: str) -> Mapping[str, str]:
        """The environment of what runs on a cluster with this instance profile."""
        role = self._iam.role_of_profile(profile)
        return self._of(role, session) if role else {}

    def of_role(self, role: str, session: str) -> Mapping[str, str]:
        """The environment of what runs with this execution role."""
        return self._of(role, session) if self._iam.knows_role(role) else {}

    def untrusting(self, role: str, service: str, source: str) -> str | None:
        """ARN of the role, when its trust policy does not let the service assume it."""
        known = self._iam.trust_policy(role)
        context = {"aws:sourceaccount": ACCOUNT_ID, "aws:sourcearn": source}
        return None if known is None or policy.trusts(known[1], service, context) else known[0]

    def _of(self, role: str, session: str) -> Mapping[str, str]:
        with self._lock:
            now = time.time()
            self._known = {key: found for key, found in self._known.items() if found[0] > now}
            if (role, session) not in self._known:
                names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
                keys = self._iam.assume(role, session, _LIFETIME)
                self._known[role, session] = (now + _LIFETIME / 2, dict(zip(names, keys, strict=True)))
            return self._known[role, session][1]
