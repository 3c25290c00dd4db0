"""The parts of tools/compare_models."""
