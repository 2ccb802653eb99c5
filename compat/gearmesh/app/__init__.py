"""What a user imports: apps, tasks, signatures, workflows and their results."""
