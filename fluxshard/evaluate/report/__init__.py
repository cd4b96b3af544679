"""Report of an evaluation: tables, figures, HTML and Markdown."""
