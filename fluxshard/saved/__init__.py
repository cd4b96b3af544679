"""The file of a saved model: its container, and the values in it. Nothing of a file is executed here."""
