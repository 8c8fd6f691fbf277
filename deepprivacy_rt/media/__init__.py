"""What sources and sinks share about media files: facts about a video, safe opening, colour, orientation, time."""
