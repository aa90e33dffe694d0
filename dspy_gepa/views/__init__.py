"""Text, HTML and tables, made from a story; nothing is derived here."""
