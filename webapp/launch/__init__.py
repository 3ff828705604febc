"""Starts all of Tandem on one machine by one command, and keeps it running."""
