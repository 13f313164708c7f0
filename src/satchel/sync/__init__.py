"""Bring a folder and its hosted twin in step: plan, session and wire are pure; push, pull and receive drive them."""
