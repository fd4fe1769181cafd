"""Programs that run a model on this machine and serve it as OpenAI would.

Each runs in a process of its own (`python -m connections.engines`). They import nothing else of ours, and are given
neither the encryption key nor the database, so whatever a model's library does, it does it out there.
"""
