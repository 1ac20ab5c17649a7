"""What a process tells of itself: logs, traces, metrics. Never a secret, never a body."""
