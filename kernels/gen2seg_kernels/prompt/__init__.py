"""Prompting: from a colour image and clicks to masks."""
