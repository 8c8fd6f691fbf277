"""Ways to run a network. Each module needs its own library and says how to get it when it is missing."""
