"""What happened in a run, as plain values that everything which prints or draws is made from."""
