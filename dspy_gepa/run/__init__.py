"""How work is carried out."""
