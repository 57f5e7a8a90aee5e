"""Predict, then count: tables of predicted masks and answers (``run``), and what they amount to (``count``).

What each number means and where it is defined: ``docs/protocols.md``. Predicting loads models; counting does not.
"""
