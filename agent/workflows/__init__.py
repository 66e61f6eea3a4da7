"""What the agent does: one async function per method. The only place where the folders' values meet.

Only workflows decide on which lane a thing runs.
"""
