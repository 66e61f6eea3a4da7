"""What the person at the desk sees: icon and windows."""
