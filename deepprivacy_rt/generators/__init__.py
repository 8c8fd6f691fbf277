"""Generators: one file each. All are blind: they see erased patches only."""
