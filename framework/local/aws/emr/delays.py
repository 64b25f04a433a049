"""How long what takes minutes on EC2 takes here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Delays:
    """Seconds that an endpoint lets pass.

    Attributes:
        provisioning: from STARTING to BOOTSTRAPPING, and for the instances of a resize. Clients that create an empty cluster and
            add its steps afterwards (mrjob) rely on some time before it would end for want of steps.
        scale_in: how long capacity has to be too large before managed scaling takes it away, so that a cluster does not shrink
            between two steps.
        metric_period: how long the five minutes of a CloudWatch period last for automatic scaling; cooldowns shorten alike.
    """

    provisioning: float = 1.0
    scale_in: float = 10.0
    metric_period: float = 5.0

    def shortened(self, seconds: float) -> float:
        """What so many seconds of an automatic scaling policy last here."""
        return seconds * self.metric_period / 300
