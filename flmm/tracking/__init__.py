"""The ``track`` step: MLflow runs, built from the result files, and a training's live curves."""
