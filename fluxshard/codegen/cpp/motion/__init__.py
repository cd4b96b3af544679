"""Motion between pictures as generated C++."""
