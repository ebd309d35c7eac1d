"""The server without models: its own round loop and controllers on a cost model, in virtual time."""
