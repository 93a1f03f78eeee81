"""RLDG: episodes of experts and of people, kept, judged, mixed and exported."""
