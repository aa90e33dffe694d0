"""A story formatted for people: text, tables, HTML. Nothing is derived that a story could say."""
