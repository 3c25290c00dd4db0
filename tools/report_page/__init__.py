"""The parts of tools/report."""
