"""What the frozen LMM is made to say, per protocol."""

from dataclasses import replace

from flmm.data.sample import Piece, Sample, Target
from flmm.protocols import SEPARATOR, answers


def sample(narrative: tuple[Piece, ...] = ()) -> Sample:
    targets = tuple(
        Target(str(index), sentences, "", "circle", True, False)
        for index, sentences in enumerate([("red circle", "the circle on the left"), ("star",)])
    )
    return Sample("s", "refcoco", "val", 1, "train2014", "a.jpg", 10, 20, targets, narrative)


def test_paper_joins_the_first_sentences_of_all_objects() -> None:
    (answer,) = answers(sample(), "paper")
    assert answer.pieces == (Piece("red circle", 0), SEPARATOR, Piece("star", 1), SEPARATOR)


def test_standard_gives_every_sentence_an_answer_of_its_own() -> None:
    spoken = answers(sample(), "standard")
    assert [answer.pieces[0].text for answer in spoken] == ["red circle", "the circle on the left", "star"]
    assert all(len([piece for piece in answer.pieces if piece.target >= 0]) == 1 for answer in spoken)
    assert len({answer.answer_id for answer in spoken}) == 3


def test_a_narrative_is_spoken_whole_with_its_plain_words() -> None:
    narrative = (Piece("I can see", -1), Piece("a star", 1), Piece(".", -1))
    for protocol in ("paper", "standard", "train"):
        (answer,) = answers(sample(narrative), protocol)
        assert [(piece.text, piece.target) for piece in answer.pieces] == [
            ("I can see", -1),
            ("a star", 1),
            (".", -1),
        ]


def test_words_that_are_no_nouns_are_phrases_under_paper_and_in_training_alone() -> None:
    narrative = (Piece("a star", 0), Piece("on", -1), Piece("it", 1))
    mixed = sample(narrative)
    mixed = replace(mixed, targets=(mixed.targets[0], replace(mixed.targets[1], is_noun=False)))
    spoken = {protocol: answers(mixed, protocol)[0] for protocol in ("paper", "standard", "train")}
    assert [piece.target for piece in spoken["paper"].pieces] == [0, -1, 1]
    assert spoken["train"] == spoken["paper"]
    assert [piece.target for piece in spoken["standard"].pieces] == [0, -1, -1]
    assert [piece.text for piece in spoken["standard"].pieces] == ["a star", "on", "it"]
    assert spoken["standard"].answer_id != spoken["paper"].answer_id


def test_training_draws_depend_on_seed_draw_and_sample_alone() -> None:
    def drawn(seed: int, draw: int) -> str:
        return answers(sample(), "train", draw=draw, seed=seed)[0].pieces[0].text

    assert all(drawn(seed, draw) == drawn(seed, draw) for seed in range(5) for draw in range(5))
    assert {drawn(seed, 0) for seed in range(20)} == {"red circle", "the circle on the left"}
