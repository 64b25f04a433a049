"""The EMR API of the local endpoint: clusters whose steps really execute.

- `service`: the operations by name, and the faults that calls meet; `faults`: which faults are set;
- `shapes`: requests against botocore's model; `rules`, `classifications`: against what EMR documents;
- `clusters`, `steps`, `instances`, `scaling`, `account`, `labels`: the operations; `operation`: what they share;
- `store`: the tables; `nodes`: instance groups, fleets and instances; `transitions`: how new states are written down;
- `lifecycle`: the controller that moves clusters from state to state, `scaler`: what scaling policies make of their size, `delays`;
- `contract`: what the control plane (this package, and EMR Serverless) asks of the executor, and the values both share.
"""

from framework.local.aws.emr.service import EmrService, FaultPage

__all__ = ["EmrService", "FaultPage"]
