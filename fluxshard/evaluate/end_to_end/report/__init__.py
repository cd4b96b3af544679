"""Tables, plots and pages of the evaluation of edge and cloud together."""
