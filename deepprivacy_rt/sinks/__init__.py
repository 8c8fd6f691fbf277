"""Sinks for anonymized frames, one file each."""
