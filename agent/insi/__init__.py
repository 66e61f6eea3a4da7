"""The INSi teleservice: what is sent, what comes back, in which order."""
