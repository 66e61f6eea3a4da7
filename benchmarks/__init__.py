"""What the agent costs: figures taken against a floor in one interleaved run. See README.md."""
