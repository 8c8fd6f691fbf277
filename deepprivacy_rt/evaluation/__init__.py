"""Measures generated faces: are people safe, and are the faces any good?

Every measure is taken on what the real pipeline wrote, and on three floors made by the same pipeline: the original
encoded again, pixelated, and filled. What each number means, and what it does not, is described in docs/evaluate.md.
Reports hold original faces.
"""
