"""Rendering: from states to frames, and from frames to animations, videos, pictures and the terminal."""
