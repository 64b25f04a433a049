"""AWS clients of one environment: made once, from settings, with the credentials resolved when first needed."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from framework.config import model
from framework.config.references import Resolver
from framework.errors import AccessRefused, ConfigError, EmrjobsError, MissingExtra, ServiceUnavailable


class Credentials(NamedTuple):
    """Keys of a user, or with a token those of a role session."""

    key_id: str
    secret: str
    token: str | None = None


class Aws:
    """boto3 clients for `settings.aws`; safe to share between threads.

    Args:
        settings: region, endpoints and references to credentials.
        resolver: turns the references into values.
    """

    def __init__(self, settings: model.Aws, resolver: Resolver) -> None:
        self.settings = settings
        self._resolver = resolver
        self._clients: dict[str, Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()

    @property
    def region(self) -> str:
        return self.settings.region

    def endpoint(self, service: str) -> str | None:
        """URL of a service where the environment names one; None for AWS itself."""
        url = self.settings.s3_endpoint_url if service == "s3" else self.settings.endpoint_url
        key = "aws.s3_endpoint_url" if service == "s3" else "aws.endpoint_url"
        return self._resolver.text(url, key=key) if url else None

    def credentials(self) -> Credentials | None:
        """The keys that the environment gives; None for boto3's own chain."""
        settings, text, hide = self.settings, self._resolver.text, self._resolver.hide
        if not settings.access_key_id or not settings.secret_access_key:
            return None
        return Credentials(
            text(settings.access_key_id, key="aws.access_key_id"),
            hide(text(settings.secret_access_key, key="aws.secret_access_key")),
            hide(text(settings.session_token, key="aws.session_token")) if settings.session_token else None,
        )

    def client(self, service: str, *, once: bool = False) -> Any:
        """A boto3 client; made on first use.

        Args:
            once: every call is made once: for calls that must not be repeated blindly, because the first may have had its effect.

        Raises:
            MissingExtra: boto3 is not installed.
        """
        key = f"{service} once" if once else service
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._make(service, attempts=1 if once else 6)
            return self._clients[key]

    def _make(self, service: str, *, attempts: int) -> Any:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as exc:
            raise MissingExtra("boto3 is not installed", fix="pip install 'emrjobs[spark]'") from exc
        endpoint = self.endpoint(service)
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=32,
            s3={"addressing_style": "path"} if endpoint else None,
        )
        key_id, secret, token = self.credentials() or (None, None, None)
        try:
            if self._session is None:
                self._session = boto3.Session(
                    aws_access_key_id=key_id, aws_secret_access_key=secret, aws_session_token=token, region_name=self.region
                )
            return self._session.client(service, endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as exc:
            raise ConfigError(f"aws: boto3 cannot be set up: {exc}", fix="check `aws:` in the configuration and AWS_PROFILE") from exc


def error_code(exc: BaseException) -> str:
    """The code that an AWS service answered with, such as `AccessDenied`; empty for everything else, a broken connection too."""
    return str((getattr(exc, "response", None) or {}).get("Error", {}).get("Code", ""))


def explain(exc: Exception, doing: str) -> EmrjobsError:
    """botocore's exception as one of ours; `doing` completes "could not ..."."""
    from botocore.exceptions import ClientError, NoCredentialsError

    if isinstance(exc, ClientError):
        code = exc.response.get("Error", {}).get("Code", "error")
        message = exc.response.get("Error", {}).get("Message", "")
        if code in (
            "AccessDenied",
            "AccessDeniedException",
            "403",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "ExpiredToken",
            "ExpiredTokenException",
        ):
            return AccessRefused(f"could not {doing}: {code}: {message}", fix="check the credentials and what they allow")
        return ServiceUnavailable(f"could not {doing}: {code}: {message}")
    if isinstance(exc, NoCredentialsError):
        return AccessRefused(
            f"could not {doing}: there are no AWS credentials", fix="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return ServiceUnavailable(f"could not {doing}: {exc}")
