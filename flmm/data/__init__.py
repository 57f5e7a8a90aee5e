"""Sources in, samples out: download, the readers of upstream formats, and the sample that they all become."""
