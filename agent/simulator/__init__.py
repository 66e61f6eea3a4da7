"""The simulator: a device, not a mock. It ships with the product and has its own state folder and keys."""
