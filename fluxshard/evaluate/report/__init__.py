"""Tables, plots and the report of an evaluation."""
