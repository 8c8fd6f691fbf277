"""What a face does, in three numbers: read off the original, so that the face that is invented can do the same."""
