"""The AWS-compatible endpoint of the embedded target: one URL for every service, state on disk.

Started as `python -m framework.local.aws`. Its parts, from the outside in:

- `server`: the HTTP server (cheroot) and the process's life;
- `app`: which handler answers which service; **a new service of our own is one line there**;
- `router`: who is called (service, region, operation), read off the request's signature;
- `s3_proxy`: S3 calls, streamed to the real S3 server;
- `iam`: the guard in front of all services, which holds users and role sessions to their policies;
- `glue`: the Glue Data Catalog on SQLite, with real Glue's rules for concurrent commits;
- `emr`: the EMR API on SQLite, whose steps run on this machine;
- `moto_backend`: everything else, answered by moto and saved after each change;
- `json_service`, `answers`: what handlers share; `database`, `state`: what is on disk.
"""
