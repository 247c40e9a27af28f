"""Golden texts: commands in, verdicts and table out."""
