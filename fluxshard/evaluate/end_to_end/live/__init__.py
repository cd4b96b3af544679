"""The evaluation over an emulated link: a server process, edge processes that are slowed down, and a link's packets."""
