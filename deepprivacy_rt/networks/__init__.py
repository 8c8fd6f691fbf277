"""The networks: generator, and what only training needs (discriminator, encoder)."""
