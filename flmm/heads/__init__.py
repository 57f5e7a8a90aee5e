"""Mask head and refiner: everything that is trained, and the frozen SAM image encoder beside it."""
