"""The principals that IAM and STS know, read off moto's objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from framework.local.aws.iam.guard import Principal
from framework.local.aws.router import ACCOUNT_ID

# Keys of users and of role sessions (IAM User Guide, "Unique identifiers"); other keys belong to nobody.
_OF_PRINCIPAL = re.compile(r"A(KI|SI)A[A-Z0-9]{16}\Z")
_GLOBAL = "aws"


class IamDirectory:
    """Looks principals up, anew for each call: a policy that was changed counts at once.

    Args:
        backend: moto's backend object of a service in a region.
        used: whether a service has any state, asked without making its object.
        assume: see `sessions.Iam`.
    """

    def __init__(
        self,
        backend: Callable[[str, str], Any],
        used: Callable[[str], bool],
        assume: Callable[[str, str, float], tuple[str, str, str]],
    ) -> None:
        self._backend = backend
        self._used = used
        self.assume = assume

    def principal(self, access_key_id: str) -> Principal | None:
        """See `guard.Directory`."""
        if not _OF_PRINCIPAL.match(access_key_id):
            return None
        iam = self._backend("iam", _GLOBAL)
        key = iam.access_keys.get(access_key_id)
        if key is None:
            return None
        if key.role_arn is None:
            user = next(
                (user for user in list(iam.users.values()) if any(own.access_key_id == access_key_id for own in user.access_keys)), None
            )
            if user is None:
                return None
            groups = [group for group in list(iam.groups.values()) if user in group.users]
            return Principal(f"arn:aws:iam::{ACCOUNT_ID}:user/{user.name}", list(_documents([user, *groups])))
        session = next((one for one in list(self._backend("sts", _GLOBAL).assumed_roles) if one.access_key_id == access_key_id), None)
        role = next((role for role in list(iam.roles.values()) if role.arn == key.role_arn), None)
        if session is None:
            return None
        # A role that was deleted leaves its sessions without any permission.
        return Principal(session.arn, list(_documents([role] if role else [])), session.expiration.timestamp())

    def role_of_profile(self, name: str) -> str | None:
        """See `sessions.Iam`."""
        if not self._used("iam"):
            return None
        profiles = list(self._backend("iam", _GLOBAL).instance_profiles.values())
        profile = next((one for one in profiles if name in (one.name, one.arn)), None)
        return str(profile.roles[0].arn) if profile and profile.roles else None

    def knows_role(self, arn: str) -> bool:
        """See `sessions.Iam`."""
        return self.trust_policy(arn) is not None

    def trust_policy(self, role: str) -> tuple[str, Mapping[str, Any]] | None:
        """See `sessions.Iam`."""
        roles = list(self._backend("iam", _GLOBAL).roles.values()) if self._used("iam") else []
        found = next((one for one in roles if role in (one.name, one.arn)), None)
        return (found.arn, json.loads(found.assume_role_policy_document)) if found is not None else None

    def secret_arn(self, name: str, region: str) -> str | None:
        """See `guard.Directory`."""
        for secret in list(self._backend("secretsmanager", region).secrets.values()):
            if name in (secret.name, secret.arn) or secret.arn.rpartition("-")[0] == name:
                return str(secret.arn)
        return None


def _documents(owners: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    for owner in owners:
        for text in list(owner.policies.values()):
            yield json.loads(text)
        for policy in list(owner.managed_policies.values()):
            version = next(one for one in policy.versions if one.version_id == policy.default_version_id)
            yield json.loads(version.document)
