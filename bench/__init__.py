"""What a call costs: `python -m bench` (see `bench/__main__.py`)."""
