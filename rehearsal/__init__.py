"""The paper's suite in small, before the real thing: run from a checkout, not part of the installed package.

Made-up files in every upstream layout, tiny random models of the real classes, and the pipeline as it is.
"""
