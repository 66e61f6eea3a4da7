"""Card readers and the carte Vitale."""
