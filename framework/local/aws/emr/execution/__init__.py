"""Runs what clusters are told to: steps, bootstrap actions and job runs as real processes of this machine.

`executor` is what the control plane holds; for each piece of work it starts an `agent`, a process of its own that survives
the endpoint. What a cluster's node looks like is in `node` and `configuration`; what each step type runs in `steps` and `commands`.
"""
