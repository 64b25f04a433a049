"""The `emrjobs` command: parses and prints, decides nothing."""

import gc

# A command that only looks makes many objects and keeps them: collecting them every 700 costs a tenth of its time.
gc.set_threshold(50_000, 20, 20)
