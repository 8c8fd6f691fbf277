"""Erasing, cutting, generating and pasting on one device, from one upload of a frame to one copy back.

What the stages of the CPU do with OpenCV, face by face, is done here with PyTorch and in batches, by the same geometry
and the same constants; the invariants are the same too: erased first, at the frame's resolution, and a network that
sees nothing else.
"""
