"""The tables between predicting and counting: their files, their columns, and the two names in a part."""

import pyarrow as pa

PREDICTIONS, ANSWERS, DESCRIPTIONS = "predictions.parquet", "answers.parquet", "descriptions.parquet"
# Of the chain of thought: answers, and masks (PREDICTION_SCHEMA).
THOUGHTS, LOOKS = "thoughts.parquet", "looks.parquet"

PREDICTION_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("answer_id", pa.string()),
        ("phrase", pa.int32()),  # position in the answer; a narrative may mention one target twice
        ("target_id", pa.string()),
        ("text", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        # "paper", "standard", "both" where these two speak the same answers and only count differently (PNG), or
        # "answer-then-ground"
        ("protocol", pa.string()),
        ("head", pa.string()),
        ("archive", pa.string()),
        ("image", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("iou", pa.float64()),
        ("intersection", pa.int64()),
        ("area_union", pa.int64()),
        ("rle", pa.string()),
        ("rle_truth", pa.string()),
        ("is_thing", pa.bool_()),
        ("is_plural", pa.bool_()),
        ("category", pa.string()),
    ]
)

ANSWER_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("group", pa.string()),
        ("category", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("text", pa.string()),
        ("options", pa.list_(pa.string())),
        ("label", pa.string()),
        ("answer_plain", pa.string()),
        ("answer_attached", pa.string()),
        ("tokens_plain", pa.list_(pa.int64())),
        ("tokens_attached", pa.list_(pa.int64())),
        ("masks", pa.int32()),  # made by the attached head from the answer's tokens
    ]
)

THOUGHT_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("protocol", pa.string()),  # the way (flmm.benchmarks.base.Way)
        ("archive", pa.string()),
        ("image", pa.string()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("phrase", pa.string()),  # what was grounded
        ("box", pa.list_(pa.int32())),  # around its refined mask: left, top, right, bottom; empty for none
        ("crop", pa.list_(pa.int32())),  # the part of the picture that was looked at again
        ("pictures", pa.int32()),  # that the LMM saw with the question
        ("answer", pa.string()),
        ("problem", pa.string()),  # why there was no second picture
        ("grade", pa.float64()),  # a judge's, from 0 to 1; null where nobody was asked
    ]
)

# One row per picture that was described; the masks of its phrases are predictions.
DESCRIPTION_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("archive", pa.string()),
        ("image", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("text", pa.string()),  # what the LMM said
        ("captions", pa.list_(pa.string())),  # what people said
        ("phrases", pa.list_(pa.string())),  # of the first caption
        ("rles", pa.list_(pa.string())),  # the masks of these phrases
        ("heads", pa.list_(pa.string())),  # whose masks were made, also where no phrase was said
    ]
)


def dataset_and_split(part: str) -> tuple[str, str]:
    """The two names in ``<dataset>-<split>``; a split's name has no hyphen."""
    dataset, _, split = part.rpartition("-")
    return dataset, split
