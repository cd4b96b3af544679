"""The evaluation of edge and cloud together: methods over recorded links, with devices that are modelled."""
