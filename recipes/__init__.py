"""How the tiny models of the shapes suite were trained: run from a checkout, not part of the installed package."""
