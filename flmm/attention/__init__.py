"""Seeing the attention: a phrase's maps by layer and head, how good each head is alone, and kinds of maps."""
