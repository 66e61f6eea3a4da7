"""Windows, each in its own short-lived process."""
