"""The step graph: which steps there are, what each depends on, which of them have to run."""
