"""The demo data set: pairs of answers with made-up example labels, and the scripts that build it."""
