"""How fast this machine anonymizes, measured honestly: warmed up, by stage, with every face accounted for."""
