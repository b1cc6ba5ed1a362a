"""Hostile files, full disks, kills."""
