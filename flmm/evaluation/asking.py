"""What an LMM is asked before it looks a second time."""


def which_object(question: str) -> str:
    """What the LMM is asked first where it has to name the object itself."""
    return (
        f"Question: {question}\nWhich object in the image matters to this question? Name it in a few words."
    )


def look_for(phrase: str) -> str:
    """The first turn of an LMM that reads one picture."""
    return f"Look for this in the image: {phrase}. What do you see there?"
