"""Engines: execute the body of a job. One folder or file each; none knows of publishing, checks or what started it."""
