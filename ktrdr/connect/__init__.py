"""Finds a server for a workspace, or hosts the app in this process."""
