"""Fault injection: what killed processes, full disks, damaged files and bad networks do to builds."""
