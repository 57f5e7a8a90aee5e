"""The web demo ``flmm app``: a page on which a picture is talked about and the words of the answers show their masks.

Only ``page`` and ``serve`` import Gradio, which the extra ``demo`` installs.
"""
