"""The trace: a chain of entries that shows when one was changed or lost."""
