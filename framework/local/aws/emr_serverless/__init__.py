"""The EMR Serverless API of the local endpoint: applications, and job runs that really execute.

- `service`: requests in the rest-json protocol, matched on botocore's model; `operations`: what each does;
- `store`: the tables; `mover`: moves applications and job runs from state to state; `launches`: what a job run executes.

Sessions (Spark Connect, Livy) are not supported.
"""

from framework.local.aws.emr_serverless.service import ServerlessService

__all__ = ["ServerlessService"]
