"""The conversation with a web application."""
