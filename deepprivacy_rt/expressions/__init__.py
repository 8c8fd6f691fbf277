"""What a face does, in four numbers: read off the original, so that the face that is invented can do the same."""
