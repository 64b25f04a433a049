"""`python -m framework.local.aws`: the AWS-compatible endpoint in the foreground."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from framework.errors import EmrjobsError
from framework.local.aws.emr.delays import Delays
from framework.local.aws.server import serve


def main() -> int:
    """Parse the command line and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m framework.local.aws", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder of the state")
    parser.add_argument("--s3", required=True, metavar="URL", help="the S3 server that S3 calls are passed on to")
    parser.add_argument(
        "--emr-provisioning", type=float, default=1.0, metavar="SECONDS", help="how long an EMR cluster is STARTING (default: %(default)s)"
    )
    parser.add_argument(
        "--emr-period",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long the five minutes of a metric's period last for EMR's automatic scaling (default: %(default)s)",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("framework").setLevel(options.log_level.upper())
    try:
        serve(options.host, options.port, options.state, options.s3, Delays(options.emr_provisioning, metric_period=options.emr_period))
    except EmrjobsError as error:
        logging.getLogger(__name__).error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
