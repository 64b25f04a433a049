"""Who may do what: calls of IAM's users and role sessions are held to their policies, as AWS does.

- `needs`: which actions on which resources a call asks for;
- `policy`: whether a set of policy documents allows them;
- `guard`: the handler in front of every service that asks both and refuses;
- `sessions`: the role sessions of what runs on EMR's clusters;
- `resign`: S3 calls that were let through, signed anew for the S3 server, which knows no principals.

The endpoint's own keys are the account's root user. A key that IAM does not know is not held to anything (S3 refuses it).
Signatures are not verified: a key's id is enough on this machine.
"""

from framework.local.aws.iam.guard import Guard
from framework.local.aws.iam.sessions import Sessions

__all__ = ["Guard", "Sessions"]
