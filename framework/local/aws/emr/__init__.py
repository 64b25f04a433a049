"""The EMR API of the local endpoint: clusters whose steps really execute.

- `contract`: what the control plane (this package, and EMR Serverless) asks of the executor, and the values both share.
"""
