"""The contract of the backbones as measurements, and what a model costs: behind `flmm backbones`."""
