"""Tiny random twins of the families, one file each: `build(out, *, key_heads=4) -> BackboneEntry`."""
