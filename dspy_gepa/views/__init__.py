"""A story formatted for people: text, HTML. Nothing is derived here that a story could say."""
