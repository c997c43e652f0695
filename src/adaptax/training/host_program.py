"""The meta-update on a host family: environments step in worker processes, everything else is jitted."""
