"""The `emrjobs` command: parses and prints, decides nothing."""
